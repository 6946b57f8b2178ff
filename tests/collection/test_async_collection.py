"""The asynchronous collection, on the engines that the synchronous one is tested on."""

from __future__ import annotations

import asyncio
import threading

import numpy as np
import pytest
from qdrant_client import AsyncQdrantClient

from embplug import (
    AsyncCollection,
    Collection,
    Documents,
    Query,
    Recipe,
    Tokens,
    connect_async,
    reembed,
    upgrade,
)
from embplug.errors import (
    DimensionError,
    InvalidArgumentError,
    NotFittedError,
    RecipeMismatchError,
    UpgradeError,
)
from embplug.methods import ResidualQuantizer
from tests.collection.test_collection import DIM, LEARNING, RECIPE, matrices
from tests.lifecycle.test_upgrade import COUNT, PLAIN, TEXTS, Model, exact


@pytest.fixture
def target(engine_name, request, tmp_path):
    """What ``connect_async`` takes, for each engine; tests run in a fresh loop."""
    if engine_name == "edge":
        request.getfixturevalue("edge_client")
        return lambda: connect_async(tmp_path / "edge")
    if engine_name == "memory":
        request.getfixturevalue("memory_client")
        client = AsyncQdrantClient(":memory:")
        return lambda: connect_async(client)
    request.getfixturevalue("server_client")
    url, grpc_port = request.getfixturevalue("qdrant_address")
    return lambda: connect_async(url, grpc_port=grpc_port)


async def filled(engine, recipe=RECIPE) -> tuple[AsyncCollection, list[np.ndarray]]:
    documents = matrices(60)
    collection = await AsyncCollection.create("docs", recipe, engine)
    report = await collection.add(ids=range(60), tokens=documents, payloads=[{"year": i} for i in range(60)])
    assert report.added == 60
    return collection, documents


def test_the_whole_life_of_a_collection(target):
    async def scenario() -> None:
        engine = await target()
        collection, documents = await filled(engine)
        hits = await collection.search(tokens=documents[4], limit=3, with_stages=True)
        assert hits[0].id == 4 and set(hits[0].stages) == {"fde", "maxsim"}
        again = await AsyncCollection.open("docs", engine)
        assert again.recipe == RECIPE
        assert await again.search(tokens=documents[4], limit=3, with_stages=True) == hits
        both = await again.batch_search([Query(tokens=documents[1]), Query(tokens=documents[2])], limit=1)
        assert [found[0].id for found in both] == [1, 2]
        await again.set_payload({"seen": True}, ids=[1])
        assert (await again.retrieve([1]))[0].payload == {"year": 1, "seen": True}
        await again.delete([1])
        assert await again.count() == 59
        assert len((await again.scroll(limit=100))[0]) == 59
        assert (await again.info()).points == 59
        await again.optimize()
        await again.drop()
        assert not await engine.collection_exists("docs")
        await engine.close()

    asyncio.run(scenario())


def test_codes_find_and_rank_without_matrices(target):
    tokens = Tokens(
        dim=DIM,
        encoding=RECIPE.tokens.encoding,
        multivector=None,
        codes=ResidualQuantizer(size=18, centroids=64),
        document_bytes=8,
    )

    async def scenario() -> None:
        engine = await target()
        collection, documents = await filled(engine, Recipe(tokens=tokens))
        query = documents[4]
        hits = await collection.search(tokens=query, candidates=60, limit=3, with_stages=True)
        scores = np.array([(query @ document.T).max(axis=1).sum() for document in documents])
        assert hits[0].id == scores.argmax() == 4
        assert set(hits[0].stages) == {"fde", "codes"}
        np.testing.assert_allclose([hit.score for hit in hits], scores[[hit.id for hit in hits]], atol=0.2)
        await engine.close()

    asyncio.run(scenario())


def test_a_hundred_tasks_search_while_another_adds(target):
    async def scenario() -> None:
        engine = await target()
        collection, documents = await filled(engine)
        more = matrices(100, seed=8)

        async def look(i: int) -> int | str:
            return (await collection.search(tokens=documents[i % 60], limit=1, candidates=160))[0].id

        async def write() -> None:
            for i in range(0, 100, 20):
                await collection.add(ids=range(1000 + i, 1020 + i), tokens=more[i : i + 20])

        found = await asyncio.gather(write(), *(look(i) for i in range(100)))
        assert list(found[1:]) == [i % 60 for i in range(100)]
        assert await collection.count() == 160
        await engine.close()

    asyncio.run(scenario())


def test_batches_may_be_asynchronous_and_methods_learn_from_them(target):
    async def scenario() -> None:
        engine = await target()
        documents = matrices(60)
        collection = await AsyncCollection.create("docs", LEARNING, engine)
        with pytest.raises(NotFittedError):
            await collection.search(tokens=documents[0])

        async def batches():
            for i in range(0, 60, 10):
                await asyncio.sleep(0)
                yield Documents(range(i, i + 10), tokens=documents[i : i + 10])

        assert (await collection.add_batches(batches())).added == 60
        assert (await collection.search(tokens=documents[33], limit=1))[0].id == 33
        await engine.close()

    asyncio.run(scenario())


def test_a_batch_that_is_none_is_named_and_ends_nothing_silently(target):
    async def scenario() -> None:
        engine = await target()
        collection = await AsyncCollection.create("docs", RECIPE, engine)

        async def batches():
            yield Documents([1], tokens=matrices(1))
            yield None
            yield Documents([2], tokens=matrices(1))

        with pytest.raises(InvalidArgumentError, match=r"batches: expected embplug\.Documents, got NoneType"):
            await collection.add_batches(batches())
        await engine.close()

    asyncio.run(scenario())


def test_a_cancelled_ingest_stops_reading(target):
    async def scenario() -> None:
        engine = await target()
        collection = await AsyncCollection.create("docs", RECIPE, engine)
        read = 0

        async def endless():
            nonlocal read
            while True:
                await asyncio.sleep(0.01)
                yield Documents([read], tokens=[np.ones((1, DIM))])
                read += 1

        writing = asyncio.ensure_future(collection.add_batches(endless()))
        while read < 5:
            await asyncio.sleep(0.01)
        writing.cancel()
        with pytest.raises(asyncio.CancelledError):
            await writing
        stopped_at = read
        await asyncio.sleep(0.1)
        assert read == stopped_at
        assert 0 < await collection.count() <= read + 1
        await engine.close()

    asyncio.run(scenario())


def test_a_cancelled_ingest_does_not_wait_for_a_batch_that_never_comes(target):
    async def scenario() -> None:
        engine = await target()
        collection = await AsyncCollection.create("docs", RECIPE, engine)

        async def stalled():
            yield Documents([1], tokens=[np.ones((1, DIM))])
            await asyncio.Event().wait()

        with pytest.raises(asyncio.TimeoutError):
            await asyncio.wait_for(collection.add_batches(stalled()), 0.5)
        assert await collection.count() == 1
        await engine.close()

    asyncio.run(asyncio.wait_for(scenario(), 20))


def test_errors_are_those_of_the_synchronous_collection(target):
    async def scenario() -> None:
        engine = await target()
        collection, documents = await filled(engine)
        with pytest.raises(DimensionError, match=r"^tokens\[0\]"):
            await collection.add(ids=[1], tokens=[np.ones((1, DIM + 1))])
        with pytest.raises(InvalidArgumentError, match=r"^limit"):
            await collection.search(tokens=documents[0], limit=0)
        with pytest.raises(RecipeMismatchError):
            await AsyncCollection.create("docs", LEARNING, engine)
        await engine.close()

    asyncio.run(scenario())


@pytest.mark.parametrize("engine_name", ["edge", "server"])
def test_both_kinds_open_each_others_collections(target, engine_name, request):
    async def scenario() -> list[np.ndarray]:
        engine = await target()
        _, documents = await filled(engine)
        await engine.close()
        return documents

    client = request.getfixturevalue(f"{engine_name}_client")
    documents = asyncio.run(scenario())
    assert Collection.open("docs", client).search(tokens=documents[9], limit=1)[0].id == 9


def test_public_methods_have_the_same_names_and_parameters():
    import inspect

    for name, method in inspect.getmembers(Collection, callable):
        if not name.startswith("_") and name != "to_async":
            twin = getattr(AsyncCollection, name)
            assert inspect.iscoroutinefunction(twin), name
            assert [*inspect.signature(method).parameters] == [*inspect.signature(twin).parameters], name


class Patient(Model):
    """Embeds documents only while the event loop goes on with something else."""

    def __init__(self, name: str) -> None:
        super().__init__(name)
        self.going_on = threading.Event()

    def encode_documents(self, texts):
        assert self.going_on.wait(30), "the event loop was held up"
        self.going_on.clear()
        return super().encode_documents(texts)


def test_a_new_model_is_taken_and_documents_embedded_anew_while_the_loop_is_free(engine):
    """Upgrades run in a thread, beside a collection that searches and takes over the result."""

    async def scenario() -> None:
        own = Collection.create("up", PLAIN, engine)
        collection = own.to_async()
        await collection.add([f"doc {i}" for i in range(COUNT)], texts=TEXTS)
        model = Patient("tests-new")

        async def meanwhile() -> None:
            while True:
                model.going_on.set()
                await asyncio.sleep(0.005)

        async def recall(model_name: str) -> float:
            query_numbers = range(0, COUNT, 10)
            found = await collection.batch_search([Query(text=f"query {i}") for i in query_numbers])
            shares = [
                len({hit.id for hit in hits} & exact(model_name, i)) / 10
                for i, hits in zip(query_numbers, found, strict=True)
            ]
            return float(np.mean(shares))

        other = asyncio.create_task(meanwhile())
        with pytest.raises(InvalidArgumentError, match="adapter"):
            await asyncio.to_thread(upgrade, own, model, adapter="magic")
        report = await asyncio.to_thread(upgrade, own, model, pairs=250)
        assert report.installed and report.recall > 0.9
        # What is open elsewhere follows with its next search, and has not got the new model.
        assert collection.recipe.encoder == "tests-old"
        with pytest.raises(InvalidArgumentError, match="encoder"):
            await recall("tests-old")
        await collection.reload(encoder=model)
        assert collection.recipe.encoder is None and await recall("tests-new") > 0.85
        with pytest.raises(UpgradeError, match="already"):
            await asyncio.to_thread(upgrade, own, model)
        half = await asyncio.to_thread(reembed, own, batch=50, limit=COUNT // 2)
        assert (half.embedded, half.left, half.finished) == (150, 150, False)
        slow = asyncio.create_task(asyncio.to_thread(reembed, own, batch=10, rate=100, limit=30))
        searches = 0
        while not slow.done():
            assert await recall("tests-new") > 0.85
            searches += 1
        assert searches and (await slow).left == 120
        again = Collection.open("up", engine, encoder=model)
        rest = await asyncio.to_thread(reembed, again)
        assert rest.finished and rest.embedded == 120
        # The model is the same, so that the encoder that was passed stays.
        await collection.reload()
        other.cancel()
        versions = (await collection.info()).versions
        assert versions["dense"].previous is None and await recall("tests-new") > 0.99
        everything = await collection.search(text="query 7", limit=COUNT)
        assert {hit.id for hit in everything} == {f"doc {i}" for i in range(COUNT)}
        if isinstance(collection.engine, AsyncQdrantClient):
            await collection.engine.close()

    asyncio.run(scenario())
