"""Several rankings into one, in this process: for engines that cannot, or that ignore weights."""

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
    """Sum ``weight / (k + rank)`` over the rankings in which a document is, ranks from 1.

    Parameters
    ----------
    rankings
        Hits by the name of the ranking, best first.
    weights
        By the same names; 1 where none is given.
    k
        The higher, the less the first ranks stand out.
    limit
        Number of hits; default all.

    Returns
    -------
    list of Hit
        Each tells its score in every ranking by its name, and the sum as ``fusion``.

    Raises
    ------
    InvalidArgumentError
        Weights of rankings that are not there, or negative ones.
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
    """Sum the weighted scores of the rankings in which a document is.

    ``min_max`` brings the scores of each ranking to 0..1 first; all are 1 where they do not differ.
    The other arguments, the result and the errors are those of :func:`reciprocal_rank_fusion`.
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
    """Sum the weighted scores of the rankings in which a document is, as Qdrant's DBSF does without weights.

    The scores of each ranking are brought to 0..1 between three standard deviations below and above
    their mean; all are 1/2 where they do not differ. The other arguments, the result and the errors are
    those of :func:`reciprocal_rank_fusion`.
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
    order = sorted(sums, key=lambda found: -sums[found])[:limit]
    return [
        replace(
            merged[found],
            score=sums[found],
            stages={**(merged[found].stages or {}), FUSION_STAGE: sums[found]},
        )
        for found in order
    ]
