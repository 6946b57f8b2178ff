"""What the stores for frameworks share: an engine by keywords, a collection, its ids, its event loops."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import threading
import uuid
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any, TypedDict

from qdrant_client import AsyncQdrantClient, QdrantClient, models

from embplug.collection.async_collection import AsyncCollection
from embplug.collection.collection import Collection
from embplug.collection.records import Record
from embplug.encoders import Encoder, load_encoder
from embplug.engines import Engine, connect
from embplug.engines.calls import Call, Steps, run
from embplug.errors import (
    CollectionNotFoundError,
    EmbplugError,
    InvalidArgumentError,
    NotAnEmbplugCollectionError,
    RecipeMismatchError,
)
from embplug.recipe import Dense, Recipe, Tokens

logger = logging.getLogger(__name__)


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


def open_engine(options: ConnectionOptions) -> Engine:
    """Open the engine; without any option the server on this machine, as Qdrant's own stores do."""
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


@contextlib.contextmanager
def closed_on_error(engine: Engine, given: object) -> Iterator[None]:
    """Close an engine that was opened for what now fails, so that a directory is free for another try.

    ``given`` is what the user gave; an engine of theirs is left open.
    """
    try:
        yield
    except BaseException:
        if engine is not given:
            engine.close()
        raise


def as_encoder(given: Encoder | str | None) -> Encoder | None:
    """An embplug encoder, also by its name.

    Raises
    ------
    InvalidArgumentError
        Something else.
    """
    encoder: Any = load_encoder(given) if isinstance(given, str) else given
    if encoder is None or isinstance(encoder, Encoder):
        return encoder
    raise InvalidArgumentError("encoder", "an embplug Encoder or its name", type(encoder).__name__)


def default_recipe(dim: int | None, encoder: Encoder | None, name: str, distance: models.Distance) -> Recipe:
    """Plain dense vectors of two bytes a dimension, or token matrices behind an FDE.

    ``dim`` is that of the framework's embeddings; without them the encoder decides. ``name`` is that of
    the dense vector, ``""`` for the usual one.
    """
    if dim is None:
        if encoder is None:
            raise InvalidArgumentError(
                "embedding", "embedding, encoder or recipe, for a new collection", None
            )
        encoded = encoder.encode_queries(["dimension"])
        if encoded.tokens is not None:
            return Recipe(tokens=Tokens(dim=encoded.tokens.dim))
        if encoded.dense is None:
            raise InvalidArgumentError("encoder", "one that makes vectors", encoder.spec)
        dim = encoded.dense.shape[1]
    dense = Dense(dim=dim, distance=distance, datatype=models.Datatype.FLOAT16)
    return Recipe(dense={name: dense} if name else dense)


def delete_collection(client: Engine, name: str) -> None:
    """Delete a collection, whoever made it; one that is not there is no error."""
    try:
        Collection.open(name, client).drop()
    except CollectionNotFoundError:
        return
    except EmbplugError:
        client.delete_collection(name)


class FrameworkCollection:
    """A collection as the store of a framework uses it. Safe to use from many threads and tasks.

    Attributes
    ----------
    collection
        It.
    is_plain
        Whether embplug did not make it, so that it is used as it is.
    """

    def __init__(self, collection: Collection, is_plain: bool) -> None:
        self.collection = collection
        self.is_plain = is_plain
        self._opened: dict[asyncio.AbstractEventLoop, AsyncCollection] = {}
        self._lock = threading.Lock()

    @classmethod
    def open(
        cls,
        name: str,
        client: Engine,
        encoder: Encoder | None,
        *,
        recipe: Recipe | None,
        adapt: Callable[[Recipe], Recipe],
        default: Callable[[], Recipe] | None,
        vector_name: str,
        text_key: str,
        compress: str,
    ) -> FrameworkCollection:
        """Open a collection, or make one.

        Parameters
        ----------
        name, client, encoder
            As for :class:`~embplug.Collection`.
        recipe
            What the user says that it stores.
        adapt
            What the framework needs, added to a recipe of which it is going to be made.
        default
            Recipe of a new one where the user gave none; ``None`` makes none.
        vector_name, text_key
            Of a plain collection.
        compress
            How to compress a plain collection, in the words of the framework.
        """
        try:
            if recipe is None:
                return cls(Collection.open(name, client, encoder=encoder), False)
            if default is None:
                return cls(_existing(name, recipe, adapt, client, encoder), False)
            return cls(_created(name, recipe, adapt, client, encoder), False)
        except NotAnEmbplugCollectionError:
            if recipe is not None:
                raise
        except CollectionNotFoundError:
            if default is None:
                raise
            return cls(Collection.create(name, adapt(default()), client, encoder=encoder), False)
        logger.warning(
            "%r is a plain Qdrant collection: it is searched as it is, uncompressed. To compress it, %s",
            name,
            compress,
        )
        plain = Collection.open_plain(
            name, client, vector=vector_name or None, encoder=encoder, text_key=text_key
        )
        return cls(plain, True)

    def dense_name(self, vector_name: str, needed: bool) -> str | None:
        """Name in the recipe of the dense vector that the framework's embeddings make.

        ``needed`` says that there are such embeddings; otherwise several names, or none, are no error.
        """
        names = [*self.collection.recipe.dense]
        if vector_name in names:
            return vector_name
        if len(names) == 1 and (self.is_plain or not vector_name):
            return names[0]
        if not needed and not vector_name:
            return None
        if not names:
            expected = "an embplug Encoder, because the recipe has no dense vectors"
            raise InvalidArgumentError("embedding", expected, "embeddings")
        raise InvalidArgumentError("vector_name", f"one of {names}", repr(vector_name))

    def point_id(self, given: str | int) -> int | str:
        """Id for the collection. In a plain one, numbers and UUIDs in any form are Qdrant's own."""
        text = str(given)
        if self.is_plain:
            if _is_number(text):
                return int(text)
            try:
                return str(uuid.UUID(text))
            except ValueError:
                pass
        return text

    def addresses(self, given: Iterable[str | int]) -> list[int | str]:
        """Where documents of these ids may be: numbers that others added are shown as strings too."""
        if isinstance(given, (str, int)):
            raise InvalidArgumentError("ids", "a list of ids", repr(given))
        return list(dict.fromkeys(chain.from_iterable(self._addresses(one) for one in given)))

    def in_order(self, given: Sequence[str | int], records: Sequence[Record]) -> list[Record]:
        """Records of :meth:`addresses` in the order of the ids; those that are not there are left out."""
        found = {record.id: record for record in records}
        return [found[one] for given_id in given for one in self._addresses(given_id) if one in found]

    def _addresses(self, given: str | int) -> list[int | str]:
        own = self.point_id(given)
        return [own, int(given)] if own == str(given) and _is_number(str(given)) else [own]

    def fields_that_ignore_case(self) -> frozenset[str]:
        """Payload fields whose text the engine compares without case, by an index."""
        return run(self.collection.engine, _text_fields(self.collection.name))

    def for_loop(self) -> AsyncCollection:
        """The collection for the running loop: a server's client belongs to the loop that first used it."""
        loop = asyncio.get_running_loop()
        with self._lock:
            for other in [one for one in self._opened if one.is_closed()]:
                del self._opened[other]
            if loop not in self._opened:
                self._opened[loop] = self.collection.to_async()
            return self._opened[loop]

    async def aclose(self) -> None:
        """Close the connection to a server that asynchronous calls opened in the running loop."""
        with self._lock:
            opened = self._opened.pop(asyncio.get_running_loop(), None)
        if opened is not None and isinstance(opened.engine, AsyncQdrantClient):
            await opened.engine.close()


def _created(
    name: str, recipe: Recipe, adapt: Callable[[Recipe], Recipe], client: Engine, encoder: Encoder | None
) -> Collection:
    try:
        return Collection.create(name, adapt(recipe), client, encoder=encoder)
    except RecipeMismatchError:
        return _existing(name, recipe, adapt, client, encoder)


def _existing(
    name: str, recipe: Recipe, adapt: Callable[[Recipe], Recipe], client: Engine, encoder: Encoder | None
) -> Collection:
    """Open one of this recipe, made by the framework's store or without it."""
    found = Collection.open(name, client, encoder=encoder)
    tokens = found.recipe.tokens
    given = recipe if tokens is None else recipe.with_encoding(tokens.encoding_or_default)
    differences = found.recipe.differences(adapt(given))
    if differences and found.recipe.differences(given):
        raise RecipeMismatchError(name, differences)
    return found


def _text_fields(name: str) -> Steps[frozenset[str]]:
    info = yield Call.of("get_collection", collection_name=name)
    return frozenset(
        field
        for field, index in info.payload_schema.items()
        if index.data_type == models.PayloadSchemaType.TEXT
        and getattr(index.params, "lowercase", None) is not False
    )


def _is_number(text: str) -> bool:
    return text.isascii() and text.isdecimal() and str(int(text)) == text and int(text) < 1 << 64
