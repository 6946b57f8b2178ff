"""How tokens lie: what decides which encoding finds candidates well."""

from __future__ import annotations

from dataclasses import asdict, dataclass, fields
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray

from embplug.common.threads import single_blas_thread
from embplug.errors import EmptyTokensError
from embplug.methods.maxsim import maxsim
from embplug.methods.numeric.arrays import Float32
from embplug.methods.reductions.reduced import unit
from embplug.methods.token_batch import TokenBatch, check_token_batch

DOCUMENTS, TOKENS = 256, 4096
"""Largest numbers of documents and tokens that are looked at."""

QUERIES, QUERY_TOKENS = 16, 32
"""Documents that stand for queries, by their first tokens."""

LEADING = 8
"""Number of directions whose share of the variance is told."""

CELLS, ROUNDS = 32, 4
"""Number of cells of an FDE by default, and of rounds of k-means that find them."""

SEPARATE_SHARE = 0.8
"""From this share of the variance between cells on, an FDE loses little: it adds up the tokens of a cell."""

ALIKE_SHARE = 0.75
"""From this share of the dimensions on, tokens lie alike in all directions, and no vector predicts MaxSim."""


@dataclass(frozen=True)
class TokenDiagnosis:
    """How a sample of tokens lies.

    Attributes
    ----------
    documents, tokens : int
        Numbers of documents and tokens that were looked at.
    dim : int
        Dimension of the tokens.
    mean_cosine : float
        Mean cosine of two tokens of different documents. It is 0 for tokens without a common direction, and
        1 for tokens that all point the same way.
    effective_dim : float
        Number of dimensions that tokens fill: the participation ratio of the variances of their principal
        components. It is ``dim`` for tokens that lie alike in all directions.
    leading_share : float
        Share of the variance in the first eight principal components.
    cell_share : float
        Share of the variance between the cells of a k-means with 32 cells. It is 1 for tokens that coincide
        with those of their cell.
    maxsim_spread : float
        Standard deviation of MaxSim over documents, as a share of its mean, for documents as queries.
    """

    documents: int
    tokens: int
    dim: int
    mean_cosine: float
    effective_dim: float
    leading_share: float
    cell_share: float
    maxsim_spread: float

    @classmethod
    def from_dict(cls, values: Any) -> TokenDiagnosis:
        """Read what :meth:`to_dict` returned; TypeError or ValueError if it is nothing of that kind."""
        own = {field.name: float(values[field.name]) for field in fields(cls)}
        counts = {name: int(own[name]) for name in ("documents", "tokens", "dim")}
        return cls(**{**own, **counts})  # type: ignore[arg-type]

    def to_dict(self) -> dict[str, Any]:
        """Return the measurements as values of JSON types, with the sentence."""
        return {**asdict(self), "lie": self.lie, "encoding": self.encoding, "sentence": self.sentence}

    @property
    def lie(self) -> Literal["separable", "isotropic", "overlapping"]:
        """How the tokens lie, in a word."""
        if self.cell_share >= SEPARATE_SHARE:
            return "separable"
        return "isotropic" if self.effective_dim >= ALIKE_SHARE * self.dim else "overlapping"

    @property
    def encoding(self) -> Literal["fde", "learned"]:
        """Kind of the encoding that suits the tokens."""
        return "fde" if self.lie == "separable" else "learned"

    @property
    def sentence(self) -> str:
        """Which encoding suits the tokens, and why."""
        measured = (
            f"mean cosine {self.mean_cosine:.2f}, {self.effective_dim:.0f} of {self.dim} dimensions filled, "
            f"{self.cell_share:.0%} of the variance between cells, MaxSim spreads by {self.maxsim_spread:.0%}"
        )
        suits = {
            "separable": "an FDE with k-means cells comes near a learned encoding, and learns little",
            "overlapping": "a learned encoding suits them, because the tokens of an FDE's cell differ",
            "isotropic": "a learned encoding loses least, and more candidates find what it loses",
        }
        return f"the tokens are {self.lie} ({measured}): {suits[self.lie]}"


def diagnose(tokens: TokenBatch) -> TokenDiagnosis:
    """Measure how tokens lie, on a few hundred documents of a sample.

    Parameters
    ----------
    tokens : TokenBatch
        Token vectors of documents.

    Returns
    -------
    TokenDiagnosis
        The measurements.

    Raises
    ------
    EmptyTokensError
        There is no token.
    """
    check_token_batch(tokens)
    inhabited = np.flatnonzero(tokens.lengths)
    if not inhabited.size:
        raise EmptyTokensError("tokens", "tokens to look at", "none")
    some = tokens.take(_evenly(inhabited, DOCUMENTS)).to_float32()
    rows = _evenly(np.arange(len(some.values)), TOKENS)
    with single_blas_thread():
        values = unit(some.values[rows])
        centred = (values - values.mean(axis=0)).astype(np.float64)
        variances = np.linalg.eigvalsh(centred.T @ centred / len(centred))
        cells = _cell_share(centred)
    variances = np.maximum(variances, 0)
    total = float(variances.sum())
    return TokenDiagnosis(
        documents=len(some),
        tokens=len(rows),
        dim=tokens.dim,
        mean_cosine=_mean_cosine(some),
        effective_dim=total**2 / float(np.square(variances).sum()) if total else 0.0,
        leading_share=float(variances[-LEADING:].sum()) / total if total else 1.0,
        cell_share=cells,
        maxsim_spread=_spread(some),
    )


def _evenly(values: Any, count: int) -> Any:
    """At most ``count`` of the values, at equal steps."""
    if len(values) <= count:
        return values
    return values[np.arange(count) * len(values) // count]


def _mean_cosine(tokens: TokenBatch) -> float:
    """Of all pairs of tokens of different documents, each pair of documents counting alike."""
    sums = np.add.reduceat(unit(tokens.values).astype(np.float64), tokens.offsets[:-1], axis=0)
    means = sums / tokens.lengths[:, None]
    count = len(means)
    if count < 2:
        return float(np.square(means).sum())
    whole = np.square(means.sum(axis=0)).sum() - np.square(means).sum()
    return float(whole / (count * (count - 1)))


def _spread(tokens: TokenBatch) -> float:
    """Standard deviation over mean of MaxSim, for some documents as queries of all others."""
    spreads = []
    for i in _evenly(np.arange(len(tokens)), QUERIES):
        scores: Float32 = np.delete(maxsim(tokens[int(i)][:QUERY_TOKENS], tokens), i)
        if len(scores) > 1 and (mean := abs(float(scores.mean()))):
            spreads.append(float(scores.std()) / mean)
    return float(np.mean(spreads)) if spreads else 0.0


def _cell_share(values: NDArray[np.float64]) -> float:
    """Share of the variance of values without mean that lies between the cells of a short k-means."""
    total = float(np.square(values).sum())
    if not total:
        return 1.0
    centres = values[_farthest(values, CELLS)]
    cells = np.zeros(len(values), dtype=np.int64)
    for _ in range(ROUNDS):
        cells = (values @ centres.T - np.square(centres).sum(axis=1) / 2).argmax(axis=1)
        sizes = np.bincount(cells, minlength=len(centres))
        sums = np.zeros_like(centres)
        np.add.at(sums, cells, values)
        centres = np.where(sizes[:, None] > 0, sums / np.maximum(sizes, 1)[:, None], centres)
    return 1 - float(np.square(values - centres[cells]).sum()) / total


def _farthest(values: NDArray[np.float64], count: int) -> list[int]:
    """Rows that are far from each other: each next one is the farthest from those before."""
    chosen = [int(np.square(values).sum(axis=1).argmin())]
    distances = np.square(values - values[chosen[0]]).sum(axis=1)
    while len(chosen) < min(count, len(values)):
        chosen.append(int(distances.argmax()))
        distances = np.minimum(distances, np.square(values - values[chosen[-1]]).sum(axis=1))
    return chosen
