"""Opens the collection of a store."""

from __future__ import annotations

from qdrant_client import models

from embplug import Encoder, Recipe
from embplug.engines import Engine
from embplug.frameworks.collection import FrameworkCollection
from embplug.frameworks.defaults import default_recipe, with_text_key
from embplug.frameworks.opening import open_or_create
from haystack_embplug.documents import CONTENT_KEY
from haystack_embplug.ids import PlainDocumentIds

_HOW_TO_COMPRESS = (
    "run `embplug migrate` (docs/migrating.md), which embeds nothing again, with `text_key: content` in its "
    "recipe; or write its documents to another store, with a recipe"
)


def open_collection(
    client: Engine,
    name: str,
    encoder: Encoder | None,
    *,
    recipe: Recipe | None,
    dim: int,
    vector_name: str,
    distance: models.Distance,
) -> FrameworkCollection:
    """Open the collection of a store, or create it.

    Parameters
    ----------
    client, name, encoder, recipe, vector_name, distance
        See :class:`EmbplugDocumentStore`.
    dim : int
        Dimension of embeddings in a new collection without recipe and encoder.

    Returns
    -------
    FrameworkCollection
        The collection.
    """

    def default() -> Recipe:
        return default_recipe(None if encoder is not None else dim, encoder, vector_name, distance)

    collection, is_plain = open_or_create(
        name,
        client,
        encoder,
        recipe=recipe,
        adapt=lambda recipe: with_text_key(recipe, None, CONTENT_KEY),
        default=default,
        vector_name=vector_name,
        text_key=CONTENT_KEY,
        how_to_compress=_HOW_TO_COMPRESS,
    )
    return FrameworkCollection(collection, is_plain, PlainDocumentIds() if is_plain else None)
