"""The tools of the server: they read, search and change the collections that it shows."""

from __future__ import annotations

import uuid
from collections.abc import Mapping
from typing import Annotated, Any, TypeAlias

from pydantic import Field

from embplug.branches.documents import Documents
from embplug.collection.records import Record
from embplug.common.ids import Id
from embplug.engines.calls import Call, Steps
from embplug.errors import InvalidArgumentError
from embplug.frameworks.dict_filters import filter_from_dict
from embplug.frameworks.mcp.results import (
    CollectionSummary,
    DocumentPage,
    FoundDocument,
    NewDocument,
    StoredDocument,
    field_types,
    found_document,
    stored_document,
)
from embplug.frameworks.mcp.served import ServedCollection, chosen
from embplug.frameworks.search import SearchRequest

EXAMPLES = 20
"""Number of documents from which the fields of a collection are read."""

_KEYS = {"ids": "id", "texts": "text", "payloads": "fields"}
"""Columns of a collection, with their names in a document of a client."""

CollectionName: TypeAlias = Annotated[
    str | None, Field(description="Name of the collection; may be left out if there is only one.")
]
DocumentFilter: TypeAlias = Annotated[
    dict[str, Any] | None,
    Field(
        description='Condition on fields of the documents: {"year": 2024}, {"year": {"$gte": 2020}, "tags": '
        '["a", "b"]}, {"$or": [...]}. Operators: $eq $ne $gt $gte $lt $lte $in $nin $exists $text; $and $or '
        '$not combine. A filter of Qdrant, such as {"must": [...]}, is taken too.'
    ),
]
MaxCharacters: TypeAlias = Annotated[
    int, Field(ge=1, description="Texts of documents are shortened to this number of characters.")
]
DocumentIds: TypeAlias = Annotated[list[int | str], Field(min_length=1, max_length=100)]


class Tools:
    """The tools, each of which is a method that a client calls by its name.

    Parameters
    ----------
    served : mapping of str to ServedCollection
        The collections that clients see.
    """

    def __init__(self, served: Mapping[str, ServedCollection]) -> None:
        self._served = served

    async def list_collections(self) -> list[CollectionSummary]:
        """List the collections: how many documents each has, their fields, and how it is searched."""
        return [await own.shared.arun(_summary_steps(own)) for own in self._served.values()]

    async def search(
        self,
        query: Annotated[str, Field(min_length=1, description="Text to search for, in plain words.")],
        collection: CollectionName = None,
        limit: Annotated[int, Field(ge=1, le=100, description="Number of documents.")] = 5,
        filter: DocumentFilter = None,
        max_characters: MaxCharacters = 1000,
    ) -> list[FoundDocument]:
        """Search documents by meaning, and by words where the collection has them; the best come first."""
        own = chosen(self._served, collection)
        request = SearchRequest(text=query, limit=limit, filter=filter_from_dict(filter), with_stages=True)
        hits = await own.shared.asearch(request)
        return [found_document(hit, _text_key(own), max_characters) for hit in hits]

    async def get_documents(
        self, ids: DocumentIds, collection: CollectionName = None
    ) -> list[StoredDocument]:
        """Read whole documents by their ids; ids without a document are left out."""
        own = chosen(self._served, collection)
        records = await own.shared.arecords(ids)
        return [stored_document(record, _text_key(own), None) for record in records]

    async def list_documents(
        self,
        collection: CollectionName = None,
        limit: Annotated[int, Field(ge=1, le=100, description="Number of documents.")] = 20,
        filter: DocumentFilter = None,
        offset: Annotated[
            int | str | None, Field(description="next_offset of the page before; null for the first page.")
        ] = None,
        max_characters: MaxCharacters = 200,
    ) -> DocumentPage:
        """List documents, or those that meet a condition, page by page in no particular order."""
        own = chosen(self._served, collection)
        page = await own.shared.arun(_page_steps(filter, limit, offset))
        documents = [stored_document(record, _text_key(own), max_characters) for record in page[0]]
        return DocumentPage(documents=documents, next_offset=page[1])

    async def count_documents(self, collection: CollectionName = None, filter: DocumentFilter = None) -> int:
        """Count documents, or those that meet a condition."""
        own = chosen(self._served, collection)
        return await own.shared.arun(_count_steps(filter))

    async def explain(
        self,
        query: Annotated[str, Field(min_length=1, description="Text of the search.")],
        id: Annotated[int | str, Field(description="Id of the document.")],
        collection: CollectionName = None,
    ) -> dict[str, Any]:
        """Tell which words of a query met which words of a document; for collections that store tokens."""
        own = chosen(self._served, collection)
        return await own.shared.arun(_explain_steps(own, query, id))

    async def add_documents(
        self,
        documents: Annotated[list[NewDocument], Field(min_length=1, max_length=100)],
        collection: CollectionName = None,
    ) -> list[int | str]:
        """Add documents, or replace those whose ids exist; returns their ids."""
        own = chosen(self._served, collection)
        if not own.may_add:
            allowed = [name for name, item in self._served.items() if item.may_add]
            raise InvalidArgumentError("collection", f"one that may be added to: {allowed}", repr(own.name))
        batch = _batch(own, documents)
        try:
            await own.shared.aadd([batch], progress=False)
        except InvalidArgumentError as error:
            column, _, rest = error.argument.partition("[")
            place, end, inner = rest.partition("]")
            if column not in _KEYS or not end:
                raise
            argument = f"documents[{place}].{_KEYS[column]}{inner}"
            raise type(error)(argument, error.expected, error.got) from error
        return [id_ if isinstance(id_, int) else str(id_) for id_ in batch.ids]

    async def delete_documents(self, ids: DocumentIds, collection: CollectionName = None) -> int:
        """Delete documents by their ids, and return their number; ids without a document are no error."""
        own = chosen(self._served, collection)
        if not own.may_delete:
            allowed = [name for name, item in self._served.items() if item.may_delete]
            expected = f"one that may be deleted from: {allowed}"
            raise InvalidArgumentError("collection", expected, repr(own.name))
        existing = await own.shared.arecords(ids)
        await own.shared.adelete(ids)
        return len(existing)


def _text_key(own: ServedCollection) -> str:
    return own.shared.collection.recipe.text_key


def _batch(own: ServedCollection, documents: list[NewDocument]) -> Documents:
    for i, document in enumerate(documents):
        if not document.get("text"):
            raise InvalidArgumentError(f"documents[{i}].text", "a text", document.get("text"))
        if _text_key(own) in (document.get("fields") or ()):
            expected = f"no field {_text_key(own)!r}, which holds the text of the document"
            raise InvalidArgumentError(f"documents[{i}].fields", expected, "one")
    ids: list[Id] = [document.get("id", str(uuid.uuid4())) for document in documents]
    return Documents(
        [own.shared.ids.to_collection(id_) if isinstance(id_, str) else id_ for id_ in ids],
        texts=[document["text"] for document in documents],
        payloads=[document.get("fields") for document in documents],
        position=0,
    )


def _summary_steps(own: ServedCollection) -> Steps[CollectionSummary]:
    count: int = yield Call.of("count")
    page: tuple[list[Record], Any] = yield Call.of("scroll", limit=EXAMPLES)
    return CollectionSummary(
        name=own.name,
        documents=count,
        searched_by=[*own.shared.collection.recipe.branches],
        fields=field_types(page[0], _text_key(own)),
        may_add=own.may_add,
        may_delete=own.may_delete,
    )


def _page_steps(filter: dict[str, Any] | None, limit: int, offset: Any) -> Steps[tuple[list[Record], Any]]:
    condition = filter_from_dict(filter)
    page: tuple[list[Record], Any] = yield Call.of("scroll", filter=condition, limit=limit, offset=offset)
    return page


def _count_steps(filter: dict[str, Any] | None) -> Steps[int]:
    count: int = yield Call.of("count", filter=filter_from_dict(filter))
    return count


def _explain_steps(own: ServedCollection, query: str, id: int | str) -> Steps[dict[str, Any]]:
    records = yield from own.shared.record_steps([id])
    if not records:
        raise InvalidArgumentError("id", "the id of a document that exists", repr(id))
    explanation: Any = yield Call.of("explain", id=records[0].id, text=query)
    described: dict[str, Any] = explanation.to_dict()
    return described
