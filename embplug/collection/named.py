"""A collection as functions take it: open, or by its name and its engine."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager

from qdrant_client import models

from embplug.collection.collection import Collection
from embplug.common.names import check_collection_name
from embplug.engines import Engine, EngineTarget
from embplug.engines.connect import connect_blocking, existing
from embplug.errors import InvalidArgumentError


@contextmanager
def located(
    collection: Collection | str, engine: EngineTarget | None, argument: str = "collection"
) -> Iterator[tuple[str, Engine]]:
    """Name and client of a collection; a client that is opened here is closed at the end.

    Raises
    ------
    InvalidArgumentError
        It is neither open nor a name; or ``engine`` is passed beside an open collection, or missing beside
        a name.
    """
    if isinstance(collection, Collection):
        if engine is not None:
            raise InvalidArgumentError("engine", "none beside an open collection", repr(engine))
        yield collection.name, collection.engine
        return
    if not isinstance(collection, str):
        expected = "a Collection, or the name of one"
        raise InvalidArgumentError(argument, expected, type(collection).__name__)
    check_collection_name(collection, argument)
    if engine is None:
        expected = f"the engine of collection {collection!r}, because it is passed by name"
        raise InvalidArgumentError("engine", expected, None)
    client = connect_blocking(existing(engine))
    try:
        yield collection, client
    finally:
        if client is not engine:
            client.close()


@contextmanager
def opened(collection: Collection | str, engine: EngineTarget | None) -> Iterator[Collection]:
    """The collection itself, or the one of that name, opened.

    Raises
    ------
    InvalidArgumentError
        See :func:`located`; or the shards of the collection have keys.
    CollectionNotFoundError, NotAnEmbplugCollectionError, StateError, RecipeVersionError
        See :meth:`embplug.Collection.open`.
    """
    with located(collection, engine) as (name, client):
        found = collection if isinstance(collection, Collection) else Collection.open(name, client)
        if found.recipe.sharding_method == models.ShardingMethod.CUSTOM:
            expected = "a collection whose shards have no keys: each change of vectors would need one"
            raise InvalidArgumentError("collection", expected, repr(name))
        yield found
