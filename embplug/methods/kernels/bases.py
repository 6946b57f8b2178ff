"""Products of a query with many rows, such as centroids, in 8 bits."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from embplug.common.threads import single_blas_thread
from embplug.methods.kernels.arguments import check_shape, place
from embplug.methods.kernels.library import Kernel
from embplug.methods.kernels.tables import aligned, checked_tile
from embplug.methods.numeric.arrays import Float32

LARGEST = 127
MIDDLE = 128
"""What is added to numbers of -127 to 127, because the instruction takes one factor without a sign."""
GROUP = 4
"""Dimensions that one instruction multiplies and adds."""


class RoundedRows:
    """Rows that are multiplied with every query, rounded to 8 bits once.

    Where the kernel keeps products exact, or the processor has no instruction for 8 bits, the products are
    those of the exact rows.

    Parameters
    ----------
    rows : float32 (n, dim)
    """

    def __init__(self, rows: Float32) -> None:
        self.exact = rows
        scales = np.abs(rows).max(axis=1, initial=0) / np.float32(LARGEST)
        self.scales = np.where(scales > 0, scales, 1).astype(np.float32)
        self.rounded = np.full((len(rows), -(-rows.shape[1] // GROUP) * GROUP), MIDDLE, dtype=np.uint8)
        self.rounded[:, : rows.shape[1]] = np.rint(rows / self.scales[:, None]) + MIDDLE

    def products(self, kernel: Kernel, query: Float32) -> Float32:
        """Dot products (n, tile) of all rows with query tokens (tile, dim)."""
        tile = checked_tile("query", len(query))
        check_shape("query", query, (tile, self.exact.shape[1]))
        if not rounds_rows(kernel):
            with single_blas_thread():
                return np.asarray(self.exact @ query.T)
        numbers, steps = _rounded(query, self.rounded.shape[1])
        products = aligned((len(self.rounded), tile))
        # Four numbers of each token side by side.
        grouped = np.ascontiguousarray(numbers.reshape(tile, -1, GROUP).transpose(1, 0, 2))
        sums = numbers.sum(axis=1, dtype=np.int32)
        kernel.functions.embplug_bases(
            *(tile, place(self.rounded), place(self.scales), *self.rounded.shape),
            *(place(array) for array in (grouped, sums, steps, products)),
        )
        return products

    def largest_error(self, query: Float32) -> Float32:
        """How far rounded products (n, t) lie at most from those of exact rows with query tokens (t, dim)."""
        _, steps = _rounded(query, self.rounded.shape[1])
        halves, query_halves = self.scales[:, None] / 2, steps / 2
        sums, query_sums = np.abs(self.exact).sum(axis=1)[:, None], np.abs(query).sum(axis=1)
        both: Float32 = sums * query_halves + query_sums * halves + query.shape[1] * halves * query_halves
        return both


def rounded_rows(rows: Float32, known: RoundedRows | None) -> RoundedRows:
    """The rounded form of rows, which may be known from an earlier query."""
    return known if known is not None and known.exact is rows else RoundedRows(rows)


def rounds_rows(kernel: Kernel) -> bool:
    """Whether :class:`RoundedRows` multiplies rounded rows."""
    return not kernel.exact and kernel.eight_bits


def _rounded(query: Float32, dim: int) -> tuple[NDArray[np.int8], Float32]:
    """Numbers (t, dim) from -127 to 127 that stand for query tokens, and what one unit stands for (t,)."""
    steps = np.abs(query).max(axis=1, initial=0) / np.float32(LARGEST)
    steps = np.where(steps > 0, steps, 1).astype(np.float32)
    numbers: NDArray[Any] = np.zeros((len(query), dim), dtype=np.int8)
    numbers[:, : query.shape[1]] = np.rint(query / steps[:, None])
    return numbers, steps
