"""What spans and metrics of OpenTelemetry cost a search on Edge: without its API, with it, and exported.

The three take turns in one process. The last rows are single spans, of which a search has four.
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

import numpy as np
from _harness import best_seconds, environment, parser, report
from opentelemetry import metrics, trace
from opentelemetry.sdk.metrics import MeterProvider
from opentelemetry.sdk.metrics.export import InMemoryMetricReader
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor, SpanExporter, SpanExportResult

from embplug import Collection, Recipe, Rerank, Tokens
from embplug.common.telemetry import span
from embplug.methods import FDE, ResidualQuantizer

SEARCHES = 50
SPANS = 10_000


class Discarding(SpanExporter):
    """Exports nowhere, so that only the work in this process is timed."""

    def export(self, spans: Any) -> SpanExportResult:
        """Say that the spans were exported."""
        return SpanExportResult.SUCCESS


@contextmanager
def without_api() -> Iterator[None]:
    """Run as if nothing had imported OpenTelemetry."""
    api = sys.modules.pop("opentelemetry.trace")
    try:
        yield
    finally:
        sys.modules["opentelemetry.trace"] = api


def main() -> None:
    options = parser((__doc__ or "").splitlines()[0])
    options.add_argument("--documents", type=int, default=2000)
    options.add_argument("--rounds", type=int, default=15)
    arguments = options.parse_args()
    rng = np.random.default_rng(0)
    tokens = [rng.normal(size=(40, 64)).astype(np.float32) for _ in range(arguments.documents)]
    recipe = Recipe(
        tokens=Tokens(dim=64, encoding=FDE(), codes=ResidualQuantizer()), rerank=Rerank(candidates=100)
    )
    with tempfile.TemporaryDirectory(prefix="embplug-telemetry-") as folder:
        docs = Collection.create("docs", recipe, folder)
        docs.add(range(len(tokens)), tokens=tokens)

        def search() -> None:
            for query in tokens[:SEARCHES]:
                docs.search(tokens=query[:16], limit=10)

        def observe() -> None:
            for _ in range(SPANS):
                with span("request", "docs", method="query"):
                    pass

        def absent(work: Any) -> Any:
            def run() -> None:
                with without_api():
                    work()

            return run

        search()
        # A first span does what later ones do not.
        observe()
        before = best_seconds(
            {
                "no API": absent(search),
                "API alone": search,
                "a span: no API": absent(observe),
                "a span: API alone": observe,
            },
            arguments.rounds,
        )
        provider = TracerProvider()
        provider.add_span_processor(BatchSpanProcessor(Discarding()))
        trace.set_tracer_provider(provider)
        metrics.set_meter_provider(MeterProvider([InMemoryMetricReader()]))
        search()
        after = best_seconds(
            {"no API, again": absent(search), "exported": search, "a span: exported": observe},
            arguments.rounds,
        )
        seconds = before | after
        docs.engine.close()
    rows = [
        {
            "row": name,
            "microseconds": 1e6 * value / (SPANS if name.startswith("a span") else SEARCHES),
        }
        for name, value in seconds.items()
    ]
    sizes = {"documents": arguments.documents, "rounds": arguments.rounds}
    report(
        {"rows": rows, "environment": environment(**sizes), "date": time.strftime("%Y-%m-%d")},
        rows,
        arguments.json,
    )


main()
