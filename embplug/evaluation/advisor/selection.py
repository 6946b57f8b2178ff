"""Which of several tried recipes are worth more: the better third, the Pareto front, the best."""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from embplug.evaluation.advisor.advice import TriedRecipe

RECALL_TIE = 0.002
"""Recipes whose recall differs by at most this much count as equally good."""

HOPELESS = 0.1
"""By how much a recipe falls short of the target when smaller ones of its kind are not tried."""

_SIZE = re.compile(r"[0-9]+(?= (?:float16|int8|turbo|binary))|(?<=product x)[0-9]+")
"""Numbers of components, and ratios, in the names of recipes."""

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


class Hopeless:
    """Recipes that need not be tried, because a larger one of the same kind is far from the target.

    Parameters
    ----------
    recall : float or None
        Recall to reach. None compares with the best recipe so far.
    """

    def __init__(self, recall: float | None) -> None:
        self._recall = recall
        self._best = 0.0
        self._lowest: dict[str, float] = {}

    def see(self, trial: TriedRecipe) -> None:
        """Take in a recipe that was tried; of a kind, the larger recipes come first."""
        self._best = max(self._best, trial.expected_recall)
        kind = _kind(trial.name)
        self._lowest[kind] = min(trial.expected_recall, self._lowest.get(kind, 1.0))

    def includes(self, name: str) -> bool:
        """Return whether a recipe, which is smaller than those of its kind so far, cannot be the best."""
        target = self._best if self._recall is None else min(self._recall, self._best)
        return self._lowest.get(_kind(name), 1.0) < target - HOPELESS


def _kind(name: str) -> str:
    """What recipes have in common that differ in their size alone."""
    return _SIZE.sub("", name)


@dataclass(frozen=True, eq=False)
class Choice:
    """The rule by which a recipe is chosen from predicted recalls.

    A target of recall chooses among the smallest recipes that reach it, a limit of bytes among all recipes
    that fit. Of those, the recipe with the highest recall is chosen; among equally good ones, the fastest.

    Attributes
    ----------
    fits : bool array of shape (n_recipes,)
        Whether each recipe keeps the limit of bytes.
    bytes, latency : float64 array of shape (n_recipes,)
        Bytes of a document and median latency of each recipe.
    margin : float64 array of shape (n_recipes,)
        By how much the prediction of each recipe has to be above the target.
    recall : float or None
        Recall to reach; None without such a target.
    """

    fits: NDArray[np.bool_]
    bytes: NDArray[np.float64]
    latency: NDArray[np.float64]
    margin: NDArray[np.float64]
    recall: float | None

    def good(self, expected: NDArray[np.float64]) -> NDArray[np.bool_]:
        """Return which recipes meet the target by these predictions."""
        return self.fits if self.recall is None else self.fits & (expected - self.margin >= self.recall)

    def best(self, expected: NDArray[np.float64]) -> int:
        """Return the index of the best recipe that meets the target, or of the closest one."""
        eligible = self.good(expected)
        if not eligible.any():
            # The closest is the one whose lower bound is highest.
            fits = self.fits if self.fits.any() else np.ones(len(expected), dtype=bool)
            expected, eligible = expected - self.margin, fits
        elif self.recall is not None:
            eligible = eligible & (self.bytes <= BYTES_TIE * self.bytes[eligible].min())
        tied = np.flatnonzero(eligible & (expected >= expected[eligible].max() - RECALL_TIE))
        return int(tied[self.latency[tied].argmin()])
