"""The plan of a search: which requests are sent in which round, and how their answers become hits."""

from __future__ import annotations

import itertools
from collections.abc import Generator, Mapping, Sequence
from dataclasses import replace
from typing import Any, TypeAlias, TypeVar

import numpy as np
from qdrant_client import models

from embplug.common.byte_strings import ByteStrings
from embplug.engines.answers import Answer
from embplug.engines.filter_ids import with_ids
from embplug.engines.search_request import SearchRequest
from embplug.recipe import Fusion
from embplug.recipe.names import SPARSE_VECTOR
from embplug.search.absent_codes import with_absent
from embplug.search.code_cache import CodeCache
from embplug.search.cross_encoder import CROSS_ENCODER_STAGE
from embplug.search.fusion import FUSION_STAGE, fused
from embplug.search.payload_rerank import PayloadRerank
from embplug.search.ranking import Ranking, merged
from embplug.search.requests import payload_selector, rankings_of, request_fields
from embplug.search.stages import PreparedQuery, PreviousModelStage, Ranker, Stage
from embplug.search.types import Hit, SearchOptions

T = TypeVar("T")
Rounds: TypeAlias = Generator[list[SearchRequest], Sequence[Answer], T]
"""Yields the requests of a round, receives their answers, and returns a ``T``."""

Plan: TypeAlias = Rounds[list[Hit]]

SHORTLISTED_A_HIT = 4
"""Documents that are scored by their codes for each hit, at least: centroids alone do not choose the hits."""


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
        ranking = yield from _by_vectors(query, options)
        with_payload = options.with_payload is not False
        return ranking.hits(with_stages=options.with_stages, with_payload=with_payload)
    wider = replace(
        options,
        limit=max(query.cross_encoded, options.limit),
        score_threshold=None,
        with_payload=_with_field(options.with_payload, encoder.text_key),
    )
    ranking = yield from _by_vectors(query, wider)
    hits = encoder.rerank(str(query.text), ranking.hits(with_stages=options.with_stages))
    least = options.score_threshold
    kept = [hit for hit in hits if least is None or hit.score >= least or _was_skipped(hit)]
    return [_without_read_text(hit, encoder.text_key, options) for hit in kept[: options.limit]]


def _by_vectors(query: PreparedQuery, options: SearchOptions) -> Rounds[Ranking]:
    """Search with all stages before the cross-encoder."""
    candidates = _fused_in_engine(query.finders, _first_fusion(query))
    whole = _in_one_request(query, options, candidates)
    if whole is None:
        return (yield from _in_rounds(query, options, candidates))
    below = _candidate_count(query, options)
    rankings = yield from rankings_of(
        [whole], options.limit, options, below=below, score_threshold=options.score_threshold
    )
    return rankings[0]


def _with_shortlist(ranker: Ranker | None, options: SearchOptions, count: int) -> Ranker | None:
    """Return the ranker with the length of its shortlist, or without one if it spares no codes."""
    if ranker is None:
        return None
    # The engine scores the best by codes again, and so many have to have codes.
    kept = max(ranker.shortlisted or count, ranker.exact or 0, SHORTLISTED_A_HIT * options.limit)
    if not ranker.reads_short_codes:
        # The ids in codes come without the mean of what they lose.
        kept = max(kept, count // 2)
    if options.exact or kept >= count:
        return replace(ranker, shortlist=None)
    return replace(ranker, shortlisted=kept)


def _candidate_count(query: PreparedQuery, options: SearchOptions) -> int:
    """Return the number of candidates of each branch, and of their fusion."""
    return max(options.candidates or query.candidates, options.limit)


def _in_one_request(query: PreparedQuery, options: SearchOptions, candidates: Stage | None) -> Stage | None:
    """Return the whole search as one stage, or None if the engine cannot run all of it in one request."""
    ranker = query.ranker
    if ranker is None:
        return candidates
    if ranker.by_codes is not None or not (options.exact or candidates or not query.finders):
        return None
    best = _ranking_stage(ranker, None if options.exact else candidates)
    return _fused_in_engine({ranker.branch: best, **_fused_after(query)}, query.fusion)


def _in_rounds(query: PreparedQuery, options: SearchOptions, candidates: Stage | None) -> Rounds[Ranking]:
    """Fuse and rerank in this process when the engine cannot; this may take several rounds of requests."""
    count = _candidate_count(query, options)
    ranker = _with_shortlist(query.ranker, options, count)
    reads_short_codes = ranker is not None and ranker.reads_short_codes
    after = _fused_after(query)
    ranked_at_once = (
        ranker is not None and ranker.by_codes is None and (options.exact or candidates is not None)
    )
    if ranked_at_once and ranker is not None:
        first = [_ranking_stage(ranker, None if options.exact else candidates)]
    else:
        first = [*query.finders.values()] if candidates is None else [candidates]
    stages = {stage.name: stage for stage in (*first, *after.values())}
    by_codes = ranker is not None and ranker.by_codes is not None
    cache = query.cache if by_codes else None
    fields = _code_fields(stages, [stage.name for stage in first], None if cache else ranker)
    come_last = not fields or query.payload_later
    # With cached codes, or with hits from outside a shortlist, not even the user's id is read on the way.
    ids_later = cache is not None or (reads_short_codes and bool(after))
    payload_later = ids_later or (options.with_payload is not False and come_last)
    code_options = replace(options, with_payload=False) if payload_later else options
    # Payloads come with the codes, and those of a shortlist in a round of their own.
    bare = payload_later or reads_short_codes
    rankings = yield from _first_round(stages, count, code_options, fields, bare=bare)
    ranking = rankings[first[0].name]
    if len(first) > 1:
        by_branch = {branch: (stage.name, rankings[stage.name]) for branch, stage in query.finders.items()}
        ranking = _fused_here(by_branch, _first_fusion(query)).first(count)
    last = first[0].name
    if ranker is not None and not ranked_at_once:
        ranking, last = yield from _ranked(ranking, ranker, code_options, cache, keep_others=bool(after))
    if after and ranker is not None:
        others = {branch: (stage.name, rankings[stage.name]) for branch, stage in after.items()}
        # Without candidates there is nothing that the ranker has scored.
        scored = {name: scores for name, scores in ranking.stages.items() if name == last}
        ranking = _fused_here({ranker.branch: (last, ranking), **others}, query.fusion)
        ranking = Ranking(ranking.ids, ranking.scores, ranking.answers, {**ranking.stages, **scored})
    best = _best(ranking, options)
    # A number is the id that the user passed.
    reads = options.with_payload is not False or any(isinstance(point_id, str) for point_id in best.ids)
    return (yield from _with_payloads(best, options)) if payload_later and reads else best


def _code_fields(
    stages: Mapping[str, Stage], candidates: Sequence[str], ranker: Ranker | None
) -> dict[str, list[str]]:
    """Return the payload fields with codes that each stage reads; only candidates have the ranker's."""
    fields: dict[str, list[str]] = {}
    first = None if ranker is None else ranker.shortlist or ranker.by_codes
    for name, stage in stages.items():
        reranks = [stage.rerank, first if name in candidates else None]
        needed = dict.fromkeys(rerank.field for rerank in reranks if rerank is not None)
        spaces = [name] if stage.previous is None else [name, stage.previous.stage.name]
        fields |= {space: [*needed] for space in spaces if needed}
    return fields


def _first_round(
    stages: Mapping[str, Stage],
    count: int,
    options: SearchOptions,
    fields: Mapping[str, Sequence[str]],
    *,
    bare: bool,
) -> Rounds[dict[str, Ranking]]:
    """Rank by each stage, during an upgrade in the vector spaces of both models, and rerank by its codes."""
    spaces = [stage.previous.stage for stage in stages.values() if stage.previous]
    answers = yield from rankings_of([*stages.values(), *spaces], count, options, fields=fields, bare=bare)
    rankings = dict(zip([*stages, *(stage.name for stage in spaces)], answers, strict=True))
    for stage in stages.values():
        if stage.previous is not None:
            rankings[stage.name] = _on_one_scale(stage, stage.previous, rankings).first(count)
        if stage.rerank is not None:
            rankings[stage.name] = stage.rerank.rank(rankings[stage.name])
    return rankings


def _ranked(
    ranking: Ranking, ranker: Ranker, options: SearchOptions, cache: CodeCache | None, *, keep_others: bool
) -> Rounds[tuple[Ranking, str]]:
    """Rank documents again; returns them with the name of the stage that ranked them last.

    Documents that are not among the best of the shortlist or by codes are left out, or keep these scores,
    which approximate those of the last stage.
    """
    if ranker.by_codes is not None:
        ranking = yield from _ranked_by_codes(ranking, ranker, ranker.by_codes, options, cache, keep_others)
        if ranker.exact is None:
            return ranking, ranker.by_codes.stage
    checked = len(ranking) if ranker.exact is None else max(ranker.exact, options.limit)
    stage = _ranking_stage(ranker, None)
    best = yield from _scored_in_engine(ranking.first(checked), stage)
    if not keep_others:
        return best, stage.name
    return _with_others(best, ranking.take(range(checked, len(ranking))), stage.name), stage.name


def _ranked_by_codes(
    ranking: Ranking,
    ranker: Ranker,
    by_codes: PayloadRerank,
    options: SearchOptions,
    cache: CodeCache | None,
    keep_others: bool,
) -> Rounds[Ranking]:
    """Rank documents by their codes, where there is a shortlist only those that are best by it."""
    kept = ranker.shortlisted
    if ranker.shortlist is None or kept is None:
        return (yield from _by_codes(ranking, by_codes, cache))
    ranking = yield from _by_codes(ranking, ranker.shortlist, cache)
    shortlist, others = ranking.first(kept), ranking.take(range(kept, len(ranking)))
    if not ranker.reads_short_codes:
        best = by_codes.rank(shortlist, shortlist.codes)
    else:
        read = shortlist
        if cache is None:
            read = yield from _with_payloads(shortlist, options, [by_codes.field])
        best = yield from _by_codes(read, by_codes, cache)
    if not (keep_others and len(best) and len(others)):
        return best
    # A shortlist sees the same documents on another level.
    level = best.scores.mean() - shortlist.scores.mean()
    return _with_others(best, replace(others, scores=others.scores + level), by_codes.stage)


def _by_codes(ranking: Ranking, rerank: PayloadRerank, cache: CodeCache | None) -> Rounds[Ranking]:
    """Rank documents by codes: those that came with them, or those that the cache has or has not yet."""
    if not len(ranking):
        return ranking
    if cache is None:
        texts = yield from with_absent(ranking.ids, ranking.texts(rerank.field), rerank.vectors)
        return rerank.rank(ranking, texts=texts)
    source, versions = ranking.versions()
    codes, known = cache.find(rerank.field, source, ranking.ids, versions)
    if known.all():
        return rerank.rank(ranking, codes)
    version_of = dict(zip(ranking.ids, versions, strict=True))
    by_id = dict(zip(itertools.compress(ranking.ids, known), codes, strict=True))
    missing = [*(version_of.keys() - by_id.keys())]
    (answer,) = yield [SearchRequest.of_points(missing, [rerank.field])]
    texts = yield from with_absent(answer.ids, answer.texts(rerank.field), rerank.vectors)
    read = rerank.codes(answer.ids, texts)
    # A point that was changed since keeps its new codes under its old version, which no search finds again.
    cache.add(rerank.field, source, answer.ids, [version_of[point_id] for point_id in answer.ids], read)
    by_id |= zip(answer.ids, read, strict=True)
    # One that was deleted in the meantime has none.
    ranking = ranking.take([row for row, point_id in enumerate(ranking.ids) if point_id in by_id])
    return rerank.rank(ranking, ByteStrings.of([by_id[point_id] for point_id in ranking.ids]))


def _with_others(ranking: Ranking, others: Ranking, stage: str) -> Ranking:
    """Rank documents with the scores of an earlier stage among those that a stage has scored."""
    if not len(others):
        return ranking
    scores = np.concatenate([ranking.scores, others.scores])
    both = replace(ranking, ids=[*ranking.ids, *others.ids], scores=scores, codes=None)
    return replace(both.ranked(scores, stage), stages=ranking.stages)


def _ranking_stage(ranker: Ranker, candidates: Stage | None) -> Stage:
    """Return the ranker's stage over these candidates, or over all documents without candidates."""
    assert ranker.in_engine is not None
    params = (ranker.in_engine.params or models.SearchParams()).model_copy(
        update={"exact": candidates is None}
    )
    return replace(ranker.in_engine, params=params, among=() if candidates is None else (candidates,))


def _first_fusion(query: PreparedQuery) -> Fusion:
    """Return how candidates are fused: by ranks if a ranker follows, so that each branch gets its share."""
    if query.ranker is None or len(query.finders) < 2:
        return query.fusion
    return query.fusion.model_copy(update={"method": "rrf"})


def _fused_after(query: PreparedQuery) -> dict[str, Stage]:
    """Return the stages of the branches whose rankings are fused with that of the ranker."""
    fuses = query.fusion.after_rerank
    if query.ranker is None or not (SPARSE_VECTOR in query.finders if fuses is None else fuses):
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
    if not stages or fusion.weights or fusion.method in ("min_max", "z_score"):
        return None
    # Qdrant scales distances as if the largest were the best.
    if fusion.method == "dbsf" and any(stage.lower_is_better for stage in stages.values()):
        return None
    query: Any = models.FusionQuery(fusion=models.Fusion.DBSF)
    if fusion.method == "rrf":
        # Qdrant counts ranks from 0.
        query = models.RrfQuery(rrf=models.Rrf(k=fusion.k + 1))
    return Stage(FUSION_STAGE, None, query, among=tuple(stages.values()))


def _fused_here(rankings: Mapping[str, tuple[str, Ranking]], fusion: Fusion) -> Ranking:
    """Fuse rankings in this process; each branch has the name of its stage and its ranking."""
    weights = {rankings[branch][0]: weight for branch, weight in fusion.weights.items() if branch in rankings}
    return fused(dict(rankings.values()), fusion, weights)


def _on_one_scale(stage: Stage, previous: PreviousModelStage, rankings: Mapping[str, Ranking]) -> Ranking:
    """Merge the rankings in the vector spaces of two models into one."""
    new, old = rankings[stage.name], rankings[previous.stage.name]
    ids = [*new.ids, *old.ids]
    scores = np.concatenate([new.scores, previous.factor * old.scores + previous.offset])
    both = Ranking(ids, scores, new.answers + old.answers, merged(new.stages, old.stages))
    return both.ranked(scores, stage.name)


def _scored_in_engine(ranking: Ranking, stage: Stage) -> Rounds[Ranking]:
    """Score documents again in the engine; one that was deleted in the meantime is left out."""
    if not len(ranking):
        return ranking
    options = SearchOptions(filter=with_ids(ranking.ids))
    fields = request_fields(stage, len(ranking), options)
    (answer,) = yield [SearchRequest(**fields)]
    stages = {**ranking.stages, **Ranking.of(answer, stage.name).stages}
    return Ranking(answer.ids, np.array(answer.scores), ranking.answers, stages)


def _with_payloads(ranking: Ranking, options: SearchOptions, fields: Sequence[str] = ()) -> Rounds[Ranking]:
    """Read payloads of documents, and fields with codes; one that was deleted meanwhile is left out."""
    if not len(ranking):
        return ranking
    (answer,) = yield [SearchRequest.of_points(ranking.ids, payload_selector(options.with_payload, fields))]
    kept = [row for row, point_id in enumerate(ranking.ids) if point_id in answer.rows]
    return replace(ranking.take(kept), answers=(answer,))


def _best(ranking: Ranking, options: SearchOptions) -> Ranking:
    best = ranking.first(options.limit)
    if options.score_threshold is None:
        return best
    return best.take(np.flatnonzero(best.scores >= options.score_threshold).tolist())


def _was_skipped(hit: Hit) -> bool:
    """Return whether the hit has no score of the cross-encoder, so that a threshold does not apply to it."""
    return CROSS_ENCODER_STAGE in (hit.skipped or {})


def _without_read_text(hit: Hit, text_key: str, options: SearchOptions) -> Hit:
    """Remove the text if it was read only for the cross-encoder."""
    payload = hit.payload
    if options.with_payload is not True and text_key not in (options.with_payload or ()):
        payload = {key: value for key, value in (payload or {}).items() if key != text_key} or None
    return replace(hit, payload=payload, stages=hit.stages if options.with_stages else None)


def _with_field(with_payload: bool | Sequence[str], key: str) -> bool | Sequence[str]:
    return True if with_payload is True else [key, *(with_payload or ())]
