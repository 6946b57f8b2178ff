"""A node of a cluster dies while documents are added and searched; it comes back later."""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qdrant_client import QdrantClient

from embplug import Collection, Dense, Recipe, Sample, connect
from embplug.collection.state_collection import STATE_COLLECTION
from embplug.common.ids import point_id
from embplug.errors import EmbplugError
from embplug.methods import PCA
from tests.branches.parts import DIM, vectors
from tests.servers import Cluster, NoServerError

SECONDS = float(os.environ.get("EMBPLUG_TEST_NODE_LOST_S", "6"))
RECIPE = Recipe(dense=Dense(dim=DIM, transforms=[PCA(DIM, center="both", normalize=True)]))
REPLICATED = RECIPE.replaced(shard_number=3, replication_factor=2)
SAMPLE = Sample(dense=vectors(200, seed=1))


@pytest.fixture
def cluster(tmp_path: Path) -> Iterator[Cluster]:
    own = Cluster(tmp_path)
    try:
        for number in range(3):
            own.start(number)
        yield own
    except NoServerError as reason:
        if os.environ.get("CI", "").lower() in ("1", "true"):
            pytest.fail(str(reason), pytrace=False)
        pytest.skip(str(reason))
    finally:
        own.stop()


def client_of(cluster: Cluster, number: int) -> Any:
    return connect(cluster.nodes[number].url, grpc_port=cluster.nodes[number].grpc_port)


def nodes_with_state(cluster: Cluster) -> list[int]:
    """Nodes with a whole replica of what collections have learned."""
    nodes = []
    for number in range(3):
        client = client_of(cluster, number)
        shards = client.collection_cluster_info(STATE_COLLECTION).local_shards
        nodes += [number] * any(shard.state.value == "Active" for shard in shards)
        client.close()
    return nodes


def test_a_killed_node_takes_nothing_with_it(cluster: Cluster, qdrant_address: Any) -> None:
    del qdrant_address  # marks the test as one of a server
    engine = client_of(cluster, 0)
    # The first collection has one replica, and so has what is learned until another one needs more.
    Collection.create("single", RECIPE, engine, sample=SAMPLE)
    assert len(nodes_with_state(cluster)) == 1
    collection = Collection.create("docs", REPLICATED, engine, sample=SAMPLE)
    holders = nodes_with_state(cluster)
    assert len(holders) == 2
    victim = next(number for number in holders if number != 0)
    added: dict[int, np.ndarray] = {}
    wrong: list[str] = []
    stop = threading.Event()

    def add() -> None:
        first = 0
        while not stop.is_set():
            data = vectors(20, seed=first + 10)
            try:
                collection.add(range(first, first + 20), dense=data)
                added.update(zip(range(first, first + 20), data, strict=True))
            except EmbplugError:
                pass
            first += 20

    def search() -> None:
        searching = Collection.open("docs", client_of(cluster, 0))
        rng = np.random.default_rng(0)
        while not stop.is_set():
            known = list(added)
            if not known:
                continue
            row = known[int(rng.integers(len(known)))]
            try:
                hits = searching.search(dense=added[row], limit=1)
            except EmbplugError:
                continue
            if [hit.id for hit in hits] != [row]:
                wrong.append(f"{row}: {hits}")

    threads = [threading.Thread(target=task) for task in (add, search)]
    for thread in threads:
        thread.start()
    time.sleep(SECONDS / 3)
    cluster.kill(victim)
    killed_at = len(added)
    time.sleep(SECONDS / 3)
    # What was learned is read without the node.
    survivor = client_of(cluster, next(number for number in (1, 2) if number != victim))
    opened = Collection.open("docs", survivor)
    row = next(iter(added))
    assert opened.search(dense=added[row], limit=1)[0].id == row
    survivor.close()
    time.sleep(SECONDS / 3)
    stop.set()
    for thread in threads:
        thread.join()
    cluster.start(victim)
    assert len(added) > killed_at > 0
    assert wrong == []
    deadline = time.monotonic() + 60
    while not counts_agree(cluster, added) and time.monotonic() < deadline:
        time.sleep(0.5)
    for number in range(3):
        client: QdrantClient = client_of(cluster, number)
        stored = {record.id for record in client.scroll("docs", limit=100_000, with_payload=False)[0]}
        assert {point_id(row, "id") for row in added} <= stored
        client.close()
    assert counts_agree(cluster, added)
    engine.close()


def counts_agree(cluster: Cluster, added: dict[int, Any]) -> bool:
    """Whether all nodes count the same, and every replica is whole."""
    counts, states = set(), set()
    for number in range(3):
        client = client_of(cluster, number)
        counts.add(client.count("docs", exact=True).count)
        info = client.collection_cluster_info("docs")
        states |= {shard.state.value for shard in (*info.local_shards, *info.remote_shards)}
        client.close()
    return len(counts) == 1 and counts.pop() >= len(added) and states == {"Active"}
