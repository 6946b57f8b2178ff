"""Arguments and methods that Qdrant Edge cannot serve."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from embplug.errors import CapabilityError

_NO_EFFECT = {
    "consistency": "there is one copy of the data",
    "ordering": "every write is applied in full before its call returns",
    "shard_key_selector": "a collection is one shard",
    "shard_key": "a collection is one shard",
    "sharding_method": "a collection is one shard",
    "lookup_from": "a query reads one collection",
    "timeout": "a call runs in this process and cannot be cut short",
    "wal_config": "the write-ahead log has fixed sizes",
    "strict_mode_config": "there is no strict mode",
    "optimizers_config": "parameters are fixed when the collection is created",
    "collection_params": "parameters are fixed when the collection is created",
    "vectors_config": "parameters are fixed when the collection is created",
    "hnsw_config": "parameters are fixed when the collection is created",
    "quantization_config": "parameters are fixed when the collection is created",
    "sparse_vectors_config": "parameters are fixed when the collection is created",
}


def refuse(**arguments: Any) -> None:
    """Raise an error for the first argument that is set.

    Raises
    ------
    CapabilityError
        An argument is not ``None``; the error says why Edge cannot honour it.
    """
    for name, value in arguments.items():
        if value is not None:
            raise CapabilityError(f"{name}: Qdrant Edge cannot honour it, because {_NO_EFFECT[name]}")


def refused_method(name: str) -> Callable[..., Any]:
    """Make a method that raises :class:`CapabilityError`, for a method that Edge does not have."""

    def refused(self: Any, *args: Any, **kwargs: Any) -> Any:
        raise CapabilityError(
            f"{name}: Qdrant Edge has no such method; it needs a server (connect('http://...'))"
        )

    refused.__name__ = name
    refused.__doc__ = "Raises CapabilityError, because Qdrant Edge has no such method."
    return refused
