"""Indexes built or waited for, and a collection deleted with what only it needs."""

from __future__ import annotations

from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
from qdrant_client import QdrantClient, models

from embplug import Dense, Recipe
from embplug.branches.documents import CheckedSample
from embplug.branches.pipeline import Pipeline
from embplug.collection.maintenance import POLL_S, STABLE_POLLS, drop_steps, optimize_steps
from embplug.collection.manifest import MANIFEST_KEY, Manifest
from embplug.collection.opening import create_steps, open_steps
from embplug.collection.state import save
from embplug.collection.state_collection import STATE_COLLECTION
from embplug.engines.calls import PAUSE, Call, run
from embplug.errors import CollectionNotFoundError, EngineError
from embplug.methods import PCA
from tests.branches.parts import DIM, vectors

RECIPE = Recipe(dense=Dense(dim=DIM, transforms=[PCA(4)]))


@pytest.fixture
def server() -> Iterator[QdrantClient]:
    """The client of a server that is never asked: the steps are driven by hand."""
    client = QdrantClient("http://127.0.0.1:1", check_compatibility=False)
    yield client
    client.close()


def polled(server: QdrantClient, answers: list[tuple[str, int]], timeout: float = 60.0) -> tuple[bool, int]:
    """Result of waiting for a server that answers so, and the number of its answers that were needed."""
    steps, count = optimize_steps(server, "docs", timeout), 0
    call = next(steps)
    try:
        while True:
            if call.method == PAUSE:
                assert call.arguments["seconds"] == POLL_S
                call = steps.send(None)
                continue
            assert call == Call.of("get_collection", collection_name="docs")
            status, indexed = answers[count]
            count += 1
            info = SimpleNamespace(status=models.CollectionStatus(status), indexed_vectors_count=indexed)
            call = steps.send(info)
    except StopIteration as stop:
        return stop.value, count


GREEN = ("green", 10)


def test_a_server_that_stays_green_has_nothing_to_do(server: QdrantClient) -> None:
    assert polled(server, [GREEN] * 9) == (False, STABLE_POLLS)


def test_a_moment_of_green_is_not_the_end(server: QdrantClient) -> None:
    answers = [("green", 0), ("yellow", 0), ("green", 5), *[GREEN] * 9]
    assert polled(server, answers) == (True, 3 + STABLE_POLLS)


def test_green_that_still_counts_more_vectors_is_not_the_end(server: QdrantClient) -> None:
    answers = [("green", i) for i in range(5)] + [GREEN] * 9
    assert polled(server, answers) == (True, 5 + STABLE_POLLS)


def test_a_server_that_does_not_finish_is_told(server: QdrantClient) -> None:
    with pytest.raises(
        EngineError, match=r"^collection 'docs': indexing has not finished after -1 s \(status: yellow\)$"
    ):
        polled(server, [("yellow", 0)] * 5, timeout=-1.0)


def test_edge_builds_at_once(edge_client: Any) -> None:
    steps = optimize_steps(edge_client, "docs", 60.0)
    assert next(steps) == Call.of("optimize", collection_name="docs")
    with pytest.raises(StopIteration) as stopped:
        steps.send(True)
    assert stopped.value.value is True


def create(engine: Any, name: str, seed: int = 0) -> None:
    sample = CheckedSample(None, {"dense": vectors(30, seed)})
    run(engine, create_steps(engine, name, RECIPE, sample=sample))


def chunk_count(engine: QdrantClient) -> int:
    return engine.count(STATE_COLLECTION).count


def test_the_state_goes_with_its_collection_whatever_others_have_learned(memory_client: QdrantClient) -> None:
    for name, seed in (("first", 0), ("second", 0), ("third", 1)):
        create(memory_client, name, seed)
    assert chunk_count(memory_client) == 3
    memory_client.create_collection("plain", vectors_config={})
    run(memory_client, drop_steps(memory_client, "first"))
    assert not memory_client.collection_exists("first") and chunk_count(memory_client) == 2
    assert run(memory_client, open_steps(memory_client, "second")).fitted
    run(memory_client, drop_steps(memory_client, "second"))
    run(memory_client, drop_steps(memory_client, "third"))
    assert chunk_count(memory_client) == 0 and memory_client.collection_exists("plain")


def test_a_state_that_collections_of_before_share_goes_with_the_last_of_them(
    memory_client: QdrantClient,
) -> None:
    pipeline = Pipeline(RECIPE)
    pipeline.fit(CheckedSample(None, {"dense": vectors(30)}))
    for name in ("first", "second"):
        reference = run(memory_client, save(memory_client, name, pipeline.get_state()))
        memory_client.create_collection(
            name,
            vectors_config=pipeline.vectors_config(),
            metadata={MANIFEST_KEY: Manifest(RECIPE, reference).to_dict()},
        )
    assert chunk_count(memory_client) == 1
    run(memory_client, drop_steps(memory_client, "first"))
    assert run(memory_client, open_steps(memory_client, "second")).fitted
    run(memory_client, drop_steps(memory_client, "second"))
    assert chunk_count(memory_client) == 0


def test_a_collection_that_has_learned_nothing_leaves_states_alone(memory_client: QdrantClient) -> None:
    create(memory_client, "other")
    run(memory_client, create_steps(memory_client, "docs", RECIPE))
    run(memory_client, drop_steps(memory_client, "docs"))
    assert not memory_client.collection_exists("docs") and chunk_count(memory_client) == 1


def test_on_edge_the_state_goes_with_the_folder(edge_client: Any) -> None:
    create(edge_client, "docs")
    folder = edge_client.collection_path("docs")
    assert [*(folder / "state").iterdir()]
    run(edge_client, drop_steps(edge_client, "docs"))
    assert not edge_client.collection_exists("docs") and not folder.exists()


def test_a_collection_that_does_not_exist_is_not_dropped(memory_client: QdrantClient) -> None:
    with pytest.raises(CollectionNotFoundError):
        run(memory_client, drop_steps(memory_client, "docs"))
