"""The recall of a whole collection, predicted from measurements on a sample of it."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np
from numpy.typing import NDArray


def ranks_to_measure(k: int, count: int, points: int) -> list[int]:
    """Compute which best documents of a sample correspond to the best ``k`` of the whole collection.

    These are the two integers around ``k * count / points``. Where that number is below 1, several ranks
    are measured, from which :func:`expected_recall` extrapolates.

    Parameters
    ----------
    k : int
        Number of best documents in the whole collection.
    count : int
        Number of documents in the sample.
    points : int
        Number of documents in the whole collection.

    Returns
    -------
    list of int
        Numbers of best documents of the sample, ascending, each at most ``k``.
    """
    share = k * count / points
    if share >= 1:
        return sorted({min(k, math.floor(share)), min(k, math.ceil(share))})
    return sorted({1, min(k, 3), k})


def expected_recall(recalls: Mapping[int, float], k: int, count: int, points: int) -> float:
    """Predict the recall in the whole collection from the recall in a sample.

    A random sample thins out every ranking alike. The best 4 among 400 documents are as hard to tell apart
    as the best 10 among 1,000, provided that the number of reranked candidates shrinks in the same way.
    Recall is therefore a function of the number of documents per best document. Beyond the sample, its
    decrease with the logarithm of that number is assumed to continue.

    Parameters
    ----------
    recalls : mapping of int to float
        Measured recall for each number of best documents of the sample.
    k : int
        Number of best documents in the whole collection.
    count : int
        Number of documents in the sample.
    points : int
        Number of documents in the whole collection.

    Returns
    -------
    float
        Predicted recall of the best ``k``, 0 to 1.
    """
    return float(expected_recalls({rank: np.array([recalls[rank]]) for rank in recalls}, k, count, points)[0])


def expected_recalls(
    recalls: Mapping[int, NDArray[np.float64]], k: int, count: int, points: int
) -> NDArray[np.float64]:
    """Predict the recall in the whole collection from each of several measurements.

    Parameters
    ----------
    recalls : mapping of int to float64 array of shape (n_measurements,)
        Measured recalls for each number of best documents of the sample.
    k, count, points : int
        See :func:`expected_recall`.

    Returns
    -------
    float64 array of shape (n_measurements,)
        Predicted recalls of the best ``k``, 0 to 1.
    """
    ranks = sorted(recalls, reverse=True)
    density = np.log([count / rank for rank in ranks])
    measured = np.array([recalls[rank] for rank in ranks])
    target = math.log(points / k)
    if target <= density[-1] or len(ranks) == 1:
        # The weights of the measurements around the target.
        weights = np.array([np.interp(target, density, unit) for unit in np.eye(len(ranks))])
        return np.asarray(weights @ measured)
    centred = density - density.mean()
    slope = np.minimum(centred @ measured / (centred @ centred), 0.0)
    return np.asarray(np.clip(measured[-1] + slope * (target - density[-1]), 0.0, 1.0))
