"""Learned arrays as they are stored: their types and shapes, and the check of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from embplug.errors import StateError
from embplug.methods.numeric.arrays import State


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
    """

    dtype: type[np.generic]
    shape: tuple[int | str, ...] = ()
    memory: type[np.generic] | None = None

    def in_memory(self, array: NDArray[Any]) -> Any:
        """Convert a stored array to its type in memory; a scalar becomes a Python number."""
        if self.shape == ():
            return array.item()
        return array.astype(self.memory or self.dtype, copy=False)


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
        arrays[name] = array
    return arrays


def _fits(shape: tuple[int, ...], expected: tuple[int | str, ...], sizes: dict[str, int]) -> bool:
    """Whether a shape is the expected one; sizes of names that are new are noted."""
    if len(shape) != len(expected):
        return False
    for size, spec in zip(shape, expected, strict=True):
        if (sizes.setdefault(spec, size) if isinstance(spec, str) else spec) != size:
            return False
    return True
