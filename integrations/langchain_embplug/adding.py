"""Adds rows to the collection of a store, batch by batch."""

from __future__ import annotations

from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Sequence
from typing import TypeAlias

from langchain_core.embeddings import Embeddings

from embplug import Documents
from embplug.branches.empty import OnEmpty
from embplug.common.json_types import check_text
from embplug.frameworks.collection import FrameworkCollection
from embplug.frameworks.ids import DocumentId
from embplug.frameworks.rows import batched, without_empty
from embplug.frameworks.texts import documents_need_text
from langchain_embplug.documents import PayloadKeys, Row, to_payload

Ids: TypeAlias = Iterable[DocumentId | None] | None
Rows: TypeAlias = Callable[[Ids], Iterator[Row]]
"""Makes rows with these ids."""


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

    def add(
        self,
        rows: Rows,
        *,
        ids: Ids = None,
        batch_size: int = 64,
        progress: bool | None = False,
        on_empty: OnEmpty = "raise",
    ) -> list[str]:
        """Add rows, and return their ids; see :meth:`EmbplugVectorStore.add_texts`."""
        added: list[str] = []

        def batches() -> Iterator[Documents]:
            for batch in batched(without_empty(rows(ids), _text, on_empty), batch_size):
                position = len(added)
                texts = _checked_texts(batch, position)
                vectors = None if self._embedding is None else self._embedding.embed_documents(texts)
                added.extend(row.id for row in batch)
                yield self._documents(batch, vectors, position)

        self._shared.add(batches(), progress=progress)
        return added

    async def aadd(
        self,
        rows: Rows,
        *,
        ids: Ids = None,
        batch_size: int = 64,
        progress: bool | None = False,
        on_empty: OnEmpty = "raise",
    ) -> list[str]:
        """Add rows, which are embedded asynchronously, and return their ids; see :meth:`add`."""
        added: list[str] = []

        async def batches() -> AsyncIterator[Documents]:
            for batch in batched(without_empty(rows(ids), _text, on_empty), batch_size):
                position = len(added)
                texts = _checked_texts(batch, position)
                embedding = self._embedding
                vectors = None if embedding is None else await embedding.aembed_documents(texts)
                added.extend(row.id for row in batch)
                yield self._documents(batch, vectors, position)

        await self._shared.aadd(batches(), progress=progress)
        return added

    def _documents(self, batch: Sequence[Row], vectors: list[list[float]] | None, position: int) -> Documents:
        dense = None if vectors is None else {str(self._dense_name): vectors}
        recipe = self._shared.collection.recipe
        return Documents(
            ids=[self._shared.ids.to_collection(row.id) for row in batch],
            dense=dense,
            texts=_texts(batch) if documents_need_text(recipe, has_tokens=False, dense=dense) else None,
            payloads=[to_payload(row, self._keys) for row in batch],
            position=position,
        )


def _text(row: Row) -> str:
    return row.text


def _texts(batch: Sequence[Row]) -> list[str]:
    return [row.text for row in batch]


def _checked_texts(batch: Sequence[Row], position: int) -> list[str]:
    """Texts for the embeddings, which would fail at half of a surrogate pair without naming its place."""
    for i, row in enumerate(batch):
        check_text(row.text, f"texts[{position + i}]")
    return _texts(batch)
