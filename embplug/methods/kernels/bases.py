"""Products of a query with many rows, such as centroids, in 8 bits."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

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
BLOCK = 8
"""Rows that are multiplied together."""
LARGEST_PRODUCT = 32_766
"""Of rounded rows, in 16 bits: one less than those hold, because numbers of float32 are rounded."""

LONGER = 100
"""How many times as long as the median row the longest may be, whose products 16 bits hold."""


class RoundedProducts(NamedTuple):
    """Products of a query with rows in 16 bits.

    Attributes
    ----------
    numbers : int16 (n, tile)
    units : float32 (tile,)
        What one unit of the products with a query token stands for.
    """

    numbers: NDArray[np.int16]
    units: Float32


Bases = Float32 | RoundedProducts
"""Products (n, tile) that are added to the looked-up sums of tokens by their ids."""


class RoundedRows:
    """Rows that are multiplied with every query, rounded to 8 bits once.

    Products are rounded to 16 bits. Where the kernel keeps products exact, the processor has no instruction
    for 8 bits, or one row is far longer than the others, they are those of the exact rows, in float32.

    Parameters
    ----------
    rows : float32 (n, dim)
    """

    def __init__(self, rows: Float32) -> None:
        self.exact = rows
        scales = np.abs(rows).max(axis=1, initial=0) / np.float32(LARGEST)
        self.scales = np.where(scales > 0, scales, 1).astype(np.float32)
        numbers = np.rint(rows / self.scales[:, None])
        self._rounded = _in_blocks(numbers)
        lengths = self.scales * np.linalg.norm(numbers, axis=1)
        self.longest = float(lengths.max(initial=0))
        self.even = not self.longest or self.longest <= LONGER * np.median(lengths[lengths > 0])
        self._last: tuple[bool, bytes, Bases] | None = None

    def products(self, kernel: Kernel, query: Float32) -> Bases:
        """Dot products (n, tile) of all rows with query tokens (tile, dim).

        Those of the last query are kept: a shortlist and codes have the same centroids.
        """
        tile = checked_tile("query", len(query))
        check_shape("query", query, (tile, self.exact.shape[1]))
        last, rounds, own = self._last, self.even and rounds_rows(kernel), query.tobytes()
        if last is not None and last[:2] == (rounds, own):
            return last[2]
        # The new products take the place of the old ones, which caches still hold.
        last = self._last = None
        if rounds:
            units = np.empty(tile, dtype=np.float32)
            products: Bases = RoundedProducts(self._rounded_products(kernel, query, units), units)
        else:
            with single_blas_thread():
                products = np.asarray(self.exact @ query.T)
        # Threads replace it as a whole.
        self._last = rounds, own, products
        return products

    def products_in_float32(self, kernel: Kernel, query: Float32) -> Float32:
        """Dot products (n, tile) of rounded rows, for a kernel that :func:`rounds_rows`."""
        checked_tile("query", len(query))
        check_shape("query", query, (len(query), self.exact.shape[1]))
        return self._rounded_products(kernel, query)

    def _rounded_products(self, kernel: Kernel, query: Float32, units: Float32 | None = None) -> NDArray[Any]:
        """Products in float32 or, where there are units, in 16 bits: the units are written."""
        tile, count, padded = len(query), len(self.exact), self._rounded.shape[1] * GROUP
        query, products = floats(query), aligned((count, tile), np.float32 if units is None else np.int16)
        numbers = np.empty(padded * tile, dtype=np.int8)
        kernel.functions_for(count * padded).embplug_products(
            *(tile, place(query), query.shape[1], place(self._rounded), place(self.scales)),
            *(count, padded, self.longest, place(numbers), place(products), place(units)),
        )
        return products

    def largest_error(self, query: Float32) -> Float32:
        """How far rounded products (n, t) lie at most from those of exact rows with query tokens (t, dim)."""
        largest = np.abs(query).max(axis=1, initial=0)
        steps = np.where(largest > 0, largest / np.float32(LARGEST), 1)
        halves, query_halves = self.scales[:, None] / 2, steps / 2
        sums, query_sums = np.abs(self.exact).sum(axis=1)[:, None], np.abs(query).sum(axis=1)
        # A rounded query token is at most so much longer.
        lengths = np.linalg.norm(query, axis=1) + query_halves * np.float32(np.sqrt(query.shape[1]))
        units = lengths * np.float32(self.longest / LARGEST_PRODUCT)
        both: Float32 = sums * query_halves + query_sums * halves + query.shape[1] * halves * query_halves
        both += units / 2
        return both


def _in_blocks(numbers: Float32) -> NDArray[np.uint8]:
    """Numbers (n, dim) of -127 to 127 as the kernel reads them: (blocks, groups, BLOCK, GROUP)."""
    count, dim = numbers.shape
    blocks, groups = -(-count // BLOCK), -(-dim // GROUP)
    padded = np.full((blocks * BLOCK, groups * GROUP), MIDDLE, dtype=np.uint8)
    padded[:count, :dim] = numbers + MIDDLE
    return np.ascontiguousarray(padded.reshape(blocks, BLOCK, groups, GROUP).swapaxes(1, 2))


def checked_bases(bases: Bases, tile: int) -> tuple[NDArray[Any], Float32 | None]:
    """Bases and their units, if they have some, in the form in which the kernel reads them."""
    numbers: NDArray[Any]
    if isinstance(bases, RoundedProducts):
        check_shape("units", bases.units, (tile,))
        numbers, units = np.ascontiguousarray(bases.numbers, dtype=np.int16), floats(bases.units)
    else:
        numbers, units = floats(bases), None
    check_shape("bases", numbers, (len(numbers), tile))
    return numbers, units


def rounded_rows(rows: Float32, known: RoundedRows | None) -> RoundedRows:
    """The rounded form of rows, which may be known from an earlier query."""
    return known if known is not None and known.exact is rows else RoundedRows(rows)


def rounds_rows(kernel: Kernel) -> bool:
    """Whether :class:`RoundedRows` multiplies rounded rows, unless one is far longer than the others."""
    return not kernel.exact and kernel.eight_bits
