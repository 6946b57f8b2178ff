"""Rows of matrices."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from embplug.methods.numeric.arrays import Float32


def unit_rows(vectors: Float32) -> Float32:
    """Rows divided by their lengths; a row of zeros stays as it is."""
    lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
    scaled: Float32 = np.divide(vectors, lengths, out=np.zeros_like(vectors), where=lengths > 0)
    return scaled


def inverse_lengths(squares: Float32) -> Float32:
    """1 over the roots of squared lengths, in their place; at most that of the least number."""
    np.maximum(squares, np.finfo(np.float32).tiny, out=squares)
    np.sqrt(squares, out=squares)
    np.divide(np.float32(1), squares, out=squares)
    return squares


def second_moments(rows: Float32) -> NDArray[np.float64]:
    """Sums (d, d) of the products of the dimensions of rows (n, d), in float64, a block of rows at a time."""
    total = np.zeros((rows.shape[1], rows.shape[1]))
    for start in range(0, len(rows), 4096):
        block = rows[start : start + 4096].astype(np.float64)
        total += block.T @ block
    return total
