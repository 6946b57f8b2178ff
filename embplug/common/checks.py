"""Checks of arguments that many functions share."""

from __future__ import annotations

from typing import Any

import numpy as np

from embplug.common.validation import short_repr
from embplug.errors import InvalidArgumentError

MOST_INTEGER = (1 << 32) - 1
"""Largest number that Qdrant takes over gRPC where it counts documents."""


def checked_integer(value: Any, argument: str, at_least: int = 0, at_most: int = MOST_INTEGER) -> int:
    """Check that a value is an integer, of Python or numpy, neither too small nor too large.

    Parameters
    ----------
    value : object
        Value to check. Booleans are not accepted.
    argument : str
        Name of the argument, for the error.
    at_least : int, default=0
        Smallest accepted value.
    at_most : int, default=MOST_INTEGER
        Largest accepted value.

    Returns
    -------
    int
        The value as a Python integer.

    Raises
    ------
    InvalidArgumentError
        The value is not such an integer.
    """
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < at_least:
        raise InvalidArgumentError(argument, f"an integer of at least {at_least}", short_repr(value))
    if value > at_most:
        raise InvalidArgumentError(argument, f"an integer of at most {at_most}", short_repr(value))
    return int(value)


def checked_positive(value: Any, argument: str, unit: str) -> float:
    """Check that a value is a number above 0.

    Parameters
    ----------
    value : object
        Value to check. Booleans are not accepted.
    argument : str
        Name of the argument, for the error.
    unit : str
        Unit of the number in the plural, for the error.

    Returns
    -------
    float
        The value.

    Raises
    ------
    InvalidArgumentError
        The value is not such a number.
    """
    if not is_number(value) or not value > 0:
        raise InvalidArgumentError(argument, f"a number of {unit} above 0", short_repr(value))
    return float(value)


def is_number(value: Any) -> bool:
    """Return whether a value is a real number, of Python or numpy, and no boolean."""
    return isinstance(value, (int, float, np.integer, np.floating)) and not isinstance(value, bool)
