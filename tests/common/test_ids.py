from __future__ import annotations

import uuid

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embplug.common.ids import (
    ORIGINAL_ID,
    is_integer_text,
    listed_ids,
    original_ids,
    point_id,
    point_ids,
    split_payload,
)
from embplug.errors import DuplicateIdError, InvalidArgumentError

strings = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=40)


@given(st.integers(0, 2**64 - 1), st.sampled_from([int, np.uint64]))
def test_integers_are_kept(number, kind):
    assert point_id(kind(number), "id") == number
    assert type(point_id(kind(number), "id")) is int


@given(st.uuids())
def test_uuids_are_kept_as_text(given_id):
    assert point_id(given_id, "id") == str(given_id)
    assert point_id(str(given_id), "id") == str(given_id)
    assert original_ids([given_id, str(given_id)], [str(given_id)] * 2) == [None, None]


@given(strings)
def test_any_string_comes_back(text):
    mapped = point_id(text, "id")
    assert str(uuid.UUID(str(mapped))) == mapped
    (original,) = original_ids([text], [mapped])
    payload = {"a": 1} if original is None else {"a": 1, ORIGINAL_ID: original}
    assert split_payload(mapped, payload) == (text, {"a": 1})


@given(st.lists(strings, unique=True, min_size=2))
def test_different_strings_are_different_points(texts):
    assert len(set(point_ids(texts))) == len(texts)


def test_the_mapping_never_changes():
    # Collections hold these: another mapping would double every document that is added again.
    assert point_id("doc-1", "id") == "82355b0f-f14d-5d4e-b8c5-ca829a67c526"
    assert point_id("550E8400-E29B-41D4-A716-446655440000", "id") != "550e8400-e29b-41d4-a716-446655440000"


@pytest.mark.parametrize("wrong", [-1, 2**64, 1.5, True, None, "", b"x", ("a",), "\ud800", float("nan")])
def test_what_is_no_id_is_named(wrong):
    with pytest.raises(
        InvalidArgumentError, match=r"^ids\[1\]: expected an integer in 0\.\.2\*\*64 - 1, a UUID"
    ):
        point_ids([7, wrong])


@pytest.mark.parametrize(
    "twice",
    [
        [1, 2, 1],
        ["a", "b", "a"],
        [uuid.UUID(int=1), "x", str(uuid.UUID(int=1))],
        [np.int64(5), 6, 5],
    ],
)
def test_an_id_that_stands_twice_is_named_with_its_first_place(twice):
    with pytest.raises(DuplicateIdError, match=r"^ids\[2\]: .*as ids\[0\]"):
        point_ids(twice)


def test_a_number_and_its_text_are_two_documents():
    assert len(point_ids([5, "5"])) == 2


def test_payload_without_our_field_is_left_alone():
    payload = {"a": 1}
    assert split_payload(7, payload) == (7, payload)
    assert split_payload(7, None) == (7, None)


@pytest.mark.parametrize("single", ["42", b"42", {"a": 1}, 7, None, uuid.UUID(int=1), np.array(7)])
def test_what_is_no_list_of_ids_is_refused(single):
    with pytest.raises(InvalidArgumentError, match=r"^ids: expected a list of ids"):
        listed_ids(single)


@pytest.mark.parametrize("ids", [[1, 2], (1, 2), range(1, 3), np.array([1, 2]), {1: 0, 2: 0}.keys()])
def test_ids_may_come_in_any_collection(ids):
    assert listed_ids(ids) == [1, 2]


@pytest.mark.parametrize(
    ("text", "expected"),
    [("3", True), ("0", True), (str(2**64 - 1), True), (str(2**64), False)]
    + [(text, False) for text in ("\u0663", "²", "007", "", "-1", "9" * 5000)],
)
def test_only_the_decimal_form_of_an_id_is_an_integer(text, expected):
    assert is_integer_text(text) is expected
