"""Haystack's retriever by all that a recipe stores: tokens, dense vectors and BM25."""

from __future__ import annotations

from functools import partial
from typing import Any

from haystack import Document, component
from haystack.document_stores.types import FilterPolicy
from qdrant_client import models

from embplug import Fusion
from embplug.frameworks.arguments import check_query_text
from embplug.frameworks.relevance import relevance_scale
from haystack_embplug.document_store import EmbplugDocumentStore
from haystack_embplug.retrieving import RetrieverOptions, Scale, StoreRetriever, policy_of


@component
class EmbplugHybridRetriever(StoreRetriever):
    """Retrieves documents by tokens, dense vectors and BM25 together, as the recipe has them.

    Parameters
    ----------
    document_store : EmbplugDocumentStore
        Store to search in.
    filters : mapping or qdrant_client.models.Filter, default=None
        Condition; see :func:`haystack_embplug.to_filter`.
    top_k : int, default=10
        Number of documents, or of groups.
    scale_score : bool, default=False
        Map scores to 0 to 1.
    filter_policy : FilterPolicy or str, default=FilterPolicy.REPLACE
        Whether the filters of a run replace ``filters``, or are merged with them.
    score_threshold : float, default=None
        Lowest score of a document, on the scale of the last stage.
    group_by : str, default=None
        Field of the metadata; documents come in groups that share a value of it.
    group_size : int, default=None
        Highest number of documents of a group. None is 3.
    branches : list of str, default=None
        Branches to search in: ``"tokens"``, ``"sparse"`` for BM25, or dense vectors by name. None searches
        in all.
    fusion : Fusion or dict, default=None
        How the rankings of the branches become one. None takes the recipe's.

    Examples
    --------
    >>> retriever = EmbplugHybridRetriever(store, top_k=3)  # doctest: +SKIP
    >>> retriever.run(query="bees", query_embedding=embedding)["documents"]  # doctest: +SKIP
    """

    def __init__(
        self,
        document_store: EmbplugDocumentStore,
        filters: dict[str, Any] | models.Filter | None = None,
        top_k: int = 10,
        scale_score: bool = False,
        filter_policy: str | FilterPolicy = FilterPolicy.REPLACE,
        score_threshold: float | None = None,
        group_by: str | None = None,
        group_size: int | None = None,
        branches: list[str] | None = None,
        fusion: Fusion | dict[str, Any] | None = None,
    ) -> None:
        self._options = RetrieverOptions(
            document_store=document_store,
            filters=filters,
            top_k=top_k,
            scale_score=scale_score,
            filter_policy=policy_of(filter_policy),
            score_threshold=score_threshold,
            group_by=group_by,
            group_size=group_size,
        )
        self._branches = branches
        self._fusion = Fusion(**fusion) if isinstance(fusion, dict) else fusion

    def to_dict(self) -> dict[str, Any]:
        """Return the retriever and its store as data."""
        return self._options.to_dict(self, branches=self._branches, fusion=self._fusion_data())

    @component.output_types(documents=list[Document])
    def run(
        self,
        query: str,
        query_embedding: list[float] | None = None,
        filters: dict[str, Any] | models.Filter | None = None,
        top_k: int | None = None,
        scale_score: bool | None = None,
        score_threshold: float | None = None,
        group_by: str | None = None,
        group_size: int | None = None,
    ) -> dict[str, list[Document]]:
        """Retrieve documents.

        Parameters
        ----------
        query : str
            Text of the query, for BM25 and the encoder of the store.
        query_embedding : list of float, default=None
            Embedding of the query. Without it the encoder of the store makes it, if there is a dense vector.
        filters, top_k, scale_score, score_threshold, group_by, group_size
            Options of this run, in place of those of the retriever.

        Returns
        -------
        dict
            The documents, best first, as ``documents``.
        """
        return self._options.run(
            self._inputs(query, query_embedding),
            partial(self._scale, query),
            filters=filters,
            top_k=top_k,
            scale_score=scale_score,
            score_threshold=score_threshold,
            group_by=group_by,
            group_size=group_size,
        )

    @component.output_types(documents=list[Document])
    async def run_async(
        self,
        query: str,
        query_embedding: list[float] | None = None,
        filters: dict[str, Any] | models.Filter | None = None,
        top_k: int | None = None,
        scale_score: bool | None = None,
        score_threshold: float | None = None,
        group_by: str | None = None,
        group_size: int | None = None,
    ) -> dict[str, list[Document]]:
        """Retrieve documents; see :meth:`run`."""
        # Opens the store in a thread, where it is yet to be opened.
        await self._options.document_store.ashared()
        return await self._options.arun(
            self._inputs(query, query_embedding),
            partial(self._scale, query),
            filters=filters,
            top_k=top_k,
            scale_score=scale_score,
            score_threshold=score_threshold,
            group_by=group_by,
            group_size=group_size,
        )

    def _inputs(self, query: str, query_embedding: list[float] | None) -> dict[str, Any]:
        check_query_text("query", query)
        store = self._options.document_store
        dense = None if query_embedding is None else {store.dense_name(): query_embedding}
        return {"text": query, "dense": dense, "branches": self._branches, "fusion": self._fusion}

    def _scale(self, query: str) -> Scale:
        store = self._options.document_store
        name = store.dense_name() if store.collection.recipe.dense else None
        return relevance_scale(store.collection, query, name)

    def _fusion_data(self) -> dict[str, Any] | None:
        return None if self._fusion is None else self._fusion.model_dump(mode="json", exclude_unset=True)
