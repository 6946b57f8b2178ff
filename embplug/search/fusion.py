"""Fusion of several rankings in this process, for engines that cannot fuse them or ignore weights."""

from __future__ import annotations

import itertools
from collections.abc import Callable, Mapping, Sequence, Sized
from dataclasses import replace
from functools import partial
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import NDArray

from embplug.engines.answers import Answer, PointId
from embplug.errors import InvalidArgumentError
from embplug.recipe import Fusion
from embplug.search.ranking import Ranking, StageScores, merged
from embplug.search.types import Hit

FUSION_STAGE = "fusion"

Points: TypeAlias = Callable[[NDArray[np.float64]], NDArray[np.float64]]
"""What each document of a ranking adds to its sum, from scores in the order of the ranking."""


def fused(rankings: Mapping[str, Ranking], fusion: Fusion, weights: Mapping[str, float]) -> Ranking:
    """Fuse rankings by the method of a recipe.

    Parameters
    ----------
    rankings : mapping of str to Ranking
        Rankings by their names.
    fusion : Fusion
        The recipe's fusion, of which the weights are not read.
    weights : mapping of str to float
        Weights by the name of the ranking. The weight of a ranking that is not named is 1.

    Returns
    -------
    Ranking
        All documents from the best to the worst.
    """
    points: dict[str, Points] = {
        "rrf": partial(_reciprocal_ranks, fusion.k),
        "dbsf": _by_distribution,
        "min_max": _min_max,
        "z_score": _standard_scores_of(rankings),
    }
    return _summed(rankings, points[fusion.method], weights)


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
    return _fused_hits(rankings, partial(_reciprocal_ranks, k), weights, limit)


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
        ``"min_max"`` scales the scores of each ranking to 0..1 first; all are 1 if they are equal. The best
        has 1, also where scores are distances, which rise. ``"none"`` sums the scores as they are.
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
    return _fused_hits(rankings, _min_max if scale == "min_max" else _as_they_are, weights, limit)


def z_score_fusion(
    rankings: Mapping[str, Sequence[Hit]],
    *,
    weights: Mapping[str, float] | None = None,
    limit: int | None = None,
) -> list[Hit]:
    """Fuse rankings by the weighted sum of their standard scores (z-scores).

    The standard score says by how many standard deviations a score is above the mean of its ranking. Scores
    below the mean count 0, as does a document that a ranking does not contain. A document that stands out
    in its ranking therefore counts much, and a ranking in which no document stands out decides little.
    Scores that rise are distances, and are negated.

    Parameters
    ----------
    rankings : mapping of str to sequence of Hit
        Hits from the best to the worst, by the name of the ranking. A ranking that is shorter than the
        longest one has found all documents whose score is not 0, as BM25 does; it is filled up with zeros.
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
    """
    return _fused_hits(rankings, _standard_scores_of(rankings), weights, limit)


def distribution_based_fusion(
    rankings: Mapping[str, Sequence[Hit]],
    *,
    weights: Mapping[str, float] | None = None,
    limit: int | None = None,
) -> list[Hit]:
    """Fuse rankings by distribution-based score fusion (DBSF) [1]_, with weights.

    The scores of each ranking are scaled so that three standard deviations below their mean are 0 and three
    above are 1; all are 1/2 if they are equal. Scores that rise are distances, and are negated. Without
    weights and distances, the result is that of Qdrant.

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
       https://qdrant.tech/documentation/search/hybrid-queries/
    """
    return _fused_hits(rankings, _by_distribution, weights, limit)


def _reciprocal_ranks(k: float, scores: NDArray[np.float64]) -> NDArray[np.float64]:
    return 1 / (k + np.arange(1, len(scores) + 1))


def _as_they_are(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    return scores


def _falling(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Return scores of which the best is the highest: those of distances rise, and are negated."""
    return -scores if len(scores) and scores[0] < scores[-1] else scores


def _min_max(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    if len(scores) == 0:
        return scores
    scores = _falling(scores)
    low, high = scores.min(), scores.max()
    return (scores - low) / (high - low) if high > low else np.ones(len(scores))


def _by_distribution(scores: NDArray[np.float64]) -> NDArray[np.float64]:
    # Rounding gives equal scores a spread.
    if len(scores) == 0 or scores.min() == scores.max():
        return np.full(len(scores), 0.5)
    scores = _falling(scores)
    return np.asarray(0.5 + (scores - scores.mean()) / (6 * scores.std(ddof=1)))


def _standard_scores_of(rankings: Mapping[str, Sized]) -> Points:
    return partial(_standard_scores, max(map(len, rankings.values()), default=0))


def _standard_scores(count: int, scores: NDArray[np.float64]) -> NDArray[np.float64]:
    """Compute the standard scores of a ranking that is filled up to ``count``; below the mean they are 0."""
    if len(scores) == 0:
        return scores
    scores = _falling(scores)
    # A negative score is worse than 0, so documents that are not in the ranking are not better than its last.
    filled = np.full(count, min(0.0, scores.min()))
    filled[: len(scores)] = scores
    # Rounding gives equal scores a spread.
    if filled.min() == filled.max():
        return np.zeros(len(scores))
    standard: NDArray[np.float64] = np.maximum((scores - filled.mean()) / filled.std(), 0.0)
    return standard


def _summed(
    rankings: Mapping[str, Ranking], points: Points, weights: Mapping[str, float] | None = None
) -> Ranking:
    """Rank documents by the weighted sums of their points in each ranking."""
    for name, weight in (weights or {}).items():
        if name not in rankings:
            raise InvalidArgumentError(f"weights[{name!r}]", f"one of {[*rankings]}", repr(name))
        if not weight >= 0:
            raise InvalidArgumentError(f"weights[{name!r}]", "at least 0", weight)
    ids = [*dict.fromkeys(itertools.chain.from_iterable(ranking.ids for ranking in rankings.values()))]
    row_of = dict(zip(ids, range(len(ids)), strict=True))
    sums = np.zeros(len(ids))
    answers: dict[Answer, None] = {}
    stages: StageScores = {}
    for name, ranking in rankings.items():
        rows = np.fromiter(map(row_of.__getitem__, ranking.ids), dtype=np.int64, count=len(ranking))
        sums += np.bincount(rows, (weights or {}).get(name, 1.0) * points(ranking.scores), len(ids))
        answers |= dict.fromkeys(ranking.answers)
        stages = merged(stages, {**ranking.stages, name: (ranking.ids, ranking.scores)})
    return Ranking(ids, sums, tuple(answers), stages).ranked(sums, FUSION_STAGE)


class _HitsAnswer(Answer):
    """Hits of a user in place of an engine's answer."""

    def __init__(self, hits: Sequence[Hit]) -> None:
        self._payloads = [hit.payload for hit in hits]
        self.ids = [hit.id for hit in hits]
        self.scores = [hit.score for hit in hits]

    def payload(self, row: int) -> dict[str, object] | None:
        return self._payloads[row]

    def field(self, name: str) -> list[object]:
        return [(payload or {}).get(name) for payload in self._payloads]


def _fused_hits(
    rankings: Mapping[str, Sequence[Hit]],
    points: Points,
    weights: Mapping[str, float] | None,
    limit: int | None,
) -> list[Hit]:
    columns = {}
    for name, hits in rankings.items():
        stages: dict[str, tuple[list[PointId], list[float]]] = {}
        for hit in hits:
            for stage, score in (hit.stages or {}).items():
                ids, scores = stages.setdefault(stage, ([], []))
                ids.append(hit.id)
                scores.append(score)
        ranking = Ranking.of(_HitsAnswer(hits), name)
        earlier = {stage: (ids, np.array(scores)) for stage, (ids, scores) in stages.items()}
        columns[name] = replace(ranking, stages=earlier)
    ranking = _summed(columns, points, weights)
    return ranking.first(len(ranking) if limit is None else limit).hits(with_stages=True)
