"""Numbers of a few bits each, packed into bytes without gaps."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embplug.methods.numeric.arrays import Codes


def packed_bytes(widths: Sequence[int]) -> int:
    """Bytes that fields of these many bits take together."""
    return -(-sum(widths) // 8)


def pack(fields: NDArray[Any], widths: Sequence[int]) -> Codes:
    """Pack unsigned integers (n, m), field ``j`` in ``widths[j]`` bits, highest bit first.

    Fields of one width that is 1, 2, 4, 8 or 16 take a fast path with the same result.

    Returns
    -------
    uint8 (n, packed_bytes(widths))
    """
    widths = list(widths)
    if not widths or sum(widths) == 0:
        return np.zeros((len(fields), 0), dtype=np.uint8)
    if set(widths) == {8}:
        return np.ascontiguousarray(fields, dtype=np.uint8)
    if set(widths) == {16}:
        return np.ascontiguousarray(fields, dtype=">u2").view(np.uint8)
    width = widths[0]
    if set(widths) <= {1, 2, 4} and len(set(widths)) == 1:
        if width == 1:
            return np.packbits(np.asarray(fields, dtype=np.uint8), axis=1)
        per_byte = 8 // width
        padded = np.zeros((len(fields), packed_bytes(widths) * per_byte), dtype=np.uint8)
        padded[:, : len(widths)] = fields
        shifted = [padded[:, place::per_byte] << (8 - width * (place + 1)) for place in range(per_byte)]
        return np.asarray(np.bitwise_or.reduce(shifted), dtype=np.uint8)
    column, shift = _bit_places(widths)
    numbers = np.asarray(fields, dtype=np.uint32)
    packed = np.empty((len(fields), packed_bytes(widths)), dtype=np.uint8)
    for rows in _chunks(len(fields), len(column)):
        bits = (numbers[rows][:, column] >> shift).astype(np.uint8) & 1
        packed[rows] = np.packbits(bits, axis=1)
    return packed


def unpack(packed: Codes, widths: Sequence[int]) -> NDArray[Any]:
    """Undo :func:`pack`.

    Returns
    -------
    uint8 (n, m) where all widths are at most 8, uint32 otherwise
    """
    widths = list(widths)
    narrow = all(width <= 8 for width in widths)
    fields = np.zeros((len(packed), len(widths)), dtype=np.uint8 if narrow else np.uint32)
    start = 0
    for j, width in enumerate(widths):
        if width == 0:
            continue
        first, last = start // 8, (start + width - 1) // 8
        if first == last:
            number = packed[:, first] >> (8 * (last + 1) - start - width)
        else:
            number = packed[:, first].astype(np.uint32)
            for byte in range(first + 1, last + 1):
                number = (number << 8) | packed[:, byte]
            number >>= 8 * (last + 1) - start - width
        fields[:, j] = number & ((1 << width) - 1)
        start += width
    return fields


def _bit_places(widths: Sequence[int]) -> tuple[NDArray[np.intp], NDArray[np.uint32]]:
    """Field and shift of every bit in the order in which they are packed."""
    column = np.repeat(np.arange(len(widths)), widths)
    shift = np.concatenate([np.arange(width)[::-1] for width in widths if width]).astype(np.uint32)
    return column, shift


def _chunks(rows: int, bits: int) -> list[slice]:
    step = max(1, (1 << 22) // max(bits, 1))
    return [slice(start, start + step) for start in range(0, rows, step)]
