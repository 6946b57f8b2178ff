"""Documents that are written, by what happens to those that exist."""

from __future__ import annotations

import logging
from collections.abc import Iterator, Sequence
from itertools import chain, groupby
from typing import Any

from haystack import Document
from haystack.document_stores.types import DuplicatePolicy

from embplug import Documents, Recipe
from embplug.branches.empty import EmptyDocuments, KeptDocuments, is_blank
from embplug.common.json_types import jsonable_payload
from embplug.common.unicode_text import check_text
from embplug.common.validation import short_repr
from embplug.engines.calls import Call, Steps
from embplug.errors import InvalidArgumentError
from embplug.frameworks.collection import FrameworkCollection
from embplug.frameworks.rows import batched
from embplug.frameworks.texts import documents_need_text
from haystack_embplug.documents import plain_payload, to_payload
from haystack_embplug.errors import DocumentExistsError

logger = logging.getLogger(__name__)


class Writer:
    """Writes documents to the collection of a store.

    Parameters
    ----------
    shared : FrameworkCollection
        Collection of the store.
    dense_name : str or None
        Name of the dense vector that embeddings are. None leaves embeddings aside.
    batch_size : int
        Number of documents that are encoded and checked together.
    progress : bool or None
        Show a progress bar; None shows one on a terminal.
    """

    def __init__(
        self, shared: FrameworkCollection, dense_name: str | None, batch_size: int, progress: bool | None
    ) -> None:
        self._shared = shared
        self._dense_name = dense_name
        self._batch_size = batch_size
        self._progress = progress

    def steps(self, documents: Sequence[Document], policy: DuplicatePolicy) -> Steps[int]:
        """Write documents, and return their number; see :meth:`EmbplugDocumentStore.write_documents`."""
        check_documents(documents)
        if not isinstance(policy, DuplicatePolicy):
            raise InvalidArgumentError("policy", "a haystack DuplicatePolicy", short_repr(policy))
        if self._recipe.tokens is not None and not self._shared.collection.has_encoder:
            raise InvalidArgumentError("encoder", "an encoder, which makes the tokens of documents", None)
        places = {document.id: place for place, document in enumerate(documents)}
        if policy not in (DuplicatePolicy.OVERWRITE, DuplicatePolicy.SKIP) and len(places) < len(documents):
            place = next(i for i, document in enumerate(documents) if places[document.id] != i)
            _refuse(place, documents[place].id)
        if policy == DuplicatePolicy.SKIP:
            places = {document.id: place for place, document in reversed([*enumerate(documents)])}
        if policy != DuplicatePolicy.OVERWRITE:
            existing = yield from self._existing_steps([*places])
            if policy != DuplicatePolicy.SKIP and existing:
                _refuse(min(places[id_] for id_ in existing), next(iter(existing)))
            places = {id_: place for id_, place in places.items() if id_ not in existing}
        return (yield from self._write_steps(documents, sorted(places.values())))

    @property
    def _recipe(self) -> Recipe:
        return self._shared.collection.recipe

    def _existing_steps(self, ids: Sequence[str]) -> Steps[set[str]]:
        existing: set[str] = set()
        for part in batched(ids, 1000):
            records = yield from self._shared.record_steps(part)
            stored = {record.id for record in records}
            existing |= {id_ for id_ in part if not stored.isdisjoint(self._shared.ids.candidates([id_]))}
        return existing

    def _write_steps(self, documents: Sequence[Document], places: Sequence[int]) -> Steps[int]:
        bare = [place for place in places if not self._is_whole(documents[place])]
        without = {*bare}
        whole = [place for place in places if place not in without]
        batches = chain(self._batches(documents, whole), self._bare_batches(documents, bare))
        yield Call.of("add_batches", batches=batches, progress=self._progress)
        if bare:
            logger.warning(
                "%d documents lack an embedding, or a text to make vectors of: filters find them, and no "
                "retriever does",
                len(bare),
            )
        return len(places)

    def _is_whole(self, document: Document) -> bool:
        """Return whether a document has all vectors of the recipe, or a text to make them of."""
        recipe, own = self._recipe, self._embedding(document)
        if recipe.sparse is not None and is_blank(document.content):
            return False
        if recipe.tokens is None and len(recipe.dense) <= len(own):
            return True
        return self._shared.collection.has_encoder and not is_blank(document.content)

    def _embedding(self, document: Document) -> dict[str, Any]:
        if self._dense_name is None or document.embedding is None:
            return {}
        return {self._dense_name: document.embedding}

    def _batches(self, documents: Sequence[Document], places: Sequence[int]) -> Iterator[Documents]:
        for batch in batched(places, self._batch_size):
            # The vectors of a batch come from one source, embeddings or the encoder.
            for _, part in groupby(batch, lambda place: bool(self._embedding(documents[place]))):
                yield self._documents(documents, [*part])

    def _bare_batches(self, documents: Sequence[Document], places: Sequence[int]) -> Iterator[Documents]:
        for part in batched(places, self._batch_size):
            yield EmptyDocuments(
                ids=[self._shared.ids.to_collection(documents[place].id) for place in part],
                payloads=[self._payload(documents[place], place) for place in part],
                position=0,
                rows=part,
            )

    def _documents(self, documents: Sequence[Document], places: Sequence[int]) -> Documents:
        batch = [documents[place] for place in places]
        names = self._embedding(batch[0])
        dense: Any = {name: [document.embedding for document in batch] for name in names} or None
        needs_text = documents_need_text(self._recipe, has_tokens=False, dense=dense)
        return KeptDocuments(
            ids=[self._shared.ids.to_collection(document.id) for document in batch],
            dense=dense,
            texts=[str(document.content) for document in batch] if needs_text else None,
            payloads=[self._payload(documents[place], place) for place in places],
            position=0,
            rows=places,
        )

    def _payload(self, document: Document, place: int) -> dict[str, Any]:
        if document.content is not None:
            check_text(document.content, f"documents[{place}].content")
        if self._shared.is_plain:
            return jsonable_payload(plain_payload(document), f"documents[{place}]")
        return jsonable_payload(to_payload(document, self._recipe.text_key), f"documents[{place}]")


def check_documents(documents: Any) -> None:
    """Check that an argument is a list of documents.

    Raises
    ------
    InvalidArgumentError
        It is something else; the error names the first item that is no document. It is a ``ValueError``.
    """
    if not isinstance(documents, (list, tuple)):
        raise InvalidArgumentError("documents", "a list of documents", type(documents).__name__)
    for i, document in enumerate(documents):
        if not isinstance(document, Document):
            raise InvalidArgumentError(f"documents[{i}]", "a haystack Document", short_repr(document))


def _refuse(place: int, id_: str) -> None:
    expected = "an id that is new, because the policy is to fail"
    raise DocumentExistsError(f"documents[{place}].id", expected, repr(id_))
