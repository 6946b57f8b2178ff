"""A migration from its first look at the source to the switch of the alias."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import NoReturn

from qdrant_client import models

from embplug.branches.complete import reduce_tokens
from embplug.branches.documents import CheckedSample
from embplug.branches.pipeline import Pipeline
from embplug.collection.fitting import learn_steps
from embplug.collection.info import existing_steps
from embplug.collection.maintenance import optimize_steps
from embplug.collection.opening import create_steps
from embplug.collection.revision import new_id, renew_steps
from embplug.common.telemetry import span
from embplug.engines import Engine, traits_of
from embplug.engines.calls import run
from embplug.errors import CollectionExistsError, MigrationError, VerificationError
from embplug.lifecycle.migration.alias import aliases, switch
from embplug.lifecycle.migration.passes import Passes, newest
from embplug.lifecycle.migration.plan import MigrationPlan, Options, check_not_upgraded
from embplug.lifecycle.migration.reader import Reader
from embplug.lifecycle.migration.readers import search_times
from embplug.lifecycle.migration.record import (
    CATCH_UP,
    CLEAN,
    COPY,
    DONE,
    LATE,
    RECORD_KEY,
    Checkpoint,
    MigrationRecord,
)
from embplug.lifecycle.migration.report import MigrationReport
from embplug.lifecycle.migration.sizes import point_bytes
from embplug.lifecycle.migration.source import learning_sample, learns, payload_needed, stored_vectors
from embplug.lifecycle.migration.verify import check_payloads, measure_recall
from embplug.recipe.names import SPARSE_VECTOR

logger = logging.getLogger(__name__)

LEARN_BYTES = 256 << 20
"""Most bytes of vectors from which a recipe learns, whatever its ``fit_sample``."""

MOST_PASSES = 8
COUNT_ATTEMPTS = 3
POLL_S = 0.5
STABLE_POLLS = 4
STALLED_S = 600.0
"""Without any progress, no longer is waited for indexes."""


class Migration:
    """One call of :func:`embplug.migrate`, from source to target."""

    def __init__(self, engine: Engine, reading: Engine, plan: MigrationPlan, options: Options) -> None:
        self.engine = engine
        self.reading = reading
        self.plan = plan
        self.options = options
        self.report = plan.report
        self.target = plan.report.target

    def run(self) -> MigrationReport:
        """Go on from wherever the migration is."""
        passes = self.open()
        record, checkpoint = passes.record, passes.checkpoint
        self._settle_phase(passes)
        if record.phase == COPY:
            self._pass("copy", passes, passes.copy, then=CATCH_UP)
        if record.phase == CATCH_UP:
            self.catch_up_and_verify(passes)
            check_not_upgraded(self.engine, self.plan.report.source, record.vectors.values())
            if self.options.alias is not None:
                checkpoint.check_owner()
                self.report.switched = switch(
                    self.engine, self.options.alias, self.plan.report.source, self.target
                )
                checkpoint.save(phase=LATE)
            elif self.options.finish:
                checkpoint.save(phase=CLEAN)
        if record.phase == LATE:
            self._pass("late pass", passes, lambda: passes.catch_up(late=True), then=CLEAN)
        if record.phase == CLEAN:
            with self._timed("removing marks"):
                passes.remove_marks()
            checkpoint.save(phase=DONE, cursor=None)
        self._describe(passes)
        return self.report

    def open(self) -> Passes:
        """Make or open the target."""
        plan, record = self.plan, self.plan.record
        if record is None:
            record = MigrationRecord(
                plan.report.source, plan.report.vectors, updated_at=self.options.updated_at, owner=new_id()
            )
            checkpoint = Checkpoint(self.engine, self.target, record)
            pipeline = self._create(record)
        else:
            checkpoint = Checkpoint(self.engine, self.target, record)
            checkpoint.claim()
            # The engine refuses what an earlier call still writes for the revision before.
            run(self.engine, renew_steps(self.target))
            # Makes the payload indexes that a kill may have left out, too.
            pipeline = run(self.engine, create_steps(self.engine, self.target, plan.recipe))
        passes = Passes(
            self.engine,
            self.reading,
            self.target,
            pipeline,
            checkpoint,
            self.options.workers,
            self.options.progress,
        )
        if not pipeline.fitted:
            # An earlier call was killed before it could keep what it had learned.
            sample = self._sample(record)
            learned_from = None if sample is None else reduce_tokens(sample, pipeline)
            learned = learn_steps(self.engine, self.target, pipeline, learned_from)
            passes.pipeline = run(self.engine, learned)
        return passes

    def catch_up_and_verify(self, passes: Passes) -> None:
        """Compare until the source hardly changes any more, then check the copy.

        Raises
        ------
        VerificationError
            It is not what it should be.
        """
        changed = self._catch_up(passes)
        with self._timed("indexing"):
            self._wait_for_indexes()
        with self._timed("verifying"):
            for _ in range(COUNT_ATTEMPTS):
                difference = abs(passes.source.count() - passes.marks.count())
                # A source that is written to is ahead by about what the last pass found.
                if difference <= changed:
                    break
                changed = self._catch_up(passes)
            else:
                self._refuse(
                    passes,
                    f"the source has {passes.source.count()} points, the target {passes.marks.count()}",
                )
            self.report.checked_payloads, differing = check_payloads(passes)
            if differing:
                self._refuse(passes, f"payloads differ, of {differing[0]!r} for example")
            passes.renew()
            self.report.recall = measure_recall(
                self.reading,
                passes.record.source,
                passes.record.vectors,
                self.target,
                self.engine,
                passes.pipeline,
                self.options.queries,
            )
            self.report.search_ms = search_times(
                self.reading,
                passes.record.source,
                passes.record.vectors,
                self.target,
                self.engine,
                passes.pipeline,
            )
        recall, lowest = self.report.recall, self.options.recall
        if recall is not None and lowest is not None and recall.value < lowest:
            self._refuse(passes, f"recall@{recall.limit} is {recall.value:.3f}, {lowest:g} was asked for")

    def _settle_phase(self, passes: Passes) -> None:
        """Correct the recorded phase by what the aliases say: a kill may have come between the two."""
        record = passes.record
        now = aliases(self.engine)
        serving = [alias for alias, name in now.items() if name == self.target]
        alias = self.options.alias
        phase = record.phase
        if serving and phase == COPY:
            raise MigrationError(
                f"the alias {serving[0]!r} points at {self.target!r}, which is not wholly copied yet: "
                "point it back first"
            )
        if serving and phase == CATCH_UP:
            phase = LATE
        if alias is not None and now.get(alias) != self.target and phase in (LATE, CLEAN, DONE):
            phase = CATCH_UP
        if phase != record.phase:
            since = None if phase == CATCH_UP else record.since
            passes.checkpoint.save(phase=phase, cursor=None, since=since)

    def _catch_up(self, passes: Passes) -> int:
        """Passes as long as each takes less than half of the time of the one before."""
        before = self.report.seconds.get("copy", 0.0)
        for _ in range(MOST_PASSES):
            # A pass that goes on from where a kill has broken it off does not see what changed before there.
            is_whole = passes.record.cursor is None
            started = time.monotonic()
            changed = self._pass("catching up", passes, lambda: passes.catch_up(late=False), then=CATCH_UP)
            took = time.monotonic() - started
            if is_whole and (changed == 0 or took > before / 2):
                break
            before = took if is_whole else 0.0
        return changed

    def _pass(self, stage: str, passes: Passes, run_pass: Callable[[], int], *, then: str) -> int:
        """Run a pass, and note the next phase and from when on it has to look for changes."""
        record, checkpoint = passes.record, passes.checkpoint
        with self._timed(stage):
            if record.cursor is None:
                checkpoint.save(until=newest(self.engine, record.source, record.updated_at))
            done = run_pass()
            checkpoint.save(phase=then, cursor=None, since=record.until)
        return done

    def _create(self, record: MigrationRecord) -> Pipeline:
        recipe = self.plan.recipe
        sample = self._sample(record) if learns(recipe) else None
        metadata = {RECORD_KEY: asdict(record)}
        steps = create_steps(
            self.engine, self.target, recipe, sample=sample, metadata=metadata, must_be_new=True
        )
        try:
            return run(self.engine, steps)
        except CollectionExistsError as error:
            raise MigrationError(
                f"another process has created {self.target!r} since this migration began: migrate again to "
                "go on from there, if it is of the same migration"
            ) from error

    def _sample(self, record: MigrationRecord) -> CheckedSample | None:
        recipe = self.plan.recipe
        # Weights teach nothing, and points without them teach as much as others.
        vectors = [source for own, source in record.vectors.items() if own != SPARSE_VECTOR]
        reader = Reader(self.reading, record.source, vectors, payload=payload_needed(recipe))
        return learning_sample(reader.sample(recipe.fit_sample, LEARN_BYTES), record.vectors, recipe)

    def _wait_for_indexes(self) -> None:
        if traits_of(self.engine).optimizes_on_call:
            run(self.engine, optimize_steps(self.engine, self.target, 0.0))
            return
        seen: list[tuple[str, int]] = []
        moved = time.monotonic()
        while True:
            info = run(self.engine, existing_steps(self.target))
            if not _has_to_index(info):
                return
            seen.append((info.status.value, info.indexed_vectors_count or 0))
            if len(seen) > 1 and seen[-1] != seen[-2]:
                moved = time.monotonic()
            # Green for a moment means that indexing has not begun yet.
            if len(seen) >= STABLE_POLLS and set(seen[-STABLE_POLLS:]) == {("green", seen[-1][1])}:
                return
            if time.monotonic() - moved > STALLED_S:
                self.report.notes.append(f"the indexes of {self.target!r} are not built yet")
                return
            time.sleep(POLL_S)

    def _refuse(self, passes: Passes, what: str) -> NoReturn:
        self._describe(passes)
        left = "" if self.options.alias is None else f"; the alias {self.options.alias!r} was not switched"
        raise VerificationError(
            f"the copy of {passes.record.source!r} in {self.target!r}: {what}{left}", self.report
        )

    def _describe(self, passes: Passes) -> None:
        report, tally = self.report, passes.tally
        report.copied, report.changed = tally.copied, tally.changed
        report.deleted, report.passes = tally.deleted, tally.passes
        report.points, report.target_points = passes.source.count(), passes.marks.count()
        report.finished = passes.record.phase == DONE
        for side, name in (("source", report.source), ("target", report.target)):
            info = run(self.engine, existing_steps(name))
            report.point_bytes[side] = point_bytes(self.reading, name, info)

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        started = time.monotonic()
        logger.info("migration of %r to %r: %s", self.report.source, self.target, stage)
        try:
            with span("migrate", self.target, stage=stage):
                yield
        finally:
            seconds = time.monotonic() - started
            self.report.seconds[stage] = self.report.seconds.get(stage, 0.0) + seconds
            logger.info(
                "migration of %r to %r: %s has taken %.1f s", self.report.source, self.target, stage, seconds
            )


def _has_to_index(info: models.CollectionInfo) -> bool:
    """Whether there is enough in a collection for an index to be built."""
    threshold = info.config.optimizer_config.indexing_threshold
    largest = max((params.size for params in stored_vectors(info).values()), default=0)
    return threshold != 0 and (info.points_count or 0) * largest * 4 / 1024 >= (threshold or 0) / 8
