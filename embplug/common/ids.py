"""Point ids: all ids that Qdrant accepts, and any other string, which is mapped to a UUID."""

from __future__ import annotations

import uuid
from collections.abc import Iterable, Mapping, Sequence
from typing import Any, TypeAlias

import numpy as np

from embplug.common.unicode_text import is_unicode
from embplug.common.validation import short_repr
from embplug.errors import DuplicateIdError, InvalidArgumentError

Id: TypeAlias = int | str | uuid.UUID
"""An unsigned 64-bit integer, a UUID, or any non-empty string."""

ORIGINAL_ID = "_embplug_id"
"""Payload field with the id of a document whose id is a string that is not a UUID."""

CODES = "_embplug_codes"
"""Payload field with the codes of a document's tokens, as base85."""

SHORTLIST = "_embplug_shortlist"
"""Payload field with short codes of a document's tokens, which choose the best candidates, as base85."""

DENSE_CODES = "_embplug_dense"
"""Payload field with the concatenated codes of a document's dense vectors, as base85."""

MIGRATED = "_embplug_migrated"
"""Payload field with the digest of the source point, until the migration is finished."""

MODEL = "_embplug_model"
"""Payload field with the model version of a point's vector, as long as vectors of two models are mixed."""

GRID = "_embplug_grid"
"""Payload field with rows and columns of an image's patches, and the number of tokens before the first one.

They are those of the tokens before the recipe's reductions."""

CODE_FIELDS = (CODES, SHORTLIST, DENSE_CODES)
OWN_FIELDS = (ORIGINAL_ID, *CODE_FIELDS, MIGRATED, MODEL, GRID)

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://pypi.org/project/embplug")


def point_id(value: Any, argument: str) -> int | str:
    """Map an id to the id under which Qdrant keeps the document.

    Integers and UUIDs are kept as they are. Any other string is mapped to its uuid5.

    Parameters
    ----------
    value : int, str or UUID
        Id of a document.
    argument : str
        Name of the argument, for the error.

    Returns
    -------
    int or str
        Id of the point.

    Raises
    ------
    InvalidArgumentError
        The id is neither an integer in 0..2**64 - 1, nor a UUID, nor a non-empty string.
    """
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool) and 0 <= value < 1 << 64:
        return int(value)
    if isinstance(value, uuid.UUID):
        return str(value)
    if isinstance(value, str) and value and is_unicode(value):
        return value if _is_canonical(value) else str(uuid.uuid5(_NAMESPACE, value))
    raise InvalidArgumentError(
        argument, "an integer in 0..2**64 - 1, a UUID or a non-empty string", short_repr(value)
    )


def listed_ids(values: Any, argument: str = "ids") -> list[Any]:
    """List the ids of an argument that means several documents.

    Parameters
    ----------
    values : iterable of int, str or UUID
        Ids of documents.
    argument : str, default="ids"
        Name of the argument, for the error.

    Returns
    -------
    list
        The ids as they were passed.

    Raises
    ------
    InvalidArgumentError
        If it is a single id, such as ``"42"``, whose characters would be taken for ids; or a mapping.
    """
    if isinstance(values, np.ndarray) and values.ndim == 1:
        return list(values.tolist())
    single = isinstance(values, (str, bytes, bytearray, memoryview, Mapping, np.ndarray))
    if single or not isinstance(values, Iterable):
        raise InvalidArgumentError(argument, "a list of ids", short_repr(values))
    return list(values)


def is_integer_text(text: str) -> bool:
    """Whether a text is the decimal form of an unsigned integer of 64 bits."""
    if not (text.isascii() and text.isdecimal() and len(text) <= 20):
        return False
    return str(int(text)) == text and int(text) < 1 << 64


def point_ids(values: Sequence[Any], argument: str = "ids") -> list[int | str]:
    """Map the ids of a batch to point ids.

    Parameters
    ----------
    values : sequence of int, str or UUID
        Ids of documents.
    argument : str, default="ids"
        Name of the argument, for the error.

    Returns
    -------
    list of int or str
        Ids of the points, in the same order.

    Raises
    ------
    DuplicateIdError
        An id occurs twice; the error names the first such id.
    InvalidArgumentError
        An id is not valid; see :func:`point_id`.
    """
    seen: dict[int | str, int] = {}
    for i, value in enumerate(values):
        mapped = point_id(value, f"{argument}[{i}]")
        first = seen.setdefault(mapped, i)
        if first != i:
            raise DuplicateIdError(
                f"{argument}[{i}]", "ids that differ", f"{value!r}, as {argument}[{first}]"
            )
    return list(seen)


def original_ids(values: Sequence[Any], mapped: Sequence[int | str]) -> list[str | None]:
    """Return the ids that the payload has to keep, because the id of the point differs.

    Parameters
    ----------
    values : sequence of int, str or UUID
        Ids of documents.
    mapped : sequence of int or str
        Ids of the points, as :func:`point_ids` returns them.

    Returns
    -------
    list of str or None
        Ids to keep; ``None`` for a document whose point has the same id.
    """
    return [
        value if isinstance(value, str) and value != point else None
        for value, point in zip(values, mapped, strict=True)
    ]


def split_payload(id_: Any, payload: dict[str, Any] | None) -> tuple[int | str, dict[str, Any] | None]:
    """Split what Qdrant returns into the document's id and payload.

    Parameters
    ----------
    id_ : int or str
        Id of the point.
    payload : dict or None
        Payload of the point.

    Returns
    -------
    id : int or str
        Id of the document.
    payload : dict or None
        Payload without embplug's own fields.
    """
    if payload and not payload.keys().isdisjoint(OWN_FIELDS):
        shown = {key: value for key, value in payload.items() if key not in OWN_FIELDS}
        return payload.get(ORIGINAL_ID, id_), shown
    return id_, payload


def _is_canonical(text: str) -> bool:
    try:
        return len(text) == 36 and str(uuid.UUID(text)) == text
    except ValueError:
        return False
