"""Documents without text or tokens among others: refused, or left out and reported."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence, Sized
from dataclasses import dataclass, fields
from typing import Any, Literal, TypeAlias, get_args

import numpy as np

from embplug.branches.documents import Documents
from embplug.common.ids import Id
from embplug.errors import InvalidArgumentError
from embplug.methods.token_batch import TokenBatch

OnEmpty: TypeAlias = Literal["raise", "skip"]
"""What happens to a document whose text is blank, or that has no tokens."""


@dataclass(frozen=True, eq=False)
class KeptDocuments(Documents):
    """A batch from which empty documents were taken; ``rows`` are the positions of the others in it."""

    rows: Sequence[int] = ()


def check_on_empty(on_empty: Any) -> None:
    """Check the name of what happens to empty documents.

    Raises
    ------
    InvalidArgumentError
        It is none of the names.
    """
    if on_empty not in get_args(OnEmpty):
        raise InvalidArgumentError("on_empty", "'raise' or 'skip'", repr(on_empty))


def without_empty(batches: Iterable[Any], skipped: list[Id]) -> Iterator[Any]:
    """Leave empty documents out of batches.

    Parameters
    ----------
    batches : iterable of Documents
        Batches as the user passed them; what is no batch is left to the checks.
    skipped : list of Id
        Gets the ids of the documents that are left out.

    Yields
    ------
    batch : Documents
        Batch without its empty documents.
    """
    for batch in batches:
        rows = _kept_rows(batch) if isinstance(batch, Documents) else None
        if rows is None:
            yield batch
            continue
        kept = {*rows}
        skipped += [id_ for i, id_ in enumerate(batch.ids) if i not in kept]
        if rows:
            names = [field.name for field in fields(Documents) if field.name != "position"]
            columns = {name: _taken(getattr(batch, name), rows) for name in names}
            yield KeptDocuments(**columns, position=batch.position, rows=rows)


def _kept_rows(batch: Documents) -> list[int] | None:
    """Positions of the documents that are not empty; None if all are kept, or the checks will refuse them."""
    columns = [batch.ids, batch.texts, batch.tokens]
    if any(not isinstance(column, Sized | None) or isinstance(column, str) for column in columns):
        return None
    count = len(batch.ids)
    if any(column is not None and len(column) != count for column in (batch.texts, batch.tokens)):
        return None
    kept = [
        i
        for i in range(count)
        if not (batch.texts is not None and is_blank(batch.texts[i]))
        and not (batch.tokens is not None and _has_no_rows(batch.tokens, i))
    ]
    return None if len(kept) == count else kept


def is_blank(text: Any) -> bool:
    """Return whether there is no text, or nothing but white space."""
    return text is None or (isinstance(text, str) and not text.strip())


def _has_no_rows(tokens: Any, row: int) -> bool:
    if isinstance(tokens, TokenBatch):
        return bool(tokens.lengths[row] == 0)
    matrix = tokens[row]
    return matrix is None or (isinstance(matrix, Sized) and len(matrix) == 0)


def _taken(column: Any, rows: Sequence[int]) -> Any:
    if isinstance(column, Mapping):
        return {name: _taken(values, rows) for name, values in column.items()}
    if isinstance(column, TokenBatch):
        return column.take(np.asarray(rows))
    if isinstance(column, np.ndarray):
        return column[list(rows)]
    return None if column is None else [column[row] for row in rows]
