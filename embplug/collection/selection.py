"""Documents that are changed or deleted: named by ids or by a filter."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from qdrant_client import models

from embplug.branches.pipeline import Pipeline
from embplug.common.ids import listed_ids, point_id
from embplug.engines.calls import Call, Steps
from embplug.engines.request_options import WriteOptions
from embplug.errors import InvalidArgumentError

PAGE = 1000
"""Number of documents that are read with one request."""


@dataclass(frozen=True)
class Selection:
    """Points by their ids, or by a filter.

    Attributes
    ----------
    filter : models.Filter or None
        The user's filter, with ids of points.
    ids : list of Id
        Ids as the user passed them; empty with a filter.
    points : list of int or str
        The point of each id.
    """

    filter: models.Filter | None
    ids: list[Any]
    points: list[int | str]

    @property
    def is_empty(self) -> bool:
        """Whether no document is named; engines refuse a request about no point."""
        return self.filter is None and not self.points


def selected(pipeline: Pipeline, ids: Sequence[Any] | None, condition: models.Filter | None) -> Selection:
    """Check that documents are named in one way, and by what is valid.

    Raises
    ------
    InvalidArgumentError
        Both or neither of ``ids`` and ``condition`` are passed, or an id is wrong.
    FilterError
        The filter is wrong.
    """
    condition = pipeline.checked_filter(condition)
    if (ids is None) == (condition is None):
        both = "both" if condition is not None else "neither"
        raise InvalidArgumentError("ids", "either ids or filter", both)
    if ids is None:
        return Selection(condition, [], [])
    listed = listed_ids(ids)
    return Selection(None, listed, point_ids_of(listed))


def write_arguments(pipeline: Pipeline, options: WriteOptions | None) -> dict[str, Any]:
    """Return the arguments of a client's method that writes points.

    Raises
    ------
    InvalidArgumentError
        An option is wrong, or shards have keys and none is named, which Qdrant needs for each write.
    CapabilityError
        The engine cannot honour an option.
    """
    options = options or WriteOptions()
    arguments = options.arguments(pipeline.capabilities)
    has_keys = pipeline.recipe.sharding_method == models.ShardingMethod.CUSTOM
    if has_keys and options.shard_key_selector is None:
        expected = "the keys of the shards to write to, because sharding_method is custom"
        raise InvalidArgumentError("shard_key_selector", expected, None)
    return arguments


def point_ids_of(ids: Any) -> list[int | str]:
    """Points of ids, of which several may be the same."""
    return [point_id(document_id, f"ids[{i}]") for i, document_id in enumerate(listed_ids(ids))]


def existing_points_steps(
    name: str, selection: Selection, reading: Mapping[str, Any], fields: Sequence[str] = ()
) -> Steps[list[models.Record]]:
    """Read the points of ids, all of which have to exist, with some fields of their payloads.

    Raises
    ------
    InvalidArgumentError
        An id is that of no document; the error names the first.
    """
    records: list[models.Record] = []
    for start in range(0, len(selection.points), PAGE):
        records += yield Call.of(
            "retrieve",
            collection_name=name,
            ids=selection.points[start : start + PAGE],
            with_payload=[*fields] or False,
            with_vectors=False,
            **reading,
        )
    existing = {record.id for record in records}
    for i, point in enumerate(selection.points):
        # Each engine has another error for this, and none knows the ids of documents.
        if point not in existing:
            expected = "the id of a document that exists"
            raise InvalidArgumentError(f"ids[{i}]", expected, repr(selection.ids[i]))
    return records


def page_steps(
    name: str, condition: models.Filter | None, offset: Any, selector: Any, reading: Mapping[str, Any]
) -> Steps[tuple[list[models.Record], Any]]:
    """Read one page of the points that a filter lets through, and where the next begins."""
    page: tuple[list[models.Record], Any] = yield Call.of(
        "scroll",
        collection_name=name,
        scroll_filter=condition,
        limit=PAGE,
        offset=offset,
        with_payload=selector,
        with_vectors=False,
        **reading,
    )
    return page
