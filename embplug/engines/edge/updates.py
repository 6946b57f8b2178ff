"""Updates of points that are selected by ids or by a filter."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import qdrant_edge as edge
from qdrant_client import models

from embplug.engines.edge.convert_config import to_edge_enum, to_edge_modifier, to_edge_multivector
from embplug.engines.edge.convert_filter import to_edge_filter
from embplug.engines.edge.convert_ids import to_edge_ids
from embplug.engines.edge.refusals import refuse
from embplug.engines.edge.store import EdgeCollection, translating
from embplug.errors import InvalidArgumentError


def check_names(names: Sequence[str], collection: EdgeCollection, argument: str) -> None:
    """Check that the collection has all vectors of these names."""
    for name in names:
        if name not in collection.schema:
            raise InvalidArgumentError(
                argument, f"one of the vectors {sorted(collection.schema)}", repr(name)
            )


def check_points_exist(collection: EdgeCollection, ids: Sequence[Any]) -> None:
    """Check that all points exist, because Edge writes the points before the first missing id."""
    records = translating(lambda: collection.shard.retrieve([*ids], False, False))
    known = {str(record.id) for record in records}
    for i, point_id in enumerate(ids):
        if str(point_id) not in known:
            raise InvalidArgumentError(f"points[{i}]", "the id of a point that exists", str(point_id))


def update(collection: EdgeCollection, make: Callable[[], edge.UpdateOperation]) -> models.UpdateResult:
    """Apply an operation to a collection.

    Parameters
    ----------
    collection : EdgeCollection
        Collection to write to.
    make : callable
        Function that makes the operation, so that its errors are translated too.

    Returns
    -------
    models.UpdateResult
        Result with the status ``completed``.
    """
    with collection.writing():
        translating(lambda: collection.shard.update(make()))
    return models.UpdateResult(status=models.UpdateStatus.COMPLETED)


def update_selected(
    collection: EdgeCollection,
    selector: Any,
    argument: str,
    by_ids: Callable[[list[Any]], edge.UpdateOperation],
    by_filter: Callable[[edge.Filter], edge.UpdateOperation],
    must_exist: bool = True,
) -> models.UpdateResult:
    """Apply an operation to the points that a selector describes.

    Parameters
    ----------
    collection : EdgeCollection
        Collection to write to.
    selector : list of ids, models.Filter, models.PointIdsList or models.FilterSelector
        Points to change.
    argument : str
        Name of the argument, for errors.
    by_ids : callable
        Function that makes the operation from ids.
    by_filter : callable
        Function that makes the operation from a filter of Edge.
    must_exist : bool, default=True
        Whether a missing id is an error.

    Returns
    -------
    models.UpdateResult
        Result with the status ``completed``.

    Raises
    ------
    InvalidArgumentError
        The selector is of another type, or a point is missing.
    """
    if isinstance(selector, (models.PointIdsList, models.FilterSelector)):
        refuse(shard_key=selector.shard_key)
        selector = selector.points if isinstance(selector, models.PointIdsList) else selector.filter
    if isinstance(selector, models.Filter):
        condition = to_edge_filter(selector, argument)
        assert condition is not None
        return update(collection, lambda: by_filter(condition))
    if not isinstance(selector, (list, tuple)):
        raise InvalidArgumentError(argument, "ids, a Filter or a PointsSelector", type(selector).__name__)
    ids = to_edge_ids(selector, argument)
    if must_exist:
        check_points_exist(collection, ids)
    return update(collection, lambda: by_ids([*ids]))


def create_vector(name: str, config: models.VectorNameConfig) -> edge.UpdateOperation:
    """Make the operation that adds a named vector to a collection."""
    if isinstance(config, models.SparseVectorNameConfig):
        sparse = config.sparse
        return edge.UpdateOperation.create_sparse_vector(
            name,
            to_edge_modifier(sparse.modifier),
            to_edge_enum(edge.VectorStorageDatatype, sparse.datatype, "vector_name_config.datatype"),
        )
    dense = config.dense
    return edge.UpdateOperation.create_dense_vector(
        name,
        dense.size,
        to_edge_enum(edge.Distance, dense.distance, "vector_name_config.distance"),
        to_edge_multivector(dense.multivector_config),
        to_edge_enum(edge.VectorStorageDatatype, dense.datatype, "vector_name_config.datatype"),
    )
