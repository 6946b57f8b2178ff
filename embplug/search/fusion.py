"""Fusion of several rankings in this process, for engines that cannot fuse them or ignore weights."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from statistics import fmean, stdev
from typing import TYPE_CHECKING, Literal

from embplug.errors import InvalidArgumentError

if TYPE_CHECKING:
    from embplug.search.types import Hit

FUSION_STAGE = "fusion"


def reciprocal_rank_fusion(
    rankings: Mapping[str, Sequence[Hit]],
    *,
    weights: Mapping[str, float] | None = None,
    k: float = 60.0,
    limit: int | None = None,
) -> list[Hit]:
    """Fuse rankings by reciprocal rank fusion [1]_.

    The score of a document is the sum of ``weight / (k + rank)`` over the rankings that contain it. Ranks
    count from 1.

    Parameters
    ----------
    rankings : mapping of str to sequence of Hit
        Hits from the best to the worst, by the name of the ranking.
    weights : mapping of str to float, default=None
        Weights by the name of the ranking. The weight of a ranking that is not named is 1.
    k : float, default=60.0
        Constant of the sum. The higher it is, the less the first ranks stand out.
    limit : int, default=None
        Number of hits to return. None returns all.

    Returns
    -------
    list of Hit
        Hits from the best to the worst. The ``stages`` of each hit have its score in every ranking by the
        name of the ranking, and its sum as ``"fusion"``.

    Raises
    ------
    InvalidArgumentError
        ``k`` or a weight is negative, or a weight names no ranking.

    References
    ----------
    .. [1] Cormack, Clarke and Buettcher, "Reciprocal Rank Fusion outperforms Condorcet and individual Rank
       Learning Methods", 2009.
    """
    if k < 0:
        raise InvalidArgumentError("k", "at least 0", k)
    points = {name: [1 / (k + rank) for rank in range(1, len(hits) + 1)] for name, hits in rankings.items()}
    return _fused(rankings, points, weights, limit)


def weighted_fusion(
    rankings: Mapping[str, Sequence[Hit]],
    *,
    weights: Mapping[str, float] | None = None,
    scale: Literal["min_max", "none"] = "min_max",
    limit: int | None = None,
) -> list[Hit]:
    """Fuse rankings by the weighted sum of their scores.

    Parameters
    ----------
    rankings : mapping of str to sequence of Hit
        Hits from the best to the worst, by the name of the ranking.
    weights : mapping of str to float, default=None
        Weights by the name of the ranking. The weight of a ranking that is not named is 1.
    scale : {"min_max", "none"}, default="min_max"
        ``"min_max"`` scales the scores of each ranking to 0..1 first; all are 1 if they are equal.
        ``"none"`` sums the scores as they are.
    limit : int, default=None
        Number of hits to return. None returns all.

    Returns
    -------
    list of Hit
        Hits from the best to the worst. The ``stages`` of each hit have its score in every ranking by the
        name of the ranking, and its sum as ``"fusion"``.

    Raises
    ------
    InvalidArgumentError
        A weight is negative or names no ranking.
    """
    points = {}
    for name, hits in rankings.items():
        scores = [hit.score for hit in hits]
        if scale == "min_max" and scores:
            low, high = min(scores), max(scores)
            scores = [(score - low) / (high - low) if high > low else 1.0 for score in scores]
        points[name] = scores
    return _fused(rankings, points, weights, limit)


def distribution_based_fusion(
    rankings: Mapping[str, Sequence[Hit]],
    *,
    weights: Mapping[str, float] | None = None,
    limit: int | None = None,
) -> list[Hit]:
    """Fuse rankings by distribution-based score fusion (DBSF) [1]_, with weights.

    The scores of each ranking are scaled so that three standard deviations below their mean are 0 and three
    above are 1; all are 1/2 if they are equal. Without weights, the result is that of Qdrant.

    Parameters
    ----------
    rankings : mapping of str to sequence of Hit
        Hits from the best to the worst, by the name of the ranking.
    weights : mapping of str to float, default=None
        Weights by the name of the ranking. The weight of a ranking that is not named is 1.
    limit : int, default=None
        Number of hits to return. None returns all.

    Returns
    -------
    list of Hit
        Hits from the best to the worst. The ``stages`` of each hit have its score in every ranking by the
        name of the ranking, and its sum as ``"fusion"``.

    Raises
    ------
    InvalidArgumentError
        A weight is negative or names no ranking.

    References
    ----------
    .. [1] Qdrant documentation, "Hybrid Queries",
       https://qdrant.tech/documentation/concepts/hybrid-queries/
    """
    points = {}
    for name, hits in rankings.items():
        scores = [hit.score for hit in hits]
        spread = stdev(scores) if len(scores) > 1 else 0.0
        middle = fmean(scores) if scores else 0.0
        points[name] = [0.5 + (score - middle) / (6 * spread) if spread else 0.5 for score in scores]
    return _fused(rankings, points, weights, limit)


def _fused(
    rankings: Mapping[str, Sequence[Hit]],
    points: Mapping[str, Sequence[float]],
    weights: Mapping[str, float] | None,
    limit: int | None,
) -> list[Hit]:
    for name, weight in (weights or {}).items():
        if name not in rankings:
            raise InvalidArgumentError(f"weights[{name!r}]", f"one of {[*rankings]}", repr(name))
        if not weight >= 0:
            raise InvalidArgumentError(f"weights[{name!r}]", "at least 0", weight)
    sums: dict[int | str, float] = {}
    merged: dict[int | str, Hit] = {}
    for name, hits in rankings.items():
        weight = (weights or {}).get(name, 1.0)
        for hit, value in zip(hits, points[name], strict=True):
            sums[hit.id] = sums.get(hit.id, 0.0) + weight * value
            known = merged.get(hit.id, hit)
            stages = {**(known.stages or {}), **(hit.stages or {}), name: hit.score}
            merged[hit.id] = replace(
                known, payload=hit.payload if known.payload is None else known.payload, stages=stages
            )
    order = sorted(sums, key=lambda hit_id: -sums[hit_id])[:limit]
    return [
        replace(
            merged[hit_id],
            score=sums[hit_id],
            stages={**(merged[hit_id].stages or {}), FUSION_STAGE: sums[hit_id]},
        )
        for hit_id in order
    ]
