"""Ids of documents in collections of qdrant-haystack."""

from __future__ import annotations

import uuid

from embplug.frameworks.ids import DocumentId, DocumentIds, check_id

_NAMESPACE = uuid.UUID("3896d314-1e95-4a3a-b45a-945f9f0b541d")


class PlainDocumentIds(DocumentIds):
    """Translates ids as qdrant-haystack does, which derives the id of a point from each."""

    def __init__(self) -> None:
        super().__init__(is_plain=True)

    def to_collection(self, document_id: DocumentId) -> int | str:
        """Return the id of the point of a document."""
        check_id(document_id)
        return str(uuid.uuid5(_NAMESPACE, str(document_id)))
