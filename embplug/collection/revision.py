"""The revision of a collection: what its processes have decided together, and the alias that only it has.

A collection is changed by one process at a time: each change makes a new revision, and renames the alias of
the revision before. An engine renames an alias for one process alone, because the alias is then gone. Vectors
and codes are written and searched under the alias, so that the engine refuses what another revision encoded.
"""

from __future__ import annotations

import random
import uuid
from collections.abc import Mapping
from dataclasses import dataclass, replace
from typing import Any

from qdrant_client import models

from embplug.collection.manifest import MANIFEST_KEY, Manifest, read_manifest
from embplug.engines.aliases import alias_steps
from embplug.engines.calls import Call, Steps, is_transient, retried
from embplug.errors import CollectionNotFoundError, EmbplugError, EngineError, StateError

ALIAS_PREFIX = "embplug_revision_"
"""Begins the alias of a revision, under which its manifest also stands in the metadata."""

SWITCH_PREFIX = "embplug_switch_"
"""Begins the alias that a process has for the moment in which it switches an alias of a user."""

ATTEMPTS = 40
PAUSE_S = 0.05
PATIENCE = 10
"""Times that a collection is read before what another process has begun is taken for broken off."""


@dataclass(frozen=True)
class Revision:
    """A collection as it is at a moment.

    Attributes
    ----------
    collection : str
        Name of the Qdrant collection, also where it was read by an alias.
    info : models.CollectionInfo
        Configuration of the collection.
    manifest : Manifest
        What the collection remembers.
    aliases : tuple of str
        Aliases of revisions that the collection has; one, unless a process is at work.
    fenced : bool
        Whether the manifest is that of the only alias, so that the engine refuses what is older.
    """

    collection: str
    info: models.CollectionInfo
    manifest: Manifest
    aliases: tuple[str, ...] = ()
    fenced: bool = False


def new_id() -> str:
    """Make an identifier of a revision, which no other revision has."""
    return uuid.uuid4().hex


def alias_of(revision: str) -> str:
    """Return the alias of a revision."""
    return ALIAS_PREFIX + revision


def read_revision_steps(name: str) -> Steps[Revision]:
    """Read what a collection is now, and change nothing.

    Raises
    ------
    CollectionNotFoundError, NotAnEmbplugCollectionError, RecipeVersionError, StateError
        There is no such collection, or its manifest cannot be read.
    """
    aliases = yield from _aliases_steps()
    info = yield from _info_steps(name)
    collection = aliases.get(name, name)
    own = _own_aliases(aliases, collection)
    manifest = read_manifest(name, info)
    if len(own) == 1 and manifest.revision is not None:
        if alias_of(manifest.revision) == own[0]:
            return Revision(collection, info, manifest, (own[0],), True)
        # The process that made the revision has not, or was killed before it had, noted it down at last.
        stored = (info.config.metadata or {}).get(own[0])
        if stored is not None:
            return Revision(collection, info, Manifest.from_dict(name, stored), (own[0],), True)
    return Revision(collection, info, manifest, tuple(own))


def current_revision_steps(name: str, own: str | None = None) -> Steps[Revision]:
    """Read what a collection is now, and give it the alias of its revision where that is missing.

    It is missing in a new collection, in one that an earlier version of embplug made, and in one that was
    restored from a snapshot. Who may not write aliases gets a revision that is not fenced.

    Parameters
    ----------
    name : str
        Name of the collection, or of an alias.
    own : str, default=None
        Revision with which this process has just created the collection.
    """
    for attempt in range(ATTEMPTS):
        revision = yield from read_revision_steps(name)
        if revision.fenced:
            return revision
        if not revision.aliases or attempt >= PATIENCE:
            try:
                yield from _repair_steps(revision, own)
            except (EmbplugError, ValueError) as error:
                if not (yield from retried(Call.of("collection_exists", collection_name=name))):
                    raise CollectionNotFoundError(f"no collection {name!r} on this engine") from None
                if not isinstance(error, EngineError) or is_transient(error):
                    raise
                return revision
            own = None
        else:
            yield _pause()
    raise _always_changed(name)


def revise_steps(before: Revision, manifest: Manifest) -> Steps[bool]:
    """Replace the manifest of a collection, unless another process has replaced it since it was read.

    Parameters
    ----------
    before : Revision
        What the collection was when it was read.
    manifest : Manifest
        Its new manifest, with a revision of its own.

    Returns
    -------
    bool
        Whether this process has changed the collection.
    """
    assert manifest.revision is not None
    name, alias = before.collection, alias_of(manifest.revision)
    if not before.fenced:
        # Who may not write aliases, and yet metadata.
        yield from _note_steps(name, {MANIFEST_KEY: manifest.to_dict()})
        return True
    yield from _note_steps(name, {alias: manifest.to_dict()})
    if not (yield from _rename_steps(name, before.aliases[0], alias)):
        yield from _forget_steps(name, alias)
        return False
    # A process that is late may note an older manifest down after this, so that the alias still decides.
    yield from _note_steps(name, {MANIFEST_KEY: manifest.to_dict(), before.aliases[0]: None})
    return True


def renew_steps(name: str) -> Steps[None]:
    """Give a collection a new revision, so that its engine refuses what is written for the one before."""
    for _ in range(ATTEMPTS):
        before = yield from current_revision_steps(name)
        if (yield from revise_steps(before, replace(before.manifest, revision=new_id()))):
            return
        yield _pause()
    raise _always_changed(name)


def _repair_steps(revision: Revision, own: str | None) -> Steps[None]:
    """Give a collection one alias of a revision, or leave that to another process that does it now."""
    name = revision.collection
    fresh = revision.manifest.revision if own == revision.manifest.revision else None
    manifest = replace(revision.manifest, revision=fresh or new_id())
    assert manifest.revision is not None
    alias = alias_of(manifest.revision)
    if fresh is None:
        yield from _note_steps(name, {alias: manifest.to_dict()})
    if revision.aliases:
        first, *others = revision.aliases
        if (yield from _rename_steps(name, first, alias, others)):
            yield from _note_steps(name, {MANIFEST_KEY: manifest.to_dict()})
        return
    create = models.CreateAlias(collection_name=name, alias_name=alias)
    yield from retried(_change(models.CreateAliasOperation(create_alias=create)))
    for _ in range(PATIENCE):
        own_aliases = yield from _own_aliases_steps(name)
        if alias in own_aliases:
            break
        # Another node of a cluster hears of it a little later, unless another process has renamed it already.
        yield _pause()
    else:
        return
    # Of two processes, the later one sees the alias of the earlier one.
    if own_aliases != [alias]:
        yield from retried(_change(_deletion(alias)))
        yield from _forget_steps(name, alias)
        yield _pause()
    elif fresh is None:
        yield from _note_steps(name, {MANIFEST_KEY: manifest.to_dict()})


def _rename_steps(name: str, alias: str, new: str, others: list[str] | None = None) -> Steps[bool]:
    """Rename an alias; returns whether this process did, and no other."""
    rename = models.RenameAliasOperation(
        rename_alias=models.RenameAlias(old_alias_name=alias, new_alias_name=new)
    )
    try:
        yield from retried(_change(rename, *map(_deletion, others or ())))
    except (EmbplugError, ValueError) as error:
        if is_transient(error):
            raise
        # The answer to a first attempt may have been lost.
        return new in (yield from _own_aliases_steps(name))
    return True


def _note_steps(name: str, metadata: Mapping[str, Any]) -> Steps[None]:
    """Merge entries into the metadata of a collection."""
    yield from retried(Call.of("update_collection", collection_name=name, metadata=dict(metadata)))


def _forget_steps(name: str, key: str) -> Steps[None]:
    """Remove what this process noted down and nobody reads; it may be gone with its collection."""
    try:
        yield from _note_steps(name, {key: None})
    except (EmbplugError, ValueError):
        return


def _info_steps(name: str) -> Steps[models.CollectionInfo]:
    try:
        info: models.CollectionInfo = yield from retried(Call.of("get_collection", collection_name=name))
    except CollectionNotFoundError as error:
        raise CollectionNotFoundError(f"no collection {name!r} on this engine") from error
    except RecursionError:
        raise StateError(
            f"the metadata of collection {name!r} cannot be read: values are nested too deep. Restore the "
            "metadata from a backup or snapshot, or create the collection anew"
        ) from None
    return info


def _aliases_steps() -> Steps[dict[str, str]]:
    """Read the collection of each alias; none where the caller may not read them."""
    try:
        return (yield from alias_steps())
    except EngineError as error:
        if is_transient(error):
            raise
        return {}


def _own_aliases_steps(name: str) -> Steps[list[str]]:
    return _own_aliases((yield from _aliases_steps()), name)


def _own_aliases(aliases: Mapping[str, str], collection: str) -> list[str]:
    """Aliases of revisions that a collection has."""
    return sorted(alias for alias, behind in aliases.items() if behind == collection and is_own_alias(alias))


def _change(*operations: Any) -> Call:
    return Call.of("update_collection_aliases", change_aliases_operations=list(operations))


def _deletion(alias: str) -> models.DeleteAliasOperation:
    return models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name=alias))


def _always_changed(name: str) -> EngineError:
    return EngineError(f"collection {name!r} is changed by other processes all the time; try again later")


def _pause() -> Call:
    return Call.pause(PAUSE_S * random.uniform(0.5, 1.5))


def is_own_alias(alias: str) -> bool:
    """Return whether an alias is one that embplug makes, and none of a user."""
    return alias.startswith((ALIAS_PREFIX, SWITCH_PREFIX))
