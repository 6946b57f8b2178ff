"""The recall of a whole collection, predicted from measurements on a sample of it."""

from __future__ import annotations

import math
from collections.abc import Mapping

import numpy as np


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
    ranks = sorted(recalls, reverse=True)
    density = [math.log(count / rank) for rank in ranks]
    measured = [recalls[rank] for rank in ranks]
    target = math.log(points / k)
    if target <= density[-1] or len(ranks) == 1:
        return float(np.interp(target, density, measured))
    slope = min(float(np.polyfit(density, measured, 1)[0]), 0.0)
    return float(np.clip(measured[-1] + slope * (target - density[-1]), 0.0, 1.0))
