"""Texts in the order of MaxSim or of a cross-encoder, for what others have found."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np

from embplug.encoders import Encoder, load_encoder
from embplug.errors import InvalidArgumentError
from embplug.methods.maxsim import maxsim
from embplug.search.cross_encoder import CrossEncoder, Scorer
from embplug.search.types import Hit


class TextReranker:
    """Rank any texts for a query; one of ``encoder`` and ``cross_encoder`` is given.

    Parameters
    ----------
    encoder
        An encoder of tokens, or its name: texts are ranked by MaxSim.
    cross_encoder
        A :class:`~embplug.search.CrossEncoder`, or any function of a query and texts that returns one
        score for each.

    Raises
    ------
    InvalidArgumentError
        Neither, both, or something else.
    """

    def __init__(
        self,
        encoder: Encoder | str | None = None,
        cross_encoder: CrossEncoder | Scorer | None = None,
    ) -> None:
        if (encoder is None) == (cross_encoder is None):
            got = "neither" if encoder is None else "both"
            raise InvalidArgumentError("encoder", "either encoder or cross_encoder", got)
        given: Any = load_encoder(encoder) if isinstance(encoder, str) else encoder
        if given is not None and not isinstance(given, Encoder):
            raise InvalidArgumentError("encoder", "an embplug Encoder or its name", type(given).__name__)
        self.encoder: Encoder | None = given
        if cross_encoder is not None and not isinstance(cross_encoder, CrossEncoder):
            if not callable(cross_encoder):
                expected = "an embplug.search.CrossEncoder or a function"
                raise InvalidArgumentError("cross_encoder", expected, type(cross_encoder).__name__)
            cross_encoder = CrossEncoder(cross_encoder)
        self.cross_encoder = cross_encoder

    def rank(
        self, query: str, texts: Sequence[str], limit: int | None = None
    ) -> list[tuple[int, float | None]]:
        """Place of each text and its score, best first; no score where a cross-encoder was passed over.

        Raises
        ------
        InvalidArgumentError
            The encoder makes no tokens.
        RerankError
            The cross-encoder failed; see :class:`~embplug.search.CrossEncoder`.
        """
        if not texts:
            return []
        if self.cross_encoder is not None:
            hits = [Hit(place, 0.0, {"text": text}) for place, text in enumerate(texts)]
            ranked = replace(self.cross_encoder, text_key="text").rerank(query, hits, limit)
            return [(int(hit.id), None if hit.skipped else hit.score) for hit in ranked]
        assert self.encoder is not None
        asked = self.encoder.encode_queries([query]).tokens
        documents = self.encoder.encode_documents(texts).tokens
        if asked is None or documents is None:
            raise InvalidArgumentError("encoder", "one that makes token vectors", self.encoder.spec)
        scores = maxsim(asked[0], documents)
        return [(int(place), float(scores[place])) for place in np.argsort(-scores, kind="stable")[:limit]]
