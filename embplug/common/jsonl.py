"""Documents in a file of JSON lines."""

from __future__ import annotations

import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Literal

from embplug.common.files import read_lines
from embplug.common.ids import point_id
from embplug.common.json_types import jsonable_payload, parse_json
from embplug.errors import InvalidArgumentError

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://pypi.org/project/embplug/text")


def read_jsonl(
    file: Path, id_key: str | None, text_key: str, *, on_empty: Literal["raise", "skip", "store"] = "raise"
) -> Iterator[tuple[Any, str, dict[str, Any]]]:
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
    on_empty : {"raise", "skip", "store"}, default="raise"
        What happens to a document whose text is blank or missing. All but ``"raise"`` read it, with an empty
        text where there is none; to be stored, it needs an id.

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
        A line is not a JSON object in UTF-8, has no text, or holds an id or a value that Qdrant cannot keep;
        the error names the line.
    """
    for place, line in read_lines(file, "a readable file of JSON lines"):
        yield _document(line, place, id_key, text_key, on_empty)


def _document(
    line: str, place: str, id_key: str | None, text_key: str, on_empty: str
) -> tuple[Any, str, dict[str, Any]]:
    document = parse_json(line, place)
    if not isinstance(document, dict):
        raise InvalidArgumentError(place, "a JSON object", type(document).__name__)
    document = jsonable_payload(document, place)
    text = document.pop(text_key, None)
    if text is None and on_empty != "raise":
        text = ""
    if not isinstance(text, str) or not (text.strip() or on_empty != "raise"):
        raise InvalidArgumentError(place, f"a text under {text_key!r}", repr(text))
    if id_key is not None and id_key not in document:
        raise InvalidArgumentError(place, f"an id under {id_key!r}", "none")
    key = id_key or next((k for k in ("id", "_id") if k in document), None)
    if key is None and on_empty == "store" and not text.strip():
        raise InvalidArgumentError(place, "an id under 'id' or '_id', or a text to make one from", "neither")
    document_id = document.pop(key) if key else str(uuid.uuid5(_NAMESPACE, text))
    point_id(document_id, f"{place}, {key!r}")
    return document_id, text, document
