"""The asynchronous client of Edge. Each method runs in a thread."""

from __future__ import annotations

import asyncio
import functools
from collections.abc import Callable, Coroutine
from pathlib import Path
from types import TracebackType
from typing import Any, Concatenate, ParamSpec, TypeVar

from embplug.engines.edge.client import EdgeClient

P = ParamSpec("P")
R = TypeVar("R")


def _in_thread(
    method: Callable[Concatenate[EdgeClient, P], R],
) -> Callable[Concatenate[AsyncEdgeClient, P], Coroutine[Any, Any, R]]:
    @functools.wraps(method)
    async def call(self: AsyncEdgeClient, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return await asyncio.to_thread(method, self.sync, *args, **kwargs)

    return call


class AsyncEdgeClient:
    """Client of a directory of collections for asyncio, with the methods of ``AsyncQdrantClient``.

    The methods are those of :class:`~embplug.engines.edge.client.EdgeClient`, awaited.

    Parameters
    ----------
    client : EdgeClient
        Client that does the work. Closing this object closes the client.
    """

    def __init__(self, client: EdgeClient) -> None:
        self.sync = client

    @property
    def path(self) -> Path:
        """The directory of the collections."""
        return self.sync.path

    def __repr__(self) -> str:
        return f"AsyncEdgeClient({str(self.path)!r})"

    async def __aenter__(self) -> AsyncEdgeClient:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    close = _in_thread(EdgeClient.close)
    info = _in_thread(EdgeClient.info)
    create_collection = _in_thread(EdgeClient.create_collection)
    update_collection = _in_thread(EdgeClient.update_collection)
    delete_collection = _in_thread(EdgeClient.delete_collection)
    collection_exists = _in_thread(EdgeClient.collection_exists)
    get_collections = _in_thread(EdgeClient.get_collections)
    get_collection = _in_thread(EdgeClient.get_collection)
    optimize = _in_thread(EdgeClient.optimize)
    disk_bytes = _in_thread(EdgeClient.disk_bytes)
    collection_path = _in_thread(EdgeClient.collection_path)
    get_aliases = _in_thread(EdgeClient.get_aliases)
    get_collection_aliases = _in_thread(EdgeClient.get_collection_aliases)
    update_collection_aliases = _in_thread(EdgeClient.update_collection_aliases)
    create_vector_name = _in_thread(EdgeClient.create_vector_name)
    delete_vector_name = _in_thread(EdgeClient.delete_vector_name)
    create_payload_index = _in_thread(EdgeClient.create_payload_index)
    delete_payload_index = _in_thread(EdgeClient.delete_payload_index)
    upsert = _in_thread(EdgeClient.upsert)
    update_vectors = _in_thread(EdgeClient.update_vectors)
    delete_vectors = _in_thread(EdgeClient.delete_vectors)
    delete = _in_thread(EdgeClient.delete)
    set_payload = _in_thread(EdgeClient.set_payload)
    overwrite_payload = _in_thread(EdgeClient.overwrite_payload)
    delete_payload = _in_thread(EdgeClient.delete_payload)
    clear_payload = _in_thread(EdgeClient.clear_payload)
    query_points = _in_thread(EdgeClient.query_points)
    query_batch_points = _in_thread(EdgeClient.query_batch_points)
    query_batch_scored = _in_thread(EdgeClient.query_batch_scored)
    retrieve = _in_thread(EdgeClient.retrieve)
    scroll = _in_thread(EdgeClient.scroll)
    count = _in_thread(EdgeClient.count)
    facet = _in_thread(EdgeClient.facet)
