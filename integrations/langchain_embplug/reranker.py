"""LangChain's document compressor that ranks what any retriever found anew."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any

from langchain_core.callbacks import Callbacks
from langchain_core.documents import BaseDocumentCompressor, Document
from pydantic import ConfigDict, Field, PrivateAttr, model_validator
from typing_extensions import Self

from embplug.search.texts import TextReranker


class EmbplugReranker(BaseDocumentCompressor):
    """Rank documents anew, by MaxSim of their tokens or by a cross-encoder, and keep the best.

    Attributes
    ----------
    encoder
        embplug's encoder of tokens, or its name: documents are ranked by MaxSim.
    cross_encoder
        An :class:`embplug.search.CrossEncoder`, or any function of a query and texts that returns one
        score for each. Either this or ``encoder``.
    top_n
        Number of documents to keep; ``None`` keeps all.
    score_key
        Field of the metadata that tells the score; ``None`` adds none.
    """

    encoder: Any = None
    cross_encoder: Any = None
    top_n: int | None = Field(4, ge=1)
    score_key: str | None = "relevance_score"

    model_config = ConfigDict(arbitrary_types_allowed=True, extra="forbid")

    _reranker: TextReranker = PrivateAttr()

    @model_validator(mode="after")
    def _has_one_method(self) -> Self:
        self._reranker = TextReranker(self.encoder, self.cross_encoder)
        return self

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> Sequence[Document]:
        """The best documents, in their new order; those given are not changed."""
        texts = [document.page_content for document in documents]
        ranked = self._reranker.rank(query, texts, self.top_n)
        return [self._scored(documents[place], score) for place, score in ranked]

    async def acompress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> Sequence[Document]:
        """As :meth:`compress_documents`, in a thread: both methods take the processor's time."""
        return await asyncio.to_thread(self.compress_documents, documents, query, callbacks)

    def _scored(self, document: Document, score: float | None) -> Document:
        if self.score_key is None or score is None:
            return document.model_copy()
        return document.model_copy(update={"metadata": {**document.metadata, self.score_key: score}})
