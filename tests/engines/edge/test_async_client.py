from __future__ import annotations

import asyncio
import inspect
import threading

import numpy as np
import pytest
from qdrant_client import AsyncQdrantClient, models

from embplug.engines import AsyncEdgeClient, EdgeClient
from embplug.engines.edge.store import EdgeCollection
from embplug.errors import CapabilityError, CollectionNotFoundError, EngineError

VECTORS = {"d": models.VectorParams(size=2, distance=models.Distance.DOT)}


def own_methods(kind: type) -> set[str]:
    return {
        name for name, member in vars(kind).items() if inspect.isfunction(member) and not name.startswith("_")
    }


def test_it_has_every_method_that_edge_has():
    refused = {
        name
        for name in own_methods(EdgeClient)
        if EdgeClient.__dict__[name].__doc__
        == "Raises CapabilityError, because Qdrant Edge has no such method."
    }
    assert own_methods(EdgeClient) - refused <= own_methods(AsyncEdgeClient)
    assert all(inspect.iscoroutinefunction(getattr(AsyncEdgeClient, n)) for n in own_methods(AsyncEdgeClient))


def test_the_arguments_have_the_names_of_the_asynchronous_client():
    own = {"close", "optimize", "disk_bytes", "collection_path", "query_batch_scored"}
    for name in own_methods(AsyncEdgeClient) - own:
        ours = inspect.signature(getattr(AsyncEdgeClient, name)).parameters
        theirs = inspect.signature(getattr(AsyncQdrantClient, name)).parameters
        # The deprecated name of `field_schema`.
        assert theirs.keys() - ours.keys() <= {"kwargs", "field_type"}, name
        assert ours.keys() <= theirs.keys(), name


def test_it_writes_reads_searches_and_closes(tmp_path):
    async def use() -> None:
        async with AsyncEdgeClient(EdgeClient(tmp_path)) as client:
            assert repr(client) == f"AsyncEdgeClient({str(tmp_path)!r})"
            assert client.path == tmp_path
            assert await client.create_collection("docs", VECTORS)
            await client.upsert(
                "docs", [models.PointStruct(id=1, vector={"d": [1.0, 2.0]}, payload={"a": 1})]
            )
            found = await client.query_points("docs", query=np.ones(2), using="d")
            assert [(point.id, point.score, point.payload) for point in found.points] == [(1, 3.0, {"a": 1})]
            assert (await client.count("docs")).count == 1
            assert await client.optimize("docs") in (True, False)
            with pytest.raises(CollectionNotFoundError, match="nowhere"):
                await client.count("nowhere")
            with pytest.raises(CapabilityError, match="shard_number"):
                await client.create_collection("x", VECTORS, shard_number=2)
        with pytest.raises(EngineError, match="closed"):
            await client.count("docs")

    asyncio.run(use())


def test_many_tasks_write_beside_each_other(edge_client):
    client = AsyncEdgeClient(edge_client)

    async def write(i: int) -> None:
        points = [models.PointStruct(id=100 * i + j, vector={"d": [1.0, float(j)]}) for j in range(20)]
        await client.upsert("docs", points)
        assert len(await client.retrieve("docs", ids=[100 * i + j for j in range(20)])) == 20

    async def use() -> None:
        await client.create_collection("docs", VECTORS)
        await asyncio.gather(*(write(i) for i in range(20)))
        assert (await client.count("docs")).count == 400

    asyncio.run(use())


def test_the_event_loop_goes_on_while_edge_works(edge_client):
    gate = threading.Event()
    collection = edge_client._collection

    def slow(name: str) -> EdgeCollection:
        assert gate.wait(20), "the event loop was held up"
        return collection(name)

    async def use() -> None:
        client = AsyncEdgeClient(edge_client)
        await client.create_collection("docs", VECTORS)
        edge_client._collection = slow
        counting = asyncio.create_task(client.count("docs"))
        await asyncio.sleep(0.01)
        assert not counting.done()
        gate.set()
        assert (await counting).count == 0

    asyncio.run(use())
