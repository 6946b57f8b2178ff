"""Keywords of other stores for Qdrant that this one does not take, with what to use instead."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from embplug.common.validation import short_repr
from embplug.errors import InvalidArgumentError

RECIPE_KEYWORDS: dict[str, str] = {
    "hnsw_config": "nothing: use recipe=Recipe(dense=Dense(hnsw=...))",
    "quantization_config": "nothing: use recipe=Recipe(dense=Dense(quantization=...)) or a preset",
    "shard_number": "nothing: use recipe=Recipe(shard_number=...)",
    "sharding_method": "nothing: use recipe=Recipe(sharding_method=...)",
    "replication_factor": "nothing: use recipe=Recipe(replication_factor=...)",
    "write_consistency_factor": "nothing: use recipe=Recipe(write_consistency_factor=...)",
    "on_disk_payload": "nothing: use recipe=Recipe(on_disk_payload=...)",
    "optimizers_config": "nothing: set it by the client, with update_collection",
    "wal_config": "nothing: set it by the client, with update_collection",
    "init_from": "nothing: use embplug migrate",
}
"""Settings of a new collection, which a recipe has."""


def check_options(options: Mapping[str, Any], kind: type) -> None:
    """Refuse an option that a method does not have, in words of the method and not of what it calls.

    Parameters
    ----------
    options : mapping of str to Any
        Keyword arguments of a method.
    kind : type
        The ``TypedDict`` of those that the method has.

    Raises
    ------
    TypeError
        There is another.
    """
    known = kind.__annotations__
    for name in options:
        if name not in known:
            raise TypeError(f"unexpected argument {name!r}; the options are {', '.join(known)}")


def check_keywords(keywords: Mapping[str, Any], instead: Mapping[str, str]) -> None:
    """Refuse all keywords; those that another store has are named with what to use instead.

    Parameters
    ----------
    keywords : mapping of str to Any
        Keyword arguments that the store does not know. One that is None counts as not passed, if the other
        store has it.
    instead : mapping of str to str
        Keywords of the other store, and what is expected in their place.

    Raises
    ------
    InvalidArgumentError
        The other store has the keyword.
    TypeError
        No store has the keyword.
    """
    for name, value in keywords.items():
        if name not in instead:
            raise TypeError(f"unexpected argument {name!r}")
        if value is not None:
            raise InvalidArgumentError(name, instead[name], short_repr(value))
