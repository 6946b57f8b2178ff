"""Statistics of the metadata of documents, over pages of them; each field by its name in the metadata."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from qdrant_client import models

from embplug import Record
from embplug.common.validation import short_repr
from embplug.engines.calls import Call, Steps
from embplug.errors import InvalidArgumentError
from embplug.frameworks.arguments import check_integer
from haystack_embplug.documents import META_KEY

PAGE = 1000
"""Number of documents that are read with one request."""

_TYPES: dict[type, str] = {bool: "boolean", int: "long", float: "float"}
"""Types as Haystack's other stores name them; ``keyword`` for all others."""


def fields_info_steps() -> Steps[dict[str, dict[str, str]]]:
    """Return the type of each field, by its name."""
    types: dict[str, dict[str, str]] = {}

    def visit(meta: dict[str, Any]) -> None:
        for name, value in meta.items():
            if value is not None:
                types.setdefault(name, {"type": _TYPES.get(type(value), "keyword")})

    yield from _visit_steps(visit, None)
    return types


def min_max_steps(field: str) -> Steps[dict[str, Any]]:
    """Return the lowest and the highest value of a field, None where no document has it."""
    values: dict[str, Any] = {"min": None, "max": None}

    def visit(meta: dict[str, Any]) -> None:
        value = meta.get(_name(field))
        if value is None:
            return
        try:
            values["min"] = value if values["min"] is None else min(values["min"], value)
            values["max"] = value if values["max"] is None else max(values["max"], value)
        except TypeError:
            expected = f"a field whose values can be compared, such as {short_repr(values['min'])}"
            raise InvalidArgumentError("metadata_field", expected, short_repr(value)) from None

    yield from _visit_steps(visit, None)
    return values


def count_unique_steps(fields: Sequence[str], filter: models.Filter | None) -> Steps[dict[str, int]]:
    """Return the number of different values of each field."""
    names = [_name(field) for field in fields]
    unique: dict[str, set[str]] = {name: set() for name in names}

    def visit(meta: dict[str, Any]) -> None:
        for name in names:
            if meta.get(name) is not None:
                unique[name].add(_key(meta[name]))

    yield from _visit_steps(visit, filter)
    return {name: len(values) for name, values in unique.items()}


def unique_values_steps(
    field: str, search_term: str | None, start: int, size: int | None, filter: models.Filter | None
) -> Steps[tuple[list[Any], int]]:
    """Return a page of the different values of a field, in the order of their texts, and their number."""
    check_integer("from_", start, 0)
    if size is not None:
        check_integer("size", size, 0)
    values: dict[str, Any] = {}

    def visit(meta: dict[str, Any]) -> None:
        value = meta.get(_name(field))
        if value is None or (search_term is not None and search_term.lower() not in str(value).lower()):
            return
        values.setdefault(_key(value), value)

    yield from _visit_steps(visit, filter)
    ordered = [values[key] for key in sorted(values)]
    return ordered[start : None if size is None else start + size], len(ordered)


def _name(field: str) -> str:
    return field.removeprefix(f"{META_KEY}.")


def _key(value: Any) -> str:
    """Tell 1, 1.0, "1" and True apart."""
    return json.dumps(value, sort_keys=True)


def _visit_steps(visit: Callable[[dict[str, Any]], None], filter: models.Filter | None) -> Steps[None]:
    offset = None
    while True:
        records, offset = yield Call.of("scroll", filter=filter, limit=PAGE, offset=offset)
        for meta in _metadata(records):
            visit(meta)
        if offset is None:
            return


def _metadata(records: Iterable[Record]) -> Iterable[dict[str, Any]]:
    for record in records:
        meta = (record.payload or {}).get(META_KEY)
        if isinstance(meta, dict):
            yield meta
