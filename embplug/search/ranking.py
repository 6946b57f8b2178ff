"""A ranking as columns: its documents become hits only once the last stage has chosen them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embplug.common.byte_strings import ByteStrings
from embplug.common.ids import split_payload
from embplug.engines.answers import Answer, PointId
from embplug.search.types import Hit

FEW_SCORES = 100
"""Scores that Python sorts in a few microseconds."""

StageScores: TypeAlias = Mapping[str, tuple[Sequence[PointId], NDArray[np.float64]]]
"""By the name of a stage: the points that it scored, and their scores."""


@dataclass(frozen=True, eq=False)
class Ranking:
    """Points from the best to the worst.

    Attributes
    ----------
    ids : list of int or str
        Ids of the points.
    scores : ndarray of shape (n,), float64
        Scores of the last stage.
    answers : tuple of Answer
        Where the payload of a point is read: in the first answer that has it.
    stages : mapping
        Scores of the stages so far.
    codes : ByteStrings, default=None
        Codes of the points, where they are ranked by them.
    """

    ids: list[PointId]
    scores: NDArray[np.float64]
    answers: tuple[Answer, ...] = ()
    stages: StageScores = field(default_factory=dict)
    codes: ByteStrings | None = None

    @classmethod
    def of(cls, answer: Answer, stage: str) -> Ranking:
        """Ranking of one stage, as the engine answers it."""
        scores = np.array(answer.scores, dtype=np.float64)
        return cls(answer.ids, scores, (answer,), {stage: (answer.ids, scores)})

    def __len__(self) -> int:
        return len(self.ids)

    def first(self, count: int) -> Ranking:
        """The best ``count`` points."""
        codes = None if self.codes is None else self.codes[:count]
        return Ranking(self.ids[:count], self.scores[:count], self.answers, self.stages, codes)

    def take(self, rows: Sequence[int]) -> Ranking:
        """Points of some rows, in their order."""
        ids = [*map(self.ids.__getitem__, rows)]
        return Ranking(ids, self.scores[rows], self.answers, self.stages)

    def ranked(self, scores: ArrayLike, stage: str, codes: ByteStrings | None = None) -> Ranking:
        """The same points, with their codes, in the order of new scores; equal scores keep their order."""
        values = np.asarray(scores, dtype=np.float64)
        order = falling_order(values)
        stages = {**self.stages, stage: (self.ids, values)}
        ids = [*map(self.ids.__getitem__, order.tolist())]
        ordered = None if codes is None else codes.take(order)
        return Ranking(ids, values[order], self.answers, stages, ordered)

    def texts(self, name: str) -> Sequence[Any]:
        """One field of the payload of every point, None where a point lacks it; see :meth:`Answer.texts`."""
        if len(self.answers) == 1 and self.ids is self.answers[0].ids:
            return self.answers[0].texts(name)
        values: dict[PointId, Any] = {}
        for answer in reversed(self.answers):
            fields = zip(answer.ids, answer.field(name), strict=True)
            values |= {point_id: value for point_id, value in fields if value is not None}
        return [values.get(point_id) for point_id in self.ids]

    def versions(self) -> tuple[object, list[int]]:
        """The version of every point, and what versions belong to; see :class:`Answer`."""
        if len(self.answers) == 1 and self.ids is self.answers[0].ids:
            return self.answers[0].source, self.answers[0].versions
        of_point: dict[PointId, int] = {}
        for answer in reversed(self.answers):
            of_point |= zip(answer.ids, answer.versions, strict=True)
        return self.answers[0].source, [of_point[point_id] for point_id in self.ids]

    def payload(self, point_id: PointId) -> dict[str, Any] | None:
        """Payload of one point, as far as it was requested."""
        for answer in self.answers:
            row = answer.rows.get(point_id)
            payload = None if row is None else answer.payload(row)
            if payload is not None:
                return payload
        return None

    def hits(self, *, with_stages: bool = False, with_payload: bool = True) -> list[Hit]:
        """The points as users see them: with their own ids, without the payload fields that embplug adds."""
        hits = []
        by_stage = {}
        if with_stages:
            by_stage = {
                name: dict(zip(ids, scores.tolist(), strict=True))
                for name, (ids, scores) in self.stages.items()
            }
        for point_id, score in zip(self.ids, self.scores.tolist(), strict=True):
            user_id, payload = point_id, None
            # A number is the id that the user passed, and reading a payload takes longer than all else here.
            if with_payload or isinstance(point_id, str):
                user_id, payload = split_payload(point_id, self.payload(point_id))
            stages = {name: scores[point_id] for name, scores in by_stage.items() if point_id in scores}
            hits.append(Hit(user_id, score, payload or None, stages if with_stages else None))
        return hits


def falling_order(scores: NDArray[np.floating[Any]]) -> NDArray[np.intp]:
    """Rows from the highest to the lowest score, those of equal scores in their order; NaN comes last."""
    negated = -scores
    if len(scores) > FEW_SCORES or np.isnan(scores).any():
        return np.argsort(negated, kind="stable")
    # Sorting by numpy releases the interpreter's lock, and a thread among many waits long to have it back.
    order = sorted(range(len(scores)), key=negated.tolist().__getitem__)
    return np.array(order, dtype=np.intp)


def merged(first: StageScores, second: StageScores) -> StageScores:
    """Scores of the stages of two rankings; where both score a point, those of the second."""
    stages = {**first, **second}
    for name in first.keys() & second.keys():
        if first[name] is not second[name]:
            ids = [*first[name][0], *second[name][0]]
            stages[name] = ids, np.concatenate([first[name][1], second[name][1]])
    return stages
