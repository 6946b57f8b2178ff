"""Paths into payloads, such as ``a.b[].c``, in the grammar of Qdrant."""

from __future__ import annotations

import re
from typing import Any, NamedTuple

from qdrant_client.local.json_path_parser import JsonPathItem, parse_json_path

from embplug.common.ids import OWN_FIELDS
from embplug.common.validation import short_repr
from embplug.errors import InvalidArgumentError

_EXPECTED = 'a path into the payload, such as a.b[].c or "with a space"'
_PLAIN = re.compile(r"[A-Za-z0-9_-]+")


class PayloadPath(NamedTuple):
    """A path that was checked.

    Attributes
    ----------
    text : str
        The path as Qdrant reads it.
    field : str
        Field of the payload with which the path begins.
    depth : int
        Number of mappings and lists that the path leads through, the payload included.
    """

    text: str
    field: str
    depth: int


def checked_path(path: Any, argument: str) -> PayloadPath:
    """Check a path, and that it does not lead into a field that embplug keeps for itself.

    Parameters
    ----------
    path : str
        Path as the user passes it.
    argument : str
        Name of the argument, for the error.

    Returns
    -------
    PayloadPath
        The path and its parts.

    Raises
    ------
    InvalidArgumentError
        The path is none that Qdrant can read, or its first field is one of embplug's own.
    """
    if not isinstance(path, str):
        raise InvalidArgumentError(argument, _EXPECTED, short_repr(path))
    items = _parsed(path, argument)
    field = str(items[0].key)
    if field in OWN_FIELDS:
        expected = "a field that embplug does not keep for itself"
        raise InvalidArgumentError(argument, expected, short_repr(path))
    return PayloadPath(path, field, len(items))


def check_readable_path(path: str, argument: str) -> None:
    """Check a path of which the field is only read, so that it may be one of embplug's own.

    Parameters
    ----------
    path : str
        Path as the user passes it.
    argument : str
        Name of the argument, for the error.

    Raises
    ------
    InvalidArgumentError
        The path is none that Qdrant can read.
    """
    # Most paths are one name, and the parser takes several microseconds for it.
    if not _PLAIN.fullmatch(path):
        _parsed(path, argument)


def _parsed(path: str, argument: str) -> list[JsonPathItem]:
    try:
        path.encode()
        return parse_json_path(path)
    except (UnicodeEncodeError, ValueError):
        raise InvalidArgumentError(argument, _EXPECTED, ascii(path)) from None


def path_of_field(field: str) -> str | None:
    """Return the path of a field of the payload, in quotes where its name has other signs than words.

    Returns
    -------
    str or None
        The path; None for a name with a quotation mark, to which no path leads.
    """
    if _PLAIN.fullmatch(field):
        return field
    return None if '"' in field else f'"{field}"'
