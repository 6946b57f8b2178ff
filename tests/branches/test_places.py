"""Errors name documents by their places in what the user passed, and by their ids."""

from __future__ import annotations

import pytest

from embplug import Documents
from embplug.branches.places import naming_documents
from embplug.errors import DimensionError, DuplicateIdError, InvalidArgumentError

IDS = ["a", "b", "c", "d"]


def named(documents: Documents, batch: int, start: int, error: InvalidArgumentError) -> InvalidArgumentError:
    with pytest.raises(InvalidArgumentError) as raised, naming_documents(documents, batch, start):
        raise error
    return raised.value


@pytest.mark.parametrize(
    ("argument", "position", "start", "expected"),
    [
        ("texts[1]", 704, 0, "texts[705]"),
        ("texts[1]", 704, 2, "texts[707]"),
        ("dense['a[0]'][1]", 10, 0, "dense['a[0]'][11]"),
        ("saliency[1][5]", 10, 0, "saliency[11][5]"),
        ("tokens of encoder 'x[2]'[1]", 10, 1, "tokens of encoder 'x[2]'[12]"),
    ],
)
def test_a_place_is_that_of_the_call(argument: str, position: int, start: int, expected: str) -> None:
    error = named(Documents(IDS, position=position), 11, start, DimensionError(argument, "this", "that"))
    assert type(error) is DimensionError
    assert (error.argument, error.got) == (expected, f"that (id {IDS[1 + start]!r})")


def test_a_batch_of_the_user_is_named_with_its_place() -> None:
    error = named(Documents(IDS), 3, 0, InvalidArgumentError("tokens[1]", "this", "that"))
    assert str(error) == "tokens[1]: expected this, got that (id 'b') in batches[3]"
    error = named(Documents(IDS), 0, 0, InvalidArgumentError("tokens[1]", "this", "that"))
    assert str(error) == "tokens[1]: expected this, got that (id 'b')"


def test_both_places_of_an_id_that_comes_twice_are_named() -> None:
    error = named(
        Documents(IDS, position=64), 1, 0, DuplicateIdError("ids[3]", "ids that differ", "'a', as ids[0]")
    )
    assert str(error) == "ids[67]: expected ids that differ, got 'a', as ids[64]"


@pytest.mark.parametrize("argument", ["tokens", "dense['a']", "encoder"])
def test_an_argument_as_a_whole_keeps_its_name(argument: str) -> None:
    error = InvalidArgumentError(argument, "this", "that")
    assert named(Documents(IDS, position=64), 1, 0, error) is error
