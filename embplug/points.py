"""Vectors of a batch as points, in the form that the engine reads fastest."""

from __future__ import annotations

from collections.abc import Iterator
from functools import lru_cache
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from qdrant_client import grpc, models
from qdrant_client.conversions.conversion import RestToGrpc

from embplug.multivector.token_batch import TokenBatch
from embplug.sparse import SparseBatch

Column: TypeAlias = "NDArray[Any] | TokenBatch | SparseBatch"
Vectors: TypeAlias = dict[str, Column]
"""Name of the vector -> ``(n, dim)``, a TokenBatch of n matrices, or a SparseBatch of n vectors."""


def rest_points(
    ids: list[int | str], vectors: Vectors, payloads: list[dict[str, Any]], *, as_lists: bool
) -> Iterator[models.PointStruct]:
    """Points as qdrant-client's models, not validated again: the arrays were checked when they came."""
    columns = {name: _values(column, as_lists) for name, column in vectors.items()}
    for i, (point_id, payload) in enumerate(zip(ids, payloads, strict=True)):
        vector = {name: column[i] for name, column in columns.items()}
        yield models.PointStruct.model_construct(id=point_id, vector=vector, payload=payload)


def grpc_points(
    ids: list[int | str], vectors: Vectors, payloads: list[dict[str, Any]]
) -> Iterator[grpc.PointStruct]:
    """Points as protobuf messages that read their vectors from bytes, without a Python object per number."""
    columns = {name: _messages(column) for name, column in vectors.items()}
    for i, (point_id, payload) in enumerate(zip(ids, payloads, strict=True)):
        named = {name: column[i] for name, column in columns.items()}
        yield grpc.PointStruct(
            id=grpc.PointId(num=point_id) if isinstance(point_id, int) else grpc.PointId(uuid=point_id),
            vectors=grpc.Vectors(vectors=grpc.NamedVectors(vectors=named)),
            payload=RestToGrpc.convert_payload(payload),
        )


def _values(column: Column, as_lists: bool) -> list[Any]:
    if isinstance(column, SparseBatch):
        return [
            models.SparseVector.model_construct(indices=indices, values=values)
            for indices, values in column.lists()
        ]
    return [row.tolist() for row in column] if as_lists else list(column)


def _messages(column: Column) -> list[grpc.Vector]:
    if isinstance(column, SparseBatch):
        return [
            grpc.Vector(sparse=grpc.SparseVector(indices=indices, values=values))
            for indices, values in column.lists()
        ]
    return _multi_messages(column) if isinstance(column, TokenBatch) else _dense_messages(column)


def _dense_messages(vectors: NDArray[Any]) -> list[grpc.Vector]:
    return [
        grpc.Vector(dense=grpc.DenseVector.FromString(row.tobytes()))
        for row in _with_prefix(_dense_prefix(vectors.shape[1]), vectors)
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


@lru_cache(maxsize=16)
def _dense_prefix(dim: int) -> bytes:
    return _cut(grpc.DenseVector(data=np.zeros(dim)), dim)


@lru_cache(maxsize=16)
def _multi_prefix(dim: int) -> bytes:
    return _cut(grpc.MultiDenseVector(vectors=[grpc.DenseVector(data=np.zeros(dim))]), dim)


def _cut(message: Any, dim: int) -> bytes:
    """What protobuf writes before the ``dim`` floats with which a message ends."""
    serialized: bytes = message.SerializeToString()
    return serialized[: len(serialized) - 4 * dim]
