"""Throwaway engines and collections for tests; the plugin ``embplug.testing.plugin`` has them as fixtures."""

from __future__ import annotations

from embplug.testing.collections import (
    removing_collections,
    removing_own_collections,
    throwaway_collection,
)
from embplug.testing.containers import Address, ContainerError, qdrant_cluster, qdrant_container

__all__ = [
    "Address",
    "ContainerError",
    "qdrant_cluster",
    "qdrant_container",
    "removing_collections",
    "removing_own_collections",
    "throwaway_collection",
]
