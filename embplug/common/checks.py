"""Checks of arguments that many functions share."""

from __future__ import annotations

from typing import Any

import numpy as np

from embplug.errors import InvalidArgumentError


def checked_integer(value: Any, argument: str, at_least: int = 0) -> int:
    """Check that a value is an integer, of Python or numpy, and not too small.

    Parameters
    ----------
    value : object
        Value to check. Booleans are not accepted.
    argument : str
        Name of the argument, for the error.
    at_least : int, default=0
        Smallest accepted value.

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
        raise InvalidArgumentError(argument, f"an integer of at least {at_least}", repr(value))
    return int(value)
