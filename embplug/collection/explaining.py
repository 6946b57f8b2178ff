"""Explanations of hits: what is stored of their tokens is read, and compared with the query once more."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from typing import Any

from embplug.branches.explain_tokens import explained_field, explanations, maxsim_stages
from embplug.branches.pipeline import Pipeline
from embplug.branches.prepare import chosen_branches
from embplug.branches.queries import CheckedQuery, check_query
from embplug.collection.rounds import run_plans
from embplug.common.ids import CODE_FIELDS, GRID, Id, point_id
from embplug.engines import AnyEngine
from embplug.engines.answers import PointId
from embplug.engines.calls import Call, Steps
from embplug.engines.request_options import ReadOptions
from embplug.errors import InvalidArgumentError
from embplug.methods.numeric.arrays import Float32
from embplug.recipe.names import TOKENS_BRANCH
from embplug.search.explain import Explanation
from embplug.search.option_checks import check_options, check_queries
from embplug.search.requests import payload_selector
from embplug.search.token_scores import token_scores
from embplug.search.types import Hit, Query, SearchOptions


def explain_steps(
    engine: AnyEngine,
    name: str,
    pipeline: Pipeline,
    query: Query,
    id: Id,
    exact: bool,
    reading: ReadOptions,
) -> Steps[Explanation]:
    """Explain the score of one document."""
    check_options(SearchOptions(exact=exact))
    # Options and the query are named before what the recipe lacks.
    reading.arguments(pipeline.capabilities)
    check_query(query, pipeline.recipe)
    address, point = pipeline.alias or name, point_id(id, "id")
    encoded = yield from encoded_steps(pipeline, [query])
    field = explained_field(pipeline, exact=exact)
    records = yield from _records_steps(address, pipeline, [point], field, reading)
    if point not in records:
        raise InvalidArgumentError("id", f"the id of a document in collection {name!r}", repr(id))
    ((explained,),) = yield from _explained_steps(
        engine, address, pipeline, encoded, [[point]], records, field, reading
    )
    if explained is None:
        raise InvalidArgumentError("id", f"a document with {field!r} of its tokens", repr(id))
    return explained


def explained_hits_steps(
    engine: AnyEngine,
    name: str,
    pipeline: Pipeline,
    encoded: Sequence[CheckedQuery],
    found: Sequence[Sequence[Hit]],
    exact: bool,
    reading: ReadOptions,
) -> Steps[list[list[Hit]]]:
    """Hits of several queries with their explanations."""
    field = explained_field(pipeline, exact=exact)
    points = [[point_id(hit.id, "id") for hit in hits] for hits in found]
    unique = list(dict.fromkeys(point for own in points for point in own))
    records = yield from _records_steps(name, pipeline, unique, field, reading)
    explained = yield from _explained_steps(engine, name, pipeline, encoded, points, records, field, reading)
    return [
        [replace(hit, explanation=explanation) for hit, explanation in zip(hits, own, strict=True)]
        for hits, own in zip(found, explained, strict=True)
    ]


def _explained_steps(
    engine: AnyEngine,
    name: str,
    pipeline: Pipeline,
    encoded: Sequence[CheckedQuery],
    points: Sequence[Sequence[PointId]],
    records: Mapping[PointId, Any],
    field: str,
    reading: ReadOptions,
) -> Steps[list[list[Explanation | None]]]:
    """Explain documents by their codes, or by scores of the engine for each token of a query."""
    scores: Sequence[Mapping[PointId, Float32]] | None = None
    if field not in CODE_FIELDS:
        stages = yield Call.compute(partial(maxsim_stages, pipeline, encoded))
        plans = [token_scores(stage, own) for stage, own in zip(stages, points, strict=True)]
        scores = yield from run_plans(engine, name, pipeline, plans, reading)
    explain = partial(explanations, pipeline, encoded, points, records, field, scores)
    explained: list[list[Explanation | None]] = yield Call.compute(explain)
    return explained


def encoded_steps(
    pipeline: Pipeline,
    queries: Sequence[Query],
    branches: Sequence[str] | None = None,
    batch: bool = False,
) -> Steps[list[CheckedQuery]]:
    """Queries with the tokens by which hits are explained.

    Raises
    ------
    InvalidArgumentError
        The recipe stores no tokens that can be told apart, a query has none, or they are not searched.
    """
    check_queries(queries)
    explained_field(pipeline, exact=False)
    if TOKENS_BRANCH not in chosen_branches(pipeline.branches, branches):
        raise InvalidArgumentError("branches", f"{TOKENS_BRANCH!r} among them, to explain hits by", branches)
    encoded: list[CheckedQuery] = yield Call.compute(partial(pipeline.encoded_queries, queries, batch))
    for i, query in enumerate(encoded):
        if query.tokens is None:
            expected = "tokens, or a text and an encoder that makes tokens, to explain hits by"
            raise InvalidArgumentError(f"queries[{i}].tokens" if batch else "tokens", expected, None)
    return encoded


def _records_steps(
    name: str, pipeline: Pipeline, points: Sequence[PointId], field: str, reading: ReadOptions
) -> Steps[Mapping[PointId, Any]]:
    """Read the codes or tokens of documents, and their texts."""
    if not points:
        return {}
    by_codes = field in CODE_FIELDS
    records = yield Call.of(
        "retrieve",
        collection_name=name,
        ids=[*points],
        with_payload=payload_selector([pipeline.recipe.text_key, GRID, *([field] if by_codes else [])]),
        with_vectors=False if by_codes else [field],
        **reading.arguments(pipeline.capabilities),
    )
    return {record.id: record for record in records}
