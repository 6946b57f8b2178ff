"""A collection as the store of a framework uses it: opening, reading, searching, deleting, event loops."""

from __future__ import annotations

import asyncio
import logging

import pytest
from qdrant_client import models

from embplug import Collection, Dense, Documents, Recipe
from embplug.engines.calls import Call
from embplug.errors import (
    CollectionNotFoundError,
    DimensionError,
    DuplicateIdError,
    InvalidArgumentError,
    NotAnEmbplugCollectionError,
    RecipeMismatchError,
)
from embplug.frameworks.collection import FrameworkCollection
from embplug.frameworks.conditions import equal
from embplug.frameworks.event_loops import EventLoopCollections
from embplug.frameworks.opening import delete_collection, open_or_create
from embplug.frameworks.search import SearchRequest, mmr_by_relevance
from embplug.frameworks.steps import run, run_async
from embplug.methods import PCA

RECIPE = Recipe(dense=Dense(dim=2))
VECTORS = {"a": [1.0, 0.0], "b": [0.8, 0.6], "7": [0.0, 1.0]}
EVEN = models.Filter(must=[equal("even", True, "")])


def open_shared(client, name="docs", *, recipe=None, default=lambda: RECIPE, adapt=lambda recipe: recipe):
    collection, is_plain = open_or_create(
        name,
        client,
        None,
        recipe=recipe,
        adapt=adapt,
        default=default,
        vector_name="",
        text_key="text",
        how_to_compress="ask us",
    )
    return FrameworkCollection(collection, is_plain)


def ids_of(items):
    return [item.id for item in items]


@pytest.fixture
def shared(memory_client):
    shared = open_shared(memory_client)
    payloads = [{"even": i % 2 == 0} for i in range(3)]
    shared.add([Documents([*VECTORS], dense=[*VECTORS.values()], payloads=payloads)], progress=False)
    return shared


def test_a_collection_is_opened_or_else_created(memory_client):
    with pytest.raises(CollectionNotFoundError):
        open_shared(memory_client, default=None)
    adapted = open_shared(memory_client, adapt=lambda recipe: recipe.model_copy(update={"text_key": "body"}))
    assert not adapted.is_plain and adapted.collection.recipe.text_key == "body"
    again = open_shared(memory_client, default=None, recipe=adapted.collection.recipe)
    assert again.collection.recipe == adapted.collection.recipe
    for default in (None, lambda: RECIPE):
        with pytest.raises(RecipeMismatchError):
            open_shared(memory_client, default=default, recipe=Recipe(dense=Dense(dim=3)))


def test_a_recipe_without_what_the_framework_adds_is_no_other_recipe(memory_client):
    Collection.create("docs", RECIPE, memory_client)
    shared = open_shared(
        memory_client, recipe=RECIPE, adapt=lambda recipe: recipe.model_copy(update={"text_key": "body"})
    )
    assert shared.collection.recipe.text_key == "text"


def test_a_plain_collection_is_opened_as_it_is(memory_client, caplog):
    vectors = models.VectorParams(size=2, distance=models.Distance.COSINE)
    memory_client.create_collection("plain", vectors_config=vectors)
    with caplog.at_level(logging.WARNING):
        assert open_shared(memory_client, "plain").is_plain
    assert "ask us" in caplog.text
    with pytest.raises(NotAnEmbplugCollectionError):
        open_shared(memory_client, "plain", recipe=RECIPE)


def test_any_collection_is_deleted_and_a_missing_one_is_no_error(memory_client):
    Collection.create("ours", RECIPE, memory_client)
    memory_client.create_collection("plain", vectors_config={})
    for name in ("ours", "plain", "missing"):
        delete_collection(memory_client, name)
        assert not memory_client.collection_exists(name)


def test_the_name_of_the_dense_vector(shared, memory_client):
    assert shared.dense_name("", required=True) == shared.dense_name("dense", required=False) == "dense"
    with pytest.raises(InvalidArgumentError, match="vector_name"):
        shared.dense_name("title", required=False)
    both = Recipe(dense={"text": Dense(dim=2), "title": Dense(dim=2)})
    two = open_shared(memory_client, "two", recipe=both)
    assert two.dense_name("title", required=True) == "title" and two.dense_name("", required=False) is None
    with pytest.raises(InvalidArgumentError, match="vector_name"):
        two.dense_name("", required=True)


async def test_documents_are_read_by_ids_filters_both_or_all(shared, monkeypatch):
    monkeypatch.setattr("embplug.frameworks.collection.PAGE", 1)
    for arguments, expected in [
        ((["7", "missing", "a"],), ["7", "a"]),
        ((["7", "b", "a"], EVEN), ["7", "a"]),
        ((["7", "a"], EVEN, 1), ["7"]),
        (([],), []),
        (([], EVEN), []),
    ]:
        assert ids_of(shared.records(*arguments)) == ids_of(await shared.arecords(*arguments)) == expected
    assert set(ids_of(shared.records())) == {*VECTORS}
    assert set(ids_of(shared.records(filter=EVEN))) == {"a", "7"}
    assert len(shared.records(limit=2)) == len(await shared.arecords(limit=2)) == 2
    assert [len(page) for page in shared.pages(None, 2)] == [2, 1]


async def test_a_search_leaves_out_the_first_hits(shared):
    request = SearchRequest(dense=[1.0, 0.0], limit=1, offset=1)
    assert ids_of(shared.search(request)) == ids_of(await shared.asearch(request)) == ["b"]
    diverse = SearchRequest(dense=[1.0, 0.0], limit=2, mmr=mmr_by_relevance(0.0))
    assert ids_of(shared.search(diverse)) == ids_of(await shared.asearch(diverse)) == ["a", "7"]


async def test_documents_are_deleted_by_ids_or_by_a_filter(shared):
    shared.delete([])
    await shared.adelete(["missing", "b"])
    assert set(ids_of(shared.records())) == {"a", "7"}
    shared.delete(filter=EVEN)
    assert shared.records() == []
    for wrong in ((None, None), (["a"], EVEN)):
        with pytest.raises(InvalidArgumentError):
            shared.delete(*wrong)


async def test_documents_are_added_from_an_event_loop(shared):
    async def batches():
        yield Documents(["c"], dense=[[0.0, 1.0]])

    await shared.aadd(batches(), progress=False)
    assert ids_of(shared.records(["c"])) == ["c"]


def test_each_event_loop_has_a_collection_until_it_is_closed(shared):
    collections = EventLoopCollections(shared.collection)

    async def twice():
        return collections.current(), collections.current()

    first, same = asyncio.run(twice())
    assert first is same and len(collections) == 1
    assert asyncio.run(twice())[0] is not first and len(collections) == 1
    asyncio.run(_closed(collections))
    assert len(collections) == 0
    with pytest.raises(RuntimeError):
        collections.current()


async def _closed(collections):
    collections.current()
    await collections.aclose()
    await collections.aclose()


def test_text_fields_with_an_index_ignore_case(server_client):
    index = models.TextIndexParams(type=models.TextIndexType.TEXT, lowercase=False)
    recipe = Recipe(dense=Dense(dim=2), payload_indexes={"title": "text", "code": index, "year": "integer"})
    assert open_shared(server_client, recipe=recipe).case_insensitive_fields() == {"title"}


async def test_steps_call_the_methods_of_a_collection(shared):
    def steps():
        count = yield Call.of("count")
        records = yield Call.of("retrieve", ids=["a"])
        return count, ids_of(records)

    assert run(shared.collection, steps()) == (3, ["a"])
    assert await run_async(shared.collection.to_async(), steps()) == (3, ["a"])


@pytest.mark.parametrize("mmr", [None, mmr_by_relevance(0.5)])
def test_before_the_first_document_a_search_returns_nothing(memory_client, mmr):
    recipe = Recipe(dense=Dense(dim=2, transforms=[PCA(1)]))
    shared = open_shared(memory_client, recipe=recipe)
    request = SearchRequest(dense=[1.0, 0.0], limit=3, mmr=mmr)
    assert shared.search(request) == []
    assert asyncio.run(shared.asearch(request)) == []
    with pytest.raises(DimensionError):
        shared.search(SearchRequest(dense=[1.0], limit=3, mmr=mmr))
    shared.add([Documents([*VECTORS], dense=[*VECTORS.values()])], progress=False)
    assert len(shared.search(request)) == 3


def test_an_id_that_comes_twice_is_refused_close_and_far(memory_client):
    shared = open_shared(memory_client)
    batches = [Documents([i], dense=[[1.0, 0.0]], position=row) for row, i in enumerate(["a", "b", "a"])]
    with pytest.raises(DuplicateIdError, match=r"^ids\[2\]: .* got 'a'"):
        shared.add(batches, progress=False)
