"""Ids of documents as frameworks write them."""

from __future__ import annotations

import uuid

import pytest
from qdrant_client import models

from embplug import Record
from embplug.common.ids import point_id
from embplug.errors import InvalidArgumentError
from embplug.frameworks.ids import DocumentIds, id_or_new

UUID = uuid.UUID(int=1)
ours, plain = DocumentIds(is_plain=False), DocumentIds(is_plain=True)


def test_an_id_is_a_string_and_a_missing_one_is_a_new_uuid():
    assert (id_or_new("a"), id_or_new(7), id_or_new(0)) == ("a", "7", "0")
    for missing in (None, ""):
        assert uuid.UUID(id_or_new(missing)).version == 4
    assert id_or_new(None) != id_or_new(None)


@pytest.mark.parametrize(
    ("document_id", "in_ours", "in_plain"),
    [
        ("a b", "a b", "a b"),
        ("7", "7", 7),
        (7, "7", 7),
        ("007", "007", "007"),
        (str(2**64), str(2**64), str(2**64)),
        ("²", "²", "²"),
        (UUID.hex, UUID.hex, str(UUID)),
        (str(UUID), str(UUID), str(UUID)),
    ],
)
def test_a_plain_collection_has_the_ids_of_qdrant(document_id, in_ours, in_plain):
    assert ours.to_collection(document_id) == in_ours and plain.to_collection(document_id) == in_plain


def test_a_number_may_be_stored_in_two_forms():
    assert ours.candidates(["7", "a", 7]) == ["7", 7, "a"]
    assert plain.candidates(["7", "a"]) == [7, "a"]


@pytest.mark.parametrize("single", ["a", 7, b"a", {"a": 1}])
def test_a_single_id_is_no_list(single):
    with pytest.raises(InvalidArgumentError, match="a list of ids"):
        ours.candidates(single)


def test_records_come_in_the_order_of_the_ids():
    records = [Record("a", None), Record(7, None), Record("b", None)]
    assert ours.in_order(["b", "missing", "7", "a"], records) == [records[2], records[1], records[0]]


def test_a_condition_holds_for_the_points_of_the_ids():
    condition = ours.condition(["a", "7"])
    assert condition == models.Filter(
        must=[models.HasIdCondition(has_id=[point_id("a", ""), point_id("7", ""), 7])]
    )
    with pytest.raises(InvalidArgumentError, match="node_ids"):
        ours.condition([""], "node_ids")
