"""Checks that an engine has all capabilities that a recipe needs, before the first request."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from qdrant_client import models

from embplug.engines.capabilities import Capabilities
from embplug.recipe import Recipe, Storage


def check_recipe(recipe: Recipe, capabilities: Capabilities) -> None:
    """Check that an engine can serve a recipe, because a server ignores fields that it does not know.

    Parameters
    ----------
    recipe : Recipe
        Recipe of the collection.
    capabilities : Capabilities
        What the engine can do.

    Raises
    ------
    CapabilityError
        The engine lacks a capability; the error names the first field that needs one, the engine, and
        which engine has it.
    """
    capabilities.require("collection_metadata", "recipe")
    for field, name in _needed(recipe.decided(capabilities)):
        capabilities.require(name, field)


def _needed(recipe: Recipe) -> Iterator[tuple[str, str]]:
    """Iterate over the fields of a recipe, each with the capability that it needs."""
    for field in ("shard_number", "replication_factor", "write_consistency_factor"):
        if (getattr(recipe, field) or 1) > 1:
            yield field, "sharding"
    if recipe.sharding_method == models.ShardingMethod.CUSTOM:
        yield "sharding_method", "sharding"
    for name, dense in recipe.dense.items():
        yield from _needed_by_datatype(dense.datatype, f"dense.{name}")
        yield from _needed_by_storage(dense, f"dense.{name}")
    if recipe.tokens is not None:
        yield from _needed_by_storage(recipe.tokens.encoding_storage, "tokens.encoding_storage")
        if recipe.tokens.multivector is not None:
            yield from _needed_by_datatype(recipe.tokens.multivector.datatype, "tokens.multivector")
            yield from _needed_by_storage(recipe.tokens.multivector, "tokens.multivector")
    for key, schema in recipe.payload_indexes.items():
        if not isinstance(schema, str):
            yield from _needed_by_fields(schema, f"payload_indexes.{key}", _INDEX_FIELDS)


def _needed_by_datatype(datatype: models.Datatype | None, field: str) -> Iterator[tuple[str, str]]:
    if datatype in _TURBO_DATATYPES:
        yield f"{field}.datatype", _TURBO_DATATYPES[datatype]


def _needed_by_storage(storage: Storage, field: str) -> Iterator[tuple[str, str]]:
    if storage.hnsw is not None:
        yield from _needed_by_fields(storage.hnsw, f"{field}.hnsw", _PLACEMENT)
    if storage.quantization is None:
        return
    yield f"{field}.quantization", "quantization"
    for kind, parameters in storage.quantization:
        where = f"{field}.quantization.{kind}"
        if kind == "turbo":
            yield where, "turbo_quantization"
        yield from _needed_by_fields(parameters, where, _QUANTIZATION_FIELDS)


def _needed_by_fields(parameters: Any, field: str, needs: dict[str, str]) -> Iterator[tuple[str, str]]:
    for name, capability in needs.items():
        value = getattr(parameters, name, None)
        if value not in (None, *_OLDER_VALUES):
            yield f"{field}.{name}", capability


_TURBO_DATATYPES = {
    models.Datatype.TURBO4: "turbo4_datatype",
    models.Datatype.TURBO8: "turbo8_datatype",
    models.Datatype.TURBO16: "turbo8_datatype",
}


_PLACEMENT = {"memory": "memory_placement"}


_QUANTIZATION_FIELDS = {**_PLACEMENT, "encoding": "binary_encodings", "query_encoding": "binary_encodings"}


_INDEX_FIELDS = {
    **_PLACEMENT,
    "enable_hnsw": "index_enable_hnsw",
    "prefix": "index_prefix",
    "scoring": "index_scoring",
    "nested": "index_nested",
}


_OLDER_VALUES = (
    models.BinaryQuantizationEncoding.ONE_BIT,
    models.BinaryQuantizationQueryEncoding.DEFAULT,
    models.BinaryQuantizationQueryEncoding.BINARY,
)
