"""Hits in groups: the best documents of each value of a payload field, such as the chunks of each document.

Groups are ranked by the scores of the last stage, also where codes are scored in this process or rankings
are fused. Candidates come in rounds: each round leaves out the groups that were found before, so that a group
with many documents does not hide others. Scores of a fusion can only be compared within one search. So after
several rounds the documents of the best groups are ranked once more, among themselves.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from functools import partial
from math import ceil
from typing import Any, TypeAlias

from qdrant_client import models
from qdrant_client.local.payload_value_extractor import value_by_key

from embplug.branches.pipeline import Pipeline
from embplug.collection.explaining import encoded_steps, explained_hits_steps
from embplug.collection.info import existing_steps
from embplug.collection.records import WITHOUT_CODES, Record, vector_selector, vectors_of
from embplug.collection.rounds import run_plans
from embplug.collection.searching import best, records_steps
from embplug.common.checks import MOST_INTEGER, checked_integer
from embplug.common.ids import point_id, split_payload
from embplug.common.payload_paths import PayloadPath, checked_path, path_of_field
from embplug.engines import AnyEngine
from embplug.engines.calls import Call, Steps
from embplug.errors import InvalidArgumentError
from embplug.search.formula import Formula
from embplug.search.option_checks import check_options, check_queries
from embplug.search.plan import Plan
from embplug.search.types import Hit, Query, SearchOptions

Value: TypeAlias = int | str
"""Value of the field by which documents are grouped."""

IDLE_ROUNDS = 4
"""The search ends after this many rounds whose documents make no new group."""

FORMULA_GROUPS = 4
"""Number of groups that a formula ranks, as a multiple of those that are returned."""


@dataclass(frozen=True)
class HitGroup:
    """Documents that share a value of a payload field.

    Attributes
    ----------
    id : int or str
        The value.
    hits : list of Hit
        The best documents of the group, best first.
    lookup : Record, default=None
        Document whose id is the value, in the collection that ``with_lookup`` names. None if there is no such
        document, or nothing is looked up.
    """

    id: Value
    hits: list[Hit]
    lookup: Record | None = None


def search_groups_steps(
    engine: AnyEngine,
    name: str,
    pipeline: Pipeline,
    query: Query,
    options: SearchOptions,
    group_by: str,
    group_size: int,
) -> Steps[list[HitGroup]]:
    """Find the best groups; ``options.limit`` is their number."""
    name = pipeline.alias or name
    selector = vector_selector(pipeline, options.with_vectors)
    path = checked_path(group_by, "group_by")
    checked_integer(group_size, "group_size", 1)
    check_options(options)
    check_queries([query])
    options = replace(options, filter=pipeline.checked_filter(options.filter))
    formula = None if options.formula is None else pipeline.formula(options.formula)
    explained = None
    if options.explain:
        explained = yield from encoded_steps(pipeline, [query], options.branches)
        (encoded,) = pipeline.as_queries(explained, [query])
    else:
        (encoded,) = yield Call.compute(partial(pipeline.with_query_vectors, [query]))
    groups = yield from _GroupSearch(
        engine, name, pipeline, encoded, options, path, group_size, formula
    ).steps()
    hits = yield from records_steps(
        name, pipeline, [group.hits for group in groups], options.with_payload, selector, options.reading
    )
    if explained is not None:
        each = explained * len(hits)
        hits = yield from explained_hits_steps(
            engine, name, pipeline, each, hits, options.exact, options.reading
        )
    return [replace(group, hits=own) for group, own in zip(groups, hits, strict=True) if own]


@dataclass
class _Found:
    """Documents that were found so far, by the values of their field."""

    path: str
    hits: dict[Value, dict[Any, Hit]] = field(default_factory=dict)
    whole: set[Value] = field(default_factory=set)
    """Values of which every document was found."""
    others: list[Any] = field(default_factory=list)
    """Points whose field has no value that makes a group."""

    def add(self, hits: Sequence[Hit], *, are_all: bool) -> bool:
        """Sort hits into groups, and return whether there is a new one.

        ``are_all`` says that new groups have no other documents.
        """
        known = {*self.hits}
        for hit in hits:
            point, values = point_id(hit.id, "id"), _values(hit, self.path)
            if not values:
                self.others.append(point)
            for value in values:
                self.hits.setdefault(value, {}).setdefault(point, hit)
        new = self.hits.keys() - known
        self.whole.update(new if are_all else ())
        return bool(new)


@dataclass(frozen=True)
class _GroupSearch:
    """One search for groups: a query with its vectors, and checked options."""

    engine: AnyEngine
    name: str
    pipeline: Pipeline
    query: Query
    options: SearchOptions
    path: PayloadPath
    size: int
    formula: Formula | None

    def steps(self) -> Steps[list[HitGroup]]:
        """Find groups, best first, each with its best hits."""
        last = self.pipeline.recipe.rerank.cross_encoder
        limit = self.options.limit
        if last is not None:
            limit = max(limit, ceil(last.candidates / self.size))
        count = max(self.options.candidates or self.pipeline.recipe.rerank.candidates, limit * self.size)
        found = _Found(self.path.text)
        hits, rounds, idle = [], 0, 0
        while idle < IDLE_ROUNDS:
            (hits,) = yield from self._search_steps([_without(self.options.filter, found)], count)
            rounds += 1
            idle = 0 if found.add(hits, are_all=len(hits) < count) else idle + 1
            if len(found.hits) >= limit or len(hits) < count:
                break
        # A formula may prefer groups that are further behind.
        chosen = [*found.hits][: limit if self.formula is None else limit * FORMULA_GROUPS]
        # As many candidates of each group as it would have if all had equally many.
        share = max(self.size, ceil(count / limit))
        lacking = [
            value for value in chosen if len(found.hits[value]) < self.size and value not in found.whole
        ]
        conditions = [_with(self.options.filter, self.path.text, value) for value in lacking]
        for more in (yield from self._search_steps(conditions, share)):
            found.add(more, are_all=False)
        by_vectors = last is None and self.formula is None and self.options.score_threshold is None
        if rounds > 1 or lacking or not by_vectors:
            kept = self.size if last is not None else share
            points = [point for value in chosen for point in [*found.hits[value]][:kept]]
            hits = yield from self._last_steps(list(dict.fromkeys(points)))
        return _grouped(hits, self.path.text, {*chosen}, self.size)[: self.options.limit]

    def _search_steps(
        self, conditions: Sequence[models.Filter], count: int, **changes: Any
    ) -> Steps[list[list[Hit]]]:
        """Search under each condition, for documents with the field alone."""
        fields = [path_of_field(self.path.field) or self.path.text]
        fields += [] if self.formula is None else self.formula.fields
        options = replace(self.options, with_payload=list(dict.fromkeys(fields)), formula=None)
        count = min(count, MOST_INTEGER)
        options = replace(options, limit=count, candidates=count)
        options = replace(options, **{"score_threshold": None, "cross_encode": False, **changes})

        def planned() -> list[Plan]:
            searches = [replace(options, filter=condition) for condition in conditions]
            return [plan for own in searches for plan in self.pipeline.plan([self.query], own)]

        if not conditions:
            return []
        plans: list[Plan] = yield Call.compute(planned)
        return (yield from run_plans(self.engine, self.name, self.pipeline, plans, options.reading))

    def _last_steps(self, points: list[Any]) -> Steps[list[Hit]]:
        """Rank documents among themselves, by all stages."""
        if not points:
            return []
        condition = _extended(self.options.filter, must=[models.HasIdCondition(has_id=points)])
        threshold = None if self.formula else self.options.score_threshold
        (hits,) = yield from self._search_steps(
            [condition], len(points), score_threshold=threshold, cross_encode=True
        )
        if self.formula is None:
            return hits
        return best(self.formula.scored(hits), replace(self.options, limit=len(hits)))


def _without(condition: models.Filter | None, found: _Found) -> models.Filter:
    """Leave out documents without the field, and those of the groups that were found."""
    path = found.path
    excluded: list[Any] = [models.IsEmptyCondition(is_empty=models.PayloadField(key=path))]
    for kind in (str, int):
        values: list[Any] = [value for value in found.hits if isinstance(value, kind)]
        if values:
            excluded.append(models.FieldCondition(key=path, match=models.MatchAny(any=values)))
    if found.others:
        excluded.append(models.HasIdCondition(has_id=found.others))
    return _extended(condition, must_not=excluded)


def _with(condition: models.Filter | None, path: str, value: Value) -> models.Filter:
    """Let the documents of one group through."""
    match = models.FieldCondition(key=path, match=models.MatchValue(value=value))
    return _extended(condition, must=[match])


def _extended(condition: models.Filter | None, **clauses: list[Any]) -> models.Filter:
    """Add conditions to a filter, which does not become deeper."""
    own = models.Filter() if condition is None else condition
    changes = {}
    for clause, added in clauses.items():
        present = getattr(own, clause)
        listed = present if isinstance(present, list) else [] if present is None else [present]
        changes[clause] = [*listed, *added]
    return own.model_copy(update=changes)


def _values(hit: Hit, path: str) -> list[Value]:
    """Values of the field that make groups: integers and texts, also those of a list."""
    values = value_by_key(hit.payload or {}, path) or []
    return list(
        dict.fromkeys(
            value for value in values if isinstance(value, (int, str)) and not isinstance(value, bool)
        )
    )


def _grouped(hits: Sequence[Hit], path: str, chosen: set[Value], size: int) -> list[HitGroup]:
    groups: dict[Value, list[Hit]] = {}
    for hit in hits:
        for value in _values(hit, path):
            if value in chosen and len(groups.setdefault(value, [])) < size:
                groups[value].append(hit)
    return [HitGroup(value, own) for value, own in groups.items()]


def checked_lookup_steps(with_lookup: Any) -> Steps[models.WithLookup | None]:
    """Check the collection in which the documents of groups are looked up."""
    lookup = with_lookup
    if isinstance(with_lookup, str) and with_lookup:
        lookup = models.WithLookup(collection=with_lookup)
    if lookup is None:
        return None
    if not isinstance(lookup, models.WithLookup):
        expected = "the name of a collection, or a qdrant_client.models.WithLookup"
        raise InvalidArgumentError("with_lookup", expected, repr(with_lookup))
    yield from existing_steps(lookup.collection)
    return lookup


def with_lookup_steps(lookup: models.WithLookup, groups: Sequence[HitGroup]) -> Steps[list[HitGroup]]:
    """Give each group the document that has its value as id."""
    records = yield from _lookup_steps(lookup, [group.id for group in groups])
    return [replace(group, lookup=records.get(group.id)) for group in groups]


def _lookup_steps(lookup: models.WithLookup, values: Sequence[Value]) -> Steps[dict[Value, Record]]:
    """Read the documents whose ids are the values of groups."""
    points: dict[int | str, Value] = {}
    for value in values:
        try:
            points[point_id(value, "id")] = value
        except InvalidArgumentError:  # a value that is no id, such as -1
            continue
    if not points:
        return {}
    selector = WITHOUT_CODES if lookup.with_payload in (None, True) else lookup.with_payload
    records = yield Call.of(
        "retrieve",
        collection_name=lookup.collection,
        ids=[*points],
        with_payload=selector,
        with_vectors=False if lookup.with_vectors is None else lookup.with_vectors,
    )
    return {
        points[record.id]: Record(
            points[record.id], split_payload(record.id, record.payload)[1], vectors_of(record)
        )
        for record in records
    }
