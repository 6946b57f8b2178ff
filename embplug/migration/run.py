"""A migration from its first look at the source to the switch of the alias."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import asdict, dataclass, field
from typing import NoReturn

from qdrant_client import models

from embplug.calls import Call, retried, run
from embplug.documents import CheckedSample
from embplug.engines import EdgeClient, Engine, connect
from embplug.engines.capabilities import capabilities_steps, check_recipe
from embplug.engines.connect import for_reading
from embplug.errors import InvalidArgumentError, MigrationError, RecipeMismatchError, VerificationError
from embplug.ingest import IN_FLIGHT
from embplug.migration.alias import aliases, check_alias, switch
from embplug.migration.passes import Passes
from embplug.migration.reader import Reader
from embplug.migration.record import (
    CATCH_UP,
    CLEAN,
    COPY,
    DONE,
    LATE,
    RECORD_KEY,
    Checkpoint,
    Record,
    read_record,
)
from embplug.migration.report import MigrationReport
from embplug.migration.sizes import vector_bytes
from embplug.migration.source import (
    choose_vectors,
    completed,
    completed_from,
    learning_sample,
    not_kept,
    stored_vectors,
)
from embplug.migration.verify import check_payloads, measure_recall
from embplug.operations import create_steps, existing_steps, learn_steps, open_steps, optimize_steps
from embplug.pipeline import Pipeline, Query
from embplug.recipe import Recipe

LEARN_BYTES = 256 << 20
"""Most bytes of vectors from which a recipe learns, whatever its ``fit_sample``."""

MOST_PASSES = 8
COUNT_ATTEMPTS = 3
POLL_S = 0.5
STABLE_POLLS = 4
STALLED_S = 600.0
"""Without any progress, no longer is waited for indexes."""


@dataclass(frozen=True)
class Options:
    """What a migration was asked for; see :func:`migrate`."""

    alias: str | None = None
    recall: float | None = None
    queries: Sequence[Query] | None = None
    vector: str | Mapping[str, str] | None = None
    updated_at: str | None = None
    finish: bool = False
    workers: int = IN_FLIGHT
    progress: bool | None = None


def migrate(
    source: str,
    target: str,
    recipe: Recipe,
    engine: Engine | str | os.PathLike[str],
    *,
    alias: str | None = None,
    recall: float | None = None,
    queries: Sequence[Query] | None = None,
    vector: str | Mapping[str, str] | None = None,
    updated_at: str | None = None,
    finish: bool = False,
    workers: int = IN_FLIGHT,
    progress: bool | None = None,
) -> MigrationReport:
    """Copy any Qdrant collection into a compressed one, while it is in use.

    Ids, payloads and payload indexes are kept. How far it is stands in the metadata of the target: a
    call that was broken off, however hard, goes on when it is made again. When all is copied, what was
    written to the source meanwhile is looked for; counts, payloads and recall are checked; then the
    alias is switched in one atomic call, what was written until then is looked for once more, and the
    marks by which changes are found are removed from the payloads. Without an alias the target stays
    open: every later call catches up with the source.

    Parameters
    ----------
    source
        A collection or an alias. It is only read.
    target
        A name that is not taken, or the target of the same migration.
    recipe
        What the target stores. Shards, replicas and ``on_disk_payload`` that it leaves open are as in
        the source. Methods that learn do so from a sample of the source.
    engine
        A client, or what :func:`embplug.connect` takes.
    alias
        Switched to the target at the end; a new one, or one of the source.
    recall
        Switch nothing, and raise, where fewer of the source's ten best hits are found.
    queries
        For measuring recall. Default: points of the source.
    vector
        Name of the source's vector, or such names by those of the recipe. Default: the only one that
        fits, or the one of the same name.
    updated_at
        Payload field with the time of a point's last change, a number or a date, with an index. It
        makes catching up cheap: only what changed is read.
    finish
        Without an alias: the target is as it should be, remove the marks.
    workers
        Requests under way at a time.
    progress
        Show progress bars. Default: on a terminal.

    Raises
    ------
    InvalidArgumentError
        Naming the argument; nothing was written.
    CollectionNotFoundError
        There is no such source.
    RecipeMismatchError
        The target was begun with another recipe.
    VerificationError
        Counts, payloads or recall are not what they should be; ``error.report`` has the figures. The
        alias stays.
    MigrationError
        The target exists and belongs to something else.
    CapabilityError
        The engine cannot do what the recipe says.
    """
    options = Options(alias, recall, queries, vector, updated_at, finish, workers, progress)
    client = connect(engine)
    with reading_client(client) as reading:
        return Migration(client, reading, source, target, recipe, options).run()


def rollback(source: str, target: str, alias: str, engine: Engine | str | os.PathLike[str]) -> bool:
    """Point an alias back from the target of a migration to its source, in one atomic call.

    What was written through the alias since the switch stays in the target alone. Migrating again
    brings the target up to date with the source, whatever was written to it.

    Returns
    -------
    bool
        Whether it was to do.

    Raises
    ------
    CollectionNotFoundError, InvalidArgumentError
        There is no such collection; or the alias points elsewhere.
    """
    client = connect(engine)
    name = _collection(client, source)
    info = run(client, existing_steps(target))
    record = read_record(target, info)
    if record is not None and name == target:
        name = record.source
    run(client, existing_steps(name))
    check_alias(client, alias, name, target)
    switched = switch(client, alias, name)
    if record is not None and switched:
        Checkpoint(client, target, record).save(phase=CATCH_UP, cursor=None, since=None, until=None)
    return switched


@contextmanager
def reading_client(engine: Engine) -> Iterator[Engine]:
    """A client that reads vectors fast, closed at the end where it is another one."""
    reading = for_reading(engine)
    try:
        yield reading
    finally:
        if reading is not engine:
            reading.close()


@dataclass
class Migration:
    """One call of :func:`migrate`."""

    engine: Engine
    reading: Engine
    source: str
    target: str
    recipe: Recipe
    options: Options
    report: MigrationReport = field(init=False)

    def run(self) -> MigrationReport:
        """Go on from wherever the migration is."""
        passes = self.open()
        record, checkpoint = passes.record, passes.checkpoint
        self._settle_phase(passes)
        if record.phase == COPY:
            self._pass("copy", passes, passes.copy, then=CATCH_UP)
        if record.phase == CATCH_UP:
            self.catch_up_and_verify(passes)
            if self.options.alias is not None:
                self.report.switched = switch(self.engine, self.options.alias, self.target)
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
        """Look at the source, make or open the target."""
        alias = self.options.alias
        source = _collection(self.engine, self.source)
        exists = run(self.engine, retried(Call.of("collection_exists", collection_name=self.target)))
        stored = run(self.engine, existing_steps(self.target)) if exists else None
        record = None if stored is None else read_record(self.target, stored)
        if exists and (record is None or _collection(self.engine, self.target) != self.target):
            raise MigrationError(
                f"{self.target!r} exists and is not the target of a migration: choose another name"
            )
        if record is not None and source == self.target:
            # The alias by which the source was called is switched already.
            source = record.source
        if source == self.target:
            raise InvalidArgumentError("target", "another collection than source", repr(self.target))
        info = run(self.engine, existing_steps(source))
        if alias is not None:
            check_alias(self.engine, alias, source, self.target)
        self._check_updated_at(source, info)
        vectors = choose_vectors(source, info, self.recipe, self.options.vector)
        self.report = MigrationReport(
            source, self.target, vectors, alias=alias, resumed=exists, notes=not_kept(info, vectors)
        )
        if record is None:
            record = Record(source, vectors, updated_at=self.options.updated_at)
            pipeline = self._create(info, record)
        else:
            self._check_record(record, source, vectors)
            pipeline = self._reopen()
        checkpoint = Checkpoint(self.engine, self.target, record)
        passes = Passes(
            self.engine,
            self.reading,
            self.target,
            pipeline,
            checkpoint,
            self.options.workers,
            self.options.progress,
        )
        if pipeline.needs_fit:
            # An earlier call was killed before it could keep what it had learned.
            run(self.engine, learn_steps(self.engine, self.target, pipeline, self._sample(record)))
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
            self.report.recall = measure_recall(
                self.reading,
                passes.record.source,
                passes.record.vectors,
                self.target,
                self.engine,
                passes.pipeline,
                self.options.queries,
            )
        found, asked = self.report.recall, self.options.recall
        if found is not None and asked is not None and found.value < asked:
            self._refuse(passes, f"recall@{found.limit} is {found.value:.3f}, {asked:g} was asked for")

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
            started = time.monotonic()
            changed = self._pass("catching up", passes, lambda: passes.catch_up(late=False), then=CATCH_UP)
            took = time.monotonic() - started
            if changed == 0 or took > before / 2:
                break
            before = took
        return changed

    def _pass(self, stage: str, passes: Passes, run_pass: Callable[[], int], *, then: str) -> int:
        """Run a pass, and note the next phase and from when on it has to look for changes."""
        record, checkpoint = passes.record, passes.checkpoint
        with self._timed(stage):
            if record.cursor is None:
                checkpoint.save(until=passes.newest())
            done = run_pass()
            checkpoint.save(phase=then, cursor=None, since=record.until)
        return done

    def _create(self, info: models.CollectionInfo, record: Record) -> Pipeline:
        capabilities = run(self.engine, capabilities_steps(self.engine))
        pipeline = Pipeline(completed(self.recipe, info, capabilities.sharding))
        check_recipe(pipeline.recipe, capabilities)
        sample = self._sample(record) if pipeline.needs_fit else None
        metadata = {RECORD_KEY: asdict(record)}
        return run(self.engine, create_steps(self.engine, self.target, pipeline, sample, metadata))

    def _reopen(self) -> Pipeline:
        opened = run(self.engine, open_steps(self.engine, self.target))
        stored = opened.recipe
        differences = stored.differences(completed_from(self.recipe, stored))
        if differences:
            raise RecipeMismatchError(self.target, differences)
        # Makes the payload indexes that a kill may have left out.
        return run(self.engine, create_steps(self.engine, self.target, opened, None))

    def _sample(self, record: Record) -> CheckedSample | None:
        reader = Reader(self.reading, record.source, list(record.vectors.values()), payload=False)
        points = reader.sample(self.recipe.fit_sample, LEARN_BYTES)
        return learning_sample(points, record.vectors) if points else None

    def _check_record(self, record: Record, source: str, vectors: Mapping[str, str]) -> None:
        if record.source != source:
            raise MigrationError(f"{self.target!r} is the target of a migration of {record.source!r}")
        if record.vectors != vectors:
            raise InvalidArgumentError("vector", f"{record.vectors}, as the migration was begun", vectors)
        if record.updated_at != self.options.updated_at:
            record.updated_at = self.options.updated_at
            record.since = record.until = None

    def _check_updated_at(self, source: str, info: models.CollectionInfo) -> None:
        key = self.options.updated_at
        if key is None:
            return
        index = info.payload_schema.get(key)
        if index is None or index.data_type not in _ORDERED:
            got = "none" if index is None else index.data_type.value
            raise InvalidArgumentError(
                "updated_at",
                f"a payload field of {source!r} with an index of {_ORDERED_NAMES}",
                f"{key!r}: {got}",
            )

    def _wait_for_indexes(self) -> None:
        if isinstance(self.engine, EdgeClient):
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
            report.vector_bytes[side] = vector_bytes(self.reading, name, info)

    @contextmanager
    def _timed(self, stage: str) -> Iterator[None]:
        started = time.monotonic()
        try:
            yield
        finally:
            self.report.seconds[stage] = self.report.seconds.get(stage, 0.0) + time.monotonic() - started


_ORDERED = (
    models.PayloadSchemaType.INTEGER,
    models.PayloadSchemaType.FLOAT,
    models.PayloadSchemaType.DATETIME,
)
_ORDERED_NAMES = "integers, floats or datetimes"


def _collection(engine: Engine, name: str) -> str:
    """The collection behind a name that may be an alias."""
    return aliases(engine).get(name, name)


def _has_to_index(info: models.CollectionInfo) -> bool:
    """Whether there is enough in a collection for an index to be built."""
    threshold = info.config.optimizer_config.indexing_threshold
    largest = max((params.size for params in stored_vectors(info).values()), default=0)
    return threshold != 0 and (info.points_count or 0) * largest * 4 / 1024 >= (threshold or 0) / 8
