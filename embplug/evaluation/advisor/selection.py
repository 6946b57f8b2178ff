"""Which of several tried recipes are worth more: the better third, the Pareto front, the best."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import replace

from embplug.evaluation.advisor.advice import TriedRecipe

RECALL_TIE = 0.002
"""Recipes whose recall differs by at most this much count as equally good."""

BYTES_TIE = 1.02
"""Recipes of at most this many times the bytes count as equally large."""


def better_third(trials: Sequence[TriedRecipe]) -> set[str]:
    """Choose the recipes that are nearest to the best recipe of at most their bytes.

    Recipes with and without original vectors are compared separately.

    Parameters
    ----------
    trials : sequence of TriedRecipe
        Recipes that were tried on the same sample.

    Returns
    -------
    set of str
        Names of a third of the recipes of each group, at least four.
    """
    kept: set[str] = set()
    for originals in (True, False):
        group = [trial for trial in trials if (", original" in trial.name) == originals]
        gaps = {
            trial.name: max(o.expected_recall for o in group if o.bytes <= BYTES_TIE * trial.bytes)
            - trial.expected_recall
            for trial in group
        }
        order = sorted(gaps, key=lambda name: gaps[name])
        kept |= set(order[: max(4, math.ceil(len(order) / 3))])
    return kept


def with_front(trials: Sequence[TriedRecipe]) -> list[TriedRecipe]:
    """Mark the recipes on the Pareto front of bytes, recall and median latency.

    Parameters
    ----------
    trials : sequence of TriedRecipe
        Recipes that were tried on the same sample.

    Returns
    -------
    list of TriedRecipe
        The same recipes with ``front`` set.
    """

    def beats(a: TriedRecipe, b: TriedRecipe) -> bool:
        mine = (a.bytes, -a.expected_recall, a.latency_ms["p50"])
        others = (b.bytes, -b.expected_recall, b.latency_ms["p50"])
        return mine != others and all(x <= y for x, y in zip(mine, others, strict=True))

    return [replace(trial, front=not any(beats(other, trial) for other in trials)) for trial in trials]


def smallest(trials: Sequence[TriedRecipe]) -> list[TriedRecipe]:
    """Keep the recipes that are as small as the smallest one."""
    fewest = min((trial.bytes for trial in trials), default=0.0)
    return [trial for trial in trials if trial.bytes <= BYTES_TIE * fewest]


def best(trials: Sequence[TriedRecipe]) -> TriedRecipe:
    """Choose the recipe with the highest recall; among equally good ones, the fastest."""
    highest = max(trial.expected_recall for trial in trials)
    tied = [trial for trial in trials if trial.expected_recall >= highest - RECALL_TIE]
    return min(tied, key=lambda trial: trial.latency_ms["p50"])
