"""Documents with what belongs to each, read one by one from any iterable."""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import pytest

from embplug.errors import InvalidArgumentError, LengthMismatchError
from embplug.frameworks.rows import UniqueRows, aligned, batched


def test_each_item_comes_with_its_value_of_every_column():
    rows = aligned(iter("ab"), "text", ids=iter([1, None]), metadatas=None)
    assert list(rows) == [("a", {"ids": 1}), ("b", {"ids": None})]


def test_nothing_is_read_before_it_is_needed():
    rows = aligned(itertools.count(), "number", ids=itertools.count(7))
    assert list(itertools.islice(rows, 2)) == [(0, {"ids": 7}), (1, {"ids": 8})]


@pytest.mark.parametrize(("ids", "got"), [(["1"], "1 of them"), (["1", "2", "3"], "more"), ([], "0 of them")])
def test_a_column_of_another_length_is_an_error_when_the_end_is_reached(ids, got):
    with pytest.raises(LengthMismatchError, match="one per text") as raised:
        list(aligned("ab", "text", ids=ids))
    assert raised.value.argument == "ids" and raised.value.got == got


def test_no_items_are_no_rows():
    assert list(aligned([], "text", ids=[])) == []


def test_batches_keep_the_order_and_the_last_is_shorter():
    assert list(batched(iter(range(5)), 2)) == [[0, 1], [2, 3], [4]]
    assert list(batched([], 2)) == []


@pytest.mark.parametrize("size", [0, -1, 1.5, None])
def test_a_wrong_batch_size_is_refused(size):
    with pytest.raises(InvalidArgumentError, match="batch_size"):
        next(batched([1], size))


def test_of_an_id_that_comes_again_the_last_row_comes_last():
    unique = UniqueRows(iter(["a1", "b1", "a2", "c1", "a3"]), lambda row: row[0])
    assert [[*part] for part in unique.parts()] == [["a1", "b1", "c1"], ["a3"]]
    assert unique.ids == ["a", "b", "a", "c", "a"]
    assert [[*part] for part in UniqueRows(["a"], str).parts()] == [["a"]]


@pytest.mark.parametrize("column", [5, np.array(0.0)])
def test_a_column_that_cannot_be_iterated_over_is_named(column: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^ids: expected one per text"):
        list(aligned("ab", "text", ids=column))
