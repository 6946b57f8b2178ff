"""Several handles of one collection at once: each document is found, as if one had come after the other."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import Any

import httpx
import numpy as np
import pytest
from qdrant_client import QdrantClient, models

from embplug import AsyncCollection, Collection, Dense, Documents, Recipe, Sample, Tokens, reembed, upgrade
from embplug.branches.documents import check_sample
from embplug.collection.handle import ATTEMPTS, Handle
from embplug.collection.ingest import ingest
from embplug.collection.opening import create_steps
from embplug.collection.state_collection import STATE_COLLECTION
from embplug.common.ids import CODES
from embplug.engines import Engine, traits_of
from embplug.engines.calls import Call, run, translated
from embplug.errors import (
    CollectionNotFoundError,
    DimensionError,
    EngineConnectionError,
    EngineError,
    InvalidArgumentError,
    NotAnEmbplugCollectionError,
    RecipeMismatchError,
    UpgradeError,
)
from embplug.methods import PCA, CentroidQuantizer, PowerQuantizer
from tests.branches.parts import DIM, SMALL_FDE, batch, vectors
from tests.collection.watched import Killed, killed_before_last_note, watched
from tests.lifecycle.test_upgrade import PLAIN, TEXTS, exact

LEARNING = Recipe(dense=Dense(dim=DIM, transforms=[PCA(4)]), fit_sample=60)
CODED = Recipe(tokens=Tokens(dim=DIM, encoding=SMALL_FDE, codes=CentroidQuantizer(count=16)), fit_sample=60)
COUNT = 60
LOST = translated(httpx.ConnectError("the line is cut"))
pytestmark = pytest.mark.filterwarnings("ignore:.*has learned from few documents")


def subspace(seed: int, count: int = COUNT) -> np.ndarray:
    """Vectors of which a PCA of others keeps little."""
    rng = np.random.default_rng(seed)
    basis = np.linalg.qr(rng.standard_normal((DIM, 4)))[0]
    return (rng.standard_normal((count, 4)) @ basis.T).astype(np.float32)


def together(*tasks: Callable[[], Any]) -> list[Any]:
    """Results of tasks that begin at the same moment, each in a thread."""
    barrier = threading.Barrier(len(tasks))

    def begin(task: Callable[[], Any]) -> Any:
        barrier.wait()
        return task()

    with ThreadPoolExecutor(len(tasks)) as pool:
        return [future.result() for future in [pool.submit(begin, task) for task in tasks]]


def share_found(collection: Collection, dense: np.ndarray, first: int) -> float:
    """How many documents are found by their own vector."""
    best = [collection.search(dense=row, limit=1)[0].id for row in dense]
    return float(np.mean([best[i] == first + i for i in range(len(dense))]))


def test_handles_that_learn_at_once_learn_the_same(engine: Engine) -> None:
    Collection.create("docs", LEARNING, engine)
    handles = [Collection.open("docs", engine) for _ in range(4)]
    data = [vectors(COUNT, seed) for seed in range(4)]
    together(
        *(
            lambda i=i: handles[i].add(range(i * COUNT, (i + 1) * COUNT), dense=data[i])
            for i in range(len(handles))
        )
    )
    fresh = Collection.open("docs", engine)
    assert fresh.count() == 4 * COUNT
    stored = np.concatenate(data)
    assert_same_states([*handles, fresh])
    # What is stored is what the one state makes of each document.
    for record in engine.retrieve("docs", [*range(4 * COUNT)], with_vectors=True):
        expected = fresh._pipeline.dense("dense").to_store(stored[[record.id]], [record.id])["dense"][0]
        actual = np.asarray(record.vector["dense"])
        # Both are of unit length up to the rounding of float32.
        cosine = actual @ expected / np.linalg.norm(actual) / np.linalg.norm(expected)
        assert cosine == pytest.approx(1.0, abs=1e-5)


def test_one_object_that_several_threads_use_learns_once(engine: Engine) -> None:
    collection = Collection.create("docs", LEARNING, engine)
    data = [vectors(COUNT, seed) for seed in range(4)]
    together(
        *(lambda i=i: collection.add(range(i * COUNT, (i + 1) * COUNT), dense=data[i]) for i in range(4))
    )
    assert_same_states([collection, Collection.open("docs", engine)])
    assert collection.count() == 4 * COUNT


def test_codes_are_of_the_state_that_won(engine: Engine) -> None:
    Collection.create("docs", CODED, engine)
    handles = [Collection.open("docs", engine) for _ in range(3)]
    data = [batch(COUNT, seed) for seed in range(3)]
    together(
        *(lambda i=i: handles[i].add(range(i * COUNT, (i + 1) * COUNT), tokens=data[i]) for i in range(3))
    )
    assert_same_states([*handles, Collection.open("docs", engine)])
    again = Collection.create("again", CODED, engine)
    again._handle.pipeline = handles[0]._pipeline.changed(again.recipe, {})
    again._pipeline.set_state(handles[0]._pipeline.get_state())
    again._pipeline.revision = again._pipeline.alias = None
    for i in range(3):
        again.add(range(i * COUNT, (i + 1) * COUNT), tokens=data[i])
    assert codes(engine, "docs") == codes(engine, "again")


def codes(engine: Engine, name: str) -> dict[Any, str]:
    records, _ = engine.scroll(name, limit=1000, with_payload=[CODES])
    return {record.id: record.payload[CODES] for record in records}


def assert_same_states(collections: list[Any]) -> None:
    first, *others = (collection._pipeline.get_state() for collection in collections)
    assert first
    for other in others:
        assert other.keys() == first.keys()
        for key, array in first.items():
            np.testing.assert_array_equal(other[key], array)


async def test_async_handles_learn_the_same(engine: Engine) -> None:
    first = Collection.create("docs", LEARNING, engine)
    handles: list[AsyncCollection] = [first.to_async(), Collection.open("docs", engine).to_async()]
    data = [vectors(COUNT, seed) for seed in range(2)]
    await asyncio.gather(
        *(handle.add(range(i * COUNT, (i + 1) * COUNT), dense=data[i]) for i, handle in enumerate(handles))
    )
    assert (await handles[0].search(dense=data[1][0], limit=1))[0].id in range(2 * COUNT)
    assert_same_states(handles)


@pytest.mark.parametrize("by", ["embplug", "client"])
def test_an_object_of_a_collection_that_was_made_anew_follows(engine: Engine, by: str) -> None:
    """It searches and writes with the state that the collection has now."""
    old = Collection.create("docs", LEARNING, engine, sample=Sample(dense=subspace(1)))
    old.add(range(COUNT), dense=subspace(1))
    reader, writer = Collection.open("docs", engine), Collection.open("docs", engine)
    if by == "embplug":
        old.drop()
    else:
        engine.delete_collection("docs")
    data = subspace(2, 100)
    new = Collection.create("docs", LEARNING, engine, sample=Sample(dense=data))
    new.add(range(100), dense=data)
    assert share_found(reader, data, 0) == 1.0
    # The first search is right, and not only the next.
    assert reader._pipeline.revision == new._pipeline.revision
    more = subspace(2, 20) * np.float32(0.5) + np.float32(0.01)
    assert writer.add(range(200, 220), dense=more).added == 20
    assert new.count() == 120
    for row in (0, 7, 19):
        assert new.search(dense=more[row], limit=1)[0].id == 200 + row
    assert writer._pipeline.revision == new._pipeline.revision


def test_an_object_of_a_collection_that_is_gone_says_so(engine: Engine) -> None:
    collection = Collection.create("docs", LEARNING, engine, sample=Sample(dense=vectors(30)))
    Collection.open("docs", engine).drop()
    with pytest.raises(CollectionNotFoundError):
        collection.search(dense=vectors(1)[0])
    with pytest.raises(CollectionNotFoundError):
        collection.add([1], dense=vectors(1))
    with pytest.raises(CollectionNotFoundError):
        collection.drop()


def test_an_object_follows_to_another_recipe(engine: Engine) -> None:
    collection = Collection.create("docs", Recipe(dense=Dense(dim=DIM)), engine)
    collection.add([1], dense=vectors(1))
    stale = Collection.open("docs", engine)
    collection.drop()
    wider = Collection.create("docs", Recipe(dense=Dense(dim=DIM + 1)), engine)
    wider.add([7], dense=vectors(1, dim=DIM + 1))
    # What does not fit the old recipe fits the present one, and the other way round.
    assert stale.search(dense=vectors(1, dim=DIM + 1)[0])[0].id == 7
    late = Collection.open("docs", engine)
    with pytest.raises(InvalidArgumentError, match="dense"):
        late.search(dense=vectors(1)[0])
    with pytest.raises(InvalidArgumentError, match="dense"):
        late.add([1], dense=vectors(1))


def test_what_is_added_to_another_recipe_is_checked_for_it(engine: Engine) -> None:
    collection = Collection.create("docs", Recipe(dense=Dense(dim=DIM)), engine)
    stale, late = Collection.open("docs", engine), Collection.open("docs", engine)
    collection.drop()
    Collection.create("docs", Recipe(dense=Dense(dim=DIM + 1)), engine)
    with pytest.raises(InvalidArgumentError, match=r"^dense: .*shape"):
        late.add([1], dense=vectors(1))
    batches = (Documents([i], dense=vectors(1, dim=DIM + 1)) for i in range(3))
    assert stale.add_batches(batches).added == 3
    assert asyncio.run(late.to_async().add([9], dense=vectors(1, dim=DIM + 1))).added == 1


def test_arguments_are_checked_for_the_collection_as_it_is(engine: Engine) -> None:
    words = models.Filter(must=[models.FieldCondition(key="a", match=models.MatchValue(value="b"))])
    recipe = Recipe(dense=Dense(dim=DIM), payload_indexes={"a": "integer"})
    collection = Collection.create("docs", recipe, engine)
    collection.add([1], dense=vectors(1), payloads=[{"a": "b"}])
    calls: list[Callable[[Collection], Any]] = [
        lambda docs: docs.set_payload({"n": 1}, filter=words),
        lambda docs: docs.overwrite_payload({"a": "b"}, filter=words),
        lambda docs: docs.delete_payload(["n"], filter=words),
        lambda docs: docs.count(filter=words),
        lambda docs: docs.scroll(filter=words),
        lambda docs: docs.search(dense=vectors(1)[0], filter=words),
        lambda docs: docs.retrieve([1], with_vectors=["other"]),
        lambda docs: docs.clear_payload(filter=words),
        lambda docs: docs.delete(filter=words),
    ]
    stale = [Collection.open("docs", engine) for _ in calls]
    for call in calls:
        with pytest.raises(InvalidArgumentError):
            call(collection)
    collection.drop()
    wider = Recipe(dense={"dense": Dense(dim=DIM), "other": Dense(dim=DIM)})
    both = {name: vectors(1) for name in ("dense", "other")}
    Collection.create("docs", wider, engine).add([1], dense=both, payloads=[{"a": "b"}])
    for call, handle in zip(calls[:5], stale, strict=False):
        call(handle)
    assert stale[6].retrieve([1], with_vectors=["other"])[0].vector
    for call, handle in zip(calls[7:], stale[7:], strict=True):
        call(handle)


def test_arguments_are_refused_after_a_change_that_was_killed(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The metadata are still of the revision before; the alias is not."""
    collection = Collection.create("docs", Recipe(dense=Dense(dim=DIM)), engine)
    collection.add([1], dense=vectors(1))
    before = Collection.open("docs", engine)
    killed_before_last_note(monkeypatch, lambda: collection.create_payload_index("year", "integer"))
    for handle in (before, Collection.open("docs", engine)):
        with pytest.raises(DimensionError):
            handle.search(dense=vectors(1, dim=DIM + 1)[0])
        with pytest.raises(DimensionError):
            handle.add([1], dense=vectors(1, dim=DIM + 1))
        assert handle.recipe.payload_indexes == {"year": "integer"}
    before.delete_payload_index("year")
    assert Collection.open("docs", engine).recipe.payload_indexes == {}


def test_documents_are_checked_anew_a_bounded_number_of_times(
    memory_client: QdrantClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    collection = Collection.create("docs", Recipe(dense=Dense(dim=DIM)), memory_client)
    checks: list[Exception] = []

    def changed_steps(self: Handle, pipeline: Any, error: Any) -> Any:
        checks.append(error)
        return True
        yield

    monkeypatch.setattr(Handle, "changed_steps", changed_steps)
    with pytest.raises(EngineError, match="changed by other processes all the time"):
        collection.add([1], dense=vectors(1, dim=DIM + 1))
    assert len(checks) == ATTEMPTS


def test_batches_that_are_written_while_the_collection_is_made_anew_are_encoded_anew(
    memory_client: QdrantClient,
) -> None:
    Collection.create("docs", LEARNING, memory_client, sample=Sample(dense=subspace(1)))
    writer = Collection.open("docs", memory_client)
    data = subspace(2, 90)

    def batches() -> Iterator[Documents]:
        yield Documents(range(30), dense=data[:30])
        yield Documents(range(30, 60), dense=data[30:60])
        Collection.open("docs", memory_client).drop()
        Collection.create("docs", LEARNING, memory_client, sample=Sample(dense=data))
        yield Documents(range(60, 90), dense=data[60:])

    writer.add_batches(batches(), workers=1)
    fresh = Collection.open("docs", memory_client)
    # What was acknowledged before the collection was dropped is gone with it.
    assert fresh.count() >= 30
    for row in (60, 75, 89):
        assert fresh.search(dense=data[row], limit=1)[0].id == row


def test_a_batch_that_learns_after_the_collection_was_made_anew_is_not_lost(
    memory_client: QdrantClient,
) -> None:
    Collection.create("docs", LEARNING, memory_client, sample=Sample(dense=vectors(60)))
    writer = Collection.open("docs", memory_client)
    writer.drop()
    Collection.create("docs", LEARNING, memory_client)
    assert writer.add(range(COUNT), dense=vectors(COUNT)).added == COUNT
    assert Collection.open("docs", memory_client).count() == COUNT


def test_six_that_create_at_once_all_open_it(engine: Engine) -> None:
    sample = Sample(dense=vectors(COUNT))
    created = together(
        *(lambda: Collection.create("docs", LEARNING, engine, sample=sample) for _ in range(6))
    )
    for i, collection in enumerate(created):
        collection.add([i], dense=vectors(1, seed=i))
    fresh = Collection.open("docs", engine)
    assert fresh.count() == 6
    assert {own._pipeline.revision for own in created} == {fresh._pipeline.revision}


def test_those_that_create_another_recipe_at_once_are_told_what_differs(engine: Engine) -> None:
    other = LEARNING.model_copy(update={"text_key": "body"})

    def create(recipe: Recipe) -> str:
        try:
            return Collection.create("docs", recipe, engine).recipe.text_key
        except RecipeMismatchError as error:
            return str([*error.differences])

    keys = together(*(lambda i=i: create(other if i % 2 else LEARNING) for i in range(4)))
    assert sorted(keys) in (["['text_key']"] * 2 + ["body"] * 2, ["['text_key']"] * 2 + ["text"] * 2)


@pytest.mark.parametrize("engine_name", ["memory", "server"], indirect=True)
def test_what_is_dropped_takes_nothing_of_another_collection(engine: Engine) -> None:
    sample = Sample(dense=vectors(COUNT))
    for _ in range(3):
        first = Collection.create("first", LEARNING, engine, sample=sample)
        together(first.drop, lambda: Collection.create("second", LEARNING, engine, sample=sample))
        second = Collection.open("second", engine)
        second.add([1], dense=vectors(1))
        assert second.search(dense=vectors(1)[0])[0].id == 1
        second.drop()
    assert engine.count(STATE_COLLECTION).count == 0


def test_a_sample_is_used_where_a_call_before_was_killed(engine: Engine) -> None:
    sample = Sample(dense=vectors(COUNT))
    for method in ("update_collection_aliases", "create_collection", "update_collection"):

        def kill(call: Call, method: str = method) -> None:
            if call.method == method and call.arguments.get("collection_name") != STATE_COLLECTION:
                raise Killed

        checked = check_sample(sample, LEARNING)
        run(engine, watched(create_steps(engine, "docs", LEARNING, sample=checked), kill))
        again = Collection.create("docs", LEARNING, engine, sample=sample)
        assert again._pipeline.fitted and Collection.open("docs", engine)._pipeline.fitted
        again.drop()


def test_a_sample_is_used_where_another_process_created_without(engine: Engine) -> None:
    Collection.create("docs", LEARNING, engine)
    assert Collection.create("docs", LEARNING, engine, sample=Sample(dense=vectors(60)))._pipeline.fitted


def test_what_an_outage_left_half_made_is_completed(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    recipe = LEARNING.replaced(payload_indexes={"year": "integer"})
    monkeypatch.setattr("embplug.engines.calls.FIRST_PAUSE_S", 0.0)

    def lose(call: Call) -> None:
        if call.method in ("create_payload_index", "delete_collection"):
            raise translated(httpx.ConnectError("the line is cut"))

    with pytest.raises(EngineConnectionError):
        run(engine, watched(create_steps(engine, "docs", recipe), lose))
    assert engine.collection_exists("docs")
    collection = Collection.create("docs", recipe, engine)
    collection.add([1], dense=vectors(1), payloads=[{"year": 2024}])
    assert collection.count() == 1
    if traits_of(engine).indexes_payloads:
        assert "year" in engine.get_collection("docs").payload_schema


def test_a_handle_that_was_opened_by_an_alias_goes_with_the_alias(engine: Engine) -> None:
    for i, name in enumerate(("first", "second")):
        own = Collection.create(name, LEARNING, engine, sample=Sample(dense=subspace(i)))
        own.add(range(COUNT), dense=subspace(i))
    point(engine, "live", "first")
    live = Collection.open("live", engine)
    assert live.search(dense=subspace(0)[3], limit=1)[0].id == 3
    point(engine, "live", "second")
    assert share_found(live, subspace(1), 0) == 1.0
    live.add([99], dense=subspace(1)[:1] + np.float32(0.01))
    assert Collection.open("second", engine).count() == COUNT + 1
    assert Collection.open("first", engine).count() == COUNT


SWITCHED = {
    "longer": Recipe(dense=Dense(dim=DIM)),
    "shorter": Recipe(dense=Dense(dim=DIM, transforms=[PCA(4)]), fit_sample=60),
    "renamed": Recipe(dense={"small": Dense(dim=DIM, transforms=[PCA(4)])}, fit_sample=60),
    "coded": Recipe(dense=Dense(dim=DIM, codes=PowerQuantizer(bits=8))),
}


@pytest.mark.parametrize(
    ("first", "second"),
    [("longer", "shorter"), ("shorter", "longer"), ("shorter", "renamed"), ("coded", "longer")],
)
def test_an_alias_is_followed_to_other_vectors(engine: Engine, first: str, second: str) -> None:
    data = subspace(1)
    for name in (first, second):
        own = Collection.create(name, SWITCHED[name], engine, sample=Sample(dense=data))
        own.add(range(COUNT), dense=data)
    point(engine, "live", first)
    reader, writer, late = (Collection.open("live", engine) for _ in range(3))
    assert reader.search(dense=data[3], limit=1)[0].id == 3
    point(engine, "live", second)
    # The first request is answered, and not only the next.
    assert reader.search(dense=data[3], limit=1)[0].id == 3
    assert writer.add([99], dense=data[:1] + np.float32(0.01)).added == 1
    assert asyncio.run(late.to_async().add([98], dense=data[1:2] + np.float32(0.01))).added == 1
    assert Collection.open(second, engine).count() == COUNT + 2
    assert Collection.open(first, engine).count() == COUNT
    for handle in (reader, writer):
        assert handle.recipe == Collection.open(second, engine).recipe
        assert handle.search(dense=data[7], limit=1)[0].id == 7


def test_an_alias_of_a_plain_collection_says_how_to_open_it(engine: Engine) -> None:
    Collection.create("first", Recipe(dense=Dense(dim=DIM)), engine)
    params = models.VectorParams(size=DIM + 1, distance=models.Distance.COSINE)
    engine.create_collection("plain", vectors_config={"dense": params})
    point(engine, "live", "first")
    live = Collection.open("live", engine)
    point(engine, "live", "plain")
    calls: list[Callable[[], Any]] = [
        lambda: live.search(dense=vectors(1)[0]),
        lambda: live.add([1], dense=vectors(1)),
        lambda: live.search(dense=vectors(1, dim=DIM + 1)[0]),
    ]
    for call in calls:
        with pytest.raises(NotAnEmbplugCollectionError, match="open_plain"):
            call()


@pytest.mark.parametrize("error", [EngineError("refused"), ValueError("shapes differ"), LOST])
def test_what_is_refused_for_another_reason_is_not_repeated(
    memory_client: QdrantClient, error: Exception
) -> None:
    Collection.create("docs", Recipe(dense=Dense(dim=DIM)), memory_client)
    point(memory_client, "live", "docs")
    handle = Collection.open("live", memory_client)._handle
    methods: list[str] = []

    def refuse(call: Call) -> None:
        methods.append(call.method)
        if call.method == "count":
            raise error

    def work(pipeline: Any) -> Any:
        return (yield Call.of("count", collection_name="live"))

    # After an error that may pass nothing more is read.
    further = [] if error is LOST else ["get_aliases", "get_collection"]
    for steps in (handle.run_steps(work), handle.checked_steps(work)):
        with pytest.raises(type(error), match=str(error)):
            run(memory_client, watched(steps, refuse))
        assert methods == ["count", *further]
        methods.clear()


def point(engine: Engine, alias: str, name: str) -> None:
    create = models.CreateAlias(collection_name=name, alias_name=alias)
    delete = models.DeleteAlias(alias_name=alias)
    engine.update_collection_aliases(
        [
            models.DeleteAliasOperation(delete_alias=delete),
            models.CreateAliasOperation(create_alias=create),
        ]
    )


def by_texts(engine: Engine) -> Collection:
    collection = Collection.create("docs", PLAIN, engine)
    collection.add([f"doc {i}" for i in range(200)], texts=TEXTS[:200])
    return collection


def test_handles_follow_an_upgrade_and_what_is_added_is_found(engine: Engine) -> None:
    collection = by_texts(engine)
    reader, writer, late = (Collection.open("docs", engine) for _ in range(3))
    assert upgrade(collection, "tests-new", pairs=150).installed
    writer.add([f"doc {i}" for i in range(200, 250)], texts=TEXTS[200:250])
    # The new documents have vectors of the new model, and the mark that says so.
    assert engine.count("docs", count_filter=models.Filter(must=[MARKED])).count == 50
    assert [hit.id for hit in reader.search(text="query 230", limit=1)] == ["doc 230"]
    assert [hit.id for hit in reader.search(text="query 7", limit=1)] == ["doc 7"]
    assert reembed(Collection.open("docs", engine)).finished
    late.add([f"doc {i}" for i in range(250, 300)], texts=TEXTS[250:300])
    for handle in (reader, writer, late, collection):
        for i in (3, 230, 270):
            ids = {hit.id for hit in handle.search(text=f"query {i}")}
            assert len(ids & exact("tests-new", i)) >= 9


MARKED = models.FieldCondition(key="_embplug_model", range=models.Range(gte=2))


def test_vectors_of_the_model_before_an_upgrade_are_refused(memory_client: QdrantClient) -> None:
    collection = by_texts(memory_client)
    writer = Collection.open("docs", memory_client)
    upgrade(collection, "tests-new", pairs=150)
    with pytest.raises(InvalidArgumentError, match=r"^dense: .*model that the collection has now"):
        writer.add([1], dense=vectors(1, dim=16))
    assert collection.count() == 200
    # Now it knows, and so does its user.
    writer.add([1], dense=vectors(1, dim=16))


def test_of_two_upgrades_at_once_one_is_told(engine: Engine) -> None:
    by_texts(engine)

    def begin(model: str) -> str:
        try:
            return str(upgrade(Collection.open("docs", engine), model, pairs=150).installed)
        except UpgradeError as error:
            assert "another process" in str(error) or "already" in str(error)
            return "told"

    assert sorted(together(lambda: begin("tests-new"), lambda: begin("tests-new"))) == ["True", "told"]
    assert Collection.open("docs", engine).info().versions["dense"].model == 2


def test_two_that_reembed_at_once_finish(engine: Engine) -> None:
    upgrade(by_texts(engine), "tests-new", pairs=150)
    reports = together(
        *(lambda: reembed(Collection.open("docs", engine), batch=20, progress=False) for _ in range(2))
    )
    assert all(report.finished for report in reports)
    info = Collection.open("docs", engine).info()
    assert info.versions["dense"].previous is None and info.points == 200


def test_learning_from_what_another_handle_began_is_bound_to_one_state(memory_client: QdrantClient) -> None:
    """The other handle learns between the fit and the decision of this one."""
    Collection.create("docs", LEARNING, memory_client)
    slow, fast = Collection.open("docs", memory_client), Collection.open("docs", memory_client)
    raced = []

    def submit(steps: Any) -> Future[Any]:
        future: Future[Any] = Future()

        def race(call: Call) -> None:
            if call.method == "update_collection_aliases" and not raced:
                raced.append(fast.add(range(COUNT), dense=subspace(1)))

        future.set_result(run(memory_client, watched(steps, race)))
        return future

    data = subspace(2)
    handle: Handle = slow._handle
    ingest(handle, [Documents(range(COUNT, 2 * COUNT), dense=data)], submit, in_flight=1, progress=False)
    assert raced
    assert_same_states([fast, slow])
    assert memory_client.count(STATE_COLLECTION).count == 1


def test_a_search_costs_no_request_more(memory_client: QdrantClient, monkeypatch: pytest.MonkeyPatch) -> None:
    collection = Collection.create("docs", LEARNING, memory_client, sample=Sample(dense=vectors(60)))
    collection.add(range(COUNT), dense=vectors(COUNT))
    methods: list[str] = []
    for name in ("query_batch_points", "get_collection", "get_aliases", "retrieve", "upsert"):
        original = getattr(memory_client, name)

        def counted(*args: Any, original: Any = original, name: str = name, **kwargs: Any) -> Any:
            methods.append(name)
            return original(*args, **kwargs)

        monkeypatch.setattr(memory_client, name, counted)
    collection.search(dense=vectors(1)[0])
    collection.add([1], dense=vectors(1))
    assert methods == ["query_batch_points", "upsert"]
    formula = models.FormulaQuery(formula=models.NegExpression(neg="$score"))
    collection.search(dense=vectors(1)[0], formula=formula, with_payload=False)
    assert methods == ["query_batch_points", "upsert", "query_batch_points"]
