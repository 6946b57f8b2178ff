"""Requests that write: sent again where that may help, accounted for, and several at a time."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import Future
from typing import Any

import httpx
import pytest
from qdrant_client import QdrantClient, models

from embplug import Dense, Recipe
from embplug.branches.documents import CheckedDocuments
from embplug.branches.pipeline import Pipeline
from embplug.collection import chunks
from embplug.collection.chunks import chunked, chunks_of_parts
from embplug.collection.writing import AddReport, Failure, Sent, send_steps, upsert_call, write
from embplug.engines import PointForm
from embplug.engines.calls import PAUSE, RETRIES, Call, run, translated
from embplug.errors import EngineError, IngestError
from tests.branches.parts import DIM, documents, vectors

PIPELINE = Pipeline(Recipe(dense=Dense(dim=DIM)))
CALL = Call.of("upsert", collection_name="docs")
LOST = translated(httpx.ConnectError("the line is cut"))
REFUSED = EngineError("wrong size")


def sent(errors: list[Exception | None], is_outdated: Any = None) -> tuple[Sent, list[str]]:
    """Outcome of a request whose attempts end so, and the names of all calls."""
    steps, calls = send_steps(CALL, [1, 2], is_outdated), []
    answers = iter(errors)
    call = next(steps)
    try:
        while True:
            calls.append(call.method)
            error = None if call.method == PAUSE else next(answers)
            call = steps.send(None) if error is None else steps.throw(error)
    except StopIteration as stop:
        return stop.value, calls


def test_what_is_written_at_once_is_sent_once() -> None:
    assert sent([None]) == (Sent(0, None), ["upsert"])


def test_after_a_lost_connection_it_is_sent_again() -> None:
    assert sent([LOST, LOST, None]) == (Sent(2, None), ["upsert", PAUSE, "upsert", PAUSE, "upsert"])


def test_what_the_engine_refuses_is_not_sent_again() -> None:
    assert sent([REFUSED]) == (Sent(0, Failure([1, 2], "wrong size")), ["upsert"])


@pytest.mark.parametrize("error", [REFUSED, ValueError("shapes differ")])
def test_what_is_refused_because_the_collection_has_changed_is_no_failure(error: Exception) -> None:
    def is_outdated(refusal: Exception | None) -> Any:
        return refusal is error
        yield

    assert sent([error], is_outdated) == (Sent(0, None, outdated=True), ["upsert"])


def test_it_gives_up_after_the_last_retry() -> None:
    outcome, calls = sent([LOST] * (RETRIES + 1))
    assert outcome == Sent(RETRIES, Failure([1, 2], str(LOST)))
    assert calls.count("upsert") == RETRIES + 1 and calls.count(PAUSE) == RETRIES


def test_an_error_that_is_not_of_the_engine_is_not_hidden() -> None:
    with pytest.raises(KeyError):
        sent([KeyError("a mistake")])


def test_a_server_over_grpc_gets_a_message_and_others_get_points(memory_client: QdrantClient) -> None:
    source = documents(2, dense={"dense": vectors(2)})
    (chunk,) = chunked(source, PIPELINE, PointForm.ARRAYS, None)
    call = upsert_call(memory_client, "docs", chunk, PointForm.ARRAYS)
    assert call == Call.of("upsert", collection_name="docs", points=chunk.points, wait=True)
    server = QdrantClient("http://127.0.0.1:1", prefer_grpc=True, timeout=7, check_compatibility=False)
    (chunk,) = chunked(source, PIPELINE, PointForm.MESSAGES, None)
    call = upsert_call(server, "docs", chunk, PointForm.MESSAGES)
    server.close()
    assert (call.method, call.arguments["timeout"]) == ("grpc_points.Upsert", 7)
    request = call.arguments["request"]
    assert (request.collection_name, request.wait) == ("docs", True)
    assert [point.id.num for point in request.points] == [0, 1]


def part(first: int, count: int = 2) -> CheckedDocuments:
    source = documents(first + count, dense={"dense": vectors(first + count)})
    return source.part(first, first + count)


@pytest.fixture
def docs(memory_client: QdrantClient) -> QdrantClient:
    params = models.VectorParams(size=DIM, distance=models.Distance.COSINE)
    memory_client.create_collection("docs", vectors_config={"dense": params})
    return memory_client


def at_once(engine: Any) -> Callable[[Any], Future[Any]]:
    """Runs each request while it is submitted."""

    def submit(steps: Any) -> Future[Any]:
        future: Future[Any] = Future()
        future.set_result(run(engine, steps))
        return future

    return submit


def test_all_parts_are_written_and_counted(docs: QdrantClient, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chunks, "CHUNK_POINTS", 2)
    parts = [("a", part(0, 3)), ("b", part(3, 2))]
    report = write_parts(docs, parts, at_once(docs), in_flight=2)
    assert (report.added, report.failed, report.retries) == (5, [], 0)
    assert docs.count("docs").count == 5


def test_the_bar_counts_documents_that_are_acknowledged(docs: QdrantClient) -> None:
    class Bar:
        done = 0

        def update(self, count: int) -> None:
            self.done += count

    bar = Bar()
    write_parts(docs, [("a", part(0, 3)), ("b", part(3, 2))], at_once(docs), in_flight=1, bar=bar)
    assert bar.done == 5


def write_parts(engine: QdrantClient, parts: Any, submit: Any, **options: Any) -> AddReport:
    return write(
        engine, "docs", chunks_of_parts(parts, lambda: PIPELINE, PointForm.ARRAYS), submit, **options
    )


class Later:
    """Keeps requests until the test ends them."""

    def __init__(self) -> None:
        self.futures: list[Future[Any]] = []

    def __call__(self, steps: Any) -> Future[Any]:
        self.futures.append(Future())
        return self.futures[-1]

    def end(self, place: int, outcome: Sent | None = None) -> None:
        self.futures[place].set_result(outcome or Sent(0, None))


def test_it_tells_the_oldest_part_that_is_not_wholly_written(docs: QdrantClient) -> None:
    submit, written = Later(), []

    def parts() -> Iterator[tuple[str, CheckedDocuments]]:
        yield "a", part(0)
        yield "b", part(2)
        submit.end(0)
        yield "c", part(4)
        submit.end(1)
        submit.end(2)

    report = write_parts(docs, parts(), submit, in_flight=2, written=written.append)
    assert written == ["a", "a", "b", "c"] and report.added == 6


def test_no_more_requests_are_under_way_than_allowed(docs: QdrantClient) -> None:
    submit, unfinished = Later(), []

    def parts() -> Iterator[tuple[str, CheckedDocuments]]:
        for i in range(5):
            unfinished.append(sum(not future.done() for future in submit.futures))
            if unfinished[-1] == 3:
                submit.end(i - 3)
            yield "mark", part(2 * i)
        for place, future in enumerate(submit.futures):
            if not future.done():
                submit.end(place)

    assert write_parts(docs, parts(), submit, in_flight=3).added == 10
    assert unfinished == [0, 1, 2, 3, 3]


def test_after_a_failure_nothing_more_is_sent_and_what_is_under_way_counts(docs: QdrantClient) -> None:
    submit = Later()

    def parts() -> Iterator[tuple[str, CheckedDocuments]]:
        yield "a", part(0)
        yield "b", part(2)
        submit.end(0, Sent(6, Failure([0, 1], "lost")))
        submit.end(1, Sent(1, None))
        yield "c", part(4)
        pytest.fail("read on after a failure")

    with pytest.raises(
        IngestError, match=r"2 documents could not be written to 'docs', 2 were.*lost"
    ) as raised:
        write_parts(docs, parts(), submit, in_flight=2)
    report = raised.value.report
    assert (report.added, report.retries) == (2, 7)
    assert report.failed == [Failure([0, 1], "lost")]
    assert len(submit.futures) == 2


def test_an_error_of_the_parts_waits_for_what_is_under_way(docs: QdrantClient) -> None:
    submit = Later()

    def parts() -> Iterator[tuple[str, CheckedDocuments]]:
        yield "a", part(0)
        submit.end(0)
        raise KeyError("a mistake")

    class Bar:
        done = 0

        def update(self, count: int) -> None:
            self.done += count

    bar = Bar()
    with pytest.raises(KeyError):
        write_parts(docs, parts(), submit, in_flight=2, bar=bar)
    assert bar.done == 2
