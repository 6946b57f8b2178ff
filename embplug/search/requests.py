"""Stages as requests of Qdrant's query API, and its answers as rankings."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

import numpy as np
from qdrant_client import models

from embplug.common.ids import CODE_FIELDS, ORIGINAL_ID
from embplug.engines.answers import Answer
from embplug.engines.search_request import SearchRequest
from embplug.search.ranking import Ranking
from embplug.search.stages import Stage
from embplug.search.types import SearchOptions

Rankings: TypeAlias = Generator[list[SearchRequest], Sequence[Answer], list[Ranking]]
"""Yields the requests of one round, receives their answers, and returns a ranking for each stage."""


def rankings_of(
    stages: Sequence[Stage],
    count: int,
    options: SearchOptions,
    *,
    below: int | None = None,
    score_threshold: float | None = None,
    fields: Mapping[str, Sequence[str]] | None = None,
    bare: bool = False,
) -> Rankings:
    """Request the first hits of each stage, with their scores at every inner stage if the options ask for it.

    Parameters
    ----------
    stages : sequence of Stage
        Stages that are independent of one another.
    count : int
        Number of hits of each stage.
    options : SearchOptions
        Filter, payload and stages of the search.
    below : int, default=None
        Number of results of the stages in ``among``. None multiplies ``count`` by the stage's ``widening``.
    score_threshold : float, default=None
        Lowest score of a hit. None sets no limit.
    fields : mapping of str to sequence of str, default=None
        By the name of a stage: payload fields with codes that come with its hits.
    bare : bool, default=False
        Whether nothing else of payloads comes with the hits, because they are read later.

    Returns
    -------
    Rankings
        Generator of the requests. It returns a ranking for each stage.
    """
    requests = []
    for stage in stages:
        own = (fields or {}).get(stage.name, ())
        selector = [*own] or False if bare else payload_selector(options.with_payload, own)
        request = SearchRequest(
            **request_fields(stage, count, options, below),
            with_payload=selector,
            score_threshold=None if score_threshold is None else float(score_threshold),
        )
        requests.append(request)
    inner: dict[str, SearchRequest] = {}
    if options.with_stages:
        for stage in stages:
            for within, own_count in _stages_within(
                stage, stage.widening * count if below is None else below
            ):
                request = SearchRequest(**request_fields(within, own_count, options))
                inner.setdefault(within.name, request)
    answers = yield [*requests, *inner.values()]
    rankings = [Ranking.of(answer, stage.name) for stage, answer in zip(stages, answers, strict=False)]
    if not inner:
        return rankings
    beside = {
        name: (answer.ids, np.array(answer.scores))
        for name, answer in zip(inner, answers[len(stages) :], strict=True)
    }
    return [replace(ranking, stages={**beside, **ranking.stages}) for ranking in rankings]


def request_fields(
    stage: Stage, count: int, options: SearchOptions, below: int | None = None
) -> dict[str, Any]:
    """Return the fields of a request, or of a prefetch, for a stage.

    Parameters
    ----------
    stage : Stage
        Stage whose results are requested.
    count : int
        Number of results.
    options : SearchOptions
        Options of the search, of which the filter is read.
    below : int, default=None
        Number of results of the stages in ``among``. None multiplies ``count`` by the stage's ``widening``.

    Returns
    -------
    dict
        Arguments of a ``SearchRequest``.
    """
    below = stage.widening * count if below is None else below
    return {
        "query": stage.query,
        "using": stage.using,
        "prefetch": [SearchRequest(**request_fields(within, below, options)) for within in stage.among],
        # The filter was already applied to the documents that inner stages find.
        "filter": None if stage.among else _both(stage.filter, options.filter),
        "params": stage.params,
        "limit": int(count),
    }


def payload_selector(with_payload: bool | Sequence[str], fields: Sequence[str] = ()) -> Any:
    """Return Qdrant's payload selector: always with the original id, and with codes only from ``fields``.

    Parameters
    ----------
    with_payload : bool or sequence of str
        Whether the payload is returned, or the names of its fields.
    fields : sequence of str, default=()
        Payload fields with codes that are returned too.

    Returns
    -------
    bool, list of str or models.PayloadSelectorExclude
        Value for ``with_payload`` of a request.
    """
    if with_payload is True:
        hidden = [field for field in CODE_FIELDS if field not in fields]
        return models.PayloadSelectorExclude(exclude=hidden) if hidden else True
    return [ORIGINAL_ID, *fields, *([] if with_payload is False else with_payload)]


def _both(first: models.Filter | None, second: models.Filter | None) -> models.Filter | None:
    if first is None or second is None:
        return first or second
    return models.Filter(must=[first, second])


def _stages_within(stage: Stage, count: int) -> Iterator[tuple[Stage, int]]:
    """Iterate over all inner stages of a stage, with the number of results of each."""
    for within in stage.among:
        yield within, count
        yield from _stages_within(within, within.widening * count)
