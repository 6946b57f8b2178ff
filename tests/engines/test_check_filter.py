from __future__ import annotations

from typing import Any

import pytest
from qdrant_client import models

from embplug.engines.capabilities import Capabilities
from embplug.engines.check_filter import check_filter
from embplug.engines.filter_depth import MAX_DEPTH
from embplug.errors import CapabilityError, FilterError

INDEXES = {
    "word": "keyword",
    "n": models.PayloadSchemaType.INTEGER,
    "real": models.FloatIndexParams(type="float"),
    "flag": "bool",
    "day": "datetime",
    "uuid": "uuid",
    "place": "geo",
    "text": models.TextIndexParams(type="text"),
    "phrases": models.TextIndexParams(type="text", phrase_matching=True),
    "parts[].n": "integer",
}

VALUE = lambda value: {"match": models.MatchValue(value=value)}  # noqa: E731
TEXT = {"match": models.MatchText(text="a")}
PHRASE = {"match": models.MatchPhrase(phrase="a b")}
RANGE = {"range": models.Range(gt=1)}
DAYS = {"range": models.DatetimeRange(gt="2024-01-01T00:00:00Z")}
RADIUS = {"geo_radius": models.GeoRadius(center=models.GeoPoint(lon=0, lat=0), radius=1)}

MEANINGFUL = [
    ("word", VALUE("a")),
    ("word", {"match": models.MatchAny(any=["a", "b"])}),
    ("word", {"match": models.MatchExcept(**{"except": ["a"]})}),
    ("word", TEXT),
    ("word", PHRASE),
    ("word", {"match": models.MatchPrefix(prefix="a")}),
    ("n", VALUE(3)),
    ("n", {"match": models.MatchAny(any=[1, 2])}),
    ("n", RANGE),
    ("real", RANGE),
    ("flag", VALUE(True)),
    ("day", DAYS),
    ("day", VALUE("2024-01-01T00:00:00Z")),
    ("uuid", VALUE("00000000-0000-0000-0000-000000000001")),
    ("place", RADIUS),
    ("text", TEXT),
    ("text", VALUE("whole text")),
    ("text", {"match": models.MatchTextAny(text_any="a b")}),
    ("phrases", PHRASE),
    *((key, {"is_empty": True}) for key in INDEXES),
    *((key, {"values_count": models.ValuesCount(gt=1)}) for key in INDEXES),
    *(("unindexed", condition) for condition in (VALUE(1), VALUE("a"), RANGE, DAYS, RADIUS, TEXT, PHRASE)),
]

MEANINGLESS = [
    ("word", VALUE(3)),
    ("word", VALUE(True)),
    ("word", {"match": models.MatchAny(any=[1, 2])}),
    ("word", RANGE),
    ("word", DAYS),
    ("word", RADIUS),
    ("n", VALUE("3")),
    ("n", VALUE(True)),
    ("n", VALUE("00000000-0000-0000-0000-000000000001")),
    ("n", {"match": models.MatchExcept(**{"except": ["a"]})}),
    ("n", DAYS),
    ("n", TEXT),
    ("n", {"match": models.MatchPrefix(prefix="a")}),
    ("n", {"match": models.MatchSubstring(substring="a")}),
    ("real", VALUE(3)),
    ("real", DAYS),
    ("flag", VALUE(1)),
    ("flag", VALUE("true")),
    ("day", RANGE),
    ("day", VALUE(20240101)),
    ("uuid", VALUE(1)),
    ("place", VALUE("here")),
    ("place", RANGE),
    ("text", PHRASE),
    ("text", RANGE),
]


def field(key: str, condition: dict[str, Any]) -> models.FieldCondition:
    return models.FieldCondition(key=key, **condition)


@pytest.mark.parametrize(("key", "condition"), MEANINGFUL)
def test_a_condition_that_the_index_can_meet_passes(key, condition):
    check_filter(models.Filter(must=[field(key, condition)]), INDEXES)


@pytest.mark.parametrize(("key", "condition"), MEANINGLESS)
def test_a_condition_that_the_index_can_never_meet_is_refused(key, condition):
    with pytest.raises(FilterError, match=rf"^filter\.must\[0\]: expected a condition for '{key}', which is"):
        check_filter(models.Filter(must=[field(key, condition)]), INDEXES)


def test_the_place_is_named_however_deep():
    bad, good = field("n", VALUE("x")), field("n", VALUE(1))
    nested = models.NestedCondition(
        nested=models.Nested(key="parts", filter=models.Filter(must_not=[good, bad]))
    )
    cases = {
        "filter.must[0]": models.Filter(must=bad),
        "filter.should[1]": models.Filter(should=[good, bad]),
        "filter.must_not[0]": models.Filter(must_not=[bad]),
        "filter.min_should[1]": models.Filter(
            min_should=models.MinShould(conditions=[good, bad], min_count=1)
        ),
        "filter.must[0].should[1].must[0]": models.Filter(
            must=[models.Filter(should=[good, models.Filter(must=[bad])])]
        ),
        "filter.should[0].nested.filter.must_not[1]": models.Filter(should=[nested]),
        "filter.must[0].nested.filter.must_not[1]": models.Filter(
            must=[
                models.NestedCondition(
                    nested=models.Nested(key="parts[]", filter=nested.nested.filter),
                )
            ]
        ),
    }
    for place, query_filter in cases.items():
        with pytest.raises(FilterError) as raised:
            check_filter(query_filter, INDEXES)
        assert raised.value.argument == place


def test_conditions_without_a_field_pass():
    check_filter(
        models.Filter(
            must=[
                models.HasIdCondition(has_id=[1]),
                models.IsEmptyCondition(is_empty=models.PayloadField(key="n")),
                models.HasVectorCondition(has_vector="fde"),
                models.SliceCondition(slice=models.Slice(total=2, index=0)),
            ]
        ),
        INDEXES,
    )
    check_filter(models.Filter(), INDEXES)


@pytest.mark.parametrize("wrong", [None, {}, {"must": []}, [], "n = 3"])
def test_what_is_no_filter_is_refused(wrong):
    with pytest.raises(FilterError, match=r"^filter: expected a qdrant_client\.models\.Filter"):
        check_filter(wrong, INDEXES)


@pytest.mark.parametrize(
    ("condition", "server"),
    [
        (models.SliceCondition(slice=models.Slice(total=2, index=0)), "1.19"),
        (models.FieldCondition(key="any", match=models.MatchPrefix(prefix="a")), "1.19"),
        (models.FieldCondition(key="any", match=models.MatchSubstring(substring="a")), "1.20"),
    ],
)
def test_a_condition_that_the_server_would_drop_is_refused(condition, server):
    for query_filter in (
        models.Filter(must=[condition]),
        models.Filter(must=[models.Filter(must=[condition])]),
    ):
        check_filter(query_filter, {}, capabilities=Capabilities.of("server", f"{server}.0"))
        check_filter(query_filter, {}, capabilities=Capabilities.of("edge", "0.9.0"))
        with pytest.raises(
            CapabilityError, match=rf"^filter\.must\[0\].*server of version {server} or later"
        ):
            check_filter(query_filter, {}, capabilities=Capabilities.of("server", "1.16.3"))


def inside(depth: int, nested: bool) -> models.Filter:
    innermost = models.FieldCondition(key="any", match=models.MatchValue(value=1))
    outer = models.Filter(must=[innermost])
    for _ in range(depth - 1):
        condition = models.NestedCondition(nested=models.Nested(key="a", filter=outer)) if nested else outer
        outer = models.Filter(must_not=[condition])
    return outer


@pytest.mark.parametrize("nested", [False, True])
def test_filters_are_nested_as_deep_as_every_engine_takes(nested):
    check_filter(inside(MAX_DEPTH, nested), {})
    for depth in (MAX_DEPTH + 1, 62, 2000):
        with pytest.raises(FilterError, match=rf"^filter: expected at most {MAX_DEPTH} filters"):
            check_filter(inside(depth, nested), {})


@pytest.mark.parametrize(
    ("condition", "place"),
    [
        ({"range": models.Range(gte=float("nan"))}, "filter.must[0].range.gte"),
        ({"range": models.Range(lt=float("inf"))}, "filter.must[0].range.lt"),
        ({"match": models.MatchValue(value=2**64)}, "filter.must[0].match"),
        ({"match": models.MatchAny(any=[1, 2**63])}, "filter.must[0].match"),
    ],
)
def test_numbers_that_qdrant_does_not_have_are_refused(condition, place):
    with pytest.raises(FilterError) as raised:
        check_filter(models.Filter(must=[models.FieldCondition(key="any", **condition)]), {})
    assert raised.value.argument == place


UNREADABLE = ["a b", "", "a[", "a.", "\ud800"]


@pytest.mark.parametrize("key", UNREADABLE)
def test_a_key_that_is_no_path_is_refused_in_every_condition(key):
    payload_field, inner = models.PayloadField(key=key), models.Filter(must=[field("a", VALUE(1))])
    cases = {
        "filter.must[0].key": field(key, VALUE(1)),
        "filter.must[0].is_empty.key": models.IsEmptyCondition(is_empty=payload_field),
        "filter.must[0].is_null.key": models.IsNullCondition(is_null=payload_field),
        "filter.must[0].nested.key": models.NestedCondition(nested=models.Nested(key=key, filter=inner)),
        "filter.must[0].nested.filter.must[0].key": models.NestedCondition(
            nested=models.Nested(key="a", filter=models.Filter(must=[field(key, VALUE(1))]))
        ),
    }
    for place, condition in cases.items():
        with pytest.raises(FilterError, match="expected a path into the payload") as raised:
            check_filter(models.Filter(must=[condition]), {})
        assert raised.value.argument == place


@pytest.mark.parametrize("key", ["a", "a-b_1", "a.b[].c", "a[0][1].b", '"a b".c', '"".a', "é", "_embplug_id"])
def test_a_key_that_qdrant_reads_passes(key):
    check_filter(models.Filter(must=[field(key, VALUE(1))]), {})


def test_a_condition_without_a_test_is_refused():
    with pytest.raises(FilterError, match=r"^filter\.should\[0\]: expected a test of the field.* got none"):
        check_filter(models.Filter(should=[models.FieldCondition(key="a")]), {})
    check_filter(models.Filter(must=[field("a", {"is_empty": False})]), {})


@pytest.mark.parametrize(
    ("condition", "place"),
    [
        (field("a", VALUE("\udfff")), "match.value"),
        (field("a", {"match": models.MatchAny(any=["a", "\udfff"])}), "match.any"),
        (field("a", {"match": models.MatchExcept(**{"except": ["\udfff"]})}), "match.except"),
        (field("a", {"match": models.MatchText(text="\udfff")}), "match.text"),
        (field("a", {"match": models.MatchPhrase(phrase="\udfff")}), "match.phrase"),
        (models.HasVectorCondition(has_vector="\udfff"), "has_vector"),
    ],
)
def test_text_that_utf8_cannot_encode_is_refused(condition, place):
    with pytest.raises(FilterError, match="expected text that UTF-8 can encode") as raised:
        check_filter(models.Filter(must=[condition]), {})
    assert raised.value.argument == f"filter.must[0].{place}"
