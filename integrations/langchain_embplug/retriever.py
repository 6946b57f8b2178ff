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
    """Retrieve documents from a store; each field may also be given to ``invoke`` and ``ainvoke``.

    Attributes
    ----------
    vectorstore
        Where to search.
    k
        Number of documents.
    filter
        Qdrant's, or a mapping; see :func:`langchain_embplug.to_filter`.
    score_threshold
        Leave out documents below it; of the last stage's scores.
    search_params
        Qdrant's; what it sets goes before the recipe.
    with_scores
        Put score and the scores of each stage into the metadata, as ``_score`` and ``_stages``.
    """

    vectorstore: EmbplugVectorStore
    k: int = Field(4, ge=1)
    filter: Filter | None = None
    score_threshold: float | None = None
    search_params: models.SearchParams | None = None
    with_scores: bool = False

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
        found = await self.vectorstore.asimilarity_search_with_score(query, **options)
        return _documents(found, with_scores)

    def _options(self, given: dict[str, Any]) -> tuple[bool, dict[str, Any]]:
        fields = ("k", "filter", "score_threshold", "search_params")
        options = {name: getattr(self, name) for name in fields} | given
        with_scores = bool(options.pop("with_scores", self.with_scores))
        return with_scores, {**options, "with_stages": with_scores}


def _documents(found: list[tuple[Document, float]], with_scores: bool) -> list[Document]:
    for document, score in found:
        if with_scores:
            document.metadata["_score"] = score
    return [document for document, _ in found]
