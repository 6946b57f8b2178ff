"""Products of a query with many rows, such as centroids, in 8 bits."""

from __future__ import annotations

import numpy as np

from embplug.common.threads import single_blas_thread
from embplug.methods.kernels.arguments import check_shape, floats, place
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
        count, padded = self.rounded.shape
        products, query = aligned((count, tile)), floats(query)
        numbers, sums = np.empty(padded * tile, dtype=np.int8), np.empty(tile, dtype=np.int32)
        steps = np.empty(tile, dtype=np.float32)
        places = [place(array) for array in (numbers, sums, steps)]
        functions = kernel.functions_for(count * padded)
        functions.embplug_rounded(place(query), tile, query.shape[1], padded, *places)
        functions.embplug_bases(
            *(tile, place(self.rounded), place(self.scales), count, padded, *places, place(products))
        )
        return products

    def largest_error(self, query: Float32) -> Float32:
        """How far rounded products (n, t) lie at most from those of exact rows with query tokens (t, dim)."""
        largest = np.abs(query).max(axis=1, initial=0)
        steps = np.where(largest > 0, largest / np.float32(LARGEST), 1)
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
