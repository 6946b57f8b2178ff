"""The plan of one search: what the engine is asked, round by round, and how its answers become hits."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from qdrant_client import models
from qdrant_client.http.models import QueryResponse

from embplug.common import base85
from embplug.common.ids import CODE_FIELDS, CODES, DENSE_CODES, ORIGINAL_ID, split_payload
from embplug.errors import StateError
from embplug.methods.roles import Quantizer
from embplug.methods.token_batch import TokenBatch
from embplug.methods.token_codes.token_coder import TokenCoder
from embplug.recipe import Fusion, Recipe
from embplug.recipe.names import TOKENS_BRANCH, TOKENS_VECTOR
from embplug.search.cross_encoder import CROSS_ENCODER_STAGE, CrossEncoder
from embplug.search.dense_codes import dense_codes
from embplug.search.fusion import (
    FUSION_STAGE,
    distribution_based_fusion,
    reciprocal_rank_fusion,
    weighted_fusion,
)
from embplug.search.types import Hit, SearchOptions

MAXSIM_STAGE = "maxsim"
CODES_STAGE = "codes"


@dataclass(frozen=True)
class Stage:
    """One ranking by the engine, of all documents or of what other stages find.

    Attributes
    ----------
    name
        Under which hits tell its score.
    using
        Name of the vector; ``None`` where rankings are fused.
    query
        Qdrant's.
    params
        Qdrant's.
    among
        The stages that find what this one ranks.
    widening
        How many times its own number of results those stages find.
    filter
        Of what it finds, besides the user's.
    beside
        The same ranking of documents that still have a vector of the model before.
    coded
        Ranks anew, in this process, what it finds.
    """

    name: str
    using: str | None
    query: Any
    params: models.SearchParams | None = None
    among: tuple[Stage, ...] = ()
    widening: int = 1
    filter: models.Filter | None = None
    beside: Beside | None = None
    coded: Coded | None = None


@dataclass(frozen=True)
class Beside:
    """A stage in the space of another model, and how its scores are brought to the scale of the first."""

    stage: Stage
    factor: float
    offset: float


@dataclass(frozen=True, eq=False)
class Coded:
    """A query, and the codes of dense vectors with which it is compared.

    Attributes
    ----------
    stage
        Under which hits tell the score.
    quantizer
        Scores the codes.
    query : float32 (dim,)
        As the quantizer takes it.
    part
        Of the bytes of a document: those of this vector.
    code_bytes
        Of a document, for all of its vectors.
    """

    stage: str
    quantizer: Quantizer
    query: NDArray[np.float32]
    part: slice
    code_bytes: int


@dataclass(frozen=True)
class Asked:
    """A query in the form in which it is compared.

    Attributes
    ----------
    recipe
        How it is searched.
    text
        Of the query, for the cross-encoder.
    finders
        By branch, what finds documents: by one vector each.
    tokens
        What ranks them, where tokens do.
    coder
        Ranks by the codes of tokens; without it the engine ranks by their matrices.
    cross_encoder
        The last stage.
    """

    recipe: Recipe
    text: str | None
    finders: dict[str, Stage]
    tokens: TokenBatch | None = None
    coder: TokenCoder | None = None
    cross_encoder: CrossEncoder | None = None


Plan: TypeAlias = Generator[list[models.QueryRequest], Sequence[QueryResponse], list[Hit]]
"""Yields the requests of a round, is sent their answers, returns the hits."""

_Rankings: TypeAlias = Generator[list[models.QueryRequest], Sequence[QueryResponse], list[list[Hit]]]


def search_plan(asked: Asked, options: SearchOptions) -> Plan:
    """Plan one search: candidates, their fusion, the rerank by tokens, the cross-encoder."""
    encoder, stage = asked.cross_encoder, asked.recipe.rerank.cross_encoder
    if encoder is None or stage is None:
        found = yield from _by_vectors(asked, options)
        return [_shown(hit, options) for hit in found]
    wider = replace(
        options,
        limit=max(stage.candidates, options.limit),
        score_threshold=None,
        with_payload=_and_field(options.with_payload, encoder.text_key),
    )
    found = yield from _by_vectors(asked, wider)
    hits = encoder.rerank(str(asked.text), [_shown(hit, wider) for hit in found])
    least = options.score_threshold
    kept = [hit for hit in hits if least is None or hit.score >= least or _was_skipped(hit)]
    return [_trimmed(hit, encoder.text_key, options) for hit in kept[: options.limit]]


def candidate_count(recipe: Recipe, options: SearchOptions) -> int:
    """Number of candidates of each branch, and of their fusion."""
    return max(options.candidates or recipe.rerank.candidates, options.limit)


def _by_vectors(asked: Asked, options: SearchOptions) -> Plan:
    """Hits by all that compares vectors; their ids and payloads are still those of the engine."""
    tree = _tree(asked, options)
    if tree is None:
        return (yield from _in_rounds(asked, options))
    below = candidate_count(asked.recipe, options)
    return (yield from _ask([tree], options.limit, options, below, options.score_threshold))[0]


def _tree(asked: Asked, options: SearchOptions) -> Stage | None:
    """The whole search as one stage, where the engine can do all of it in one request."""
    candidates = _fused(asked.finders, _first_fusion(asked))
    if asked.tokens is None:
        return candidates
    if asked.coder is not None or not (options.exact or candidates or not asked.finders):
        return None
    best = _maxsim(asked.tokens, asked.recipe, None if options.exact else candidates)
    return _fused({TOKENS_BRANCH: best, **_once_more(asked)}, asked.recipe.fusion)


def _in_rounds(asked: Asked, options: SearchOptions) -> Plan:
    """Fuse or score here what the engine cannot, and ask it again where that needs it."""
    recipe, tokens, coder = asked.recipe, asked.tokens, asked.coder
    count = candidate_count(recipe, options)
    first_fusion = _first_fusion(asked)
    candidates = _fused(asked.finders, first_fusion)
    once_more = _once_more(asked)
    ranked_at_once = tokens is not None and coder is None and (options.exact or candidates is not None)
    if ranked_at_once and tokens is not None:
        first = [_maxsim(tokens, recipe, None if options.exact else candidates)]
    else:
        first = [*asked.finders.values()] if candidates is None else [candidates]
    stages = {stage.name: stage for stage in (*first, *once_more.values())}
    fields = [] if coder is None else [CODES]
    fields += [DENSE_CODES] if any(stage.coded for stage in stages.values()) else []
    # Payloads of all candidates are only worth their way where codes come with them.
    later = not fields and options.with_payload is not False
    asking = replace(options, with_payload=False) if later else options
    spaces = [stage.beside.stage for stage in stages.values() if stage.beside]
    answers = yield from _ask([*stages.values(), *spaces], count, asking, fields=fields)
    rankings = dict(zip([*stages, *(stage.name for stage in spaces)], answers, strict=True))
    for stage in stages.values():
        if stage.beside is not None:
            rankings[stage.name] = _on_one_scale(stage, stage.beside, rankings)[:count]
        if stage.coded is not None:
            rankings[stage.name] = _by_dense_codes(rankings[stage.name], stage.coded)
    found = rankings[first[0].name]
    if len(first) > 1:
        branches = {branch: (stage.name, rankings[stage.name]) for branch, stage in asked.finders.items()}
        found = _fuse(branches, first_fusion)[:count]
    last = first[0].name
    if coder is not None and tokens is not None:
        found, last = _by_codes(found, coder, tokens), CODES_STAGE
        if recipe.rerank.exact is not None:
            best = found[: max(recipe.rerank.exact, options.limit)]
            found, last = (yield from _by_matrix(best, tokens, recipe)), MAXSIM_STAGE
    elif tokens is not None and not ranked_at_once:
        found, last = (yield from _by_matrix(found, tokens, recipe)), MAXSIM_STAGE
    if once_more:
        others = {branch: (stage.name, rankings[stage.name]) for branch, stage in once_more.items()}
        found = _fuse({TOKENS_BRANCH: (last, found), **others}, recipe.fusion)
    best = _best(found, options)
    return (yield from _with_payloads(best, options)) if later else best


def _first_fusion(asked: Asked) -> Fusion:
    """How branches are fused: those that only find what tokens rank by ranks, so that each gets its share."""
    fusion = asked.recipe.fusion
    return fusion if asked.tokens is None else fusion.model_copy(update={"method": "rrf"})


def _once_more(asked: Asked) -> dict[str, Stage]:
    """The branches that are fused with what tokens have ranked."""
    if asked.tokens is None or not asked.recipe.fusion.after_rerank:
        return {}
    return {branch: stage for branch, stage in asked.finders.items() if branch != TOKENS_BRANCH}


def _fused(stages: Mapping[str, Stage], fusion: Fusion) -> Stage | None:
    """One stage for several; ``None`` where there is none, or the engine cannot do what they ask.

    Engines read a weight as that of a rank, or ignore it, so that weights are always applied here.
    """
    if any(stage.beside or stage.coded for stage in stages.values()):
        return None
    if len(stages) == 1:
        return next(iter(stages.values()))
    if not stages or fusion.weights or fusion.method == "min_max":
        return None
    query: Any = models.FusionQuery(fusion=models.Fusion.DBSF)
    if fusion.method == "rrf":
        # Qdrant's first rank is 0.
        query = models.RrfQuery(rrf=models.Rrf(k=fusion.k + 1))
    return Stage(FUSION_STAGE, None, query, among=tuple(stages.values()))


def _fuse(rankings: Mapping[str, tuple[str, list[Hit]]], fusion: Fusion) -> list[Hit]:
    """Fuse rankings here; by branch, each with the name of its stage."""
    by_stage = dict(rankings.values())
    weights = {rankings[branch][0]: weight for branch, weight in fusion.weights.items() if branch in rankings}
    if fusion.method == "rrf":
        return reciprocal_rank_fusion(by_stage, weights=weights, k=fusion.k)
    if fusion.method == "dbsf":
        return distribution_based_fusion(by_stage, weights=weights)
    return weighted_fusion(by_stage, weights=weights)


def _on_one_scale(stage: Stage, beside: Beside, rankings: Mapping[str, list[Hit]]) -> list[Hit]:
    """Hits in the spaces of two models as one ranking."""
    others = []
    for hit in rankings[beside.stage.name]:
        score = beside.factor * hit.score + beside.offset
        others.append(replace(hit, score=score, stages={**(hit.stages or {}), stage.name: score}))
    return _ordered([*rankings[stage.name], *others])


def _maxsim(tokens: TokenBatch, recipe: Recipe, candidates: Stage | None) -> Stage:
    ignore = models.QuantizationSearchParams(ignore=not recipe.rerank.quantized_tokens)
    return Stage(
        MAXSIM_STAGE,
        TOKENS_VECTOR,
        models.NearestQuery(nearest=tokens.values.tolist()),
        models.SearchParams(exact=candidates is None, quantization=ignore),
        among=() if candidates is None else (candidates,),
    )


def _ask(
    stages: Sequence[Stage],
    count: int,
    options: SearchOptions,
    below: int | None = None,
    score_threshold: float | None = None,
    fields: Sequence[str] = (),
) -> _Rankings:
    """Ask for ``count`` hits of each stage, each with its score at every stage where that is wanted.

    ``below`` is the number of results of the stages below them, if not as many as they would want.
    ``fields`` are those of codes that come with them.
    """
    selector = _payload_selector(options.with_payload, fields)
    requests = [
        models.QueryRequest(
            **_request(stage, count, options, below),
            with_payload=selector,
            score_threshold=score_threshold,
        )
        for stage in stages
    ]
    inner: dict[str, models.QueryRequest] = {}
    if options.with_stages:
        for stage in stages:
            for one, own_count in _within(stage, stage.widening * count if below is None else below):
                request = models.QueryRequest(**_request(one, own_count, options), with_payload=False)
                inner.setdefault(one.name, request)
    answers = yield [*requests, *inner.values()]
    scores = {
        name: {point.id: point.score for point in answer.points}
        for name, answer in zip(inner, answers[len(stages) :], strict=True)
    }
    return [
        [_found(point, stage.name, scores) for point in answer.points]
        for stage, answer in zip(stages, answers, strict=False)
    ]


def _request(stage: Stage, count: int, options: SearchOptions, below: int | None = None) -> dict[str, Any]:
    """Fields of the request, or the prefetch, for ``count`` results of a stage."""
    below = stage.widening * count if below is None else below
    return {
        "query": stage.query,
        "using": stage.using,
        "prefetch": [models.Prefetch(**_request(one, below, options)) for one in stage.among] or None,
        # What is ranked was filtered when it was found.
        "filter": None if stage.among else _both(stage.filter, options.filter),
        "params": stage.params,
        "limit": count,
    }


def _both(first: models.Filter | None, second: models.Filter | None) -> models.Filter | None:
    if first is None or second is None:
        return first or second
    return models.Filter(must=[first, second])


def _within(stage: Stage, count: int) -> Iterator[tuple[Stage, int]]:
    """All stages below one, with the numbers of their results."""
    for one in stage.among:
        yield one, count
        yield from _within(one, one.widening * count)


def _found(point: Any, stage: str, scores: Mapping[str, Mapping[Any, float]]) -> Hit:
    stages = {name: found[point.id] for name, found in scores.items() if point.id in found}
    return Hit(point.id, point.score, point.payload, {**stages, stage: point.score})


def _by_codes(hits: list[Hit], coder: TokenCoder, tokens: TokenBatch) -> list[Hit]:
    scores = coder.score(tokens.values, codes_of(hits)).tolist()
    return _ordered(
        replace(hit, score=score, stages={**(hit.stages or {}), CODES_STAGE: score})
        for hit, score in zip(hits, scores, strict=True)
    )


def _by_dense_codes(hits: list[Hit], coded: Coded) -> list[Hit]:
    if not hits:
        return []
    codes = dense_codes_of(hits, coded.code_bytes)
    scores = dense_codes(coded.quantizer, coded.query, codes[:, coded.part]).tolist()
    return _ordered(
        replace(hit, score=score, stages={**(hit.stages or {}), coded.stage: score})
        for hit, score in zip(hits, scores, strict=True)
    )


def _by_matrix(hits: list[Hit], tokens: TokenBatch, recipe: Recipe) -> Plan:
    """Score hits anew in the engine; one that was deleted meanwhile is left out."""
    if not hits:
        return []
    stage = _maxsim(tokens, recipe, None)
    options = SearchOptions(filter=_among(hits))
    answers = yield [models.QueryRequest(**_request(stage, len(hits), options), with_payload=False)]
    by_id: dict[Any, Hit] = {hit.id: hit for hit in hits}
    return [
        replace(
            by_id[point.id],
            score=point.score,
            stages={**(by_id[point.id].stages or {}), MAXSIM_STAGE: point.score},
        )
        for point in answers[0].points
    ]


def _with_payloads(hits: list[Hit], options: SearchOptions) -> Plan:
    """Read the payloads of hits; one that was deleted meanwhile is left out."""
    if not hits:
        return []
    answers = yield [
        models.QueryRequest(
            filter=_among(hits), limit=len(hits), with_payload=_payload_selector(options.with_payload)
        )
    ]
    payloads: dict[Any, Any] = {point.id: point.payload for point in answers[0].points}
    return [replace(hit, payload=payloads[hit.id]) for hit in hits if hit.id in payloads]


def _among(hits: list[Hit]) -> models.Filter:
    return models.Filter(must=[models.HasIdCondition(has_id=[hit.id for hit in hits])])


def _ordered(hits: Iterable[Hit]) -> list[Hit]:
    return sorted(hits, key=lambda hit: -hit.score)


def _best(hits: list[Hit], options: SearchOptions) -> list[Hit]:
    threshold = options.score_threshold
    return [hit for hit in hits[: options.limit] if threshold is None or hit.score >= threshold]


def _was_skipped(hit: Hit) -> bool:
    """Whether the cross-encoder gave no score, so that a threshold of its scores says nothing."""
    return CROSS_ENCODER_STAGE in (hit.skipped or {})


def _shown(hit: Hit, options: SearchOptions) -> Hit:
    """A hit of the engine as users see it."""
    given_id, payload = split_payload(hit.id, hit.payload)
    return replace(
        hit, id=given_id, payload=payload or None, stages=hit.stages if options.with_stages else None
    )


def _trimmed(hit: Hit, text_key: str, options: SearchOptions) -> Hit:
    """Leave out what was only asked for because the cross-encoder reads it."""
    payload = hit.payload
    if options.with_payload is not True and text_key not in (options.with_payload or ()):
        payload = {key: value for key, value in (payload or {}).items() if key != text_key} or None
    return replace(hit, payload=payload, stages=hit.stages if options.with_stages else None)


def _and_field(wanted: bool | Sequence[str], key: str) -> bool | Sequence[str]:
    return True if wanted is True else [key, *(wanted or ())]


def _payload_selector(wanted: bool | Sequence[str], fields: Sequence[str] = ()) -> Any:
    """Always ask for the original id, which is how a hit gets its id back; for codes where they rank."""
    if wanted is True:
        hidden = [field for field in CODE_FIELDS if field not in fields]
        return models.PayloadSelectorExclude(exclude=hidden) if hidden else True
    return [ORIGINAL_ID, *fields, *([] if wanted is False else wanted)]


def codes_of(points: Sequence[Any], field: str = CODES) -> list[bytes]:
    """Codes from a field of the payloads of points.

    Raises
    ------
    StateError
        Naming the first point that has lost them.
    """
    texts: list[Any] = [(point.payload or {}).get(field) for point in points]
    try:
        return base85.decode(texts)
    except (AttributeError, ValueError):
        broken = next((point.id for point, text in zip(points, texts, strict=True) if not _reads(text)), None)
    raise _lost(broken, field)


def dense_codes_of(points: Sequence[Any], code_bytes: int) -> NDArray[np.uint8]:
    """Codes (n, code_bytes) of dense vectors, from the payloads of points.

    Raises
    ------
    StateError
        Naming the first point that has lost them.
    """
    strings = codes_of(points, DENSE_CODES)
    for point, string in zip(points, strings, strict=True):
        if len(string) != code_bytes:
            raise _lost(point.id, DENSE_CODES)
    return np.frombuffer(b"".join(strings), dtype=np.uint8).reshape(len(points), code_bytes)


def _lost(point: Any, field: str) -> StateError:
    what = "tokens" if field == CODES else "dense vectors"
    return StateError(
        f"point {point!r} has lost the codes of its {what} (payload field {field!r}): add it again"
    )


def _reads(text: Any) -> bool:
    try:
        base85.decode([text])
    except (AttributeError, ValueError):
        return False
    return True
