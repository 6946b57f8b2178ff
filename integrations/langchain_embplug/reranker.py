"""LangChain's document compressor that reranks the documents of any retriever."""

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
    """Reranks documents by MaxSim of their tokens or by a cross-encoder, and keeps the best.

    Parameters
    ----------
    encoder : Encoder or str, default=None
        An encoder of tokens, or its name, for MaxSim.
    cross_encoder : CrossEncoder or callable, default=None
        An :class:`embplug.search.CrossEncoder`, or a function of a query and texts that returns one score
        per text. Either this or ``encoder`` is passed.
    top_n : int, default=4
        Number of documents to keep. None keeps all.
    score_key : str, default="relevance_score"
        Field of the metadata for the score. None adds no field.

    Raises
    ------
    pydantic.ValidationError
        Neither or both of ``encoder`` and ``cross_encoder`` are passed. It is a ``ValueError``.
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
        """Return the best documents in their new order.

        Parameters
        ----------
        documents : sequence of Document
            Documents, which stay as they are.
        query : str
            Text that they are ranked for.
        callbacks : Callbacks, default=None
            Not used.

        Returns
        -------
        sequence of Document
            Copies of the best documents, best first.
        """
        texts = [document.page_content for document in documents]
        ranked = self._reranker.rank(query, texts, self.top_n)
        return [self._scored(documents[place], score) for place, score in ranked]

    async def acompress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> Sequence[Document]:
        """Return the best documents; :meth:`compress_documents` runs in a thread."""
        return await asyncio.to_thread(self.compress_documents, documents, query, callbacks)

    def _scored(self, document: Document, score: float | None) -> Document:
        if self.score_key is None or score is None:
            return document.model_copy()
        return document.model_copy(update={"metadata": {**document.metadata, self.score_key: score}})
