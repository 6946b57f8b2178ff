"""What a migration was asked for, checked against what is there, before anything is written."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from qdrant_client import models

from embplug.branches.pipeline import Pipeline
from embplug.branches.prepare import naming_query
from embplug.collection.info import existing_steps
from embplug.collection.manifest import MANIFEST_KEY
from embplug.collection.revision import read_revision_steps
from embplug.collection.writing import IN_FLIGHT
from embplug.common.checks import checked_integer, is_number
from embplug.common.ids import GRID
from embplug.common.validation import short_repr
from embplug.engines import Engine
from embplug.engines.calls import Call, retried, run
from embplug.engines.capabilities import capabilities_steps
from embplug.engines.check_recipe import check_recipe
from embplug.errors import (
    InvalidArgumentError,
    MigrationError,
    NotAnEmbplugCollectionError,
    RecipeMismatchError,
)
from embplug.lifecycle.migration.alias import aliases, check_alias, collection_behind
from embplug.lifecycle.migration.readers import keeping_names, reader_notes
from embplug.lifecycle.migration.record import MigrationRecord, read_record
from embplug.lifecycle.migration.report import MigrationReport
from embplug.lifecycle.migration.source import choose_vectors, completed, completed_from, not_kept
from embplug.recipe import Recipe
from embplug.search.option_checks import check_queries
from embplug.search.types import Query

_ORDERED = (
    models.PayloadSchemaType.INTEGER,
    models.PayloadSchemaType.FLOAT,
    models.PayloadSchemaType.DATETIME,
)


@dataclass(frozen=True)
class Options:
    """Options of :func:`embplug.migrate`, which explains them."""

    alias: str | None = None
    recall: float | None = None
    queries: Sequence[Query] | None = None
    vector: str | Mapping[str, str] | None = None
    updated_at: str | None = None
    finish: bool = False
    keep_names: bool = False
    workers: int = IN_FLIGHT
    progress: bool | None = None


@dataclass
class MigrationPlan:
    """A migration that can be run.

    Attributes
    ----------
    info : models.CollectionInfo
        Configuration of the source.
    recipe : Recipe
        Recipe of the target, complete.
    record : MigrationRecord or None
        Record of the migration that goes on; None begins a migration.
    report : MigrationReport
        Report of this call.
    """

    info: models.CollectionInfo
    recipe: Recipe
    record: MigrationRecord | None
    report: MigrationReport


def plan_migration(
    engine: Engine, source: str, target: str, recipe: Recipe, options: Options
) -> MigrationPlan:
    """Look at source and target; raises what :func:`embplug.migrate` does, and writes nothing."""
    capabilities = run(engine, capabilities_steps(engine))
    check_recipe(recipe, capabilities)
    name, stored, record = _target(engine, source, target)
    info = run(engine, existing_steps(name))
    if options.alias is not None:
        check_alias(engine, options.alias, name, target)
    checked_integer(options.workers, "workers", 1)
    check_updated_at(name, info, options.updated_at)
    check_reduction(recipe)
    vectors = choose_vectors(name, info, recipe, options.vector)
    check_grids(engine, name, info, recipe)
    if options.keep_names:
        recipe = keeping_names(recipe, vectors)
        vectors = {stored: stored for stored in vectors.values()}
    check_not_upgraded(engine, name, vectors.values())
    read_by = [alias for alias, behind in sorted(aliases(engine).items()) if behind == name]
    report = MigrationReport(
        name,
        target,
        vectors,
        alias=options.alias,
        resumed=record is not None,
        readers=reader_notes(recipe, vectors, read_by, options.alias),
        notes=not_kept(info, vectors),
    )
    if record is None or stored is None:
        whole = completed(recipe, info, capabilities.sharding, vectors)
    else:
        whole = _same_recipe(engine, target, recipe)
        if record.vectors != vectors:
            raise InvalidArgumentError("vector", f"{record.vectors}, as the migration was begun", vectors)
        if record.updated_at != options.updated_at:
            record.updated_at = options.updated_at
            record.since = record.until = None
    return MigrationPlan(info, whole, record, report)


def _target(
    engine: Engine, source: str, target: str
) -> tuple[str, models.CollectionInfo | None, MigrationRecord | None]:
    """The collection to read, and what there is of the target."""
    name = collection_behind(engine, source)
    stored = record = None
    if run(engine, retried(Call.of("collection_exists", collection_name=target))):
        stored = run(engine, existing_steps(target))
        record = read_record(target, stored)
        if record is None or collection_behind(engine, target) != target:
            raise MigrationError(
                f"{target!r} exists and is not the target of a migration: choose another name"
            )
        # The alias by which the source was called may be switched already.
        name = record.source if name == target else name
        if record.source != name:
            raise MigrationError(f"{target!r} is the target of a migration of {record.source!r}")
    if name == target:
        raise InvalidArgumentError("target", "another collection than source", repr(target))
    return name, stored, record


def _same_recipe(engine: Engine, target: str, recipe: Recipe) -> Recipe:
    """The stored recipe, if the given one says the same."""
    stored = run(engine, read_revision_steps(target)).manifest.recipe
    complete = completed_from(recipe, stored).decided_like(stored)
    differences = stored.differences(complete)
    if differences:
        raise RecipeMismatchError(target, differences)
    return stored


def check_not_upgraded(engine: Engine, source: str, copied: Iterable[str]) -> None:
    """Refuse to copy vectors of a source some of which are still those of an earlier model."""
    try:
        versions = run(engine, read_revision_steps(source)).manifest.versions
    except NotAnEmbplugCollectionError:
        return
    names = {*copied}
    for vector, version in versions.items():
        previous = version.previous
        if previous is not None and not names.isdisjoint({version.stored_as or vector, previous.stored_as}):
            raise MigrationError(
                f"{source!r} is being upgraded, and some documents have {vector!r} of the earlier model: "
                "run reembed until it has reached all documents, and migrate again"
            )


def check_reduction(recipe: Recipe) -> None:
    """Refuse to prune tokens by what stored points do not tell."""
    if recipe.tokens is not None and recipe.tokens.reads_saliency:
        field = "tokens.reduction" if recipe.tokens.prunes else "tokens.query_reduction"
        raise InvalidArgumentError(field, "one without saliency, which stored tokens do not have", "saliency")


def check_grids(engine: Engine, name: str, info: models.CollectionInfo, recipe: Recipe) -> None:
    """Refuse to pool patches by their places where the stored points do not tell them."""
    if recipe.tokens is None or not recipe.tokens.needs_grids:
        return
    got = None
    if MANIFEST_KEY in (info.config.metadata or {}):
        stored = run(engine, read_revision_steps(name)).manifest.recipe.tokens
        if stored is not None and stored.reductions:
            got = f"those of {name!r}, which were pooled or pruned before they were stored"
    if got is None:
        on_a_grid = models.Filter(must_not=[models.IsEmptyCondition(is_empty=models.PayloadField(key=GRID))])
        counts = [
            run(engine, retried(Call.of("count", collection_name=name, count_filter=where, exact=True))).count
            for where in (on_a_grid, None)
        ]
        if counts[0] or not counts[1]:
            return
        got = f"those of {name!r}, which lie on no grids"
    raise InvalidArgumentError("tokens.reduction", "patches with grids, by which it pools", got)


def check_recall(recall: float | None, queries: Sequence[Query] | None, recipe: Recipe) -> None:
    """Refuse a recall that cannot be, or queries with which it cannot be measured, before all is copied.

    Texts are only encoded when it is measured.
    """
    if recall is not None and not (is_number(recall) and 0 <= recall <= 1):
        raise InvalidArgumentError("recall", "a number from 0 to 1", short_repr(recall))
    if queries is None:
        return
    check_queries(queries)
    if not queries:
        raise InvalidArgumentError("queries", "at least one", "none")
    pipeline = Pipeline(recipe)
    for i, query in enumerate(queries):
        if query.token_weights is not None:
            expected = "none, because the source is asked without"
            raise InvalidArgumentError(f"queries[{i}].token_weights", expected, "weights")
        if query.text is None:
            with naming_query(i):
                pipeline.with_query_vectors([query])


def check_updated_at(source: str, info: models.CollectionInfo, field: str | None) -> None:
    """Refuse a field by which what changed cannot be found quickly."""
    if field is None:
        return
    index = info.payload_schema.get(field)
    if index is None or index.data_type not in _ORDERED:
        kind = "no index" if index is None else f"an index of {index.data_type.value}"
        raise InvalidArgumentError(
            "updated_at",
            f"a payload field of {source!r} with an index of integers, floats or datetimes",
            f"{field!r} with {kind}",
        )
