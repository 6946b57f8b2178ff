"""Matrices of bytes with one scale for each row, in a quarter of the size."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cached_property
from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import Self

from embplug.methods.kernels.highest import Panels
from embplug.methods.numeric.partition import Float32

LIMIT = 127


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

    def weighted_sums(self, weights: Float32) -> Float32:
        """Sums (n, columns) of the rows, each times its weight (n, rows)."""
        sums: Float32 = weights @ self.values
        return sums
