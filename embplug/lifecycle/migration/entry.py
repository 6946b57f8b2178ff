"""The functions that users call."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager

from qdrant_client import models

from embplug.collection.collection import Collection
from embplug.collection.info import existing_steps
from embplug.collection.named import located
from embplug.collection.writing import IN_FLIGHT
from embplug.common.names import check_collection_name
from embplug.engines import Engine, EngineTarget
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
    source: Collection | str,
    target: str | None,
    recipe: Recipe,
    *,
    engine: EngineTarget | None = None,
    alias: str | None = None,
    recall: float | None = None,
    queries: Sequence[Query] | None = None,
    vector: str | Mapping[str, str] | None = None,
    updated_at: str | None = None,
    finish: bool = False,
    dry_run: bool = False,
    in_place: bool = False,
    keep_names: bool = False,
    workers: int = IN_FLIGHT,
    progress: bool | None = None,
) -> MigrationReport:
    """Copy any Qdrant collection into a compressed one, while it is in use.

    Call it to store the vectors of a collection by another recipe. It embeds nothing: for a new embedding
    model, call :func:`upgrade` first.

    Ids, payloads and payload indexes are kept. The metadata of the target record how far the migration is,
    so that a call that was interrupted goes on when it is made again. When all points are copied, the call
    looks for what was written to the source meanwhile, and checks counts, payloads and recall. Then it
    switches the alias in one atomic request, looks once more for what was written until then, and removes
    from the payloads the marks by which changes are recognised. Without an alias the target stays open:
    every later call catches up with the source. From asyncio, run the call in a thread:
    ``await asyncio.to_thread(migrate, "docs", "docs-small", recipe, engine=url)``.

    Parameters
    ----------
    source : Collection or str
        The source, open or by the name of a collection or an alias. It is only read.
    target : str or None
        A name that is not taken, or the target of the same migration. None with ``in_place``.
    recipe : Recipe
        What the target stores. Shards, replicas and ``on_disk_payload`` that the recipe leaves open are as
        in the source. Methods that learn are fitted on a sample of the source.
    engine : str, path or client, default=None
        Engine of a collection that is passed by its name: a client, or what :func:`embplug.connect` takes.
    alias : str, default=None
        Alias that is switched to the target at the end; a new alias, or an alias of the source.
    recall : float, default=None
        Lowest recall of the target: the share of the ten best hits of a search of the source that a search of
        the target returns. Below it the call raises, and the alias is not switched. None only reports the
        recall.
    queries : sequence of Query, default=None
        Queries that measure the recall, without ``token_weights``, which the source does not know. By
        default points of the source.
    vector : str, or mapping of str to str, default=None
        Name of the source's vector, or such names by the names in the recipe. By default the only vector
        that fits, or the vector of the same name.
    updated_at : str, default=None
        Payload field with the time of a point's last change, a number or a date, with an index. With it,
        catching up reads only what changed.
    finish : bool, default=False
        Whether the target is as it should be, and the marks can be removed, without an alias.
    dry_run : bool, default=False
        Whether to write nothing: what can be checked is checked, and recall and bytes are measured on a
        sample.
    in_place : bool, default=False
        Whether to add the compressed vectors to the source itself, where the engine can; see
        ``docs/migrating.md``. Nothing is copied, and there is neither target nor alias.
    keep_names : bool, default=False
        Whether the vectors of the target have the names that they have in the source, whatever the recipe
        names them, so that programs without embplug go on reading through the alias. The recipe may only
        quantize vectors, store them in another datatype, or keep their first dimensions.
    workers : int, default=4
        Number of requests under way at a time.
    progress : bool, default=None
        Whether to show progress bars. By default on a terminal.

    Returns
    -------
    MigrationReport
        What was copied, checked and switched.

    Raises
    ------
    InvalidArgumentError
        An argument is wrong, and the error names it; nothing was written.
    CollectionNotFoundError
        The source does not exist.
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
    if isinstance(recipe, Recipe) and recipe.sharding_method == models.ShardingMethod.CUSTOM:
        expected = "auto, because each copied document would need the key of its shard"
        raise InvalidArgumentError("recipe.sharding_method", expected, "custom")
    if alias is not None:
        check_collection_name(alias, "alias")
    options = Options(
        alias=alias,
        recall=recall,
        queries=queries,
        vector=vector,
        updated_at=updated_at,
        finish=finish,
        keep_names=keep_names,
        workers=workers,
        progress=progress,
    )
    with located(source, engine, "source") as (name, client), _reading_client(client) as reading:
        if in_place:
            return migrate_in_place(client, reading, name, target, recipe, options, dry_run)
        if target is None:
            raise InvalidArgumentError("target", "a name, or in_place", None)
        check_collection_name(target, "target")
        plan = plan_migration(client, name, target, recipe, options)
        if dry_run:
            return rehearse(reading, plan, options)
        return Migration(client, reading, plan, options).run()


def rollback(
    source: Collection | str, target: str, alias: str, *, engine: EngineTarget | None = None
) -> bool:
    """Point an alias back from the target of a migration to its source, in one atomic request.

    What was written through the alias since the switch stays in the target alone. Migrating again
    brings the target up to date with the source, whatever was written to it.

    Parameters
    ----------
    source : Collection or str
        Source of the migration, open or by name.
    target : str
        Target of the migration.
    alias : str
        The alias.
    engine : str, path or client, default=None
        Engine of a collection that is passed by its name: a client, or what :func:`embplug.connect` takes.

    Returns
    -------
    bool
        True if the alias changed.

    Raises
    ------
    CollectionNotFoundError
        A collection does not exist.
    InvalidArgumentError
        An argument is wrong, and the error names it; or the alias points elsewhere.
    """
    check_collection_name(target, "target")
    check_collection_name(alias, "alias")
    with located(source, engine, "source") as (own, client):
        name = collection_behind(client, own)
        record = read_record(target, run(client, existing_steps(target)))
        if record is not None and name == target:
            name = record.source
        run(client, existing_steps(name))
        check_alias(client, alias, name, target)
        switched = switch(client, alias, target, name)
        if record is not None and switched:
            Checkpoint(client, target, record).claim(phase=CATCH_UP, cursor=None, since=None, until=None)
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
