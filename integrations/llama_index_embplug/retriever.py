"""LlamaIndex's retriever on an embplug store."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from typing import Any

from llama_index.core.base.base_retriever import BaseRetriever
from llama_index.core.base.embeddings.base import BaseEmbedding
from llama_index.core.callbacks import CallbackManager
from llama_index.core.constants import DEFAULT_SIMILARITY_TOP_K
from llama_index.core.schema import IndexNode, NodeWithScore, QueryBundle
from llama_index.core.vector_stores.types import (
    MetadataFilters,
    VectorStoreQuery,
    VectorStoreQueryMode,
    VectorStoreQueryResult,
)

from embplug.errors import InvalidArgumentError
from embplug.frameworks.arguments import check_integer
from llama_index_embplug.vectorstore import EmbplugVectorStore


class EmbplugRetriever(BaseRetriever):
    """Retrieves nodes from a store, without an index around it.

    Parameters
    ----------
    vector_store : EmbplugVectorStore
        Store to search in.
    similarity_top_k : int, default=2
        Number of nodes.
    filters : MetadataFilters, default=None
        Conditions on the metadata.
    vector_store_query_mode : VectorStoreQueryMode or str, default="default"
        Mode of the search; see :meth:`EmbplugVectorStore.query`.
    embed_model : BaseEmbedding, default=None
        Makes the dense vector of a query, if the recipe has dense vectors and no encoder makes them.
    doc_ids : sequence of str, default=None
        Ids of documents; only their nodes are searched.
    node_ids : sequence of str, default=None
        Ids of nodes; only these are searched.
    with_stages : bool, default=False
        Put the score of each stage into the metadata, as ``_stages``. Language models do not see them.
    vector_store_kwargs : mapping, default=None
        Further options of :meth:`EmbplugVectorStore.query`, such as ``score_threshold``.
    callback_manager, object_map, objects, verbose
        See ``BaseRetriever`` of LlamaIndex.

    Raises
    ------
    InvalidArgumentError
        An argument is wrong; the error names it. It is a ``ValueError``.
    """

    def __init__(
        self,
        vector_store: EmbplugVectorStore,
        similarity_top_k: int = DEFAULT_SIMILARITY_TOP_K,
        *,
        filters: MetadataFilters | None = None,
        vector_store_query_mode: VectorStoreQueryMode | str = VectorStoreQueryMode.DEFAULT,
        embed_model: BaseEmbedding | None = None,
        doc_ids: Sequence[str] | None = None,
        node_ids: Sequence[str] | None = None,
        with_stages: bool = False,
        vector_store_kwargs: Mapping[str, Any] | None = None,
        callback_manager: CallbackManager | None = None,
        object_map: dict[str, Any] | None = None,
        objects: list[IndexNode] | None = None,
        verbose: bool = False,
    ) -> None:
        if not isinstance(vector_store, EmbplugVectorStore):
            raise InvalidArgumentError("vector_store", "an EmbplugVectorStore", type(vector_store).__name__)
        check_integer("similarity_top_k", similarity_top_k, 1)
        self.vector_store = vector_store
        self.similarity_top_k = similarity_top_k
        self._filters = filters
        self._mode = VectorStoreQueryMode(vector_store_query_mode)
        self._embed_model = embed_model
        self._doc_ids = None if doc_ids is None else list(doc_ids)
        self._node_ids = None if node_ids is None else list(node_ids)
        self._options = dict(vector_store_kwargs or {})
        if with_stages:
            self._options["with_stages"] = True
        super().__init__(callback_manager, object_map, objects, verbose)

    def _retrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        embedding = query_bundle.embedding
        if embedding is None and self._embed_model is not None and self.vector_store.is_embedding_query:
            embedding = self._embed_model.get_agg_embedding_from_queries(query_bundle.embedding_strs)
        options = self._options | self._tokens(query_bundle)
        return _scored(self.vector_store.query(self._query(query_bundle, embedding), **options))

    async def _aretrieve(self, query_bundle: QueryBundle) -> list[NodeWithScore]:
        embedding = query_bundle.embedding
        if embedding is None and self._embed_model is not None and self.vector_store.is_embedding_query:
            embedding = await self._embed_model.aget_agg_embedding_from_queries(query_bundle.embedding_strs)
        options = self._options | await asyncio.to_thread(self._tokens, query_bundle)
        return _scored(await self.vector_store.aquery(self._query(query_bundle, embedding), **options))

    def _query(self, query_bundle: QueryBundle, embedding: list[float] | None) -> VectorStoreQuery:
        return VectorStoreQuery(
            query_embedding=embedding,
            similarity_top_k=self.similarity_top_k,
            doc_ids=self._doc_ids,
            node_ids=self._node_ids,
            query_str=query_bundle.query_str,
            mode=self._mode,
            filters=self._filters,
        )

    def _tokens(self, query_bundle: QueryBundle) -> dict[str, Any]:
        """Return the tokens of the texts by which a transformation such as HyDE replaced the query."""
        texts = query_bundle.custom_embedding_strs
        if not texts or not self.vector_store.has_tokens:
            return {}
        encoded = self.vector_store.collection.encoder.encode_queries(texts).tokens
        return {} if encoded is None else {"query_tokens": encoded.values}


def _scored(result: VectorStoreQueryResult) -> list[NodeWithScore]:
    pairs = zip(result.nodes or [], result.similarities or [], strict=True)
    return [NodeWithScore(node=node, score=score) for node, score in pairs]
