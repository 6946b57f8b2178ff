"""LangChain's retriever on an embplug store."""

from __future__ import annotations

from typing import Any

from langchain_core.callbacks import AsyncCallbackManagerForRetrieverRun, CallbackManagerForRetrieverRun
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from pydantic import ConfigDict, Field
from qdrant_client import models

from langchain_embplug.filters import Filter
from langchain_embplug.vectorstore import EmbplugVectorStore


class EmbplugRetriever(BaseRetriever):
    """Retrieves documents from a store.

    ``invoke`` and ``ainvoke`` take each parameter too, for one call.

    Parameters
    ----------
    vectorstore : EmbplugVectorStore
        Store to search in.
    k : int, default=4
        Number of documents.
    filter : mapping or qdrant_client.models.Filter, default=None
        Condition on the metadata; see :func:`langchain_embplug.to_filter`.
    score_threshold : float, default=None
        Lowest score of a document, on the scale of the last stage.
    search_params : qdrant_client.models.SearchParams, default=None
        Parameters of Qdrant's search, in place of the recipe's.
    with_scores : bool, default=False
        Put the score and the scores of each stage into the metadata, as ``_score`` and ``_stages``.
    explain : bool, default=False
        Put into the metadata, as ``_explanation``, which token of the query met which token of the document.
    """

    vectorstore: EmbplugVectorStore
    k: int = Field(4, ge=1)
    filter: Filter | None = None
    score_threshold: float | None = None
    search_params: models.SearchParams | None = None
    with_scores: bool = False
    explain: bool = False

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    def _get_relevant_documents(
        self, query: str, *, run_manager: CallbackManagerForRetrieverRun, **kwargs: Any
    ) -> list[Document]:
        with_scores, options = self._options(kwargs)
        return _documents(self.vectorstore.similarity_search_with_score(query, **options), with_scores)

    async def _aget_relevant_documents(
        self, query: str, *, run_manager: AsyncCallbackManagerForRetrieverRun, **kwargs: Any
    ) -> list[Document]:
        with_scores, options = self._options(kwargs)
        scored = await self.vectorstore.asimilarity_search_with_score(query, **options)
        return _documents(scored, with_scores)

    def _options(self, overrides: dict[str, Any]) -> tuple[bool, dict[str, Any]]:
        fields = ("k", "filter", "score_threshold", "search_params", "explain")
        options = {name: getattr(self, name) for name in fields} | overrides
        with_scores = bool(options.pop("with_scores", self.with_scores))
        return with_scores, {**options, "with_stages": with_scores}


def _documents(scored: list[tuple[Document, float]], with_scores: bool) -> list[Document]:
    for document, score in scored:
        if with_scores:
            document.metadata["_score"] = score
    return [document for document, _ in scored]
