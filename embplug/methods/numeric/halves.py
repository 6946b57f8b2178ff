"""Learned arrays in half precision: what is stored is what is computed with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embplug.methods.numeric.arrays import Float32
from embplug.methods.stored import StoredArray

LARGEST_ERROR = 2.0**-10
"""Largest error of float16, as a share of the largest number, at which float16 is used."""


def halved(array: ArrayLike) -> NDArray[Any]:
    """The array as float16, or as float32 where its numbers are too large or too small for float16."""
    floats = np.asarray(array, dtype=np.float32)
    with np.errstate(over="ignore"):
        halves = floats.astype(np.float16)
    largest = np.abs(floats).max(initial=0)
    exact_enough = np.abs(halves.astype(np.float32) - floats).max(initial=0) <= LARGEST_ERROR * largest
    return halves if exact_enough else floats


def orthonormal(stored: NDArray[Any]) -> Float32:
    """Nearly orthonormal columns (dim, n) that were rounded to float16, made orthonormal again.

    Columns of float32 are returned as they are.
    """
    if stored.dtype != np.float16:
        return np.ascontiguousarray(stored, dtype=np.float32)
    # One step of Newton and Schulz squares the error, from 1e-3 to 1e-6.
    columns = stored.astype(np.float64)
    return np.ascontiguousarray(1.5 * columns - 0.5 * columns @ (columns.T @ columns), dtype=np.float32)


def stored_floats(state: Mapping[str, NDArray[Any]], name: str, shape: tuple[int | str, ...]) -> StoredArray:
    """Type and shape of an array that :func:`halved` made: float16, or float32."""
    is_half = np.asarray(state.get(name)).dtype == np.float16
    return StoredArray(np.float16 if is_half else np.float32, shape)
