"""Signed vectors as the unsigned bytes that Qdrant's uint8 vectors hold, with dot products in true order."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

OFFSET = 128
LIMIT = 127


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
    """

    dim: int
    scale: float

    @staticmethod
    def balancing_dims(dim: int) -> int:
        """Dimensions added to ``dim``: enough for sums of ``sqrt(dim)`` times 160."""
        return math.ceil(1.25 * math.sqrt(dim))

    @classmethod
    def fit(cls, documents: NDArray[np.float32]) -> BalancedBytes:
        """Choose the scale at which quantized ``documents`` (n, dim) differ least from the given ones."""
        magnitudes = np.abs(documents[documents != 0])
        if magnitudes.size == 0:
            return cls(documents.shape[1], 1.0)
        largest = np.quantile(magnitudes, [0.99, 0.995, 0.998, 0.999, 0.9995, 1.0])
        scales = LIMIT / largest.astype(np.float64)
        errors = [
            np.square(np.clip(np.rint(magnitudes * s), 0, LIMIT) / s - magnitudes).mean() for s in scales
        ]
        return cls(documents.shape[1], float(scales[int(np.argmin(errors))]))

    def documents(self, vectors: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Code documents (n, dim) as uint8 (n, dim + balancing dims); every row sums to 128 a dimension."""
        codes = np.clip(np.rint(vectors * np.float32(self.scale)), -LIMIT, LIMIT).astype(np.int32)
        count = self.balancing_dims(self.dim)
        missing = -codes.sum(axis=1, dtype=np.int64)
        balance = missing[:, None] // count + (np.arange(count) < missing[:, None] % count)
        balance = np.clip(balance, -LIMIT, LIMIT)
        left = missing - balance.sum(axis=1)
        for row in np.flatnonzero(left):
            _shift(codes[row], int(left[row]))
        return self._unsigned(codes, balance)

    def queries(self, vectors: NDArray[np.float32]) -> NDArray[np.uint8]:
        """Code queries (n, dim), each at its own scale, as uint8 (n, dim + balancing dims)."""
        largest = np.abs(vectors).max(axis=1, keepdims=True, initial=0)
        codes = np.rint(vectors * (LIMIT / np.where(largest > 0, largest, 1))).astype(np.int32)
        return self._unsigned(codes, np.zeros((len(codes), self.balancing_dims(self.dim)), dtype=np.int32))

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
