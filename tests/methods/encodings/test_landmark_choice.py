"""The choice of landmarks beside a greedy search that computes every posterior anew."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from embplug.methods.encodings import landmark_choice
from embplug.methods.encodings.landmark_choice import chosen_landmarks


def unknown(components: Any, variances: Any, noise: Any, chosen: list[int]) -> float:
    """Sum of the posterior variances of the weights."""
    rows = components[chosen] / np.sqrt(noise[chosen])[:, None]
    return float(np.trace(np.linalg.inv(np.diag(1 / variances) + rows.T @ rows)))


def candidates(count: int, rank: int) -> tuple[Any, Any, Any]:
    rng = np.random.default_rng(count)
    components = rng.standard_normal((count, rank)).astype(np.float32)
    return components, np.geomspace(1, 0.1, rank).astype(np.float32), rng.uniform(0.1, 2, count)


def test_each_landmark_is_the_best_after_those_before_it(monkeypatch: pytest.MonkeyPatch) -> None:
    components, variances, noise = candidates(30, 6)
    monkeypatch.setattr(landmark_choice, "SHORTLIST", 30)
    chosen = chosen_landmarks(components, variances, noise.astype(np.float32), 8).tolist()
    expected: list[int] = []
    for _ in range(8):
        left = [i for i in range(30) if i not in expected]
        expected.append(min(left, key=lambda i: unknown(components, variances, noise, [*expected, i])))
    assert chosen == expected


def test_blocks_choose_nearly_as_well_and_far_better_than_chance() -> None:
    components, variances, noise = candidates(600, 40)
    components[300:] *= 0.2
    chosen = chosen_landmarks(components, variances, noise.astype(np.float32), 150).tolist()
    assert len(set(chosen)) == 150
    left = unknown(components, variances, noise, chosen)
    assert left < 0.75 * unknown(components, variances, noise, list(range(75)) + list(range(300, 375)))
    assert unknown(components, variances, noise, list(range(600))) < left


@pytest.mark.parametrize("unit", [1e-12, 1e6])
def test_the_unit_of_the_measurements_does_not_matter(unit: float) -> None:
    components, variances, noise = candidates(100, 10)
    same = [
        chosen_landmarks(components, (variances * u).astype(np.float32), (noise * u).astype(np.float32), 20)
        for u in (1, unit)
    ]
    np.testing.assert_array_equal(*same)


def test_all_are_chosen_where_there_are_not_more() -> None:
    components, variances, noise = candidates(20, 5)
    chosen = chosen_landmarks(components, variances, noise.astype(np.float32), 50)
    assert sorted(chosen.tolist()) == list(range(20))


@pytest.mark.parametrize("difference", [1e-2, 1e-3, 1e-4])
def test_candidates_that_nearly_coincide_are_chosen_among(difference: float) -> None:
    """Rounding makes what is left of them smaller than nothing; static token vectors lie like this."""
    rng = np.random.default_rng(0)
    places = rng.standard_normal((8, 64))[rng.integers(8, size=400)]
    components = (places + difference * rng.standard_normal(places.shape)).astype(np.float32)
    variances, noise = np.ones(64, np.float32), np.full(400, 1e-5, np.float32)
    chosen = chosen_landmarks(components, variances, noise, 200)
    assert len({*chosen.tolist()}) == 200
