"""Stored documents: read, counted and deleted by id or by filter."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from uuid import UUID

from qdrant_client import models

from embplug.branches.pipeline import Pipeline
from embplug.collection.selection import point_ids_of, selected, write_arguments
from embplug.common.ids import CODE_FIELDS, split_payload
from embplug.common.payload_paths import checked_path
from embplug.common.validation import short_repr
from embplug.engines.calls import Call, Steps
from embplug.engines.request_options import ReadOptions, WriteOptions
from embplug.errors import InvalidArgumentError

WITHOUT_CODES = models.PayloadSelectorExclude(exclude=[*CODE_FIELDS])


@dataclass(frozen=True)
class Record:
    """A stored document.

    Attributes
    ----------
    id : int or str
        Id that the user passed to ``add``. UUIDs are strings.
    payload : dict or None
        Payload as the user passed it, with the text of the document if there is one. The fields that embplug
        adds, such as codes, are left out.
    vector : dict of str to Any, default=None
        Vectors by name, as Qdrant stores them: after the transforms of the recipe. None unless they are asked
        for by ``with_vectors``.
    """

    id: int | str
    payload: dict[str, Any] | None
    vector: dict[str, Any] | None = None


def retrieve_steps(
    name: str,
    pipeline: Pipeline,
    ids: Sequence[Any],
    with_vectors: bool | Sequence[str] = False,
    reading: ReadOptions | None = None,
) -> Steps[list[Record]]:
    """Read documents by id; ids that do not exist are left out."""
    records = yield Call.of(
        "retrieve",
        collection_name=name,
        ids=point_ids_of(ids),
        with_payload=WITHOUT_CODES,
        with_vectors=vector_selector(pipeline, with_vectors),
        **(reading or ReadOptions()).arguments(pipeline.capabilities),
    )
    return [_document(record) for record in records]


def scroll_steps(
    name: str,
    pipeline: Pipeline,
    condition: models.Filter | None,
    limit: int,
    offset: Any,
    order_by: str | models.OrderBy | None = None,
    with_vectors: bool | Sequence[str] = False,
    reading: ReadOptions | None = None,
) -> Steps[tuple[list[Record], Any]]:
    """Read a page of documents, and where the next page begins."""
    condition = pipeline.checked_filter(condition)
    selector = vector_selector(pipeline, with_vectors)
    arguments = (reading or ReadOptions()).arguments(pipeline.capabilities)
    if order_by is not None:
        if offset is not None:
            expected = "None with order_by: begin at OrderBy(start_from=…)"
            raise InvalidArgumentError("offset", expected, short_repr(offset))
        arguments["order_by"] = yield from _order_steps(name, pipeline, order_by)
    _check_offset(offset)
    records, following = yield Call.of(
        "scroll",
        collection_name=name,
        scroll_filter=condition,
        limit=limit,
        offset=offset,
        with_payload=WITHOUT_CODES,
        with_vectors=selector,
        **arguments,
    )
    return [_document(record) for record in records], None if order_by is not None else following


def _check_offset(offset: Any) -> None:
    """Check that a page begins at the id of a point, as the page before it says."""
    is_number = isinstance(offset, int) and not isinstance(offset, bool) and 0 <= offset < 1 << 64
    if offset is None or is_number or isinstance(offset, UUID):
        return
    try:
        UUID(offset)
    except (ValueError, TypeError, AttributeError):
        expected = "None, or what the previous call returned"
        raise InvalidArgumentError("offset", expected, short_repr(offset)) from None


def count_steps(
    name: str, pipeline: Pipeline, condition: models.Filter | None, reading: ReadOptions | None = None
) -> Steps[int]:
    """Count documents exactly."""
    condition = pipeline.checked_filter(condition)
    arguments = (reading or ReadOptions()).arguments(pipeline.capabilities)
    result = yield Call.of("count", collection_name=name, count_filter=condition, exact=True, **arguments)
    return int(result.count)


def delete_steps(
    name: str,
    pipeline: Pipeline,
    ids: Sequence[Any] | None,
    condition: models.Filter | None,
    options: WriteOptions | None = None,
) -> Steps[None]:
    """Delete documents by id or by filter."""
    selection = selected(pipeline, ids, condition)
    arguments = write_arguments(pipeline, options)
    if selection.is_empty:
        return
    selector: models.PointsSelector = models.PointIdsList(points=selection.points)
    if selection.filter is not None:
        selector = models.FilterSelector(filter=selection.filter)
    yield Call.of("delete", collection_name=name, points_selector=selector, **arguments)


def vector_selector(pipeline: Pipeline, with_vectors: Any) -> bool | list[str]:
    """Check which vectors come back: all, none, or some by their names in Qdrant.

    Raises
    ------
    InvalidArgumentError
        The argument is something else, or a name is unknown.
    """
    if isinstance(with_vectors, bool):
        return with_vectors
    names = [*pipeline.vectors_config(), *(pipeline.sparse_vectors_config() or ())]
    if isinstance(with_vectors, str) or not isinstance(with_vectors, Sequence):
        raise InvalidArgumentError("with_vectors", f"a bool or some of {names}", short_repr(with_vectors))
    for i, vector in enumerate(with_vectors):
        if vector not in names:
            raise InvalidArgumentError(f"with_vectors[{i}]", f"one of {names}", short_repr(vector))
    return [*with_vectors]


def vectors_of(record: models.Record) -> dict[str, Any] | None:
    """Vectors of a point by name; one without a name has the empty string."""
    vector: Any = record.vector
    return vector or None if vector is None or isinstance(vector, dict) else {"": vector}


def _order_steps(name: str, pipeline: Pipeline, order_by: Any) -> Steps[models.OrderBy]:
    """Check that the field has an index by which documents can be sorted, which engines need."""
    order = models.OrderBy(key=order_by) if isinstance(order_by, str) else order_by
    if not isinstance(order, models.OrderBy):
        expected = "the path of a field, or a qdrant_client.models.OrderBy"
        raise InvalidArgumentError("order_by", expected, short_repr(order_by))
    start = order.start_from
    if isinstance(start, float) and not math.isfinite(start):
        raise InvalidArgumentError("order_by.start_from", "a finite number or a date", start)
    path = checked_path(order.key, "order_by").text
    schema = pipeline.recipe.payload_indexes.get(path)
    if schema is None:
        info = yield Call.of("get_collection", collection_name=name)
        index = info.payload_schema.get(path)
        schema = None if index is None else index.params or index.data_type.value
    if not _sorts(schema):
        expected = "a field with an index of integers, floats or dates, see create_payload_index"
        raise InvalidArgumentError("order_by", expected, short_repr(path))
    return order


def _sorts(schema: Any) -> bool:
    kind = schema if schema is None or isinstance(schema, str) else schema.type
    return kind in ("integer", "float", "datetime") and getattr(schema, "range", None) is not False


def _document(record: models.Record) -> Record:
    return Record(*split_payload(record.id, record.payload), vectors_of(record))
