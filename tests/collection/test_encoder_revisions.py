"""A collection remembers by which revision of its model vectors were made, and refuses another one."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
import pytest
from qdrant_client import QdrantClient

from embplug import Collection, Dense, Encoded, Recipe, Tokens, upgrade
from embplug.collection.manifest import Manifest, read_manifest
from embplug.errors import EncoderMismatchError, StateError
from embplug.methods.token_batch import TokenBatch
from tests.branches.parts import DIM

TEXTS = [f"text {i}" for i in range(60)]
DENSE = Recipe(dense=Dense(dim=DIM))
LEARNED = Recipe(tokens=Tokens(dim=DIM))


class Revised:
    """An encoder that tells its revision; its vectors follow from seed and text."""

    spec = "revised"

    def __init__(self, revision: str | None, seed: int = 0) -> None:
        self.revision = revision
        self.calls = 0
        self._seed = seed

    def encode_documents(self, texts: Sequence[str]) -> Encoded:
        self.calls += 1
        rows = [
            np.random.default_rng([self._seed, *text.encode()]).standard_normal((3, DIM)) for text in texts
        ]
        tokens = TokenBatch.from_list([row.astype(np.float32) for row in rows])
        return Encoded(tokens, np.stack([row[0] for row in rows]).astype(np.float32))

    encode_queries = encode_documents


def stored(engine: Any) -> dict[str, str]:
    return read_manifest("docs", engine.get_collection("docs")).encoders


@pytest.mark.parametrize("recipe", [DENSE, LEARNED], ids=["fitted", "learned"])
def test_the_first_vectors_decide_the_revision(memory_client: Any, recipe: Recipe) -> None:
    collection = Collection.create("docs", recipe, memory_client, encoder=Revised("weights-a"))
    assert stored(memory_client) == {}
    collection.add(range(60), texts=TEXTS)
    assert stored(memory_client) == {"": "weights-a"}
    revision = collection._pipeline.revision
    collection.add([60], texts=["more"])
    assert collection._pipeline.revision == revision
    assert (
        Collection.open("docs", memory_client, encoder=Revised("weights-a")).search(text="text 7")[0].id == 7
    )


@pytest.mark.parametrize("recipe", [DENSE, LEARNED], ids=["fitted", "learned"])
def test_another_revision_is_refused_for_queries_and_documents(memory_client: Any, recipe: Recipe) -> None:
    Collection.create("docs", recipe, memory_client, encoder=Revised("weights-a")).add(range(60), texts=TEXTS)
    other = Revised("weights-b")
    reader = Collection.open("docs", memory_client, encoder=other)
    for refused in (lambda: reader.search(text="a"), lambda: reader.add([70], texts=["b"])):
        with pytest.raises(
            EncoderMismatchError, match=r"^encoder 'revised' has the revision 'weights-b', but"
        ):
            refused()
    assert other.calls == 0 and reader.count() == 60
    vector = {"tokens": np.ones((2, DIM))} if recipe is LEARNED else {"dense": np.ones(DIM)}
    assert len(reader.search(**vector, limit=3)) == 3


@pytest.mark.parametrize("revision", [None, "0123456789abcdef0123456789abcdef01234567"])
def test_what_cannot_be_compared_is_not_refused(memory_client: Any, revision: str | None) -> None:
    collection = Collection.create("docs", DENSE, memory_client, encoder=Revised("weights-a"))
    collection.add([1], texts=["a"])
    reader = Collection.open("docs", memory_client, encoder=Revised(revision))
    assert len(reader.search(text="a")) == 1
    assert stored(memory_client) == {"": "weights-a"}


def test_of_two_processes_the_second_takes_over_the_revision_of_the_first(memory_client: Any) -> None:
    first = Collection.create("docs", DENSE, memory_client, encoder=Revised("weights-a"))
    same, other = (
        Collection.open("docs", memory_client, encoder=Revised(name)) for name in ("weights-a", "weights-b")
    )
    first.add([1], texts=["a"])
    same.add([2], texts=["b"])
    with pytest.raises(EncoderMismatchError):
        other.add([3], texts=["c"])
    assert first.count() == 2 and stored(memory_client) == {"": "weights-a"}


def test_an_upgrade_changes_the_revision(engine: Any) -> None:
    texts = [f"text {i}" for i in range(80)]
    collection = Collection.create("docs", DENSE, engine, encoder=Revised("weights-a"))
    collection.add(range(80), texts=texts, payloads=[{"text": text} for text in texts])
    upgrade(collection, Revised("weights-b", seed=1), min_recall=0.0, k=2, pairs=50)
    assert stored(engine) == {"": "weights-b"}
    with pytest.raises(EncoderMismatchError):
        Collection.open("docs", engine, encoder=Revised("weights-a")).search(text="a")
    collection.search(text="a")


def test_revisions_of_a_manifest_are_checked() -> None:
    manifest = Manifest(DENSE, encoders={"": "weights-a"}, created_with="0")
    assert Manifest.from_dict("docs", manifest.to_dict()) == manifest
    with pytest.raises(StateError, match="encoders"):
        Manifest.from_dict("docs", Manifest(DENSE, encoders={"": 3}, created_with="0").to_dict())  # type: ignore[dict-item]


@pytest.mark.parametrize("recipe", [DENSE, LEARNED], ids=["fitted", "learned"])
def test_of_processes_at_once_one_decides_the_revision(
    qdrant_address: tuple[str, int], recipe: Recipe
) -> None:
    name = f"revisions-{uuid.uuid4().hex}"
    clients = [QdrantClient(qdrant_address[0]) for _ in range(4)]
    Collection.create(name, recipe, clients[0], encoder=Revised("weights-a"))
    handles = [
        Collection.open(name, client, encoder=Revised(f"weights-{'ab'[i % 2]}"))
        for i, client in enumerate(clients)
    ]

    def add(i: int) -> str | None:
        try:
            handles[i].add(range(100 * i, 100 * i + 60), texts=TEXTS)
        except EncoderMismatchError as error:
            return error.expected
        return None

    try:
        with ThreadPoolExecutor(4) as threads:
            refused = list(threads.map(add, range(4)))
        decided = read_manifest(name, clients[0].get_collection(name)).encoders[""]
        losers = [i for i in range(4) if decided != f"weights-{'ab'[i % 2]}"]
        assert refused == [decided if i in losers else None for i in range(4)]
        stored = clients[0].scroll(name, limit=1000, with_payload=False)[0]
        assert len(stored) == 120
    finally:
        clients[0].delete_collection(name)
        for client in clients:
            client.close()
