"""The sentence at the top of the page follows from the figures."""

from __future__ import annotations

from typing import Any

import pytest

from embplug.evaluation.report.conclusion import conclusion


def recipe(name: str, mean: float, size: float | None, ms: float = 2.0) -> dict[str, Any]:
    return {
        "name": name,
        "figures": {"nDCG@10": {"mean": mean, "low": mean - 0.01, "high": mean + 0.01}},
        "bytes_per_document": size,
        "latency_ms": {"p50": ms},
    }


def evaluation(*recipes: dict[str, Any], p: dict[str, float] | None = None) -> dict[str, Any]:
    """Comparisons with the first recipe; ``p`` of those that are not chance."""
    first = recipes[0]
    pairs = []
    for other in recipes[1:]:
        mean = other["figures"]["nDCG@10"]["mean"] - first["figures"]["nDCG@10"]["mean"]
        pairs.append(
            {
                "measure": "nDCG@10",
                "first": first["name"],
                "second": other["name"],
                "difference": {"mean": mean, "low": mean - 0.02, "high": mean + 0.02},
                "p_holm": (p or {}).get(other["name"], 0.5),
            }
        )
    return {"recipes": [*recipes], "comparisons": pairs, "queries": 300}


def test_the_smallest_recipe_that_is_not_worse_is_named():
    result = evaluation(
        recipe("exact", 0.7, 40_000),
        recipe("big", 0.7, 4000),
        recipe("small", 0.696, 1000),
        recipe("tiny", 0.5, 90),
        p={"tiny": 0.001},
    )
    assert conclusion(result) == (
        "<b>small</b> cannot be told from <b>exact</b> by nDCG@10 on 300 queries: the difference is -0.004 "
        "(95 % interval -0.024 to +0.016), at 1,000 bytes a document, 40.0 times less, and 2.0 ms a search."
    )


def test_a_gain_beyond_chance_is_said():
    result = evaluation(recipe("exact", 0.7, 4000), recipe("better", 0.75, 2000), p={"better": 0.01})
    assert "<b>better</b> has a higher nDCG@10 than <b>exact</b>, beyond chance" in conclusion(result)


def test_where_all_are_worse_the_closest_is_named():
    result = evaluation(
        recipe("exact", 0.7, 4000),
        recipe("worst", 0.4, 100),
        recipe("worse", 0.6, 500),
        p={"worst": 0.001, "worse": 0.001},
    )
    sentence = conclusion(result)
    assert sentence.startswith("Every other recipe has a lower nDCG@10 than <b>exact</b>, beyond chance.")
    assert "The closest is <b>worse</b>: the difference is -0.100" in sentence
    assert "500 bytes a document, 8.0 times less" in sentence


@pytest.mark.parametrize(("size", "ratio"), [(4000, ", as much, "), (8000, ", 2.0 times more, ")])
def test_what_takes_no_fewer_bytes_is_no_gain(size, ratio):
    sentence = conclusion(evaluation(recipe("exact", 0.7, 4000), recipe("other", 0.7, size)))
    assert sentence.startswith("No recipe with an nDCG@10 like that of <b>exact</b> takes fewer bytes.")
    assert ratio in sentence


def test_without_bytes_the_best_is_named():
    sentence = conclusion(
        evaluation(recipe("a", 0.7, None), recipe("b", 0.71, None), recipe("c", 0.69, None))
    )
    assert sentence.startswith("<b>b</b> cannot be told from <b>a</b>")
    assert "bytes" not in sentence


def test_one_recipe_has_its_figures():
    sentence = conclusion(evaluation(recipe("<alone>", 0.7, 1234)))
    assert (
        sentence == "<b>&lt;alone&gt;</b> has nDCG@10 0.700, at 1,234 bytes a document, and 2.0 ms a search."
    )
