"""Signed vectors as the unsigned bytes that Qdrant's uint8 vectors hold, with dot products in true order."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

OFFSET = 128
LIMIT = 127
FILLED = 0.85
"""Share of the balancing dimensions' range that lengths may take; the rest is for the sums."""


@dataclass(frozen=True)
class BalancedBytes:
    """Codes a signed vector in one byte a dimension, so that an engine may compare unsigned bytes.

    With q = Q + 128 and d = D + 128 for integer vectors Q and D,
    <q, d> = <Q, D> + 128 sum(Q) + 128 sum(D) + constant. The second term is the same for all
    documents; the third is made so: a few balancing dimensions, in which Q is zero, bring sum(D) to
    zero exactly. The order of the documents is then that of <Q, D>.

    Attributes
    ----------
    dim
        Dimension of the signed vectors.
    scale
        Documents are multiplied by it, rounded, and clipped to -127..127.
    length
        Length that documents are brought to in the balancing dimensions, before scaling; those that are
        longer keep theirs. 0 leaves all as they are. Where all have one length, the documents that are
        closest by dot product are closest by distance, so that a graph of them leads everywhere; else
        it leads to the longest.
    """

    dim: int
    scale: float
    length: float = 0.0

    @staticmethod
    def balancing_dims(dim: int) -> int:
        """Dimensions added to ``dim``: enough for sums of ``sqrt(dim)`` times 160."""
        return math.ceil(1.25 * math.sqrt(dim))

    @classmethod
    def fit(cls, documents: NDArray[np.float32], *, one_length: bool = False) -> BalancedBytes:
        """Choose the scale at which quantized ``documents`` (n, dim) differ least from the given ones.

        With ``one_length`` it is at most that at which the balancing dimensions can bring most
        documents to the length of the longest.
        """
        magnitudes = np.abs(documents[documents != 0])
        if magnitudes.size == 0:
            return cls(documents.shape[1], 1.0)
        largest = np.quantile(magnitudes, [0.99, 0.995, 0.998, 0.999, 0.9995, 1.0])
        scales = LIMIT / largest.astype(np.float64)
        errors = [
            np.square(np.clip(np.rint(magnitudes * s), 0, LIMIT) / s - magnitudes).mean() for s in scales
        ]
        scale = float(scales[int(np.argmin(errors))])
        if not one_length:
            return cls(documents.shape[1], scale)
        lengths = np.linalg.norm(documents, axis=1)
        short, long = np.quantile(lengths[lengths > 0], [0.01, 0.99])
        room = cls.balancing_dims(documents.shape[1]) * (FILLED * LIMIT) ** 2
        if long > short:
            scale = min(scale, float(np.sqrt(room / (long**2 - short**2))))
        return cls(documents.shape[1], scale, float(long))

    def documents(self, vectors: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Code documents (n, dim) as uint8 (n, dim + balancing dims); every row sums to 128 a dimension."""
        codes = np.clip(np.rint(vectors * np.float32(self.scale)), -LIMIT, LIMIT).astype(np.int32)
        missing = -codes.sum(axis=1, dtype=np.int64)
        balance = np.clip(self._balance(codes, missing), -LIMIT, LIMIT)
        left = missing - balance.sum(axis=1)
        for row in np.flatnonzero(left):
            _shift(codes[row], int(left[row]))
        return self._unsigned(codes, balance)

    def queries(self, vectors: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Code queries (n, dim), each at its own scale, as uint8 (n, dim + balancing dims)."""
        largest = np.abs(vectors).max(axis=1, keepdims=True, initial=0)
        codes = np.rint(vectors * (LIMIT / np.where(largest > 0, largest, 1))).astype(np.int32)
        return self._unsigned(codes, np.zeros((len(codes), self.balancing_dims(self.dim)), dtype=np.int32))

    def _balance(self, codes: NDArray[np.int32], missing: NDArray[np.int64]) -> NDArray[np.int64]:
        """Integers (n, balancing dims) with the sums ``missing`` that fill up the lengths."""
        count = self.balancing_dims(self.dim)
        mean = missing[:, None] / count
        squares = np.square(codes, dtype=np.float64).sum(axis=1)
        lacking = np.where(squares > 0, (self.length * self.scale) ** 2 - squares, 0)
        # Half of the dimensions above the mean, half below: sums stay, squares grow.
        pairs = count // 2
        spread = np.sqrt(np.maximum(lacking[:, None] - count * np.square(mean), 0) / (2 * pairs))
        spread = np.minimum(spread, np.maximum(LIMIT - np.abs(mean), 0))
        signs = np.zeros(count)
        signs[:pairs], signs[pairs : 2 * pairs] = 1, -1
        # A mean that is a whole number may come out a rounding error below it.
        balance: NDArray[np.int64] = np.floor(mean + spread * signs + 1e-9).astype(np.int64)
        balance += np.arange(count) < (missing - balance.sum(axis=1))[:, None]
        return balance

    @staticmethod
    def _unsigned(codes: NDArray[Any], balance: NDArray[Any]) -> NDArray[np.uint8]:
        return (np.concatenate([codes, balance], axis=1) + OFFSET).astype(np.uint8)


def _shift(codes: NDArray[np.int32], amount: int) -> None:
    """Add ``amount`` to the sum of ``codes`` in steps of one, in place, without leaving the range."""
    step = 1 if amount > 0 else -1
    while amount:
        free = np.flatnonzero(codes * step < LIMIT)[: abs(amount)]
        codes[free] += step
        amount -= step * len(free)
