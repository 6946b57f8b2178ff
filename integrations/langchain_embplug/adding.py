"""Adds rows to the collection of a store, batch by batch."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from typing import Any, TypeAlias

from langchain_core.embeddings import Embeddings
from typing_extensions import Unpack

from embplug import Documents
from embplug.branches.empty import KeptDocuments, OnEmpty, is_blank
from embplug.common.unicode_text import check_text
from embplug.common.validation import short_repr
from embplug.errors import InvalidArgumentError
from embplug.frameworks.collection import FrameworkCollection
from embplug.frameworks.ids import DocumentId
from embplug.frameworks.peer_keywords import check_options
from embplug.frameworks.rows import UniqueRows, batched, without_empty
from embplug.frameworks.texts import documents_need_text
from langchain_embplug.documents import PayloadKeys, Row, to_payload
from langchain_embplug.options import AddOptions

Ids: TypeAlias = Iterable[DocumentId | None] | None
Rows: TypeAlias = Callable[[Ids], Iterator[Row]]
"""Makes rows with these ids."""


PlacedRow: TypeAlias = tuple[int, Row]
"""A row and its position in the call."""


class Adder:
    """Embeds rows and adds them.

    Parameters
    ----------
    shared : FrameworkCollection
        Collection of the store.
    embedding : Embeddings or None
        Makes the dense vectors of texts. If it is None, the encoder of the collection does.
    dense_name : str or None
        Name of the dense vector that the embeddings make.
    keys : PayloadKeys
        Payload fields with the text and the metadata.
    """

    def __init__(
        self,
        shared: FrameworkCollection,
        embedding: Embeddings | None,
        dense_name: str | None,
        keys: PayloadKeys,
    ) -> None:
        self._shared = shared
        self._embedding = embedding
        self._dense_name = dense_name
        self._keys = keys

    def add(self, rows: Rows, **options: Unpack[AddOptions]) -> list[str]:
        """Add rows, and return their ids; see :meth:`EmbplugVectorStore.add_texts`."""
        unique, batch_size, on_empty, write = _split(rows, options)
        for part in unique.parts():
            self._shared.add(self._batches(part, batch_size, on_empty), on_empty=on_empty, **write)
        return unique.ids

    async def aadd(self, rows: Rows, **options: Unpack[AddOptions]) -> list[str]:
        """Add rows, which are embedded asynchronously, and return their ids; see :meth:`add`."""
        unique, batch_size, on_empty, write = _split(rows, options)
        for part in unique.parts():
            await self._shared.aadd(self._abatches(part, batch_size, on_empty), on_empty=on_empty, **write)
        return unique.ids

    def _batches(self, rows: Iterable[PlacedRow], batch_size: int, on_empty: OnEmpty) -> Iterator[Documents]:
        for placed in batched(rows, batch_size):
            places, batch = zip(*placed, strict=True)
            texts = _checked_texts(batch, places)
            vectors = None
            if self._embedding is not None:
                embedded = self._embedding.embed_documents(_to_embed(texts, on_empty))
                vectors = _placed(embedded, texts, on_empty)
            yield self._documents(batch, vectors, places)

    async def _abatches(
        self, rows: Iterable[PlacedRow], batch_size: int, on_empty: OnEmpty
    ) -> AsyncIterator[Documents]:
        for placed in batched(rows, batch_size):
            places, batch = zip(*placed, strict=True)
            texts = _checked_texts(batch, places)
            vectors = None
            if self._embedding is not None:
                embedded = await self._embedding.aembed_documents(_to_embed(texts, on_empty))
                vectors = _placed(embedded, texts, on_empty)
            yield self._documents(batch, vectors, places)

    def _documents(
        self, batch: Sequence[Row], vectors: Sequence[list[float] | None] | None, places: Sequence[int]
    ) -> Documents:
        dense: Any = None if vectors is None else {str(self._dense_name): vectors}
        recipe = self._shared.collection.recipe
        return KeptDocuments(
            ids=[self._shared.ids.to_collection(row.id) for row in batch],
            dense=dense,
            texts=_texts(batch) if documents_need_text(recipe, has_tokens=False, dense=dense) else None,
            payloads=[to_payload(row, self._keys) for row in batch],
            position=0,
            rows=places,
        )


def _split(rows: Rows, options: AddOptions) -> tuple[UniqueRows[PlacedRow], int, OnEmpty, dict[str, Any]]:
    """Rows with their places, the size of a batch, what happens to blank texts, and options of the write."""
    check_options(options, AddOptions)
    write: dict[str, Any] = {"progress": False, **options}
    ids, batch_size = write.pop("ids", None), write.pop("batch_size", 64)
    on_empty: OnEmpty = write.pop("on_empty", "raise")
    return UniqueRows(without_empty(rows(ids), _text, on_empty), _id), batch_size, on_empty, write


def _id(placed: PlacedRow) -> str:
    return placed[1].id


def _text(row: Row) -> str:
    return row.text


def _to_embed(texts: list[str], on_empty: OnEmpty) -> list[str]:
    """Texts that get an embedding: not those that are stored without one."""
    return [text for text in texts if not is_blank(text)] if on_empty == "store" else texts


def _placed(embedded: list[list[float]], texts: list[str], on_empty: OnEmpty) -> Sequence[list[float] | None]:
    """Embeddings of all texts; None for a text that is stored without one."""
    if on_empty != "store":
        return embedded
    following = iter(embedded)
    return [None if is_blank(text) else next(following) for text in texts]


def _texts(batch: Sequence[Row]) -> list[str]:
    return [row.text for row in batch]


def _checked_texts(batch: Sequence[Row], places: Sequence[int]) -> list[str]:
    """Texts for the embeddings, which would fail at what is no text without naming its place."""
    for place, row in zip(places, batch, strict=True):
        if not isinstance(row.text, str):
            raise InvalidArgumentError(f"texts[{place}]", "a text", short_repr(row.text))
        check_text(row.text, f"texts[{place}]")
    return _texts(batch)
