"""The compressed vectors beside the old ones, in the collection itself.

A point that has no compressed vector yet is found by a filter, so that how far it is needs no record.
"""

from __future__ import annotations

import logging
import time
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import asdict
from typing import Any

from qdrant_client import models
from tqdm import tqdm

from embplug.branches.complete import reduce_tokens
from embplug.branches.pipeline import Pipeline
from embplug.branches.sparse_vectors import SparseBatch
from embplug.collection.info import existing_steps
from embplug.collection.maintenance import optimize_steps
from embplug.collection.manifest import MANIFEST_KEY, Manifest
from embplug.collection.revision import new_id, read_revision_steps
from embplug.collection.state import forget, load, save
from embplug.common.telemetry import span
from embplug.engines import Engine, traits_of
from embplug.engines.aliases import alias_steps
from embplug.engines.calls import Call, retried, run
from embplug.engines.capabilities import Capabilities, capabilities_steps
from embplug.engines.check_recipe import check_recipe
from embplug.errors import (
    InvalidArgumentError,
    MigrationError,
    RecipeMismatchError,
    VerificationError,
)
from embplug.lifecycle.deleted_points import without_deleted_steps
from embplug.lifecycle.migration.alias import (
    BEGUN_PREFIX,
    begin_once,
    begun_alias,
    collection_behind,
    forget_begun,
)
from embplug.lifecycle.migration.passes import changed_since, newest
from embplug.lifecycle.migration.plan import (
    MigrationPlan,
    Options,
    check_grids,
    check_reduction,
    check_updated_at,
)
from embplug.lifecycle.migration.reader import Point, Reader
from embplug.lifecycle.migration.record import DONE, Checkpoint, MigrationRecord, read_record
from embplug.lifecycle.migration.rehearsal import rehearse
from embplug.lifecycle.migration.report import MigrationReport
from embplug.lifecycle.migration.run import LEARN_BYTES
from embplug.lifecycle.migration.sizes import point_bytes
from embplug.lifecycle.migration.source import (
    choose_vectors,
    documents,
    indexes,
    learning_sample,
    learns,
    stored_vectors,
)
from embplug.lifecycle.migration.verify import measure_recall
from embplug.recipe import Recipe
from embplug.recipe.tokens import AUTO

logger = logging.getLogger(__name__)

PAGE = 500

_STORAGE = ("quantization_config", "hnsw_config", "on_disk")


def migrate_in_place(
    engine: Engine,
    reading: Engine,
    source: str,
    target: str | None,
    recipe: Recipe,
    options: Options,
    dry_run: bool,
) -> MigrationReport:
    """Add the recipe's vectors to a collection, fill them, check them, make it one of embplug."""
    plan = _plan(engine, source, target, recipe, options)
    if dry_run:
        return rehearse(reading, plan, options)
    with span("migrate", plan.report.target, logger, stage="in place"):
        return _InPlace(engine, reading, plan, options).run()


def _plan(engine: Engine, source: str, target: str | None, recipe: Recipe, options: Options) -> MigrationPlan:
    name = collection_behind(engine, source)
    if target not in (None, source, name):
        raise InvalidArgumentError("target", "none, in place", repr(target))
    if options.alias is not None:
        raise InvalidArgumentError("alias", "none, in place nothing is switched", repr(options.alias))
    capabilities = run(engine, capabilities_steps(engine))
    capabilities.require("add_vectors", "in_place")
    if recipe.tokens is not None and recipe.tokens.codes == AUTO:
        recipe = recipe.replaced(tokens=recipe.tokens.model_copy(update={"codes": None}))
    recipe = recipe.decided(capabilities)
    check_recipe(recipe, capabilities)
    if recipe.tokens is not None and recipe.tokens.codes is not None:
        raise InvalidArgumentError("tokens.codes", "none, in place: they would change payloads", "codes")
    for vector, dense in recipe.dense.items():
        if dense.codes is not None:
            expected = "none, in place: they would change payloads"
            raise InvalidArgumentError(f"dense.{vector}.codes", expected, "codes")
    if recipe.sparse is not None:
        raise InvalidArgumentError("sparse", "none, in place: it is not made of vectors", "sparse")
    check_reduction(recipe)
    info = run(engine, existing_steps(name))
    record = read_record(name, info)
    begun = None if record is not None else begun_alias(run(engine, alias_steps()), name)
    if begun is not None:
        # The process that has begun was killed before it had written the record down, or is about to.
        record = read_record(name, info, begun)
    manifest = (info.config.metadata or {}).get(MANIFEST_KEY)
    if record is None and manifest is not None:
        raise MigrationError(f"{name!r} is a collection of embplug already: migrate it into another one")
    if record is not None and record.manifest is None:
        raise MigrationError(f"{name!r} is the target of a migration of {record.source!r}")
    whole = recipe.replaced(payload_indexes={**indexes(info), **recipe.payload_indexes})
    if record is not None and record.manifest is not None:
        stored = Manifest.from_dict(name, record.manifest).recipe
        whole = whole.replaced(payload_indexes={**stored.payload_indexes, **recipe.payload_indexes})
        whole = whole.decided_like(stored)
        differences = stored.differences(whole)
        if differences:
            raise RecipeMismatchError(name, differences)
        whole = stored
        if record.phase == DONE:
            _check_unchanged(engine, name, record.manifest)
    check_updated_at(name, info, options.updated_at)
    old = _without(info, Pipeline(whole).vectors_config() if record is not None else {})
    vectors = choose_vectors(name, old, recipe, options.vector)
    check_grids(engine, name, old, recipe)
    added = Pipeline(whole).vectors_config()
    taken = [
        added_name
        for added_name in added
        if added_name in stored_vectors(old) or added_name in (old.config.params.sparse_vectors or {})
    ]
    if taken:
        raise InvalidArgumentError("recipe.dense", f"names that {name!r} does not have yet", f"{taken[0]!r}")
    _check_storage(added, capabilities)
    report = MigrationReport(name, name, vectors, resumed=record is not None, in_place=True)
    return MigrationPlan(old, whole, record, report)


def _check_unchanged(engine: Engine, name: str, manifest: dict[str, Any]) -> None:
    """Refuse to add vectors of an earlier model to a collection that was migrated, and upgraded since."""
    before, now = Manifest.from_dict(name, manifest), run(engine, read_revision_steps(name)).manifest
    recipe = now.recipe.replaced(payload_indexes=before.recipe.payload_indexes)
    if (recipe, now.state, now.versions) != (before.recipe, before.state, before.versions):
        raise MigrationError(
            f"{name!r} has another recipe, model or state than the one by which it was migrated in place: "
            "add its documents by embplug, or migrate it into another collection"
        )


def _without(info: models.CollectionInfo, added: dict[str, Any]) -> models.CollectionInfo:
    """The collection as it was before vectors were added."""
    left = {name: params for name, params in stored_vectors(info).items() if name not in added}
    params = info.config.params.model_copy(update={"vectors": left})
    return info.model_copy(update={"config": info.config.model_copy(update={"params": params})})


def _check_storage(added: dict[str, models.VectorParams], capabilities: Capabilities) -> None:
    for name, params in added.items():
        for field in _STORAGE:
            if getattr(params, field) is not None:
                capabilities.require("added_vector_storage", f"{field} of {name!r}")


class _InPlace:
    def __init__(self, engine: Engine, reading: Engine, plan: MigrationPlan, options: Options) -> None:
        self.engine = engine
        self.reading = reading
        self.plan = plan
        self.options = options
        self.report = plan.report
        self.name = plan.report.source
        self.source = Reader(reading, self.name, list(plan.report.vectors.values()), payload=False)

    def run(self) -> MigrationReport:
        started = time.monotonic()
        pipeline, checkpoint = self._begin()
        record, field = checkpoint.record, self.options.updated_at
        logger.info("migration of %r in place", self.name)
        added = pipeline.vectors_config()
        self._add_vectors(added)
        since = newest(self.engine, self.name, field)
        # What is written meanwhile loses its compressed vectors, and is found again.
        while copied := self._fill(pipeline, self._unfilled([*added])):
            self.report.copied += copied
            self.report.passes += 1
        if field is not None and record.since is not None:
            self.report.changed = self._fill(pipeline, changed_since(field, record.since))
        checkpoint.save(since=since)
        if traits_of(self.engine).optimizes_on_call:
            run(self.engine, optimize_steps(self.engine, self.name, 0.0))
        self.report.points = self.report.target_points = self.source.count()
        self._verify(pipeline)
        if record.phase != DONE:
            self._ask("update_collection", metadata={MANIFEST_KEY: record.manifest})
            checkpoint.save(phase=DONE)
        self.report.finished = True
        self.report.seconds["in place"] = time.monotonic() - started
        logger.info("migration of %r in place has taken %.1f s", self.name, self.report.seconds["in place"])
        return self.report

    def _begin(self) -> tuple[Pipeline, Checkpoint]:
        """The fitted pipeline; learned, kept and noted down unless an earlier call has done so."""
        record, recipe = self.plan.record, self.plan.recipe
        if record is not None:
            pipeline = Pipeline(recipe)
            state = record.manifest and record.manifest["state"]
            if state:
                pipeline.set_state(run(self.engine, load(self.engine, self.name, state)))
            return pipeline, self._noted(record)
        reference = None
        sample = None
        if learns(recipe):
            points = self.source.sample(recipe.fit_sample, LEARN_BYTES)
            sample = learning_sample(points, self.report.vectors, recipe)
        pipeline = Pipeline(recipe)
        if not pipeline.fitted:
            if sample is None:
                raise MigrationError(f"{self.name!r} has no points yet from which the recipe could learn")
            pipeline.fit(reduce_tokens(sample, pipeline))
            replicas = self.plan.info.config.params.replication_factor
            state = pipeline.get_state()
            reference = run(self.engine, save(self.engine, self.name, state, replicas, owner=new_id()))
        field = self.options.updated_at
        record = MigrationRecord(
            self.name,
            self.report.vectors,
            updated_at=field,
            since=newest(self.engine, self.name, field),
            manifest=Manifest(pipeline.recipe, reference).to_dict(),
        )
        begun = BEGUN_PREFIX + new_id()
        self._ask("update_collection", metadata={begun: asdict(record)})
        if not begin_once(self.engine, self.name, begun, self._is_begun):
            self._ask("update_collection", metadata={begun: None})
            if reference is not None:
                run(self.engine, forget(self.engine, reference))
            raise MigrationError(
                f"another process has begun to migrate {self.name!r} in place just now: migrate again to go "
                "on from there, if it is by the same recipe"
            )
        return pipeline, self._noted(record)

    def _is_begun(self) -> bool:
        return read_record(self.name, run(self.engine, existing_steps(self.name))) is not None

    def _noted(self, record: MigrationRecord) -> Checkpoint:
        """Write the record down, after which nothing else has to say that the migration has begun."""
        checkpoint = Checkpoint(self.engine, self.name, record)
        checkpoint.save()
        begun = forget_begun(self.engine, self.name)
        if begun is not None:
            self._ask("update_collection", metadata={begun: None})
        return checkpoint

    def _add_vectors(self, added: dict[str, models.VectorParams]) -> None:
        there = stored_vectors(run(self.engine, existing_steps(self.name)))
        for name, params in added.items():
            if name in there:
                continue
            config = models.DenseVectorConfig(
                size=params.size,
                distance=params.distance,
                multivector_config=params.multivector_config,
                datatype=params.datatype,
            )
            named = models.DenseVectorNameConfig(dense=config)
            self._ask("create_vector_name", vector_name=name, vector_name_config=named)
            storage = {field: getattr(params, field) for field in _STORAGE}
            if any(value is not None for value in storage.values()):
                self._ask("update_collection", vectors_config={name: models.VectorParamsDiff(**storage)})

    def _unfilled(self, added: Sequence[str]) -> models.Filter:
        """Points that have what the recipe compresses, and not all that it makes of it."""
        has_source = [models.HasVectorCondition(has_vector=name) for name in self.report.vectors.values()]
        has_added = [models.HasVectorCondition(has_vector=name) for name in added]
        return models.Filter(must=has_source, must_not=[models.Filter(must=has_added)])

    def _fill(self, pipeline: Pipeline, where: models.Filter) -> int:
        """Write the compressed vectors of points; how many they were."""
        disable = None if self.options.progress is None else not self.options.progress
        total = self.source.count()
        with (
            tqdm(desc=f"compressing {self.name}", total=total, unit=" points", disable=disable) as bar,
            ThreadPoolExecutor(self.options.workers) as pool,
            closing(self.source.pages(where=where, size=PAGE)) as pages,
        ):
            written = 0
            waiting: deque[Future[int]] = deque()
            for page in pages:
                if page.points:
                    waiting.append(pool.submit(self._update, pipeline, page.points))
                while len(waiting) >= self.options.workers:
                    done = waiting.popleft().result()
                    written += done
                    bar.update(done)
            written += sum(future.result() for future in waiting)
        return written

    def _update(self, pipeline: Pipeline, points: Sequence[Point]) -> int:
        vectors = {encoded.id: encoded for encoded in self._encoded(pipeline, points)}

        def update(ids: list[Any]) -> Call:
            written = [vectors[key] for key in ids]
            return Call.of("update_vectors", collection_name=self.name, points=written, wait=True)

        return len(run(self.engine, without_deleted_steps(self.name, [*vectors], update)))

    def _encoded(self, pipeline: Pipeline, points: Sequence[Point]) -> Iterator[models.PointVectors]:
        for part in documents(points, self.report.vectors, pipeline.recipe, None):
            vectors, _ = pipeline.encode(reduce_tokens(part, pipeline))
            # Sparse vectors are refused in place.
            columns = {
                n: list(column) for n, column in vectors.items() if not isinstance(column, SparseBatch)
            }
            for row, point_id in enumerate(part.ids):
                named = {name: column[row].tolist() for name, column in columns.items()}
                yield models.PointVectors.model_construct(id=point_id, vector=named)

    def _verify(self, pipeline: Pipeline) -> None:
        report, lowest = self.report, self.options.recall
        report.recall = measure_recall(
            self.reading,
            self.name,
            report.vectors,
            self.name,
            self.engine,
            pipeline,
            self.options.queries,
        )
        whole = run(self.engine, existing_steps(self.name))
        report.point_bytes = {
            "source": point_bytes(self.reading, self.name, self.plan.info),
            "target": point_bytes(self.reading, self.name, whole),
        }
        recall = report.recall
        if recall is not None and lowest is not None and recall.value < lowest:
            raise VerificationError(
                f"recall@{recall.limit} of the vectors added to {self.name!r} is {recall.value:.3f}, "
                f"{lowest:g} was asked for: the collection opens as before",
                report,
            )

    def _ask(self, method: str, **arguments: Any) -> None:
        run(self.engine, retried(Call.of(method, collection_name=self.name, **arguments)))
