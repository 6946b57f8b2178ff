"""Reranking of texts from any source by MaxSim or by a cross-encoder."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

from embplug.encoders import Encoder, load_encoder
from embplug.errors import InvalidArgumentError
from embplug.methods.maxsim import maxsim
from embplug.search.cross_encoder import CrossEncoder, Scorer
from embplug.search.ranking import falling_order
from embplug.search.types import Hit


class TextReranker:
    """Ranks texts for a query, by MaxSim or by a cross-encoder.

    Exactly one of ``encoder`` and ``cross_encoder`` is needed.

    Parameters
    ----------
    encoder : Encoder or str, default=None
        Encoder of tokens, or its name. Texts are ranked by MaxSim.
    cross_encoder : CrossEncoder or callable, default=None
        A :class:`~embplug.search.CrossEncoder`, or a function of a query and a list of texts that returns one
        score for each text.

    Raises
    ------
    InvalidArgumentError
        Neither or both are passed, or the argument has another type.
    """

    def __init__(
        self,
        encoder: Encoder | str | None = None,
        cross_encoder: CrossEncoder | Scorer | None = None,
    ) -> None:
        if (encoder is None) == (cross_encoder is None):
            got = "neither" if encoder is None else "both"
            raise InvalidArgumentError("encoder", "either encoder or cross_encoder", got)
        model: Any = load_encoder(encoder) if isinstance(encoder, str) else encoder
        if model is not None and not isinstance(model, Encoder):
            raise InvalidArgumentError("encoder", "an embplug Encoder or its name", type(model).__name__)
        self.encoder: Encoder | None = model
        if cross_encoder is not None and not isinstance(cross_encoder, CrossEncoder):
            if not callable(cross_encoder):
                expected = "an embplug.search.CrossEncoder or a function"
                raise InvalidArgumentError("cross_encoder", expected, type(cross_encoder).__name__)
            cross_encoder = CrossEncoder(cross_encoder)
        self.cross_encoder = cross_encoder

    def rank(
        self, query: str, texts: Sequence[str], limit: int | None = None
    ) -> list[tuple[int, float | None]]:
        """Rank texts for a query.

        Parameters
        ----------
        query : str
            Text of the query.
        texts : sequence of str
            Texts to rank.
        limit : int, default=None
            Number of texts to return. None returns all.

        Returns
        -------
        list of (int, float or None)
            Index of each text in ``texts`` and its score, from the best to the worst. The score is None if
            the cross-encoder failed and ``on_failure`` is ``"keep"``.

        Raises
        ------
        InvalidArgumentError
            The encoder makes no token vectors.
        RerankError
            The cross-encoder fails; see :class:`~embplug.search.CrossEncoder`.
        """
        if not texts:
            return []
        if self.cross_encoder is not None:
            hits = [Hit(place, 0.0, {"text": text}) for place, text in enumerate(texts)]
            ranked = replace(self.cross_encoder, text_key="text").rerank(query, hits, limit)
            return [(int(hit.id), None if hit.skipped else hit.score) for hit in ranked]
        assert self.encoder is not None
        query_tokens = self.encoder.encode_queries([query]).tokens
        documents = self.encoder.encode_documents(texts).tokens
        if query_tokens is None or documents is None:
            raise InvalidArgumentError("encoder", "one that makes token vectors", self.encoder.spec)
        scores = maxsim(query_tokens[0], documents)
        return [(int(place), float(scores[place])) for place in falling_order(scores)[:limit]]
