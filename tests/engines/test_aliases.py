"""An alias is a name: what is deleted by it is the collection behind it."""

from __future__ import annotations

from typing import Any

import pytest
from qdrant_client import models

from embplug import Collection, Dense, Recipe
from embplug.engines.aliases import alias_steps, collection_behind_steps, delete_collection_steps
from embplug.engines.calls import Call, Steps, run
from embplug.errors import CollectionNotFoundError, EngineError
from embplug.frameworks.opening import delete_collection
from embplug.methods import PCA

RECIPE = Recipe(dense=Dense(dim=2, transforms=[PCA(1)]))


@pytest.fixture
def aliased(engine: Any) -> Any:
    """An engine with the collections ``docs`` and ``plain``, whose aliases are ``alias`` and ``p``."""
    collection = Collection.create("docs", RECIPE, engine)
    collection.add([1, 2, 3], dense=[[1.0, 0.0], [0.0, 1.0], [0.5, 0.7]])
    vector = models.VectorParams(size=2, distance=models.Distance.COSINE)
    engine.create_collection("plain", vectors_config={"vector": vector})
    engine.update_collection_aliases(change_aliases_operations=[alias("docs", "alias"), alias("plain", "p")])
    return engine


def alias(name: str, alias: str) -> models.CreateAliasOperation:
    return models.CreateAliasOperation(
        create_alias=models.CreateAlias(collection_name=name, alias_name=alias)
    )


def names(engine: Any) -> set[str]:
    return {collection.name for collection in engine.get_collections().collections} - {"embplug_state"}


def test_names_lead_to_collections(aliased: Any) -> None:
    assert {("alias", "docs"), ("p", "plain")} <= {*run(aliased, alias_steps()).items()}
    assert run(aliased, collection_behind_steps("alias")) == "docs"
    assert run(aliased, collection_behind_steps("docs")) == "docs"
    assert run(aliased, collection_behind_steps("nowhere")) == "nowhere"


def test_what_is_dropped_by_an_alias_is_gone(aliased: Any) -> None:
    through = Collection.open("alias", aliased)
    assert through.count() == 3
    through.drop()
    assert names(aliased) == {"plain"}
    assert not aliased.collection_exists("alias") and not aliased.collection_exists("docs")
    with pytest.raises(CollectionNotFoundError):
        through.drop()
    # The name is free again.
    assert Collection.create("alias", RECIPE, aliased).count() == 0


def test_stores_delete_what_is_behind_an_alias(aliased: Any) -> None:
    for name in ("alias", "p", "nowhere"):
        delete_collection(aliased, name)
    assert names(aliased) == set()


def test_an_engine_that_did_nothing_is_no_success(engine: Any) -> None:
    with pytest.raises(EngineError, match=r"^the engine answered False to delete_collection of 'nowhere'"):
        run(engine, delete_collection_steps("nowhere"))

    def exists() -> Steps[bool]:
        return (yield Call.of("collection_exists", collection_name="nowhere"))

    assert run(engine, exists()) is False
