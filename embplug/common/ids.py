"""Point ids: everything that Qdrant takes, and any other string by way of a UUID."""

from __future__ import annotations

import uuid
from collections.abc import Sequence
from typing import Any, TypeAlias

import numpy as np

from embplug.errors import DuplicateIdError, InvalidArgumentError

Id: TypeAlias = int | str | uuid.UUID
"""An unsigned 64-bit integer, a UUID, or any string that is not empty."""

ORIGINAL_ID = "_embplug_id"
"""Payload field that keeps a string that is no UUID."""

CODES = "_embplug_codes"
"""Payload field that keeps the codes of a document's tokens, as base85."""

DENSE_CODES = "_embplug_dense"
"""Payload field that keeps the codes of a document's dense vectors, one after the other, as base85."""

MIGRATED = "_embplug_migrated"
"""Payload field with the digest of what a point was copied from, while its migration is not over."""

MODEL = "_embplug_model"
"""Payload field with the version of the model whose vector a point has, while models are mixed."""

CODE_FIELDS = (CODES, DENSE_CODES)
OWN_FIELDS = (ORIGINAL_ID, *CODE_FIELDS, MIGRATED, MODEL)

_NAMESPACE = uuid.uuid5(uuid.NAMESPACE_URL, "https://pypi.org/project/embplug")


def point_id(given: Any, argument: str) -> int | str:
    """Id under which Qdrant keeps a document: itself, or the uuid5 of a string that is no UUID.

    Raises
    ------
    InvalidArgumentError
        Neither an integer in 0..2**64 - 1, nor a UUID, nor a string that is not empty.
    """
    if isinstance(given, (int, np.integer)) and not isinstance(given, bool) and 0 <= given < 1 << 64:
        return int(given)
    if isinstance(given, uuid.UUID):
        return str(given)
    if isinstance(given, str) and given and _is_unicode(given):
        return given if _is_canonical(given) else str(uuid.uuid5(_NAMESPACE, given))
    raise InvalidArgumentError(
        argument, "an integer in 0..2**64 - 1, a UUID or a non-empty string", repr(given)
    )


def point_ids(given: Sequence[Any], argument: str = "ids") -> list[int | str]:
    """Ids of a batch.

    Raises
    ------
    DuplicateIdError
        Naming the first id that stands twice.
    InvalidArgumentError
        As :func:`point_id`.
    """
    seen: dict[int | str, int] = {}
    for i, one in enumerate(given):
        mapped = point_id(one, f"{argument}[{i}]")
        first = seen.setdefault(mapped, i)
        if first != i:
            raise DuplicateIdError(f"{argument}[{i}]", "ids that differ", f"{one!r}, as {argument}[{first}]")
    return list(seen)


def original_ids(given: Sequence[Any], mapped: Sequence[int | str]) -> list[str | None]:
    """Strings that the payload has to keep, because the point's id does not show them."""
    return [
        one if isinstance(one, str) and one != to else None for one, to in zip(given, mapped, strict=True)
    ]


def split_payload(found: Any, payload: dict[str, Any] | None) -> tuple[int | str, dict[str, Any] | None]:
    """Id as it was given, and the payload without embplug's own fields."""
    if payload and not payload.keys().isdisjoint(OWN_FIELDS):
        shown = {key: value for key, value in payload.items() if key not in OWN_FIELDS}
        return payload.get(ORIGINAL_ID, found), shown
    return found, payload


def _is_unicode(text: str) -> bool:
    """Whether the text can be written down: half of a surrogate pair cannot."""
    return text.isascii() or not any("\ud800" <= letter <= "\udfff" for letter in text)


def _is_canonical(text: str) -> bool:
    try:
        return len(text) == 36 and str(uuid.UUID(text)) == text
    except ValueError:
        return False
