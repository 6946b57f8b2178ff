"""Aliases of collections: listed, and resolved where an engine takes only the name of a collection."""

from __future__ import annotations

from embplug.engines.calls import Call, Steps, retried


def alias_steps() -> Steps[dict[str, str]]:
    """Read all aliases.

    Returns
    -------
    dict of str to str
        The collection of each alias.
    """
    answer = yield from retried(Call.of("get_aliases"))
    return {alias.alias_name: alias.collection_name for alias in answer.aliases}


def collection_behind_steps(name: str) -> Steps[str]:
    """Return the collection of a name that may be an alias."""
    return (yield from alias_steps()).get(name, name)


def delete_collection_steps(name: str) -> Steps[None]:
    """Delete the collection of a name or an alias, and all its aliases."""
    yield Call.of("delete_collection", collection_name=(yield from collection_behind_steps(name)))
