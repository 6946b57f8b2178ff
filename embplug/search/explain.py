"""Why a document is a hit: which token of the query met which of its tokens, and with what share."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from embplug.methods.numeric.arrays import Float32

Span: TypeAlias = tuple[int, int]
"""First character of a part of a text, and the one after its last."""


@dataclass(frozen=True)
class TokenMatch:
    """A token of the query with the token of the document that is most like it.

    Attributes
    ----------
    query_token : int
        Position of the token among the tokens by which the query is ranked.
    document_token : int
        Position of the token among the tokens that are stored of the document.
    score : float
        What the pair adds to the score.
    share : float
        The same as a share of the score. All shares of a document add up to 1.
    query_text, document_text : str, default=None
        Texts that the tokens stand for. None if they are not known.
    query_spans, document_spans : tuple of (int, int), default=()
        Where these texts begin and end in the text of the query and of the document. A token that stands
        for several, because tokens are pooled, has several. Empty if they are not known.
    patches : tuple of (int, int), default=()
        Row and column of each patch of a page image that the document's token stands for.
    """

    query_token: int
    document_token: int
    score: float
    share: float
    query_text: str | None = None
    document_text: str | None = None
    query_spans: tuple[Span, ...] = ()
    document_spans: tuple[Span, ...] = ()
    patches: tuple[tuple[int, int], ...] = ()

    def to_dict(self) -> dict[str, Any]:
        """Return the match as values of JSON types, without what is not known."""
        values = {name: value for name, value in vars(self).items() if value not in (None, ())}
        return {
            name: [list(pair) for pair in value] if isinstance(value, tuple) else value
            for name, value in values.items()
        }


@dataclass(frozen=True, eq=False)
class TokenOrigins:
    """What the compared tokens of a query or of a document stand for.

    Attributes
    ----------
    owner : ndarray of shape (tokens,), int64, default=None
        For each token before pooling and pruning, the compared token that it is part of, or -1 if it is in
        none. None if that is not known.
    text : str, default=None
        The text, if tokens stand for parts of it.
    spans : ndarray of shape (tokens, 2), int, default=None
        Start and end in ``text`` of each token before pooling and pruning. Both are equal for a token that
        stands for no text.
    grid : tuple of (int, int), default=None
        Rows and columns of the patches of a page image.
    first_patch : int, default=0
        Position of the first patch among the tokens before pooling and pruning.
    reason : str, default=None
        Why neither texts nor patches are known.
    """

    owner: NDArray[np.int64] | None = None
    text: str | None = None
    spans: NDArray[Any] | None = None
    grid: tuple[int, int] | None = None
    first_patch: int = 0
    reason: str | None = None

    def spans_of(self, token: int) -> tuple[Span, ...]:
        """Return the parts of the text that a compared token stands for; -1 returns those of no token."""
        if self.spans is None or self.owner is None:
            return ()
        rows = self.spans[self.owner == token].tolist()
        return tuple((start, stop) for start, stop in rows if start < stop)

    def text_of(self, token: int) -> str | None:
        """Return the text of a compared token; None if it is not known or has none."""
        spans = self.spans_of(token)
        return " … ".join(self.text[start:stop] for start, stop in spans) if spans and self.text else None

    def patches_of(self, token: int) -> tuple[tuple[int, int], ...]:
        """Return row and column of each patch that a compared token stands for."""
        if self.grid is None or self.owner is None:
            return ()
        rows, columns = self.grid
        patches = np.flatnonzero(self.owner == token) - self.first_patch
        inside = patches[(patches >= 0) & (patches < rows * columns)]
        return tuple((int(patch) // columns, int(patch) % columns) for patch in inside)


@dataclass(frozen=True, eq=False)
class Explanation:
    """How a document gets its MaxSim score for a query.

    Attributes
    ----------
    id : int or str
        Id of the document.
    stage : {"codes", "maxsim"}
        Stage of the search whose score is explained, as in ``Hit.stages``.
    score : float
        Score of this stage. It is the sum of ``scores``.
    scores : ndarray of shape (t,), float32
        What each token of the query adds to the score.
    matched : ndarray of shape (t,), int64
        Position of the best token of the document for each token of the query.
    similarities : ndarray of shape (t, n), float32
        What each token of the query would add with each of the n tokens of the document.
    query, document : TokenOrigins
        What these tokens stand for.
    """

    id: int | str
    stage: str
    scores: Float32
    matched: NDArray[np.int64]
    similarities: Float32
    query: TokenOrigins
    document: TokenOrigins

    @cached_property
    def score(self) -> float:
        """Sum of ``scores``."""
        return float(self.scores.sum(dtype=np.float64))

    @cached_property
    def shares(self) -> NDArray[np.float64]:
        """Share of the score that each token of the query adds, float64 ``(t,)``; zeros for a score of 0."""
        total = self.score
        return self.scores.astype(np.float64) / total if total else np.zeros(len(self.scores))

    @cached_property
    def heat(self) -> NDArray[np.float64]:
        """Share of the score that each token of the document brings, float64 ``(n,)``."""
        heat = np.zeros(self.similarities.shape[1])
        np.add.at(heat, self.matched, self.shares)
        return heat

    @cached_property
    def matches(self) -> list[TokenMatch]:
        """The match of each token of the query, in the order of the query."""
        return [
            TokenMatch(
                query_token,
                document_token,
                score,
                share,
                self.query.text_of(query_token),
                self.document.text_of(document_token),
                self.query.spans_of(query_token),
                self.document.spans_of(document_token),
                self.document.patches_of(document_token),
            )
            for query_token, (document_token, score, share) in enumerate(
                zip(self.matched.tolist(), self.scores.tolist(), self.shares.tolist(), strict=True)
            )
        ]

    def to_dict(self) -> dict[str, Any]:
        """Return stage, score and matches as values of JSON types."""
        known = {"stage": self.stage, "score": self.score}
        if self.document.reason is not None:
            known["reason"] = self.document.reason
        return {**known, "matches": [match.to_dict() for match in self.matches]}

    def __repr__(self) -> str:
        query, document = self.similarities.shape
        return (
            f"Explanation(id={self.id!r}, {self.stage}={self.score:.4g}, {query} query tokens, "
            f"{document} document tokens)"
        )


def heated_parts(text: str, origins: TokenOrigins, heat: Sequence[float]) -> list[tuple[str, float | None]]:
    """Cut a text into parts of equal heat, for a heat map.

    Parameters
    ----------
    text : str
        The text.
    origins : TokenOrigins
        Which parts of the text each compared token stands for.
    heat : sequence of float
        Heat of each compared token. A token that stands for several parts gives its heat to each of them.

    Returns
    -------
    list of (str, float or None)
        Parts in order, with their heat. It is None for text of tokens that were pruned.
    """
    of_character = np.zeros(len(text))
    covered = np.zeros(len(text), dtype=bool)
    for token, value in enumerate(heat):
        for start, stop in origins.spans_of(token):
            of_character[start:stop] += value
            covered[start:stop] = True
    for start, stop in origins.spans_of(-1):
        part = slice(start, stop)
        of_character[part][~covered[part]] = np.nan
    same = (of_character[1:] == of_character[:-1]) | (
        np.isnan(of_character[1:]) & np.isnan(of_character[:-1])
    )
    bounds = [0, *(np.flatnonzero(~same) + 1).tolist(), len(text)] if text else [0]
    return [
        (text[start:stop], None if np.isnan(of_character[start]) else float(of_character[start]))
        for start, stop in pairwise(bounds)
    ]


def patch_heat(explanation: Explanation) -> NDArray[np.float64] | None:
    """Heat of each patch of a page image, float64 ``(rows, columns)``; None for a document without patches.

    A token that stands for several patches gives its heat to each of them.
    """
    origins = explanation.document
    if origins.grid is None:
        return None
    heat = np.zeros(origins.grid)
    for token in np.flatnonzero(explanation.heat):
        for patch in origins.patches_of(int(token)):
            heat[patch] += explanation.heat[token]
    return heat
