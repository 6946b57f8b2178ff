"""A collection for asynchronous calls from one event loop or from several."""

from __future__ import annotations

import asyncio
import threading

from qdrant_client import AsyncQdrantClient

from embplug.collection.async_collection import AsyncCollection
from embplug.collection.collection import Collection


class EventLoopCollections:
    """Keeps one asynchronous collection for each event loop, and drops those of closed loops.

    The client of a server belongs to the event loop that first used it. All methods are safe to call
    from many threads and tasks.

    Parameters
    ----------
    collection : Collection
        Collection whose asynchronous forms are kept.
    """

    def __init__(self, collection: Collection) -> None:
        self._collection = collection
        self._by_loop: dict[asyncio.AbstractEventLoop, AsyncCollection] = {}
        self._lock = threading.Lock()

    def __len__(self) -> int:
        return len(self._by_loop)

    def current(self) -> AsyncCollection:
        """Return the collection for the running event loop.

        Returns
        -------
        AsyncCollection
            The same object in each call from the same loop.

        Raises
        ------
        RuntimeError
            No event loop is running.
        """
        loop = asyncio.get_running_loop()
        with self._lock:
            for other in [other for other in self._by_loop if other.is_closed()]:
                del self._by_loop[other]
            if loop not in self._by_loop:
                self._by_loop[loop] = self._collection.to_async()
            return self._by_loop[loop]

    async def aclose(self) -> None:
        """Close the connection to a server that belongs to the running event loop.

        The next call of :meth:`current` opens a new one.
        """
        with self._lock:
            collection = self._by_loop.pop(asyncio.get_running_loop(), None)
        if collection is not None and isinstance(collection.engine, AsyncQdrantClient):
            await collection.engine.close()
