"""How far a migration is, kept in the metadata of its target."""

from __future__ import annotations

import time
from dataclasses import asdict, dataclass, field
from typing import Any

from qdrant_client import models

from embplug.collection.info import existing_steps
from embplug.collection.revision import new_id
from embplug.engines import Engine
from embplug.engines.calls import Call, retried, run
from embplug.errors import MigrationError, StateError
from embplug.lifecycle.migration.reader import PointId

RECORD_KEY = "embplug_migration"
RECORD_VERSION = 1

COPY = "copy"
CATCH_UP = "catch up"
LATE = "late"
CLEAN = "clean"
DONE = "done"

SHORTEST_INTERVAL_S = 0.25
SHARE_OF_TIME = 0.05
"""At most this part of the time goes into writing down how far it is."""


@dataclass
class MigrationRecord:
    """How far a migration is.

    Attributes
    ----------
    source : str
        Name of the source; the collection behind it where an alias was passed.
    vectors : dict of str to str
        Name of each vector in the recipe, and its name in the source.
    phase : str
        ``copy`` in the first pass; ``catch up`` while changes of the source are looked for; ``late`` when
        the alias is switched, and what was written to the source until then is looked for; ``clean`` while
        marks are removed from the payloads; then ``done``.
    cursor : str or None
        Id at which an interrupted pass goes on, as text.
    updated_at : str or None
        Payload field with the time of the last change.
    since : Any
        Highest value of that field when the last full pass began; None before.
    until : Any
        Highest value of that field when the pass under way began.
    owner : str or None
        The call that may go on. A later call puts its own in its place.
    manifest : dict or None
        In place, the manifest that makes the source a collection of embplug once all points have the new
        vectors.
    version : int
        Version of this record's format.
    """

    source: str
    vectors: dict[str, str]
    phase: str = COPY
    cursor: str | None = None
    updated_at: str | None = None
    since: Any = None
    until: Any = None
    owner: str | None = None
    manifest: dict[str, Any] | None = None
    version: int = RECORD_VERSION

    @property
    def start(self) -> PointId | None:
        """The cursor as an id."""
        if self.cursor is None:
            return None
        return int(self.cursor) if self.cursor.isdecimal() else self.cursor


def read_record(name: str, info: models.CollectionInfo, key: str = RECORD_KEY) -> MigrationRecord | None:
    """The record under a key in the metadata of a collection.

    Raises
    ------
    StateError
        It cannot be read, or a newer embplug wrote it.
    """
    stored = (info.config.metadata or {}).get(key)
    if stored is None:
        return None
    try:
        record = MigrationRecord(**stored)
    except TypeError:
        raise StateError(f"the record of the migration into {name!r} cannot be read: {stored}") from None
    if record.version > RECORD_VERSION:
        raise StateError(f"a newer embplug migrates into {name!r}; upgrade this one")
    return record


@dataclass
class Checkpoint:
    """Writes the record down, at intervals that cost next to nothing."""

    engine: Engine
    name: str
    record: MigrationRecord
    _next: float = field(default=0.0, init=False)

    def claim(self, **changes: Any) -> None:
        """Make this call the owner, so that earlier ones stop; and change fields of the record."""
        self._write(owner=new_id(), **changes)

    def save(self, **changes: Any) -> None:
        """Change fields of the record and write it down now.

        Raises
        ------
        MigrationError
            A later call goes on with the migration.
        """
        self.check_owner()
        self._write(**changes)

    def check_owner(self) -> None:
        """Refuse to go on with a migration that a later call has taken over."""
        stored = read_record(self.name, run(self.engine, existing_steps(self.name)))
        if stored is not None and stored.owner != self.record.owner:
            raise MigrationError(
                f"a later call has taken over the migration of {self.record.source!r} into {self.name!r}: "
                "this one stops, and what it has written stays"
            )

    def _write(self, **changes: Any) -> None:
        for key, value in changes.items():
            setattr(self.record, key, value)
        started = time.monotonic()
        metadata = {RECORD_KEY: asdict(self.record)}
        call = Call.of("update_collection", collection_name=self.name, metadata=metadata)
        run(self.engine, retried(call))
        ended = time.monotonic()
        self._next = ended + max(SHORTEST_INTERVAL_S, (ended - started) / SHARE_OF_TIME)

    def reached(self, cursor: PointId | None) -> None:
        """Everything before ``cursor`` is done; write that down if it is time to."""
        if time.monotonic() >= self._next:
            self.save(cursor=None if cursor is None else str(cursor))
