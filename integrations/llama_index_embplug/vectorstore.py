"""LlamaIndex's vector store on an embplug collection."""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from llama_index.core.bridge.pydantic import ConfigDict, Field, PrivateAttr, field_serializer
from llama_index.core.schema import BaseNode
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryResult,
)
from qdrant_client import AsyncQdrantClient, QdrantClient, models
from typing_extensions import Self, Unpack

from embplug import Collection, Encoder, Hit, Recipe, Record
from embplug.branches.empty import OnEmpty
from embplug.engines import Engine, closed_on_error, traits_of
from embplug.engines.connect import key_of_environment
from embplug.errors import CapabilityError, CollectionNotFoundError, InvalidArgumentError
from embplug.frameworks.collection import FrameworkCollection
from embplug.frameworks.connection import connection_options, open_engine, target_options
from embplug.frameworks.defaults import as_encoder
from embplug.frameworks.peer_keywords import RECIPE_KEYWORDS, check_keywords, check_options
from embplug.frameworks.rows import UniqueRows
from embplug.frameworks.search import SearchRequest
from llama_index_embplug.adding import (
    Batches,
    PlacedRow,
    Row,
    TokenEmbeddings,
    node_id,
    peeked,
    rows_of_nodes,
)
from llama_index_embplug.connection import open_collection
from llama_index_embplug.embeddings import defer_default_model
from llama_index_embplug.filters import NodeFilters
from llama_index_embplug.metadata import MetadataChange
from llama_index_embplug.nodes import from_payload
from llama_index_embplug.requests import QueryOptions, check_query, searches_nothing, to_request
from llama_index_embplug.sparse import SparseFunction, SparseModel, lacks_sparse_model

_INSTEAD = {
    **RECIPE_KEYWORDS,
    "dense_config": "nothing: use recipe=Recipe(dense=Dense(...))",
    "sparse_config": "nothing: use recipe=Recipe(sparse=Sparse(...), ...)",
    "enable_hybrid": "nothing: pass the sparse model, as sparse_doc_fn or fastembed_sparse_model, or "
    "recipe=Recipe(dense=Dense(dim=...), sparse=Sparse()), which adds BM25",
    "hybrid_fusion_fn": "nothing: use recipe=Recipe(fusion=Fusion(...), ...)",
    "dense_vector_name": "nothing: use vector_name",
    "index_doc_id": "nothing: the ids of documents always have an index",
    "payload_indexes": "nothing: use recipe=Recipe(payload_indexes={'year': 'integer'}, ...)",
    "shard_key_selector_fn": "nothing: use shard_key_selector of add and query",
    "shard_keys": "nothing: use shard_key_selector of add and query",
    "parallel": "nothing: several requests are under way at a time",
    "max_retries": "nothing: requests that fail for a while are sent again",
}
"""Keywords of llama-index-vector-stores-qdrant that have no meaning here."""


class EmbplugVectorStore(BasePydanticVectorStore):
    """Nodes on Qdrant, compressed, multi-vector and reranked as a recipe says.

    The store takes the place of llama-index-vector-stores-qdrant's ``QdrantVectorStore``, whose
    collections it opens and searches as they are. A method whose name begins with ``a`` is the native
    asynchronous form of the method without it, and takes the same arguments. All methods are safe to
    call from many threads and tasks.

    Parameters
    ----------
    collection_name : str
        Name of the Qdrant collection, which is created if it does not exist.
    client : QdrantClient, EdgeClient, str or path, default=None
        A client, the URL of a server, a directory for Qdrant Edge, or ``":memory:"``.
    aclient : AsyncQdrantClient, default=None
        Asynchronous client whose server is used if ``client`` is None. Asynchronous calls have a client
        of their own for each event loop in any case.
    url : str, default=None
        URL of a server, in place of ``client``.
    path : str or path, default=None
        Directory for Qdrant Edge, in place of ``client``.
    api_key : str, default=None
        API key of the server. Only the client keeps it.
    client_kwargs : mapping, default=None
        Further options of ``QdrantClient``: ``prefer_grpc``, ``timeout``, ``host``, ...
    recipe : Recipe or mapping, default=None
        What a new collection stores, and how it is searched. None is the preset ``"balanced"`` for what the
        encoder makes, or without an encoder for the nodes' embeddings.
    encoder : Encoder or str, default=None
        An encoder of embplug, or its name, for tokens. None takes the one that the recipe names.
    vector_name : str, default=""
        Name of the dense vector that the nodes' embeddings are. The empty string takes the only one.
    text_key : str, default=None
        Payload field of the text. None takes that of the collection, ``_node_text`` in new ones.
    distance : qdrant_client.models.Distance, default=Distance.COSINE
        Distance of dense vectors in a new collection without ``recipe``.
    create : bool, default=True
        Create the collection if it does not exist. False raises ``CollectionNotFoundError``.
    batch_size : int, default=64
        Number of nodes that are encoded and checked together.
    sparse_doc_fn : callable, default=None
        Function of texts that returns the indices and the weights of each, as ``QdrantVectorStore`` takes
        it. Nodes that are added get the sparse vector of a hybrid collection of that store, or of a recipe
        with ``Sparse(kind="learned")``.
    sparse_query_fn : callable, default=None
        The same function for queries. None takes ``sparse_doc_fn``.
    fastembed_sparse_model : str, default=None
        Name of a sparse model of FastEmbed, in place of these functions.
    sparse_vector_name : str, default=""
        Name of the sparse vector in a collection of ``QdrantVectorStore``. The empty string takes the only
        one.

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
    >>> store = EmbplugVectorStore("docs", "./qdrant", recipe=recipe)  # doctest: +SKIP
    >>> context = StorageContext.from_defaults(vector_store=store)  # doctest: +SKIP
    >>> index = VectorStoreIndex.from_documents(documents, storage_context=context)  # doctest: +SKIP
    """

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    stores_text: bool = True
    is_embedding_query: bool = True

    collection_name: str = Field(min_length=1, description="Name of the Qdrant collection.")
    url: str | None = Field(default=None, description="URL of a Qdrant server.")
    path: str | None = Field(default=None, description="Directory of Qdrant Edge.")
    recipe: Any = Field(default=None, repr=False, description="What a new collection stores.")
    encoder: Any = Field(default=None, repr=False, description="Encoder of the collection.")
    vector_name: str = Field(default="", description="Name of the dense vector.")
    text_key: str | None = Field(default=None, description="Payload field of the text.")
    distance: models.Distance = Field(default=models.Distance.COSINE, description="Distance of vectors.")
    create: bool = Field(default=True, description="Create a missing collection.")
    batch_size: int = Field(default=64, ge=1, description="Number of nodes in a batch.")
    fastembed_sparse_model: str | None = Field(default=None, description="Sparse model of FastEmbed.")
    sparse_vector_name: str = Field(default="", description="Name of the sparse vector.")

    _client: Engine = PrivateAttr()
    _shared: FrameworkCollection | None = PrivateAttr(default=None)
    _dense_name: str | None = PrivateAttr(default=None)
    _filters: NodeFilters = PrivateAttr(default_factory=lambda: NodeFilters(None, None))
    _lock: Any = PrivateAttr(default_factory=threading.Lock)
    _sparse_model: SparseModel = PrivateAttr(default_factory=SparseModel)
    _sparse_encoder: Encoder | None = PrivateAttr(default=None)

    def __init__(
        self,
        collection_name: str,
        client: Engine | str | os.PathLike[str] | None = None,
        aclient: AsyncQdrantClient | None = None,
        *,
        url: str | None = None,
        path: str | os.PathLike[str] | None = None,
        api_key: str | None = None,
        client_kwargs: Mapping[str, Any] | None = None,
        recipe: Recipe | Mapping[str, Any] | None = None,
        encoder: Encoder | str | None = None,
        vector_name: str = "",
        text_key: str | None = None,
        distance: models.Distance = models.Distance.COSINE,
        create: bool = True,
        batch_size: int = 64,
        sparse_doc_fn: SparseFunction | None = None,
        sparse_query_fn: SparseFunction | None = None,
        fastembed_sparse_model: str | None = None,
        sparse_vector_name: str = "",
        **others: Any,
    ) -> None:
        check_keywords({name: value or None for name, value in others.items()}, _INSTEAD)
        target = target_options(client, url, path, aclient)
        path = target.get("path")
        super().__init__(
            stores_text=True,
            collection_name=collection_name,
            url=target.get("url"),
            path=None if path is None else os.fspath(path),
            recipe=Recipe.from_dict(dict(recipe)) if isinstance(recipe, Mapping) else recipe,
            encoder=as_encoder(encoder),
            vector_name=vector_name,
            text_key=text_key,
            distance=distance,
            create=create,
            batch_size=batch_size,
            fastembed_sparse_model=fastembed_sparse_model,
            sparse_vector_name=sparse_vector_name,
        )
        self._sparse_model = SparseModel(sparse_doc_fn, sparse_query_fn, fastembed_sparse_model)
        self._sparse_encoder = self._sparse_model.encoder()
        if self.recipe is not None and not isinstance(self.recipe, Recipe):
            raise InvalidArgumentError("recipe", "an embplug Recipe", type(self.recipe).__name__)
        self._client = open_engine(connection_options(target, api_key, client_kwargs))
        with closed_on_error(self._client, client):
            try:
                self._open(None)
            except CollectionNotFoundError:
                # The first nodes have embeddings, whose dimension makes the collection.
                if not create or self.recipe is not None:
                    raise

    @classmethod
    def class_name(cls) -> str:
        """Return the name by which LlamaIndex knows the class in serialised data."""
        return "EmbplugVectorStore"

    @classmethod
    def from_dict(cls, data: dict[str, Any], **kwargs: Any) -> Self:
        """Open the store again from the result of ``to_dict``; ``kwargs`` replace and add arguments.

        A client, an API key and functions are not in that result; pass them again.
        """
        fields = {"stores_text", "is_embedding_query", "class_name"}
        return cls(**{key: value for key, value in {**data, **kwargs}.items() if key not in fields})

    def __reduce__(self) -> Any:
        if self.url is None and self.path is None:
            raise CapabilityError(
                "a store with a client that was passed cannot be pickled: pass url= or path= instead of it"
            )
        # As JSON: a pickle of the client would hold its key.
        options = self._client.init_options if isinstance(self._client, QdrantClient) else {}
        has_key = bool(options.get("api_key"))
        functions = {
            "sparse_doc_fn": self._sparse_model.doc_fn,
            "sparse_query_fn": self._sparse_model.query_fn,
        }
        return _unpickled, (type(self), {**self.to_dict(), **functions}, has_key)

    @field_serializer("recipe")
    def _recipe_as_data(self, recipe: Recipe | None) -> dict[str, Any] | None:
        # What the store adds depends on what the user left out, so only the rest is kept.
        return None if recipe is None else recipe.model_dump(mode="json", exclude_unset=True)

    @field_serializer("encoder")
    def _encoder_by_name(self, encoder: Encoder | None) -> str | None:
        return None if encoder is None else encoder.spec

    @field_serializer("distance")
    def _distance_by_name(self, distance: models.Distance) -> str:
        return distance.value

    @property
    def client(self) -> Engine:
        """Client that speaks to the engine; the caller closes it."""
        return self._client

    @property
    def collection(self) -> Collection:
        """Collection that the store searches.

        Raises
        ------
        CollectionNotFoundError
            The collection does not exist yet, because the first nodes create it.
        """
        return self._existing().collection

    @property
    def has_tokens(self) -> bool:
        """Whether the collection stores tokens."""
        return self._shared is not None and self._shared.collection.recipe.tokens is not None

    def _existing(self) -> FrameworkCollection:
        if self._shared is None:
            raise CollectionNotFoundError(f"no collection {self.collection_name!r} yet: add nodes first")
        return self._shared

    def _open(self, dim: int | None) -> None:
        """Open the collection, or create it for embeddings of a dimension."""
        shared = open_collection(
            self._client,
            self.collection_name,
            self.encoder,
            recipe=self.recipe,
            dim=dim,
            vector_name=self.vector_name,
            text_key=self.text_key,
            distance=self.distance,
            create=self.create,
            sparse_encoder=self._sparse_encoder,
            sparse_vector_name=self.sparse_vector_name,
        )
        self._dense_name = shared.dense_name(self.vector_name, required=bool(self.vector_name))
        fields = shared.case_insensitive_fields() if traits_of(self._client).is_remote else None
        self._filters = NodeFilters(shared, fields)
        self.is_embedding_query = bool(shared.collection.recipe.dense)
        if not self.is_embedding_query:
            # An index on the store would load a model that nothing asks.
            defer_default_model()
        self._shared = shared

    def _opened_for(self, place: int, row: Row) -> FrameworkCollection:
        embedding = row.node.embedding
        with self._lock:
            if self._shared is None:
                if embedding is None:
                    expected = "an embedding, because there is neither recipe nor encoder"
                    raise InvalidArgumentError(f"nodes[{place}].embedding", expected, None)
                self._open(len(embedding))
        return self._existing()

    def add(  # type: ignore[override]
        self,
        nodes: Iterable[BaseNode],
        *,
        token_embeddings: TokenEmbeddings | None = None,
        show_progress: bool | None = False,
        on_empty: OnEmpty = "raise",
        shard_key_selector: models.ShardKeySelector | None = None,
    ) -> list[str]:
        """Insert nodes, or replace those whose ids exist; adding twice is the same as once.

        If the recipe has tokens, its encoder makes them of what embedding models see of a node. Dense
        vectors are the nodes' embeddings, or the encoder's if all nodes of a batch lack an embedding. A
        recipe without dense vectors leaves embeddings aside.

        Parameters
        ----------
        nodes : iterable of BaseNode
            Nodes, which are read batch by batch.
        token_embeddings : mapping, sequence or TokenBatch, default=None
            Token matrices of shape (t, dim), in place of the encoder's: by the node's id, as
            ``VectorStoreIndex.insert_nodes(nodes, token_embeddings=...)`` passes them on, or one per
            node.
        show_progress : bool, default=False
            Show a progress bar. None shows one on a terminal.
        on_empty : {"raise", "skip", "store"}, default="raise"
            What happens to a node whose text is blank. ``"skip"`` leaves it out, ``"store"`` stores it with
            its metadata and without vectors, so that no query finds it; both log how many there were.
        shard_key_selector : qdrant_client.models.ShardKeySelector, default=None
            Shard keys of the nodes, which a collection with ``sharding_method="custom"`` needs.

        Returns
        -------
        list of str
            The ids, in the order of the nodes. Of an id that comes twice, the last node is kept.

        Raises
        ------
        InvalidArgumentError
            A node is wrong; batches before its batch are written.
        IngestError
            The engine did not take some nodes. Adding all of them again is safe.
        """
        first, rows = peeked(rows_of_nodes(nodes, token_embeddings, on_empty))
        if first is None:
            return []
        shared = self._opened_for(*first)
        unique = UniqueRows(rows, node_id)
        for part in unique.parts():
            shared.add(
                self._batches(shared, part, on_empty),
                progress=show_progress,
                shard_key_selector=shard_key_selector,
                on_empty=on_empty,
            )
        return unique.ids

    async def async_add(  # type: ignore[override]
        self,
        nodes: Iterable[BaseNode],
        *,
        token_embeddings: TokenEmbeddings | None = None,
        show_progress: bool | None = False,
        on_empty: OnEmpty = "raise",
        shard_key_selector: models.ShardKeySelector | None = None,
    ) -> list[str]:
        """Insert nodes, or replace those whose ids exist; see :meth:`add`."""
        first, rows = peeked(rows_of_nodes(nodes, token_embeddings, on_empty))
        if first is None:
            return []
        shared = await asyncio.to_thread(self._opened_for, *first)
        unique = UniqueRows(rows, node_id)
        for part in unique.parts():
            await shared.aadd(
                self._batches(shared, part, on_empty),
                progress=show_progress,
                shard_key_selector=shard_key_selector,
                on_empty=on_empty,
            )
        return unique.ids

    def _batches(self, shared: FrameworkCollection, rows: Iterable[PlacedRow], on_empty: OnEmpty) -> Batches:
        if not shared.is_plain and lacks_sparse_model(shared):
            expected = "the model of the sparse vector, or fastembed_sparse_model"
            raise InvalidArgumentError("sparse_doc_fn", expected, None)
        return Batches(
            shared,
            rows,
            self.batch_size,
            self._dense_name,
            self._text_key(shared),
            on_empty,
            self._sparse_encoder,
        )

    def _text_key(self, shared: FrameworkCollection) -> str:
        return self.text_key or shared.collection.recipe.text_key

    def delete(
        self,
        ref_doc_id: str,
        *,
        shard_key_selector: models.ShardKeySelector | None = None,
        **delete_kwargs: Any,
    ) -> None:
        """Delete the nodes of a document; a document without nodes is no error.

        Parameters
        ----------
        ref_doc_id : str
            Id of the document.
        shard_key_selector : qdrant_client.models.ShardKeySelector, default=None
            Shard keys of the nodes. See :meth:`add`.
        """
        _check_none(delete_kwargs)
        if self._shared is not None:
            condition = self._filters.of_documents([ref_doc_id])
            self._shared.delete(filter=condition, shard_key_selector=shard_key_selector)

    async def adelete(
        self,
        ref_doc_id: str,
        *,
        shard_key_selector: models.ShardKeySelector | None = None,
        **delete_kwargs: Any,
    ) -> None:
        """Delete the nodes of a document; see :meth:`delete`."""
        _check_none(delete_kwargs)
        if self._shared is not None:
            condition = self._filters.of_documents([ref_doc_id])
            await self._shared.adelete(filter=condition, shard_key_selector=shard_key_selector)

    def delete_nodes(
        self,
        node_ids: list[str] | None = None,
        filters: MetadataFilters | None = None,
        *,
        shard_key_selector: models.ShardKeySelector | None = None,
        **delete_kwargs: Any,
    ) -> None:
        """Delete nodes by ids, by filters, or those of the ids that the filters let through.

        Parameters
        ----------
        node_ids : list of str, default=None
            Ids of nodes; an id without a node is no error.
        filters : MetadataFilters, default=None
            Conditions on the metadata.
        shard_key_selector : qdrant_client.models.ShardKeySelector, default=None
            Shard keys of the nodes. See :meth:`add`.

        Raises
        ------
        InvalidArgumentError
            There are neither ids nor conditions; :meth:`clear` deletes all nodes.
        """
        _check_none(delete_kwargs)
        ids, filter = self._filters.to_delete(node_ids, filters)
        if self._shared is not None:
            self._shared.delete(ids, filter, shard_key_selector)

    async def adelete_nodes(
        self,
        node_ids: list[str] | None = None,
        filters: MetadataFilters | None = None,
        *,
        shard_key_selector: models.ShardKeySelector | None = None,
        **delete_kwargs: Any,
    ) -> None:
        """Delete nodes by ids and filters; see :meth:`delete_nodes`."""
        _check_none(delete_kwargs)
        ids, filter = self._filters.to_delete(node_ids, filters)
        if self._shared is not None:
            await self._shared.adelete(ids, filter, shard_key_selector)

    def set_metadata(
        self,
        metadata: Mapping[str, Any],
        node_ids: list[str] | None = None,
        filters: MetadataFilters | None = None,
        *,
        shard_key_selector: models.ShardKeySelector | None = None,
    ) -> None:
        """Set fields of the metadata of nodes, without embedding them again; other fields stay.

        Nodes are changed one at a time, because each holds its metadata once more in serialised form.

        Parameters
        ----------
        metadata : mapping of str to Any
            The fields.
        node_ids : list of str, default=None
            Ids of nodes.
        filters : MetadataFilters, default=None
            Conditions on the metadata. With ids, both have to hold.
        shard_key_selector : qdrant_client.models.ShardKeySelector, default=None
            Shard keys of the nodes. See :meth:`add`.

        Raises
        ------
        InvalidArgumentError
            A field or an id is wrong, and the error names it; or there are neither ids nor conditions.
        """
        shared, changed = self._existing(), self._change(metadata=metadata)
        shared.rewrite(changed, *self._filters.to_delete(node_ids, filters), shard_key_selector)

    async def aset_metadata(
        self,
        metadata: Mapping[str, Any],
        node_ids: list[str] | None = None,
        filters: MetadataFilters | None = None,
        *,
        shard_key_selector: models.ShardKeySelector | None = None,
    ) -> None:
        """Set fields of the metadata of nodes; see :meth:`set_metadata`."""
        shared, changed = self._existing(), self._change(metadata=metadata)
        await shared.arewrite(changed, *self._filters.to_delete(node_ids, filters), shard_key_selector)

    def delete_metadata(
        self,
        keys: Iterable[str],
        node_ids: list[str] | None = None,
        filters: MetadataFilters | None = None,
        *,
        shard_key_selector: models.ShardKeySelector | None = None,
    ) -> None:
        """Remove fields of the metadata of nodes, by their names; see :meth:`set_metadata`."""
        shared, changed = self._existing(), self._change(keys=keys)
        shared.rewrite(changed, *self._filters.to_delete(node_ids, filters), shard_key_selector)

    async def adelete_metadata(
        self,
        keys: Iterable[str],
        node_ids: list[str] | None = None,
        filters: MetadataFilters | None = None,
        *,
        shard_key_selector: models.ShardKeySelector | None = None,
    ) -> None:
        """Remove fields of the metadata of nodes, by their names; see :meth:`set_metadata`."""
        shared, changed = self._existing(), self._change(keys=keys)
        await shared.arewrite(changed, *self._filters.to_delete(node_ids, filters), shard_key_selector)

    def _change(self, **change: Any) -> Callable[[Record], dict[str, Any]]:
        shared = self._existing()
        return MetadataChange(self._text_key(shared), shared.is_plain, **change)

    def get_nodes(
        self,
        node_ids: list[str] | None = None,
        filters: MetadataFilters | None = None,
        *,
        limit: int | None = None,
    ) -> list[BaseNode]:
        """Return nodes by ids, by filters, by both, or all.

        Parameters
        ----------
        node_ids : list of str, default=None
            Ids of nodes. The nodes come in their order; ids without a node are left out.
        filters : MetadataFilters, default=None
            Conditions on the metadata.
        limit : int, default=None
            Highest number of nodes.

        Returns
        -------
        list of BaseNode
            The nodes.
        """
        if self._shared is None:
            return []
        return self._nodes(self._shared.records(node_ids, self._filters.all_of(filters), limit))

    async def aget_nodes(
        self,
        node_ids: list[str] | None = None,
        filters: MetadataFilters | None = None,
        *,
        limit: int | None = None,
    ) -> list[BaseNode]:
        """Return nodes by ids, by filters, by both, or all; see :meth:`get_nodes`."""
        if self._shared is None:
            return []
        return self._nodes(await self._shared.arecords(node_ids, self._filters.all_of(filters), limit))

    def clear(self, *, shard_key_selector: models.ShardKeySelector | None = None) -> None:
        """Delete all nodes; the collection stays, with its recipe and what it has learned."""
        if self._shared is not None:
            self._shared.delete(filter=models.Filter(), shard_key_selector=shard_key_selector)

    async def aclear(self, *, shard_key_selector: models.ShardKeySelector | None = None) -> None:
        """Delete all nodes; see :meth:`clear`."""
        if self._shared is not None:
            await self._shared.adelete(filter=models.Filter(), shard_key_selector=shard_key_selector)

    def query(  # type: ignore[override]
        self, query: VectorStoreQuery, **options: Unpack[QueryOptions]
    ) -> VectorStoreQueryResult:
        """Return the best nodes.

        If the recipe has tokens, ``query.query_str`` is encoded and nodes are ranked by MaxSim. A recipe
        with dense vectors compares ``query.query_embedding``, or if that is missing what the encoder makes
        of ``query.query_str``. A query without vectors whose text is empty, or that has filters and no text,
        returns nodes that the filters let through, in no order and without similarities.

        Parameters
        ----------
        query : VectorStoreQuery
            Query of LlamaIndex. Its mode is ``DEFAULT`` or ``MMR``. With a recipe that has sparse vectors
            it may be ``SPARSE`` or ``TEXT_SEARCH`` for these alone, ``HYBRID`` for all, and
            ``SEMANTIC_HYBRID`` if the recipe also has a cross-encoder. In ``HYBRID``, ``alpha`` weighs
            scores, from 0 for sparse vectors to 1 for the others, in place of the recipe's fusion;
            ``sparse_top_k`` is the number of candidates. ``filters``, ``doc_ids`` and ``node_ids`` all
            have to hold. ``embedding_field`` names a dense vector.
        query_tokens : array-like of shape (t, dim), default=None
            Token matrix of the query, in place of the encoder's.
        qdrant_filters : qdrant_client.models.Filter, default=None
            Filter of Qdrant, beside ``query.filters``.
        search_params : qdrant_client.models.SearchParams or mapping, default=None
            Parameters of Qdrant's search, in place of the recipe's.
        score_threshold : float, default=None
            Lowest score of a node, on the scale of the last stage.
        with_stages : bool, default=False
            Put the score of each stage into the metadata, as ``_stages``.
        explain : bool, default=False
            Put into the metadata, as ``_explanation``, which token of the query met which of the node, and
            with what share of the score. It needs a recipe with tokens.
        consistency, shard_key_selector, timeout : default=None
            Options of Qdrant's requests; see ``Collection.search``.
        mmr_threshold : float, default=None
            For ``MMR``: 1 ranks by relevance alone, 0 by diversity alone. None takes that of ``query``,
            or 0.5.
        mmr_prefetch_factor : float, default=None
            For ``MMR``: number of nodes to choose from, as a multiple of ``query.similarity_top_k``.
        mmr_prefetch_k : int, default=None
            For ``MMR``: number of nodes to choose from. None takes 100.

        Returns
        -------
        VectorStoreQueryResult
            Nodes, their scores and their ids, best first.

        Raises
        ------
        InvalidArgumentError
            An argument is wrong, or the recipe cannot serve the mode. It is a ``ValueError``.
        """
        request = self._request(query, **options)
        if self._shared is None or request is None:
            return self._result([])
        if searches_nothing(request):
            return self._unranked(self._shared.records(filter=request.filter, limit=request.limit))
        return self._result(self._shared.search(request))

    async def aquery(  # type: ignore[override]
        self, query: VectorStoreQuery, **options: Unpack[QueryOptions]
    ) -> VectorStoreQueryResult:
        """Return the best nodes; see :meth:`query`."""
        request = self._request(query, **options)
        if self._shared is None or request is None:
            return self._result([])
        if searches_nothing(request):
            return self._unranked(await self._shared.arecords(filter=request.filter, limit=request.limit))
        return self._result(await self._shared.asearch(request))

    def _request(
        self, query: VectorStoreQuery, *, qdrant_filters: models.Filter | None = None, **options: Any
    ) -> SearchRequest | None:
        """Return the request for a query, or None if there is no collection yet."""
        recipe = None if self._shared is None else self._shared.collection.recipe
        check_options(options, QueryOptions)
        lacks_model = self._shared is not None and lacks_sparse_model(self._shared)
        check_query(query, recipe, lacks_model=lacks_model)
        if recipe is None:
            return None
        filter = self._filters.all_of(
            query.filters, doc_ids=query.doc_ids, node_ids=query.node_ids, qdrant_filters=qdrant_filters
        )
        return to_request(query, recipe, self._dense_name, filter=filter, **options)

    def _nodes(self, items: Sequence[Record | Hit]) -> list[BaseNode]:
        return [from_payload(item, self._text_key(self._existing())) for item in items]

    def _result(self, hits: Sequence[Hit]) -> VectorStoreQueryResult:
        nodes = self._nodes(hits)
        return VectorStoreQueryResult(
            nodes=nodes, similarities=[hit.score for hit in hits], ids=[node.node_id for node in nodes]
        )

    def _unranked(self, records: Sequence[Record]) -> VectorStoreQueryResult:
        nodes = self._nodes(records)
        return VectorStoreQueryResult(nodes=nodes, ids=[node.node_id for node in nodes])

    async def aclose(self) -> None:
        """Close the connection to a server that asynchronous calls opened in the running event loop."""
        if self._shared is not None:
            await self._shared.aclose()


def _check_none(arguments: Mapping[str, Any]) -> None:
    """Check that there are no arguments which only LlamaIndex's signature allows."""
    for name in arguments:
        raise TypeError(f"unexpected argument {name!r}")


def _unpickled(cls: type[EmbplugVectorStore], data: dict[str, Any], has_key: bool) -> EmbplugVectorStore:
    """Open a store that was pickled; a key that it had is that of the environment."""
    return cls.from_dict(data, **({"api_key": key_of_environment()} if has_key else {}))
