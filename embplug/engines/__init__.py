"""Connections to engines: Qdrant Edge, a server or cluster, or qdrant-client's simulation in memory."""

from __future__ import annotations

from embplug.engines.connect import (
    AnyEngine,
    AsyncEngine,
    Engine,
    EngineTarget,
    async_closed_on_error,
    closed_on_error,
    connect,
    connect_async,
    to_async,
)
from embplug.engines.edge.async_client import AsyncEdgeClient
from embplug.engines.edge.client import EdgeClient
from embplug.engines.traits import EngineTraits, PointForm, traits_of

__all__ = [
    "AnyEngine",
    "AsyncEdgeClient",
    "AsyncEngine",
    "EdgeClient",
    "Engine",
    "EngineTarget",
    "EngineTraits",
    "PointForm",
    "async_closed_on_error",
    "closed_on_error",
    "connect",
    "connect_async",
    "to_async",
    "traits_of",
]
