"""Functions on a collection take it open, or by its name and its engine."""

from __future__ import annotations

import asyncio
import inspect
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import embplug
from embplug import Collection, Dense, Recipe, advise, migrate, recode, reembed, upgrade
from embplug.collection.named import located, opened
from embplug.engines import EdgeClient
from embplug.errors import CollectionNotFoundError, InvalidArgumentError, NotAnEmbplugCollectionError
from embplug.lifecycle.migration import rollback
from tests.lifecycle.test_upgrade import COUNT, PLAIN, TEXTS, Model

FUNCTIONS = [upgrade, reembed, recode, migrate, rollback, advise]
ARGUMENTS: dict[str, list[Any]] = {
    "upgrade": ["tests-new"],
    "reembed": [],
    "recode": [],
    "migrate": ["target", Recipe(dense=Dense(dim=4))],
    "rollback": ["target", "alias"],
    "advise": [],
}
KEYWORDS: dict[str, dict[str, Any]] = {"recode": {"new": [[1.0]], "old": [[1.0]]}}


@pytest.mark.parametrize("function", FUNCTIONS, ids=lambda function: function.__name__)
def test_all_take_the_same_first_argument(function: Any, edge_client: EdgeClient) -> None:
    parameters = [*inspect.signature(function).parameters.values()]
    assert parameters[0].annotation == "Collection | str"
    engine = inspect.signature(function).parameters["engine"]
    assert engine.kind is inspect.Parameter.KEYWORD_ONLY and engine.default is None
    assert not hasattr(embplug, f"{function.__name__}_async")
    arguments = ARGUMENTS[function.__name__]
    call = partial(function, **KEYWORDS.get(function.__name__, {}))
    by_name = r"^engine: expected the engine of collection 'docs', because it is passed by name, got None$"
    with pytest.raises(InvalidArgumentError, match=by_name):
        call("docs", *arguments)
    collection = Collection.create("docs", Recipe(dense=Dense(dim=4)), edge_client)
    with pytest.raises(InvalidArgumentError, match=r"^engine: expected none beside an open collection"):
        call(collection, *arguments, engine=edge_client)
    expected = rf"^{parameters[0].name}: expected a Collection, or the name of one, got "
    for other in (collection.to_async(), None):
        with pytest.raises(InvalidArgumentError, match=expected):
            call(other, *arguments, engine=edge_client)
    with pytest.raises(CollectionNotFoundError):
        call("absent", *arguments, engine=edge_client)


def test_an_engine_that_is_opened_for_a_call_is_closed(tmp_path: Path) -> None:
    with opened(Collection.create("docs", Recipe(dense=Dense(dim=4)), tmp_path / "e"), None) as collection:
        assert collection.name == "docs"
    collection.engine.close()
    for _ in range(2):
        with located("docs", tmp_path / "e") as (name, client):
            assert name == "docs" and client.collection_exists("docs")
    with EdgeClient(tmp_path / "e") as client:
        with opened("docs", client) as collection:
            assert collection.engine is client
        assert client.collection_exists("docs")


def test_an_upgrade_by_name_is_taken_over_by_what_is_open(edge_client: EdgeClient) -> None:
    own, other = Collection.create("up", PLAIN, edge_client), Collection.open("up", edge_client)
    own.add([f"doc {i}" for i in range(COUNT)], texts=TEXTS)
    assert other.search(text="query 7", limit=1)[0].id == "doc 7"
    before = other.encoder
    other.reload()
    assert other.encoder is before
    assert upgrade("up", "tests-new", engine=edge_client, pairs=250).installed
    assert own.recipe.encoder == other.recipe.encoder == "tests-old"
    for collection in (own, other):
        collection.reload()
        assert collection.encoder.spec == "tests-new"
        assert "dense_v1" in {stage for hit in stages(collection) for stage in hit.stages or {}}
    assert reembed("up", engine=edge_client).finished
    own.reload()
    assert {*own._pipeline.versions} == {"dense"} and own._pipeline.versions["dense"].previous is None
    assert not {stage for hit in stages(own) for stage in hit.stages or {}} - {"dense"}
    model = Model("tests-new")
    asyncio.run(reloaded(other, model))


def stages(collection: Collection) -> Any:
    return collection.search(text="query 7", with_stages=True)


async def reloaded(collection: Collection, model: Model) -> None:
    awaited = collection.to_async()
    await awaited.reload(encoder=model)
    assert awaited.encoder is model
    assert (await awaited.search(text="query 7", limit=1))[0].id == "doc 7"


def test_a_plain_collection_has_nothing_to_reload(edge_client: EdgeClient) -> None:
    from qdrant_client import models

    edge_client.create_collection("plain", {"a": models.VectorParams(size=4, distance=models.Distance.DOT)})
    plain = Collection.open_plain("plain", edge_client)
    plain.add([1], dense=np.ones((1, 4), np.float32))
    with pytest.raises(NotAnEmbplugCollectionError):
        plain.reload()
    assert plain.search(dense=np.ones(4, np.float32))[0].id == 1
