"""A program that exports telemetry, as an application does; prints its spans and metrics as JSON."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from typing import Any

import numpy as np
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import SimpleSpanProcessor
from opentelemetry.sdk.trace.export.in_memory_span_exporter import InMemorySpanExporter

from embplug import Collection, Recipe, Rerank, Tokens
from embplug.errors import InvalidArgumentError
from embplug.methods import LearnedEncoding, ResidualQuantizer

SECRET = "the harvest in the valley"


def main(folder: str) -> None:
    spans, reader = InMemorySpanExporter(), InMemoryMetricReader()
    provider = TracerProvider()
    provider.add_span_processor(SimpleSpanProcessor(spans))
    trace.set_tracer_provider(provider)
    metrics.set_meter_provider(MeterProvider([reader]))

    rng = np.random.default_rng(0)
    tokens = [rng.normal(size=(8, 16)).astype(np.float32) for _ in range(300)]
    recipe = Recipe(
        tokens=Tokens(
            dim=16,
            encoding=LearnedEncoding(stored_dim=32, features=32, landmarks=64, compared=32, steps=0),
            codes=ResidualQuantizer(),
        ),
        rerank=Rerank(candidates=20),
    )
    collection = Collection.create("docs", recipe, folder)
    collection.add(range(300), tokens=tokens, texts=[SECRET] * 300)
    with trace.get_tracer("application").start_as_current_span("question"):
        collection.search(tokens=tokens[0], limit=5)

    async def search_async() -> None:
        with trace.get_tracer("application").start_as_current_span("awaited question"):
            await collection.to_async().search(tokens=tokens[1], limit=5)

    asyncio.run(search_async())
    collection.drift(tokens[:200])
    with contextlib.suppress(InvalidArgumentError):
        collection.search(tokens=tokens[0], branches=[SECRET])
    collection.engine.close()
    print(
        json.dumps(
            {"spans": [_span(span) for span in spans.get_finished_spans()], "metrics": _metrics(reader)}
        )
    )


def _span(span: Any) -> dict[str, Any]:
    return {
        "name": span.name,
        "id": span.context.span_id,
        "parent": span.parent and span.parent.span_id,
        "attributes": dict(span.attributes),
        "status": span.status.status_code.name,
        "events": len(span.events),
        "seconds": (span.end_time - span.start_time) / 1e9,
    }


def _metrics(reader: InMemoryMetricReader) -> dict[str, list[dict[str, Any]]]:
    data = reader.get_metrics_data()
    assert data is not None
    points: dict[str, list[dict[str, Any]]] = {}
    for resource in data.resource_metrics:
        for scope in resource.scope_metrics:
            for metric in scope.metrics:
                for point in metric.data.data_points:
                    value = getattr(point, "value", None)
                    row = {"sum": point.sum if value is None else value, "count": getattr(point, "count", 1)}
                    points.setdefault(metric.name, []).append({**row, "attributes": dict(point.attributes)})
    return points


if __name__ == "__main__":
    main(sys.argv[1])
