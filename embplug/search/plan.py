"""The plan of a search: which requests are sent in which round, and how their answers become hits."""

from __future__ import annotations

from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias

from qdrant_client import models
from qdrant_client.http.models import QueryResponse

from embplug.common.ids import split_payload
from embplug.recipe import Fusion
from embplug.search.cross_encoder import CROSS_ENCODER_STAGE
from embplug.search.fusion import (
    FUSION_STAGE,
    distribution_based_fusion,
    reciprocal_rank_fusion,
    weighted_fusion,
)
from embplug.search.requests import payload_selector, rankings_of, request_fields
from embplug.search.stages import PreparedQuery, PreviousModelStage, Ranker, Stage
from embplug.search.types import Hit, SearchOptions, by_score

Plan: TypeAlias = Generator[list[models.QueryRequest], Sequence[QueryResponse], list[Hit]]
"""Yields the requests of a round, receives their answers, and returns the hits."""


def search_plan(query: PreparedQuery, options: SearchOptions) -> Plan:
    """Plan a search: candidates, their fusion, the reranking of candidates, the cross-encoder.

    Parameters
    ----------
    query : PreparedQuery
        Stages of the search.
    options : SearchOptions
        Options of the search.

    Returns
    -------
    Plan
        Generator of the requests. It returns the hits, with the users' ids and payloads.
    """
    encoder = query.cross_encoder
    if encoder is None:
        hits = yield from _by_vectors(query, options)
        return [_as_users_see_it(hit, options) for hit in hits]
    wider = replace(
        options,
        limit=max(query.cross_encoded, options.limit),
        score_threshold=None,
        with_payload=_with_field(options.with_payload, encoder.text_key),
    )
    hits = yield from _by_vectors(query, wider)
    hits = encoder.rerank(str(query.text), [_as_users_see_it(hit, wider) for hit in hits])
    least = options.score_threshold
    kept = [hit for hit in hits if least is None or hit.score >= least or _was_skipped(hit)]
    return [_without_read_text(hit, encoder.text_key, options) for hit in kept[: options.limit]]


def _by_vectors(query: PreparedQuery, options: SearchOptions) -> Plan:
    """Search with all stages before the cross-encoder; hits have the ids and payloads of the engine."""
    whole = _in_one_request(query, options)
    if whole is None:
        return (yield from _in_rounds(query, options))
    below = _candidate_count(query, options)
    rankings = yield from rankings_of(
        [whole], options.limit, options, below=below, score_threshold=options.score_threshold
    )
    return rankings[0]


def _candidate_count(query: PreparedQuery, options: SearchOptions) -> int:
    """Return the number of candidates of each branch, and of their fusion."""
    return max(options.candidates or query.candidates, options.limit)


def _in_one_request(query: PreparedQuery, options: SearchOptions) -> Stage | None:
    """Return the whole search as one stage, or None if the engine cannot run all of it in one request."""
    candidates = _fused_in_engine(query.finders, _first_fusion(query))
    ranker = query.ranker
    if ranker is None:
        return candidates
    if ranker.by_codes is not None or not (options.exact or candidates or not query.finders):
        return None
    best = _ranking_stage(ranker, None if options.exact else candidates)
    return _fused_in_engine({ranker.branch: best, **_fused_after(query)}, query.fusion)


def _in_rounds(query: PreparedQuery, options: SearchOptions) -> Plan:
    """Fuse and rerank in this process when the engine cannot; this may take several rounds of requests."""
    ranker, count = query.ranker, _candidate_count(query, options)
    candidates = _fused_in_engine(query.finders, _first_fusion(query))
    after = _fused_after(query)
    ranked_at_once = (
        ranker is not None and ranker.by_codes is None and (options.exact or candidates is not None)
    )
    if ranked_at_once and ranker is not None:
        first = [_ranking_stage(ranker, None if options.exact else candidates)]
    else:
        first = [*query.finders.values()] if candidates is None else [candidates]
    stages = {stage.name: stage for stage in (*first, *after.values())}
    reranks = [stage.rerank for stage in stages.values()]
    reranks.append(None if ranker is None else ranker.by_codes)
    fields = [*dict.fromkeys(rerank.field for rerank in reranks if rerank is not None)]
    # The payloads of all candidates come with the first round only if their codes are needed anyway.
    payload_later = not fields and options.with_payload is not False
    round_options = replace(options, with_payload=False) if payload_later else options
    rankings = yield from _first_round(stages, count, round_options, fields)
    hits = rankings[first[0].name]
    if len(first) > 1:
        by_branch = {branch: (stage.name, rankings[stage.name]) for branch, stage in query.finders.items()}
        hits = _fused_here(by_branch, _first_fusion(query))[:count]
    last = first[0].name
    if ranker is not None and not ranked_at_once:
        hits, last = yield from _ranked(hits, ranker, options)
    if after and ranker is not None:
        others = {branch: (stage.name, rankings[stage.name]) for branch, stage in after.items()}
        hits = _fused_here({ranker.branch: (last, hits), **others}, query.fusion)
    best = _best(hits, options)
    return (yield from _with_payloads(best, options)) if payload_later else best


def _first_round(
    stages: Mapping[str, Stage], count: int, options: SearchOptions, fields: Sequence[str]
) -> Generator[list[models.QueryRequest], Sequence[QueryResponse], dict[str, list[Hit]]]:
    """Rank by each stage, during an upgrade in the vector spaces of both models, and rerank by its codes."""
    spaces = [stage.previous.stage for stage in stages.values() if stage.previous]
    answers = yield from rankings_of([*stages.values(), *spaces], count, options, fields=fields)
    rankings = dict(zip([*stages, *(stage.name for stage in spaces)], answers, strict=True))
    for stage in stages.values():
        if stage.previous is not None:
            rankings[stage.name] = _on_one_scale(stage, stage.previous, rankings)[:count]
        if stage.rerank is not None:
            rankings[stage.name] = stage.rerank.rank(rankings[stage.name])
    return rankings


def _ranked(
    hits: list[Hit], ranker: Ranker, options: SearchOptions
) -> Generator[list[models.QueryRequest], Sequence[QueryResponse], tuple[list[Hit], str]]:
    """Rerank hits; returns them with the name of the stage that ranked them last."""
    if ranker.by_codes is not None:
        hits = ranker.by_codes.rank(hits)
        if ranker.exact is None:
            return hits, ranker.by_codes.stage
        hits = hits[: max(ranker.exact, options.limit)]
    stage = _ranking_stage(ranker, None)
    return (yield from _scored_in_engine(hits, stage)), stage.name


def _ranking_stage(ranker: Ranker, candidates: Stage | None) -> Stage:
    """Return the ranker's stage over these candidates, or over all documents without candidates."""
    assert ranker.in_engine is not None
    params = (ranker.in_engine.params or models.SearchParams()).model_copy(
        update={"exact": candidates is None}
    )
    return replace(ranker.in_engine, params=params, among=() if candidates is None else (candidates,))


def _first_fusion(query: PreparedQuery) -> Fusion:
    """Return how candidates are fused: by ranks if a ranker follows, so that each branch gets its share."""
    return query.fusion if query.ranker is None else query.fusion.model_copy(update={"method": "rrf"})


def _fused_after(query: PreparedQuery) -> dict[str, Stage]:
    """Return the stages of the branches whose rankings are fused with that of the ranker."""
    if query.ranker is None or not query.fusion.after_rerank:
        return {}
    return {branch: stage for branch, stage in query.finders.items() if branch != query.ranker.branch}


def _fused_in_engine(stages: Mapping[str, Stage], fusion: Fusion) -> Stage | None:
    """Return a stage that fuses several, or None if there are none or the engine has no such fusion.

    Weights are always applied in this process, because engines apply them to ranks or ignore them.
    """
    if any(stage.previous or stage.rerank for stage in stages.values()):
        return None
    if len(stages) == 1:
        return next(iter(stages.values()))
    if not stages or fusion.weights or fusion.method == "min_max":
        return None
    query: Any = models.FusionQuery(fusion=models.Fusion.DBSF)
    if fusion.method == "rrf":
        # Qdrant counts ranks from 0.
        query = models.RrfQuery(rrf=models.Rrf(k=fusion.k + 1))
    return Stage(FUSION_STAGE, None, query, among=tuple(stages.values()))


def _fused_here(rankings: Mapping[str, tuple[str, list[Hit]]], fusion: Fusion) -> list[Hit]:
    """Fuse rankings in this process; each branch has the name of its stage and its hits."""
    by_stage = dict(rankings.values())
    weights = {rankings[branch][0]: weight for branch, weight in fusion.weights.items() if branch in rankings}
    if fusion.method == "rrf":
        return reciprocal_rank_fusion(by_stage, weights=weights, k=fusion.k)
    if fusion.method == "dbsf":
        return distribution_based_fusion(by_stage, weights=weights)
    return weighted_fusion(by_stage, weights=weights)


def _on_one_scale(stage: Stage, previous: PreviousModelStage, rankings: Mapping[str, list[Hit]]) -> list[Hit]:
    """Merge the hits in the vector spaces of two models into one ranking."""
    others = []
    for hit in rankings[previous.stage.name]:
        score = previous.factor * hit.score + previous.offset
        others.append(replace(hit, score=score, stages={**(hit.stages or {}), stage.name: score}))
    return by_score([*rankings[stage.name], *others])


def _scored_in_engine(hits: list[Hit], stage: Stage) -> Plan:
    """Score hits again in the engine; a document that was deleted in the meantime is left out."""
    if not hits:
        return []
    options = SearchOptions(filter=_with_ids_of(hits))
    answers = yield [models.QueryRequest(**request_fields(stage, len(hits), options), with_payload=False)]
    by_id: dict[Any, Hit] = {hit.id: hit for hit in hits}
    return [
        replace(
            by_id[point.id],
            score=point.score,
            stages={**(by_id[point.id].stages or {}), stage.name: point.score},
        )
        for point in answers[0].points
    ]


def _with_payloads(hits: list[Hit], options: SearchOptions) -> Plan:
    """Read the payloads of hits; a document that was deleted in the meantime is left out."""
    if not hits:
        return []
    answers = yield [
        models.QueryRequest(
            filter=_with_ids_of(hits), limit=len(hits), with_payload=payload_selector(options.with_payload)
        )
    ]
    payloads: dict[Any, Any] = {point.id: point.payload for point in answers[0].points}
    return [replace(hit, payload=payloads[hit.id]) for hit in hits if hit.id in payloads]


def _with_ids_of(hits: list[Hit]) -> models.Filter:
    return models.Filter(must=[models.HasIdCondition(has_id=[hit.id for hit in hits])])


def _best(hits: list[Hit], options: SearchOptions) -> list[Hit]:
    threshold = options.score_threshold
    return [hit for hit in hits[: options.limit] if threshold is None or hit.score >= threshold]


def _was_skipped(hit: Hit) -> bool:
    """Return whether the hit has no score of the cross-encoder, so that a threshold does not apply to it."""
    return CROSS_ENCODER_STAGE in (hit.skipped or {})


def _as_users_see_it(hit: Hit, options: SearchOptions) -> Hit:
    """Return a hit with the user's id, and without the payload fields that embplug adds."""
    user_id, payload = split_payload(hit.id, hit.payload)
    # Cheaper than ``replace``, which every hit of every search would pay for.
    return Hit(user_id, hit.score, payload or None, hit.stages if options.with_stages else None, hit.skipped)


def _without_read_text(hit: Hit, text_key: str, options: SearchOptions) -> Hit:
    """Remove the text if it was read only for the cross-encoder."""
    payload = hit.payload
    if options.with_payload is not True and text_key not in (options.with_payload or ()):
        payload = {key: value for key, value in (payload or {}).items() if key != text_key} or None
    return replace(hit, payload=payload, stages=hit.stages if options.with_stages else None)


def _with_field(with_payload: bool | Sequence[str], key: str) -> bool | Sequence[str]:
    return True if with_payload is True else [key, *(with_payload or ())]
