"""LangChain's documents to payloads and back."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple, TypeAlias

from langchain_core.documents import Document

from embplug import Hit, Record
from embplug.errors import InvalidArgumentError
from embplug.frameworks.ids import DocumentId, id_or_new
from embplug.frameworks.rows import aligned

Metadata: TypeAlias = Mapping[str, Any]
Metadatas: TypeAlias = Iterable[Metadata | None] | None


class Row(NamedTuple):
    """A document that is added, with its own id or a new one."""

    text: str
    metadata: Metadata | None
    id: str


class PayloadKeys(NamedTuple):
    """Payload fields with the text and the metadata."""

    content: str
    metadata: str


def rows_of_texts(
    texts: Iterable[str],
    metadatas: Metadatas,
    ids: Iterable[DocumentId | None] | None,
) -> Iterator[Row]:
    """Yield a row for each text.

    Raises
    ------
    InvalidArgumentError
        ``texts`` is a single text.
    LengthMismatchError
        The number of metadatas or ids differs from that of texts.
    """
    if isinstance(texts, str):
        raise InvalidArgumentError("texts", "a list of texts", "one text")
    # LangChain passes an empty list where there is nothing.
    pairs = aligned(texts, "text", metadatas=metadatas or None, ids=ids or None)
    for i, (text, values) in enumerate(pairs):
        metadata = values.get("metadatas")
        if not isinstance(metadata, Mapping | None):
            raise InvalidArgumentError(f"metadatas[{i}]", "a mapping or None", type(metadata).__name__)
        yield Row(text, metadata, id_or_new(values.get("ids")))


def rows_of_documents(
    documents: Iterable[Document], ids: Iterable[DocumentId | None] | None
) -> Iterator[Row]:
    """Yield a row for each document, with its own id if ``ids`` is None or empty.

    Raises
    ------
    LengthMismatchError
        The number of ids differs from that of documents.
    """
    for document, values in aligned(documents, "document", ids=ids or None):
        document_id = id_or_new(values.get("ids", document.id))
        yield Row(document.page_content, document.metadata, document_id)


def to_payload(row: Row, keys: PayloadKeys) -> dict[str, Any]:
    """Return the payload of a row."""
    return {keys.content: row.text, keys.metadata: dict(row.metadata or {})}


def to_document(stored: Record | Hit, keys: PayloadKeys) -> Document:
    """Return the document of a payload.

    If the payload lacks the field for metadata, all its fields but the text are the metadata.
    """
    fields = dict(stored.payload or {})
    content = fields.pop(keys.content, None)
    metadata = fields.get(keys.metadata, fields)
    return Document(
        id=str(stored.id),
        page_content="" if content is None else str(content),
        metadata=metadata if isinstance(metadata, dict) else {},
    )


def with_point(document: Document, stored: Record | Hit, collection_name: str) -> Document:
    """Put the id and the name of the collection into the metadata, as langchain-qdrant does."""
    document.metadata |= {"_id": stored.id, "_collection_name": collection_name}
    return document


def to_scored_document(hit: Hit, keys: PayloadKeys) -> tuple[Document, float]:
    """Return the document of a hit and its score; stages and explanation go into the metadata."""
    document = to_document(hit, keys)
    if hit.stages is not None:
        document.metadata["_stages"] = hit.stages
    if hit.explanation is not None:
        document.metadata["_explanation"] = hit.explanation.to_dict()
    return document, hit.score
