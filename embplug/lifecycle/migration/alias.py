"""The alias that readers use: looked up, checked, and switched in one call."""

from __future__ import annotations

import hashlib
import logging
import random
import time
import uuid

from qdrant_client import models

from embplug.collection.revision import PATIENCE, PAUSE_S, SWITCH_PREFIX, is_own_alias
from embplug.engines import Engine
from embplug.engines.aliases import alias_steps, collection_behind_steps
from embplug.engines.calls import Call, is_transient, retried, run
from embplug.errors import EmbplugError, InvalidArgumentError, MigrationError

logger = logging.getLogger(__name__)


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


def switch(engine: Engine, alias: str, source: str, target: str) -> bool:
    """Point an alias at a collection in one atomic call, which one of several processes makes.

    A process announces itself by an alias of its own, which the call renames. Of two that announce
    themselves, the later one sees the earlier one and waits. An announcement that stays is that of a process
    that was killed; without it, the call of a process that was only slow fails.

    Returns
    -------
    bool
        Whether it was to do.

    Raises
    ------
    MigrationError
        Another process has pointed the alias elsewhere.
    """
    prefix = f"{SWITCH_PREFIX}{hashlib.sha256(alias.encode()).hexdigest()[:16]}_"
    waited: dict[str, int] = {}
    while True:
        own = prefix + uuid.uuid4().hex
        _change(engine, _creation(own, target))
        listed = run(engine, alias_steps())
        others = [name for name in listed if name.startswith(prefix) and name != own]
        now = listed.get(alias)
        if now == target or now not in (None, source):
            _change(engine, _deletion(own))
            if now == target:
                return False
            raise MigrationError(
                f"the alias {alias!r} points at {now!r} by now: another process has switched it, and not to "
                f"{target!r}"
            )
        if others or own not in listed:
            waited = {name: waited.get(name, 0) + 1 for name in others}
            given_up = [name for name, count in waited.items() if count >= PATIENCE]
            _change(engine, *map(_deletion, (own, *given_up)))
            time.sleep(PAUSE_S * random.uniform(0.5, 1.5))
            continue
        rename = models.RenameAlias(old_alias_name=own, new_alias_name=f"{own}_")
        changes: list[models.AliasOperations] = [models.RenameAliasOperation(rename_alias=rename)]
        if now is not None:
            changes.append(_deletion(alias))
        try:
            _change(engine, *changes, _creation(alias, target), _deletion(f"{own}_"))
        except (EmbplugError, ValueError) as error:
            if is_transient(error):
                raise
            # Another process took this one for killed, or the answer to a first attempt was lost.
            if aliases(engine).get(alias) == target:
                return True
            continue
        logger.info("the alias %r points at %r now, before at %r", alias, target, now)
        return True


def _change(engine: Engine, *changes: models.AliasOperations) -> None:
    run(engine, retried(Call.of("update_collection_aliases", change_aliases_operations=[*changes])))


def _creation(alias: str, name: str) -> models.CreateAliasOperation:
    return models.CreateAliasOperation(
        create_alias=models.CreateAlias(collection_name=name, alias_name=alias)
    )


def _deletion(alias: str) -> models.DeleteAliasOperation:
    return models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=alias))
