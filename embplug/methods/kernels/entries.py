"""Codes whose bytes name entries, in the compiled kernel: those nearest to vectors, and those of codes."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from embplug.methods.kernels.arguments import check_shape, floats, place
from embplug.methods.kernels.library import Kernel
from embplug.methods.kernels.tables import ENTRIES, checked_entries
from embplug.methods.numeric.arrays import Codes, Float32

ROWS_A_NUMBER = 8
"""Rows of a table of products that take as long as one number's products with 256 entries."""


class Entries:
    """The entries of all bytes of a code, in the forms in which the kernel reads them.

    It is made once, and read by several threads.

    Parameters
    ----------
    entries : float32 (256, active)
        Entries of each byte in its directions, those of all bytes side by side.
    widths : int64 (bytes,)
        Number of directions of each byte.
    weights : float32 (active,), default=None
        Factors of the directions by which the nearest entry is searched. None weighs all alike.
    """

    def __init__(self, entries: Float32, widths: NDArray[np.int64], weights: Float32 | None = None) -> None:
        self._widths, columns = checked_entries(entries.T, widths)
        self.active, self._rows = len(columns), floats(entries)
        if weights is not None:
            check_shape("weights", weights, (self.active,))
            columns = columns * floats(weights)[:, None]
        self._weights, self._columns = weights, columns
        # Half of the squared lengths, taken from products, makes the nearest entry the highest.
        spans = zip(np.cumsum(self._widths).tolist(), self._widths.tolist(), strict=True)
        halves = [
            np.square(columns[stop - width : stop], dtype=np.float64).sum(axis=0) / 2 for stop, width in spans
        ]
        self._halves = floats(np.reshape(halves, (len(self._widths), ENTRIES)))

    def nearest(self, kernel: Kernel, vectors: Float32) -> Codes:
        """Codes (n, bytes) of the nearest entries of vectors (n, active)."""
        check_shape("vectors", vectors, (len(vectors), self.active))
        weighted = floats(vectors if self._weights is None else vectors * self._weights)
        codes = np.empty((len(vectors), len(self._widths)), dtype=np.uint8)
        kernel.functions_for(ROWS_A_NUMBER * vectors.size).embplug_nearest(
            *(kernel.level, place(weighted), *vectors.shape, place(self._columns), place(self._halves)),
            *(place(self._widths), len(self._widths), place(codes)),
        )
        return codes

    def of(self, kernel: Kernel, codes: Codes) -> Float32:
        """Entries (n, active) that codes (n, bytes) name."""
        check_shape("codes", codes, (len(codes), len(self._widths)))
        codes, vectors = (
            np.ascontiguousarray(codes, np.uint8),
            np.empty((len(codes), self.active), np.float32),
        )
        kernel.functions_for(codes.size).embplug_entries(
            *(place(codes), *vectors.shape, place(self._rows), place(self._widths), len(self._widths)),
            place(vectors),
        )
        return vectors
