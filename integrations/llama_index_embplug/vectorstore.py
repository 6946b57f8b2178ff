"""LlamaIndex's vector store on an embplug collection."""

from __future__ import annotations

import asyncio
import math
import os
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import chain, islice
from typing import Any, TypeAlias, cast

import numpy as np
from llama_index.core.bridge.pydantic import ConfigDict, Field, PrivateAttr, field_serializer
from llama_index.core.schema import BaseNode, MetadataMode
from llama_index.core.vector_stores.types import (
    BasePydanticVectorStore,
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
    VectorStoreQueryResult,
)
from numpy.typing import ArrayLike
from qdrant_client import AsyncQdrantClient, QdrantClient, models
from typing_extensions import Self

from embplug import Collection, Documents, Encoder, Fusion, Hit, Recipe, Record, TokenBatch
from embplug.common.ids import point_id
from embplug.engines import Engine, traits_of
from embplug.errors import CollectionNotFoundError, InvalidArgumentError, LengthMismatchError
from embplug.frameworks.conditions import all_hold, equal, one_of
from embplug.frameworks.store import (
    ConnectionOptions,
    FrameworkCollection,
    as_encoder,
    closed_on_error,
    default_recipe,
    open_engine,
)
from embplug.recipe.names import SPARSE_VECTOR, TOKENS_BRANCH
from llama_index_embplug.filters import to_filter
from llama_index_embplug.nodes import (
    PLAIN_REF_DOC_KEY,
    PLAIN_TEXT_KEY,
    REF_DOC_KEY,
    TEXT_KEY,
    from_payload,
    plain_payload,
    to_payload,
)

TokenEmbeddings: TypeAlias = Mapping[str, ArrayLike] | Sequence[ArrayLike] | TokenBatch
"""Token matrices ``(t, dim)`` of nodes: by the node's id, or one per node in their order."""

Row: TypeAlias = tuple[BaseNode, ArrayLike | None]

PAGE = 256

_VECTORS = (VectorStoreQueryMode.DEFAULT, VectorStoreQueryMode.MMR)
_WORDS = (VectorStoreQueryMode.SPARSE, VectorStoreQueryMode.TEXT_SEARCH)
_HYBRID = (VectorStoreQueryMode.HYBRID, VectorStoreQueryMode.SEMANTIC_HYBRID)

MMR_CANDIDATES = 100
"""Number of nodes to choose from in mode mmr, unless the query says."""

_COMPRESS = (
    "run `embplug migrate` (docs/migrating.md), which embeds nothing again; or fill another store: "
    "VectorStoreIndex(store.get_nodes(), storage_context=StorageContext.from_defaults("
    "vector_store=EmbplugVectorStore('another name', client, recipe=...)))"
)


class EmbplugVectorStore(BasePydanticVectorStore):
    """Nodes on Qdrant, compressed, multi-vector and reranked as a recipe says.

    Takes the place of llama-index-vector-stores-qdrant's ``QdrantVectorStore``; its collections open and
    search as they are. All methods have an asynchronous twin that runs natively. Safe to use from many
    threads and tasks.

    Parameters
    ----------
    collection_name
        Of the Qdrant collection, made if it is not there.
    client
        A ``QdrantClient`` or ``EdgeClient``, a URL, a directory for Qdrant Edge, or ``":memory:"``.
    aclient
        Where ``client`` is not given: its server is used. Asynchronous calls have a client of their own for
        each event loop in any case.
    url, path, api_key
        Of a server, or of a directory for Qdrant Edge, in place of ``client``. The key is kept by the
        client alone.
    client_kwargs
        Further options of a server, as ``QdrantClient`` has them: ``prefer_grpc``, ``timeout``, ``host``, …
    recipe
        What a new collection stores and how it is searched. Default: with an encoder what it makes, else
        the nodes' embeddings in float16.
    encoder
        embplug's encoder, or its name, for tokens. Default: the one that the recipe names.
    vector_name
        Of the dense vector that the nodes' embeddings are; default: the only one.
    text_key
        Payload field of the text. Default: that of the collection, ``_node_text`` in new ones.
    distance
        Of dense vectors in a new collection without ``recipe``.
    create
        Make a collection that is not there, instead of raising.
    batch_size
        Nodes that are encoded and checked together.

    Raises
    ------
    RecipeMismatchError
        The collection exists with another recipe.
    CollectionNotFoundError
        It does not exist, and ``create`` is false.
    InvalidArgumentError
        A ``ValueError``, naming the argument.

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
    encoder: Any = Field(default=None, repr=False, description="Makes vectors of texts.")
    vector_name: str = Field(default="", description="Dense vector that embeddings are.")
    text_key: str | None = Field(default=None, description="Payload field of the text.")
    distance: models.Distance = Field(default=models.Distance.COSINE, description="Of new dense vectors.")
    create: bool = Field(default=True, description="Make a collection that is not there.")
    batch_size: int = Field(default=64, ge=1, description="Nodes that are encoded together.")

    _client: Engine = PrivateAttr()
    _shared: FrameworkCollection | None = PrivateAttr(default=None)
    _dense_name: str | None = PrivateAttr(default=None)
    _ignoring_case: frozenset[str] | None = PrivateAttr(default=None)
    _lock: Any = PrivateAttr(default_factory=threading.Lock)

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
    ) -> None:
        target = _target(client, aclient, url, path)
        super().__init__(
            stores_text=True,
            collection_name=collection_name,
            url=target.get("url"),
            path=None if "path" not in target else os.fspath(target["path"]),
            recipe=Recipe.from_dict(dict(recipe)) if isinstance(recipe, Mapping) else recipe,
            encoder=as_encoder(encoder),
            vector_name=vector_name,
            text_key=text_key,
            distance=distance,
            create=create,
            batch_size=batch_size,
        )
        if self.recipe is not None and not isinstance(self.recipe, Recipe):
            raise InvalidArgumentError("recipe", "an embplug Recipe", type(self.recipe).__name__)
        self._client = open_engine(_options(target, api_key, client_kwargs))
        with closed_on_error(self._client, client):
            try:
                self._open(None)
            except CollectionNotFoundError:
                # The first nodes tell the dimension of their embeddings.
                if not create or self.recipe is not None:
                    raise

    @classmethod
    def class_name(cls) -> str:
        """By which LlamaIndex knows the class in what it serialises."""
        return "EmbplugVectorStore"

    @classmethod
    def from_dict(cls, data: dict[str, Any], **kwargs: Any) -> Self:
        """Open the store again from what ``to_dict`` wrote; ``kwargs`` replace and add arguments.

        A client that was given, and a key, are not written down, and have to be given again.
        """
        fields = {"stores_text", "is_embedding_query", "class_name"}
        return cls(**{key: value for key, value in {**data, **kwargs}.items() if key not in fields})

    def __reduce__(self) -> Any:
        # As JSON: a pickle of the client would hold its key.
        return self.from_dict, (self.to_dict(),)

    @field_serializer("recipe")
    def _recipe_as_data(self, recipe: Recipe | None) -> dict[str, Any] | None:
        # As it was given: what the store adds to it depends on what was not.
        return None if recipe is None else recipe.model_dump(mode="json", exclude_unset=True)

    @field_serializer("encoder")
    def _encoder_by_name(self, encoder: Encoder | None) -> str | None:
        return None if encoder is None else encoder.spec

    @field_serializer("distance")
    def _distance_by_name(self, distance: models.Distance) -> str:
        return distance.value

    @property
    def client(self) -> Engine:
        """The client that speaks to the engine; the caller closes it."""
        return self._client

    @property
    def collection(self) -> Collection:
        """What is searched.

        Raises
        ------
        CollectionNotFoundError
            It is not there yet: the first nodes make it.
        """
        return self._made().collection

    @property
    def has_tokens(self) -> bool:
        """Whether the collection stores tokens."""
        return self._shared is not None and self._shared.collection.recipe.tokens is not None

    def _made(self) -> FrameworkCollection:
        if self._shared is None:
            raise CollectionNotFoundError(f"no collection {self.collection_name!r} yet: add nodes first")
        return self._shared

    def _open(self, dim: int | None) -> None:
        """Open the collection, or make it for embeddings of a dimension."""

        def default() -> Recipe:
            return default_recipe(dim, self.encoder, self.vector_name, self.distance)

        knows = self.recipe is not None or dim is not None or self.encoder is not None
        shared = FrameworkCollection.open(
            self.collection_name,
            self._client,
            self.encoder,
            recipe=self.recipe,
            adapt=self._adapted,
            default=default if self.create and knows else None,
            vector_name=self.vector_name,
            text_key=self.text_key or PLAIN_TEXT_KEY,
            compress=_COMPRESS,
        )
        self._dense_name = shared.dense_name(self.vector_name, needed=bool(self.vector_name))
        if traits_of(self._client).is_remote:
            self._ignoring_case = shared.fields_that_ignore_case()
        self.is_embedding_query = bool(shared.collection.recipe.dense)
        self._shared = shared

    def _adapted(self, recipe: Recipe) -> Recipe:
        """Let the recipe say where the text is, unless it does, and index documents' ids."""
        update: dict[str, Any] = {}
        if self.text_key is not None or "text_key" not in recipe.model_fields_set:
            update["text_key"] = self.text_key or TEXT_KEY
        # The simulation builds no indexes, and says so each time.
        if traits_of(self._client).indexes_payloads:
            keyword = {REF_DOC_KEY: models.PayloadSchemaType.KEYWORD}
            update["payload_indexes"] = keyword | recipe.payload_indexes
        return recipe.model_copy(update=update)

    def _opened_for(self, node: BaseNode) -> FrameworkCollection:
        with self._lock:
            if self._shared is None:
                if node.embedding is None:
                    expected = "an embedding, because there is neither recipe nor encoder"
                    raise InvalidArgumentError("nodes[0].embedding", expected, None)
                self._open(len(node.embedding))
        return self._made()

    def add(  # type: ignore[override]
        self,
        nodes: Iterable[BaseNode],
        *,
        token_embeddings: TokenEmbeddings | None = None,
        show_progress: bool | None = False,
    ) -> list[str]:
        """Insert nodes, or replace those whose ids are there; adding twice is the same as once.

        Where the recipe has tokens, its encoder makes them of the nodes as embedding models read them,
        ``batch_size`` nodes at a time. Dense vectors are the nodes' embeddings, or where they have none
        the encoder's. A recipe without dense vectors leaves embeddings aside.

        Parameters
        ----------
        nodes
            Any iterable; it is read batch by batch.
        token_embeddings
            Token matrices that are there already, in place of the encoder's: by the node's id, as
            ``VectorStoreIndex.insert_nodes(nodes, token_embeddings=...)`` passes them on, or one per node.
        show_progress
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
        first, rows = _peeked(_rows(nodes, token_embeddings))
        if first is None:
            return []
        shared = self._opened_for(first[0])
        added: list[str] = []
        batches = self._batches(shared, rows, added)
        shared.collection.add_batches(batches, progress=show_progress)
        return added

    async def async_add(  # type: ignore[override]
        self,
        nodes: Iterable[BaseNode],
        *,
        token_embeddings: TokenEmbeddings | None = None,
        show_progress: bool | None = False,
    ) -> list[str]:
        """See :meth:`add`."""
        first, rows = _peeked(_rows(nodes, token_embeddings))
        if first is None:
            return []
        shared = await asyncio.to_thread(self._opened_for, first[0])
        added: list[str] = []
        batches = self._batches(shared, rows, added)
        await shared.for_loop().add_batches(batches, progress=show_progress)
        return added

    def _batches(
        self, shared: FrameworkCollection, rows: Iterator[Row], added: list[str]
    ) -> Iterator[Documents]:
        """Batches for the collection; ids are noted in ``added``."""
        while batch := list(islice(rows, self.batch_size)):
            yield self._documents(shared, batch, len(added))
            added += [node.node_id for node, _ in batch]

    def _documents(self, shared: FrameworkCollection, batch: Sequence[Row], start: int) -> Documents:
        nodes = [node for node, _ in batch]
        recipe = shared.collection.recipe
        matrices = [matrix for _, matrix in batch if matrix is not None]
        tokens = matrices or None
        dense = self._embeddings(shared, nodes, start)
        encodes = (recipe.tokens is not None and tokens is None) or len(recipe.dense) > len(dense or {})
        reads = encodes or recipe.sparse is not None
        text_key = self._text_key(shared)
        return Documents(
            ids=[shared.point_id(node.node_id) for node in nodes],
            tokens=tokens,
            dense=dense,
            texts=[node.get_content(metadata_mode=MetadataMode.EMBED) for node in nodes] if reads else None,
            payloads=[
                plain_payload(node) if shared.is_plain else to_payload(node, text_key) for node in nodes
            ],
        )

    def _embeddings(
        self, shared: FrameworkCollection, nodes: Sequence[BaseNode], start: int
    ) -> dict[str, Any] | None:
        """The nodes' embeddings by the name of the dense vector; ``None`` where an encoder makes them."""
        if self._dense_name is None:
            return None
        missing = [i for i, node in enumerate(nodes, start) if node.embedding is None]
        if len(missing) == len(nodes) and shared.collection.has_encoder:
            return None
        if missing:
            expected = "an embedding; an encoder makes those of all nodes of a batch or of none"
            raise InvalidArgumentError(f"nodes[{missing[0]}].embedding", expected, None)
        return {self._dense_name: [node.embedding for node in nodes]}

    def _text_key(self, shared: FrameworkCollection) -> str:
        return self.text_key or shared.collection.recipe.text_key

    def delete(self, ref_doc_id: str, **delete_kwargs: Any) -> None:
        """Delete the nodes of a document; one that is not there is no error."""
        _no_more(delete_kwargs)
        if self._shared is not None:
            self._shared.collection.delete(filter=self._of_documents([ref_doc_id]))

    async def adelete(self, ref_doc_id: str, **delete_kwargs: Any) -> None:
        """See :meth:`delete`."""
        _no_more(delete_kwargs)
        if self._shared is not None:
            await self._shared.for_loop().delete(filter=self._of_documents([ref_doc_id]))

    def delete_nodes(
        self,
        node_ids: list[str] | None = None,
        filters: MetadataFilters | None = None,
        **delete_kwargs: Any,
    ) -> None:
        """Delete nodes by ids, by filters, or those of the ids that the filters let through.

        Raises
        ------
        InvalidArgumentError
            Neither is given; :meth:`clear` deletes all.
        """
        _no_more(delete_kwargs)
        arguments = self._to_delete(node_ids, filters)
        if self._shared is not None and arguments is not None:
            self._shared.collection.delete(**arguments)

    async def adelete_nodes(
        self,
        node_ids: list[str] | None = None,
        filters: MetadataFilters | None = None,
        **delete_kwargs: Any,
    ) -> None:
        """See :meth:`delete_nodes`."""
        _no_more(delete_kwargs)
        arguments = self._to_delete(node_ids, filters)
        if self._shared is not None and arguments is not None:
            await self._shared.for_loop().delete(**arguments)

    def _to_delete(
        self, node_ids: list[str] | None, filters: MetadataFilters | None
    ) -> dict[str, Any] | None:
        wanted = self._filter(filters)
        if node_ids is None and wanted is None:
            raise InvalidArgumentError("node_ids", "node_ids or filters; clear() deletes all", "neither")
        if node_ids is None or self._shared is None:
            return {"filter": wanted}
        if not node_ids:
            return None
        if wanted is None:
            return {"ids": self._shared.addresses(node_ids)}
        return {"filter": all_hold([self._of_nodes(node_ids), wanted])}

    def get_nodes(
        self,
        node_ids: list[str] | None = None,
        filters: MetadataFilters | None = None,
        *,
        limit: int | None = None,
    ) -> list[BaseNode]:
        """Nodes by ids in their order, by filters, or all; those that are not there are left out.

        ``limit`` is the highest number of nodes.
        """
        if self._shared is None or node_ids == []:
            return []
        if node_ids is not None and filters is None:
            found = self._shared.collection.retrieve(self._shared.addresses(node_ids))
            return self._in_order(node_ids, found)[:limit]
        records: list[Record] = []
        offset, arguments = None, self._page(node_ids, filters)
        # Pages do not come in the order of the ids.
        while limit is None or node_ids is not None or len(records) < limit:
            page, offset = self._shared.collection.scroll(**arguments, offset=offset)
            records += page
            if offset is None:
                break
        return self._ordered(node_ids, records)[:limit]

    async def aget_nodes(
        self,
        node_ids: list[str] | None = None,
        filters: MetadataFilters | None = None,
        *,
        limit: int | None = None,
    ) -> list[BaseNode]:
        """See :meth:`get_nodes`."""
        if self._shared is None or node_ids == []:
            return []
        collection = self._shared.for_loop()
        if node_ids is not None and filters is None:
            found = await collection.retrieve(self._shared.addresses(node_ids))
            return self._in_order(node_ids, found)[:limit]
        records: list[Record] = []
        offset, arguments = None, self._page(node_ids, filters)
        # Pages do not come in the order of the ids.
        while limit is None or node_ids is not None or len(records) < limit:
            page, offset = await collection.scroll(**arguments, offset=offset)
            records += page
            if offset is None:
                break
        return self._ordered(node_ids, records)[:limit]

    def _page(self, node_ids: list[str] | None, filters: MetadataFilters | None) -> dict[str, Any]:
        conditions = [None if node_ids is None else self._of_nodes(node_ids), self._filter(filters)]
        return {"filter": all_hold(conditions), "limit": PAGE}

    def _ordered(self, node_ids: list[str] | None, records: Sequence[Record]) -> list[BaseNode]:
        if node_ids is not None:
            return self._in_order(node_ids, records)
        return [self._node(record.id, record.payload) for record in records]

    def _in_order(self, node_ids: Sequence[str], records: Sequence[Record]) -> list[BaseNode]:
        found = self._made().in_order(node_ids, records)
        return [self._node(record.id, record.payload) for record in found]

    def _node(
        self,
        found_id: int | str,
        payload: Mapping[str, Any] | None,
        stages: Mapping[str, float] | None = None,
    ) -> BaseNode:
        return from_payload(found_id, payload, self._text_key(self._made()), stages)

    def clear(self) -> None:
        """Delete all nodes; the collection stays, with its recipe and what it has learned."""
        if self._shared is not None:
            self._shared.collection.delete(filter=models.Filter())

    async def aclear(self) -> None:
        """See :meth:`clear`."""
        if self._shared is not None:
            await self._shared.for_loop().delete(filter=models.Filter())

    def query(  # type: ignore[override]
        self,
        query: VectorStoreQuery,
        *,
        query_tokens: ArrayLike | None = None,
        qdrant_filters: models.Filter | None = None,
        search_params: models.SearchParams | Mapping[str, Any] | None = None,
        score_threshold: float | None = None,
        with_stages: bool = False,
        mmr_threshold: float | None = None,
        mmr_prefetch_factor: float | None = None,
        mmr_prefetch_k: int | None = None,
    ) -> VectorStoreQueryResult:
        """Find the best nodes.

        Where the recipe has tokens, ``query.query_str`` is encoded and nodes are ranked by MaxSim; a
        recipe with dense vectors compares ``query.query_embedding``, or where that is missing what the
        encoder makes of ``query.query_str``.

        Parameters
        ----------
        query
            Its mode is ``DEFAULT`` or ``MMR``; with a recipe that has words also ``SPARSE`` or
            ``TEXT_SEARCH`` for them alone, ``HYBRID`` for all, and ``SEMANTIC_HYBRID`` where the recipe
            also has a cross-encoder. In ``HYBRID``, ``alpha`` weighs scores, from 0 for words to 1 for
            vectors, in place of the recipe's fusion; ``sparse_top_k`` is the number of candidates.
            ``filters``, ``doc_ids`` and ``node_ids`` have all to hold; ``embedding_field`` names a
            dense vector.
        query_tokens
            The query's token matrix ``(t, dim)``, in place of the encoder's.
        qdrant_filters
            Qdrant's own, beside ``query.filters``.
        search_params
            Qdrant's; what they set goes before the recipe.
        score_threshold
            Leave out nodes below it; of the last stage's scores.
        with_stages
            Put the scores of each stage into the metadata, as ``_stages``.
        mmr_threshold
            For ``MMR``: 1 ranks by relevance alone, 0 by difference alone. Default: that of ``query``,
            or 0.5.
        mmr_prefetch_factor, mmr_prefetch_k
            For ``MMR``: how many nodes are chosen from, times ``similarity_top_k`` or as they are.

        Raises
        ------
        InvalidArgumentError
            A ``ValueError``, naming what is wrong, or the mode that the recipe cannot serve.
        """
        arguments = self._search(
            query,
            query_tokens,
            qdrant_filters,
            search_params,
            score_threshold,
            with_stages,
            (mmr_threshold, mmr_prefetch_factor, mmr_prefetch_k),
        )
        if self._shared is None:
            return self._result([])
        return self._result(self._shared.collection.search(**arguments))

    async def aquery(  # type: ignore[override]
        self,
        query: VectorStoreQuery,
        *,
        query_tokens: ArrayLike | None = None,
        qdrant_filters: models.Filter | None = None,
        search_params: models.SearchParams | Mapping[str, Any] | None = None,
        score_threshold: float | None = None,
        with_stages: bool = False,
        mmr_threshold: float | None = None,
        mmr_prefetch_factor: float | None = None,
        mmr_prefetch_k: int | None = None,
    ) -> VectorStoreQueryResult:
        """See :meth:`query`."""
        arguments = self._search(
            query,
            query_tokens,
            qdrant_filters,
            search_params,
            score_threshold,
            with_stages,
            (mmr_threshold, mmr_prefetch_factor, mmr_prefetch_k),
        )
        if self._shared is None:
            return self._result([])
        return self._result(await self._shared.for_loop().search(**arguments))

    def _search(
        self,
        query: VectorStoreQuery,
        query_tokens: ArrayLike | None,
        qdrant_filters: models.Filter | None,
        search_params: models.SearchParams | Mapping[str, Any] | None,
        score_threshold: float | None,
        with_stages: bool,
        mmr: tuple[float | None, float | None, int | None],
    ) -> dict[str, Any]:
        """Arguments of the collection's search."""
        recipe = None if self._shared is None else self._shared.collection.recipe
        _check_query(query, recipe)
        if recipe is None:
            return {}
        if search_params is not None and not isinstance(search_params, models.SearchParams):
            search_params = models.SearchParams(**search_params)
        arguments: dict[str, Any] = {
            **self._asked(query, query_tokens, recipe),
            "limit": query.similarity_top_k,
            "filter": self._filter(query.filters, query.doc_ids, query.node_ids, qdrant_filters),
            "search_params": search_params,
            "score_threshold": score_threshold,
        }
        if query.mode == VectorStoreQueryMode.MMR:
            if with_stages:
                raise InvalidArgumentError("with_stages", "False in mode mmr", True)
            return arguments | {"mmr": _mmr(query, *mmr)}
        named = zip(("mmr_threshold", "mmr_prefetch_factor", "mmr_prefetch_k"), mmr, strict=True)
        for name, value in named:
            if value is not None:
                raise InvalidArgumentError(name, "nothing outside of mode mmr", value)
        exact = search_params is not None and bool(search_params.exact)
        arguments |= {"exact": exact, "with_stages": with_stages}
        if recipe.sparse is not None:
            arguments |= _sparse_options(
                query, recipe, [*(arguments["dense"] or {})], query_tokens is not None
            )
        return arguments

    def _asked(
        self, query: VectorStoreQuery, query_tokens: ArrayLike | None, recipe: Recipe
    ) -> dict[str, Any]:
        """What the collection is asked for: tokens, dense vectors, and the text where it is read."""
        dense = None
        if recipe.dense and query.query_embedding is not None and query.mode not in _WORDS:
            name = query.embedding_field or self._dense_name
            if name is None:
                raise InvalidArgumentError("vector_name", f"one of {[*recipe.dense]}", repr(self.vector_name))
            dense = {name: np.asarray(query.query_embedding, dtype=np.float32)}
        has_vectors = query_tokens is not None or (recipe.tokens is None and dense is not None)
        reads_text = query.mode in (*_WORDS, *_HYBRID) or recipe.rerank.cross_encoder is not None
        if query.query_str is None and (reads_text or not has_vectors):
            by_embedding = recipe.tokens is None and recipe.dense and not reads_text
            expected = "query_embedding or query_str" if by_embedding else "query_str, which is encoded"
            raise InvalidArgumentError("query", expected, "none")
        text = query.query_str if reads_text or not has_vectors else None
        return {"tokens": query_tokens, "dense": dense, "text": text}

    def _filter(
        self,
        filters: MetadataFilters | None,
        doc_ids: list[str] | None = None,
        node_ids: list[str] | None = None,
        qdrant_filters: models.Filter | None = None,
    ) -> models.Filter | None:
        conditions = [to_filter(filters, ignores_case=self._ignores_case), qdrant_filters]
        if self._shared is not None:
            conditions.append(self._of_documents(doc_ids) if doc_ids else None)
            conditions.append(self._of_nodes(node_ids) if node_ids else None)
        return all_hold(conditions)

    def _ignores_case(self, field: str) -> bool:
        return self._ignoring_case is None or field in self._ignoring_case

    def _of_documents(self, ref_doc_ids: list[str]) -> models.Filter:
        key = PLAIN_REF_DOC_KEY if self._made().is_plain else REF_DOC_KEY
        if len(ref_doc_ids) == 1:
            return models.Filter(must=[equal(key, ref_doc_ids[0], "ref_doc_id")])
        return models.Filter(must=[one_of(key, ref_doc_ids, "doc_ids")])

    def _of_nodes(self, node_ids: list[str]) -> models.Filter:
        ids = [point_id(one, "node_ids") for one in self._made().addresses(node_ids)]
        return models.Filter(must=[models.HasIdCondition(has_id=ids)])

    def _result(self, hits: Sequence[Hit]) -> VectorStoreQueryResult:
        nodes = [self._node(hit.id, hit.payload, hit.stages) for hit in hits]
        return VectorStoreQueryResult(
            nodes=nodes, similarities=[hit.score for hit in hits], ids=[node.node_id for node in nodes]
        )

    async def aclose(self) -> None:
        """Close the connection to a server that asynchronous calls opened in the running loop."""
        if self._shared is not None:
            await self._shared.aclose()


def _target(
    client: Engine | str | os.PathLike[str] | None,
    aclient: AsyncQdrantClient | None,
    url: str | None,
    path: str | os.PathLike[str] | None,
) -> dict[str, Any]:
    """Where the engine is, in the words of :func:`embplug.frameworks.store.open_engine`."""
    given = {"client": client, "url": url, "path": path}
    named = [name for name, value in given.items() if value is not None]
    if len(named) > 1:
        raise InvalidArgumentError(named[1], f"nothing beside {named[0]}", "both")
    if not named:
        if aclient is None:
            return {}
        if not traits_of(aclient).is_remote:
            raise InvalidArgumentError(
                "client", "the client whose data it is", "aclient alone, without server"
            )
        # The check would ask the server once more.
        return {"client": QdrantClient(**aclient.init_options | {"check_compatibility": False})}
    if not isinstance(client, (str, os.PathLike)):
        return {named[0]: given[named[0]]}
    if client == ":memory:":
        return {"location": client}
    return {"url": client} if "://" in os.fspath(client) else {"path": client}


def _options(
    target: Mapping[str, Any], api_key: str | None, client_kwargs: Mapping[str, Any] | None
) -> ConnectionOptions:
    known = [name for name in ConnectionOptions.__annotations__ if name not in ("client", "api_key")]
    for name in client_kwargs or {}:
        if name not in known:
            raise InvalidArgumentError("client_kwargs", f"options among {known}", repr(name))
    options: dict[str, Any] = {**target, **(client_kwargs or {})}
    if api_key is not None:
        options["api_key"] = api_key
    if not {"client", "url", "path", "location", "host"} & {*options}:
        raise InvalidArgumentError("client", "client, url or path", "none of them")
    return cast(ConnectionOptions, options)


def _check_query(query: VectorStoreQuery, recipe: Recipe | None) -> None:
    mode = VectorStoreQueryMode(query.mode)
    if mode not in (*_VECTORS, *_WORDS, *_HYBRID):
        known = [one.value for one in (*_VECTORS, *_WORDS, *_HYBRID)]
        raise InvalidArgumentError("query.mode", f"one of {known}", repr(mode.value))
    if mode not in _VECTORS:
        needed = None
        if recipe is None or recipe.sparse is None:
            needed = "Recipe(sparse=Sparse(), ...), which finds words"
        elif mode in _HYBRID and recipe.tokens is None and not recipe.dense:
            needed = "tokens or dense vectors in the recipe, beside words"
        elif mode == VectorStoreQueryMode.SEMANTIC_HYBRID and recipe.rerank.cross_encoder is None:
            needed = "Recipe(rerank=Rerank(cross_encoder=CrossEncoderStage(...)), ...)"
        if needed is not None:
            raise InvalidArgumentError("query.mode", f"{mode.value} to have {needed}", "a recipe without")
    if not isinstance(query.similarity_top_k, int) or query.similarity_top_k < 1:
        got = repr(query.similarity_top_k)
        raise InvalidArgumentError("similarity_top_k", "an integer of at least 1", got)
    if query.output_fields is not None:
        raise InvalidArgumentError("output_fields", "none, because nodes come whole", query.output_fields)


def _sparse_options(
    query: VectorStoreQuery, recipe: Recipe, dense: list[str], has_tokens: bool
) -> dict[str, Any]:
    """The branches that a mode means, how many nodes, and how their rankings become one."""
    if query.mode in _WORDS:
        return {"branches": [SPARSE_VECTOR], "limit": query.sparse_top_k or query.similarity_top_k}
    vectors = [name for name in recipe.branches if name != SPARSE_VECTOR]
    if has_tokens or (recipe.tokens is None and dense):
        vectors = [*([TOKENS_BRANCH] if has_tokens else []), *dense]
    if query.mode not in _HYBRID:
        return {"branches": vectors or [SPARSE_VECTOR]}
    options: dict[str, Any] = {
        "branches": [*vectors, SPARSE_VECTOR],
        "limit": query.hybrid_top_k or query.similarity_top_k,
        "candidates": query.sparse_top_k,
    }
    if query.alpha is not None:
        if not 0 <= query.alpha <= 1:
            raise InvalidArgumentError("alpha", "a number from 0 to 1", query.alpha)
        weights = {**dict.fromkeys(vectors, query.alpha), SPARSE_VECTOR: 1 - query.alpha}
        options["fusion"] = Fusion(method="min_max", weights=weights, after_rerank=True)
    return options


def _mmr(
    query: VectorStoreQuery, threshold: float | None, factor: float | None, prefetch: int | None
) -> models.Mmr:
    if threshold is None:
        threshold = 0.5 if query.mmr_threshold is None else query.mmr_threshold
    if not isinstance(threshold, (int, float)) or not 0 <= threshold <= 1:
        raise InvalidArgumentError("mmr_threshold", "a number from 0 to 1", repr(threshold))
    if prefetch is not None and factor is not None:
        raise InvalidArgumentError("mmr_prefetch_factor", "nothing beside mmr_prefetch_k", factor)
    if factor is not None:
        prefetch = math.ceil(factor * query.similarity_top_k)
    limit = MMR_CANDIDATES if prefetch is None else prefetch
    return models.Mmr(diversity=1 - threshold, candidates_limit=limit)


def _rows(nodes: Iterable[BaseNode], token_embeddings: TokenEmbeddings | None) -> Iterator[Row]:
    """Nodes with their token matrices; other lengths are an error as soon as they show."""
    if isinstance(nodes, BaseNode):
        raise InvalidArgumentError("nodes", "a list of nodes", "one node")
    if token_embeddings is None:
        yield from ((node, None) for node in nodes)
        return
    if isinstance(token_embeddings, Mapping):
        for node in nodes:
            if node.node_id not in token_embeddings:
                raise InvalidArgumentError(f"token_embeddings[{node.node_id!r}]", "a token matrix", "none")
            yield node, token_embeddings[node.node_id]
        return
    matrices = iter(token_embeddings)
    count = 0
    for count, node in enumerate(nodes, start=1):
        matrix = next(matrices, None)
        if matrix is None:
            raise LengthMismatchError("token_embeddings", "one per node", f"{count - 1} of them")
        yield node, matrix
    if next(matrices, None) is not None:
        raise LengthMismatchError("token_embeddings", f"{count}, one per node", "more")


def _peeked(rows: Iterator[Row]) -> tuple[Row | None, Iterator[Row]]:
    first = next(rows, None)
    return first, rows if first is None else chain([first], rows)


def _no_more(given: Mapping[str, Any]) -> None:
    for name in given:
        raise TypeError(f"unexpected argument {name!r}")
