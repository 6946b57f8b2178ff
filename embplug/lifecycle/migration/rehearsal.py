"""A migration rehearsed: a sample of the source, migrated into a folder that is deleted afterwards."""

from __future__ import annotations

import tempfile
import time
from dataclasses import replace
from typing import Any

from qdrant_client import models

from embplug.engines import EdgeClient, Engine
from embplug.engines.calls import Call, retried, run
from embplug.errors import VerificationError
from embplug.lifecycle.migration.plan import MigrationPlan, Options, plan_migration
from embplug.lifecycle.migration.reader import Point, Reader
from embplug.lifecycle.migration.report import MigrationReport
from embplug.lifecycle.migration.run import Migration
from embplug.lifecycle.migration.sizes import point_bytes
from embplug.lifecycle.migration.source import payload_needed, stored_sparse, stored_vectors
from embplug.lifecycle.migration.wire import TERMS

SAMPLE = 5000
SAMPLE_BYTES = 128 << 20
UPSERT = 500

_OF_A_CLUSTER = ("shard_number", "replication_factor", "write_consistency_factor")


def rehearse(reading: Engine, plan: MigrationPlan, options: Options) -> MigrationReport:
    """Measure recall and bytes on a sample; nothing is written to the engine.

    The sample is compressed by the same recipe on Qdrant Edge, in a temporary folder of this machine.
    Recall among few points is somewhat higher than among many.
    """
    report = plan.report
    report.dry_run = True
    reader = Reader(
        reading, report.source, list(report.vectors.values()), payload=payload_needed(plan.recipe)
    )
    report.points = reader.count()
    report.copied = 0 if report.resumed else report.points
    started = time.monotonic()
    sample = reader.sample(SAMPLE, SAMPLE_BYTES)
    report.point_bytes["source"] = point_bytes(reading, report.source, plan.info)
    if sample:
        with tempfile.TemporaryDirectory(prefix="embplug-") as folder, EdgeClient(folder) as edge:
            _copy_plainly(edge, plan.info, sample)
            alone = plan.recipe.replaced(**dict.fromkeys(_OF_A_CLUSTER), payload_indexes={})
            inner = Options(queries=options.queries, vector=report.vectors, progress=False)
            inside = plan_migration(edge, "sample", "compressed", alone, inner)
            done = Migration(edge, edge, inside, inner).run()
        report.recall, report.point_bytes["target"] = done.recall, done.point_bytes["target"]
        # The sample is read without what the recipe does not need of the payload, which stays as it is.
        payload = report.point_bytes["source"].payload
        report.point_bytes["target"] = replace(report.point_bytes["target"], payload=payload)
        report.search_ms = done.search_ms
    where = "in this process, where the source is compared without a graph"
    report.notes.append(f"measured on {len(sample)} of {report.points} points, {where}")
    report.seconds["rehearsal"] = time.monotonic() - started
    lowest, recall = options.recall, report.recall
    if lowest is not None and recall is not None and recall.value < lowest:
        raise VerificationError(
            f"recall@{recall.limit} is {recall.value:.3f} on {len(sample)} points, {lowest:g} was asked for",
            report,
        )
    return report


def _copy_plainly(edge: EdgeClient, info: models.CollectionInfo, sample: list[Point]) -> None:
    """The sample in a collection with the source's vectors."""
    stored = stored_vectors(info)
    config = {
        name: models.VectorParams(
            size=stored[name].size,
            distance=stored[name].distance,
            datatype=stored[name].datatype,
            multivector_config=stored[name].multivector_config,
            hnsw_config=models.HnswConfigDiff(m=0),
        )
        for name in sample[0].vectors
        if name in stored
    }
    sparse = {name: params for name, params in stored_sparse(info).items() if name in sample[0].vectors}
    arguments = {"collection_name": "sample", "vectors_config": config, "sparse_vectors_config": sparse}
    run(edge, retried(Call.of("create_collection", **arguments)))
    for start in range(0, len(sample), UPSERT):
        points = []
        for point in sample[start : start + UPSERT]:
            arrays: Any = {name: _to_write(vector) for name, vector in point.vectors.items()}
            points.append(
                models.PointStruct.model_construct(id=point.id, vector=arrays, payload=dict(point.payload))
            )
        run(edge, retried(Call.of("upsert", collection_name="sample", points=points)))


def _to_write(vector: Any) -> Any:
    """A vector in the form in which Edge takes it."""
    if vector.dtype != TERMS:
        return vector
    return models.SparseVector(indices=vector["index"].tolist(), values=vector["weight"].tolist())
