"""A search on its way from queries to hits: plans, their requests, and diversity."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial

from qdrant_client import models
from qdrant_client.http.models import QueryResponse

from embplug.branches.pipeline import Pipeline
from embplug.common.ids import CODE_FIELDS, point_id
from embplug.engines.calls import Call, Steps
from embplug.search.diversity import mmr
from embplug.search.option_checks import check_options, check_queries
from embplug.search.plan import Plan
from embplug.search.types import Hit, Query, SearchOptions

DIVERSITY = 0.5
"""Qdrant's default of ``models.Mmr.diversity``."""


def search_steps(
    name: str, pipeline: Pipeline, queries: Sequence[Query], options: SearchOptions
) -> Steps[list[list[Hit]]]:
    """Run searches with the same options, under the name that only the pipeline's revision has."""
    name = pipeline.alias or name
    if options.mmr is None:
        return (yield from _relevant(name, pipeline, queries, options))
    return (yield from _diverse(name, pipeline, queries, options, options.mmr))


def _relevant(
    name: str, pipeline: Pipeline, queries: Sequence[Query], options: SearchOptions
) -> Steps[list[list[Hit]]]:
    """Best hits of each query, each round of all queries in one request."""
    plans: list[Plan] = yield Call.compute(partial(pipeline.plan, queries, options))
    hits: list[list[Hit]] = [[] for _ in plans]
    answers: dict[int, Sequence[QueryResponse] | None] = dict.fromkeys(range(len(plans)))
    while answers:
        requests = yield Call.compute(partial(_advance, plans, answers, hits))
        answers = {}
        if requests:
            flat = [request for own in requests.values() for request in own]
            responses = iter((yield Call.of("query_batch_points", collection_name=name, requests=flat)))
            answers = {i: [next(responses) for _ in own] for i, own in requests.items()}
    return hits


def _advance(
    plans: Sequence[Plan], answers: Mapping[int, Sequence[QueryResponse] | None], hits: list[list[Hit]]
) -> dict[int, list[models.QueryRequest]]:
    """Hand each plan its answers; return what it asks next, and store the hits of those that end."""
    requests = {}
    for i, own in answers.items():
        try:
            # A plan starts when it is sent None.
            requests[i] = plans[i].send(own)  # type: ignore[arg-type]
        except StopIteration as stop:
            hits[i] = stop.value
    return requests


def _diverse(
    name: str,
    pipeline: Pipeline,
    queries: Sequence[Query],
    options: SearchOptions,
    parameters: models.Mmr,
) -> Steps[list[list[Hit]]]:
    """Search for more hits than the limit, read their vectors, choose those that differ."""
    check_options(options)
    check_queries(queries)
    queries = yield Call.compute(partial(_with_query_vectors, pipeline, queries))
    fields = [pipeline.compared(query) for query in queries]
    limit = max(parameters.candidates_limit or 0, options.limit)
    wide = replace(options, limit=limit, cross_encode=False, mmr=None)
    candidates = yield from _relevant(name, pipeline, queries, wide)
    diversity = DIVERSITY if parameters.diversity is None else parameters.diversity
    chosen: list[list[Hit]] = []
    for query, field, hits in zip(queries, fields, candidates, strict=True):
        records = (yield _compared_fields(name, field, hits)) if hits else []
        choose = partial(_choose, pipeline, query, hits, records, diversity, options.limit)
        chosen.append((yield Call.compute(choose)))
    return chosen


def _with_query_vectors(pipeline: Pipeline, queries: Sequence[Query]) -> list[Query]:
    return [pipeline.with_query_vectors(query) for query in queries]


def _compared_fields(name: str, field: str, hits: Sequence[Hit]) -> Call:
    """Request for what documents are compared by: codes in the payload, or a vector."""
    return Call.of(
        "retrieve",
        collection_name=name,
        ids=[point_id(hit.id, "id") for hit in hits],
        with_payload=[field] if field in CODE_FIELDS else False,
        with_vectors=False if field in CODE_FIELDS else [field] if field else True,
    )


def _choose(
    pipeline: Pipeline,
    query: Query,
    hits: Sequence[Hit],
    records: Sequence[models.Record],
    diversity: float,
    limit: int,
) -> list[Hit]:
    by_id = {record.id: record for record in records}
    # A document that was deleted meanwhile has no record.
    ids = [point_id(hit.id, "id") for hit in hits]
    read = [(hit, by_id[key]) for hit, key in zip(hits, ids, strict=True) if key in by_id]
    if not read:
        return []
    compared = pipeline.similarities(query, [record for _, record in read])
    return [read[row][0] for row in mmr(*compared, diversity, limit)]
