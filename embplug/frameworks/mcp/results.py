"""What the tools return: the shapes of results, and documents in them."""

from __future__ import annotations

from typing import Any

from typing_extensions import TypedDict

from embplug.collection.records import Record
from embplug.search.types import Hit


class StoredDocument(TypedDict):
    """A document: its id, its text and the other fields of its payload."""

    id: int | str
    text: str
    fields: dict[str, Any]


class FoundDocument(StoredDocument):
    """A document that a search has found, with its score and the score of each stage."""

    score: float
    stages: dict[str, float]


class DocumentPage(TypedDict):
    """Some documents, and where the following ones begin; None after the last."""

    documents: list[StoredDocument]
    next_offset: int | str | None


class CollectionSummary(TypedDict):
    """A collection: how it is searched, which fields its documents have, and what a client may do."""

    name: str
    documents: int
    searched_by: list[str]
    fields: dict[str, str]
    may_add: bool
    may_delete: bool


class NewDocument(TypedDict, total=False):
    """A document to add: its text, and if it has them its id and further fields."""

    id: int | str
    text: str
    fields: dict[str, Any]


def stored_document(stored: Record | Hit, text_key: str, max_characters: int | None) -> StoredDocument:
    """Return a document, with its text shortened to a number of characters."""
    fields = dict(stored.payload or {})
    text = str(fields.pop(text_key, None) or "")
    if max_characters is not None and len(text) > max_characters:
        text = f"{text[:max_characters]}…"
    return StoredDocument(id=stored.id, text=text, fields=fields)


def found_document(hit: Hit, text_key: str, max_characters: int | None) -> FoundDocument:
    """Return a hit, with its text shortened to a number of characters."""
    document = stored_document(hit, text_key, max_characters)
    return FoundDocument(**document, score=hit.score, stages=dict(hit.stages or {}))


def field_types(records: list[Record], text_key: str) -> dict[str, str]:
    """Return the type of each field of some documents, by its path; those of mappings one by one."""
    types: dict[str, str] = {}
    for record in records:
        _add_types(types, record.payload or {}, "")
    types.pop(text_key, None)
    return types


def _add_types(types: dict[str, str], fields: dict[str, Any], root: str) -> None:
    for name, value in fields.items():
        path = f"{root}{name}"
        if isinstance(value, dict):
            _add_types(types, value, f"{path}.")
        elif value is not None:
            types.setdefault(path, type(value).__name__)
