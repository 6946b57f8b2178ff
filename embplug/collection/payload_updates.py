"""Payloads that are changed without encoding documents again."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

from qdrant_client import models

from embplug.branches.documents import check_payload
from embplug.branches.pipeline import Pipeline
from embplug.collection.records import WITHOUT_CODES
from embplug.collection.selection import (
    PAGE,
    Selection,
    existing_points_steps,
    page_steps,
    selected,
    write_arguments,
)
from embplug.common.ids import OWN_FIELDS
from embplug.common.json_types import check_depth, jsonable_payload
from embplug.common.payload_paths import PayloadPath, checked_path, path_of_field
from embplug.engines.calls import Call, Steps
from embplug.engines.filter_ids import with_ids
from embplug.engines.request_options import WriteOptions
from embplug.errors import InvalidArgumentError


def set_payload_steps(
    name: str,
    pipeline: Pipeline,
    payload: Mapping[str, Any],
    ids: Sequence[Any] | None,
    condition: models.Filter | None,
    key: str | None,
    options: WriteOptions,
) -> Steps[None]:
    """Merge ``payload`` into the payloads of documents, or into the mapping at ``key``."""
    selection = selected(pipeline, ids, condition)
    path = None if key is None else checked_path(key, "key")
    checked = check_payload(payload, "payload") if path is None else _check_nested(payload, path)
    arguments = write_arguments(pipeline, options)
    if selection.is_empty:
        return
    if path is not None and path.field == _text_field(pipeline):
        raise _text_changed("key", path.field)
    yield from _check_unchanged(name, pipeline, selection, checked if path is None else {}, options)
    if path is not None:
        yield _update("set_payload", name, selection, arguments, payload=checked, key=path.text)
        return
    paths = [path_of_field(field) for field, value in checked.items() if value is None]
    removed = [key for key in paths if key is not None]
    if not removed:
        yield _update("set_payload", name, selection, arguments, payload=checked)
        return

    def change(records: Sequence[models.Record]) -> Steps[None]:
        points = with_ids([record.id for record in records])
        yield Call.of("set_payload", collection_name=name, payload=checked, points=points, **arguments)
        # A server keeps None as a value where there was no payload.
        yield Call.of("delete_payload", collection_name=name, keys=removed, points=points, **arguments)

    reading = options.reading.arguments(pipeline.capabilities)
    yield from _each_page_steps(name, selection, reading, change)


def overwrite_payload_steps(
    name: str,
    pipeline: Pipeline,
    payload: Mapping[str, Any],
    ids: Sequence[Any] | None,
    condition: models.Filter | None,
    options: WriteOptions,
) -> Steps[None]:
    """Replace the payloads of documents by ``payload``; what embplug needs of them stays."""
    selection = selected(pipeline, ids, condition)
    checked = check_payload(payload, "payload")
    arguments = write_arguments(pipeline, options)
    if selection.is_empty:
        return
    yield from _check_unchanged(name, pipeline, selection, checked, options)
    reading = options.reading.arguments(pipeline.capabilities)
    kept = {*OWN_FIELDS, *checked, _text_field(pipeline)}
    values = {field: value for field, value in checked.items() if value is not None}

    def change(records: Sequence[models.Record]) -> Steps[None]:
        fields = dict.fromkeys(field for record in records for field in record.payload or ())
        # A field is removed by None, in the request that sets the others: no reader sees half of the change.
        replaced = {**{field: None for field in fields if field not in kept}, **checked}
        # A server keeps None as a value where there was no payload.
        for payload, has_payload in ((replaced, True), (values, False)):
            own = [record.id for record in records if bool(record.payload) is has_payload]
            if own and payload:
                points = with_ids(own)
                yield Call.of(
                    "set_payload", collection_name=name, payload=payload, points=points, **arguments
                )

    yield from _each_page_steps(name, selection, reading, change)


def delete_payload_steps(
    name: str,
    pipeline: Pipeline,
    keys: Sequence[str],
    ids: Sequence[Any] | None,
    condition: models.Filter | None,
    options: WriteOptions,
) -> Steps[None]:
    """Remove fields of the payloads of documents; a field that a document lacks is no error."""
    selection = selected(pipeline, ids, condition)
    paths = _check_keys(keys)
    for i, path in enumerate(paths):
        if path.field == _text_field(pipeline):
            raise _text_changed(f"keys[{i}]", path.field)
    arguments = write_arguments(pipeline, options)
    if selection.is_empty or not paths:
        return
    yield from _check_unchanged(name, pipeline, selection, {}, options)
    yield _update("delete_payload", name, selection, arguments, keys=[path.text for path in paths])


def _each_page_steps(
    name: str,
    selection: Selection,
    reading: Mapping[str, Any],
    change: Callable[[Sequence[models.Record]], Steps[None]],
) -> Steps[None]:
    """Read the payloads of documents, a page at a time, and change each page."""
    offset, start = None, 0
    while True:
        if selection.filter is not None:
            records, offset = yield from page_steps(name, selection.filter, offset, WITHOUT_CODES, reading)
        else:
            among = with_ids(selection.points[start : start + PAGE])
            records, _ = yield from page_steps(name, among, None, WITHOUT_CODES, reading)
            start += PAGE
        if records:
            yield from change(records)
        if offset is None and start >= len(selection.points):
            return


def _check_nested(payload: Mapping[str, Any], path: PayloadPath) -> dict[str, Any]:
    """Check what is set at a path: own fields may have these names there, and depth counts from the top."""
    checked = jsonable_payload(payload, "payload")
    nested: Any = checked
    for _ in range(path.depth):
        nested = {"": nested}
    check_depth(nested, "payload")
    return checked


def _check_keys(keys: Any) -> list[PayloadPath]:
    if isinstance(keys, (str, bytes, Mapping)) or not isinstance(keys, Iterable):
        raise InvalidArgumentError("keys", "a list of paths into the payload", repr(keys))
    return [checked_path(key, f"keys[{i}]") for i, key in enumerate(keys)]


def _check_unchanged(
    name: str, pipeline: Pipeline, selection: Selection, payload: Mapping[str, Any], options: WriteOptions
) -> Steps[None]:
    """Check that all documents of ids exist, and that a text of which vectors are made stays as it is."""
    reading = options.reading.arguments(pipeline.capabilities)
    field = _text_field(pipeline)
    checks_text = field is not None and field in payload
    path = path_of_field(field) if checks_text and field is not None else None
    fields = [] if path is None else [path]
    if selection.filter is None:
        records = yield from existing_points_steps(name, selection, reading, fields)
        _check_texts(records, payload, field if checks_text else None)
        return
    offset, more = None, checks_text
    while more:
        records, offset = yield from page_steps(name, selection.filter, offset, fields, reading)
        _check_texts(records, payload, field)
        more = offset is not None


def _check_texts(records: Sequence[models.Record], payload: Mapping[str, Any], field: str | None) -> None:
    if field is not None and any((record.payload or {}).get(field) != payload[field] for record in records):
        raise _text_changed("payload", field)


def _text_field(pipeline: Pipeline) -> str | None:
    """Field of the text if the collection's vectors are made of it, so that only ``add`` may change it."""
    recipe, sparse = pipeline.recipe, pipeline.recipe.sparse
    reads_text = sparse is not None and not (sparse.is_learned and sparse.encoder is None)
    return recipe.text_key if reads_text or pipeline.models.has_encoder else None


def _text_changed(argument: str, field: str) -> InvalidArgumentError:
    expected = f"no change of {field!r}, because vectors are made of this text: add the documents again"
    return InvalidArgumentError(argument, expected, "another text" if argument == "payload" else repr(field))


def _update(
    method: str, name: str, selection: Selection, arguments: Mapping[str, Any], **changes: Any
) -> Call:
    # Ids as a filter: a document that is deleted meanwhile is no error.
    points = with_ids(selection.points) if selection.filter is None else selection.filter
    return Call.of(method, collection_name=name, points=points, **changes, **arguments)
