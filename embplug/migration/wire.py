"""Points read from the bytes of gRPC answers: a Python object per number or field takes far longer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from embplug.points import PAYLOAD_TAG, WirePayload

Float32: TypeAlias = NDArray[np.float32]

# Numbers of the fields in Qdrant's points.proto.
_ID, _PAYLOAD, _VECTORS = 1, 2, 4
_NUM, _UUID = 1, 2
_UNNAMED, _NAMED = 1, 2
_KEY, _VALUE = 1, 2
_DATA, _VECTORS_COUNT, _DENSE, _MULTI = 1, 3, 101, 103

_VARINT, _BYTES = 0, 2
_FIXED_SIZES = {1: 8, 5: 4}


def read_point(
    message: Any, wanted: Sequence[str]
) -> tuple[int | str, WirePayload, dict[str, Float32], bytes]:
    """Id, payload, the wanted vectors and the bytes of a ``RetrievedPoint``."""
    # Deterministic: the same point is the same bytes whenever it is read.
    wire = message.SerializeToString(deterministic=True)
    point_id: int | str = 0
    entries: list[bytes] = []
    vectors: dict[str, Float32] = {}
    for number, start, stop in _fields(wire, 0, len(wire)):
        if number == _PAYLOAD:
            entries.append(PAYLOAD_TAG + _length(stop - start) + wire[start:stop])
        elif number == _ID:
            for kind, first, last in _fields(wire, start, stop):
                point_id = wire[first:last].decode() if kind == _UUID else _varint(wire, first)[0]
        elif number == _VECTORS:
            vectors = {name: vector for name, vector in _vectors(wire, start, stop) if name in wanted}
    return point_id, WirePayload(b"".join(entries)), vectors, wire


def _vectors(wire: bytes, start: int, stop: int) -> Iterator[tuple[str, Float32]]:
    for number, first, last in _fields(wire, start, stop):
        if number == _UNNAMED:
            yield from _named("", wire, first, last)
        elif number == _NAMED:
            for _, entry, end in _fields(wire, first, last):
                parts = {kind: (at, to) for kind, at, to in _fields(wire, entry, end)}
                name = wire[slice(*parts[_KEY])].decode() if _KEY in parts else ""
                if _VALUE in parts:
                    yield from _named(name, wire, *parts[_VALUE])


def _named(name: str, wire: bytes, start: int, stop: int) -> Iterator[tuple[str, Float32]]:
    """A dense or multi-vector; of a sparse one nothing."""
    parts = {number: (first, last) for number, first, last in _fields(wire, start, stop)}
    if _DENSE in parts:
        yield name, _floats(wire, *parts[_DENSE])
    elif _MULTI in parts:
        rows = [_floats(wire, first, last) for _, first, last in _fields(wire, *parts[_MULTI])]
        if rows:
            yield name, np.stack(rows)
    elif _DATA in parts and not parts.keys() - {_DATA, _VECTORS_COUNT}:
        # Servers before 1.17 tell all in fields that are deprecated since.
        flat = _array(wire, *parts[_DATA])
        count = _varint(wire, parts[_VECTORS_COUNT][0])[0] if _VECTORS_COUNT in parts else 0
        yield name, flat.reshape(count, -1) if count else flat


def _floats(wire: bytes, start: int, stop: int) -> Float32:
    """The only field of a message that is a list of floats."""
    return next((_array(wire, first, last) for _, first, last in _fields(wire, start, stop)), _NOTHING)


def _array(wire: bytes, start: int, stop: int) -> Float32:
    return np.frombuffer(wire, dtype="<f4", count=(stop - start) // 4, offset=start)


def _fields(wire: bytes, start: int, stop: int) -> Iterator[tuple[int, int, int]]:
    """(number, start, stop) of each field's value."""
    while start < stop:
        tag, start = _varint(wire, start)
        kind = tag & 7
        if kind == _BYTES:
            size, start = _varint(wire, start)
            end = start + size
        elif kind == _VARINT:
            end = _varint(wire, start)[1]
        else:
            end = start + _FIXED_SIZES[kind]
        yield tag >> 3, start, end
        start = end


def _varint(wire: bytes, start: int) -> tuple[int, int]:
    """A number, and where it ends."""
    byte = wire[start]
    if byte < 0x80:
        return byte, start + 1
    value, shift = byte & 0x7F, 7
    while byte >= 0x80:
        start += 1
        byte = wire[start]
        value |= (byte & 0x7F) << shift
        shift += 7
    return value, start + 1


def _length(size: int) -> bytes:
    """A number as a varint."""
    written = bytearray()
    while size >= 0x80:
        written.append(size & 0x7F | 0x80)
        size >>= 7
    written.append(size)
    return bytes(written)


_NOTHING: Float32 = np.empty(0, dtype=np.float32)
