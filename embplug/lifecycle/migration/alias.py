"""The alias that readers use: looked up, checked, and switched in one call."""

from __future__ import annotations

import hashlib
import logging
import random
import time
import uuid
from collections.abc import Callable, Mapping

from qdrant_client import models

from embplug.collection.revision import PATIENCE, PAUSE_S, SWITCH_PREFIX, is_own_alias
from embplug.engines import Engine
from embplug.engines.aliases import alias_steps, collection_behind_steps
from embplug.engines.calls import Call, is_transient, retried, run
from embplug.errors import EmbplugError, InvalidArgumentError, MigrationError

logger = logging.getLogger(__name__)

BEGUN_PREFIX = f"{SWITCH_PREFIX}begun_"
"""Begins the alias of a migration in place that has begun and has not noted that down."""


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

    Returns
    -------
    bool
        Whether it was to do.

    Raises
    ------
    MigrationError
        Another process has pointed the alias elsewhere.
    """

    def is_decided(listed: Mapping[str, str]) -> bool:
        now = listed.get(alias)
        if now not in (None, source, target):
            raise MigrationError(
                f"the alias {alias!r} points at {now!r} by now: another process has switched it, and not to "
                f"{target!r}"
            )
        return now == target

    def changes(listed: Mapping[str, str]) -> list[models.AliasOperations]:
        return [*([_deletion(alias)] if alias in listed else []), _creation(alias, target)]

    switched = _decide(engine, alias, target, is_decided, changes, lambda listed: listed.get(alias) == target)
    if switched:
        logger.info("the alias %r points at %r now, before at %r", alias, target, source)
    return switched


def begin_once(engine: Engine, name: str, begun: str, is_begun: Callable[[], bool]) -> bool:
    """Decide which of several processes begins a migration in place.

    Parameters
    ----------
    engine : client
        An open client.
    name : str
        Name of the collection.
    begun : str
        Alias that the collection gets, until its record says that the migration has begun.
    is_begun : callable
        Reads whether the record says so.

    Returns
    -------
    bool
        Whether this process begins.
    """

    def is_decided(listed: Mapping[str, str]) -> bool:
        return begun_alias(listed, name) is not None or is_begun()

    return _decide(
        engine,
        f"in place {name}",
        name,
        is_decided,
        lambda _: [_creation(begun, name)],
        lambda listed: begun in listed,
    )


def begun_alias(listed: Mapping[str, str], name: str) -> str | None:
    """Alias of a migration in place that has begun, and whose record does not say so yet."""
    own = (alias for alias, behind in listed.items() if behind == name and alias.startswith(BEGUN_PREFIX))
    return next(own, None)


def forget_begun(engine: Engine, name: str) -> str | None:
    """Remove such an alias, and return it."""
    begun = begun_alias(run(engine, alias_steps()), name)
    if begun is not None:
        _change(engine, _deletion(begun))
    return begun


def _decide(
    engine: Engine,
    key: str,
    name: str,
    is_decided: Callable[[Mapping[str, str]], bool],
    changes: Callable[[Mapping[str, str]], list[models.AliasOperations]],
    is_done: Callable[[Mapping[str, str]], bool],
) -> bool:
    """Change aliases in one atomic call, which one of several processes makes that decide about ``key``.

    A process announces itself by an alias of its own, which the call renames. Of two that announce
    themselves, the later one sees the earlier one and waits. An announcement that stays is that of a process
    that was killed; without it, the call of a process that was only slow fails.

    Parameters
    ----------
    engine : client
        An open client.
    key : str
        What is decided, the same for all processes.
    name : str
        Collection that has the announcement.
    is_decided : callable
        Takes the collection of each alias, and returns whether nothing is to do any more.
    changes : callable
        Takes the collection of each alias, and returns the changes.
    is_done : callable
        Takes the collection of each alias, and returns whether the changes are made.

    Returns
    -------
    bool
        Whether this process has made the changes.
    """
    prefix = f"{SWITCH_PREFIX}{hashlib.sha256(key.encode()).hexdigest()[:16]}_"
    waited: dict[str, int] = {}
    while True:
        own = prefix + uuid.uuid4().hex
        _change(engine, _creation(own, name))
        listed = run(engine, alias_steps())
        others = [other for other in listed if other.startswith(prefix) and other != own]
        decided = True
        try:
            decided = is_decided(listed)
        finally:
            if decided:
                _change(engine, _deletion(own))
        if decided:
            return False
        if others or own not in listed:
            waited = {other: waited.get(other, 0) + 1 for other in others}
            given_up = [other for other, count in waited.items() if count >= PATIENCE]
            _change(engine, *map(_deletion, (own, *given_up)))
            time.sleep(PAUSE_S * random.uniform(0.5, 1.5))
            continue
        rename = models.RenameAliasOperation(
            rename_alias=models.RenameAlias(old_alias_name=own, new_alias_name=f"{own}_")
        )
        try:
            _change(engine, rename, *changes(listed), _deletion(f"{own}_"))
        except (EmbplugError, ValueError) as error:
            if is_transient(error):
                raise
            # Another process took this one for killed, or the answer to a first attempt was lost.
            if is_done(run(engine, alias_steps())):
                return True
            continue
        return True


def _change(engine: Engine, *changes: models.AliasOperations) -> None:
    run(engine, retried(Call.of("update_collection_aliases", change_aliases_operations=[*changes])))


def _creation(alias: str, name: str) -> models.CreateAliasOperation:
    return models.CreateAliasOperation(
        create_alias=models.CreateAlias(collection_name=name, alias_name=alias)
    )


def _deletion(alias: str) -> models.DeleteAliasOperation:
    return models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=alias))
