"""Stored documents: read, counted and deleted by id or by filter."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from qdrant_client import models

from embplug.branches.pipeline import Pipeline
from embplug.collection.selection import point_ids_of, selected
from embplug.common.ids import CODE_FIELDS, split_payload
from embplug.engines.calls import Call, Steps

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
    records = yield Call.of(
        "retrieve", collection_name=name, ids=point_ids_of(ids), with_payload=WITHOUT_CODES
    )
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
    selection = selected(pipeline, ids, condition)
    if selection.is_empty:
        return
    selector: models.PointsSelector = models.PointIdsList(points=selection.points)
    if selection.filter is not None:
        selector = models.FilterSelector(filter=selection.filter)
    yield Call.of("delete", collection_name=name, points_selector=selector, wait=True)


def _document(record: models.Record) -> Record:
    return Record(*split_payload(record.id, record.payload))
