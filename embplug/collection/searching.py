"""A search on its way from queries to hits: plans, their requests, and diversity."""

from __future__ import annotations

import logging
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from qdrant_client import models

from embplug.branches.pipeline import Pipeline
from embplug.collection.explaining import encoded_steps, explained_hits_steps
from embplug.collection.records import vector_selector, vectors_of
from embplug.collection.rounds import run_plans
from embplug.common.ids import CODE_FIELDS, point_id, split_payload
from embplug.common.telemetry import observed
from embplug.engines import AnyEngine
from embplug.engines.calls import Call, Steps
from embplug.engines.request_options import ReadOptions
from embplug.search.absent_codes import with_absent
from embplug.search.diversity import mmr
from embplug.search.option_checks import check_options, check_queries
from embplug.search.plan import Plan
from embplug.search.requests import payload_selector
from embplug.search.types import Hit, Query, SearchOptions

logger = logging.getLogger(__name__)

DIVERSITY = 0.5
"""Qdrant's default of ``models.Mmr.diversity``."""


def _described(
    engine: AnyEngine, name: str, pipeline: Pipeline, queries: Sequence[Query], options: SearchOptions
) -> dict[str, Any]:
    return {"collection": name, "queries": len(queries), "limit": options.limit}


@observed("search", _described, logger)
def search_steps(
    engine: AnyEngine, name: str, pipeline: Pipeline, queries: Sequence[Query], options: SearchOptions
) -> Steps[list[list[Hit]]]:
    """Run searches with the same options, under the name that only the pipeline's revision has."""
    name = pipeline.alias or name
    selector = vector_selector(pipeline, options.with_vectors)
    check_options(options)
    encoded = None
    if options.explain:
        encoded = yield from encoded_steps(pipeline, queries, options.branches, options.batch)
        queries = pipeline.as_queries(encoded, queries)
    found = yield from _found_steps(engine, name, pipeline, queries, options, selector)
    if encoded is None:
        return found
    return (
        yield from explained_hits_steps(
            engine, name, pipeline, encoded, found, options.exact, options.reading
        )
    )


def _found_steps(
    engine: AnyEngine,
    name: str,
    pipeline: Pipeline,
    queries: Sequence[Query],
    options: SearchOptions,
    selector: bool | list[str],
) -> Steps[list[list[Hit]]]:
    """Hits with the payloads and vectors that the options ask for."""
    if options.formula is not None:
        found = yield from _by_formula(engine, name, pipeline, queries, options, options.formula)
        if not (options.with_payload or selector):
            return [[replace(hit, payload=None) for hit in hits] for hits in found]
        return (
            yield from records_steps(name, pipeline, found, options.with_payload, selector, options.reading)
        )
    if options.mmr is None:
        found = yield from _relevant(engine, name, pipeline, queries, options)
    else:
        found = yield from _diverse(engine, name, pipeline, queries, options, options.mmr)
    if selector is False or selector == []:
        return found
    return (yield from records_steps(name, pipeline, found, None, selector, options.reading))


def records_steps(
    name: str,
    pipeline: Pipeline,
    found: Sequence[Sequence[Hit]],
    with_payload: bool | Sequence[str] | None,
    vectors: bool | list[str],
    reading: ReadOptions,
) -> Steps[list[list[Hit]]]:
    """Read payloads and vectors of hits; None keeps the payloads that they have.

    A document that was deleted in the meantime is left out.
    """
    points = list(dict.fromkeys(point_id(hit.id, "id") for hits in found for hit in hits))
    records = []
    if points:
        records = yield Call.of(
            "retrieve",
            collection_name=name,
            ids=points,
            with_payload=payload_selector(with_payload) if with_payload else False,
            with_vectors=vectors,
            **reading.arguments(pipeline.capabilities),
        )
    read = {record.id: record for record in records}

    def whole(hit: Hit) -> Hit | None:
        record = read.get(point_id(hit.id, "id"))
        if record is None:
            return None
        vector = vectors_of(record) if vectors else None
        if with_payload is None:
            return replace(hit, vector=vector)
        return replace(hit, payload=split_payload(record.id, record.payload)[1] or None, vector=vector)

    return [[hit for hit in map(whole, hits) if hit is not None] for hits in found]


def _by_formula(
    engine: AnyEngine,
    name: str,
    pipeline: Pipeline,
    queries: Sequence[Query],
    options: SearchOptions,
    query: models.FormulaQuery,
) -> Steps[list[list[Hit]]]:
    """Rank by a formula as many hits as the last stage ranks; their payloads are the fields that it reads."""
    check_options(options)
    formula = pipeline.formula(query)
    limit = max(options.candidates or pipeline.last_candidates, options.limit)
    wide = replace(
        options, limit=limit, with_payload=formula.fields or False, score_threshold=None, formula=None
    )
    found = yield from _relevant(engine, name, pipeline, queries, wide)
    return [best(formula.scored(hits), options) for hits in found]


def best(hits: Sequence[Hit], options: SearchOptions) -> list[Hit]:
    """Return the hits that the options ask for, of a ranking that was made here."""
    least = options.score_threshold
    kept = [hit for hit in hits[: options.limit] if least is None or hit.score >= least]
    return kept if options.with_stages else [replace(hit, stages=None) for hit in kept]


def _relevant(
    engine: AnyEngine, name: str, pipeline: Pipeline, queries: Sequence[Query], options: SearchOptions
) -> Steps[list[list[Hit]]]:
    """Best hits of each query, each round of all queries in one request."""
    plans: list[Plan] = yield Call.compute(partial(pipeline.plan, queries, options))
    return (yield from run_plans(engine, name, pipeline, plans, options.reading))


def _diverse(
    engine: AnyEngine,
    name: str,
    pipeline: Pipeline,
    queries: Sequence[Query],
    options: SearchOptions,
    parameters: models.Mmr,
) -> Steps[list[list[Hit]]]:
    """Search for more hits than the limit, read their vectors, choose those that differ."""
    check_options(options)
    check_queries(queries)
    queries = yield Call.compute(partial(pipeline.with_query_vectors, queries, options.batch))
    fields = [pipeline.compared(query) for query in queries]
    limit = max(parameters.candidates_limit or 0, options.limit)
    wide = replace(options, limit=limit, cross_encode=False, mmr=None)
    candidates = yield from _relevant(engine, name, pipeline, queries, wide)
    diversity = DIVERSITY if parameters.diversity is None else parameters.diversity
    chosen: list[list[Hit]] = []
    for query, field, hits in zip(queries, fields, candidates, strict=True):
        records = yield from _compared_steps(engine, name, pipeline, field, hits, options.reading)
        choose = partial(_choose, pipeline, query, hits, records, diversity, options.limit)
        chosen.append((yield Call.compute(choose)))
    return chosen


def _compared_steps(
    engine: AnyEngine, name: str, pipeline: Pipeline, field: str, hits: Sequence[Hit], reading: ReadOptions
) -> Steps[list[models.Record]]:
    """Read what documents are compared by: codes in the payload, or a vector."""
    if not hits:
        return []
    by_codes = field in CODE_FIELDS
    records: list[models.Record] = yield Call.of(
        "retrieve",
        collection_name=name,
        ids=[point_id(hit.id, "id") for hit in hits],
        with_payload=[field] if by_codes else False,
        with_vectors=False if by_codes else [field] if field else True,
        **reading.arguments(pipeline.capabilities),
    )
    if not by_codes:
        return records
    read: dict[Any, Any] = {record.id: (record.payload or {}).get(field) for record in records}
    plan = with_absent([*read], [*read.values()], pipeline.vectors_beside(field))
    (texts,) = yield from run_plans(engine, name, pipeline, [plan], reading)
    return [
        record.model_copy(update={"payload": {field: text}})
        for record, text in zip(records, texts, strict=True)
    ]


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
