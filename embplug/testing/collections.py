"""Collections that a test makes, and that are gone after it."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from embplug.collection.collection import Collection
from embplug.collection.state_collection import STATE_COLLECTION
from embplug.engines import Engine
from embplug.errors import InvalidArgumentError
from embplug.frameworks.opening import delete_collection
from embplug.recipe import Recipe
from embplug.recipe.presets import Preset


@contextmanager
def throwaway_collection(
    engine: Engine, recipe: Recipe | Preset | None = None, *, name: str | None = None, **options: Any
) -> Iterator[Collection]:
    """Create a collection, and delete it after the ``with`` block.

    Parameters
    ----------
    engine : QdrantClient or EdgeClient
        Client of the engine, which stays open.
    recipe : Recipe or {"small", "balanced", "exact"}, default="balanced"
        See :meth:`embplug.Collection.create`.
    name : str, default=None
        Name of the collection. By default one that no other collection has, so that tests that run at the
        same time can share a server.
    **options
        Further arguments of :meth:`embplug.Collection.create`.

    Yields
    ------
    Collection
        The collection, open and empty.

    Raises
    ------
    InvalidArgumentError
        A collection has this name already: it would be deleted with its documents.
    """
    if name is not None and engine.collection_exists(name):
        raise InvalidArgumentError("name", "a name that no collection has", repr(name))
    collection = Collection.create(name or f"test_{uuid.uuid4().hex}", recipe, engine, **options)
    try:
        yield collection
    finally:
        if engine.collection_exists(collection.name):
            collection.drop()


@contextmanager
def removing_collections(engine: Engine) -> Iterator[None]:
    """Delete the collections that exist after the ``with`` block and did not exist before it.

    Parameters
    ----------
    engine : QdrantClient or EdgeClient
        Client of an engine on which nobody else makes collections at the same time.
    """
    before = {collection.name for collection in engine.get_collections().collections}
    try:
        yield
    finally:
        for collection in engine.get_collections().collections:
            if collection.name not in before:
                engine.delete_collection(collection.name)


@contextmanager
def removing_own_collections(engine: Engine) -> Iterator[None]:
    """Delete the collections that this client creates in the ``with`` block, and no others.

    What embplug stores beside all collections of a server, ``embplug_state``, stays.

    Parameters
    ----------
    engine : QdrantClient or EdgeClient
        Client of an engine on which others may make collections at the same time.
    """
    create = engine.create_collection
    created: list[str] = []

    def noted(collection_name: str, *arguments: Any, **options: Any) -> Any:
        result = create(collection_name, *arguments, **options)
        created.append(collection_name)
        return result

    engine.create_collection = noted  # type: ignore[method-assign]
    try:
        yield
    finally:
        engine.create_collection = create  # type: ignore[method-assign]
        for name in created:
            if name != STATE_COLLECTION:
                delete_collection(engine, name)
