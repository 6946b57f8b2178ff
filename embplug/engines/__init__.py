"""Where collections live: Qdrant Edge, a server or cluster, or memory."""

from __future__ import annotations

from embplug.engines.connect import (
    AnyEngine,
    AsyncEngine,
    Engine,
    connect,
    connect_async,
    is_server,
    to_async,
)
from embplug.engines.edge.async_client import AsyncEdgeClient
from embplug.engines.edge.client import EdgeClient

__all__ = [
    "AnyEngine",
    "AsyncEdgeClient",
    "AsyncEngine",
    "EdgeClient",
    "Engine",
    "connect",
    "connect_async",
    "is_server",
    "to_async",
]
