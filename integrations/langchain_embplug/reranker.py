"""LangChain's document compressor that ranks what any retriever found anew."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from langchain_core.callbacks import Callbacks
from langchain_core.documents import BaseDocumentCompressor, Document
from pydantic import ConfigDict, Field, model_validator
from typing_extensions import Self

from embplug import Encoder, Hit, load_encoder
from embplug.errors import InvalidArgumentError
from embplug.rerank import CrossEncoder, maxsim

_TEXT = "text"


class EmbplugReranker(BaseDocumentCompressor):
    """Rank documents anew, by MaxSim of their tokens or by a cross-encoder, and keep the best.

    Attributes
    ----------
    encoder
        embplug's encoder of tokens, or its name: documents are ranked by MaxSim.
    cross_encoder
        An :class:`embplug.rerank.CrossEncoder`, or any function of a query and texts that returns one
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

    @model_validator(mode="after")
    def _has_one_method(self) -> Self:
        if (self.encoder is None) == (self.cross_encoder is None):
            raise ValueError("give either encoder or cross_encoder")
        if isinstance(self.encoder, str):
            self.encoder = load_encoder(self.encoder)
        if self.encoder is not None and not isinstance(self.encoder, Encoder):
            raise ValueError("encoder is no embplug.Encoder, nor the name of one")
        if self.cross_encoder is not None and not isinstance(self.cross_encoder, CrossEncoder):
            if not callable(self.cross_encoder):
                raise ValueError("cross_encoder is no embplug.rerank.CrossEncoder, nor a function")
            self.cross_encoder = CrossEncoder(self.cross_encoder)
        return self

    def compress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> Sequence[Document]:
        """The best documents, in their new order; those given are not changed."""
        if not documents:
            return []
        hits = [Hit(i, 0.0, {_TEXT: document.page_content}) for i, document in enumerate(documents)]
        if self.cross_encoder is None:
            ranked = self._by_maxsim(hits, query)[: self.top_n]
        else:
            ranked = replace(self.cross_encoder, text_key=_TEXT).rerank(query, hits, self.top_n)
        return [self._scored(documents[int(hit.id)], hit) for hit in ranked]

    async def acompress_documents(
        self, documents: Sequence[Document], query: str, callbacks: Callbacks | None = None
    ) -> Sequence[Document]:
        """As :meth:`compress_documents`, in a thread: both methods take the processor's time."""
        return await asyncio.to_thread(self.compress_documents, documents, query, callbacks)

    def _by_maxsim(self, hits: list[Hit], query: str) -> list[Hit]:
        asked = self.encoder.encode_queries([query]).tokens
        if asked is None:
            raise InvalidArgumentError("encoder", "one that makes token vectors", self.encoder.spec)
        texts = [(hit.payload or {})[_TEXT] for hit in hits]
        scores = maxsim(asked[0], self.encoder.encode_documents(texts).tokens).tolist()
        scored = [Hit(hit.id, score, hit.payload) for hit, score in zip(hits, scores, strict=True)]
        return sorted(scored, key=lambda hit: -hit.score)

    def _scored(self, document: Document, hit: Hit) -> Document:
        if self.score_key is None or hit.skipped:
            return document.model_copy()
        return document.model_copy(update={"metadata": {**document.metadata, self.score_key: hit.score}})
