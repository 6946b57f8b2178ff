"""What stands in the metadata of a collection: its recipe, and where what it has learned is kept."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

from qdrant_client import models

from embplug.errors import NotAnEmbplugCollectionError, StateError
from embplug.recipe import Recipe
from embplug.recipe.recipe import digest

MANIFEST_KEY = "embplug"


def manifest_of(recipe: Recipe, state: dict[str, Any] | None) -> dict[str, Any]:
    """What stands in the metadata of a collection: the recipe, and where what was learned is."""
    contents = {"embplug": version("embplug"), "recipe": recipe.to_dict(), "state": state}
    return {**contents, "sha256": digest(contents)}


def read_manifest(name: str, info: models.CollectionInfo) -> dict[str, Any]:
    """What embplug wrote into the metadata of a collection, checked."""
    manifest = (info.config.metadata or {}).get(MANIFEST_KEY)
    if manifest is None:
        raise NotAnEmbplugCollectionError(f"collection {name!r} has no recipe: embplug did not make it")
    recipe_version = _nested(manifest, "recipe", "version")
    if isinstance(recipe_version, int):
        Recipe.check_version(recipe_version)
    contents = {key: value for key, value in manifest.items() if key != "sha256"}
    if set(contents) != {"embplug", "recipe", "state"} or digest(contents) != manifest.get("sha256"):
        raise StateError(
            f"the recipe of collection {name!r} was altered: its sha256 does not match. "
            "Restore the metadata from a backup or snapshot, or create the collection anew"
        )
    return contents


def _nested(data: Any, *keys: str) -> Any:
    for key in keys:
        data = data.get(key) if isinstance(data, dict) else None
    return data


def recipe_of(manifest: dict[str, Any]) -> Recipe:
    """The recipe of a manifest, also of one that was written when its fields had other names."""
    recipe = manifest["recipe"]
    if recipe.get("version") == 1:
        recipe = _from_version_1(recipe)
    return Recipe.from_dict(recipe)


def _from_version_1(recipe: dict[str, Any]) -> dict[str, Any]:
    """Names of fields in version 2."""
    tokens = recipe.get("tokens")
    if isinstance(tokens, dict):
        names = {"fde": "encoding", "fde_storage": "encoding_storage", "matrix": "multivector"}
        tokens = {names.get(field, field): value for field, value in tokens.items()}
    return {**recipe, "version": 2, "tokens": tokens}
