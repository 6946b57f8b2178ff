"""Documents in a file of JSON lines."""

from __future__ import annotations

import json
import sys
import uuid
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

from embplug.errors import InvalidArgumentError

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://pypi.org/project/embplug/text")


def read_jsonl(file: Path, id_key: str | None, text_key: str) -> Iterator[tuple[Any, str, dict[str, Any]]]:
    """Read documents from a file with one JSON object a line.

    Parameters
    ----------
    file : path
        The file; ``-`` reads standard input.
    id_key : str or None
        Key of the id. ``None`` takes ``id``, or ``_id``, or an id computed from the text, so that adding the
        file again replaces the same documents.
    text_key : str
        Key of the text.

    Yields
    ------
    id : object
        Id of the document.
    text : str
        Text of the document.
    payload : dict
        All other keys of the object.

    Raises
    ------
    InvalidArgumentError
        A line is not a JSON object or has no text; the error names the line.
    """
    try:
        opened = nullcontext(sys.stdin) if str(file) == "-" else file.open(encoding="utf-8")
    except OSError as error:
        raise InvalidArgumentError(
            "path", "a readable file of JSON lines", f"{file}: {error.strerror}"
        ) from None
    with opened as lines:
        for number, line in enumerate(lines, start=1):
            if line.strip():
                yield _document(line, f"{file}, line {number}", id_key, text_key)


def _document(line: str, place: str, id_key: str | None, text_key: str) -> tuple[Any, str, dict[str, Any]]:
    try:
        document = json.loads(line)
    except ValueError as error:
        raise InvalidArgumentError(place, "a JSON object", error) from None
    if not isinstance(document, dict):
        raise InvalidArgumentError(place, "a JSON object", type(document).__name__)
    text = document.pop(text_key, None)
    if not isinstance(text, str) or not text.strip():
        raise InvalidArgumentError(place, f"a text under {text_key!r}", repr(text))
    if id_key is not None and id_key not in document:
        raise InvalidArgumentError(place, f"an id under {id_key!r}", "none")
    key = id_key or next((k for k in ("id", "_id") if k in document), None)
    return document.pop(key) if key else str(uuid.uuid5(_NAMESPACE, text)), text, document
