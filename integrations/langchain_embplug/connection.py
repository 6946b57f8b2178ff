"""From the keywords that users of langchain-qdrant know to a collection."""

from __future__ import annotations

import logging
from typing import TypeAlias

from langchain_core.embeddings import Embeddings
from qdrant_client import models

from embplug import Encoder, Recipe, Sparse
from embplug.engines import Engine
from embplug.errors import DimensionError, InvalidArgumentError
from embplug.frameworks.collection import FrameworkCollection
from embplug.frameworks.defaults import as_encoder, default_recipe, with_text_key
from embplug.frameworks.opening import open_or_create
from embplug.frameworks.sparse_texts import check_sparse_model, take_sparse_model
from langchain_embplug.peer_keywords import PeerKeywords

logger = logging.getLogger(__name__)

CONTENT_KEY = "page_content"
"""Payload field of the text in new collections."""

Model: TypeAlias = Embeddings | Encoder | None
"""What makes vectors of texts: LangChain's embeddings, or an encoder of embplug."""

_HOW_TO_COMPRESS = (
    "run `embplug migrate` (docs/migrating.md), which embeds nothing again, with `text_key: page_content` in "
    "its recipe; or fill another store: EmbplugVectorStore(client, 'another name', embedding, recipe=...)"
    ".add_documents(store.documents())"
)


def split_encoders(
    embedding: Model, encoder: Encoder | str | None
) -> tuple[Embeddings | None, Encoder | None]:
    """Tell LangChain's embeddings from embplug's encoder.

    Parameters
    ----------
    embedding : Embeddings, Encoder or None
        What makes vectors; either kind.
    encoder : Encoder, str or None
        An encoder of embplug, or its name.

    Returns
    -------
    embeddings : Embeddings or None
        Makes dense vectors.
    encoder : Encoder or None
        Makes all other vectors.

    Raises
    ------
    InvalidArgumentError
        ``embedding`` is something else, or there are two encoders.
    """
    loaded = as_encoder(encoder)
    if embedding is None or isinstance(embedding, Embeddings):
        return embedding, loaded
    if not isinstance(embedding, Encoder):
        expected = "a LangChain Embeddings or an embplug Encoder"
        raise InvalidArgumentError("embedding", expected, type(embedding).__name__)
    if loaded is not None:
        raise InvalidArgumentError("encoder", "nothing, because embedding is an Encoder", loaded.spec)
    return None, embedding


def open_collection(
    client: Engine,
    name: str,
    embedding: Embeddings | None,
    encoder: Encoder | None,
    *,
    recipe: Recipe | None,
    vector_name: str,
    content_payload_key: str | None,
    distance: models.Distance,
    create: bool,
    peer: PeerKeywords,
) -> FrameworkCollection:
    """Open the collection of a store, or create it; see :class:`EmbplugVectorStore` for the arguments."""

    peer.check_recipe(recipe)

    def default() -> Recipe:
        peer.check_computed_here()
        if peer.mode == "sparse":
            return peer.adapted(Recipe(sparse=Sparse()))
        dim = None if embedding is None else len(embedding.embed_query("dimension"))
        return peer.adapted(default_recipe(dim, encoder, vector_name, distance))

    model = peer.sparse_encoder

    def adapt(recipe: Recipe) -> Recipe:
        # Before a collection is created that the model does not fit.
        if model is not None and _is_learned(recipe):
            check_sparse_model(recipe, model, encoder, "sparse_embedding")
        else:
            peer.check_computed_here()
        return with_text_key(recipe, content_payload_key, CONTENT_KEY)

    collection, is_plain = open_or_create(
        name,
        client,
        encoder,
        recipe=recipe,
        adapt=adapt,
        default=default if create else None,
        vector_name=vector_name,
        text_key=content_payload_key or CONTENT_KEY,
        how_to_compress=_HOW_TO_COMPRESS,
        sparse_encoder=model,
    )
    if not is_plain and model is not None and _is_learned(collection.recipe):
        take_sparse_model(collection, model, encoder, "sparse_embedding")
    elif not is_plain:
        peer.check_computed_here()
    return FrameworkCollection(collection, is_plain)


def _is_learned(recipe: Recipe) -> bool:
    return recipe.sparse is not None and recipe.sparse.is_learned


def check_dimension(embedding: Embeddings | None, recipe: Recipe, dense_name: str | None) -> None:
    """Check that embeddings have the dimension that the collection stores, by embedding one word.

    Raises
    ------
    DimensionError
        They have another dimension.
    """
    if embedding is None or dense_name is None:
        return
    try:
        dim = len(embedding.embed_query("dimension"))
    except Exception as error:  # whatever a service raises: the store can be read without it
        logger.debug("the dimension of the embeddings is not known before they are used: %s", error)
        return
    stored = recipe.dense[dense_name].dim
    if dim != stored:
        expected = f"embeddings of {stored} dimensions, as the collection stores them in {dense_name!r}"
        raise DimensionError("embedding", expected, dim)
