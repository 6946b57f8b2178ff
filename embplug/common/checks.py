"""Checks of arguments that functions all over the library share."""

from __future__ import annotations

from typing import Any

import numpy as np

from embplug.errors import InvalidArgumentError


def checked_integer(value: Any, argument: str, at_least: int = 0) -> int:
    """An integer, Python's or numpy's, of at least so much."""
    if isinstance(value, bool) or not isinstance(value, (int, np.integer)) or value < at_least:
        raise InvalidArgumentError(argument, f"an integer of at least {at_least}", repr(value))
    return int(value)
