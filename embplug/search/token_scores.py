"""What each token of a query adds to the scores of documents, where the engine computes MaxSim."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace

import numpy as np
from qdrant_client import models

from embplug.engines.answers import PointId
from embplug.engines.filter_ids import with_ids
from embplug.engines.search_request import SearchRequest
from embplug.methods.numeric.arrays import Float32
from embplug.search.plan import Rounds
from embplug.search.requests import request_fields
from embplug.search.stages import Stage
from embplug.search.types import SearchOptions


def token_scores(stage: Stage, points: Sequence[PointId]) -> Rounds[Mapping[PointId, Float32]]:
    """Score documents by each token of a query alone.

    The engine may compare tokens in another form than it returns, and only its own scores add up to those of
    its search.

    Parameters
    ----------
    stage : Stage
        MaxSim of all tokens of the query.
    points : sequence of int or str
        Documents to score.

    Returns
    -------
    mapping
        For each document that has tokens: the parts of its score, float32 ``(t,)``.
    """
    tokens = stage.query
    params = (stage.params or models.SearchParams()).model_copy(update={"exact": True})
    among = with_ids(points)
    stages = [replace(stage, query=token[None], params=params) for token in tokens]
    answers = yield [
        SearchRequest(**request_fields(own, len(points), SearchOptions(filter=among)))
        for own in (stages if points else [])
    ]
    scores = {point: np.zeros(len(tokens), dtype=np.float32) for answer in answers for point in answer.ids}
    for token, answer in enumerate(answers):
        for point, score in zip(answer.ids, answer.scores, strict=True):
            scores[point][token] = score
    return scores
