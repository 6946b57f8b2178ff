"""How sure the advisor is of the recipe that it chooses among many."""

from __future__ import annotations

import numpy as np
import pytest

from embplug.evaluation.advisor.confidence import RecallBounds
from embplug.evaluation.advisor.prediction import expected_recall
from embplug.evaluation.advisor.selection import Choice

RECIPES, QUERIES, K, DRAWS = 30, 100, 10, 60


def shares(true_recall: float, rng: np.random.Generator) -> list[dict[int, np.ndarray]]:
    """Return what queries that differ in difficulty get from recipes that are all equally good."""
    difficulty = rng.beta(true_recall * 12, (1 - true_recall) * 12, size=QUERIES)
    return [{K: rng.binomial(K, difficulty) / K} for _ in range(RECIPES)]


def choice_of(bounds: RecallBounds, recall: float | None, *, margin: bool = True) -> Choice:
    return Choice(
        fits=np.ones(RECIPES, dtype=bool),
        bytes=np.arange(RECIPES, 0, -1.0),
        latency=np.ones(RECIPES),
        margin=bounds.margin if margin else np.zeros(RECIPES),
        recall=recall,
    )


def test_the_luckiest_of_many_recipes_is_not_promised_to_reach_the_target() -> None:
    promised = {True: 0, False: 0}
    for seed in range(DRAWS):
        bounds = RecallBounds.of(shares(0.94, np.random.default_rng(seed)), K, 1000, 1000)
        for margin in promised:
            promised[margin] += choice_of(bounds, 0.95, margin=margin).good(bounds.expected).any()
    # All are below the target. By chance, some recipe of 30 is above it in more than half of the draws.
    assert promised[False] > 0.5 * DRAWS
    assert promised[True] <= 0.1 * DRAWS


def test_the_prediction_of_the_best_of_many_is_not_too_high() -> None:
    differences, naive = [], []
    for seed in range(DRAWS):
        bounds = RecallBounds.of(shares(0.9, np.random.default_rng(seed)), K, 1000, 1000)
        choice = choice_of(bounds, None)
        expected = bounds.expected[choice.best(bounds.expected)]
        naive.append(expected - 0.9)
        differences.append(expected - bounds.luck(choice.best) - 0.9)
    # The standard error of a mean of 60 draws is .001.
    assert np.mean(naive) > 0.01
    assert abs(np.mean(differences)) < 0.01 and np.mean(differences) < np.mean(naive) - 0.005


def test_a_chance_is_how_often_the_recall_is_reached() -> None:
    chances, reached = [], []
    for seed in range(100):
        rng = np.random.default_rng(seed)
        true_recall = rng.uniform(0.93, 0.97)
        bounds = RecallBounds.of(shares(true_recall, rng)[:1], K, 1000, 1000)
        chances.append(bounds.chance(0, 0.95, 0.0))
        reached.append(true_recall >= 0.95)
    chances, reached = np.array(chances), np.array(reached)
    sure = chances > 0.9
    assert reached[sure].mean() > 0.8 and reached[chances < 0.1].mean() < 0.2
    assert chances.mean() == pytest.approx(reached.mean(), abs=0.1)


def test_queries_without_a_miss_leave_some_doubt() -> None:
    bounds = RecallBounds.of([{K: np.ones(50)}], K, 1000, 1000)
    assert bounds.expected[0] == pytest.approx(1) and 0.001 < bounds.margin[0] < 0.01
    assert bounds.chance(0, 0.95, 0.0) > 0.99 and bounds.chance(0, 1.0, 0.0) == pytest.approx(0.5)


def test_bounds_predict_the_whole_collection_as_the_prediction_does() -> None:
    rng = np.random.default_rng(0)
    ranks = {rank: rng.uniform(0.8, 1.0, QUERIES) - rank / 100 for rank in (1, 3, 10)}
    bounds = RecallBounds.of([ranks], K, 1000, 10**6)
    means = {rank: float(share.mean()) for rank, share in ranks.items()}
    assert bounds.expected[0] == pytest.approx(expected_recall(means, K, 1000, 10**6))


def test_without_a_recipe_that_reaches_the_target_the_surest_is_the_closest() -> None:
    choice = Choice(
        fits=np.ones(2, dtype=bool),
        bytes=np.array([10.0, 20.0]),
        latency=np.ones(2),
        margin=np.array([0.05, 0.01]),
        recall=0.95,
    )
    assert not choice.good(np.array([0.94, 0.93])).any() and choice.best(np.array([0.94, 0.93])) == 1
    assert choice.best(np.array([0.999, 0.97])) == 1 and choice.best(np.array([1.0, 0.97])) == 0
