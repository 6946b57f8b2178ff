"""The functions that users call."""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from embplug.collection.info import existing_steps
from embplug.collection.writing import IN_FLIGHT
from embplug.engines import Engine, connect
from embplug.engines.calls import run
from embplug.engines.connect import for_reading
from embplug.errors import InvalidArgumentError
from embplug.lifecycle.migration.alias import check_alias, collection_behind, switch
from embplug.lifecycle.migration.in_place import migrate_in_place
from embplug.lifecycle.migration.plan import Options, check_recall, plan_migration
from embplug.lifecycle.migration.record import CATCH_UP, Checkpoint, read_record
from embplug.lifecycle.migration.rehearsal import rehearse
from embplug.lifecycle.migration.report import MigrationReport
from embplug.lifecycle.migration.run import Migration
from embplug.recipe import Recipe
from embplug.search.types import Query


def migrate(
    source: str,
    target: str | None,
    recipe: Recipe,
    engine: Engine | str | os.PathLike[str],
    *,
    alias: str | None = None,
    recall: float | None = None,
    queries: Sequence[Query] | None = None,
    vector: str | Mapping[str, str] | None = None,
    updated_at: str | None = None,
    finish: bool = False,
    dry_run: bool = False,
    in_place: bool = False,
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
        For measuring recall; without ``token_weights``, which the source does not know. Default: points
        of the source.
    vector
        Name of the source's vector, or such names by those of the recipe. Default: the only one that
        fits, or the one of the same name.
    updated_at
        Payload field with the time of a point's last change, a number or a date, with an index. It
        makes catching up cheap: only what changed is read.
    finish
        Without an alias: the target is as it should be, remove the marks.
    dry_run
        Write nothing: check what can be checked, and measure recall and bytes on a sample.
    in_place
        Add the compressed vectors to the source itself, where the engine can; see
        ``docs/migrating.md``. Nothing is copied, and there is neither target nor alias.
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
    check_recall(recall, queries, recipe)
    options = Options(alias, recall, queries, vector, updated_at, finish, workers, progress)
    client = connect(engine)
    with _reading_client(client) as reading:
        if in_place:
            return migrate_in_place(client, reading, source, target, recipe, options, dry_run)
        if target is None:
            raise InvalidArgumentError("target", "a name, or in_place", None)
        plan = plan_migration(client, source, target, recipe, options)
        if dry_run:
            return rehearse(reading, plan, options)
        return Migration(client, reading, plan, options).run()


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
    name = collection_behind(client, source)
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
def _reading_client(engine: Engine) -> Iterator[Engine]:
    """A client that reads vectors fast, closed at the end where it is another one."""
    reading = for_reading(engine)
    try:
        yield reading
    finally:
        if reading is not engine:
            reading.close()
