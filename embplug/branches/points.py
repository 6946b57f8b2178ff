"""Vectors of a batch as points, in the form that the engine reads fastest."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from functools import lru_cache
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from qdrant_client import grpc, models
from qdrant_client.conversions.conversion import RestToGrpc, grpc_to_payload, json_to_value

from embplug.branches.sparse_vectors import SparseBatch
from embplug.common.ids import OWN_FIELDS
from embplug.methods.token_batch import TokenBatch

Column: TypeAlias = "NDArray[Any] | TokenBatch | SparseBatch"
Vectors: TypeAlias = dict[str, Column]
"""By the name of the vector: an array of shape (n, dim), a TokenBatch or a SparseBatch of n documents."""


def rest_points(
    ids: list[int | str], vectors: Vectors, payloads: Sequence[Mapping[str, Any]], *, as_lists: bool
) -> Iterator[models.PointStruct]:
    """Build points as qdrant-client's models, without validating them again.

    Parameters
    ----------
    ids : list of int or str
        Id of each point.
    vectors : dict of str to array, TokenBatch or SparseBatch
        Vectors of all points by name.
    payloads : sequence of mapping
        Payload of each point.
    as_lists : bool
        Whether vectors become lists for JSON, and not arrays.

    Yields
    ------
    models.PointStruct
        The next point.
    """
    columns = {name: _values(column, as_lists) for name, column in vectors.items()}
    for i, (point_id, payload) in enumerate(zip(ids, payloads, strict=True)):
        vector = {name: column[i] for name, column in columns.items()}
        yield models.PointStruct.model_construct(id=point_id, vector=vector, payload=dict(payload))


PAYLOAD_TAG = b"\x1a"
"""Protobuf tag that begins each field of the payload in the bytes of a ``PointStruct``."""


class WirePayload(Mapping[str, Any]):
    """A payload as protobuf bytes, which is copied without becoming Python objects unless it is read.

    Parameters
    ----------
    entries : bytes
        All fields of the payload, as in a serialized ``PointStruct``.
    """

    __slots__ = ("_read", "entries")

    def __init__(self, entries: bytes) -> None:
        self.entries = entries
        self._read: dict[str, Any] | None = None

    def _fields(self) -> dict[str, Any]:
        if self._read is None:
            self._read = grpc_to_payload(grpc.PointStruct.FromString(self.entries).payload)
        return self._read

    def has(self, part: bytes) -> bool:
        """Return whether the bytes contain ``part``; if not, no field has a name with it."""
        return part in self.entries

    def __getitem__(self, key: str) -> Any:
        return self._fields()[key]

    def __iter__(self) -> Iterator[str]:
        return iter(self._fields())

    def __len__(self) -> int:
        return len(self._fields())


def has_own_fields(payload: Mapping[str, Any]) -> bool:
    """Return whether a payload has fields that embplug adds."""
    if isinstance(payload, WirePayload) and not payload.has(_OWN_PREFIX):
        return False
    return any(field in payload for field in OWN_FIELDS)


def with_fields(payload: Mapping[str, Any], added: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return a copy of a payload with more fields; protobuf bytes stay protobuf bytes."""
    if isinstance(payload, WirePayload):
        return WirePayload(payload.entries + _entries(added))
    return {**payload, **added}


def _entries(payload: Mapping[str, Any]) -> bytes:
    if isinstance(payload, WirePayload):
        return payload.entries
    written = b""
    for key, value in payload.items():
        if isinstance(value, str):
            written += text_entry(key, value)
        else:
            written += grpc.PointStruct(payload={key: json_to_value(value)}).SerializeToString()
    return written


def text_entry(field: str, text: str) -> bytes:
    """Encode a payload field with a text; this is the encoding of protobuf, but faster.

    Parameters
    ----------
    field : str
        Name of the field.
    text : str
        Its text.

    Returns
    -------
    bytes
        The field with its tag, as in a serialized ``PointStruct``.
    """
    key, value = field.encode(), text.encode()
    value = b"\x22" + varint(len(value)) + value
    entry = b"\x0a" + varint(len(key)) + key + b"\x12" + varint(len(value)) + value
    return PAYLOAD_TAG + varint(len(entry)) + entry


def varint(number: int) -> bytes:
    """Encode a non-negative integer as a protobuf varint."""
    if number < 0x80:
        return _BYTES[number]
    written = bytearray()
    while number >= 0x80:
        written.append(number & 0x7F | 0x80)
        number >>= 7
    written.append(number)
    return bytes(written)


def upsert_request(name: str, points: Sequence[bytes], arguments: Mapping[str, Any]) -> grpc.UpsertPoints:
    """Build a gRPC request that writes points.

    Parameters
    ----------
    name : str
        Name of the collection.
    points : sequence of bytes
        Points from :func:`grpc_points`.
    arguments : mapping of str to Any
        Further arguments of ``QdrantClient.upsert``, of which the timeout is that of the call.

    Returns
    -------
    grpc.UpsertPoints
        The request.
    """
    ordering, selector = arguments.get("ordering"), arguments.get("shard_key_selector")
    condition = arguments.get("update_filter")
    request = grpc.UpsertPoints(
        collection_name=name,
        wait=arguments["wait"],
        ordering=None if ordering is None else RestToGrpc.convert_write_ordering(ordering),
        shard_key_selector=None if selector is None else RestToGrpc.convert_shard_key_selector(selector),
        update_filter=None if condition is None else RestToGrpc.convert_filter(condition),
    )
    written = [part for point in points for part in (b"\x1a", varint(len(point)), point)]
    request.MergeFromString(b"".join(written))
    return request


def grpc_points(
    ids: list[int | str], vectors: Vectors, payloads: Sequence[Mapping[str, Any]]
) -> Iterator[bytes]:
    """Build points as bytes of ``PointStruct`` messages, without a Python object for each number.

    Parameters
    ----------
    ids : list of int or str
        Id of each point.
    vectors : dict of str to array, TokenBatch or SparseBatch
        Vectors of all points by name.
    payloads : sequence of mapping
        Payload of each point.

    Yields
    ------
    bytes
        The next point.
    """
    dense = [
        _with_prefix(_dense_prefix(name, column.shape[1]), column)
        for name, column in vectors.items()
        if isinstance(column, np.ndarray)
    ]
    others = [
        _messages(name, column) for name, column in vectors.items() if not isinstance(column, np.ndarray)
    ]
    for i, (point_id, payload) in enumerate(zip(ids, payloads, strict=True)):
        # Protobuf merges messages that are concatenated.
        named_vectors = [rows[i].tobytes() for rows in dense] + [messages[i] for messages in others]
        yield b"".join([_NO_VECTORS, _id(point_id), _entries(payload), *named_vectors])


def _id(point_id: int | str) -> bytes:
    if isinstance(point_id, int):
        value = b"\x08" + varint(point_id)
    else:
        value = b"\x12" + varint(len(point_id)) + point_id.encode()
    return b"\x0a" + varint(len(value)) + value


def _values(column: Column, as_lists: bool) -> list[Any]:
    if isinstance(column, SparseBatch):
        return [
            models.SparseVector.model_construct(indices=indices, values=values)
            for indices, values in column.lists()
        ]
    return [row.tolist() for row in column] if as_lists else list(column)


def _messages(name: str, column: TokenBatch | SparseBatch) -> list[bytes]:
    """Build points with nothing but this vector."""
    if isinstance(column, TokenBatch):
        messages = _multi_messages(column)
    else:
        messages = [
            grpc.Vector(sparse=grpc.SparseVector(indices=indices, values=values))
            for indices, values in column.lists()
        ]
    return [
        grpc.PointStruct(
            vectors=grpc.Vectors(vectors=grpc.NamedVectors(vectors={name: vector}))
        ).SerializeToString()
        for vector in messages
    ]


def _multi_messages(tokens: TokenBatch) -> list[grpc.Vector]:
    rows = _with_prefix(_multi_prefix(tokens.dim), tokens.values)
    offsets = tokens.offsets.tolist()
    return [
        grpc.Vector(multi_dense=grpc.MultiDenseVector.FromString(rows[start:stop].tobytes()))
        for start, stop in pairwise(offsets)
    ]


def _with_prefix(prefix: bytes, vectors: NDArray[Any]) -> NDArray[np.uint8]:
    """Encode each row as ``prefix`` and its little-endian floats."""
    count, dim = vectors.shape
    message = np.empty((count, len(prefix) + 4 * dim), dtype=np.uint8)
    message[:, : len(prefix)] = np.frombuffer(prefix, dtype=np.uint8)
    message[:, len(prefix) :] = np.ascontiguousarray(vectors, dtype="<f4").view(np.uint8)
    return message


_OWN_PREFIX = b"_embplug_"
_BYTES = [bytes([number]) for number in range(0x80)]
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
    """Return the bytes of a message before the ``dim`` floats with which it ends."""
    serialized: bytes = message.SerializeToString()
    return serialized[: len(serialized) - 4 * dim]
