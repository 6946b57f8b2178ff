"""Opens, creates and deletes the collection of a store."""

from __future__ import annotations

import logging
from collections.abc import Callable

from embplug.collection.collection import Collection
from embplug.encoders import Encoder
from embplug.engines import Engine
from embplug.engines.aliases import delete_collection_steps
from embplug.engines.calls import run
from embplug.errors import (
    CollectionNotFoundError,
    EmbplugError,
    InvalidArgumentError,
    NotAnEmbplugCollectionError,
    RecipeMismatchError,
)
from embplug.recipe import Recipe

logger = logging.getLogger(__name__)


def open_or_create(
    name: str,
    engine: Engine,
    encoder: Encoder | None,
    *,
    recipe: Recipe | None,
    adapt: Callable[[Recipe], Recipe],
    default: Callable[[], Recipe] | None,
    vector_name: str,
    text_key: str,
    how_to_compress: str,
    sparse_encoder: Encoder | None = None,
    sparse_vector: str | None = None,
) -> tuple[Collection, bool]:
    """Open a collection, or create it.

    Parameters
    ----------
    name : str
        Name of the Qdrant collection.
    engine : QdrantClient or EdgeClient
        Engine that has the collection.
    encoder : Encoder or None
        Encoder of the collection; None loads the one that its recipe names.
    recipe : Recipe or None
        Recipe that the user passed.
    adapt : callable
        Adds to a recipe what the framework needs.
    default : callable or None
        Makes the recipe of a new collection if the user passed none. None creates no collection.
    vector_name : str
        Dense vector of a plain collection; the empty string stands for the only one.
    text_key : str
        Payload field of the text in a plain collection.
    how_to_compress : str
        Says to users of a plain collection how they compress it.
    sparse_encoder : Encoder, default=None
        Encoder of the sparse vector of a plain collection. None gives new documents none, and says so.
    sparse_vector : str, default=None
        Name of this sparse vector. None takes the only one.

    Returns
    -------
    collection : Collection
        The collection.
    is_plain : bool
        True if embplug did not create the collection.

    Raises
    ------
    CollectionNotFoundError
        The collection does not exist, and is not created.
    NotAnEmbplugCollectionError
        embplug did not create the collection, and the user passed a recipe.
    InvalidArgumentError
        The collection has no such vector; the error names the argument of the store.
    RecipeMismatchError
        The collection exists with another recipe.
    """
    try:
        if recipe is None:
            return Collection.open(name, engine, encoder=encoder), False
        if default is None:
            return _open_with(recipe, adapt, name, engine, encoder), False
        return _create(recipe, adapt, name, engine, encoder), False
    except NotAnEmbplugCollectionError:
        if recipe is not None:
            raise
    except CollectionNotFoundError:
        if default is None:
            raise
        return Collection.create(name, adapt(default()), engine, encoder=encoder), False
    logger.warning(
        "%r is a plain Qdrant collection: it is searched as it is, uncompressed. To compress it, %s",
        name,
        how_to_compress,
    )
    try:
        plain = Collection.open_plain(
            name,
            engine,
            vector=vector_name or None,
            encoder=encoder,
            text_key=text_key,
            sparse_vector=sparse_vector,
            sparse_encoder=sparse_encoder,
        )
    except InvalidArgumentError as error:
        if error.argument not in ("vector", "sparse_vector"):
            raise
        raise InvalidArgumentError(f"{error.argument}_name", error.expected, error.got) from None
    return plain, True


def delete_collection(engine: Engine, name: str) -> None:
    """Delete a collection, whoever created it; a collection that does not exist is no error.

    An alias stands for its collection, which is deleted.

    Parameters
    ----------
    engine : QdrantClient or EdgeClient
        Engine that has the collection.
    name : str
        Name of the Qdrant collection, or an alias of it.
    """
    try:
        Collection.open(name, engine).drop()
    except CollectionNotFoundError:
        return
    except EmbplugError:
        run(engine, delete_collection_steps(name))


def _create(
    recipe: Recipe, adapt: Callable[[Recipe], Recipe], name: str, engine: Engine, encoder: Encoder | None
) -> Collection:
    try:
        return Collection.create(name, adapt(recipe), engine, encoder=encoder)
    except RecipeMismatchError:
        return _open_with(recipe, adapt, name, engine, encoder)


def _open_with(
    recipe: Recipe, adapt: Callable[[Recipe], Recipe], name: str, engine: Engine, encoder: Encoder | None
) -> Collection:
    """Open a collection that was created with this recipe, by the framework's store or without it."""
    stage = recipe.rerank.cross_encoder  # the models of the user's own recipe are allowed
    scorer = None if stage is None else stage.name
    collection = Collection.open(name, engine, encoder=encoder or recipe.encoder, cross_encoder=scorer)
    expected = recipe.decided_like(collection.recipe)
    differences = collection.recipe.differences(adapt(expected))
    if differences and collection.recipe.differences(expected):
        raise RecipeMismatchError(name, differences)
    return collection
