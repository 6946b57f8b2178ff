"""LangChain's vector store on an embplug collection."""

from __future__ import annotations

import asyncio
import os
import uuid
from collections.abc import Iterable, Iterator, Sequence
from functools import partial
from typing import Any

from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_core.vectorstores import VectorStore
from qdrant_client import models
from typing_extensions import Self, Unpack

from embplug import Collection, Encoder, Hit, Recipe, Record, connect
from embplug.engines import Engine, closed_on_error
from embplug.frameworks.connection import open_engine, split_options
from embplug.frameworks.ids import DocumentId
from embplug.frameworks.opening import delete_collection
from embplug.frameworks.relevance import relevance_scale
from embplug.frameworks.search import SearchRequest, mmr_by_relevance
from langchain_embplug.adding import Adder
from langchain_embplug.connection import Model, check_dimension, open_collection, split_encoders
from langchain_embplug.documents import (
    Metadata,
    Metadatas,
    PayloadKeys,
    rows_of_documents,
    rows_of_texts,
    to_document,
    to_scored_document,
    with_point,
)
from langchain_embplug.filters import Filter, to_filter
from langchain_embplug.metadata import MetadataUpdates
from langchain_embplug.options import (
    AddOptions,
    FromTextsOptions,
    MmrOptions,
    SearchOptions,
    StoreOptions,
    split_from_texts,
)
from langchain_embplug.peer_keywords import PeerKeywords
from langchain_embplug.requests import Requests, Vector


class EmbplugVectorStore(VectorStore):
    """Documents on Qdrant, compressed, multi-vector and reranked as a recipe says.

    The store takes the place of langchain-qdrant's ``QdrantVectorStore``, whose collections it opens and
    searches as they are. A method whose name begins with ``a`` is the native asynchronous form of the
    method without it, and takes the same arguments. All methods are safe to call from many threads and
    tasks.

    Parameters
    ----------
    client : QdrantClient, EdgeClient, str or path
        A client, the URL of a server, a directory for Qdrant Edge, or ``":memory:"``.
    collection_name : str
        Name of the Qdrant collection, which is created if it does not exist.
    embedding : Embeddings or Encoder, default=None
        LangChain's ``Embeddings`` for dense vectors, or an encoder of embplug.
    encoder : Encoder or str, default=None
        An encoder of embplug, or its name, for tokens. None takes the one that the recipe names.
    recipe : Recipe, default=None
        What a new collection stores, and how it is searched. None is the preset ``"balanced"``, for tokens
        if an encoder of tokens is passed, and else for dense vectors.
    vector_name : str, default=""
        Name of the dense vector that the embeddings make. The empty string takes the only one.
    content_payload_key : str, default=None
        Payload field of the text. None takes that of the collection, ``page_content`` in new ones.
    metadata_payload_key : str, default="metadata"
        Payload field of the metadata.
    distance : qdrant_client.models.Distance, default=Distance.COSINE
        Distance of dense vectors in a new collection without ``recipe``.
    create : bool, default=True
        Create the collection if it does not exist. False raises ``CollectionNotFoundError``.
    point_metadata : bool, default=None
        Put ``_id`` and ``_collection_name`` into the metadata of documents that are found or read by ids, as
        langchain-qdrant does. None does so for the collections of langchain-qdrant alone.
    retrieval_mode : {"dense", "sparse", "hybrid"} or RetrievalMode, default=None
        What a search compares. None takes all that the recipe has. In a new collection without ``recipe``,
        ``"hybrid"`` adds BM25, and ``"sparse"`` is BM25 alone.
    **keywords
        Further keywords of langchain-qdrant: ``sparse_embedding`` (``FastEmbedSparse("Qdrant/bm25")``, which
        embplug computes itself, or the model of learned weights), ``vector_params`` and
        ``collection_create_options`` of a new collection without ``recipe``, ``validate_embeddings`` and
        ``validate_collection_config``, which have no effect.

    Raises
    ------
    RecipeMismatchError
        The collection exists with another recipe.
    CollectionNotFoundError
        The collection does not exist, and ``create`` is False.
    InvalidArgumentError
        An argument is wrong; the error names it. It is a ``ValueError``.

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
        embedding: Model = None,
        *,
        encoder: Encoder | str | None = None,
        recipe: Recipe | None = None,
        vector_name: str = "",
        content_payload_key: str | None = None,
        metadata_payload_key: str = "metadata",
        distance: models.Distance = models.Distance.COSINE,
        create: bool = True,
        point_metadata: bool | None = None,
        retrieval_mode: Any = None,
        **keywords: Any,
    ) -> None:
        peer = PeerKeywords.taken_from({"retrieval_mode": retrieval_mode, **keywords})
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
                peer=peer,
            )
            branches = peer.branches(self.collection.recipe)
            required = self._embedding is not None and peer.mode != "sparse"
            self._dense_name = self._shared.dense_name(vector_name, required)
            if self._dense_name is None and peer.mode == "sparse":
                self._embedding = None
            check_dimension(self._embedding, self.collection.recipe, self._dense_name)
        self.retrieval_mode = peer.mode
        self._point_metadata = self._shared.is_plain if point_metadata is None else point_metadata
        self.content_payload_key = content_payload_key or self.collection.recipe.text_key
        self.metadata_payload_key = metadata_payload_key
        self._keys = PayloadKeys(self.content_payload_key, metadata_payload_key)
        self._updates = MetadataUpdates(self._keys.metadata)
        self._adder = Adder(self._shared, self._embedding, self._dense_name, self._keys)
        self._requests = Requests(
            self.collection.recipe, self._embedding, self._dense_name, self._keys, branches
        )

    @property
    def collection(self) -> Collection:
        """Collection that the store searches."""
        return self._shared.collection

    @property
    def client(self) -> Engine:
        """Client that speaks to the engine; the caller closes it."""
        return self.collection.engine

    @property
    def collection_name(self) -> str:
        """Name of the Qdrant collection."""
        return self.collection.name

    @property
    def embeddings(self) -> Embeddings | None:
        """LangChain's embeddings, if they make the dense vectors."""
        return self._embedding

    def __repr__(self) -> str:
        return f"EmbplugVectorStore({self.collection_name!r}, engine={type(self.client).__name__})"

    @classmethod
    def from_texts(  # type: ignore[override]
        cls,
        texts: Iterable[str],
        embedding: Model = None,
        metadatas: Metadatas = None,
        **options: Unpack[FromTextsOptions],
    ) -> Self:
        """Open or create a collection, and add texts to it.

        Parameters
        ----------
        texts, metadatas, ids, batch_size, progress
            See :meth:`add_texts`.
        embedding : Embeddings or Encoder, default=None
            See :class:`EmbplugVectorStore`.
        collection_name : str, default=None
            Name of the Qdrant collection. None makes a new name.
        force_recreate : bool, default=False
            Delete a collection of that name first.
        **options
            Where the engine is, by the names of langchain-qdrant (``client``, ``path`` for Qdrant Edge,
            ``url``, ``host``, ``location=":memory:"``, ...), and further arguments of
            :class:`EmbplugVectorStore`.

        Returns
        -------
        EmbplugVectorStore
            The store with the texts.
        """
        name, force_recreate, opening, adding = split_from_texts(options)
        store = cls._open(embedding, name, force_recreate, True, opening)
        store.add_texts(texts, metadatas, **adding)
        return store

    @classmethod
    async def afrom_texts(  # type: ignore[override]
        cls,
        texts: Iterable[str],
        embedding: Model = None,
        metadatas: Metadatas = None,
        **options: Unpack[FromTextsOptions],
    ) -> Self:
        """Open or create a collection, and add texts to it; see :meth:`from_texts`."""
        name, force_recreate, opening, adding = split_from_texts(options)
        store = await asyncio.to_thread(cls._open, embedding, name, force_recreate, True, opening)
        await store.aadd_texts(texts, metadatas, **adding)
        return store

    @classmethod
    def from_documents(  # type: ignore[override]
        cls, documents: Iterable[Document], embedding: Model = None, **options: Unpack[FromTextsOptions]
    ) -> Self:
        """Open or create a collection, and add documents to it, by ``ids`` or else their own ids.

        Parameters
        ----------
        documents : iterable of Document
            Documents, which are read batch by batch.
        embedding, **options
            See :meth:`from_texts`.

        Returns
        -------
        EmbplugVectorStore
            The store with the documents.
        """
        name, force_recreate, opening, adding = split_from_texts(options)
        store = cls._open(embedding, name, force_recreate, True, opening)
        store.add_documents(documents, **adding)
        return store

    @classmethod
    async def afrom_documents(  # type: ignore[override]
        cls, documents: Iterable[Document], embedding: Model = None, **options: Unpack[FromTextsOptions]
    ) -> Self:
        """Open or create a collection, and add documents to it; see :meth:`from_documents`."""
        name, force_recreate, opening, adding = split_from_texts(options)
        store = await asyncio.to_thread(cls._open, embedding, name, force_recreate, True, opening)
        await store.aadd_documents(documents, **adding)
        return store

    @classmethod
    def from_existing_collection(
        cls, collection_name: str, embedding: Model = None, **options: Unpack[StoreOptions]
    ) -> Self:
        """Open a collection that exists, embplug's or a plain one; see :meth:`from_texts`."""
        return cls._open(embedding, collection_name, False, False, options)

    @classmethod
    async def afrom_existing_collection(
        cls, collection_name: str, embedding: Model = None, **options: Unpack[StoreOptions]
    ) -> Self:
        """Open a collection that exists; see :meth:`from_existing_collection`."""
        return await asyncio.to_thread(cls.from_existing_collection, collection_name, embedding, **options)

    @classmethod
    def _open(
        cls, embedding: Model, name: str | None, force_recreate: bool, create: bool, options: StoreOptions
    ) -> Self:
        connection, arguments = split_options(options)
        client = open_engine(connection)
        name = name or uuid.uuid4().hex
        with closed_on_error(client, connection.get("client")):
            if force_recreate:
                delete_collection(client, name)
            return cls(client, name, embedding, create=create, **arguments)

    def add_texts(  # type: ignore[override]
        self, texts: Iterable[str], metadatas: Metadatas = None, **options: Unpack[AddOptions]
    ) -> list[str]:
        """Insert texts, or replace those whose ids exist; adding twice is the same as once.

        Parameters
        ----------
        texts : iterable of str
            Texts, which are read batch by batch.
        metadatas : iterable of mapping, default=None
            One metadata per text.
        ids : iterable of str, default=None
            One id per text, any string. None, for a text or for all, makes new ids.
        batch_size : int, default=64
            Number of texts that are embedded and checked together.
        progress : bool, default=False
            Show a progress bar. None shows one on a terminal.
        on_empty : {"raise", "skip", "store"}, default="raise"
            What happens to a blank text. ``"skip"`` leaves it out, ``"store"`` stores it with its metadata
            and without vectors, so that no search finds it; both log how many there were.
        wait, ordering, shard_key_selector
            Options of Qdrant's requests; see ``Collection.add``. With ``wait=False`` texts are found a little
            later. A collection with ``sharding_method="custom"`` needs ``shard_key_selector``.

        Returns
        -------
        list of str
            The ids of what was added, in the order of the texts. Of an id that comes twice, the last text is
            kept, as in langchain-qdrant.

        Raises
        ------
        InvalidArgumentError
            A text, metadata or id is wrong; batches before its batch are written.
        IngestError
            The engine did not take some texts. Adding all of them again is safe.
        """
        return self._adder.add(partial(rows_of_texts, texts, metadatas), **options)

    def add_documents(  # type: ignore[override]
        self, documents: Iterable[Document], **options: Unpack[AddOptions]
    ) -> list[str]:
        """Insert documents from any iterable, by ``ids`` or else their own; see :meth:`add_texts`."""
        return self._adder.add(partial(rows_of_documents, documents), **options)

    async def aadd_texts(  # type: ignore[override]
        self, texts: Iterable[str], metadatas: Metadatas = None, **options: Unpack[AddOptions]
    ) -> list[str]:
        """Insert texts, or replace those whose ids exist; see :meth:`add_texts`."""
        return await self._adder.aadd(partial(rows_of_texts, texts, metadatas), **options)

    async def aadd_documents(  # type: ignore[override]
        self, documents: Iterable[Document], **options: Unpack[AddOptions]
    ) -> list[str]:
        """Insert documents, or replace those whose ids exist; see :meth:`add_documents`."""
        return await self._adder.aadd(partial(rows_of_documents, documents), **options)

    def _filter(self, filter: Filter | None) -> models.Filter | None:
        return to_filter(filter, self.metadata_payload_key)

    def delete(  # type: ignore[override]
        self,
        ids: Iterable[DocumentId] | None = None,
        *,
        filter: Filter | None = None,
        shard_key_selector: models.ShardKeySelector | None = None,
        wait: bool = True,
        ordering: models.WriteOrdering | None = None,
    ) -> bool:
        """Delete documents by ids or by a filter; ids without a document are no error."""
        self._shared.delete(ids, self._filter(filter), shard_key_selector, wait=wait, ordering=ordering)
        return True

    async def adelete(  # type: ignore[override]
        self,
        ids: Iterable[DocumentId] | None = None,
        *,
        filter: Filter | None = None,
        shard_key_selector: models.ShardKeySelector | None = None,
        wait: bool = True,
        ordering: models.WriteOrdering | None = None,
    ) -> bool:
        """Delete documents by ids or by a filter; see :meth:`delete`."""
        condition = self._filter(filter)
        await self._shared.adelete(ids, condition, shard_key_selector, wait=wait, ordering=ordering)
        return True

    def set_metadata(
        self,
        metadata: Metadata,
        ids: Iterable[DocumentId] | None = None,
        *,
        filter: Filter | None = None,
        key: str | None = None,
        shard_key_selector: models.ShardKeySelector | None = None,
    ) -> None:
        """Set fields of the metadata of documents, without embedding them again; other fields stay.

        Parameters
        ----------
        metadata : mapping of str to Any
            The fields. A field that is set to None is removed.
        ids : iterable of str, default=None
            Ids of the documents.
        filter : mapping or qdrant_client.models.Filter, default=None
            Condition on the metadata, in place of ``ids``.
        key : str, default=None
            Path of a mapping in the metadata whose fields are set, such as ``"author.address"``.
        shard_key_selector : qdrant_client.models.ShardKeySelector, default=None
            Shard keys of the documents. See :meth:`add_texts`.

        Raises
        ------
        InvalidArgumentError
            A field or an id is wrong; the error names it. Nothing was changed.
        """
        self._shared.update(*self._updates.set(metadata, key), ids, self._filter(filter), shard_key_selector)

    async def aset_metadata(
        self,
        metadata: Metadata,
        ids: Iterable[DocumentId] | None = None,
        *,
        filter: Filter | None = None,
        key: str | None = None,
        shard_key_selector: models.ShardKeySelector | None = None,
    ) -> None:
        """Set fields of the metadata of documents; see :meth:`set_metadata`."""
        await self._shared.aupdate(
            *self._updates.set(metadata, key), ids, self._filter(filter), shard_key_selector
        )

    def overwrite_metadata(
        self,
        metadata: Metadata,
        ids: Iterable[DocumentId] | None = None,
        *,
        filter: Filter | None = None,
        shard_key_selector: models.ShardKeySelector | None = None,
    ) -> None:
        """Replace the metadata of documents by another mapping; see :meth:`set_metadata`."""
        self._shared.update(*self._updates.overwrite(metadata), ids, self._filter(filter), shard_key_selector)

    async def aoverwrite_metadata(
        self,
        metadata: Metadata,
        ids: Iterable[DocumentId] | None = None,
        *,
        filter: Filter | None = None,
        shard_key_selector: models.ShardKeySelector | None = None,
    ) -> None:
        """Replace the metadata of documents by another mapping; see :meth:`set_metadata`."""
        await self._shared.aupdate(
            *self._updates.overwrite(metadata), ids, self._filter(filter), shard_key_selector
        )

    def delete_metadata(
        self,
        keys: Iterable[str],
        ids: Iterable[DocumentId] | None = None,
        *,
        filter: Filter | None = None,
        shard_key_selector: models.ShardKeySelector | None = None,
    ) -> None:
        """Remove fields, by their paths in the metadata, from documents; see :meth:`set_metadata`."""
        self._shared.update(*self._updates.delete(keys), ids, self._filter(filter), shard_key_selector)

    async def adelete_metadata(
        self,
        keys: Iterable[str],
        ids: Iterable[DocumentId] | None = None,
        *,
        filter: Filter | None = None,
        shard_key_selector: models.ShardKeySelector | None = None,
    ) -> None:
        """Remove fields, by their paths in the metadata, from documents; see :meth:`set_metadata`."""
        await self._shared.aupdate(*self._updates.delete(keys), ids, self._filter(filter), shard_key_selector)

    def get_by_ids(self, ids: Sequence[DocumentId], /) -> list[Document]:
        """Return documents in the order of ``ids``; ids without a document are left out."""
        return [self._document(record) for record in self._shared.records(ids)]

    async def aget_by_ids(self, ids: Sequence[DocumentId], /) -> list[Document]:
        """Return documents in the order of ``ids``; see :meth:`get_by_ids`."""
        return [self._document(record) for record in await self._shared.arecords(ids)]

    def documents(self, *, filter: Filter | None = None, batch_size: int = 256) -> Iterator[Document]:
        """Yield all documents, or those that a filter lets through, read ``batch_size`` at a time."""
        for page in self._shared.pages(self._filter(filter), batch_size):
            yield from (to_document(record, self._keys) for record in page)

    def similarity_search(  # type: ignore[override]
        self, query: str, k: int = 4, filter: Filter | None = None, **options: Unpack[SearchOptions]
    ) -> list[Document]:
        """Return the documents that are most similar to a text.

        Parameters
        ----------
        query : str
            Text that is searched for.
        k : int, default=4
            Number of documents.
        filter : mapping or qdrant_client.models.Filter, default=None
            Condition on the metadata; see :func:`langchain_embplug.to_filter`.
        search_params : qdrant_client.models.SearchParams, default=None
            Parameters of Qdrant's search, in place of the recipe's.
        offset : int, default=0
            Number of best documents to leave out.
        score_threshold : float, default=None
            Lowest score of a document, on the scale of the last stage.
        with_stages : bool, default=False
            Put the score of each stage into the metadata, as ``_stages``.
        explain : bool, default=False
            Put into the metadata, as ``_explanation``, which token of the query met which of the document,
            and with what share of the score. It needs a recipe with tokens.
        hybrid_fusion : FusionQuery, RrfQuery or Fusion, default=None
            How the rankings of vectors and BM25 become one, in place of the recipe's fusion.
        consistency, shard_key_selector, timeout
            Options of Qdrant's requests; see ``Collection.search``.

        Returns
        -------
        list of Document
            The documents, best first.
        """
        return _without_scores(self.similarity_search_with_score(query, k, filter, **options))

    async def asimilarity_search(  # type: ignore[override]
        self, query: str, k: int = 4, filter: Filter | None = None, **options: Unpack[SearchOptions]
    ) -> list[Document]:
        """Return the documents that are most similar to a text; see :meth:`similarity_search`."""
        return _without_scores(await self.asimilarity_search_with_score(query, k, filter, **options))

    def similarity_search_with_score(
        self, query: str, k: int = 4, filter: Filter | None = None, **options: Unpack[SearchOptions]
    ) -> list[tuple[Document, float]]:
        """Return documents with their scores of the last stage; see :meth:`similarity_search`."""
        return self._search(self._requests.of_text(query, k, filter, **options))

    async def asimilarity_search_with_score(
        self, query: str, k: int = 4, filter: Filter | None = None, **options: Unpack[SearchOptions]
    ) -> list[tuple[Document, float]]:
        """Return documents with their scores; see :meth:`similarity_search_with_score`."""
        return await self._asearch(await self._requests.aof_text(query, k, filter, **options))

    def similarity_search_by_vector(  # type: ignore[override]
        self, embedding: Vector, k: int = 4, filter: Filter | None = None, **options: Unpack[SearchOptions]
    ) -> list[Document]:
        """Return documents for a dense vector or a token matrix; see :meth:`similarity_search`."""
        return _without_scores(self.similarity_search_with_score_by_vector(embedding, k, filter, **options))

    async def asimilarity_search_by_vector(  # type: ignore[override]
        self, embedding: Vector, k: int = 4, filter: Filter | None = None, **options: Unpack[SearchOptions]
    ) -> list[Document]:
        """Return documents for a dense vector or a token matrix; see :meth:`similarity_search`."""
        scored = await self.asimilarity_search_with_score_by_vector(embedding, k, filter, **options)
        return _without_scores(scored)

    def similarity_search_with_score_by_vector(
        self, embedding: Vector, k: int = 4, filter: Filter | None = None, **options: Unpack[SearchOptions]
    ) -> list[tuple[Document, float]]:
        """Return documents with their scores; see :meth:`similarity_search_by_vector`."""
        return self._search(self._requests.of_vector(embedding, k, filter, **options))

    async def asimilarity_search_with_score_by_vector(
        self, embedding: Vector, k: int = 4, filter: Filter | None = None, **options: Unpack[SearchOptions]
    ) -> list[tuple[Document, float]]:
        """Return documents with their scores; see :meth:`similarity_search_by_vector`."""
        return await self._asearch(self._requests.of_vector(embedding, k, filter, **options))

    def _similarity_search_with_relevance_scores(
        self, query: str, k: int = 4, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        scored = self.similarity_search_with_score(query, k, **kwargs)
        relevance = relevance_scale(self.collection, query, self._dense_name)
        return [(document, relevance(score)) for document, score in scored]

    async def _asimilarity_search_with_relevance_scores(
        self, query: str, k: int = 4, **kwargs: Any
    ) -> list[tuple[Document, float]]:
        scored = await self.asimilarity_search_with_score(query, k, **kwargs)
        relevance = await asyncio.to_thread(relevance_scale, self.collection, query, self._dense_name)
        return [(document, relevance(score)) for document, score in scored]

    def max_marginal_relevance_search(  # type: ignore[override]
        self,
        query: str,
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        **options: Unpack[MmrOptions],
    ) -> list[Document]:
        """Return documents that are relevant and differ from one another.

        Parameters
        ----------
        query, k, filter, search_params, score_threshold, consistency, shard_key_selector, timeout
            See :meth:`similarity_search`.
        fetch_k : int, default=20
            Number of most similar documents to choose from.
        lambda_mult : float, default=0.5
            1 ranks by relevance alone, 0 by diversity alone.

        Returns
        -------
        list of Document
            The documents, in the order in which they were chosen.
        """
        mmr = mmr_by_relevance(lambda_mult, fetch_k)
        request = self._requests.of_text(query, k, mmr=mmr, **options)
        return _without_scores(self._search(request))

    async def amax_marginal_relevance_search(  # type: ignore[override]
        self,
        query: str,
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        **options: Unpack[MmrOptions],
    ) -> list[Document]:
        """Return documents that are relevant and differ; see :meth:`max_marginal_relevance_search`."""
        mmr = mmr_by_relevance(lambda_mult, fetch_k)
        request = await self._requests.aof_text(query, k, mmr=mmr, **options)
        return _without_scores(await self._asearch(request))

    def max_marginal_relevance_search_by_vector(  # type: ignore[override]
        self,
        embedding: Vector,
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        **options: Unpack[MmrOptions],
    ) -> list[Document]:
        """Return documents for a vector or a token matrix; see :meth:`max_marginal_relevance_search`."""
        mmr = mmr_by_relevance(lambda_mult, fetch_k)
        request = self._requests.of_vector(embedding, k, mmr=mmr, **options)
        return _without_scores(self._search(request))

    async def amax_marginal_relevance_search_by_vector(  # type: ignore[override]
        self,
        embedding: Vector,
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        **options: Unpack[MmrOptions],
    ) -> list[Document]:
        """Return documents for a vector; see :meth:`max_marginal_relevance_search_by_vector`."""
        mmr = mmr_by_relevance(lambda_mult, fetch_k)
        request = self._requests.of_vector(embedding, k, mmr=mmr, **options)
        return _without_scores(await self._asearch(request))

    def max_marginal_relevance_search_with_score_by_vector(
        self,
        embedding: Vector,
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        **options: Unpack[MmrOptions],
    ) -> list[tuple[Document, float]]:
        """Return documents with the scores of the search; see :meth:`max_marginal_relevance_search`."""
        mmr = mmr_by_relevance(lambda_mult, fetch_k)
        request = self._requests.of_vector(embedding, k, mmr=mmr, **options)
        return self._search(request)

    async def amax_marginal_relevance_search_with_score_by_vector(
        self,
        embedding: Vector,
        k: int = 4,
        fetch_k: int = 20,
        lambda_mult: float = 0.5,
        **options: Unpack[MmrOptions],
    ) -> list[tuple[Document, float]]:
        """Return documents with the scores of the search; see :meth:`max_marginal_relevance_search`."""
        mmr = mmr_by_relevance(lambda_mult, fetch_k)
        request = self._requests.of_vector(embedding, k, mmr=mmr, **options)
        return await self._asearch(request)

    async def aclose(self) -> None:
        """Close the connection to a server that asynchronous calls opened in the running event loop."""
        await self._shared.aclose()

    def _search(self, request: SearchRequest) -> list[tuple[Document, float]]:
        return [self._scored(hit) for hit in self._shared.search(request)]

    async def _asearch(self, request: SearchRequest) -> list[tuple[Document, float]]:
        return [self._scored(hit) for hit in await self._shared.asearch(request)]

    def _document(self, record: Record) -> Document:
        document = to_document(record, self._keys)
        return with_point(document, record, self.collection_name) if self._point_metadata else document

    def _scored(self, hit: Hit) -> tuple[Document, float]:
        document, score = to_scored_document(hit, self._keys)
        if self._point_metadata:
            document = with_point(document, hit, self.collection_name)
        return document, score


def _without_scores(scored: list[tuple[Document, float]]) -> list[Document]:
    return [document for document, _ in scored]
