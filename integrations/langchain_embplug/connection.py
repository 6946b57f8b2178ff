"""From the keywords that users of langchain-qdrant know to a collection."""

from __future__ import annotations

from functools import partial

from langchain_core.embeddings import Embeddings
from qdrant_client import models

from embplug import Encoder, Recipe
from embplug.engines import Engine
from embplug.errors import InvalidArgumentError
from embplug.frameworks.store import ConnectionOptions, FrameworkCollection, as_encoder, default_recipe

CONTENT_KEY = "page_content"

_COMPRESS = (
    "run `embplug migrate` (docs/migrating.md), which embeds nothing again, with `text_key: page_content` in "
    "its recipe; or fill another store: EmbplugVectorStore(client, 'another name', embedding, recipe=...)"
    ".add_documents(store.documents())"
)


class StoreOptions(ConnectionOptions, total=False):
    """The connection, and what the constructor of the store takes beside it."""

    encoder: Encoder | str | None
    recipe: Recipe | None
    vector_name: str
    content_payload_key: str | None
    metadata_payload_key: str
    distance: models.Distance


def split_encoders(
    embedding: Embeddings | Encoder | None, encoder: Encoder | str | None
) -> tuple[Embeddings | None, Encoder | None]:
    """LangChain's embeddings for dense vectors, embplug's encoder for the rest."""
    own = as_encoder(encoder)
    if embedding is None or isinstance(embedding, Embeddings):
        return embedding, own
    if not isinstance(embedding, Encoder):
        raise InvalidArgumentError(
            "embedding", "a LangChain Embeddings or an embplug Encoder", type(embedding).__name__
        )
    if own is not None:
        raise InvalidArgumentError("encoder", "nothing, because embedding is an Encoder", own.spec)
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
) -> FrameworkCollection:
    """Open a collection, or make one."""

    def default() -> Recipe:
        dim = None if embedding is None else len(embedding.embed_query("dimension"))
        return default_recipe(dim, encoder, vector_name, distance)

    return FrameworkCollection.open(
        name,
        client,
        encoder,
        recipe=recipe,
        adapt=partial(_named, content_payload_key),
        default=default if create else None,
        vector_name=vector_name,
        text_key=content_payload_key or CONTENT_KEY,
        compress=_COMPRESS,
    )


def _named(content_payload_key: str | None, recipe: Recipe) -> Recipe:
    """Let the recipe know under which key LangChain keeps the text, unless it says so itself."""
    if content_payload_key is None and "text_key" in recipe.model_fields_set:
        return recipe
    return recipe.model_copy(update={"text_key": content_payload_key or CONTENT_KEY})
