"""Batches are checked whole, learned from if need be, and handed on without a loss."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import numpy as np
import pytest
from qdrant_client import QdrantClient

from embplug import Dense, Documents, Recipe
from embplug.branches.documents import CheckedSample
from embplug.branches.pipeline import Pipeline
from embplug.collection import ingest as module
from embplug.collection.fitting import learn_steps
from embplug.collection.handle import Handle
from embplug.collection.ingest import ingest
from embplug.collection.opening import create_steps
from embplug.engines.calls import run
from embplug.errors import InvalidArgumentError
from embplug.methods import PCA
from tests.branches.parts import DIM, RecordingEncoder, vectors

LEARNING = Recipe(dense=Dense(dim=DIM, transforms=[PCA(4)]), fit_sample=25)
PLAIN = Recipe(dense=Dense(dim=DIM))
DENSE = vectors(60)


def at_once(engine: Any) -> Callable[[Any], Future[Any]]:
    def submit(steps: Any) -> Future[Any]:
        future: Future[Any] = Future()
        try:
            future.set_result(run(engine, steps))
        except Exception as error:
            future.set_exception(error)
        return future

    return submit


def add(handle: Handle, batches: Any) -> Any:
    return ingest(handle, batches, at_once(handle.engine), in_flight=1, progress=False)


def created(engine: Any, recipe: Recipe, encoder: Any = None) -> Handle:
    return Handle(engine, "docs", run(engine, create_steps(engine, "docs", recipe, encoder=encoder)))


def batches(size: int = 10) -> Iterator[Documents]:
    for start in range(0, len(DENSE), size):
        yield Documents(range(start, start + size), dense=DENSE[start : start + size])


def test_what_was_learned_from_is_written_too(memory_client: QdrantClient) -> None:
    handle = created(memory_client, LEARNING)
    assert add(handle, batches()).added == 60
    assert memory_client.count("docs").count == 60


def test_it_learns_from_the_first_documents_and_no_more_than_the_recipe_says(
    memory_client: QdrantClient,
) -> None:
    handle = created(memory_client, LEARNING)
    add(handle, batches())
    expected = Pipeline(LEARNING)
    expected.fit(CheckedSample(None, {"dense": DENSE[:25]}))
    for key, array in expected.get_state().items():
        np.testing.assert_array_equal(handle.pipeline.get_state()[key], array)


def test_no_more_batches_are_read_before_it_learns_than_it_learns_from(memory_client: QdrantClient) -> None:
    handle, fitted = created(memory_client, LEARNING), []

    def watched() -> Iterator[Documents]:
        for batch in batches():
            fitted.append(handle.pipeline.fitted)
            yield batch

    add(handle, watched())
    assert fitted == [False, False, False, True, True, True]


def test_what_another_process_has_learned_is_taken_before_a_batch_is_read(
    memory_client: QdrantClient,
) -> None:
    handle = created(memory_client, LEARNING)
    sample = CheckedSample(None, {"dense": vectors(30, seed=9)})
    other = run(memory_client, learn_steps(memory_client, "docs", handle.pipeline, sample))
    assert not handle.pipeline.fitted

    def watched() -> Iterator[Documents]:
        for batch in batches():
            assert handle.pipeline.fitted
            yield batch

    assert add(handle, watched()).added == 60
    for key, array in other.get_state().items():
        np.testing.assert_array_equal(handle.pipeline.get_state()[key], array)


def test_no_batches_are_nothing_to_learn_from(memory_client: QdrantClient) -> None:
    handle = created(memory_client, LEARNING)
    assert add(handle, []).added == 0
    assert not handle.pipeline.fitted


def test_texts_go_to_the_encoder_in_small_batches(
    memory_client: QdrantClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TEXTS_AT_ONCE", 4)
    encoder = RecordingEncoder()
    handle = created(memory_client, PLAIN, encoder)
    report = add(handle, [Documents(range(10), texts=[f"text {i}" for i in range(10)])])
    assert report.added == 10
    assert [len(call) for call in encoder.calls] == [4, 4, 2]


@pytest.mark.parametrize("wrong", [{"ids": [1]}, [1, 2], None])
def test_a_batch_that_is_none_is_refused(memory_client: QdrantClient, wrong: Any) -> None:
    handle = created(memory_client, PLAIN)
    with pytest.raises(InvalidArgumentError) as raised:
        add(handle, [wrong])
    assert raised.value.argument == "batches"


def test_a_batch_is_checked_whole_before_any_of_it_is_written(
    memory_client: QdrantClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "TEXTS_AT_ONCE", 1)
    handle = created(memory_client, PLAIN, RecordingEncoder())
    with pytest.raises(InvalidArgumentError) as raised:
        add(handle, [Documents([1, 2], texts=["text 1", " "])])
    assert raised.value.argument == "texts[1]"
    assert memory_client.count("docs").count == 0


@pytest.mark.parametrize(("bulk", "optimized"), [(60, True), (61, False)])
def test_edge_builds_its_indexes_after_a_large_call(
    edge_client: Any, monkeypatch: pytest.MonkeyPatch, bulk: int, optimized: bool
) -> None:
    monkeypatch.setattr(module, "BULK_POINTS", bulk)
    calls = []
    monkeypatch.setattr(type(edge_client), "optimize", lambda self, **arguments: calls.append(arguments))
    add(created(edge_client, PLAIN), batches())
    assert calls == ([{"collection_name": "docs"}] if optimized else [])
