"""Documents read, counted and deleted: which requests that takes."""

from __future__ import annotations

import uuid
from typing import Any

import pytest
from qdrant_client import QdrantClient, models

from embplug import Dense, Recipe, Record
from embplug.branches.pipeline import Pipeline
from embplug.collection.records import (
    count_steps,
    delete_steps,
    retrieve_steps,
    scroll_steps,
)
from embplug.common.ids import CODES, DENSE_CODES, MODEL, ORIGINAL_ID, SHORTLIST, point_id
from embplug.engines.calls import run
from embplug.errors import FilterError, InvalidArgumentError

PIPELINE = Pipeline(Recipe(dense=Dense(dim=2), payload_indexes={"n": "integer"}))
UUID = str(uuid.UUID(int=7))
WORD = point_id("word", "id")
SECOND = models.Filter(must=[models.FieldCondition(key="n", match=models.MatchValue(value=2))])
WRONG = models.Filter(must=[models.FieldCondition(key="n", match=models.MatchValue(value="two"))])


@pytest.fixture
def docs(memory_client: QdrantClient) -> QdrantClient:
    """Documents ``1``, a UUID, and ``"word"``, whose payloads have fields of embplug's."""
    params = models.VectorParams(size=2, distance=models.Distance.DOT)
    memory_client.create_collection("docs", vectors_config={"dense": params})
    own = {CODES: "codes", DENSE_CODES: "codes", MODEL: 2}
    points = [
        models.PointStruct(id=1, vector={"dense": [0, 1]}, payload={"n": 1, **own}),
        models.PointStruct(id=UUID, vector={"dense": [1, 0]}, payload={"n": 2, **own}),
        models.PointStruct(id=WORD, vector={"dense": [1, 1]}, payload={"n": 3, ORIGINAL_ID: "word", **own}),
    ]
    memory_client.upsert("docs", points=points, wait=True)
    return memory_client


def test_documents_are_read_by_the_ids_under_which_they_were_added(docs: QdrantClient) -> None:
    records = run(docs, retrieve_steps("docs", PIPELINE, ["word", uuid.UUID(UUID), 1, "missing"]))
    assert sorted(records, key=lambda record: record.payload["n"]) == [
        Record(1, {"n": 1}),
        Record(UUID, {"n": 2}),
        Record("word", {"n": 3}),
    ]


def test_vectors_come_back_when_they_are_asked_for(docs: QdrantClient) -> None:
    (record,) = run(docs, retrieve_steps("docs", PIPELINE, ["word"], True))
    assert record.vector == {"dense": [1.0, 1.0]}
    (record,) = run(docs, retrieve_steps("docs", PIPELINE, ["word"], []))
    assert record.vector is None
    records, _ = run(docs, scroll_steps("docs", PIPELINE, SECOND, 5, None, None, ["dense"]))
    assert records[0].vector == {"dense": [1.0, 0.0]}


def test_codes_are_not_even_asked_for() -> None:
    for steps in (retrieve_steps("docs", PIPELINE, [1]), scroll_steps("docs", PIPELINE, None, 5, None)):
        selector = next(steps).arguments["with_payload"]
        assert selector == models.PayloadSelectorExclude(exclude=[CODES, SHORTLIST, DENSE_CODES])


def test_pages_follow_each_other(docs: QdrantClient) -> None:
    first, following = run(docs, scroll_steps("docs", PIPELINE, None, 2, None))
    last, end = run(docs, scroll_steps("docs", PIPELINE, None, 2, following))
    assert len(first) == 2 and len(last) == 1 and end is None
    assert {record.payload["n"] for record in (*first, *last)} == {1, 2, 3}
    filtered, _ = run(docs, scroll_steps("docs", PIPELINE, SECOND, 2, None))
    assert filtered == [Record(UUID, {"n": 2})]


def test_documents_are_counted_exactly(docs: QdrantClient) -> None:
    assert next(count_steps("docs", PIPELINE, None)).arguments["exact"] is True
    assert run(docs, count_steps("docs", PIPELINE, None)) == 3
    assert run(docs, count_steps("docs", PIPELINE, SECOND)) == 1


def test_documents_are_deleted_by_id_or_by_filter(docs: QdrantClient) -> None:
    run(docs, delete_steps("docs", PIPELINE, ["word", "missing"], None))
    assert run(docs, count_steps("docs", PIPELINE, None)) == 2
    run(docs, delete_steps("docs", PIPELINE, None, SECOND))
    assert run(docs, retrieve_steps("docs", PIPELINE, [1, UUID])) == [Record(1, {"n": 1})]


@pytest.mark.parametrize(("ids", "condition", "got"), [(None, None, "neither"), ([1], SECOND, "both")])
def test_what_to_delete_is_said_in_one_way(ids: Any, condition: Any, got: str) -> None:
    with pytest.raises(InvalidArgumentError) as raised:
        next(delete_steps("docs", PIPELINE, ids, condition))
    assert (raised.value.argument, raised.value.got) == ("ids", got)


def test_an_empty_list_of_ids_changes_nothing(docs: QdrantClient) -> None:
    assert run(docs, retrieve_steps("docs", PIPELINE, [])) == []
    run(docs, delete_steps("docs", PIPELINE, [], None))
    assert len(run(docs, retrieve_steps("docs", PIPELINE, [1, UUID, "word"]))) == 3


@pytest.mark.parametrize(
    "steps",
    [
        lambda: scroll_steps("docs", PIPELINE, WRONG, 5, None),
        lambda: count_steps("docs", PIPELINE, WRONG),
        lambda: delete_steps("docs", PIPELINE, None, WRONG),
    ],
    ids=["scroll", "count", "delete"],
)
def test_a_filter_is_checked_before_anything_is_sent(steps: Any) -> None:
    with pytest.raises(FilterError):
        next(steps())


@pytest.mark.parametrize(
    "steps",
    [
        lambda: retrieve_steps("docs", PIPELINE, [1, ""]),
        lambda: delete_steps("docs", PIPELINE, [1, -1], None),
    ],
    ids=["retrieve", "delete"],
)
def test_a_wrong_id_is_named_with_its_place(steps: Any) -> None:
    with pytest.raises(InvalidArgumentError) as raised:
        next(steps())
    assert raised.value.argument == "ids[1]"
