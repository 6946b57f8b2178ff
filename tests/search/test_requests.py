"""Stages as requests of Qdrant's query API."""

from __future__ import annotations

import pytest
from qdrant_client import models
from qdrant_client.http.models import QueryResponse

from embplug.common.ids import CODE_FIELDS, CODES, ORIGINAL_ID
from embplug.engines.answers import ModelsAnswer
from embplug.search.requests import payload_selector, rankings_of, request_fields
from embplug.search.stages import Stage
from embplug.search.types import SearchOptions

NEAREST = models.NearestQuery(nearest=[1.0])
COARSE = Stage("a_4", "a_4", NEAREST)
MIDDLE = Stage("a_8", "a_8", NEAREST, among=(COARSE,), widening=2)
FINE = Stage("a", "a", NEAREST, among=(MIDDLE,), widening=2)


def test_each_coarser_stage_finds_twice_as_many() -> None:
    fields = request_fields(FINE, 10, SearchOptions())
    (middle,) = fields["prefetch"]
    (coarse,) = middle.prefetch
    assert (fields["limit"], middle.limit, coarse.limit) == (10, 20, 40)


def test_only_the_stage_that_finds_documents_is_filtered() -> None:
    own = models.Filter(must=[models.HasIdCondition(has_id=[1])])
    users = models.Filter(must_not=[models.HasIdCondition(has_id=[2])])
    finder = Stage("a", "a", NEAREST, filter=own)
    top = Stage("b", "b", NEAREST, among=(finder,))
    fields = request_fields(top, 5, SearchOptions(filter=users))
    assert fields["filter"] is None
    assert fields["prefetch"][0].filter == models.Filter(must=[own, users])
    assert request_fields(finder, 5, SearchOptions())["filter"] == own


@pytest.mark.parametrize(
    ("with_payload", "fields", "selected"),
    [
        (False, [], [ORIGINAL_ID]),
        (["year"], [], [ORIGINAL_ID, "year"]),
        (["year"], [CODES], [ORIGINAL_ID, CODES, "year"]),
        (True, [*CODE_FIELDS], True),
    ],
)
def test_the_original_id_always_comes_and_codes_only_where_they_rank(with_payload, fields, selected) -> None:
    assert payload_selector(with_payload, fields) == selected


def test_all_payload_is_all_but_codes() -> None:
    assert payload_selector(True, [CODES]).exclude == [field for field in CODE_FIELDS if field != CODES]


def test_scores_of_every_stage_are_asked_for_beside() -> None:
    asking = rankings_of([FINE], 10, SearchOptions(with_stages=True))
    requests = next(asking)
    assert [request.using for request in requests] == ["a", "a_8", "a_4"]
    assert [request.limit for request in requests] == [10, 20, 40]
    answers = [
        ModelsAnswer(QueryResponse(points=[models.ScoredPoint(id=5, version=0, score=score, payload={})]))
        for score in (3.0, 2.0, 1.0)
    ]
    with pytest.raises(StopIteration) as stop:
        asking.send(answers)
    (hit,) = stop.value.value[0].hits(with_stages=True)
    assert hit.stages == {"a": 3.0, "a_8": 2.0, "a_4": 1.0}
