"""Conversion of points, vectors, payload selectors and results to and from ``qdrant_edge``."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import qdrant_edge as edge
from pydantic_core import to_jsonable_python
from qdrant_client import models

from embplug.common.json_types import jsonable_payload
from embplug.engines.edge.convert_config import VectorSchema
from embplug.engines.edge.convert_ids import from_edge_id, to_edge_id
from embplug.errors import (
    CapabilityError,
    DimensionError,
    EmptyTokensError,
    InvalidArgumentError,
    LengthMismatchError,
    NonFiniteError,
)


def to_edge_vector(vector: Any, argument: str) -> Any:
    """Convert a dense, multi or sparse vector.

    Arrays become lists, which the binding reads faster.
    """
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
    """Convert the vectors of a point to what QdrantClient returns."""
    if isinstance(vectors, dict):
        return {name: from_edge_vectors(vector) for name, vector in vectors.items()}
    if isinstance(vectors, edge.SparseVector):
        return models.SparseVector.model_construct(indices=vectors.indices, values=vectors.values)
    return vectors


def iterate_points(points: models.Batch | Sequence[models.PointStruct]) -> Iterator[tuple[Any, Any, Any]]:
    """Iterate over points of either form.

    Parameters
    ----------
    points : models.Batch or sequence of models.PointStruct
        The points.

    Yields
    ------
    id : int, str or UUID
        Id of the point.
    vectors : object
        Vectors of the point.
    payload : dict or None
        Payload of the point.

    Raises
    ------
    InvalidArgumentError
        An element is not a point.
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
        raise LengthMismatchError("points.payloads", f"{count} payloads, one for each id", len(payloads))
    vectors: Any = batch.vectors
    columns = vectors if isinstance(vectors, Mapping) else {"": vectors}
    for name, column in columns.items():
        if len(column) != count:
            where = f"points.vectors[{name!r}]" if name else "points.vectors"
            raise LengthMismatchError(where, f"{count} vectors, one for each id", len(column))
    for i, point_id in enumerate(batch.ids):
        yield point_id, {name: column[i] for name, column in columns.items()}, payloads[i]


def to_edge_point(
    point_id: Any, vectors: Any, payload: Any, schema: Mapping[str, VectorSchema], argument: str
) -> edge.Point:
    """Check and convert a point.

    Edge writes the rest of a batch if it refuses a point. So all that it would refuse is refused here.
    """
    named = check_vectors(vectors, schema, f"{argument}.vector")
    edge_id = to_edge_id(point_id, f"{argument}.id")
    try:
        return edge.Point(edge_id, named, payload)
    except (TypeError, ValueError):
        return edge.Point(edge_id, named, jsonable_payload(payload, f"{argument}.payload"))


def check_vectors(vectors: Any, schema: Mapping[str, VectorSchema], argument: str) -> dict[str, Any]:
    """Check and convert vectors by their names.

    Parameters
    ----------
    vectors : vector, or mapping of str to vector
        Vectors; a single vector stands for the unnamed one.
    schema : mapping of str to VectorSchema
        Vectors of the collection.
    argument : str
        Name of the argument, for errors.

    Returns
    -------
    dict
        Converted vectors by name.

    Raises
    ------
    InvalidArgumentError
        The collection has no vector of that name, or the vector is of another kind.
    DimensionError
        A vector has the wrong number of dimensions.
    EmptyTokensError
        A token matrix has no rows.
    NonFiniteError
        A vector holds NaN or an infinite value.
    """
    by_name = vectors if isinstance(vectors, Mapping) else {"": vectors}
    converted = {}
    for name, vector in by_name.items():
        where = f"{argument}[{name!r}]" if name else argument
        expected = schema.get(name)
        if expected is None:
            raise InvalidArgumentError(where, f"one of the vectors {sorted(schema)}", repr(name))
        converted[name] = to_edge_vector(vector, where)
        check_vector(expected, converted[name], where)
    return converted


def check_vector(expected: VectorSchema, vector: Any, argument: str) -> None:
    """Check a converted vector.

    Vectors that Edge refuses, and vectors that make its results meaningless, raise an error.
    """
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
    # A flat vector is a multivector of one row, as on the server.
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
    """Convert a bool, a list of keys or a ``PayloadSelector``; ``None`` selects no payload."""
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
    """Convert a bool or a list of vector names; ``None`` selects no vectors."""
    if selector is None or isinstance(selector, bool):
        return bool(selector)
    if not isinstance(selector, (list, tuple)):
        raise InvalidArgumentError(argument, "a bool or a list of vector names", type(selector).__name__)
    for i, name in enumerate(selector):
        if name not in schema:
            raise InvalidArgumentError(f"{argument}[{i}]", f"one of the vectors {sorted(schema)}", repr(name))
    return list(selector)


def from_edge_record(record: edge.Record) -> models.Record:
    """Convert a record of Edge.

    The model is not validated, because validation takes longer than reading.
    """
    return models.Record.model_construct(
        id=from_edge_id(record.id),
        payload=record.payload,
        vector=from_edge_vectors(record.vector),
        shard_key=None,
        order_value=record.order_value,
    )


def from_edge_scored_point(point: edge.ScoredPoint) -> models.ScoredPoint:
    """Convert a scored point of Edge; see :func:`from_edge_record`."""
    return models.ScoredPoint.model_construct(
        id=from_edge_id(point.id),
        version=point.version,
        score=point.score,
        payload=point.payload,
        vector=from_edge_vectors(point.vector),
        shard_key=None,
        order_value=point.order_value,
    )


def jsonable_metadata(metadata: Any) -> dict[str, Any] | None:
    """Convert the metadata of a collection to JSON types; ``None`` stays ``None``.

    Raises
    ------
    InvalidArgumentError
        The metadata is not a mapping, or holds a value that JSON cannot hold.
    """
    if metadata is None:
        return None
    try:
        return jsonable_payload(to_jsonable_python(metadata), "metadata")
    except ValueError as error:
        if isinstance(error, InvalidArgumentError):
            raise
        raise InvalidArgumentError("metadata", "values that JSON can hold", error) from None
