"""Haystack's document store on an embplug collection."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Mapping, Sequence
from typing import Any, cast

from haystack import Document, default_from_dict, default_to_dict
from haystack.document_stores.types import DuplicatePolicy
from haystack.utils import Secret
from qdrant_client import models
from typing_extensions import Self

from embplug import Collection, Encoder, Hit, Recipe, Record
from embplug.engines import Engine, closed_on_error
from embplug.engines.calls import Call, Steps
from embplug.errors import InvalidArgumentError
from embplug.frameworks.arguments import check_integer
from embplug.frameworks.collection import FrameworkCollection
from embplug.frameworks.connection import ConnectionOptions, open_engine
from embplug.frameworks.defaults import as_encoder
from embplug.frameworks.opening import delete_collection
from embplug.frameworks.peer_keywords import RECIPE_KEYWORDS, check_keywords
from haystack_embplug import metadata
from haystack_embplug.connection import open_collection
from haystack_embplug.documents import META_KEY, from_payload
from haystack_embplug.filters import Filters, to_filter
from haystack_embplug.writing import Writer, check_documents

DISTANCES = {
    "cosine": models.Distance.COSINE,
    "dot_product": models.Distance.DOT,
    "l2": models.Distance.EUCLID,
}
"""Distances by the names of qdrant-haystack."""

_INSTEAD = {
    **RECIPE_KEYWORDS,
    "use_sparse_embeddings": "nothing: use recipe=Recipe(sparse=Sparse(), ...), which is BM25",
    "sparse_idf": "nothing: recipe=Recipe(sparse=Sparse(), ...) always weighs by rarity",
    "return_embedding": "nothing: documents come without embeddings, which are stored compressed",
    "on_disk": "nothing: use recipe=Recipe(dense=Dense(on_disk=...))",
    "payload_fields_to_index": "nothing: use recipe=Recipe(payload_indexes={'meta.year': 'integer'})",
    "force_disable_check_same_thread": "nothing: the store may be used from many threads",
    "wait_result_from_api": "nothing: a write returns when its documents are found",
    "metadata": "nothing: embplug keeps its manifest there",
    "scroll_size": "nothing: the store reads 256 documents at a time",
}


class EmbplugDocumentStore:
    """Documents on Qdrant, compressed, multi-vector and reranked as a recipe says.

    The store takes the place of qdrant-haystack's ``QdrantDocumentStore``, whose collections it opens and
    searches as they are. It connects when it is first used. A method whose name ends in ``_async`` is the
    native asynchronous form of the method without it. All methods are safe to call from many threads and
    tasks.

    Parameters
    ----------
    location : str, default=None
        ``":memory:"``, or the URL of a server.
    url, host, port, grpc_port, prefer_grpc, https, prefix, timeout : default=None
        Address of a server; see ``qdrant_client.QdrantClient``.
    api_key : Secret, default=None
        API key of the server, such as ``Secret.from_env_var("QDRANT_API_KEY")``. It is never serialised.
    path : str, default=None
        Directory for Qdrant Edge.
    client : QdrantClient or EdgeClient, default=None
        An open client, in place of an address. A store with a client cannot be serialised.
    index : str, default="Document"
        Name of the Qdrant collection, which is created if it does not exist.
    embedding_dim : int, default=768
        Dimension of embeddings in a new collection without ``recipe`` and ``encoder``.
    similarity : {"cosine", "dot_product", "l2"}, default="cosine"
        Distance of embeddings in a new collection without ``recipe``.
    recipe : Recipe or mapping, default=None
        What a new collection stores, and how it is searched. None is the preset ``"balanced"`` for what the
        encoder makes, or without an encoder for the documents' embeddings.
    encoder : Encoder or str, default=None
        An encoder of embplug, or its name, for tokens. None takes the one that the recipe names.
    vector_name : str, default=""
        Name of the dense vector that the documents' embeddings are. The empty string takes the only one.
    recreate_index : bool, default=False
        Delete a collection of that name first.
    progress_bar : bool, default=True
        Show a progress bar on a terminal while documents are written.
    write_batch_size : int, default=100
        Number of documents that are encoded and checked together.

    Raises
    ------
    InvalidArgumentError
        An argument is wrong; the error names it. It is a ``ValueError``.

    Examples
    --------
    >>> store = EmbplugDocumentStore(path="./qdrant", embedding_dim=384)  # doctest: +SKIP
    >>> store.write_documents(documents, policy=DuplicatePolicy.OVERWRITE)  # doctest: +SKIP
    >>> store.filter_documents({"field": "meta.year", "operator": ">=", "value": 2020})  # doctest: +SKIP
    """

    def __init__(
        self,
        location: str | None = None,
        url: str | None = None,
        port: int | None = None,
        grpc_port: int | None = None,
        prefer_grpc: bool | None = None,
        https: bool | None = None,
        api_key: Secret | None = None,
        prefix: str | None = None,
        timeout: int | None = None,
        host: str | None = None,
        path: str | os.PathLike[str] | None = None,
        *,
        client: Engine | None = None,
        index: str = "Document",
        embedding_dim: int = 768,
        similarity: str = "cosine",
        recipe: Recipe | Mapping[str, Any] | None = None,
        encoder: Encoder | str | None = None,
        vector_name: str = "",
        recreate_index: bool = False,
        progress_bar: bool = True,
        write_batch_size: int = 100,
        **others: Any,
    ) -> None:
        check_keywords({name: value or None for name, value in others.items()}, _INSTEAD)
        check_integer("embedding_dim", embedding_dim, 1)
        check_integer("write_batch_size", write_batch_size, 1)
        if similarity not in DISTANCES:
            raise InvalidArgumentError("similarity", f"one of {[*DISTANCES]}", repr(similarity))
        if api_key is not None and not isinstance(api_key, Secret):
            expected = "a haystack Secret, such as Secret.from_env_var('QDRANT_API_KEY')"
            raise InvalidArgumentError("api_key", expected, type(api_key).__name__)
        recipe = Recipe.from_dict(dict(recipe)) if isinstance(recipe, Mapping) else recipe
        if recipe is not None and not isinstance(recipe, Recipe):
            raise InvalidArgumentError("recipe", "an embplug Recipe", type(recipe).__name__)
        self.index = index
        self.embedding_dim = embedding_dim
        self.similarity = similarity
        self.recipe = recipe
        self.encoder = as_encoder(encoder)
        self.vector_name = vector_name
        self.recreate_index = recreate_index
        self.progress_bar = progress_bar
        self.write_batch_size = write_batch_size
        self._deletes_first = recreate_index
        self._api_key = api_key
        self._client = client
        self._address: dict[str, Any] = {
            "location": location,
            "url": url,
            "port": port,
            "grpc_port": grpc_port,
            "prefer_grpc": prefer_grpc,
            "https": https,
            "prefix": prefix,
            "timeout": timeout,
            "host": host,
            "path": None if path is None else os.fspath(path),
        }
        self._own_client: Engine | None = None
        self._opened: FrameworkCollection | None = None
        self._lock = threading.RLock()

    def __repr__(self) -> str:
        return f"EmbplugDocumentStore(index={self.index!r})"

    def to_dict(self) -> dict[str, Any]:
        """Return the arguments of the store as data, with the name of the encoder and without any key.

        Raises
        ------
        InvalidArgumentError
            The store has a client, which is no data.
        """
        if self._client is not None:
            raise InvalidArgumentError("client", "url or path, to serialise the store", "a client")
        recipe = None if self.recipe is None else self.recipe.model_dump(mode="json", exclude_unset=True)
        data: dict[str, Any] = default_to_dict(
            self,
            **self._address,
            api_key=self._api_key,
            index=self.index,
            embedding_dim=self.embedding_dim,
            similarity=self.similarity,
            recipe=recipe,
            encoder=None if self.encoder is None else self.encoder.spec,
            vector_name=self.vector_name,
            recreate_index=self.recreate_index,
            progress_bar=self.progress_bar,
            write_batch_size=self.write_batch_size,
        )
        return data

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Make a store of the result of :meth:`to_dict`."""
        store: Self = default_from_dict(cls, data)
        return store

    @property
    def collection(self) -> Collection:
        """Collection of the store, which is opened if that is yet to do."""
        return self.shared().collection

    @property
    def client(self) -> Engine:
        """Client that speaks to the engine."""
        return self.collection.engine

    def close(self) -> None:
        """Close the connection; the next call opens it again. A client that was passed stays open."""
        with self._lock:
            self._opened = None
            if self._own_client is not None:
                self._own_client.close()
                self._own_client = None

    async def close_async(self) -> None:
        """Close the connection to a server that asynchronous calls opened in the running event loop."""
        if self._opened is not None:
            await self._opened.aclose()

    def shared(self) -> FrameworkCollection:
        """Return the collection of the store, which is opened if that is yet to do."""
        with self._lock:
            if self._opened is None:
                self._opened = self._open()
            return self._opened

    async def ashared(self) -> FrameworkCollection:
        """Return the collection of the store; see :meth:`shared`."""
        return await asyncio.to_thread(self.shared) if self._opened is None else self._opened

    def _open(self) -> FrameworkCollection:
        client = self._client
        if client is None:
            options: dict[str, Any] = dict(self._address)
            if self._api_key is not None:
                options["api_key"] = self._api_key.resolve_value()
            client = self._own_client = open_engine(cast(ConnectionOptions, options))
        with closed_on_error(client, self._client):
            if self._deletes_first:
                delete_collection(client, self.index)
                # Only once: a store that is opened again keeps what it has written.
                self._deletes_first = False
            shared = open_collection(
                client,
                self.index,
                self.encoder,
                recipe=self.recipe,
                dim=self.embedding_dim,
                vector_name=self.vector_name,
                distance=DISTANCES[self.similarity],
            )
            # An unknown name is an error before anything is written.
            shared.dense_name(self.vector_name, required=False)
            return shared

    def _filter(self, shared: FrameworkCollection, filters: Filters | None) -> models.Filter | None:
        return to_filter(filters, content_key=shared.collection.recipe.text_key, ids=shared.ids)

    def _conditions(self, shared: FrameworkCollection, filters: Filters | None) -> models.Filter:
        """Return a filter for a method that changes documents, where none is most likely a mistake."""
        condition = self._filter(shared, filters)
        if condition is None:
            raise InvalidArgumentError("filters", "a filter; delete_all_documents deletes all", filters)
        return condition

    def dense_name(self) -> str:
        """Return the recipe's name of the dense vector that embeddings are.

        Raises
        ------
        InvalidArgumentError
            The recipe has no dense vector, or several of which ``vector_name`` names none.
        """
        return str(self.shared().dense_name(self.vector_name, required=True))

    def documents_of(self, items: Sequence[Record | Hit]) -> list[Document]:
        """Return what the collection has found as documents."""
        shared = self.shared()
        text_key = shared.collection.recipe.text_key
        return [from_payload(item, text_key, shared.is_plain) for item in items]

    def count_documents(self) -> int:
        """Return the number of documents."""
        return self.shared().run(_count_steps(None))

    async def count_documents_async(self) -> int:
        """Return the number of documents."""
        return await (await self.ashared()).arun(_count_steps(None))

    def filter_documents(self, filters: Filters | None = None) -> list[Document]:
        """Return the documents that a filter lets through, or all.

        Parameters
        ----------
        filters : mapping or qdrant_client.models.Filter, default=None
            Filters of Haystack, or of Qdrant; see :func:`haystack_embplug.to_filter`.

        Returns
        -------
        list of Document
            The documents, without embeddings.
        """
        shared = self.shared()
        return self.documents_of(shared.records(filter=self._filter(shared, filters)))

    async def filter_documents_async(self, filters: Filters | None = None) -> list[Document]:
        """Return the documents that a filter lets through; see :meth:`filter_documents`."""
        shared = await self.ashared()
        return self.documents_of(await shared.arecords(filter=self._filter(shared, filters)))

    def get_documents_by_id(self, ids: Sequence[str]) -> list[Document]:
        """Return documents in the order of ``ids``; ids without a document are left out."""
        return self.documents_of(self.shared().records(ids))

    async def get_documents_by_id_async(self, ids: Sequence[str]) -> list[Document]:
        """Return documents in the order of ``ids``; see :meth:`get_documents_by_id`."""
        return self.documents_of(await (await self.ashared()).arecords(ids))

    def write_documents(
        self, documents: list[Document], policy: DuplicatePolicy = DuplicatePolicy.NONE
    ) -> int:
        """Write documents.

        If the recipe has tokens, the encoder makes them of the content. Dense vectors are the documents'
        embeddings, or the encoder's for those without an embedding. A document that has neither is stored
        without vectors, so that filters find it and no retriever does; a warning is logged.

        Parameters
        ----------
        documents : list of Document
            Documents.
        policy : DuplicatePolicy, default=DuplicatePolicy.NONE
            What happens to a document whose id exists. ``NONE`` and ``FAIL`` raise an error before anything
            is written, ``SKIP`` leaves the document out, and ``OVERWRITE`` replaces the one that exists. An
            id that comes twice in ``documents`` is treated the same way.

        Returns
        -------
        int
            Number of documents that were written.

        Raises
        ------
        DuplicateDocumentError
            A document exists, and the policy is to fail.
        InvalidArgumentError
            An argument is wrong. It is a ``ValueError``.
        IngestError
            The engine did not take some documents. Writing all of them again is safe.
        """
        check_documents(documents)
        shared = self.shared()
        return shared.run(self._writer(shared).steps(documents, policy))

    async def write_documents_async(
        self, documents: list[Document], policy: DuplicatePolicy = DuplicatePolicy.NONE
    ) -> int:
        """Write documents; see :meth:`write_documents`."""
        check_documents(documents)
        shared = await self.ashared()
        return await shared.arun(self._writer(shared).steps(documents, policy))

    def _writer(self, shared: FrameworkCollection) -> Writer:
        dense_name = shared.dense_name(self.vector_name, required=False)
        return Writer(shared, dense_name, self.write_batch_size, None if self.progress_bar else False)

    def delete_documents(self, document_ids: list[str]) -> None:
        """Delete documents; ids without a document are no error."""
        self.shared().delete(document_ids)

    async def delete_documents_async(self, document_ids: list[str]) -> None:
        """Delete documents; ids without a document are no error."""
        await (await self.ashared()).adelete(document_ids)

    def delete_all_documents(self, recreate_index: bool = False) -> None:
        """Delete all documents.

        Parameters
        ----------
        recreate_index : bool, default=False
            Delete the collection too, with what it has learned, and create it anew.
        """
        if not recreate_index:
            self.shared().delete(filter=models.Filter())
            return
        with self._lock:
            client = self.shared().collection.engine
            delete_collection(client, self.index)
            self._opened = None
            if self._own_client is not None:
                self.close()
            self.shared()

    async def delete_all_documents_async(self, recreate_index: bool = False) -> None:
        """Delete all documents; see :meth:`delete_all_documents`."""
        if recreate_index:
            await self.close_async()
            await asyncio.to_thread(self.delete_all_documents, recreate_index=True)
        else:
            await (await self.ashared()).adelete(filter=models.Filter())

    def delete_by_filter(self, filters: Filters) -> int:
        """Delete the documents that a filter lets through, and return their number."""
        shared = self.shared()
        return shared.run(_delete_steps(self._conditions(shared, filters)))

    async def delete_by_filter_async(self, filters: Filters) -> int:
        """Delete the documents that a filter lets through, and return their number."""
        shared = await self.ashared()
        return await shared.arun(_delete_steps(self._conditions(shared, filters)))

    def update_by_filter(self, filters: Filters, meta: dict[str, Any]) -> int:
        """Set fields of the metadata of documents, and return their number; nothing is embedded again.

        Parameters
        ----------
        filters : mapping or qdrant_client.models.Filter
            Condition; see :func:`haystack_embplug.to_filter`.
        meta : dict
            The fields; others stay. A field that is set to None is removed.
        """
        shared = self.shared()
        return shared.run(_update_steps(self._conditions(shared, filters), meta))

    async def update_by_filter_async(self, filters: Filters, meta: dict[str, Any]) -> int:
        """Set fields of the metadata of documents; see :meth:`update_by_filter`."""
        shared = await self.ashared()
        return await shared.arun(_update_steps(self._conditions(shared, filters), meta))

    def count_documents_by_filter(self, filters: Filters) -> int:
        """Return the number of documents that a filter lets through."""
        shared = self.shared()
        return shared.run(_count_steps(self._filter(shared, filters)))

    async def count_documents_by_filter_async(self, filters: Filters) -> int:
        """Return the number of documents that a filter lets through."""
        shared = await self.ashared()
        return await shared.arun(_count_steps(self._filter(shared, filters)))

    def count_unique_metadata_by_filter(self, filters: Filters, metadata_fields: list[str]) -> dict[str, int]:
        """Return the number of different values of each field, among the documents of a filter."""
        shared = self.shared()
        return shared.run(metadata.count_unique_steps(metadata_fields, self._filter(shared, filters)))

    async def count_unique_metadata_by_filter_async(
        self, filters: Filters, metadata_fields: list[str]
    ) -> dict[str, int]:
        """Return the number of different values of each field, among the documents of a filter."""
        shared = await self.ashared()
        condition = self._filter(shared, filters)
        return await shared.arun(metadata.count_unique_steps(metadata_fields, condition))

    def get_metadata_fields_info(self) -> dict[str, dict[str, str]]:
        """Return the type of each field of the metadata, such as ``{"year": {"type": "long"}}``."""
        return self.shared().run(metadata.fields_info_steps())

    async def get_metadata_fields_info_async(self) -> dict[str, dict[str, str]]:
        """Return the type of each field of the metadata; see :meth:`get_metadata_fields_info`."""
        return await (await self.ashared()).arun(metadata.fields_info_steps())

    def get_metadata_field_min_max(self, metadata_field: str) -> dict[str, Any]:
        """Return the lowest and the highest value of a field, as ``min`` and ``max``.

        Raises
        ------
        InvalidArgumentError
            Some values cannot be compared with each other. It is a ``ValueError``.
        """
        return self.shared().run(metadata.min_max_steps(metadata_field))

    async def get_metadata_field_min_max_async(self, metadata_field: str) -> dict[str, Any]:
        """Return the lowest and the highest value of a field, as ``min`` and ``max``."""
        return await (await self.ashared()).arun(metadata.min_max_steps(metadata_field))

    def get_metadata_field_unique_values(
        self,
        metadata_field: str,
        search_term: str | None = None,
        from_: int = 0,
        size: int | None = 10,
        filters: Filters | None = None,
    ) -> tuple[list[Any], int]:
        """Return a page of the different values of a field, and their number.

        Parameters
        ----------
        metadata_field : str
            Name of the field.
        search_term : str, default=None
            Text that the values contain, in upper or lower case.
        from_ : int, default=0
            Number of values to leave out.
        size : int, default=10
            Highest number of values. None returns all.
        filters : mapping or qdrant_client.models.Filter, default=None
            Condition on the documents.

        Returns
        -------
        values : list
            The values, in the order of their texts.
        count : int
            Number of all values.
        """
        shared = self.shared()
        condition = self._filter(shared, filters)
        return shared.run(metadata.unique_values_steps(metadata_field, search_term, from_, size, condition))

    async def get_metadata_field_unique_values_async(
        self,
        metadata_field: str,
        search_term: str | None = None,
        from_: int = 0,
        size: int | None = 10,
        filters: Filters | None = None,
    ) -> tuple[list[Any], int]:
        """Return a page of the different values; see :meth:`get_metadata_field_unique_values`."""
        shared = await self.ashared()
        condition = self._filter(shared, filters)
        steps = metadata.unique_values_steps(metadata_field, search_term, from_, size, condition)
        return await shared.arun(steps)


def _count_steps(condition: models.Filter | None) -> Steps[int]:
    count: int = yield Call.of("count", filter=condition)
    return count


def _delete_steps(condition: models.Filter) -> Steps[int]:
    count = yield from _count_steps(condition)
    yield Call.of("delete", filter=condition)
    return count


def _update_steps(condition: models.Filter, meta: dict[str, Any]) -> Steps[int]:
    count = yield from _count_steps(condition)
    if count:
        yield Call.of("set_payload", payload=meta, filter=condition, key=META_KEY)
    return count
