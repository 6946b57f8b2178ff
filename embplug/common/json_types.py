"""Payloads and texts as JSON holds them, with the limits of Qdrant."""

from __future__ import annotations

import json
import math
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from pydantic_core import PydanticSerializationError, to_jsonable_python

from embplug.common.unicode_text import is_unicode
from embplug.errors import InvalidArgumentError

MAX_DEPTH = 32
"""Largest number of mappings and lists inside each other, the payload included.

Server 1.16.3 takes 33 over gRPC and 124 over REST. Edge 0.9 writes more than 125, but never opens such a
collection again.
"""

MAX_INTEGER = (1 << 63) - 1
_FINER_THAN_PYTHON = ("ns", "ps", "fs", "as")
"""Units of times in numpy; Python's datetimes, and Qdrant, count microseconds."""

_SHOWN = 80
"""Characters of a wrong value that an error shows."""


class _Wrong(NamedTuple):
    """What is wrong in a value, and where."""

    expected: str
    got: str
    place: str = ""

    def error(self, argument: str) -> InvalidArgumentError:
        got = f"{self.got} under {self.place}" if self.place else self.got
        return InvalidArgumentError(argument, self.expected, got)


_TOO_DEEP = _Wrong(f"at most {MAX_DEPTH} mappings and lists inside each other", "more")


def jsonable_payload(payload: Any, argument: str) -> dict[str, Any]:
    """Convert a payload to JSON types.

    Parameters
    ----------
    payload : mapping
        Payload, which may hold dates, UUIDs, enums, numpy numbers and the like.
    argument : str
        Name of the argument, for the error.

    Returns
    -------
    dict
        Payload of JSON types.

    Raises
    ------
    InvalidArgumentError
        If the payload is not a mapping, is nested too deep, or holds a value that Qdrant cannot keep, such as
        NaN, infinity or an integer of more than 64 bits. The error names the place of the value.
    """
    try:
        converted = to_jsonable_python(payload, fallback=_as_plain)
    except (PydanticSerializationError, RecursionError, TypeError, ValueError) as error:
        check_depth(payload, argument)
        raise InvalidArgumentError(argument, "values that JSON can hold", error) from None
    if not isinstance(converted, dict):
        raise InvalidArgumentError(argument, "a dict", type(payload).__name__)
    wrong = _first_wrong(converted, 1)
    if wrong is not None:
        raise wrong.error(argument)
    return converted


def check_depth(value: Any, argument: str) -> None:
    """Refuse mappings and lists that are nested deeper than :data:`MAX_DEPTH`.

    Raises
    ------
    InvalidArgumentError
        Naming the argument.
    """
    level = [value]
    for _ in range(MAX_DEPTH + 1):
        # Each container counts once a level, or shared ones would multiply.
        containers = {id(item): item for item in level if isinstance(item, (dict, list, tuple))}
        level = [
            inner
            for item in containers.values()
            for inner in (item.values() if isinstance(item, dict) else item)
        ]
        if not containers:
            return
    raise _TOO_DEEP.error(argument)


def parse_json(text: str, place: str) -> Any:
    """Read one JSON value.

    Parameters
    ----------
    text : str
        The JSON text.
    place : str
        Where the text stands, for the error.

    Returns
    -------
    object
        The value.

    Raises
    ------
    InvalidArgumentError
        If the text is not JSON, is nested too deep or holds a number with thousands of digits.
    """
    try:
        return json.loads(text)
    except RecursionError:
        raise _TOO_DEEP.error(place) from None
    except ValueError as error:
        raise InvalidArgumentError(place, "JSON", error) from None


def _as_plain(value: Any) -> Any:
    if isinstance(value, (np.generic, np.ndarray)):
        if value.dtype.kind in "mM" and np.datetime_data(value.dtype)[0] in _FINER_THAN_PYTHON:
            # They would become integers.
            value = value.astype(f"{value.dtype.kind}8[us]")
        return value.tolist()
    if isinstance(value, Mapping):
        return dict(value)
    raise TypeError(f"{type(value).__name__} is not a JSON type")


def _first_wrong(value: Any, depth: int) -> _Wrong | None:
    """The first part of JSON types that Qdrant cannot keep; its place is built only when there is one."""
    if isinstance(value, str):
        return None if is_unicode(value) else _Wrong("text that UTF-8 can encode", ascii(value[:_SHOWN]))
    if isinstance(value, float):
        return None if math.isfinite(value) else _Wrong("finite numbers", str(value))
    if isinstance(value, int):
        if -MAX_INTEGER - 1 <= value <= MAX_INTEGER:
            return None
        return _Wrong("integers of at most 64 bits", f"one that needs {value.bit_length() + 1}")
    if not isinstance(value, (dict, list)):
        return None
    if depth > MAX_DEPTH:
        return _TOO_DEEP
    for key, inner in value.items() if isinstance(value, dict) else enumerate(value):
        wrong = _first_wrong(inner, depth + 1)
        if wrong is not None:
            return wrong if wrong is _TOO_DEEP else wrong._replace(place=f"[{key!r}]{wrong.place}")
    return None
