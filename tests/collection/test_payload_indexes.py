"""Payload indexes are created and deleted later, and the recipe remembers them."""

from __future__ import annotations

from typing import Any

import pytest
from qdrant_client import models

from embplug import Collection, Dense, Recipe
from embplug.collection.manifest import Manifest
from embplug.engines import traits_of
from embplug.errors import CapabilityError, FilterError, InvalidArgumentError, RecipeMismatchError

RECIPE = Recipe(dense=Dense(dim=2), payload_indexes={"year": "integer"}, text_key="body")
TENANT = models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, is_tenant=True)


@pytest.fixture
def docs(engine: Any) -> Collection:
    """A collection with an index from its creation."""
    collection = Collection.create("docs", RECIPE, engine)
    payloads = [{"year": 2020 + i, "user": f"u{i}", "a": {"b": i}} for i in range(2)]
    collection.add([1, 2], dense=[[1.0, 0.0], [0.0, 1.0]], payloads=payloads)
    return collection


def indexed(docs: Collection) -> dict[str, Any]:
    """Types of the indexes that the engine has, with what is said of tenants."""
    schema = docs.engine.get_collection("docs").payload_schema
    return {
        field: (index.data_type.value, getattr(index.params, "is_tenant", None))
        for field, index in schema.items()
    }


def test_an_index_comes_later_and_the_recipe_has_it(docs: Collection) -> None:
    docs.create_payload_index("user", TENANT)
    docs.create_payload_index("a.b", "integer")
    expected = {"year": "integer", "user": TENANT, "a.b": "integer"}
    for seen in (docs, Collection.open("docs", docs.engine)):
        assert seen.recipe.payload_indexes == expected == seen.info().recipe.payload_indexes
    if traits_of(docs.engine).indexes_payloads:
        assert indexed(docs) == {
            "year": ("integer", None),
            "user": ("keyword", True),
            "a.b": ("integer", None),
        }


def test_the_recipe_with_the_index_and_the_one_of_the_creation_open_it(docs: Collection) -> None:
    docs.create_payload_index("user", "keyword")
    later = RECIPE.replaced(payload_indexes={"year": "integer", "user": "keyword"})
    for recipe in (RECIPE, later, docs.recipe):
        assert Collection.create("docs", recipe, docs.engine).recipe == later
    for indexes in ({"user": "keyword"}, {"year": "integer", "user": "text"}, {}):
        with pytest.raises(RecipeMismatchError):
            Collection.create("docs", RECIPE.replaced(payload_indexes=indexes), docs.engine)


def test_a_deleted_index_does_not_come_back(docs: Collection) -> None:
    docs.delete_payload_index("year")
    for recipe in (RECIPE, RECIPE.replaced(payload_indexes={})):
        assert Collection.create("docs", recipe, docs.engine).recipe.payload_indexes == {}
    assert docs.recipe.payload_indexes == {} == indexed(docs)
    with pytest.raises(InvalidArgumentError, match=r"^field_name: expected an indexed field: one of \[\]"):
        docs.delete_payload_index("year")


def test_filters_are_checked_against_the_index_of_today(docs: Collection) -> None:
    match = models.FieldCondition(key="year", match=models.MatchValue(value="2020"))
    text = models.Filter(must=[match])
    with pytest.raises(FilterError):
        docs.count(filter=text)
    docs.create_payload_index("year", "keyword")
    assert docs.count(filter=text) == 0
    docs.delete_payload_index("year")
    assert docs.count(filter=text) == 0


@pytest.mark.parametrize("schema", ["words", 7, None, {"type": "integer", "wrong": 1}])
def test_a_wrong_schema_is_named(docs: Collection, schema: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^field_schema: "):
        docs.create_payload_index("user", schema)
    with pytest.raises(InvalidArgumentError, match=r"^field_schema: .*text or keyword"):
        docs.create_payload_index("body", "integer")
    assert docs.recipe == RECIPE


def test_an_index_that_the_engine_is_too_old_for_is_refused(docs: Collection) -> None:
    schema = models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, prefix=True)
    if docs._pipeline.capabilities.index_prefix:
        docs.create_payload_index("user", schema)
        assert docs.info().recipe.payload_indexes["user"] == schema
    else:
        with pytest.raises(CapabilityError, match=r"^payload_indexes\.user\.prefix"):
            docs.create_payload_index("user", schema)


def test_what_another_process_has_indexed_stays(docs: Collection) -> None:
    other = Collection.open("docs", docs.engine)
    other.create_payload_index("user", "keyword")
    docs.create_payload_index("a.b", "integer")
    assert docs.info().recipe.payload_indexes == {"year": "integer", "user": "keyword", "a.b": "integer"}
    other.delete_payload_index("a.b")
    assert other.recipe.payload_indexes == {"year": "integer", "user": "keyword"}


def test_a_plain_collection_gets_an_index_too(engine: Any) -> None:
    engine.create_collection("plain", vectors_config=models.VectorParams(size=2, distance="Cosine"))
    plain = Collection.open_plain("plain", engine)
    plain.create_payload_index("user", "keyword")
    assert plain.recipe.payload_indexes == {"user": "keyword"}
    plain.delete_payload_index("user")
    assert plain.recipe.payload_indexes == {}


def test_an_upgrade_and_a_later_index_both_open_by_the_recipe_of_the_creation() -> None:
    upgraded = RECIPE.replaced(encoder="minilm", payload_indexes={"year": "integer", "user": "keyword"})
    manifest = Manifest(upgraded, created_from=RECIPE)
    before = RECIPE.replaced(payload_indexes=upgraded.payload_indexes)
    after = upgraded.replaced(payload_indexes=RECIPE.payload_indexes)
    for recipe in (RECIPE, upgraded, before, after):
        assert manifest.differences(recipe) == {}
    assert manifest.differences(RECIPE.replaced(text_key="text")).keys() >= {"text_key"}
