"""Snapshots of a collection and of what it has learned, restored on another server as the docs say."""

from __future__ import annotations

import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import httpx
import numpy as np
import pytest
from qdrant_client import QdrantClient, models

from embplug import Collection, Dense, Hit, Recipe, Rerank, Sample, TokenBatch, Tokens, connect
from embplug.common.ids import CODES, SHORTLIST, point_id
from embplug.errors import StateError
from embplug.methods import FDE, PCA, PredictiveQuantizer
from tests.branches.parts import DIM, vectors
from tests.servers import server_in

RECIPE = Recipe(dense=Dense(dim=DIM, transforms=[PCA(DIM, center="both", normalize=True)]))
DATA = vectors(100)
SHORTLISTED = Recipe(
    tokens=Tokens(
        dim=DIM,
        encoding=FDE(repetitions=2, simhash_bits=1, projection_dim=4),
        codes=PredictiveQuantizer(size=8, centroids=32, levels="scalar"),
        document_bytes=8,
        shortlist_bytes=8,
    ),
    rerank=Rerank(candidates=40, shortlist=12),
)


def upload(client: QdrantClient, url: str, name: str, snapshot: bytes) -> None:
    answer = httpx.post(
        f"{url}/collections/{name}/snapshots/upload?priority=snapshot&wait=true",
        files={"snapshot": snapshot},
        timeout=60,
    )
    answer.raise_for_status()
    assert client.collection_exists(name)


def snapshot_of(client: QdrantClient, url: str, name: str) -> bytes:
    described = client.create_snapshot(name, wait=True)
    assert described is not None
    answer = httpx.get(f"{url}/collections/{name}/snapshots/{described.name}", timeout=60)
    return answer.raise_for_status().content


@pytest.fixture
def backup(server_client: QdrantClient, qdrant_address: tuple[str, int]) -> dict[str, bytes]:
    """Snapshots of a collection and of the state of all collections."""
    collection = Collection.create("docs", RECIPE, server_client, sample=Sample(dense=DATA))
    collection.add(range(100), dense=DATA, payloads=[{"n": i} for i in range(100)])
    return {name: snapshot_of(server_client, qdrant_address[0], name) for name in ("docs", "embplug_state")}


def test_both_are_restored_on_an_empty_server(backup: dict[str, bytes], tmp_path: Path) -> None:
    with server_in(tmp_path) as (url, grpc_port, _):
        client: Any = connect(url, grpc_port=grpc_port)
        upload(client, url, "docs", backup["docs"])
        with pytest.raises(StateError, match="embplug_state"):
            Collection.open("docs", client)
        upload(client, url, "embplug_state", backup["embplug_state"])
        check(client)
        client.close()


def test_short_codes_are_restored_with_what_they_have_learned(
    server_client: QdrantClient, qdrant_address: tuple[str, int], tmp_path: Path
) -> None:
    tokens = long_documents(0)
    collection = Collection.create("long", SHORTLISTED, server_client)
    collection.add([f"doc {i}" for i in range(len(tokens))], tokens=tokens)
    before = collection.search(tokens=tokens[5], limit=2, with_stages=True)
    url = qdrant_address[0]
    saved = {name: snapshot_of(server_client, url, name) for name in ("long", "embplug_state")}
    with server_in(tmp_path) as (url, grpc_port, _):
        client: Any = connect(url, grpc_port=grpc_port)
        for name, snapshot in saved.items():
            upload(client, url, name, snapshot)
        check_shortlist(Collection.open("long", client), before)
        client.close()


def test_a_folder_of_edge_is_copied_with_short_codes(tmp_path: Path) -> None:
    tokens = long_documents(0)
    with connect(tmp_path / "data") as client:
        collection = Collection.create("long", SHORTLISTED, client)
        collection.add([f"doc {i}" for i in range(len(tokens))], tokens=tokens)
        before = collection.search(tokens=tokens[5], limit=2, with_stages=True)
    shutil.copytree(tmp_path / "data", tmp_path / "copy")
    with connect(tmp_path / "copy") as client:
        check_shortlist(Collection.open("long", client), before)


def long_documents(seed: int) -> TokenBatch:
    """Documents of so many tokens that they get short codes."""
    return TokenBatch(vectors(40 * 100, seed), np.arange(0, 40 * 100 + 1, 100))


def check_shortlist(collection: Collection, before: Sequence[Hit]) -> None:
    """A restored collection finds by short codes what it found before, and what is added to it."""
    assert before[0].id == "doc 5" and "shortlist" in (before[0].stages or {})
    after = collection.search(tokens=long_documents(0)[5], limit=2, with_stages=True)
    assert [hit.id for hit in after] == [hit.id for hit in before]
    assert after[0].stages == pytest.approx(before[0].stages, rel=1e-4)
    added = long_documents(1)[:1]
    collection.add(["late"], tokens=added)
    (late,) = collection.search(tokens=added[0], limit=1, with_stages=True)
    assert late.id == "late" and "shortlist" in (late.stages or {})
    (record,) = collection.engine.retrieve(collection.name, [point_id("late", "id")], with_payload=True)
    assert record.payload[CODES] and record.payload[SHORTLIST]


def test_the_state_is_copied_to_a_server_that_has_some(
    backup: dict[str, bytes], server_client: QdrantClient, tmp_path: Path
) -> None:
    with server_in(tmp_path) as (url, grpc_port, _):
        client: Any = connect(url, grpc_port=grpc_port)
        other = Collection.create("other", RECIPE, client, sample=Sample(dense=vectors(100, seed=3)))
        other.add([1], dense=DATA[:1])
        upload(client, url, "docs", backup["docs"])
        copy_state(server_client, client, "docs")
        check(client)
        assert Collection.open("other", client).search(dense=DATA[0])[0].id == 1
        client.close()


def test_what_was_dropped_comes_back_with_its_state(
    backup: dict[str, bytes], server_client: QdrantClient, qdrant_address: tuple[str, int]
) -> None:
    before = Collection.open("docs", server_client)
    before.drop()
    for name, snapshot in backup.items():
        upload(server_client, qdrant_address[0], name, snapshot)
    check(server_client)
    # An object from before the restore follows.
    assert before.search(dense=DATA[5], limit=1)[0].payload == {"n": 5}


def copy_state(source: QdrantClient, target: QdrantClient, collection: str) -> None:
    """As ``docs/backups.md`` does it."""
    key = models.FieldCondition(key="collection", match=models.MatchValue(value=collection))
    offset: Any = None
    while True:
        chunks, offset = source.scroll(
            "embplug_state", scroll_filter=models.Filter(must=[key]), limit=10, offset=offset
        )
        points = [models.PointStruct(id=chunk.id, vector={}, payload=chunk.payload) for chunk in chunks]
        target.upsert("embplug_state", points, wait=True)
        if offset is None:
            return


def check(client: Any) -> None:
    collection = Collection.open("docs", client)
    assert collection.count() == 100 and collection.search(dense=DATA[5], limit=1)[0].payload == {"n": 5}
    assert collection.add([200], dense=DATA[:1]).added == 1
