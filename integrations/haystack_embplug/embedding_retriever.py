"""Haystack's retriever by the embedding of a query."""

from __future__ import annotations

from typing import Any

from haystack import Document, component
from haystack.document_stores.types import FilterPolicy
from qdrant_client import models

from embplug.errors import InvalidArgumentError
from embplug.frameworks.relevance import dense_relevance
from haystack_embplug.document_store import EmbplugDocumentStore
from haystack_embplug.retrieving import RetrieverOptions, Scale, StoreRetriever, policy_of


@component
class EmbplugEmbeddingRetriever(StoreRetriever):
    """Retrieves documents by the embedding of a query.

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

    Examples
    --------
    >>> retriever = EmbplugEmbeddingRetriever(store, top_k=3)  # doctest: +SKIP
    >>> retriever.run(query_embedding=embedding)["documents"]  # doctest: +SKIP
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

    @component.output_types(documents=list[Document])
    def run(
        self,
        query_embedding: list[float],
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
        query_embedding : list of float
            Embedding of the query.
        filters, top_k, scale_score, score_threshold, group_by, group_size
            Options of this run, in place of those of the retriever.

        Returns
        -------
        dict
            The documents, best first, as ``documents``.
        """
        return self._options.run(
            self._inputs(query_embedding),
            self._scale,
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
        query_embedding: list[float],
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
            self._inputs(query_embedding),
            self._scale,
            filters=filters,
            top_k=top_k,
            scale_score=scale_score,
            score_threshold=score_threshold,
            group_by=group_by,
            group_size=group_size,
        )

    def _inputs(self, query_embedding: list[float]) -> dict[str, Any]:
        if query_embedding is None:
            raise InvalidArgumentError("query_embedding", "the embedding of a query", None)
        name = self._options.document_store.dense_name()
        return {"dense": {name: query_embedding}, "branches": [name]}

    def _scale(self) -> Scale:
        store = self._options.document_store
        return dense_relevance(store.collection.recipe.dense[store.dense_name()].distance)
