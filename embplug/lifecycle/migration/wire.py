"""Points read from the bytes of gRPC answers: a Python object per number or field takes far longer."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from embplug.branches.points import PAYLOAD_TAG, WirePayload

Float32: TypeAlias = NDArray[np.float32]
Bytes: TypeAlias = NDArray[np.uint8]
Places: TypeAlias = NDArray[np.int64]
Span: TypeAlias = tuple[int, int]

TERMS = np.dtype([("index", "<u4"), ("weight", "<f4")])
"""Of a sparse vector."""


@dataclass(frozen=True)
class _Sparse:
    """Where the indices and the weights of a sparse vector are."""

    indices: Span
    weights: Span


# Numbers of the fields in Qdrant's points.proto.
_ID, _PAYLOAD, _VECTORS = 1, 2, 4
_UUID = 2
_UNNAMED, _NAMED = 1, 2
_KEY, _VALUE = 1, 2
_DATA, _INDICES, _VECTORS_COUNT, _DENSE, _SPARSE, _MULTI = 1, 2, 3, 101, 102, 103
_WEIGHTS, _TERM_IDS = 1, 2

_VARINT, _BYTES = 0, 2
_LOW = np.uint64(0x7F)
_FIXED_SIZES = {1: 8, 5: 4}


def read_points(
    answer: Any, names: Sequence[str]
) -> tuple[list[int | str], list[WirePayload], list[dict[str, NDArray[Any]]], list[bytes]]:
    """Id, payload, the wanted vectors and the bytes of each ``RetrievedPoint`` of an answer."""
    answer.DiscardUnknownFields()
    # Deterministic: the same point is the same bytes whenever it is read.
    wires = [point.SerializeToString(deterministic=True) for point in answer.result]
    if not wires:
        return [], [], [], []
    sizes = np.fromiter(map(len, wires), dtype=np.int64, count=len(wires))
    stops = np.cumsum(sizes)
    patched = np.frombuffer(bytearray(b"".join(wires)), dtype=np.uint8)
    where, entries = _walk(patched, stops - sizes, stops)
    patched[entries] = PAYLOAD_TAG[0]
    wire = patched.tobytes()
    first, last = where[_PAYLOAD]
    payloads = [WirePayload(wire[start:stop]) for start, stop in _pairs(first, last)]
    return _ids(wire, *where[_ID]), payloads, _all_vectors(wire, *where[_VECTORS], names), wires


def _walk(wire: Bytes, starts: Places, stops: Places) -> tuple[dict[int, tuple[Places, Places]], Places]:
    """Where id, payload and vectors are in each ``RetrievedPoint``, and where each entry of payloads begins.

    All points are walked at once, the first field of each, then the second. Every field is a message,
    and the entries of a payload stand one behind the other.
    """
    where = {number: (np.zeros_like(starts), np.zeros_like(starts)) for number in (_ID, _PAYLOAD, _VECTORS)}
    entries = []
    at, rows = starts.copy(), np.arange(len(starts))
    while rows.size:
        tags = at[rows]
        sizes, values = _varints(wire, tags + 1)
        ends = values + sizes.astype(np.int64)
        numbers = wire[tags] >> 3
        for number, (first, last) in where.items():
            these = numbers == number
            chosen = rows[these]
            if number == _PAYLOAD:
                entries.append(tags[these])
                first[chosen] = np.where(last[chosen] > 0, first[chosen], tags[these])
            else:
                first[chosen] = values[these]
            last[chosen] = ends[these]
        at[rows] = ends
        rows = rows[ends < stops[rows]]
    return where, np.concatenate(entries)


def _varints(wire: Bytes, at: Places) -> tuple[NDArray[np.uint64], Places]:
    """A number at each place, and where it ends."""
    read = wire[at].astype(np.uint64)
    numbers, ends = read & _LOW, at + 1
    longer, shift = np.flatnonzero(read > _LOW), 7
    while longer.size:
        read = wire[ends[longer]].astype(np.uint64)
        numbers[longer] |= (read & _LOW) << np.uint64(shift)
        ends[longer] += 1
        longer, shift = longer[read > _LOW], shift + 7
    return numbers, ends


def _ids(wire: bytes, starts: Places, stops: Places) -> list[int | str]:
    """Of each message either the number or the UUID, behind a byte that tells which."""
    whole = np.frombuffer(wire, dtype=np.uint8)
    numbers, values = _varints(whole, starts + 1)
    ids: list[int | str] = numbers.tolist()
    uuids = np.flatnonzero(whole[starts] >> 3 == _UUID)
    for row, (start, stop) in zip(uuids.tolist(), _pairs(values[uuids], stops[uuids]), strict=True):
        ids[row] = wire[start:stop].decode()
    return ids


def _all_vectors(
    wire: bytes, starts: Places, stops: Places, names: Sequence[str]
) -> list[dict[str, NDArray[Any]]]:
    """The wanted vectors in each ``VectorsOutput``; dense ones mostly stand at the same places in it."""
    sizes = stops - starts
    model = int(sizes.argmax())
    begin, end = int(starts[model]), int(stops[model])
    vectors = list(_vectors(wire, begin, end))
    spans = [(name, *value) for name, value in vectors if isinstance(value, tuple)]
    same = sizes == (end - begin if len(spans) == len(vectors) else -1)
    edges = [begin, *(edge for _, *span in spans for edge in span), end]
    whole = np.frombuffer(wire, dtype=np.uint8)
    for first, last in zip(edges[::2], edges[1::2], strict=True):
        rows = np.flatnonzero(same)
        places = np.arange(first, last) - begin
        same[rows] = (whole[starts[rows, None] + places] == whole[first:last]).all(axis=1)
    offsets = [(name, first - begin, (last - first) // 4) for name, first, last in spans if name in names]
    return [
        {name: np.frombuffer(wire, "<f4", count, start + at) for name, at, count in offsets}
        if alike
        else {n: _values(wire, value) for n, value in _vectors(wire, start, stop) if n in names}
        for alike, (start, stop) in zip(same.tolist(), _pairs(starts, stops), strict=True)
    ]


def _pairs(starts: Places, stops: Places) -> Iterator[tuple[int, int]]:
    return zip(starts.tolist(), stops.tolist(), strict=True)


def _values(wire: bytes, value: Span | Float32 | _Sparse) -> NDArray[Any]:
    if isinstance(value, _Sparse):
        return terms(_packed(wire, *value.indices), _array(wire, *value.weights))
    return _array(wire, *value) if isinstance(value, tuple) else value


def terms(indices: Any, weights: Any) -> NDArray[Any]:
    """A sparse vector as an array of ``TERMS``."""
    vector = np.empty(len(indices), dtype=TERMS)
    vector["index"], vector["weight"] = indices, weights
    return vector


def _packed(wire: bytes, start: int, stop: int) -> NDArray[np.uint64]:
    """Integers of a list, each of which takes as many bytes as it needs."""
    whole = np.frombuffer(wire, dtype=np.uint8, count=stop - start, offset=start)
    lasts = np.flatnonzero(whole < 0x80)
    return _varints(whole, np.concatenate([[0], lasts[:-1] + 1]))[0] if lasts.size else np.empty(0, np.uint64)


def _vectors(wire: bytes, start: int, stop: int) -> Iterator[tuple[str, Span | Float32 | _Sparse]]:
    for number, first, last in _fields(wire, start, stop):
        if number == _UNNAMED:
            yield from _named("", wire, first, last)
        elif number == _NAMED:
            for _, entry, end in _fields(wire, first, last):
                parts = {kind: (at, to) for kind, at, to in _fields(wire, entry, end)}
                name = wire[slice(*parts[_KEY])].decode() if _KEY in parts else ""
                if _VALUE in parts:
                    yield from _named(name, wire, *parts[_VALUE])


def _named(name: str, wire: bytes, start: int, stop: int) -> Iterator[tuple[str, Span | Float32 | _Sparse]]:
    """Where a dense or sparse vector is, or a multivector."""
    parts = {number: (first, last) for number, first, last in _fields(wire, start, stop)}
    if _DENSE in parts:
        yield name, _span(wire, *parts[_DENSE])
    elif _MULTI in parts:
        first, last = parts[_MULTI]
        if last > first:
            yield name, _rows(wire, first, last)
    elif _SPARSE in parts:
        own = {number: (first, last) for number, first, last in _fields(wire, *parts[_SPARSE])}
        yield name, _Sparse(own.get(_TERM_IDS, (stop, stop)), own.get(_WEIGHTS, (stop, stop)))
    elif _INDICES in parts:
        yield name, _Sparse(_span(wire, *parts[_INDICES]), parts.get(_DATA, (stop, stop)))
    elif _DATA in parts and not parts.keys() - {_DATA, _VECTORS_COUNT}:
        # Servers before 1.17 tell all in fields that are deprecated since.
        if _VECTORS_COUNT not in parts:
            yield name, parts[_DATA]
        else:
            count = _varint(wire, parts[_VECTORS_COUNT][0])[0]
            yield name, _array(wire, *parts[_DATA]).reshape(count, -1)


def _rows(wire: bytes, start: int, stop: int) -> Float32:
    """A matrix, each row of which stands behind the same few bytes."""
    _, first, end = next(_fields(wire, start, stop))
    head = _span(wire, first, end)[0] - start
    rows = np.frombuffer(wire, np.uint8, stop - start, start).reshape(-1, end - start)
    return np.ascontiguousarray(rows[:, head:]).view("<f4")


def _span(wire: bytes, start: int, stop: int) -> Span:
    """Of the only field of a message that is a list of floats."""
    return next(((first, last) for _, first, last in _fields(wire, start, stop)), (stop, stop))


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
