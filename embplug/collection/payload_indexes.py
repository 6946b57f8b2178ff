"""Payload indexes that come and go after a collection was created, and the recipe that remembers them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from embplug.branches.pipeline import Pipeline
from embplug.collection.info import existing_steps
from embplug.collection.manifest import MANIFEST_KEY, Manifest
from embplug.collection.revision import current_revision_steps, new_id, read_revision_steps, revise_steps
from embplug.common.payload_paths import checked_path
from embplug.engines.calls import Call, Steps, retried
from embplug.engines.check_recipe import check_recipe
from embplug.engines.request_options import WriteOptions
from embplug.errors import EngineError, InvalidArgumentError, RecipeError
from embplug.recipe import Recipe


def create_payload_index_steps(
    name: str, pipeline: Pipeline, field: str, schema: Any, options: WriteOptions
) -> Steps[None]:
    """Index a field, and keep the index in the recipe of the collection."""
    path = checked_path(field, "field_name").text
    recipe = _with_index(pipeline.recipe, path, schema)
    arguments = options.arguments(pipeline.capabilities)
    if pipeline.capabilities is not None:
        check_recipe(recipe, pipeline.capabilities)
    index = recipe.payload_indexes[path]
    yield from index_steps(name, {path: index}, arguments)
    yield from _remember_steps(name, pipeline, path, index)


def index_steps(
    name: str, indexes: Mapping[str, Any], arguments: Mapping[str, Any] | None = None
) -> Steps[None]:
    """Create indexes; where shards have keys and there is none yet, they come with the first key."""
    for field, schema in indexes.items():
        try:
            index = {"field_name": field, "field_schema": schema, **(arguments or {"wait": True})}
            yield from retried(Call.of("create_payload_index", collection_name=name, **index))
        except EngineError as error:
            if "Shard key not specified" not in str(error):
                raise
            return


def delete_payload_index_steps(
    name: str, pipeline: Pipeline, field: str, options: WriteOptions
) -> Steps[None]:
    """Delete the index of a field, also from the recipe of the collection."""
    path = checked_path(field, "field_name").text
    arguments = options.arguments(pipeline.capabilities)
    info = yield from existing_steps(name)
    recipe = pipeline.recipe
    if MANIFEST_KEY in (info.config.metadata or {}):
        # Another process may have changed it.
        recipe = (yield from read_revision_steps(name)).manifest.recipe
    indexed = {*info.payload_schema, *recipe.payload_indexes}
    if path not in indexed:
        raise InvalidArgumentError("field_name", f"an indexed field: one of {sorted(indexed)}", repr(field))
    yield Call.of("delete_payload_index", collection_name=name, field_name=path, **arguments)
    yield from _remember_steps(name, pipeline, path, None)


def _with_index(recipe: Recipe, field: str, schema: Any) -> Recipe:
    try:
        return recipe.replaced(payload_indexes={**recipe.payload_indexes, field: schema})
    except RecipeError as error:
        raise InvalidArgumentError("field_schema", error.expected, error.got) from None


def _remember_steps(name: str, pipeline: Pipeline, field: str, index: Any) -> Steps[None]:
    """Write an index, or None where it was deleted, into the recipe of the collection and of the pipeline."""
    if pipeline.revision is None:
        # A collection that embplug did not make has no recipe that remembers.
        pipeline.set_payload_indexes(_changed(pipeline.recipe.payload_indexes, field, index))
        return
    while True:
        before = yield from current_revision_steps(name)
        current = before.manifest.recipe.payload_indexes
        indexes = _changed(current, field, index)
        changed = replace(_with_indexes(before.manifest, indexes), revision=new_id())
        if indexes == current or (yield from revise_steps(before, changed)):
            break
    pipeline.set_payload_indexes(indexes)


def _changed(indexes: Mapping[str, Any], field: str, index: Any) -> dict[str, Any]:
    others = {key: schema for key, schema in indexes.items() if key != field}
    return others if index is None else {**others, field: index}


def _with_indexes(manifest: Manifest, indexes: dict[str, Any]) -> Manifest:
    recipe = manifest.recipe.model_copy(update={"payload_indexes": indexes})
    return replace(manifest, recipe=recipe, created_from=manifest.created_from or manifest.recipe)
