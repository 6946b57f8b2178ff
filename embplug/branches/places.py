"""Places of documents in errors: where they stand in what the user passed, and their ids."""

from __future__ import annotations

import re
from collections.abc import Iterator
from contextlib import contextmanager

from embplug.branches.documents import Documents
from embplug.branches.empty import KeptDocuments
from embplug.errors import DuplicateIdError, InvalidArgumentError

_ROW = re.compile(
    r"((?:ids|texts|payloads|saliency|tokens|dense|images|grids|sparse)"
    r"(?:\[(?:'.*'|\".*\")\]| of encoder '.*')?)"
    r"\[(\d+)\](.*)",
    re.DOTALL,
)
"""An argument, the row of a document in it, and what follows: ``dense['title'][3]``."""


@contextmanager
def naming_documents(documents: Documents, batch: int, start: int = 0) -> Iterator[None]:
    """Make the errors of checks name documents as the user does.

    Parameters
    ----------
    documents : Documents
        Batch that is checked.
    batch : int
        Position of the batch among the batches of the call.
    start : int, default=0
        Position in the batch of the part that is checked.

    Raises
    ------
    InvalidArgumentError
        With the position of the document in the call, its id, and the batch if it is not the first.
    """
    try:
        yield
    except InvalidArgumentError as error:
        match = _ROW.fullmatch(error.argument)
        if match is None:
            raise
        name, inside, rest = match[1], int(match[2]) + start, match[3]
        position = documents.position or 0
        rows = documents.rows if isinstance(documents, KeptDocuments) else range(len(documents.ids))

        def placed(row: int) -> int:
            return position + (rows[row] if row < len(rows) else row)

        got = str(error.got)
        if isinstance(error, DuplicateIdError):
            got = re.sub(r"ids\[(\d+)\]$", lambda first: f"ids[{placed(int(first[1]) + start)}]", got)
        elif name != "ids" and inside < len(documents.ids):
            got += f" (id {documents.ids[inside]!r})"
        if documents.position is None and batch:
            got += f" in batches[{batch}]"
        raise type(error)(f"{name}[{placed(inside)}]{rest}", error.expected, got) from error
