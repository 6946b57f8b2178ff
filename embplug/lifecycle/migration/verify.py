"""Whether a copy is what it should be: counts, payloads, and how much of the source's hits it finds."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from qdrant_client import models

from embplug.branches.pipeline import Pipeline
from embplug.collection.searching import search_steps
from embplug.common.ids import point_id, split_payload
from embplug.engines import Engine
from embplug.engines.calls import Call, retried, run
from embplug.lifecycle.migration.passes import Passes
from embplug.lifecycle.migration.reader import Point, PointId, Reader
from embplug.recipe.names import SPARSE_VECTOR, TOKENS_VECTOR
from embplug.search.types import Query, SearchOptions

LIMIT = 10
SAMPLED_QUERIES = 200
SAMPLED_PAYLOADS = 1000
SAMPLE_BYTES = 64 << 20
QUERY_TOKENS = 32
"""Of a document that stands for a query: queries are short."""

MOST_EXACT = 1_000_000
MOST_EXACT_MATRICES = 10_000
"""Up to this many points the source is searched exhaustively."""

AT_ONCE = 16
TIE = 1e-6
ATTEMPTS = 3


@dataclass(frozen=True)
class Recall:
    """How many of the source's hits the target finds.

    Attributes
    ----------
    by_vector : dict of str to float
        Recall of the ``limit`` best documents, for each vector of the recipe.
    queries : int
        Number of queries.
    user_queries : bool
        Whether the caller passed the queries. Otherwise they are points of the source, each of which is
        left out of its own hits.
    exact : bool
        Whether the source compared all points. Otherwise it answered from its index.
    limit : int
        Number of best documents.
    """

    by_vector: dict[str, float]
    queries: int
    user_queries: bool
    exact: bool
    limit: int = LIMIT

    @property
    def value(self) -> float:
        """The lowest recall of a vector."""
        return min(self.by_vector.values())


@dataclass(frozen=True, eq=False)
class _SearchedQuery:
    """One query on both sides; ``left_out`` is the point whose vector it is."""

    query: Query
    vector: Any
    left_out: PointId | None


def measure_recall(
    reading: Engine,
    source: str,
    vectors: Mapping[str, str],
    target: str,
    engine: Engine,
    pipeline: Pipeline,
    queries: Sequence[Query] | None,
) -> Recall | None:
    """Search both sides for the same queries; ``None`` where the source is empty."""
    names = [vectors[own] for own in vectors if own != SPARSE_VECTOR]
    reader = Reader(reading, source, names, payload=False)
    if not vectors:
        # A recipe with a sparse vector alone has no vectors to compare.
        return None
    options = SearchOptions(limit=LIMIT + 1, with_payload=False, cross_encode=False)
    exact = reader.count() <= (MOST_EXACT_MATRICES if TOKENS_VECTOR in vectors else MOST_EXACT)
    if queries is not None:
        searched = _of_caller(queries, pipeline)
    else:
        points = reader.sample(SAMPLED_QUERIES, SAMPLE_BYTES) if names else []
        searched = {own: _sampled(points, own, vectors, pipeline) for own in vectors if own != SPARSE_VECTOR}
        if SPARSE_VECTOR in vectors:
            name = vectors[SPARSE_VECTOR]
            points = Reader(reading, source, [name], payload=False).sample(SAMPLED_QUERIES, SAMPLE_BYTES)
            searched[SPARSE_VECTOR] = _sampled_weights(points, name)
        if not any(searched.values()):
            return None
    shares = {}
    for own, own_queries in searched.items():
        parts = []
        for start in range(0, len(own_queries), AT_ONCE):
            some = own_queries[start : start + AT_ONCE]
            truth = _truth(reading, source, vectors[own], some, exact)
            steps = search_steps(engine, target, pipeline, [query.query for query in some], options)
            hits = run(engine, steps)
            for query, best, answer in zip(some, truth, hits, strict=True):
                ids = [point_id(hit.id, "id") for hit in answer]
                parts.append(_share(best, [hit_id for hit_id in ids if hit_id != query.left_out][:LIMIT]))
        shares[own] = float(np.mean(parts)) if parts else 1.0
    count = len(queries) if queries is not None else max(map(len, searched.values()))
    return Recall(shares, count, queries is not None, exact)


def check_payloads(passes: Passes) -> tuple[int, list[PointId]]:
    """Compare the payloads of a sample, and return its size and the ids of those that differ.

    A point that is written to just now is copied once more before it counts.
    """
    reader = Reader(passes.reading, passes.record.source)
    sampled = reader.sample(SAMPLED_PAYLOADS, SAMPLE_BYTES)
    ids = [point.id for point in sampled]
    differing = _differing(passes, sampled)
    for _ in range(ATTEMPTS):
        if not differing:
            break
        passes.sync(differing)
        differing = _differing(passes, reader.retrieve(differing))
    return len(ids), differing


def _differing(passes: Passes, points: Sequence[Point]) -> list[PointId]:
    copies = {}
    reader = Reader(passes.reading, passes.target)
    for start in range(0, len(points), SAMPLED_PAYLOADS):
        batch = [point.id for point in points[start : start + SAMPLED_PAYLOADS]]
        copies.update({copy.id: copy for copy in reader.retrieve(batch)})
    return [point.id for point in points if not _same_payload(point, copies.get(point.id))]


def _same_payload(point: Point, copy: Point | None) -> bool:
    if copy is None:
        return False
    # The copy's own fields are those of the target's recipe.
    return split_payload(point.id, {**point.payload}) == split_payload(copy.id, {**copy.payload})


def _sampled(
    points: Sequence[Point], own: str, vectors: Mapping[str, str], pipeline: Pipeline
) -> list[_SearchedQuery]:
    queries = []
    for point in points:
        stored = {name: point.vectors[source] for name, source in vectors.items() if name != SPARSE_VECTOR}
        if own != TOKENS_VECTOR:
            queries.append(_SearchedQuery(Query(dense={own: stored[own]}), stored[own].tolist(), point.id))
            continue
        tokens = stored[own][:QUERY_TOKENS]
        dense = {name: vector for name, vector in stored.items() if name != own}
        # Without an encoding the dense vectors find what the tokens rank.
        finds = pipeline.recipe.tokens is not None and pipeline.recipe.tokens.encoding is None
        query = Query(tokens, dense if finds and dense else None)
        queries.append(_SearchedQuery(query, tokens.tolist(), point.id))
    return queries


def _sampled_weights(points: Sequence[Point], source: str) -> list[_SearchedQuery]:
    """Sparse vectors of points as queries; one without weights finds nothing."""
    queries = []
    for point in points:
        vector = point.vectors[source]
        weights = models.SparseVector(indices=vector["index"].tolist(), values=vector["weight"].tolist())
        if weights.indices:
            queries.append(_SearchedQuery(Query(sparse=weights), weights, point.id))
    return queries


def _of_caller(queries: Sequence[Query], pipeline: Pipeline) -> dict[str, list[_SearchedQuery]]:
    by_vector: dict[str, list[_SearchedQuery]] = {}
    for whole in pipeline.with_query_vectors(queries, batch=True):
        if whole.tokens is not None:
            by_vector.setdefault(TOKENS_VECTOR, []).append(
                _SearchedQuery(whole, np.asarray(whole.tokens).tolist(), None)
            )
            continue
        dense: Any = whole.dense or {}
        for name, vector in dense.items():
            by_vector.setdefault(name, []).append(
                _SearchedQuery(Query(dense={name: vector}), np.asarray(vector).tolist(), None)
            )
        if whole.sparse is not None:
            by_vector.setdefault(SPARSE_VECTOR, []).append(
                _SearchedQuery(Query(sparse=whole.sparse), whole.sparse, None)
            )
    return by_vector


def _truth(
    engine: Engine, source: str, vector: str, queries: Sequence[_SearchedQuery], exact: bool
) -> list[dict[PointId, float]]:
    """Best points of the source by their scores, more than are wanted, so that ties can be told."""
    requests = [
        models.QueryRequest(
            query=models.NearestQuery(nearest=query.vector),
            using=vector or None,
            filter=None if query.left_out is None else _without(query.left_out),
            params=models.SearchParams(exact=exact),
            limit=3 * LIMIT,
            with_payload=False,
        )
        for query in queries
    ]
    call = Call.of("query_batch_points", collection_name=source, requests=requests)
    answers = run(engine, retried(call))
    return [{point.id: point.score for point in answer.points} for answer in answers]


def _without(left_out: PointId) -> models.Filter:
    return models.Filter(must_not=[models.HasIdCondition(has_id=[left_out])])


def _share(truth: Mapping[PointId, float], hit_ids: Sequence[PointId]) -> float:
    """Part of the best that was found; of equally good ones, any."""
    best = list(truth.values())[:LIMIT]
    if not best:
        return 1.0
    worst = best[-1]
    tie = TIE * max(1.0, abs(worst))
    good = {document_id for document_id, score in truth.items() if abs(score - worst) <= tie}
    good |= set(list(truth)[:LIMIT])
    return min(1.0, len(good.intersection(hit_ids)) / len(best))
