"""LangChain's vector store on an embplug collection."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from itertools import islice, repeat
from typing import Any, TypeAlias

import numpy as np
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import VectorStore
from qdrant_client import models
from typing_extensions import Self, Unpack

from embplug import Collection, Documents, Encoder, Hit, Recipe, Record, connect
from embplug.engines import Engine
from embplug.errors import InvalidArgumentError, LengthMismatchError
from embplug.frameworks.store import ConnectionOptions, closed_on_error, delete_collection, open_engine
from langchain_embplug.connection import StoreOptions, open_collection, split_encoders
from langchain_embplug.filters import FilterGiven, to_filter

DocId: TypeAlias = str | int
Vector: TypeAlias = Sequence[float] | Sequence[Sequence[float]]
"""A dense vector, or a token matrix."""

Row: TypeAlias = tuple[str, Mapping[str, Any] | None, DocId | None]
"""Text, metadata, id."""


class EmbplugVectorStore(VectorStore):
    """Documents on Qdrant, compressed, multi-vector and reranked as a recipe says.

    Takes the place of langchain-qdrant's ``QdrantVectorStore``; its collections open and search as they
    are. All methods have an asynchronous twin that runs natively. Safe to use from many threads and tasks.

    Parameters
    ----------
    client
        A ``QdrantClient`` or ``EdgeClient``, a URL, a directory for Qdrant Edge, or ``":memory:"``.
    collection_name
        Of the Qdrant collection, made if it is not there.
    embedding
        LangChain ``Embeddings`` for dense vectors, or an embplug ``Encoder``.
    encoder
        embplug's encoder, or its name, for tokens. Default: the one that the recipe names.
    recipe
        What a new collection stores and how it is searched. Default: with embeddings dense vectors in
        float16, with an encoder of tokens their matrices behind an FDE.
    vector_name
        Of the dense vector that the embeddings make; default: the only one.
    content_payload_key, metadata_payload_key
        Payload fields with text and metadata. Default for the text: that of the collection,
        ``page_content`` in new ones.
    distance
        Of dense vectors in a new collection without ``recipe``.
    create
        Make a collection that is not there, instead of raising.

    Raises
    ------
    RecipeMismatchError
        It exists with another recipe.
    CollectionNotFoundError
        It does not exist, and ``create`` is false.
    InvalidArgumentError
        A ``ValueError``, naming the argument.

    Examples
    --------
    >>> store = EmbplugVectorStore("./qdrant", "docs", embeddings)  # doctest: +SKIP
    >>> store.add_documents(documents)  # doctest: +SKIP
    >>> store.similarity_search("late interaction", k=3, filter={"year": {"$gte": 2020}})  # doctest: +SKIP
    """

    def __init__(
        self,
        client: Engine | str | os.PathLike[str],
        collection_name: str,
        embedding: Embeddings | Encoder | None = None,
        *,
        encoder: Encoder | str | None = None,
        recipe: Recipe | None = None,
        vector_name: str = "",
        content_payload_key: str | None = None,
        metadata_payload_key: str = "metadata",
        distance: models.Distance = models.Distance.COSINE,
        create: bool = True,
    ) -> None:
        self._embedding, own_encoder = split_encoders(embedding, encoder)
        engine = connect(client)
        with closed_on_error(engine, client):
            self._shared = open_collection(
                engine,
                collection_name,
                self._embedding,
                own_encoder,
                recipe=recipe,
                vector_name=vector_name,
                content_payload_key=content_payload_key,
                distance=distance,
                create=create,
            )
            self._dense_name = self._shared.dense_name(vector_name, self._embedding is not None)
        self.content_payload_key = content_payload_key or self.collection.recipe.text_key
        self.metadata_payload_key = metadata_payload_key

    @property
    def collection(self) -> Collection:
        """What is searched."""
        return self._shared.collection

    @property
    def client(self) -> Engine:
        """The client that speaks to the engine; the caller closes it."""
        return self.collection.engine

    @property
    def collection_name(self) -> str:
        """Of the Qdrant collection."""
        return self.collection.name

    @property
    def embeddings(self) -> Embeddings | None:
        """LangChain's embeddings, where they make the dense vectors."""
        return self._embedding

    def __repr__(self) -> str:
        return f"EmbplugVectorStore({self.collection_name!r}, engine={type(self.client).__name__})"

    @classmethod
    def from_texts(  # type: ignore[override]
        cls,
        texts: Iterable[str],
        embedding: Embeddings | Encoder | None = None,
        metadatas: Iterable[dict[str, Any]] | None = None,
        *,
        ids: Iterable[DocId | None] | None = None,
        collection_name: str | None = None,
        batch_size: int = 64,
        force_recreate: bool = False,
        progress: bool | None = None,
        **options: Unpack[StoreOptions],
    ) -> Self:
        """Open or make a collection, and add texts to it.

        Parameters
        ----------
        texts, metadatas, ids, batch_size, progress
            As in :meth:`add_texts`.
        embedding
            As in the constructor.
        collection_name
            Default: a name that is new.
        force_recreate
            Delete a collection of that name first.
        **options
            Where the engine is, in the words of langchain-qdrant (``client``, ``path`` for Qdrant Edge,
            ``url``, ``host``, ``location=":memory:"``, …), and the other arguments of the constructor.
        """
        store = cls._open(embedding, collection_name, force_recreate, True, options)
        store.add_texts(texts, metadatas, ids=ids, batch_size=batch_size, progress=progress)
        return store

    @classmethod
    async def afrom_texts(  # type: ignore[override]
        cls,
        texts: Iterable[str],
        embedding: Embeddings | Encoder | None = None,
        metadatas: Iterable[dict[str, Any]] | None = None,
        *,
        ids: Iterable[DocId | None] | None = None,
        collection_name: str | None = None,
        batch_size: int = 64,
        force_recreate: bool = False,
        progress: bool | None = None,
        **options: Unpack[StoreOptions],
    ) -> Self:
        """See :meth:`from_texts`."""
        store = await asyncio.to_thread(cls._open, embedding, collection_name, force_recreate, True, options)
        await store.aadd_texts(texts, metadatas, ids=ids, batch_size=batch_size, progress=progress)
        return store

    @classmethod
    def from_existing_collection(
        cls,
        collection_name: str,
        embedding: Embeddings | Encoder | None = None,
        **options: Unpack[StoreOptions],
    ) -> Self:
        """Open a collection that is there, embplug's or a plain one; see :meth:`from_texts`."""
        return cls._open(embedding, collection_name, False, False, options)

    @classmethod
    async def afrom_existing_collection(
        cls,
        collection_name: str,
        embedding: Embeddings | Encoder | None = None,
        **options: Unpack[StoreOptions],
    ) -> Self:
        """See :meth:`from_existing_collection`."""
        return await asyncio.to_thread(cls._open, embedding, collection_name, False, False, options)

    @classmethod
    def _open(
        cls,
        embedding: Embeddings | Encoder | None,
        collection_name: str | None,
        force_recreate: bool,
        create: bool,
        options: StoreOptions,
    ) -> Self:
        arguments: dict[str, Any] = {**options}
        connection: Any = {
            name: arguments.pop(name) for name in ConnectionOptions.__annotations__ if name in arguments
        }
        client = open_engine(connection)
        name = collection_name or uuid.uuid4().hex
        with closed_on_error(client, connection.get("client")):
            if force_recreate:
                delete_collection(client, name)
            return cls(client, name, embedding, create=create, **arguments)

    def add_texts(  # type: ignore[override]
        self,
        texts: Iterable[str],
        metadatas: Iterable[Mapping[str, Any] | None] | None = None,
        *,
        ids: Iterable[DocId | None] | None = None,
        batch_size: int = 64,
        progress: bool | None = False,
    ) -> list[str]:
        """Insert texts, or replace those whose ids are there; adding twice is the same as once.

        Parameters
        ----------
        texts
            Any iterable; it is read batch by batch.
        metadatas, ids
            One per text. Ids are any strings; new ones are made where there are none.
        batch_size
            Texts that are embedded and checked together.
        progress
            Show a progress bar; ``None``: on a terminal.

        Returns
        -------
        list of str
            The ids, in order.

        Raises
        ------
        InvalidArgumentError
            A ``ValueError``, naming what is wrong with the first batch that is.
        IngestError
            The engine did not take some; what it has taken stays, and adding all again is safe.
        """
        return self._add(_rows(texts, metadatas, ids), batch_size, progress)

    def add_documents(  # type: ignore[override]
        self,
        documents: Iterable[Document],
        *,
        ids: Iterable[DocId | None] | None = None,
        batch_size: int = 64,
        progress: bool | None = False,
    ) -> list[str]:
        """Insert documents from any iterable, by ``ids`` or else their own; see :meth:`add_texts`."""
        return self._add(_document_rows(documents, ids), batch_size, progress)

    async def aadd_texts(  # type: ignore[override]
        self,
        texts: Iterable[str],
        metadatas: Iterable[Mapping[str, Any] | None] | None = None,
        *,
        ids: Iterable[DocId | None] | None = None,
        batch_size: int = 64,
        progress: bool | None = False,
    ) -> list[str]:
        """See :meth:`add_texts`."""
        return await self._aadd(_rows(texts, metadatas, ids), batch_size, progress)

    async def aadd_documents(  # type: ignore[override]
        self,
        documents: Iterable[Document],
        *,
        ids: Iterable[DocId | None] | None = None,
        batch_size: int = 64,
        progress: bool | None = False,
    ) -> list[str]:
        """See :meth:`add_documents`."""
        return await self._aadd(_document_rows(documents, ids), batch_size, progress)

    def _add(self, rows: Iterable[Row], batch_size: int, progress: bool | None) -> list[str]:
        added: list[str] = []

        def batches() -> Iterator[Documents]:
            for batch in _batches(rows, batch_size):
                vectors = self._embedding.embed_documents(_texts(batch)) if self._embedding else None
                yield self._documents_to_add(batch, vectors, added)

        self.collection.add_batches(batches(), progress=progress)
        return added

    async def _aadd(self, rows: Iterable[Row], batch_size: int, progress: bool | None) -> list[str]:
        added: list[str] = []

        async def batches() -> AsyncIterator[Documents]:
            for batch in _batches(rows, batch_size):
                vectors = await self._embedding.aembed_documents(_texts(batch)) if self._embedding else None
                yield self._documents_to_add(batch, vectors, added)

        await self._shared.for_loop().add_batches(batches(), progress=progress)
        return added

    def _documents_to_add(
        self, batch: Sequence[Row], vectors: list[list[float]] | None, added: list[str]
    ) -> Documents:
        """A batch for the collection; its ids are noted in ``added``."""
        texts = _texts(batch)
        ids = [str(uuid.uuid4()) if given in (None, "") else str(given) for _, _, given in batch]
        payloads = [
            {self.content_payload_key: text, self.metadata_payload_key: dict(metadata or {})}
            for text, metadata, _ in batch
        ]
        added += ids
        recipe = self.collection.recipe
        reads = recipe.tokens is not None or recipe.sparse is not None
        encodes = vectors is None or reads or len(recipe.dense) > 1
        return Documents(
            ids=[self._shared.point_id(one) for one in ids],
            dense=None if vectors is None else {str(self._dense_name): vectors},
            texts=texts if encodes else None,
            payloads=payloads,
        )

    def delete(  # type: ignore[override]
        self, ids: Iterable[DocId] | None = None, *, filter: FilterGiven | None = None
    ) -> bool:
        """Delete documents by ids or by filter; ids that are not there are no error."""
        addresses = None if ids is None else self._shared.addresses(ids)
        if addresses != []:
            self.collection.delete(addresses, filter=to_filter(filter, self.metadata_payload_key))
        return True

    async def adelete(  # type: ignore[override]
        self, ids: Iterable[DocId] | None = None, *, filter: FilterGiven | None = None
    ) -> bool:
        """See :meth:`delete`."""
        addresses = None if ids is None else self._shared.addresses(ids)
        if addresses != []:
            wanted = to_filter(filter, self.metadata_payload_key)
            await self._shared.for_loop().delete(addresses, filter=wanted)
        return True

    def get_by_ids(self, ids: Sequence[DocId], /) -> list[Document]:
        """Documents in the order of ``ids``; those that are not there are left out."""
        addresses = self._shared.addresses(ids)
        return self._in_order(ids, self.collection.retrieve(addresses) if addresses else [])

    async def aget_by_ids(self, ids: Sequence[DocId], /) -> list[Document]:
        """See :meth:`get_by_ids`."""
        addresses = self._shared.addresses(ids)
        return self._in_order(ids, await self._shared.for_loop().retrieve(addresses) if addresses else [])

    def documents(self, *, filter: FilterGiven | None = None, batch_size: int = 256) -> Iterator[Document]:
        """All documents, or those under a filter, read page by page."""
        wanted, offset = to_filter(filter, self.metadata_payload_key), None
        while True:
            records, offset = self.collection.scroll(filter=wanted, limit=batch_size, offset=offset)
            yield from (self._document(record.id, record.payload) for record in records)
            if offset is None:
                return

    def _in_order(self, ids: Sequence[DocId], records: Sequence[Record]) -> list[Document]:
        return [self._document(one.id, one.payload) for one in self._shared.in_order(ids, records)]

    def _document(self, found_id: int | str, payload: Mapping[str, Any] | None) -> Document:
        """A stored payload as a document. One without the field for metadata shows all its other fields."""
        fields = dict(payload or {})
        content = fields.pop(self.content_payload_key, None)
        metadata = fields.get(self.metadata_payload_key, fields)
        return Document(
            id=str(found_id),
            page_content="" if content is None else str(content),
            metadata=metadata if isinstance(metadata, dict) else {},
        )

    def similarity_search(  # type: ignore[override]
        self,
        query: str,
        k: int = 4,
        filter: FilterGiven | None = None,
        search_params: models.SearchParams | None = None,
        offset: int = 0,
        score_threshold: float | None = None,
    ) -> list[Document]:
        """Find the documents that are most similar to a text.

        Parameters
        ----------
        query
            The text.
        k
            Number of documents.
        filter
            Qdrant's, or a mapping; see :func:`langchain_embplug.to_filter`.
        search_params
            Qdrant's; what it sets goes before the recipe.
        offset
            Number of best documents to leave out.
        score_threshold
            Leave out documents below it; of the last stage's scores.
        """
        found = self.similarity_search_with_score(query, k, filter, search_params, offset, score_threshold)
        return [document for document, _ in found]

    def similarity_search_with_score(
        self,
        query: str,
        k: int = 4,
        filter: FilterGiven | None = None,
        search_params: models.SearchParams | None = None,
        offset: int = 0,
        score_threshold: float | None = None,
        *,
        with_stages: bool = False,
    ) -> list[tuple[Document, float]]:
        """As :meth:`similarity_search`, with scores: MaxSim for tokens, else by the vectors' distance.

        ``with_stages`` also puts the score of each stage into the metadata, as ``_stages``.
        """
        options = self._options(k, filter, search_params, offset, score_threshold, with_stages)
        return self._scored(self.collection.search(**self._query(query), **options), offset)

    def similarity_search_by_vector(  # type: ignore[override]
        self,
        embedding: Vector,
        k: int = 4,
        filter: FilterGiven | None = None,
        search_params: models.SearchParams | None = None,
        offset: int = 0,
        score_threshold: float | None = None,
    ) -> list[Document]:
        """As :meth:`similarity_search`, for a dense vector or a token matrix."""
        found = self.similarity_search_with_score_by_vector(
            embedding, k, filter, search_params, offset, score_threshold
        )
        return [document for document, _ in found]

    def similarity_search_with_score_by_vector(
        self,
        embedding: Vector,
        k: int = 4,
        filter: FilterGiven | None = None,
        search_params: models.SearchParams | None = None,
        offset: int = 0,
        score_threshold: float | None = None,
    ) -> list[tuple[Document, float]]:
        """As :meth:`similarity_search_with_score`, for a dense vector or a token matrix."""
        options = self._options(k, filter, search_params, offset, score_threshold)
        return self._scored(self.collection.search(**self._vector(embedding), **options), offset)

    async def asimilarity_search(  # type: ignore[override]
        self,
        query: str,
        k: int = 4,
        filter: FilterGiven | None = None,
        search_params: models.SearchParams | None = None,
        offset: int = 0,
        score_threshold: float | None = None,
    ) -> list[Document]:
        """See :meth:`similarity_search`."""
        found = await self.asimilarity_search_with_score(
            query, k, filter, search_params, offset, score_threshold
        )
        return [document for document, _ in found]

    async def asimilarity_search_with_score(
        self,
        query: str,
        k: int = 4,
        filter: FilterGiven | None = None,
        search_params: models.SearchParams | None = None,
        offset: int = 0,
        score_threshold: float | None = None,
        *,
        with_stages: bool = False,
    ) -> list[tuple[Document, float]]:
        """See :meth:`similarity_search_with_score`."""
        options = self._options(k, filter, search_params, offset, score_threshold, with_stages)
        hits = await self._shared.for_loop().search(**await self._aquery(query), **options)
        return self._scored(hits, offset)

    async def asimilarity_search_by_vector(  # type: ignore[override]
        self,
        embedding: Vector,
        k: int = 4,
        filter: FilterGiven | None = None,
        search_params: models.SearchParams | None = None,
        offset: int = 0,
        score_threshold: float | None = None,
    ) -> list[Document]:
        """See :meth:`similarity_search_by_vector`."""
        found = await self.asimilarity_search_with_score_by_vector(
            embedding, k, filter, search_params, offset, score_threshold
        )
        return [document for document, _ in found]

    async def asimilarity_search_with_score_by_vector(
        self,
        embedding: Vector,
        k: int = 4,
        filter: FilterGiven | None = None,
        search_params: models.SearchParams | None = None,
        offset: int = 0,
        score_threshold: float | None = None,
    ) -> list[tuple[Document, float]]:
        """See :meth:`similarity_search_with_score_by_vector`."""
        options = self._options(k, filter, search_params, offset, score_threshold)
        return self._scored(
            await self._shared.for_loop().search(**self._vector(embedding), **options), offset
        )

    def _options(
        self,
        k: int,
        filter: FilterGiven | None,
        search_params: models.SearchParams | None,
        offset: int = 0,
        score_threshold: float | None = None,
        with_stages: bool = False,
    ) -> dict[str, Any]:
        if not isinstance(k, int) or k < 1:
            raise InvalidArgumentError("k", "an integer of at least 1", repr(k))
        if not isinstance(offset, int) or offset < 0:
            raise InvalidArgumentError("offset", "an integer of at least 0", repr(offset))
        return {
            "limit": k + offset,
            "filter": to_filter(filter, self.metadata_payload_key),
            "search_params": search_params,
            "exact": search_params is not None and bool(search_params.exact),
            "score_threshold": score_threshold,
            "with_stages": with_stages,
        }

    def _query(self, text: str) -> dict[str, Any]:
        return self._query_with(text, self._embedding.embed_query(text) if self._embedding else None)

    async def _aquery(self, text: str) -> dict[str, Any]:
        return self._query_with(text, await self._embedding.aembed_query(text) if self._embedding else None)

    def _query_with(self, text: str, vector: list[float] | None) -> dict[str, Any]:
        """What a collection is asked: the vector of the embeddings, and the text where it is read."""
        if vector is None:
            return {"text": text}
        recipe, dense = self.collection.recipe, {str(self._dense_name): vector}
        reads = recipe.tokens or recipe.sparse or recipe.rerank.cross_encoder
        return {"dense": dense, "text": text} if reads else {"dense": dense}

    def _vector(self, embedding: Vector) -> dict[str, Any]:
        if np.ndim(embedding) == 2:
            return {"tokens": embedding}
        return {"dense": embedding if self._dense_name is None else {self._dense_name: embedding}}

    def _scored(self, hits: Sequence[Hit], offset: int = 0) -> list[tuple[Document, float]]:
        found = []
        for hit in hits[offset:]:
            document = self._document(hit.id, hit.payload)
            if hit.stages is not None:
                document.metadata["_stages"] = hit.stages
            found.append((document, hit.score))
        return found

    def _similarity_search_with_relevance_scores(
        self, query: str, k: int = 4, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        found = self.similarity_search_with_score(query, k, **kwargs)
        return self._relevant(found, self._best_score(query))

    async def _asimilarity_search_with_relevance_scores(
        self, query: str, k: int = 4, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        found = await self.asimilarity_search_with_score(query, k, **kwargs)
        return self._relevant(found, await asyncio.to_thread(self._best_score, query))

    def _best_score(self, query: str) -> float | None:
        """MaxSim of a query's tokens with themselves; ``None`` where dense vectors have the last word."""
        recipe = self.collection.recipe
        fused = recipe.sparse is not None and (recipe.tokens is None or recipe.fusion.after_rerank)
        if fused or recipe.rerank.cross_encoder is not None:
            expected = "one whose last scores have a scale, for relevance from 0 to 1"
            raise InvalidArgumentError("recipe", expected, "fused rankings or a cross-encoder")
        if recipe.tokens is None:
            return None
        encoded = self.collection.encoder.encode_queries([query]).tokens
        return None if encoded is None else float(np.square(encoded.values, dtype=np.float32).sum())

    def _relevant(
        self, found: list[tuple[Document, float]], best: float | None
    ) -> list[tuple[Document, float]]:
        return [(document, self._relevance(score, best)) for document, score in found]

    def _relevance(self, score: float, best: float | None) -> float:
        if best is not None:
            return min(max(score / best, 0.0), 1.0) if best else 0.0
        distance = self.collection.recipe.dense[str(self._dense_name)].distance
        if distance == models.Distance.COSINE:
            return min(max((score + 1) / 2, 0.0), 1.0)
        if distance == models.Distance.DOT:
            return float((np.tanh(score / 2) + 1) / 2)
        return 1 / (1 + score)

    def max_marginal_relevance_search(  # type: ignore[override]
        self,
        query: str,
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        filter: FilterGiven | None = None,
        search_params: models.SearchParams | None = None,
        score_threshold: float | None = None,
    ) -> list[Document]:
        """Find documents that are relevant and differ from one another.

        Parameters
        ----------
        query, k, filter, search_params, score_threshold
            As in :meth:`similarity_search`.
        fetch_k
            Number of most similar documents to choose from.
        lambda_mult
            1 ranks by relevance alone, 0 by difference alone.
        """
        options = self._mmr_options(k, fetch_k, lambda_mult, filter, search_params, score_threshold)
        found = self._scored(self.collection.search(**self._query(query), **options))
        return [document for document, _ in found]

    def max_marginal_relevance_search_by_vector(  # type: ignore[override]
        self,
        embedding: Vector,
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        filter: FilterGiven | None = None,
        search_params: models.SearchParams | None = None,
        score_threshold: float | None = None,
    ) -> list[Document]:
        """As :meth:`max_marginal_relevance_search`, for a dense vector or a token matrix."""
        found = self.max_marginal_relevance_search_with_score_by_vector(
            embedding, k, fetch_k, lambda_mult, filter, search_params, score_threshold
        )
        return [document for document, _ in found]

    def max_marginal_relevance_search_with_score_by_vector(
        self,
        embedding: Vector,
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        filter: FilterGiven | None = None,
        search_params: models.SearchParams | None = None,
        score_threshold: float | None = None,
    ) -> list[tuple[Document, float]]:
        """As :meth:`max_marginal_relevance_search_by_vector`, with the scores of the search."""
        options = self._mmr_options(k, fetch_k, lambda_mult, filter, search_params, score_threshold)
        return self._scored(self.collection.search(**self._vector(embedding), **options))

    async def amax_marginal_relevance_search(  # type: ignore[override]
        self,
        query: str,
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        filter: FilterGiven | None = None,
        search_params: models.SearchParams | None = None,
        score_threshold: float | None = None,
    ) -> list[Document]:
        """See :meth:`max_marginal_relevance_search`."""
        options = self._mmr_options(k, fetch_k, lambda_mult, filter, search_params, score_threshold)
        hits = await self._shared.for_loop().search(**await self._aquery(query), **options)
        return [document for document, _ in self._scored(hits)]

    async def amax_marginal_relevance_search_by_vector(  # type: ignore[override]
        self,
        embedding: Vector,
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        filter: FilterGiven | None = None,
        search_params: models.SearchParams | None = None,
        score_threshold: float | None = None,
    ) -> list[Document]:
        """See :meth:`max_marginal_relevance_search_by_vector`."""
        found = await self.amax_marginal_relevance_search_with_score_by_vector(
            embedding, k, fetch_k, lambda_mult, filter, search_params, score_threshold
        )
        return [document for document, _ in found]

    async def amax_marginal_relevance_search_with_score_by_vector(
        self,
        embedding: Vector,
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        filter: FilterGiven | None = None,
        search_params: models.SearchParams | None = None,
        score_threshold: float | None = None,
    ) -> list[tuple[Document, float]]:
        """See :meth:`max_marginal_relevance_search_with_score_by_vector`."""
        options = self._mmr_options(k, fetch_k, lambda_mult, filter, search_params, score_threshold)
        return self._scored(await self._shared.for_loop().search(**self._vector(embedding), **options))

    def _mmr_options(
        self,
        k: int,
        fetch_k: int,
        lambda_mult: float,
        filter: FilterGiven | None,
        search_params: models.SearchParams | None,
        score_threshold: float | None,
    ) -> dict[str, Any]:
        if not isinstance(lambda_mult, (int, float)) or not 0 <= lambda_mult <= 1:
            raise InvalidArgumentError("lambda_mult", "a number from 0 to 1", repr(lambda_mult))
        return {
            "limit": k,
            "mmr": models.Mmr(diversity=1 - lambda_mult, candidates_limit=fetch_k),
            "filter": to_filter(filter, self.metadata_payload_key),
            "search_params": search_params,
            "score_threshold": score_threshold,
        }

    async def aclose(self) -> None:
        """Close the connection to a server that asynchronous calls opened in the running loop."""
        await self._shared.aclose()


def _texts(batch: Sequence[Row]) -> list[str]:
    return [text for text, _, _ in batch]


def _rows(
    texts: Iterable[str],
    metadatas: Iterable[Mapping[str, Any] | None] | None,
    ids: Iterable[DocId | None] | None,
) -> Iterator[Row]:
    """Texts with what belongs to each; other lengths are an error as soon as they show."""
    if isinstance(texts, str):
        raise InvalidArgumentError("texts", "a list of texts", "one text")
    # LangChain passes an empty list where there is nothing.
    columns = {"metadatas": metadatas or None, "ids": ids or None}
    iterators = {name: iter(column) for name, column in columns.items() if column is not None}
    count = 0
    for count, text in enumerate(texts, start=1):
        row: dict[str, Any] = {}
        for name, iterator in iterators.items():
            try:
                row[name] = next(iterator)
            except StopIteration:
                raise LengthMismatchError(name, "one per text", f"{count - 1} of them") from None
        yield text, row.get("metadatas"), row.get("ids")
    for name, iterator in iterators.items():
        if next(iterator, iterator) is not iterator:
            raise LengthMismatchError(name, f"{count}, one per text", "more")


def _document_rows(documents: Iterable[Document], ids: Iterable[DocId | None] | None) -> Iterator[Row]:
    given = iter(ids) if ids else repeat(None)
    for i, document in enumerate(documents):
        try:
            one = next(given)
        except StopIteration:
            raise LengthMismatchError("ids", "one per document", f"{i} of them") from None
        yield document.page_content, document.metadata, one if ids else document.id
    if ids and next(given, given) is not given:
        raise LengthMismatchError("ids", "one per document", "more")


def _batches(rows: Iterable[Row], size: int) -> Iterator[list[Row]]:
    if not isinstance(size, int) or size < 1:
        raise InvalidArgumentError("batch_size", "an integer of at least 1", repr(size))
    iterator = iter(rows)
    while batch := list(islice(iterator, size)):
        yield batch
