"""Rankings as columns: their order, the answer in which a payload is read, and the scores of each stage."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from qdrant_client import models
from qdrant_client.http.models import QueryResponse

from embplug.common.ids import CODES, ORIGINAL_ID
from embplug.engines.answers import Answer, ModelsAnswer
from embplug.search.ranking import FEW_SCORES, Ranking, falling_order, merged


def answer(payloads: dict[int, dict[str, Any] | None]) -> Answer:
    points = [
        models.ScoredPoint(id=point_id, version=0, score=-float(row), payload=payload)
        for row, (point_id, payload) in enumerate(payloads.items())
    ]
    return ModelsAnswer(QueryResponse(points=points))


@pytest.fixture
def both() -> Ranking:
    """Points 5, 3 and 8 of two answers, both with a payload for 5 and the second with one for 3."""
    first = answer({5: {"n": 5, CODES: "a"}, 3: None})
    second = answer({3: {"n": 3}, 8: {"n": 8, CODES: "c"}, 5: {"n": 0, CODES: "b"}})
    scores = np.array([2.0, 1.0, 0.0])
    return Ranking([5, 3, 8], scores, (first, second), {"a": ([5, 3], np.array([9.0, 4.0]))})


def test_a_payload_is_that_of_the_first_answer_that_has_it(both: Ranking) -> None:
    expected = [{"n": 5, CODES: "a"}, {"n": 3}, {"n": 8, CODES: "c"}]
    assert [both.payload(point_id) for point_id in both.ids] == expected
    assert both.payload(7) is None


def test_a_field_comes_in_the_order_of_the_ranking(both: Ranking) -> None:
    assert both.texts(CODES) == ["a", None, "c"] and both.texts("n") == [5, 3, 8]
    (first, _) = both.answers
    alone = Ranking.of(first, "a")
    assert alone.texts("n") == [5, None] and alone.ranked([0.0, 1.0], "b").texts("n") == [None, 5]


def test_new_scores_turn_the_order_and_equal_ones_keep_it(both: Ranking) -> None:
    ranked = both.ranked([1.0, 3.0, 1.0], "b")
    assert ranked.ids == [3, 5, 8] and ranked.scores.tolist() == [3.0, 1.0, 1.0]
    assert [hit.stages for hit in ranked.hits(with_stages=True)] == [
        {"a": 4.0, "b": 3.0},
        {"a": 9.0, "b": 1.0},
        {"b": 1.0},
    ]
    assert ranked.first(1).ids == [3] and ranked.take([2, 0]).ids == [8, 3]


@pytest.mark.parametrize("count", [0, 1, FEW_SCORES, FEW_SCORES + 1])
def test_any_number_of_scores_is_sorted_in_the_same_way(count: int) -> None:
    scores = np.random.default_rng(0).integers(0, 50, count).astype(np.float64)
    assert falling_order(scores).tolist() == np.argsort(-scores, kind="stable").tolist()
    scores[: count // 2 : 3] = -np.inf
    assert falling_order(scores).tolist() == np.argsort(-scores, kind="stable").tolist()
    scores[1:2] = np.nan
    assert falling_order(scores).tolist() == np.argsort(-scores, kind="stable").tolist()


def test_hits_have_the_users_id_and_no_field_of_ours() -> None:
    ranking = Ranking.of(answer({5: {ORIGINAL_ID: "five", CODES: "a"}, 6: {"n": 6}}), "a")
    assert [(hit.id, hit.payload, hit.stages) for hit in ranking.hits()] == [
        ("five", None, None),
        (6, {"n": 6}, None),
    ]


def test_stages_of_the_same_name_are_joined() -> None:
    first = {"a": ([1, 2], np.array([0.1, 0.2])), "b": ([1], np.array([0.3]))}
    stages = merged(first, {"a": ([2, 3], np.array([0.8, 0.9]))})
    assert dict(zip(*stages["a"], strict=True)) == {1: 0.1, 2: 0.8, 3: 0.9}
    assert stages["b"] is first["b"]
