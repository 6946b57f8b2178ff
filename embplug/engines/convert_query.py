"""Queries: every kind that ``query_points`` takes, as ``qdrant_edge`` takes it."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime
from typing import Any
from uuid import UUID

import numpy as np
import qdrant_edge as edge
from qdrant_client import models

from embplug.engines.convert import check_vector, to_edge_vector
from embplug.engines.convert_config import VectorSchema, to_edge_enum
from embplug.engines.convert_filter import timestamp, to_edge_condition, to_edge_filter, to_edge_geo_point
from embplug.engines.convert_ids import to_edge_id
from embplug.errors import CapabilityError, InvalidArgumentError

DEFAULT_LIMIT = 10
DEFAULT_RRF_K = 2
DEFAULT_MMR_DIVERSITY = 0.5

Id = int | UUID
VectorLookup = Callable[[Sequence[Id], str, str], dict[Id, Any]]
"""(ids, vector name, argument) -> the stored vector of each id; raises for an id that has none."""


@dataclass(frozen=True)
class QueryConverter:
    """Turns queries on one collection into Edge's.

    Edge takes vectors only. Where the caller gives a point id, its vector is looked up and the point
    is left out of the results of that stage, as the server does.

    Attributes
    ----------
    schema : mapping
        Vector names of the collection.
    lookup : callable
        Reads stored vectors.
    """

    schema: Mapping[str, VectorSchema]
    lookup: VectorLookup

    def prefetches(self, given: Any, argument: str = "prefetch") -> list[edge.Prefetch]:
        """A prefetch, a list of them, or none; nested to any depth."""
        if given is None:
            return []
        if not isinstance(given, (list, tuple)):
            return [self._prefetch(given, argument)]
        return [self._prefetch(prefetch, f"{argument}[{i}]") for i, prefetch in enumerate(given)]

    def _prefetch(self, given: Any, argument: str) -> edge.Prefetch:
        if not isinstance(given, models.Prefetch):
            raise InvalidArgumentError(argument, "a models.Prefetch", type(given).__name__)
        if given.lookup_from is not None:
            raise CapabilityError(f"{argument}.lookup_from: Qdrant Edge searches one collection at a time")
        limit = DEFAULT_LIMIT if given.limit is None else given.limit
        query, used_ids = self.query(given.query, given.using, limit, f"{argument}.query")
        return edge.Prefetch(
            limit,
            query=query,
            prefetches=self.prefetches(given.prefetch, f"{argument}.prefetch") or None,
            params=to_edge_search_params(given.params),
            filter=excluding(to_edge_filter(given.filter, f"{argument}.filter"), used_ids),
            score_threshold=given.score_threshold,
        )

    def query(
        self, query: Any, using: str | None, limit: int, argument: str = "query"
    ) -> tuple[Any, list[Id]]:
        """A query and the ids that it was made from.

        Raises
        ------
        InvalidArgumentError
            Naming what cannot be a query on this collection.
        CapabilityError
            Queries that embed text or images.
        """
        if query is None:
            return None, []
        if isinstance(query, models.NearestQuery):
            return self._nearest(query.nearest, query.mmr, using, limit, argument)
        if isinstance(query, models.RecommendQuery):
            return self._recommend(query.recommend, using, argument)
        if isinstance(query, models.DiscoverQuery):
            return self._discover(query.discover, using, argument)
        if isinstance(query, models.ContextQuery):
            vectors = self._vectors(using, argument)
            pairs = _pairs(query.context, vectors)
            return edge.Query.Context(edge.ContextQuery(pairs), vectors.using), vectors.ids
        if isinstance(query, models.RelevanceFeedbackQuery):
            return self._feedback(query.relevance_feedback, using, argument)
        if isinstance(query, _WITHOUT_VECTORS):
            return _query_without_vectors(query, using, argument), []
        return self._nearest(query, None, using, limit, argument)

    def _vectors(self, using: str | None, argument: str) -> _ExampleVectors:
        name = using or ""
        expected = self.schema.get(name)
        if expected is None:
            raise InvalidArgumentError("using", f"one of the vectors {sorted(self.schema)}", repr(using))
        return _ExampleVectors(name, expected, self.lookup, argument, [])

    def _nearest(
        self, nearest: Any, mmr: models.Mmr | None, using: str | None, limit: int, argument: str
    ) -> tuple[Any, list[Id]]:
        vectors = self._vectors(using, argument)
        vector = vectors.one(nearest)
        if mmr is None:
            return edge.Query.Nearest(vector, vectors.using), vectors.ids
        diversity = DEFAULT_MMR_DIVERSITY if mmr.diversity is None else mmr.diversity
        candidates = limit if mmr.candidates_limit is None else mmr.candidates_limit
        return edge.Mmr(vector, 1.0 - diversity, candidates, vectors.using), vectors.ids

    def _recommend(
        self, given: models.RecommendInput, using: str | None, argument: str
    ) -> tuple[Any, list[Id]]:
        vectors = self._vectors(using, argument)
        positive, negative = vectors.many(given.positive), vectors.many(given.negative)
        if given.strategy in (None, models.RecommendStrategy.AVERAGE_VECTOR):
            if not positive:
                raise InvalidArgumentError(f"{argument}.positive", "at least one example", "none")
            average = average_vector(positive, negative, vectors.expected)
            return edge.Query.Nearest(average, vectors.using), vectors.ids
        if not positive and not negative:
            raise InvalidArgumentError(argument, "positive or negative examples", "none")
        best = given.strategy is models.RecommendStrategy.BEST_SCORE
        make = edge.Query.RecommendBestScore if best else edge.Query.RecommendSumScores
        return make(edge.RecommendQuery(positive, negative), vectors.using), vectors.ids

    def _discover(
        self, given: models.DiscoverInput, using: str | None, argument: str
    ) -> tuple[Any, list[Id]]:
        vectors = self._vectors(using, argument)
        target = vectors.one(given.target)
        query = edge.DiscoverQuery(target, _pairs(given.context, vectors))
        return edge.Query.Discover(query, vectors.using), vectors.ids

    def _feedback(
        self, given: models.RelevanceFeedbackInput, using: str | None, argument: str
    ) -> tuple[Any, list[Id]]:
        vectors = self._vectors(using, argument)
        target = vectors.one(given.target)
        items = [edge.FeedbackItem(vectors.one(item.example), item.score) for item in given.feedback]
        naive = given.strategy.naive
        strategy = edge.NaiveFeedbackStrategy(naive.a, naive.b, naive.c)
        query = edge.FeedbackNaiveQuery(target, items, strategy)
        return edge.Query.FeedbackNaive(query, vectors.using), vectors.ids


@dataclass(frozen=True)
class _ExampleVectors:
    """Reads the examples of one query as vectors, and notes which were ids."""

    using: str
    expected: VectorSchema
    lookup: VectorLookup
    argument: str
    ids: list[Id]

    def one(self, example: Any) -> Any:
        return self.many([example])[0]

    def many(self, examples: Sequence[Any] | None) -> list[Any]:
        examples = examples or []
        ids = {i: to_edge_id(e, self.argument) for i, e in enumerate(examples) if _is_id(e)}
        found = self.lookup(list(ids.values()), self.using, self.argument) if ids else {}
        self.ids.extend(ids.values())
        return [found[ids[i]] if i in ids else self._checked(example) for i, example in enumerate(examples)]

    def _checked(self, example: Any) -> Any:
        vector = to_edge_vector(example, self.argument)
        check_vector(self.expected, vector, self.argument)
        return vector


def _is_id(example: Any) -> bool:
    return isinstance(example, (int, np.integer, str, UUID))


def _pairs(given: Any, vectors: _ExampleVectors) -> list[edge.ContextPair]:
    pairs = given if isinstance(given, list) else [given]
    return [edge.ContextPair(vectors.one(pair.positive), vectors.one(pair.negative)) for pair in pairs]


def excluding(given: edge.Filter | None, ids: Sequence[Id]) -> edge.Filter | None:
    """The filter, and not these points."""
    if not ids:
        return given
    others = edge.Filter(must_not=[edge.HasIdCondition(set(ids))])
    return others if given is None else edge.Filter(must=[given, others])


def average_vector(positive: Sequence[Any], negative: Sequence[Any], expected: VectorSchema) -> Any:
    """The server's ``average_vector``: mean of the positive, moved away from the mean of the negative.

    Multi-vectors are not averaged: their rows are put together, the negative ones turned around.
    """
    if expected.kind == "multi":
        rows = [row for matrix in positive for row in matrix]
        return rows + [[-value for value in row] for matrix in negative for row in matrix]
    if expected.kind == "sparse":
        return _average_sparse(positive, negative)
    mean = np.mean(np.asarray(positive, dtype=np.float32), axis=0)
    if negative:
        mean = mean + mean - np.mean(np.asarray(negative, dtype=np.float32), axis=0)
    return mean.tolist()


def _average_sparse(positive: Sequence[Any], negative: Sequence[Any]) -> edge.SparseVector:
    total: dict[int, float] = {}
    for vectors, weight in ((positive, 2.0 if negative else 1.0), (negative, -1.0)):
        for vector in vectors:
            for index, value in zip(vector.indices, vector.values, strict=True):
                total[index] = total.get(index, 0.0) + weight * value / len(vectors)
    return edge.SparseVector(list(total), list(total.values()))


_WITHOUT_VECTORS = (
    models.FusionQuery,
    models.RrfQuery,
    models.OrderByQuery,
    models.SampleQuery,
    models.FormulaQuery,
    models.TextQuery,
)


def _query_without_vectors(query: Any, using: str | None, argument: str) -> Any:
    if isinstance(query, models.TextQuery):
        return _text_query(query, using, argument)
    if using is not None:
        raise CapabilityError(f"using: a {type(query).__name__} compares no vectors, so it has no effect")
    if isinstance(query, models.FusionQuery):
        return edge.Fusion.Dbsf() if query.fusion is models.Fusion.DBSF else edge.Fusion.Rrf(DEFAULT_RRF_K)
    if isinstance(query, models.RrfQuery):
        k = DEFAULT_RRF_K if query.rrf.k is None else query.rrf.k
        return edge.Fusion.Rrf(k, query.rrf.weights)
    if isinstance(query, models.OrderByQuery):
        return to_edge_order_by(query.order_by)
    if isinstance(query, models.SampleQuery):
        return to_edge_enum(edge.Sample, query.sample, f"{argument}.sample")
    return edge.Formula(to_edge_expression(query.formula, f"{argument}.formula"), query.defaults or {})


def _text_query(query: models.TextQuery, using: str | None, argument: str) -> edge.TextQuery:
    if using is None:
        raise InvalidArgumentError("using", "the payload field whose text index to search", None)
    given = query.text if isinstance(query.text, models.TextQueryInput) else None
    text = query.text if given is None else given.query
    scoring = None
    if given is not None and given.scoring is not None:
        scoring = edge.Bm25Params(given.scoring.bm25.k, given.scoring.bm25.b)
    return edge.TextQuery(using, str(text), scoring)


def to_edge_order_by(order_by: Any) -> edge.OrderBy:
    """A payload key, or a key with direction and start."""
    if isinstance(order_by, str):
        return edge.OrderBy(order_by)
    if not isinstance(order_by, models.OrderBy):
        raise InvalidArgumentError("order_by", "a payload key or a models.OrderBy", type(order_by).__name__)
    start = order_by.start_from
    return edge.OrderBy(
        order_by.key,
        to_edge_enum(edge.Direction, order_by.direction, "order_by.direction"),
        timestamp(start) if isinstance(start, (datetime, date)) else start,
    )


def to_edge_search_params(params: models.SearchParams | None) -> edge.SearchParams | None:
    """Search parameters, complete."""
    if params is None:
        return None
    if not isinstance(params, models.SearchParams):
        raise InvalidArgumentError("search_params", "a models.SearchParams", type(params).__name__)
    quantization = acorn = idf = None
    if params.quantization is not None:
        quantization = edge.QuantizationSearchParams(
            bool(params.quantization.ignore), params.quantization.rescore, params.quantization.oversampling
        )
    if params.acorn is not None:
        acorn = edge.AcornSearchParams(bool(params.acorn.enable), params.acorn.max_selectivity)
    if params.idf is not None:
        corpus = params.idf.corpus if isinstance(params.idf, models.IdfCorpusParams) else None
        idf = edge.IdfParams(to_edge_filter(corpus, "search_params.idf.corpus"))
    return edge.SearchParams(
        hnsw_ef=params.hnsw_ef,
        exact=bool(params.exact),
        quantization=quantization,
        indexed_only=bool(params.indexed_only),
        acorn=acorn,
        idf=idf,
    )


def to_edge_expression(given: Any, argument: str) -> Any:
    """A formula's expression, nested to any depth.

    Raises
    ------
    InvalidArgumentError
        Naming the part that is not an expression.
    """
    make = edge.Expression
    if isinstance(given, (int, float)):
        return make.Constant(float(given))
    if isinstance(given, str):
        return make.Variable(given)
    if isinstance(given, models.GeoDistance):
        return make.GeoDistance(to_edge_geo_point(given.geo_distance.origin), given.geo_distance.to)
    if isinstance(given, models.DatetimeExpression):
        return make.Datetime(given.datetime)
    if isinstance(given, models.DatetimeKeyExpression):
        return make.DatetimeKey(given.datetime_key)
    if isinstance(given, models.DivExpression):
        div = given.div
        return make.Div(
            to_edge_expression(div.left, f"{argument}.left"),
            to_edge_expression(div.right, f"{argument}.right"),
            div.by_zero_default,
        )
    if isinstance(given, models.PowExpression):
        return make.Pow(
            to_edge_expression(given.pow.base, f"{argument}.base"),
            to_edge_expression(given.pow.exponent, f"{argument}.exponent"),
        )
    if type(given) in _DECAYS:
        name, kind = _DECAYS[type(given)]
        decay: models.DecayParamsExpression = getattr(given, name)
        target = None if decay.target is None else to_edge_expression(decay.target, f"{argument}.target")
        x = to_edge_expression(decay.x, f"{argument}.x")
        return make.Decay(kind, x, target, decay.midpoint, decay.scale)
    if type(given) in _OPERATORS:
        name, operator = _OPERATORS[type(given)]
        operand = getattr(given, name)
        if isinstance(operand, list):
            return operator([to_edge_expression(o, f"{argument}.{name}[{i}]") for i, o in enumerate(operand)])
        return operator(to_edge_expression(operand, f"{argument}.{name}"))
    return make.Condition(to_edge_condition(given, argument))


_DECAYS: dict[type[Any], tuple[str, Any]] = {
    models.LinDecayExpression: ("lin_decay", edge.DecayKind.Lin),
    models.GaussDecayExpression: ("gauss_decay", edge.DecayKind.Gauss),
    models.ExpDecayExpression: ("exp_decay", edge.DecayKind.Exp),
}

_OPERATORS: dict[type[Any], tuple[str, Callable[[Any], Any]]] = {
    models.MultExpression: ("mult", edge.Expression.Mult),
    models.SumExpression: ("sum", edge.Expression.Sum),
    models.MaxExpression: ("max", edge.Expression.Max),
    models.MinExpression: ("min", edge.Expression.Min),
    models.NegExpression: ("neg", edge.Expression.Neg),
    models.AbsExpression: ("abs", edge.Expression.Abs),
    models.SqrtExpression: ("sqrt", edge.Expression.Sqrt),
    models.ExpExpression: ("exp", edge.Expression.Exp),
    models.Log10Expression: ("log10", edge.Expression.Log10),
    models.LnExpression: ("ln", edge.Expression.Ln),
    models.AcoshExpression: ("acosh", edge.Expression.Acosh),
}
