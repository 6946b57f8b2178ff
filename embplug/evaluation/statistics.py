"""Means with confidence intervals, paired tests and percentiles of latency."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import combinations

import numpy as np
from numpy.typing import NDArray

RESAMPLES = 2000
PERMUTATIONS = 9999
CONFIDENCE = 0.95

Values = NDArray[np.float64]


@dataclass(frozen=True)
class Figure:
    """A mean over queries with its confidence interval.

    Attributes
    ----------
    mean : float
        Mean over the queries.
    low, high : float
        Ends of the 95 % confidence interval of a bootstrap over the queries.
    """

    mean: float
    low: float
    high: float


@dataclass(frozen=True)
class Comparison:
    """Two recipes compared on the same queries.

    Attributes
    ----------
    measure : str
        Name of the measure, such as ``"nDCG@10"``.
    first, second : str
        Names of the recipes.
    difference : Figure
        The second recipe minus the first, with the confidence interval of a paired bootstrap.
    p : float
        Two-sided p-value of a paired permutation test of no difference.
    p_holm : float
        The same p-value, corrected for the number of pairs by Holm's method [1]_.

    References
    ----------
    .. [1] Holm, S. (1979). "A simple sequentially rejective multiple test procedure". Scandinavian
       Journal of Statistics 6(2), 65-70.
    """

    measure: str
    first: str
    second: str
    difference: Figure
    p: float
    p_holm: float


def compare(values: Mapping[str, Mapping[str, Sequence[float]]], seed: int = 0) -> list[Comparison]:
    """Compare each pair of recipes by each measure, on the same queries.

    Parameters
    ----------
    values : mapping
        For each recipe and each measure, one value per query.
    seed : int, default=0
        Seed of the resampling.

    Returns
    -------
    list of Comparison
        One comparison for each measure and pair.
    """
    pairs = list(combinations(values, 2))
    comparisons = []
    for measure in next(iter(values.values()), {}) if pairs else ():
        changes = np.array([np.subtract(values[b][measure], values[a][measure]) for a, b in pairs])
        chances = permutation_test(changes, seed)
        tests = zip(pairs, bootstrap(changes, seed), chances, _holm(chances), strict=True)
        comparisons += [Comparison(measure, a, b, figure, p, holm) for (a, b), figure, p, holm in tests]
    return comparisons


def permutation_test(changes: Values, seed: int = 0) -> list[float]:
    """Test with random signs whether the mean of each row differs from 0.

    Parameters
    ----------
    changes : float64 array of shape (n_tests, n_queries)
        Paired differences.
    seed : int, default=0
        Seed of the random signs.

    Returns
    -------
    list of float
        Two-sided p-value of each row.
    """
    rng = np.random.default_rng(seed)
    observed = np.abs(changes.sum(axis=1)) - 1e-9
    beyond = np.zeros(len(changes))
    for start in range(0, PERMUTATIONS, 1000):
        signs = rng.choice([-1.0, 1.0], size=(min(1000, PERMUTATIONS - start), changes.shape[1]))
        beyond += (np.abs(signs @ changes.T) >= observed).sum(axis=0)
    return [float(p) for p in (beyond + 1) / (PERMUTATIONS + 1)]


def bootstrap(values: Sequence[Sequence[float]] | Values, seed: int = 0) -> list[Figure]:
    """Compute the mean of each row and the percentile interval of a bootstrap.

    Parameters
    ----------
    values : array-like of shape (n_rows, n_queries)
        One value per query.
    seed : int, default=0
        Seed of the resampling.

    Returns
    -------
    list of Figure
        One figure per row.
    """
    rows = np.asarray(values, dtype=np.float64)
    count = rows.shape[1]
    drawn = np.random.default_rng(seed).multinomial(count, np.full(count, 1 / count), size=RESAMPLES)
    outside = (1 - CONFIDENCE) / 2
    low, high = np.quantile(rows @ drawn.T / count, [outside, 1 - outside], axis=1)
    return [Figure(*map(float, ends)) for ends in zip(rows.mean(axis=1), low, high, strict=True)]


def percentiles_ms(seconds: Sequence[float]) -> dict[str, float]:
    """Compute the median, the 95th and the 99th percentile.

    Parameters
    ----------
    seconds : sequence of float
        Durations in seconds.

    Returns
    -------
    dict of str to float
        ``p50``, ``p95`` and ``p99`` in milliseconds.
    """
    return {f"p{p}": 1e3 * float(np.percentile(seconds, p)) for p in (50, 95, 99)}


def _holm(p: Sequence[float]) -> list[float]:
    corrected = np.empty(len(p))
    highest = 0.0
    for place, i in enumerate(np.argsort(p)):
        highest = max(highest, min(1.0, (len(p) - place) * p[i]))
        corrected[i] = highest
    return [float(value) for value in corrected]
