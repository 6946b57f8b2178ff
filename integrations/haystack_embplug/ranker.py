"""Haystack's ranker by MaxSim or by a cross-encoder, for documents of any retriever."""

from __future__ import annotations

import asyncio
import threading
from dataclasses import replace
from typing import Any

from haystack import Document, component, default_from_dict, default_to_dict
from haystack.utils import deserialize_callable, serialize_callable
from typing_extensions import Self

from embplug import Encoder
from embplug.errors import InvalidArgumentError
from embplug.frameworks.arguments import check_integer, check_number, check_query_text
from embplug.search import CrossEncoder
from embplug.search.cross_encoder import Scorer
from embplug.search.texts import TextReranker
from haystack_embplug.writing import check_documents


@component
class EmbplugRanker:
    """Ranks documents by MaxSim of their tokens or by a cross-encoder, and keeps the best.

    Parameters
    ----------
    encoder : Encoder or str, default=None
        An encoder of tokens, or its name, for MaxSim.
    cross_encoder : CrossEncoder or callable, default=None
        An :class:`embplug.search.CrossEncoder`, or a function of a query and texts that returns one score
        per text. Either this or ``encoder`` is passed.
    top_k : int, default=10
        Number of documents to keep.
    meta_fields_to_embed : list of str, default=None
        Fields of the metadata that are ranked with the content, before it.
    embedding_separator : str, default="\\n"
        What stands between these fields and the content.
    score_threshold : float, default=None
        Lowest score of a document.

    Raises
    ------
    InvalidArgumentError
        Neither or both of ``encoder`` and ``cross_encoder`` are passed, or something else. It is a
        ``ValueError``.

    Examples
    --------
    >>> ranker = EmbplugRanker("minilm", top_k=3)  # doctest: +SKIP
    >>> ranker.run(query="bees", documents=documents)["documents"]  # doctest: +SKIP
    """

    def __init__(
        self,
        encoder: Encoder | str | None = None,
        cross_encoder: CrossEncoder | Scorer | None = None,
        top_k: int = 10,
        meta_fields_to_embed: list[str] | None = None,
        embedding_separator: str = "\n",
        score_threshold: float | None = None,
    ) -> None:
        check_integer("top_k", top_k, 1)
        if score_threshold is not None:
            check_number("score_threshold", score_threshold)
        if (encoder is None) == (cross_encoder is None):
            got = "neither" if encoder is None else "both"
            raise InvalidArgumentError("encoder", "either encoder or cross_encoder", got)
        self._encoder = encoder
        self._cross_encoder = cross_encoder
        self._top_k = top_k
        self._fields = meta_fields_to_embed
        self._separator = embedding_separator
        self._score_threshold = score_threshold
        self._reranker: TextReranker | None = None
        self._lock = threading.Lock()

    def to_dict(self) -> dict[str, Any]:
        """Return the ranker as data: the name of the encoder, or of the function that scores.

        Raises
        ------
        InvalidArgumentError
            The cross-encoder is an object, which is no data.
        """
        encoder, scorer = self._encoder, self._cross_encoder
        if isinstance(scorer, CrossEncoder):
            raise InvalidArgumentError("cross_encoder", "a function, to serialise the ranker", "an object")
        data: dict[str, Any] = default_to_dict(
            self,
            encoder=encoder if encoder is None or isinstance(encoder, str) else encoder.spec,
            cross_encoder=None if scorer is None else serialize_callable(scorer),
            top_k=self._top_k,
            meta_fields_to_embed=self._fields,
            embedding_separator=self._separator,
            score_threshold=self._score_threshold,
        )
        return data

    @classmethod
    def from_dict(cls, data: dict[str, Any]) -> Self:
        """Make a ranker of the result of :meth:`to_dict`; the caller allows the module of a function."""
        parameters = dict(data["init_parameters"])
        if parameters.get("cross_encoder") is not None:
            parameters["cross_encoder"] = deserialize_callable(parameters["cross_encoder"])
        ranker: Self = default_from_dict(cls, {**data, "init_parameters": parameters})
        return ranker

    def warm_up(self) -> None:
        """Load the encoder."""
        with self._lock:
            if self._reranker is None:
                self._reranker = TextReranker(self._encoder, self._cross_encoder)

    @component.output_types(documents=list[Document])
    def run(
        self,
        query: str,
        documents: list[Document],
        top_k: int | None = None,
        score_threshold: float | None = None,
    ) -> dict[str, list[Document]]:
        """Rank documents.

        Parameters
        ----------
        query : str
            Text that documents are ranked for.
        documents : list of Document
            Documents, which stay as they are.
        top_k, score_threshold
            Options of this run, in place of those of the ranker.

        Returns
        -------
        dict
            Copies of the best documents with their new scores, best first, as ``documents``.
        """
        check_query_text("query", query)
        check_documents(documents)
        limit = self._top_k if top_k is None else top_k
        check_integer("top_k", limit, 1)
        threshold = self._score_threshold if score_threshold is None else score_threshold
        if threshold is not None:
            check_number("score_threshold", threshold)
        self.warm_up()
        assert self._reranker is not None
        unique = [*{document.id: document for document in documents}.values()]
        ranked = self._reranker.rank(query, [self._text(document) for document in unique], limit)
        scored = [
            document if score is None else replace(document, score=score)
            for document, score in ((unique[place], score) for place, score in ranked)
            if threshold is None or score is None or score >= threshold
        ]
        return {"documents": scored}

    @component.output_types(documents=list[Document])
    async def run_async(
        self,
        query: str,
        documents: list[Document],
        top_k: int | None = None,
        score_threshold: float | None = None,
    ) -> dict[str, list[Document]]:
        """Rank documents; :meth:`run` runs in a thread."""
        ranked: dict[str, list[Document]] = await asyncio.to_thread(
            self.run, query, documents, top_k, score_threshold
        )
        return ranked

    def _text(self, document: Document) -> str:
        values = [document.meta.get(field) for field in self._fields or ()]
        parts = [*(str(value) for value in values if value), document.content or ""]
        return self._separator.join(parts)
