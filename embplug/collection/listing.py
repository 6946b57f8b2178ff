"""All collections of an engine."""

from __future__ import annotations

from dataclasses import dataclass

from embplug.collection.manifest import MANIFEST_KEY, read_manifest
from embplug.collection.revision import is_own_alias
from embplug.collection.state_collection import STATE_COLLECTION
from embplug.engines import Engine
from embplug.engines.aliases import alias_steps
from embplug.engines.calls import Call, retried, run
from embplug.errors import CollectionNotFoundError, EmbplugError, EngineAnswerError


@dataclass(frozen=True)
class ListedCollection:
    """One of the collections of an engine.

    Attributes
    ----------
    name : str
        Name of the collection.
    points : int
        Number of its points.
    vectors : list of str
        Names of its vectors; the unnamed vector has an empty name.
    aliases : list of str
        Aliases that users have given it.
    is_embplug : bool
        Whether it has a recipe.
    error : str or None
        Why its recipe or its description cannot be read.
    """

    name: str
    points: int
    vectors: list[str]
    aliases: list[str]
    is_embplug: bool
    error: str | None = None


def collection_names(engine: Engine) -> list[str]:
    """Return the names of the collections and of the aliases that users have given them."""
    listed = run(engine, retried(Call.of("get_collections"))).collections
    names = {collection.name for collection in listed} - {STATE_COLLECTION}
    return sorted(names | {alias for alias in run(engine, alias_steps()) if not is_own_alias(alias)})


def list_collections(engine: Engine) -> list[ListedCollection]:
    """Return the collections of an engine by name, without the one in which embplug keeps learned state."""
    names = {listed.name for listed in run(engine, retried(Call.of("get_collections"))).collections}
    aliases: dict[str, list[str]] = {}
    for alias, name in sorted(run(engine, alias_steps()).items()):
        if not is_own_alias(alias):
            aliases.setdefault(name, []).append(alias)
    collections = []
    for name in sorted(names - {STATE_COLLECTION}):
        try:
            info = run(engine, retried(Call.of("get_collection", collection_name=name)))
        except CollectionNotFoundError:  # deleted meanwhile
            continue
        except (EngineAnswerError, RecursionError) as unreadable:
            # Of values that are nested too deep, which any writer of metadata can put there.
            collections.append(ListedCollection(name, 0, [], aliases.get(name, []), False, str(unreadable)))
            continue
        dense = info.config.params.vectors or {}
        vectors = [*dense] if isinstance(dense, dict) else [""]
        is_embplug, error = MANIFEST_KEY in (info.config.metadata or {}), None
        if is_embplug:
            try:
                read_manifest(name, info)
            except EmbplugError as unreadable:
                error = str(unreadable)
        vectors += [*(info.config.params.sparse_vectors or ())]
        own = aliases.get(name, [])
        collections.append(ListedCollection(name, info.points_count or 0, vectors, own, is_embplug, error))
    return collections
