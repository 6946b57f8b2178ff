"""The passes of a migration over source and target, each of which can be broken off and goes on later."""

from __future__ import annotations

from collections import deque
from collections.abc import Generator, Iterable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import closing
from dataclasses import dataclass, field, replace
from itertools import islice
from typing import Any, TypeVar

import numpy as np
from qdrant_client import models
from tqdm import tqdm

from embplug.branches.complete import reduce_tokens
from embplug.branches.documents import CheckedDocuments
from embplug.branches.pipeline import Pipeline
from embplug.branches.points import WirePayload, text_entry
from embplug.collection.chunks import Chunk, chunks_of_parts
from embplug.collection.restore import restored_steps
from embplug.collection.revision import read_revision_steps
from embplug.collection.writing import RENEWALS, WAITING, write
from embplug.common.ids import MIGRATED
from embplug.engines import Engine, traits_of
from embplug.engines.calls import Call, Steps, computed, retried, run
from embplug.engines.filter_ids import with_ids
from embplug.errors import CollectionNotFoundError, InvalidArgumentError, MigrationError
from embplug.lifecycle.migration.reader import Page, Point, PointId, Reader, order
from embplug.lifecycle.migration.record import Checkpoint, MigrationRecord
from embplug.lifecycle.migration.source import documents

T = TypeVar("T")

MARKS_PAGE = 5000
IDS_PAGE = 10_000
DELETED_AT_ONCE = 500

WRITTEN_BY_USERS = models.IsEmptyCondition(is_empty=models.PayloadField(key=MIGRATED))
"""Points of the target without a mark."""

_NOTHING = CheckedDocuments([], [], None, {}, None, [])
"""Lets the writer tell how far it is, where a page has nothing to write."""


@dataclass
class Tally:
    """What the passes did to points."""

    copied: int = 0
    changed: int = 0
    deleted: int = 0
    passes: int = 0


@dataclass
class Passes:
    """The passes from one source into one target.

    Attributes
    ----------
    reading
        The engine for reading vectors; ``engine`` or another client of the same server.
    """

    engine: Engine
    reading: Engine
    target: str
    pipeline: Pipeline
    checkpoint: Checkpoint
    workers: int
    progress: bool | None
    tally: Tally = field(default_factory=Tally)

    def __post_init__(self) -> None:
        record = self.record
        self.source = Reader(self.reading, record.source, list(record.vectors.values()))
        self.marks = Reader(self.reading, self.target, payload=[MIGRATED])

    @property
    def record(self) -> MigrationRecord:
        """How far the migration is."""
        return self.checkpoint.record

    def copy(self) -> int:
        """Write every point of the source, from the cursor on; how many they were."""

        def parts() -> Iterator[tuple[PointId | None, CheckedDocuments]]:
            with closing(self.source.pages(self.record.start)) as pages:
                for page in pages:
                    yield from self._parts(page.start, page.points)

        with self._bar("copying", self.record.source, self.source.count()) as bar:
            copied = self._write(parts(), bar)
        self.tally.copied += copied
        self.tally.passes += 1
        return copied

    def catch_up(self, *, late: bool) -> int:
        """Write what differs from the source, delete what is not there any more.

        Before the switch the source is always right. After it, with ``late``, points without a mark
        were written by users, and stay.

        Returns
        -------
        int
            Number of points that were written or deleted.
        """
        before = self.tally.changed + self.tally.deleted
        if self.record.since is None:
            self._compare_all(late)
        else:
            self._compare_changed(late)
        self.tally.passes += 1
        return self.tally.changed + self.tally.deleted - before

    def sync(self, ids: Sequence[PointId]) -> None:
        """Bring single points up to date."""
        points = self.source.retrieve(ids)
        self.tally.changed += self._write(self._parts(None, points), saving=False)
        self._delete({*ids} - {point.id for point in points})

    def remove_marks(self) -> None:
        """Take the marks out of the payloads, from the cursor on."""
        ids = Reader(self.reading, self.target, payload=False)
        waiting: deque[tuple[Page, Future[None]]] = deque()

        def settle() -> None:
            page, removed = waiting.popleft()
            removed.result()
            bar.update(len(page.points))
            self.checkpoint.reached(page.start)

        with (
            self._bar("removing marks from", self.target, ids.count()) as bar,
            closing(ids.pages(self.record.start, size=MARKS_PAGE)) as pages,
            ThreadPoolExecutor(self.workers, thread_name_prefix="embplug-migrate") as pool,
        ):
            for page in pages:
                waiting.append((page, pool.submit(self._remove_marks, [point.id for point in page.points])))
                if len(waiting) > self.workers:
                    settle()
            while waiting:
                settle()

    def _remove_marks(self, ids: list[PointId]) -> None:
        # By a filter, because one that was deleted meanwhile is no error then. Not checked one by one.
        has_id = models.HasIdCondition.model_construct(has_id=[*ids])
        chosen = models.FilterSelector(filter=models.Filter(must=[has_id]))
        self._ask("delete_payload", keys=[MIGRATED], points=chosen, wait=True)

    def _compare_all(self, late: bool) -> None:
        """Compare every point of the source with the mark of its copy."""
        start = self.record.start

        def parts() -> Iterator[tuple[PointId | None, CheckedDocuments]]:
            with closing(self.source.pages(start)) as pages, closing(self._copies(start)) as copies:
                beside = _CopiesAlongside(copies)
                for page in pages:
                    extra, changed = [], []
                    for point in page.points:
                        extra += beside.before(point.id)
                        if _differs(point, beside.at(point.id), late):
                            changed.append(point)
                    self._delete_extra(extra, late)
                    yield from self._parts(page.start, changed)
                    yield page.start, _NOTHING
                    bar.update(len(page.points))
                while rest := beside.rest(DELETED_AT_ONCE):
                    self._delete_extra(rest, late)

        with self._bar("comparing", self.record.source, self.source.count()) as bar:
            self.tally.changed += self._write(parts(), late=late)

    def _compare_changed(self, late: bool) -> None:
        """Compare the points that changed since the last pass, and the ids where the counts differ."""
        assert self.record.updated_at is not None
        where = changed_since(self.record.updated_at, self.record.since)

        def parts() -> Iterator[tuple[PointId | None, CheckedDocuments]]:
            with closing(self.source.pages(self.record.start, where)) as pages:
                for page in pages:
                    copies = {copy.id: copy for copy in self.marks.retrieve([p.id for p in page.points])}
                    yield from self._parts(
                        page.start, [p for p in page.points if _differs(p, copies.get(p.id), late)]
                    )
                    yield page.start, _NOTHING
                    bar.update(len(page.points))

        with self._bar("comparing what changed in", self.record.source, None) as bar:
            self.tally.changed += self._write(parts(), late=late)
        if self.source.count() != self.marks.count():
            self._compare_ids(late)

    def _compare_ids(self, late: bool) -> None:
        """Delete what the source has no more, copy what it has without having told so."""
        ids = Reader(self.reading, self.record.source, payload=False)
        with closing(ids.pages(size=IDS_PAGE)) as pages, closing(self._copies(None)) as copies:
            beside = _CopiesAlongside(copies)
            for page in pages:
                extra, missing = [], []
                for point in page.points:
                    extra += beside.before(point.id)
                    if beside.at(point.id) is None:
                        missing.append(point.id)
                # After the switch, what is missing may have been deleted through the alias.
                for start in range(0, 0 if late else len(missing), DELETED_AT_ONCE):
                    self.sync(missing[start : start + DELETED_AT_ONCE])
                self._delete_extra(extra, late)
            while rest := beside.rest(DELETED_AT_ONCE):
                self._delete_extra(rest, late)

    def _copies(self, start: PointId | None) -> Generator[Point, None, None]:
        with closing(self.marks.pages(start, size=MARKS_PAGE)) as pages:
            for page in pages:
                yield from page.points

    def _parts(
        self, start: PointId | None, points: Sequence[Point]
    ) -> Iterator[tuple[PointId | None, CheckedDocuments]]:
        digests = [point.digest() for point in points]
        recipe = self.pipeline.recipe
        for part in documents(points, self.record.vectors, recipe, digests):
            yield start, reduce_tokens(part, self.pipeline)

    def _write(
        self,
        parts: Iterable[tuple[PointId | None, CheckedDocuments]],
        bar: Any = None,
        *,
        saving: bool = True,
        late: bool = False,
    ) -> int:
        arguments = WAITING
        if late:
            # Users may have written a point since its mark was read, so that the engine decides.
            arguments = {**WAITING, "update_filter": models.Filter(must_not=[WRITTEN_BY_USERS])}
        with ThreadPoolExecutor(self.workers, thread_name_prefix="embplug-migrate") as pool:

            def submit(steps: Steps[T]) -> Future[T]:
                return pool.submit(run, self.engine, steps)

            return write(
                self.engine,
                self.target,
                chunks_of_parts(parts, lambda: self.pipeline, traits_of(self.engine).point_form),
                submit,
                in_flight=self.workers,
                bar=bar,
                arguments=arguments,
                written=self.checkpoint.reached if saving else None,
                renewal=_Renewal(self),
            ).added

    def renew(self) -> None:
        """Take over the revision that the target has now.

        Raises
        ------
        MigrationError
            The target stores something else now, or a later call goes on with the migration.
        """
        self.checkpoint.check_owner()
        before = self.pipeline
        if run(self.engine, read_revision_steps(self.target)).manifest.identity == before.revision:
            return
        now = run(self.engine, restored_steps(self.engine, self.target))
        recipe = now.recipe.replaced(payload_indexes=before.recipe.payload_indexes)
        if (recipe, now.versions) != (before.recipe, before.versions) or not _same_state(before, now):
            raise MigrationError(
                f"the recipe of {self.target!r}, or what it has learned, was changed while points were "
                "copied into it: migrate into another collection"
            )
        self.pipeline = now

    def _delete_extra(self, extra: Sequence[Point], late: bool) -> None:
        self._delete({point.id for point in extra if MIGRATED in point.payload or not late}, late)

    def _delete(self, ids: Iterable[PointId], late: bool = False) -> None:
        """Delete what the source surely has not: the replica that was read may have lagged behind."""
        remaining = list(ids)
        for start in range(0, len(remaining), DELETED_AT_ONCE):
            batch = remaining[start : start + DELETED_AT_ONCE]
            there = {point.id for point in self.source.retrieve(batch, surely=True)}
            gone = [document_id for document_id in batch if document_id not in there]
            if gone:
                chosen: Any = models.PointIdsList(points=gone)
                if late:
                    copies = models.Filter(must=with_ids(gone).must, must_not=[WRITTEN_BY_USERS])
                    chosen = models.FilterSelector(filter=copies)
                self._ask("delete", points_selector=chosen, wait=True)
                self.tally.deleted += len(gone)

    def _ask(self, method: str, **arguments: Any) -> None:
        """Change the target under the name that only its revision has, as points are written."""
        for _ in range(RENEWALS):
            name = self.pipeline.alias or self.target
            try:
                run(self.engine, retried(Call.of(method, collection_name=name, **arguments)))
            except CollectionNotFoundError:
                self.renew()
            else:
                return
        raise MigrationError(f"the recipe of {self.target!r} is changed all the time")

    def _bar(self, doing: str, what: str, total: int | None) -> Any:
        disable = None if self.progress is None else not self.progress
        return tqdm(desc=f"{doing} {what}", total=total, unit=" points", disable=disable)


class _Renewal:
    """Sends points again that the target has refused, because it has another revision by now."""

    def __init__(self, passes: Passes) -> None:
        self._passes = passes

    def is_outdated_steps(self, chunk: Chunk, error: Exception | None) -> Steps[bool]:
        """Return whether the target has refused a chunk because its alias is gone."""
        return computed(lambda: isinstance(error, CollectionNotFoundError))

    def renewed(self, chunk: Chunk) -> Iterator[Chunk]:
        """Address the points of a chunk to the revision that the target has now."""
        if chunk.pipeline is self._passes.pipeline:
            self._passes.renew()
        yield replace(chunk, pipeline=self._passes.pipeline, renewed=chunk.renewed + 1)


def _same_state(first: Pipeline, second: Pipeline) -> bool:
    states = first.get_state(), second.get_state()
    return states[0].keys() == states[1].keys() and all(
        np.array_equal(array, states[1][key]) for key, array in states[0].items()
    )


class _CopiesAlongside:
    """The copies in the target, walked beside the points of the source."""

    def __init__(self, copies: Iterator[Point]) -> None:
        self._copies = copies
        self._next = next(copies, None)

    def before(self, point_id: PointId) -> list[Point]:
        """Copies of what comes before a point of the source, and is not there."""
        copies = []
        while self._next is not None and order(self._next.id) < order(point_id):
            copies.append(self._next)
            self._next = next(self._copies, None)
        return copies

    def at(self, point_id: PointId) -> Point | None:
        """The copy of a point."""
        copy = self._next
        if copy is None or copy.id != point_id:
            return None
        self._next = next(self._copies, None)
        return copy

    def rest(self, most: int) -> list[Point]:
        """Copies of what comes after all points of the source."""
        copies = [self._next, *islice(self._copies, most - 1)] if self._next is not None else []
        self._next = next(self._copies, None)
        return copies


def newest(engine: Engine, name: str, field: str | None) -> Any:
    """Highest value of the field with the time of the last change; ``None`` where there is none."""
    if field is None:
        return None
    order_by = models.OrderBy(key=field, direction=models.Direction.DESC)
    call = Call.of("scroll", collection_name=name, limit=1, order_by=order_by)
    records, _ = run(engine, retried(call))
    if not records:
        return None
    value: Any = records[0].payload
    for part in field.split("."):
        value = value.get(part) if isinstance(value, dict) else None
    if not isinstance(value, (int, float, str)):
        raise InvalidArgumentError("updated_at", "a field with one number or date", repr(value))
    return value


def changed_since(field: str, since: Any) -> models.Filter:
    """Points whose last change is not before ``since``."""
    bound = models.DatetimeRange(gte=since) if isinstance(since, str) else models.Range(gte=since)
    return models.Filter(must=[models.FieldCondition(key=field, range=bound)])


def _differs(point: Point, copy: Point | None, late: bool) -> bool:
    if copy is None:
        return True
    digest, payload = point.digest(), copy.payload
    if isinstance(payload, WirePayload) and payload.entries == text_entry(MIGRATED, digest):
        return False
    mark = payload.get(MIGRATED)
    return not (late and mark is None) and mark != digest
