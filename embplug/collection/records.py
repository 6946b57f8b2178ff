"""Stored documents: read, counted, changed and deleted by id or by filter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qdrant_client import models

from embplug.branches.documents import check_payload
from embplug.branches.pipeline import Pipeline
from embplug.common.ids import CODE_FIELDS, listed_ids, point_id, split_payload
from embplug.engines.calls import Call, Steps
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
    """

    id: int | str
    payload: dict[str, Any] | None


def retrieve_steps(name: str, ids: Sequence[Any]) -> Steps[list[Record]]:
    """Read documents by id; ids that do not exist are left out."""
    records = yield Call.of("retrieve", collection_name=name, ids=_point_ids(ids), with_payload=WITHOUT_CODES)
    return [_document(record) for record in records]


def scroll_steps(
    name: str, pipeline: Pipeline, condition: models.Filter | None, limit: int, offset: Any
) -> Steps[tuple[list[Record], Any]]:
    """Read a page of documents, and where the next page begins."""
    condition = pipeline.checked_filter(condition)
    records, following = yield Call.of(
        "scroll",
        collection_name=name,
        scroll_filter=condition,
        limit=limit,
        offset=offset,
        with_payload=WITHOUT_CODES,
    )
    return [_document(record) for record in records], following


def count_steps(name: str, pipeline: Pipeline, condition: models.Filter | None) -> Steps[int]:
    """Count documents exactly."""
    condition = pipeline.checked_filter(condition)
    result = yield Call.of("count", collection_name=name, count_filter=condition, exact=True)
    return int(result.count)


def delete_steps(
    name: str, pipeline: Pipeline, ids: Sequence[Any] | None, condition: models.Filter | None
) -> Steps[None]:
    """Delete documents by id or by filter."""
    condition = pipeline.checked_filter(condition)
    if (ids is None) == (condition is None):
        both = "both" if condition is not None else "neither"
        raise InvalidArgumentError("ids", "either ids or filter", both)
    selector: models.PointsSelector
    if ids is not None:
        points = _point_ids(ids)
        if not points:  # engines refuse a request about no point
            return
        selector = models.PointIdsList(points=points)
    else:
        selector = models.FilterSelector(filter=condition)
    yield Call.of("delete", collection_name=name, points_selector=selector, wait=True)


def set_payload_steps(name: str, payload: Mapping[str, Any], ids: Sequence[Any]) -> Steps[None]:
    """Merge ``payload`` into that of documents, all of which exist."""
    listed = listed_ids(ids)
    points = _point_ids(listed)
    checked = check_payload(payload, "payload")
    if not points:  # engines refuse a request about no point
        return
    records = yield Call.of(
        "retrieve", collection_name=name, ids=points, with_payload=False, with_vectors=False
    )
    existing = {record.id for record in records}
    for i, point in enumerate(points):
        # Each engine has another error for this, and none knows the ids of documents.
        if point not in existing:
            raise InvalidArgumentError(f"ids[{i}]", "the id of a document that exists", repr(listed[i]))
    yield Call.of("set_payload", collection_name=name, payload=checked, points=points, wait=True)


def _point_ids(ids: Any) -> list[Any]:
    return [point_id(document_id, f"ids[{i}]") for i, document_id in enumerate(listed_ids(ids))]


def _document(record: models.Record) -> Record:
    return Record(*split_payload(record.id, record.payload))
