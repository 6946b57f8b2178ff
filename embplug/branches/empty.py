"""Documents without text, visible image or tokens: refused, left out, or stored without vectors."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set, Sized
from dataclasses import dataclass, fields, replace
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from embplug.branches.documents import (
    CheckedDocuments,
    Documents,
    check_documents,
    check_without_vectors,
)
from embplug.branches.images import page_image
from embplug.branches.sparse_vectors import SparseBatch
from embplug.common.validation import short_repr
from embplug.errors import ImageError, InvalidArgumentError, LengthMismatchError
from embplug.methods.token_batch import TokenBatch
from embplug.pages import PageImage
from embplug.recipe import Recipe

OnEmpty: TypeAlias = Literal["raise", "skip", "store"]
"""What happens to a document whose text or image is blank, or that has no tokens."""

VECTORS = tuple(
    field.name for field in fields(Documents) if field.name not in ("ids", "texts", "payloads", "position")
)
"""What an empty document is stored without."""


@dataclass(frozen=True, eq=False)
class KeptDocuments(Documents):
    """Some documents of a batch; ``rows`` are their positions in it."""

    rows: Sequence[int] = ()


@dataclass(frozen=True, eq=False)
class EmptyDocuments(KeptDocuments):
    """The empty documents of a batch, which are stored with id and payload and without vectors."""


def check_stored_texts(batch: Documents, text_key: str) -> None:
    """Refuse payloads that hold another text than the one of which the vectors are made.

    Stores of frameworks make :class:`KeptDocuments`, whose embedded texts may also tell of the metadata.

    Raises
    ------
    InvalidArgumentError
        A text differs; the error names the payload.
    """
    if isinstance(batch, KeptDocuments) or not (
        isinstance(batch.texts, Sequence) and isinstance(batch.payloads, Sequence)
    ):
        return
    for i, (text, payload) in enumerate(zip(batch.texts, batch.payloads, strict=False)):
        if is_blank(text) or not isinstance(payload, Mapping) or text_key not in payload:
            continue
        stored = payload[text_key]
        if not (isinstance(stored, str) and stored == text):
            expected = "no such field, or the text of the document, which is stored in it"
            raise InvalidArgumentError(f"payloads[{i}][{text_key!r}]", expected, short_repr(stored))


def check_on_empty(on_empty: Any) -> None:
    """Check the name of what happens to empty documents.

    Raises
    ------
    InvalidArgumentError
        It is none of the names.
    """
    if not isinstance(on_empty, str) or on_empty not in get_args(OnEmpty):
        raise InvalidArgumentError("on_empty", "'raise', 'skip' or 'store'", repr(on_empty))


def split_empty(batch: Any) -> tuple[Documents | None, EmptyDocuments | None]:
    """Split a batch into its documents with vectors or a text, and its empty documents.

    A document is empty if its text is blank or missing among texts, if its token matrix has no row, if its
    dense vectors are None, or if its image is blank. The text of a document with an image may be blank.

    Parameters
    ----------
    batch : Documents
        Batch as the user passed it; what is no batch is left to the checks.

    Returns
    -------
    kept : Documents or None
        The documents that are not empty, None if there are none.
    empty : EmptyDocuments or None
        The empty documents, None if there are none.

    Raises
    ------
    InvalidArgumentError
        Some documents are empty, and payloads or the like are no sequence with one item for each document.
    """
    if isinstance(batch, Documents) and batch.images is not None:
        # The checks that follow do not decode them again.
        batch = replace(batch, images=_page_images(batch.images))
    empty = _empty_rows(batch) if isinstance(batch, Documents) else []
    if not empty:
        return batch, None
    _check_columns(batch)
    own = {*empty}
    rows = [row for row in range(len(batch.ids)) if row not in own]
    kept = _documents(KeptDocuments, batch, rows, VECTORS) if rows else None
    return kept, _documents(EmptyDocuments, batch, empty, ())


def check_batch(documents: Documents, recipe: Recipe, has_encoder: bool) -> CheckedDocuments:
    """Check a whole batch, which may be one of empty documents; see :func:`check_documents`."""
    if isinstance(documents, EmptyDocuments):
        return check_without_vectors(documents, recipe)
    return check_documents(documents, recipe, has_encoder)


def _documents(
    kind: type[KeptDocuments], batch: Documents, rows: Sequence[int], vectors: Sequence[str]
) -> Any:
    places = batch.rows if isinstance(batch, KeptDocuments) else None
    columns = {name: _taken(getattr(batch, name), rows) for name in ("ids", "texts", "payloads", *vectors)}
    if isinstance(columns["ids"], np.ndarray):
        columns["ids"] = columns["ids"].tolist()
    own = rows if places is None else [places[row] for row in rows]
    return kind(**columns, position=batch.position, rows=own)


def _check_columns(batch: Documents) -> None:
    """Check that every column of a batch can be split: ids and what is compared with them have been."""
    count = len(batch.ids)
    for name in ("payloads", "saliency", "grids", "sparse"):
        column = getattr(batch, name)
        if column is None:
            continue
        is_column = isinstance(column, Sequence | np.ndarray | SparseBatch) and not isinstance(column, str)
        if not is_column and not hasattr(column, "tocsr"):
            raise InvalidArgumentError(name, "a sequence, one item per document", type(column).__name__)
        length = column.shape[0] if hasattr(column, "tocsr") else len(column)
        if length != count:
            raise LengthMismatchError(name, f"{count} items, one for each document", length)


def _empty_rows(batch: Documents) -> list[int]:
    """Positions of the empty documents; none if the checks will refuse the batch."""
    vectors: list[Any] = [*batch.dense.values()] if isinstance(batch.dense, Mapping) else [batch.dense]
    dense = [column for column in vectors if column is not None]
    columns: list[Any] = [batch.ids, batch.texts, batch.tokens, batch.images, *dense]
    if any(
        not isinstance(column, Sized | None)
        or isinstance(column, str | Set | Mapping)
        or getattr(column, "shape", None) == ()
        for column in columns
    ):
        return []
    count = len(batch.ids)
    if any(column is not None and len(column) != count for column in columns):
        return []
    if any(isinstance(column, np.ndarray) for column in dense):
        dense = []  # an array has all vectors
    return [
        row
        for row in range(count)
        if (batch.texts is not None and batch.images is None and is_blank(batch.texts[row]))
        or (batch.tokens is not None and _has_no_rows(batch.tokens, row))
        or (dense and all(column[row] is None for column in dense))
        or (batch.images is not None and _shows_nothing(batch.images[row]))
    ]


def is_blank(text: Any) -> bool:
    """Return whether there is no text, or nothing but white space."""
    return text is None or (isinstance(text, str) and not text.strip())


def _has_no_rows(tokens: Any, row: int) -> bool:
    if isinstance(tokens, TokenBatch):
        return bool(tokens.lengths[row] == 0)
    matrix = tokens[row]
    return matrix is None or (isinstance(matrix, Sized) and len(matrix) == 0)


def _page_images(images: Any) -> Any:
    """Images that remember whether they are blank; what is none is left to the checks."""
    if not isinstance(images, Sequence) or isinstance(images, str | bytes):
        return images
    try:
        return [None if image is None else page_image(image, "images") for image in images]
    except InvalidArgumentError:
        return images


def _shows_nothing(image: Any) -> bool:
    try:
        return image is None or (isinstance(image, PageImage) and image.is_blank)
    except ImageError:
        return False


def _taken(column: Any, rows: Sequence[int]) -> Any:
    if isinstance(column, Mapping):
        return {name: _taken(values, rows) for name, values in column.items()}
    if isinstance(column, TokenBatch):
        return column.take(np.asarray(rows))
    if isinstance(column, SparseBatch):
        column = column.vectors()
    if hasattr(column, "tocsr"):  # a sparse matrix of scipy, of which not every kind can be indexed
        column = column.tocsr()
    if isinstance(column, np.ndarray) or hasattr(column, "tocsr"):
        return column[list(rows)]
    return None if column is None else [column[row] for row in rows]
