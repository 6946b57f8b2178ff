"""Conditions, operators, and filters as dicts."""

from __future__ import annotations

from datetime import datetime, timezone

import pytest
from qdrant_client import QdrantClient, models

from embplug.errors import FilterError
from embplug.frameworks import conditions
from embplug.frameworks.dict_filters import filter_from_dict
from embplug.frameworks.operators import OPERATORS

PAYLOADS = [
    {"year": 2019, "tags": ["a", "b"], "nested": {"lang": "en"}, "none": None},
    {"year": 2020, "tags": ["b"], "score": 1.5, "two words": "red sky"},
    {"year": 2021, "tags": [], "when": "2021-05-01T00:00:00Z"},
]


@pytest.fixture(scope="module")
def matching():
    """Returns the numbers of the payloads for which a condition holds."""
    client = QdrantClient(":memory:")
    client.create_collection("c", vectors_config={})
    points = [models.PointStruct(id=i, vector={}, payload=payload) for i, payload in enumerate(PAYLOADS)]
    client.upsert("c", points)

    def match(condition):
        holds = condition if isinstance(condition, models.Filter) else models.Filter(must=[condition])
        return {point.id for point in client.scroll("c", scroll_filter=holds)[0]}

    yield match
    client.close()


@pytest.mark.parametrize(
    ("name", "field", "value", "expected"),
    [
        ("eq", "year", 2020, {1}),
        ("eq", "none", None, {0}),
        ("eq", "score", 1.5, {1}),
        ("ne", "score", 1.5, {0, 2}),
        ("gt", "year", 2020, {2}),
        ("gte", "year", 2020, {1, 2}),
        ("lt", "year", 2020, {0}),
        ("lte", "year", 2020, {0, 1}),
        ("gte", "when", "2021-01-01", {2}),
        ("gte", "when", datetime(2022, 1, 1, tzinfo=timezone.utc), set()),
        ("between", "year", [2019, 2020], {0, 1}),
        ("in", "year", (2019, 2021), {0, 2}),
        ("in", "year", [], set()),
        ("in", "year", [2019, 1.5], {0}),
        ("nin", "year", [2019], {1, 2}),
        ("nin", "year", [], {0, 1, 2}),
        ("all", "tags", ["a", "b"], {0}),
        ("contains", "tags", "b", {0, 1}),
        ("exists", "none", True, {0}),
        ("exists", "none", False, {1, 2}),
        ("empty", "tags", None, {2}),
        ("text", '"two words"', "sky", {1}),
    ],
)
def test_an_operator_holds_where_it_says(matching, name, field, value, expected):
    assert matching(OPERATORS[name](field, value, "place")) == expected


@pytest.mark.parametrize(
    ("name", "value", "place"),
    [
        ("eq", object(), "place"),
        ("gt", True, "place"),
        ("gt", "soon", "place"),
        ("in", "a", "place"),
        ("in", [1, object()], "place[1]"),
        ("all", [object()], "place[0]"),
        ("between", [1], "place"),
        ("between", [1, "soon"], "place[1]"),
        ("exists", 1, "place"),
        ("text", 1, "place"),
    ],
)
def test_a_wrong_value_is_an_error_that_names_its_place(name, value, place):
    with pytest.raises(FilterError) as raised:
        OPERATORS[name]("field", value, "place")
    assert raised.value.argument == place


@pytest.mark.parametrize(
    ("key", "path"),
    [("year", "year"), ("a.b", "a.b"), ("two words", '"two words"'), ("a[0].x y", 'a[0]."x y"')],
)
def test_a_key_of_other_characters_is_quoted(key, path):
    assert conditions.field_path(key) == path


def test_conditions_together():
    condition = conditions.equal("year", 2020, "")
    only = models.Filter(must=[condition])
    assert conditions.all_hold([None, None]) is None
    assert conditions.all_hold([None, only]) is only
    assert conditions.all_hold([condition, None, only]) == models.Filter(must=[condition, only])


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        ({"year": 2020}, {1}),
        ({"year": {"$gt": 2019, "$lt": 2021}}, {1}),
        ({"year": [2019, 2021]}, {0, 2}),
        ({"nested.lang": "en"}, {0}),
        ({"$or": [{"year": 2019}, {"score": 1.5}]}, {0, 1}),
        ({"$and": [{"tags": "b"}, {"$not": {"year": 2019}}]}, {1}),
    ],
)
def test_a_filter_as_a_dict_reads_the_payload_itself(matching, filter, expected):
    assert matching(filter_from_dict(filter)) == expected


@pytest.fixture(params=["memory", "edge", "server"])
def numbers(request, tmp_path):
    """A client with payloads whose ``p`` are equal as numbers, and others."""
    client = request.getfixturevalue(f"{request.param}_client")
    params = models.VectorParams(size=1, distance=models.Distance.DOT)
    client.create_collection("numbers", vectors_config=params)
    values = [10, 10.0, 11, 10.5, "10", [9, 10.0], None]
    points = [models.PointStruct(id=i, vector=[1.0], payload={"p": value}) for i, value in enumerate(values)]
    client.upsert("numbers", points, wait=True)
    return client


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        ({"p": 10}, {0, 1, 5}),
        ({"p": 10.0}, {0, 1, 5}),
        ({"p": {"$eq": 10}}, {0, 1, 5}),
        ({"p": {"$ne": 10}}, {2, 3, 4, 6}),
        ({"p": {"$in": [10, 11]}}, {0, 1, 2, 5}),
        ({"p": [10]}, {0, 1, 5}),
        ({"p": {"$nin": [10, 11]}}, {3, 4, 6}),
        ({"p": {"$contains": 9}}, {5}),
        ({"p": "10"}, {4}),
        ({"p": 2**60}, set()),
    ],
)
def test_numbers_are_equal_whatever_their_type(numbers, filter, expected):
    points, _ = numbers.scroll("numbers", scroll_filter=filter_from_dict(filter))
    assert {point.id for point in points} == expected


def test_a_root_stands_before_every_field():
    assert filter_from_dict({"a": 1}, "metadata").must[0].key == "metadata.a"


def test_no_filter_is_none_and_one_of_qdrant_stays():
    condition = models.Filter(must=[])
    assert filter_from_dict(None) is None and filter_from_dict({}) is None
    assert filter_from_dict(condition) is condition
    assert filter_from_dict({"$or": [condition]}) == models.Filter(must=[models.Filter(should=[condition])])


@pytest.mark.parametrize(
    ("filter", "place"),
    [
        (7, "filter"),
        ({7: 1}, "filter"),
        ({"$nor": []}, "filter['$nor']"),
        ({"$or": []}, "filter['$or']"),
        ({"$and": [{}]}, "filter['$and'][0]"),
        ({"year": {}}, "filter['year']"),
        ({"year": {"$all": [1]}}, "filter['year']"),
        ({"year": float("nan")}, "filter['year']"),
        ({"year": {"$lt": float("inf")}}, "filter['year']['$lt']"),
        ({"year": [1, 2**64]}, "filter['year'][1]"),
    ],
)
def test_a_wrong_dict_is_an_error_that_names_its_place(filter, place):
    with pytest.raises(FilterError) as raised:
        filter_from_dict(filter)
    assert raised.value.argument == place


def test_a_dict_that_is_nested_very_deep_is_refused():
    filter = {"year": 1}
    for _ in range(5000):
        filter = {"$not": filter}
    with pytest.raises(FilterError, match=r"^filter: expected at most"):
        filter_from_dict(filter)


@pytest.mark.parametrize("name", ["must", "should", "must_not", "min_should"])
def test_a_field_may_be_named_as_a_part_of_a_filter(name):
    expected = conditions.equal(name, 1, "filter")
    assert expected in (filter_from_dict({name: {"$eq": 1}}) or models.Filter()).must
    assert expected in (filter_from_dict({name: 1}) or models.Filter()).must
