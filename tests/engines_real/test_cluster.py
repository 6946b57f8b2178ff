"""What is done to a collection on a cluster of three nodes: asked of one node, checked through another."""

from __future__ import annotations

import time
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from typing import Any

import pytest
from qdrant_client import QdrantClient, models

from embplug import Collection, Dense, Recipe, Sparse, advise, connect, evaluate, migrate, reembed, upgrade
from embplug.engines.calls import run
from embplug.errors import InvalidArgumentError, UpgradeError
from embplug.evaluation import advisor
from embplug.evaluation.advisor import trials
from embplug.lifecycle.migration import reader, verify
from tests.engines_real.sources import (
    COSINE,
    RECIPE,
    alias_of,
    assert_same,
    point_id,
    points,
    stored,
    vectors,
)
from tests.lifecycle.test_upgrade import COUNT, PLAIN, TEXTS, recall
from tests.words import Words, write_beir

SHARDED = {"shard_number": 3, "replication_factor": 2, "write_consistency_factor": 2}


@pytest.fixture
def nodes(qdrant_cluster: list[tuple[str, int]]) -> Iterator[list[QdrantClient]]:
    """A client of each node; the collections and aliases that the test makes are removed after it."""
    with ExitStack() as stack:
        clients: list[Any] = [
            stack.enter_context(closing(connect(url, grpc_port=port))) for url, port in qdrant_cluster
        ]
        yield clients
        for collection in clients[0].get_collections().collections:
            clients[0].delete_collection(collection.name)


def soon(what: Callable[[], bool]) -> None:
    """Nodes hear of each other's changes a little later."""
    deadline = time.monotonic() + 10
    while not what():
        assert time.monotonic() < deadline
        time.sleep(0.02)


def test_migrate(nodes, monkeypatch):
    monkeypatch.setattr(reader, "PAGE_POINTS", 60)
    monkeypatch.setattr(verify, "SAMPLED_QUERIES", 20)
    engine, other, _ = nodes
    engine.create_collection("source", vectors_config=COSINE, **SHARDED)
    engine.create_payload_index("source", "number", models.PayloadSchemaType.INTEGER, wait=True)
    engine.upsert("source", points(400), wait=True)
    # Shards as they are given, replicas as in the source.
    recipe = RECIPE.replaced(shard_number=2)
    first = migrate("source", "target", recipe, engine=engine, progress=False)
    params = engine.get_collection("target").config.params
    assert (params.shard_number, params.replication_factor, params.write_consistency_factor) == (2, 2, 2)
    assert (first.copied, first.target_points) == (400, 400)
    # Another node goes on.
    other.upsert("source", points(410)[400:], wait=True)
    other.delete("source", models.PointIdsList(points=[point_id(0)]))
    done = migrate("source", "target", recipe, engine=other, alias="live", recall=0.9, progress=False)
    assert (done.changed, done.deleted, done.finished) == (10, 1, True)
    assert alias_of(other) == "target"
    assert_same(other, "source", "live")


def test_advise(nodes, monkeypatch):
    whole = trials.dense_recipes
    monkeypatch.setattr(
        trials,
        "dense_recipes",
        lambda *arguments: {name: whole(*arguments)[name] for name in ("float32", "int8")},
    )
    monkeypatch.setattr(trials, "FEWEST", 100)
    nodes[0].create_collection(
        "docs", vectors_config=COSINE, shard_number=6, replication_factor=2, write_consistency_factor=2
    )
    nodes[0].upsert("docs", points(500), wait=True)
    soon(lambda: nodes[1].collection_exists("docs"))
    source = run(nodes[1], advisor.sample_steps(nodes[1], "docs", None))
    # Replicas are not sampled twice.
    assert sorted(payload["number"] for payload in source.payloads) == [*range(500)]
    queries = vectors(30, 7)
    advice = advise("docs", engine=nodes[1], recall=0.5, queries=queries, sample=200, shards=6, nodes=3)
    assert advice.points == 500 and advice.met
    local = [len(node.collection_cluster_info("docs").local_shards) for node in nodes]
    assert sum(local) == 12
    today, _, largest = advice.costs
    assert (today.shards, today.replicas, today.nodes, largest.points) == (6, 2, 3, 50_000)
    assert today.memory_per_node == pytest.approx(today.memory * max(local) / 12, abs=1)
    assert today.disk_per_node == pytest.approx(today.disk * max(local) / 12, abs=1)
    # A budget is for all that the cluster keeps, its replicas too.
    budgeted = {"queries": queries, "sample": 200, "shards": 6, "nodes": 3}
    enough = advise("docs", engine=nodes[2], budget=1.01 * today.memory, **budgeted)
    assert enough.met and enough.costs[0].memory <= 1.01 * today.memory
    with pytest.raises(InvalidArgumentError, match="budget"):
        advise("docs", engine=nodes[2], budget=0.1 * today.memory, **budgeted)


def test_evaluate_and_hybrid_search(nodes, tmp_path):
    folder = write_beir(tmp_path / "small")
    hybrid = Recipe(dense=Dense(dim=32), sparse=Sparse(), **SHARDED)
    measured = evaluate(folder, {"hybrid": hybrid}, engine=nodes[0], encoder=Words(), progress=False)
    assert measured.recipes[0].figures["nDCG@10"].mean > 0.95
    collection = Collection.create("words", hybrid, nodes[0], encoder=Words())
    texts = [f"common w{i} v{i // 2}" for i in range(60)]
    collection.add([f"doc {i}" for i in range(60)], texts=texts)
    soon(lambda: nodes[1].collection_exists("words"))
    for node in nodes:
        opened = Collection.open("words", node, encoder=Words())
        hits = opened.search(text="common w7", with_stages=True, limit=60)
        assert len({hit.id for hit in hits}) == len(hits) == 60 and hits[0].id == "doc 7"
        assert hits[0].stages.keys() == {"dense", "sparse", "fusion"}
        assert [hit.id for hit in opened.search(text="w9", branches=["sparse"])] == ["doc 9"]


def test_upgrade_and_reembed(nodes):
    first, second, third = nodes
    collection = Collection.create("up", PLAIN.replaced(shard_number=3, replication_factor=2), first)
    collection.add([f"doc {i}" for i in range(COUNT)], texts=TEXTS, payloads=[{"n": i} for i in range(COUNT)])
    report = upgrade(collection, "tests-new", pairs=250)
    assert report.installed and report.pairs + report.held_out == 250 and report.recall > 0.9
    soon(lambda: opened(second).info().versions["dense"].model == 2)
    half = reembed(opened(second), batch=50, limit=COUNT // 2)
    assert (half.embedded, half.left, half.finished) == (150, 150, False)
    for node in nodes:
        assert recall(opened(node), "tests-new") > 0.85
        mixed = opened(node).search(text="query 7", limit=COUNT)
        assert Counter(hit.id for hit in mixed) == Counter(f"doc {i}" for i in range(COUNT))
    rest = reembed(opened(third), batch=100)
    assert (rest.embedded, rest.left, rest.finished) == (150, 0, True)
    soon(lambda: all(opened(node).info().versions["dense"].previous is None for node in nodes))
    for node in nodes:
        assert recall(opened(node), "tests-new") > 0.99
        assert {payload["n"] for payload in stored(node, "up").values()} == {*range(COUNT)}
    with pytest.raises(UpgradeError, match="no upgrade"):
        reembed(opened(first))


def opened(node: QdrantClient) -> Collection:
    return Collection.open("up", node)
