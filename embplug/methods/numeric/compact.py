"""Learned arrays in half a byte to two bytes a number: what is stored is what is computed with."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embplug.methods.numeric.arrays import Float32, State
from embplug.methods.numeric.packing import pack, unpack
from embplug.methods.stored import StoredArray

LARGEST_ERROR = 2.0**-10
"""Largest error of float16, as a share of the largest number, at which float16 is used."""

LARGEST_BYTE = 127

LARGEST_NIBBLE, NIBBLE_MIDDLE = 7, 8
CLIPPED = np.linspace(0.5, 1, 11, dtype=np.float32)
"""Shares of the largest number of a row at which it may be clipped."""

LOW_DIGITS = (1 << 12) - 1
"""Last digits of a float32, which scales of bytes do without."""

SCALES = "_scales"
"""End of the names of arrays of scales in a state."""

NEWTON_SCHULZ_STEPS = 3
"""Each squares the error of rounded directions, which is some 2 % at first."""

MOST_SKEWED = 0.2
"""Largest error of rounded directions at which these steps lead to orthonormal ones."""

POWER_STEPS = 12


def in_nibbles(name: str, rows: ArrayLike) -> State:
    """Rows (n, d) in half a byte a number, as arrays that :func:`restored` reads with ``axis=1``.

    Each row has the scale of which its rounded numbers are closest to it.
    """
    floats = np.asarray(rows, dtype=np.float32)
    units = np.abs(floats).max(axis=1, initial=0, keepdims=True) / np.float32(LARGEST_NIBBLE)
    codes, scales = np.zeros_like(floats, dtype=np.uint8), np.ones_like(units)
    least = np.full_like(units, np.inf)
    for share in CLIPPED:
        own = np.maximum(units * share, np.finfo(np.float32).tiny)
        rounded = np.clip(np.rint(floats / own), -LARGEST_NIBBLE, LARGEST_NIBBLE)
        # In units of the row, because squares of small numbers are zero.
        errors = np.square((rounded * own - floats) / np.maximum(units, own)).sum(axis=1, keepdims=True)
        closer = errors < least
        codes = np.where(closer, rounded + NIBBLE_MIDDLE, codes).astype(np.uint8)
        scales, least = np.where(closer, own, scales), np.where(closer, errors, least)
    return {name: pack(codes, [4] * codes.shape[1]), name + SCALES: scales.reshape(-1)}


def _from_nibbles(packed: NDArray[np.uint8], scales: Float32) -> Float32:
    codes = unpack(packed, [4] * _nibble_columns(packed))
    centred: Float32 = codes.astype(np.float32) - np.float32(NIBBLE_MIDDLE)
    return np.asarray(centred * scales[:, None], dtype=np.float32)


def _nibble_columns(packed: NDArray[np.uint8]) -> int:
    # An odd number of columns is filled up with a code that no number has.
    is_filled_up = packed.size > 0 and not (packed[:, -1] & 0x0F).any()
    return int(2 * packed.shape[1] - is_filled_up)


def halved(array: ArrayLike) -> NDArray[Any]:
    """The array as float16, or as float32 where its numbers are too large or too small for float16."""
    floats = np.asarray(array, dtype=np.float32)
    with np.errstate(over="ignore"):
        halves = floats.astype(np.float16)
    largest = np.abs(floats).max(initial=0)
    exact_enough = np.abs(halves.astype(np.float32) - floats).max(initial=0) <= LARGEST_ERROR * largest
    return halves if exact_enough else floats


def rounded_to_bytes(array: ArrayLike, axis: int) -> Float32:
    """The array (n, d) rounded to bytes and scales that are constant along ``axis``."""
    return _from_bytes(*_to_bytes(array, axis), axis)


def compact_state(name: str, array: Float32, axis: int) -> dict[str, NDArray[Any]]:
    """Arrays that :func:`restored` reads: bytes where these are exact, else float16 or float32."""
    codes, scales = _to_bytes(array, axis)
    if array.size and np.array_equal(_from_bytes(codes, scales, axis), array):
        return {name: codes, name + SCALES: scales}
    return {name: halved(array)}


def restored(state: Mapping[str, NDArray[Any]], name: str, axis: int) -> Float32:
    """The array of float32 that :func:`compact_state`, :func:`in_nibbles` or :func:`halved` stored."""
    array = state[name]
    if array.dtype == np.uint8:
        return _from_nibbles(array, state[name + SCALES])
    if array.dtype == np.int8:
        return _from_bytes(array, state[name + SCALES], axis)
    return np.ascontiguousarray(array, dtype=np.float32)


def columns_of(state: Mapping[str, NDArray[Any]], name: str) -> int:
    """Number of columns of the array that :func:`restored` returns, without restoring it."""
    array = state[name]
    return _nibble_columns(array) if array.dtype == np.uint8 else int(array.shape[1])


def stored_compact(
    state: Mapping[str, NDArray[Any]], name: str, shape: tuple[int | str, int | str], axis: int
) -> dict[str, StoredArray]:
    """Types and shapes of what :func:`compact_state` or :func:`in_nibbles` returns."""
    dtype = np.asarray(state.get(name)).dtype
    if dtype == np.uint8 and axis == 1:
        codes = StoredArray(np.uint8, (shape[0], f"half of {shape[1]}"))
    elif dtype == np.int8:
        codes = StoredArray(np.int8, shape, low=-LARGEST_BYTE)
    else:
        return {name: stored_floats(state, name, shape)}
    return {name: codes, name + SCALES: StoredArray(np.float32, (shape[1 - axis],), low=0)}


def _to_bytes(array: ArrayLike, axis: int) -> tuple[NDArray[np.int8], Float32]:
    """The array as bytes and the scales that they are multiplied by, which are constant along ``axis``.

    The scales have so few digits that their products with bytes are exact: what was rounded once is not
    rounded again.
    """
    floats = np.asarray(array, dtype=np.float32)
    largest = np.abs(floats).max(axis=axis, initial=0, keepdims=True)
    scales = np.maximum(largest / np.float32(LARGEST_BYTE), np.finfo(np.float32).tiny)
    digits = scales.view(np.uint32) + np.uint32(LOW_DIGITS)
    scales = (digits & ~np.uint32(LOW_DIGITS)).view(np.float32)
    return np.rint(floats / scales).astype(np.int8), scales.reshape(-1)


def _from_bytes(codes: NDArray[np.int8], scales: Float32, axis: int) -> Float32:
    return codes.astype(np.float32) * np.expand_dims(scales, axis)


def directions_in_bytes(columns: ArrayLike) -> NDArray[Any]:
    """Orthonormal columns (dim, n) in a byte a number; :func:`orthonormal` reads them.

    They stay float32 where rounding would skew them too much: if many columns have one large number, and
    small ones that are all rounded in the same direction.
    """
    floats = np.asarray(columns, dtype=np.float64)
    largest = np.abs(floats).max(axis=0, initial=0)
    rounded = np.rint(floats * (LARGEST_BYTE / np.where(largest > 0, largest, 1)))
    return floats.astype(np.float32) if _skew(rounded) > MOST_SKEWED else rounded.astype(np.int8)


def orthonormal(stored: NDArray[Any]) -> Float32:
    """Columns (dim, n) that were rounded to bytes, orthonormal again; those of float32 as they are."""
    if stored.dtype != np.int8:
        return np.ascontiguousarray(stored, dtype=np.float32)
    columns = _unit_columns(stored)
    for _ in range(NEWTON_SCHULZ_STEPS):
        columns = 1.5 * columns - 0.5 * columns @ (columns.T @ columns)
    return np.ascontiguousarray(columns, dtype=np.float32)


def _unit_columns(stored: NDArray[Any]) -> NDArray[np.float64]:
    columns = stored.astype(np.float64)
    lengths = np.linalg.norm(columns, axis=0)
    columns /= np.where(lengths > 0, lengths, 1)
    return columns


def _skew(rounded: NDArray[Any]) -> float:
    """How far the product of unit columns with themselves is from the identity: its largest eigenvalue."""
    columns = _unit_columns(rounded)
    vector = np.random.default_rng(0).standard_normal(columns.shape[1])
    size = 0.0
    for _ in range(POWER_STEPS):
        length = np.linalg.norm(vector)
        vector /= length if length > 0 else 1
        vector = columns.T @ (columns @ vector) - vector
        size = float(np.linalg.norm(vector))
    return size


def stored_directions(
    state: Mapping[str, NDArray[Any]], name: str, shape: tuple[int | str, ...]
) -> StoredArray:
    """Type and shape of directions in bytes, or in float32."""
    in_bytes = np.asarray(state.get(name)).dtype == np.int8
    dtype, low = (np.int8, -LARGEST_BYTE) if in_bytes else (np.float32, None)
    return StoredArray(dtype, shape, low=low, orthonormal="columns")


def stored_floats(state: Mapping[str, NDArray[Any]], name: str, shape: tuple[int | str, ...]) -> StoredArray:
    """Type and shape of an array that :func:`halved` made: float16, or float32."""
    is_half = np.asarray(state.get(name)).dtype == np.float16
    return StoredArray(np.float16 if is_half else np.float32, shape)
