"""Checks of arguments that every store takes."""

from __future__ import annotations

from numbers import Real
from typing import Any

from embplug.common.checks import checked_integer, is_number
from embplug.common.validation import short_repr
from embplug.errors import InvalidArgumentError


def check_integer(argument: str, value: Any, minimum: int) -> None:
    """Check that an argument is an integer of at least ``minimum``; see :func:`checked_integer`.

    Parameters
    ----------
    argument : str
        Name of the argument, for the error.
    value : object
        Value of the argument.
    minimum : int
        Smallest value that is accepted.

    Raises
    ------
    InvalidArgumentError
        The value is no integer, is smaller, or is larger than any number of documents.
    """
    checked_integer(value, argument, minimum)


def check_number(argument: str, value: Any) -> None:
    """Check that an argument is a number, and not NaN.

    Parameters
    ----------
    argument : str
        Name of the argument, for the error.
    value : object
        Value of the argument.

    Raises
    ------
    InvalidArgumentError
        The value is no number, or NaN.
    """
    if not is_number(value) or value != value:
        raise InvalidArgumentError(argument, "a number", short_repr(value))


def check_query_text(argument: str, value: Any) -> None:
    """Check that the text of a query is a text; whether it may be empty is checked elsewhere.

    Parameters
    ----------
    argument : str
        Name of the argument, for the error.
    value : object
        Value of the argument.

    Raises
    ------
    InvalidArgumentError
        The value is no text.
    """
    if not isinstance(value, str):
        raise InvalidArgumentError(argument, "a text", short_repr(value))


def check_fraction(argument: str, value: Any) -> None:
    """Check that an argument is a number from 0 to 1.

    Parameters
    ----------
    argument : str
        Name of the argument, for the error.
    value : object
        Value of the argument.

    Raises
    ------
    InvalidArgumentError
        The value is no number, or lies outside of 0 to 1.
    """
    if not isinstance(value, Real) or not 0 <= float(value) <= 1:
        raise InvalidArgumentError(argument, "a number from 0 to 1", short_repr(value))
