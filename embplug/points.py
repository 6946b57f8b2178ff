"""Vectors of a batch as points, in the form that the engine reads fastest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from qdrant_client import grpc, models
from qdrant_client.conversions.conversion import grpc_to_payload, json_to_value

from embplug.multivector.token_batch import TokenBatch
from embplug.sparse import SparseBatch

Column: TypeAlias = "NDArray[Any] | TokenBatch | SparseBatch"
Vectors: TypeAlias = dict[str, Column]
"""Name of the vector -> ``(n, dim)``, a TokenBatch of n matrices, or a SparseBatch of n vectors."""


def rest_points(
    ids: list[int | str], vectors: Vectors, payloads: Sequence[Mapping[str, Any]], *, as_lists: bool
) -> Iterator[models.PointStruct]:
    """Points as qdrant-client's models, not validated again: the arrays were checked when they came."""
    columns = {name: _values(column, as_lists) for name, column in vectors.items()}
    for i, (point_id, payload) in enumerate(zip(ids, payloads, strict=True)):
        vector = {name: column[i] for name, column in columns.items()}
        yield models.PointStruct.model_construct(id=point_id, vector=vector, payload=dict(payload))


PAYLOAD_TAG = b"\x1a"
"""Of a field of the payload in the bytes of a ``PointStruct``."""


class WirePayload(Mapping[str, Any]):
    """A payload as the bytes of a message: it is sent on without becoming Python objects, unless it is read.

    Parameters
    ----------
    entries
        The payload of a serialized ``PointStruct``.
    """

    __slots__ = ("_read", "entries")

    def __init__(self, entries: bytes) -> None:
        self.entries = entries
        self._read: dict[str, Any] | None = None

    def _fields(self) -> dict[str, Any]:
        if self._read is None:
            self._read = grpc_to_payload(grpc.PointStruct.FromString(self.entries).payload)
        return self._read

    def has(self, field: str) -> bool:
        """Whether a field may be there, told without reading the payload; false is certain."""
        return field.encode() in self.entries

    def __getitem__(self, key: str) -> Any:
        return self._fields()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields())

    def __len__(self) -> int:
        return len(self._fields())


def has_any(payload: Mapping[str, Any], fields: Sequence[str]) -> bool:
    """Whether a payload has one of the fields at its top."""
    if isinstance(payload, WirePayload) and not any(payload.has(field) for field in fields):
        return False
    return any(field in payload for field in fields)


def with_fields(payload: Mapping[str, Any], added: Mapping[str, Any]) -> Mapping[str, Any]:
    """A payload with more fields, in the form that it has."""
    if isinstance(payload, WirePayload):
        return WirePayload(payload.entries + _entries(added))
    return {**payload, **added}


def _entries(payload: Mapping[str, Any]) -> bytes:
    if isinstance(payload, WirePayload):
        return payload.entries
    values = {key: json_to_value(value) for key, value in payload.items()}
    return bytes(grpc.PointStruct(payload=values).SerializeToString())


def grpc_points(
    ids: list[int | str], vectors: Vectors, payloads: Sequence[Mapping[str, Any]]
) -> Iterator[grpc.PointStruct]:
    """Points as protobuf messages that read their vectors from bytes, without a Python object per number."""
    dense = [
        _with_prefix(_dense_prefix(name, column.shape[1]), column)
        for name, column in vectors.items()
        if isinstance(column, np.ndarray)
    ]
    others = {
        name: _messages(column) for name, column in vectors.items() if not isinstance(column, np.ndarray)
    }
    for i, (point_id, payload) in enumerate(zip(ids, payloads, strict=True)):
        # What stands one behind the other is merged, so that all is read in one go.
        given = [rows[i].tobytes() for rows in dense]
        message = grpc.PointStruct.FromString(b"".join([_NO_VECTORS, _entries(payload), *given]))
        for name, made in others.items():
            message.vectors.vectors.vectors[name].CopyFrom(made[i])
        if isinstance(point_id, int):
            message.id.num = point_id
        else:
            message.id.uuid = point_id
        yield message


def _values(column: Column, as_lists: bool) -> list[Any]:
    if isinstance(column, SparseBatch):
        return [
            models.SparseVector.model_construct(indices=indices, values=values)
            for indices, values in column.lists()
        ]
    return [row.tolist() for row in column] if as_lists else list(column)


def _messages(column: TokenBatch | SparseBatch) -> list[grpc.Vector]:
    if isinstance(column, TokenBatch):
        return _multi_messages(column)
    return [
        grpc.Vector(sparse=grpc.SparseVector(indices=indices, values=values))
        for indices, values in column.lists()
    ]


def _multi_messages(tokens: TokenBatch) -> list[grpc.Vector]:
    rows = _with_prefix(_multi_prefix(tokens.dim), tokens.values)
    offsets = tokens.offsets.tolist()
    return [
        grpc.Vector(multi_dense=grpc.MultiDenseVector.FromString(rows[start:stop].tobytes()))
        for start, stop in pairwise(offsets)
    ]


def _with_prefix(prefix: bytes, vectors: NDArray[Any]) -> NDArray[np.uint8]:
    """Each row as ``prefix`` and its little-endian floats."""
    count, dim = vectors.shape
    message = np.empty((count, len(prefix) + 4 * dim), dtype=np.uint8)
    message[:, : len(prefix)] = np.frombuffer(prefix, dtype=np.uint8)
    message[:, len(prefix) :] = np.ascontiguousarray(vectors, dtype="<f4").view(np.uint8)
    return message


_NO_VECTORS: bytes = grpc.PointStruct(vectors=grpc.Vectors(vectors=grpc.NamedVectors())).SerializeToString()


@lru_cache(maxsize=16)
def _dense_prefix(name: str, dim: int) -> bytes:
    vector = grpc.Vector(dense=grpc.DenseVector(data=np.zeros(dim)))
    return _cut(
        grpc.PointStruct(vectors=grpc.Vectors(vectors=grpc.NamedVectors(vectors={name: vector}))), dim
    )


@lru_cache(maxsize=16)
def _multi_prefix(dim: int) -> bytes:
    return _cut(grpc.MultiDenseVector(vectors=[grpc.DenseVector(data=np.zeros(dim))]), dim)


def _cut(message: Any, dim: int) -> bytes:
    """What protobuf writes before the ``dim`` floats with which a message ends."""
    serialized: bytes = message.SerializeToString()
    return serialized[: len(serialized) - 4 * dim]
