"""From the keywords that users of langchain-qdrant know to an engine and a collection on it."""

from __future__ import annotations

import logging
import os
from typing import Any, TypedDict

from langchain_core.embeddings import Embeddings
from qdrant_client import QdrantClient, models

from embplug import Collection, Dense, Encoder, Recipe, Tokens, connect, load_encoder
from embplug.engines import Engine
from embplug.errors import (
    CollectionNotFoundError,
    EmbplugError,
    InvalidArgumentError,
    NotAnEmbplugCollectionError,
)

logger = logging.getLogger(__name__)

CONTENT_KEY = "page_content"


class ConnectionOptions(TypedDict, total=False):
    """Where the engine is: one of ``client``, ``path``, ``url``, ``host`` and ``location``."""

    client: Engine
    location: str | None
    url: str | None
    port: int | None
    grpc_port: int | None
    prefer_grpc: bool | None
    https: bool | None
    api_key: str | None
    prefix: str | None
    timeout: int | None
    host: str | None
    path: str | os.PathLike[str] | None


class StoreOptions(ConnectionOptions, total=False):
    """The connection, and what the constructor of the store takes beside it."""

    encoder: Encoder | str | None
    recipe: Recipe | None
    vector_name: str
    content_payload_key: str | None
    metadata_payload_key: str
    distance: models.Distance


def open_engine(options: ConnectionOptions) -> Engine:
    """Open the engine; without any option the server on this machine, as langchain-qdrant does."""
    given: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    targets = [name for name in ("client", "path", "url", "host", "location") if name in given]
    if len(targets) > 1:
        raise InvalidArgumentError(targets[1], f"nothing beside {targets[0]}", "both")
    if not targets and not given:
        return connect("http://localhost:6333")
    target = targets[0] if targets else "host"
    if target == "location" and given["location"] != ":memory:":
        target, given["url"] = "url", given.pop("location")
    simple = {name: given[name] for name in ("api_key", "grpc_port", "timeout") if name in given}
    if target != "host" and given.get("prefer_grpc") is not False:
        others = {*given} - {target, "prefer_grpc", *simple}
        if not others:
            opened: Engine = connect(given[target], **simple)
            return opened
        if target != "url":
            raise InvalidArgumentError(others.pop(), f"nothing beside {target}", "a value")
    return QdrantClient(**given, check_compatibility=False)


def split_encoders(
    embedding: Embeddings | Encoder | None, encoder: Encoder | str | None
) -> tuple[Embeddings | None, Encoder | None]:
    """LangChain's embeddings for dense vectors, embplug's encoder for the rest."""
    if isinstance(encoder, str):
        encoder = load_encoder(encoder)
    if encoder is not None and not isinstance(encoder, Encoder):
        raise InvalidArgumentError("encoder", "an embplug Encoder or its name", type(encoder).__name__)
    if embedding is None or isinstance(embedding, Embeddings):
        return embedding, encoder
    if not isinstance(embedding, Encoder):
        raise InvalidArgumentError(
            "embedding", "a LangChain Embeddings or an embplug Encoder", type(embedding).__name__
        )
    if encoder is not None:
        raise InvalidArgumentError("encoder", "nothing, because embedding is an Encoder", encoder.spec)
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
) -> tuple[Collection, bool]:
    """Open a collection, or make one; and whether it is one that embplug did not make."""
    try:
        if recipe is not None and create:
            return Collection.create(
                name, _named(recipe, content_payload_key), client, encoder=encoder
            ), False
        return Collection.open(name, client, encoder=encoder), False
    except NotAnEmbplugCollectionError:
        if recipe is not None:
            raise
    except CollectionNotFoundError:
        if not create:
            raise
        made = _default_recipe(embedding, encoder, vector_name, distance)
        return Collection.create(name, _named(made, content_payload_key), client, encoder=encoder), False
    logger.warning(
        "%r is a plain Qdrant collection: it is searched as it is, uncompressed. To compress it, copy it: "
        "EmbplugVectorStore(client, 'another name', embedding, recipe=...).add_documents(store.documents())",
        name,
    )
    plain = Collection.open_plain(
        name,
        client,
        vector=vector_name or None,
        encoder=encoder,
        text_key=content_payload_key or CONTENT_KEY,
    )
    return plain, True


def delete_collection(client: Engine, name: str) -> None:
    """Delete a collection, whoever made it; one that is not there is no error."""
    try:
        Collection.open(name, client).drop()
    except CollectionNotFoundError:
        return
    except EmbplugError:
        client.delete_collection(name)


def _named(recipe: Recipe, content_payload_key: str | None) -> Recipe:
    """Let the recipe know under which key LangChain keeps the text, unless it says so itself."""
    if content_payload_key is None and "text_key" in recipe.model_fields_set:
        return recipe
    return recipe.model_copy(update={"text_key": content_payload_key or CONTENT_KEY})


def _default_recipe(
    embedding: Embeddings | None, encoder: Encoder | None, vector_name: str, distance: models.Distance
) -> Recipe:
    """Plain dense vectors of two bytes a dimension, or token matrices behind an FDE."""
    if embedding is not None:
        dim = len(embedding.embed_query("dimension"))
    elif encoder is not None:
        encoded = encoder.encode_queries(["dimension"])
        if encoded.tokens is not None:
            return Recipe(tokens=Tokens(dim=encoded.tokens.dim))
        if encoded.dense is None:
            raise InvalidArgumentError("encoder", "one that makes vectors", encoder.spec)
        dim = encoded.dense.shape[1]
    else:
        raise InvalidArgumentError("embedding", "embedding, encoder or recipe, for a new collection", None)
    dense = Dense(dim=dim, distance=distance, datatype=models.Datatype.FLOAT16)
    return Recipe(dense={vector_name: dense} if vector_name else dense)
