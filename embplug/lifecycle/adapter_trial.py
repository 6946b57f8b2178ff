"""Adapters between two models, fitted on some documents and measured on others."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embplug.evaluation.exact import overlap
from embplug.methods.numeric.arrays import Float32

HELD_OUT = 0.5
"""Share of the pairs that are searched to measure adapters, which are fitted on the others."""

MOST_QUERIES = 300
CALIBRATED = 50
"""Best documents of each query on whose scores the two spaces are brought to one scale."""


@dataclass(frozen=True)
class AdapterRecall:
    """What an adapter keeps of the search that the new model would give.

    Attributes
    ----------
    adapter : str
        Kind of the adapter; ``"none"`` searches vectors of the old model with queries of the new model as
        they are.
    recall : float
        Share of the k best documents by the new model's vectors that is found among the old vectors.
    mixed : float or None
        The same share when half of the documents are embedded anew and scores are on one scale.
    """

    adapter: str
    recall: float
    mixed: float | None = None


class AdapterTrial:
    """Adapters fitted on some pairs of vectors, and measured by searches among the others.

    Documents on which an adapter is fitted would be found better than those of the whole collection.

    Parameters
    ----------
    new : array of shape (n, new dim)
        Vectors of documents by the new model.
    old : array of shape (n, old dim)
        Vectors of the same documents by the old model.
    queries : array of shape (m, new dim) or None
        Queries by the new model. If None, documents that are held out stand for queries.
    k : int
        Number of best documents whose recall is measured.
    seed : int, default=0
        Seed of the split.
    """

    def __init__(self, new: Float32, old: Float32, queries: Float32 | None, k: int, seed: int = 0) -> None:
        order = np.random.default_rng(seed).permutation(len(new))
        held = order[: int(len(order) * HELD_OUT)]
        rest = order[len(held) :]
        self.pairs, self.k = (new[rest], old[rest]), k
        self.old = old[held]
        # A document that stands for a query does not find itself.
        self.by_documents = queries is None
        self.queries = new[held[:MOST_QUERIES]] if queries is None else queries
        self.exact = self._hidden(self.queries @ new[held].T)
        self.best = _top(self.exact, k)

    def measured(self, adapter: Any) -> AdapterRecall:
        """Measure what an adapter keeps, alone and with half of the documents embedded anew."""
        scores = self._scores(adapter)
        factor, offset = self.calibration(adapter)
        mixed = factor * scores + offset
        half = np.arange(scores.shape[1]) % 2 == 0
        mixed[:, half] = self.exact[:, half]
        return AdapterRecall(adapter.kind, self._recall(scores), self._recall(mixed))

    def without_adapter(self) -> list[AdapterRecall]:
        """Measure what is found without an adapter, where the dimensions allow it."""
        if self.queries.shape[1] != self.old.shape[1]:
            return []
        return [AdapterRecall("none", self._recall(self._hidden(self.queries @ self.old.T)))]

    def calibration(self, adapter: Any) -> tuple[float, float]:
        """Return factor and offset that bring old scores closest to new ones, among the best documents."""
        scores = self._scores(adapter)
        best = _top(scores, min(CALIBRATED, scores.shape[1] - 1))
        x = np.take_along_axis(scores, best, axis=1).reshape(-1).astype(np.float64)
        y = np.take_along_axis(self.exact, best, axis=1).reshape(-1).astype(np.float64)
        spread = np.square(x - x.mean()).sum()
        factor = float(((x - x.mean()) * (y - y.mean())).sum() / spread) if spread else 1.0
        # A negative factor would reverse the ranking of old documents.
        factor = max(factor, 1e-3)
        return factor, float(y.mean() - factor * x.mean())

    def _scores(self, adapter: Any) -> Float32:
        scores = adapter.transform(self.queries) @ self.old.T + adapter.missing(self.queries)[:, None]
        return self._hidden(scores)

    def _hidden(self, scores: Float32) -> Float32:
        if self.by_documents:
            np.fill_diagonal(scores, -np.inf)
        return scores

    def _recall(self, scores: Float32) -> float:
        return float(overlap(_top(scores, self.k), self.best).mean())


def _top(scores: Float32, count: int) -> NDArray[np.int64]:
    return np.argsort(-scores, axis=1, kind="stable")[:, :count]
