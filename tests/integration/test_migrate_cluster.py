"""A migration on a cluster of three nodes."""

from __future__ import annotations

from contextlib import closing

from qdrant_client import models

from embplug import connect, migrate
from embplug.migration import reader, verify
from tests.integration.sources import COSINE, RECIPE, alias_of, assert_same, point_id, points


def test_shards_and_replicas(qdrant_cluster, monkeypatch):
    monkeypatch.setattr(reader, "PAGE_POINTS", 60)
    monkeypatch.setattr(verify, "SAMPLED_QUERIES", 20)
    (url, grpc_port), (other, other_port), _ = qdrant_cluster
    with closing(connect(url, grpc_port=grpc_port)) as engine:
        engine.create_collection(
            "source", vectors_config=COSINE, shard_number=3, replication_factor=2, write_consistency_factor=2
        )
        engine.create_payload_index("source", "number", models.PayloadSchemaType.INTEGER, wait=True)
        engine.upsert("source", points(400), wait=True)
        # Shards as they are given, replicas as in the source.
        recipe = RECIPE.replaced({"shard_number": 2})
        first = migrate("source", "target", recipe, engine, progress=False)
        made = engine.get_collection("target").config.params
        assert (made.shard_number, made.replication_factor, made.write_consistency_factor) == (2, 2, 2)
        assert (first.copied, first.target_points) == (400, 400)
    # Another node goes on.
    with closing(connect(other, grpc_port=other_port)) as engine:
        engine.upsert("source", points(410)[400:], wait=True)
        engine.delete("source", models.PointIdsList(points=[point_id(0)]))
        done = migrate("source", "target", recipe, engine, alias="live", recall=0.9, progress=False)
        assert (done.changed, done.deleted, done.finished) == (10, 1, True)
        assert alias_of(engine) == "target"
        assert_same(engine, "source", "live")
