"""Pydantic's complaints in the words of embplug's errors."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from typing import Any

from pydantic import ValidationError
from pydantic_core import ErrorDetails

UNKNOWN = ("extra_forbidden", "unexpected_keyword_argument")
"""Types of pydantic's errors for a name that does not exist."""

MISSING = ("missing", "missing_argument")
"""Types of pydantic's errors for a field without a value."""


LONGEST_REPR = 300
"""Characters of a value that an error shows."""


def first_complaint(error: ValidationError) -> ErrorDetails:
    """Return the complaint that helps most: a misspelt name also leaves a field without its value."""
    complaints = error.errors(include_url=False)
    first = complaints[0]
    if first["type"] not in MISSING:
        return first
    # Only beside the missing field: each member of a union complains of the names of the others.
    beside = [complaint for complaint in complaints if complaint["loc"][:-1] == first["loc"][:-1]]
    return next((complaint for complaint in beside if complaint["type"] in UNKNOWN), first)


def explained(complaint: ErrorDetails, names: Sequence[str]) -> tuple[str, str]:
    """Say what is expected and what came instead.

    Parameters
    ----------
    complaint : ErrorDetails
        An error of pydantic.
    names : sequence of str
        The names that exist where the complaint is.

    Returns
    -------
    expected : str
        Description of valid values.
    got : str
        Description of the value.
    """
    if complaint["type"] in UNKNOWN:
        close = difflib.get_close_matches(str(complaint["loc"][-1]), names, n=1)
        hint = f"; the fields are {', '.join(names)}" if names else ""
        hint = f"; did you mean {close[0]!r}?" if close else hint
        return "the name of a field", "an unknown field" + hint
    if complaint["type"] in MISSING:
        return "a value", "none"
    return complaint["msg"].removeprefix("Input should be "), shown(complaint["input"])


def shown(value: Any) -> str:
    """Describe a value for an error: plain values as they are, others by the name of their class."""
    if isinstance(value, type):
        return f"the class {value.__name__}; write {value.__name__}()"
    plain = value is None or isinstance(value, (str, bytes, int, float, list, tuple, dict, set))
    return short_repr(value) if plain else type(value).__name__


def short_repr(value: Any) -> str:
    """Return the ``repr`` of a value for an error, cut where it is long, also of what is nested deep."""
    try:
        text = repr(value)
    except Exception:  # a recursion that is too deep, or a class whose repr fails
        text = f"a {type(value).__name__}"
    return text if len(text) <= LONGEST_REPR else f"{text[:LONGEST_REPR]}…"
