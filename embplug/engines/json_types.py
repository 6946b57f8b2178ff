"""Payloads as JSON types, with the limits of Qdrant."""

from __future__ import annotations

from typing import Any

import numpy as np
import qdrant_edge as edge
from pydantic_core import PydanticSerializationError, to_jsonable_python

from embplug.errors import InvalidArgumentError


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
        The payload is not a mapping, or holds a value that Qdrant cannot keep, such as NaN, infinity or
        an integer of more than 64 bits.
    """
    try:
        converted = to_jsonable_python(payload, fallback=_without_numpy)
        if not isinstance(converted, dict):
            raise InvalidArgumentError(argument, "a dict", type(payload).__name__)
        edge.Point(0, {}, converted)
        _check_integers(converted)
    except (PydanticSerializationError, TypeError, ValueError) as error:
        if isinstance(error, InvalidArgumentError):
            raise
        raise InvalidArgumentError(argument, "values that JSON can hold", error) from None
    return converted


def _without_numpy(value: Any) -> Any:
    if isinstance(value, (np.generic, np.ndarray)):
        return value.tolist()
    raise TypeError(f"{type(value).__name__} is not a JSON type")


def _check_integers(value: Any) -> None:
    if isinstance(value, dict):
        for inner in value.values():
            _check_integers(inner)
    elif isinstance(value, list):
        for inner in value:
            _check_integers(inner)
    elif isinstance(value, int) and not -(1 << 63) <= value < 1 << 63:
        raise ValueError(f"{value} has more than 64 bits")
