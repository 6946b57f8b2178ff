"""Matrices of bytes with one scale for each row, in a quarter of the size."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from embplug.methods.kernels import load
from embplug.methods.kernels.bases import RoundedRows, rounds_rows
from embplug.methods.kernels.highest import Panels
from embplug.methods.kernels.tables import tiles
from embplug.methods.kernels.weighted_rows import weighted_rows
from embplug.methods.numeric.partition import Float32

LIMIT = 127

FEW = 4
"""Weighted sums up to which reading bytes is faster than BLAS, which reads four times as much."""


@dataclass(frozen=True, eq=False)
class ScaledRows:
    """A matrix of rounded numbers.

    Attributes
    ----------
    codes : int8, or floats that are not rounded (rows, columns)
    scales : float32 (rows,)
        Row ``i`` of the matrix is ``scales[i] * codes[i]``.
    """

    codes: NDArray[Any]
    scales: Float32

    @classmethod
    def round(cls, matrix: Float32) -> Self:
        """Round each row of a float32 matrix (rows, columns) to 255 equal steps around zero."""
        largest = np.abs(matrix).max(axis=1, initial=0)
        steps = np.where(largest > 0, largest / np.float32(LIMIT), np.float32(1))
        # A row of numbers so small that its step would be zero is zero.
        scales = np.maximum(steps, np.finfo(np.float32).tiny).astype(np.float32)
        codes = np.rint(matrix / scales[:, None])
        return cls(codes.astype(np.int8), scales)

    @classmethod
    def exact(cls, matrix: NDArray[Any]) -> Self:
        """Take float32 or float16 numbers (rows, columns) as they are."""
        return cls(matrix, np.ones(len(matrix), dtype=np.float32))

    @property
    def is_rounded(self) -> bool:
        """Whether the numbers are bytes."""
        return self.codes.dtype == np.int8

    @property
    def shape(self) -> tuple[int, int]:
        """Numbers of rows and columns."""
        rows, columns = self.codes.shape
        return rows, columns

    @cached_property
    def values(self) -> Float32:
        """The matrix as float32 (rows, columns), kept after the first use."""
        values: Float32 = self.codes.astype(np.float32) * self.scales[:, None]
        return values

    @cached_property
    def panels(self) -> Panels:
        """The codes in the order in which the kernel compares with them, kept after the first use."""
        return Panels.of(self.codes)

    @cached_property
    def _unscaled(self) -> Float32:
        return self.codes.astype(np.float32)

    @cached_property
    def _bases(self) -> RoundedRows:
        return RoundedRows(self.values)

    def products(self, points: Float32) -> Float32:
        """Products (rows, n) with points (n, columns), which are rounded to bytes as the rows are.

        Sums of products of bytes are whole numbers, so that the kernel and BLAS compute the same.
        """
        products: Float32
        kernel = load()
        if not self.is_rounded:
            products = self.values @ points.T
        elif kernel is not None and rounds_rows(kernel):
            products = np.empty((len(self.codes), len(points)), dtype=np.float32)
            done = 0
            for tile, count in tiles(points):
                some = self._bases.products_in_float32(kernel, tile)
                products[:, done : done + count] = some[:, :count]
                done += count
        else:
            rounded = ScaledRows.round(points)
            products = self._unscaled @ rounded._unscaled.T
            products *= rounded.scales
            products *= self.scales[:, None]
        return products

    def weighted_sums(self, weights: Float32) -> Float32:
        """Sums (n, columns) of the rows, each times its weight (n, rows)."""
        kernel = load()
        if kernel is not None and self.is_rounded and len(weights) <= FEW:
            return weighted_rows(kernel, self.codes, weights * self.scales)
        sums: Float32 = weights @ self.values
        return sums
