"""Conversion of point ids, which are unsigned integers and UUIDs."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any
from uuid import UUID

import numpy as np

from embplug.errors import InvalidArgumentError

MAX_NUMERIC_ID = 2**64 - 1


def to_edge_id(point_id: Any, argument: str = "id") -> int | UUID:
    """Convert an unsigned integer or a UUID in any of its spellings.

    Raises
    ------
    InvalidArgumentError
        It is not the id of a point; the error names ``argument``.
    """
    if isinstance(point_id, UUID):
        return point_id
    if isinstance(point_id, (int, np.integer)) and not isinstance(point_id, bool):
        if 0 <= point_id <= MAX_NUMERIC_ID:
            return int(point_id)
    elif isinstance(point_id, str):
        try:
            return UUID(point_id)
        except ValueError:
            pass
    raise InvalidArgumentError(argument, "an unsigned 64-bit integer or a UUID", repr(point_id))


def to_edge_ids(point_ids: Iterable[Any], argument: str) -> list[int | UUID]:
    """Convert ids; an error names ``argument[i]``."""
    return [to_edge_id(point_id, f"{argument}[{i}]") for i, point_id in enumerate(point_ids)]


def from_edge_id(point_id: int | UUID | str) -> int | str:
    """Convert to what QdrantClient returns: an integer, or a UUID as hyphenated text."""
    return point_id if isinstance(point_id, int) else str(point_id)
