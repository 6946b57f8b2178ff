"""Checks of arguments that every store takes."""

from __future__ import annotations

import pytest

from embplug.errors import InvalidArgumentError
from embplug.frameworks.arguments import check_fraction, check_integer


def test_an_integer_of_the_minimum_is_accepted():
    check_integer("k", 1, 1)
    check_integer("offset", 0, 0)


@pytest.mark.parametrize("value", [0, -1, 1.0, "1", None])
def test_no_integer_and_a_smaller_one_are_refused_by_name(value):
    with pytest.raises(InvalidArgumentError, match="an integer of at least 1") as raised:
        check_integer("k", value, 1)
    assert raised.value.argument == "k"


def test_fractions_include_both_ends():
    for value in (0, 0.5, 1, 1.0):
        check_fraction("alpha", value)


@pytest.mark.parametrize("value", [-0.1, 1.1, "0.5", None, float("nan")])
def test_what_is_no_fraction_is_refused_by_name(value):
    with pytest.raises(InvalidArgumentError, match="a number from 0 to 1") as raised:
        check_fraction("alpha", value)
    assert raised.value.argument == "alpha"
