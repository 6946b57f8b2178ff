"""Points, vectors, payload selectors and results: ``qdrant_client.models`` <-> ``qdrant_edge``."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import qdrant_edge as edge
from qdrant_client import models

from embplug.engines.edge.convert_config import VectorSchema
from embplug.engines.edge.convert_ids import from_edge_id, to_edge_id
from embplug.engines.json_types import jsonable_payload
from embplug.errors import (
    CapabilityError,
    DimensionError,
    EmptyTokensError,
    InvalidArgumentError,
    LengthMismatchError,
    NonFiniteError,
)


def to_edge_vector(vector: Any, argument: str) -> Any:
    """One dense, multi or sparse vector. numpy becomes lists, which the binding reads faster than arrays."""
    if isinstance(vector, models.SparseVector):
        return edge.SparseVector(vector.indices, vector.values)
    if isinstance(vector, np.ndarray):
        return vector.tolist()
    if isinstance(vector, (models.Document, models.Image, models.InferenceObject)):
        raise CapabilityError(
            f"{argument}: Qdrant Edge does not embed {type(vector).__name__} objects; encode them first"
        )
    if isinstance(vector, (list, tuple)):
        if vector and isinstance(vector[0], (np.ndarray, tuple)):
            return [row.tolist() if isinstance(row, np.ndarray) else list(row) for row in vector]
        return vector if isinstance(vector, list) else list(vector)
    raise InvalidArgumentError(argument, "a list, numpy array or SparseVector", type(vector).__name__)


def from_edge_vectors(vectors: Any) -> Any:
    """What Edge returns for a point's vectors, as QdrantClient returns it."""
    if isinstance(vectors, dict):
        return {name: from_edge_vectors(vector) for name, vector in vectors.items()}
    if isinstance(vectors, edge.SparseVector):
        return models.SparseVector.model_construct(indices=vectors.indices, values=vectors.values)
    return vectors


def iterate_points(points: models.Batch | Sequence[models.PointStruct]) -> Iterator[tuple[Any, Any, Any]]:
    """(id, vector struct, payload) of each point, whichever form the points came in.

    Raises
    ------
    InvalidArgumentError
        Something that is not a point.
    LengthMismatchError
        The columns of a batch differ in length.
    """
    if isinstance(points, models.Batch):
        yield from _iterate_batch(points)
        return
    for i, point in enumerate(points):
        if not isinstance(point, models.PointStruct):
            raise InvalidArgumentError(f"points[{i}]", "a models.PointStruct", type(point).__name__)
        yield point.id, point.vector, point.payload


def _iterate_batch(batch: models.Batch) -> Iterator[tuple[Any, Any, Any]]:
    count = len(batch.ids)
    payloads: Sequence[Any] = batch.payloads if batch.payloads is not None else [None] * count
    if len(payloads) != count:
        raise LengthMismatchError("points.payloads", f"{count} payloads, as there are ids", len(payloads))
    vectors: Any = batch.vectors
    columns = vectors if isinstance(vectors, Mapping) else {"": vectors}
    for name, column in columns.items():
        if len(column) != count:
            where = f"points.vectors[{name!r}]" if name else "points.vectors"
            raise LengthMismatchError(where, f"{count} vectors, as there are ids", len(column))
    for i, point_id in enumerate(batch.ids):
        yield point_id, {name: column[i] for name, column in columns.items()}, payloads[i]


def to_edge_point(
    point_id: Any, vectors: Any, payload: Any, schema: Mapping[str, VectorSchema], argument: str
) -> edge.Point:
    """A checked point: Edge writes the rest of a batch when it refuses one point of it, so nothing
    that it would refuse may reach it.
    """
    named = check_vectors(vectors, schema, f"{argument}.vector")
    wanted = to_edge_id(point_id, f"{argument}.id")
    try:
        return edge.Point(wanted, named, payload)
    except (TypeError, ValueError):
        return edge.Point(wanted, named, jsonable_payload(payload, f"{argument}.payload"))


def check_vectors(vectors: Any, schema: Mapping[str, VectorSchema], argument: str) -> dict[str, Any]:
    """Vectors by name, converted, each of the size and kind that the collection stores, and finite.

    Raises
    ------
    InvalidArgumentError
        A name that the collection does not have, or a sparse vector for a dense one.
    DimensionError, EmptyTokensError, NonFiniteError
        As named.
    """
    given = vectors if isinstance(vectors, Mapping) else {"": vectors}
    converted = {}
    for name, vector in given.items():
        where = f"{argument}[{name!r}]" if name else argument
        expected = schema.get(name)
        if expected is None:
            raise InvalidArgumentError(where, f"one of the vectors {sorted(schema)}", repr(name))
        converted[name] = to_edge_vector(vector, where)
        check_vector(expected, converted[name], where)
    return converted


def check_vector(expected: VectorSchema, vector: Any, argument: str) -> None:
    """Refuse a converted vector that Edge would refuse, or that it would store and answer nonsense for."""
    if expected.kind == "sparse":
        if not isinstance(vector, edge.SparseVector):
            raise InvalidArgumentError(argument, "a SparseVector", type(vector).__name__)
        if len(vector.indices) != len(vector.values):
            raise LengthMismatchError(
                f"{argument}.values", f"{len(vector.indices)} values", len(vector.values)
            )
        if len(set(vector.indices)) != len(vector.indices):
            raise InvalidArgumentError(f"{argument}.indices", "each index once", "a repeated index")
        _check_finite(vector.values, f"{argument}.values")
        return
    if isinstance(vector, edge.SparseVector):
        raise InvalidArgumentError(argument, f"a {expected.kind} vector", "a SparseVector")
    is_matrix = bool(vector) and isinstance(vector[0], list)
    if expected.kind == "dense":
        if is_matrix or len(vector) != expected.size:
            got = f"a matrix of {len(vector)} rows" if is_matrix else len(vector)
            raise DimensionError(argument, f"{expected.size} dimensions", got)
        _check_finite(vector, argument)
        return
    if not vector:
        raise EmptyTokensError(argument, f"a matrix of {expected.size} columns", "no rows")
    # One flat vector is a multi-vector of one row, as on the server.
    for i, row in enumerate(vector if is_matrix else [vector]):
        if len(row) != expected.size:
            raise DimensionError(f"{argument}[{i}]", f"{expected.size} dimensions", len(row))
        _check_finite(row, f"{argument}[{i}]")


def _check_finite(values: Sequence[float], argument: str) -> None:
    try:
        if math.isfinite(sum(values)):
            return
    except TypeError:
        raise InvalidArgumentError(argument, "numbers", repr(values)[:60]) from None
    for i, value in enumerate(values):
        if not math.isfinite(value):
            raise NonFiniteError(f"{argument}[{i}]", "a finite number", value)


def to_edge_payload_selector(selector: Any, argument: str = "with_payload") -> Any:
    """A bool, a list of keys or a ``PayloadSelector``; ``None`` is no payload."""
    if selector is None or isinstance(selector, bool):
        return bool(selector)
    try:
        if isinstance(selector, models.PayloadSelectorInclude):
            return edge.PayloadSelector.Include(selector.include)
        if isinstance(selector, models.PayloadSelectorExclude):
            return edge.PayloadSelector.Exclude(selector.exclude)
        if isinstance(selector, (list, tuple)):
            return edge.PayloadSelector.Include(list(selector))
    except (TypeError, ValueError) as error:
        raise InvalidArgumentError(argument, "paths into the payload", error) from None
    expected = "a bool, a list of keys or a PayloadSelector"
    raise InvalidArgumentError(argument, expected, type(selector).__name__)


def to_edge_vector_selector(selector: Any, schema: Mapping[str, VectorSchema], argument: str) -> Any:
    """bool or list of vector names; ``None`` is no vectors."""
    if selector is None or isinstance(selector, bool):
        return bool(selector)
    if not isinstance(selector, (list, tuple)):
        raise InvalidArgumentError(argument, "a bool or a list of vector names", type(selector).__name__)
    for i, name in enumerate(selector):
        if name not in schema:
            raise InvalidArgumentError(f"{argument}[{i}]", f"one of the vectors {sorted(schema)}", repr(name))
    return list(selector)


def from_edge_record(record: edge.Record) -> models.Record:
    """Edge's values are trusted, so the model is not validated again: it would cost more than the read."""
    return models.Record.model_construct(
        id=from_edge_id(record.id),
        payload=record.payload,
        vector=from_edge_vectors(record.vector),
        shard_key=None,
        order_value=record.order_value,
    )


def from_edge_scored_point(point: edge.ScoredPoint) -> models.ScoredPoint:
    """As :func:`from_edge_record`, with score and version."""
    return models.ScoredPoint.model_construct(
        id=from_edge_id(point.id),
        version=point.version,
        score=point.score,
        payload=point.payload,
        vector=from_edge_vectors(point.vector),
        shard_key=None,
        order_value=point.order_value,
    )
