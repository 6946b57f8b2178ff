"""Haystack's documents to payloads and back."""

from __future__ import annotations

from typing import Any

from haystack import Document
from haystack.dataclasses import ByteStream

from embplug import Hit, Record

CONTENT_KEY = "content"
"""Payload field of the text in new collections."""

META_KEY = "meta"
"""Payload field of the metadata."""

BLOB_KEY = "blob"
"""Payload field of binary data."""


def plain_payload(document: Document) -> dict[str, Any]:
    """Return the payload of a document in a collection of qdrant-haystack: exactly its own."""
    fields: dict[str, Any] = document.to_dict(flatten=False)
    return {key: value for key, value in fields.items() if key not in ("embedding", "sparse_embedding")}


def to_payload(document: Document, content_key: str) -> dict[str, Any]:
    """Return the payload of a document, in which filters find ``meta.year``.

    Parameters
    ----------
    document : Document
        Document that is written.
    content_key : str
        Payload field of the text.

    Returns
    -------
    dict
        Payload of the document.
    """
    payload: dict[str, Any] = {META_KEY: document.meta}
    if document.content is not None:
        payload[content_key] = document.content
    if document.blob is not None:
        payload[BLOB_KEY] = document.blob.to_dict()
    return payload


def from_payload(stored: Record | Hit, content_key: str, is_plain: bool) -> Document:
    """Return a document as it was written, without its embedding, and with the score of a hit.

    If the payload lacks the field for metadata, all its fields but the text are the metadata.

    Parameters
    ----------
    stored : Record or Hit
        What the collection returns.
    content_key : str
        Payload field of the text.
    is_plain : bool
        True for a collection of qdrant-haystack, whose payloads hold the ids.

    Returns
    -------
    Document
        The document.
    """
    fields = dict(stored.payload or {})
    content, blob = fields.pop(content_key, None), fields.pop(BLOB_KEY, None)
    id_ = fields.get("id") if is_plain else None
    meta = fields.get(META_KEY, fields)
    return Document(
        id=str(stored.id if id_ is None else id_),
        content=None if content is None else str(content),
        blob=ByteStream.from_dict(blob) if isinstance(blob, dict) else None,
        meta=meta if isinstance(meta, dict) else {},
        score=stored.score if isinstance(stored, Hit) else None,
    )
