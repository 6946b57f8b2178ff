"""Learned arrays as they are stored: their types and shapes, and the check of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray

from embplug.errors import StateError
from embplug.methods.numeric.arrays import LARGEST_NUMBER, State

MOST_DIMS = 65536
"""Qdrant stores no longer vectors."""

LARGEST = 2.0**60
"""No learned value is larger, but those with a bound of their own, and squares of smaller ones are finite."""

LARGEST_VARIANCE = MOST_DIMS * LARGEST_NUMBER**2
"""No variance of vectors that are taken is larger."""

ORTHONORMAL_WITHIN = 0.01
ORTHONORMAL_BYTES_WITHIN = 0.06
"""Relative error of lengths that is taken for rounding, to float16 and to bytes."""


class StoredArray(NamedTuple):
    """Type and shape of an array of a state.

    Attributes
    ----------
    dtype
        Type in which the array is stored.
    shape
        Size of each axis. A name in place of a number stands for one size, which is the same wherever the
        name occurs in the arrays of a state.
    memory
        Type of the array in memory, if that differs.
    low, high
        Bounds of the values. Integers are at least 0 unless ``low`` says otherwise.
    ascending
        Whether each value is at least as large as the one before it.
    orthonormal
        Whether the rows or the columns are of length 1 and at right angles. Columns of bytes may have any
        length.
    may_be_empty
        Whether an axis may have the size 0.
    """

    dtype: type[np.generic]
    shape: tuple[int | str, ...] = ()
    memory: type[np.generic] | None = None
    low: float | None = None
    high: float | None = None
    ascending: bool = False
    orthonormal: Literal["rows", "columns"] | None = None
    may_be_empty: bool = False

    def in_memory(self, array: NDArray[Any]) -> Any:
        """Convert a stored array to its type in memory; a scalar becomes a Python number."""
        if self.shape == ():
            return array.item()
        return array.astype(self.memory or self.dtype, copy=False)

    def complaint(self, array: NDArray[Any]) -> str | None:
        """Say which values are expected, if the array holds others."""
        if array.size == 0:
            return None if self.may_be_empty else "at least one value"
        if not np.isfinite(array).all() or (self.high is None and float(np.abs(array).max()) > LARGEST):
            return "finite numbers"
        low = 0 if self.low is None and array.dtype.kind == "i" else self.low
        if low is not None and array.min() < low:
            return f"values of at least {low:g}"
        if self.high is not None and array.max() > self.high:
            return f"values of at most {self.high:g}"
        if self.ascending and (np.diff(array) < 0).any():
            return "ascending values"
        if self.orthonormal is not None and not _is_orthonormal(array, self.orthonormal):
            return f"orthonormal {self.orthonormal}"
        return None


def checked_state(
    owner: str, state: Mapping[str, NDArray[Any]], expected: Mapping[str, StoredArray]
) -> State:
    """Return the arrays of a state if they have the names, types and shapes that are expected.

    Raises
    ------
    StateError
        The error names the first array that is missing, unknown, or of another type or shape.
    """
    unknown = sorted(set(state) - set(expected))
    if unknown:
        raise StateError(
            f"state {unknown[0]!r} is unknown to {owner}: expected {sorted(expected)}, got {sorted(state)}"
        )
    arrays: State = {}
    sizes: dict[str, int] = {}
    for name, spec in expected.items():
        if name not in state:
            raise StateError(
                f"state {name!r} of {owner} is missing: expected {sorted(expected)}, got {sorted(state)}"
            )
        array = np.asarray(state[name])
        if array.dtype != spec.dtype or not _fits(array.shape, spec.shape, sizes):
            shape = tuple(sizes.get(size, size) if isinstance(size, str) else size for size in spec.shape)
            shown = "(" + ", ".join(map(str, shape)) + ("," if len(shape) == 1 else "") + ")"
            raise StateError(
                f"state {name!r} of {owner}: expected {np.dtype(spec.dtype)} {shown}, "
                f"got {array.dtype} {array.shape}"
            )
        complaint = spec.complaint(array)
        if complaint is not None:
            raise StateError(f"state {name!r} of {owner}: expected {complaint}, got others")
        arrays[name] = array
    return arrays


def _is_orthonormal(matrix: NDArray[Any], which: Literal["rows", "columns"]) -> bool:
    """Whether a few random vectors keep their length, which takes less than the product of all rows."""
    within = ORTHONORMAL_WITHIN
    if matrix.dtype == np.int8:
        scales = np.linalg.norm(matrix.astype(np.float64), axis=0)
        matrix, within = matrix / np.where(scales > 0, scales, 1), ORTHONORMAL_BYTES_WITHIN
    turned = matrix.T if which == "rows" else matrix
    if turned.shape[0] < turned.shape[1]:
        return False
    probes = np.random.default_rng(0).standard_normal((turned.shape[1], 4))
    lengths = np.linalg.norm(turned @ probes, axis=0) / np.linalg.norm(probes, axis=0)
    return bool((np.abs(lengths - 1) < within).all())


def _fits(shape: tuple[int, ...], expected: tuple[int | str, ...], sizes: dict[str, int]) -> bool:
    """Whether a shape is the expected one; sizes of names that are new are noted."""
    if len(shape) != len(expected):
        return False
    for size, spec in zip(shape, expected, strict=True):
        if (sizes.setdefault(spec, size) if isinstance(spec, str) else spec) != size:
            return False
    return True
