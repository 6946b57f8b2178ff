"""The alias that readers use: looked up, checked, and switched in one call."""

from __future__ import annotations

from qdrant_client import models

from embplug.collection.revision import is_own_alias
from embplug.engines import Engine
from embplug.engines.aliases import alias_steps, collection_behind_steps
from embplug.engines.calls import Call, retried, run
from embplug.errors import InvalidArgumentError, MigrationError


def aliases(engine: Engine) -> dict[str, str]:
    """Alias -> collection, without the aliases that embplug makes."""
    behind = run(engine, alias_steps())
    return {alias: collection for alias, collection in behind.items() if not is_own_alias(alias)}


def collection_behind(engine: Engine, name: str) -> str:
    """The collection behind a name that may be an alias."""
    return run(engine, collection_behind_steps(name))


def check_alias(engine: Engine, alias: str, source: str, target: str) -> None:
    """Refuse an alias that cannot be switched from source to target, before anything is written.

    Raises
    ------
    InvalidArgumentError
        It is the name of a collection, or points elsewhere.
    """
    names = {collection.name for collection in run(engine, retried(Call.of("get_collections"))).collections}
    if not alias.strip() or alias in names:
        raise InvalidArgumentError(
            "alias",
            "a name that no collection has; let readers use an alias of the collection first",
            repr(alias),
        )
    now = aliases(engine).get(alias)
    if now not in (None, source, target):
        raise InvalidArgumentError("alias", f"one of {source!r}, or a new one", f"{alias!r}, one of {now!r}")


def switch(engine: Engine, alias: str, target: str) -> bool:
    """Point an alias at a collection in one atomic call; whether it was to do.

    Raises
    ------
    MigrationError
        The alias does not point there afterwards.
    """
    now = aliases(engine).get(alias)
    if now == target:
        return False
    changes: list[models.AliasOperations] = []
    if now is not None:
        changes.append(models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=alias)))
    changes.append(
        models.CreateAliasOperation(create_alias=models.CreateAlias(collection_name=target, alias_name=alias))
    )
    run(engine, retried(Call.of("update_collection_aliases", change_aliases_operations=changes)))
    if aliases(engine).get(alias) != target:
        raise MigrationError(f"the alias {alias!r} does not point at {target!r} after it was switched")
    return True
