from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import closing
from email.utils import formatdate
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import grpc
import httpx
import pytest
from qdrant_client import AsyncQdrantClient, QdrantClient
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from embplug.engines import connect
from embplug.engines.calls import (
    PAUSE,
    RETRIES,
    Call,
    Steps,
    all_retried,
    is_transient,
    retried,
    retry_after,
    run,
    run_async,
    translated,
)
from embplug.errors import (
    CollectionNotFoundError,
    EngineAnswerError,
    EngineConnectionError,
    EngineError,
    InvalidArgumentError,
)


class Engine:
    """Answers what it is told to, and fails where it is told to."""

    init_options = connect(":memory:").init_options

    def add(self, first: int, second: int) -> int:
        return first + second

    def fail(self, error: Exception) -> None:
        raise error


class AsyncEngine:
    async def add(self, first: int, second: int) -> int:
        await asyncio.sleep(0)
        return first + second

    async def fail(self, error: Exception) -> None:
        raise error


def run_both(make: Callable[[], Steps[Any]]) -> list[Any]:
    """The result of the steps, or their error, from each of the two shells."""
    results: list[Any] = []
    for shell in (
        lambda: run(Engine(), make()),  # type: ignore[arg-type]
        lambda: asyncio.run(run_async(AsyncEngine(), make())),  # type: ignore[arg-type]
    ):
        try:
            results.append(shell())
        except Exception as error:
            results.append(error)
    return results


class RpcError(grpc.RpcError):
    def __init__(self, code: grpc.StatusCode, details: str = "the details") -> None:
        self._code, self._details = code, details

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return self._details


def answered(status: int) -> UnexpectedResponse:
    return UnexpectedResponse(status, "reason", b'{"status": "why"}', httpx.Headers())


def test_results_go_back_to_the_steps():
    def steps() -> Steps[int]:
        three = yield Call.of("add", first=1, second=2)
        return (yield Call.of("add", first=three, second=10))

    assert run_both(steps) == [13, 13]


def test_steps_may_ask_nothing():
    def steps() -> Steps[str]:
        return "done"
        yield

    assert run_both(steps) == ["done", "done"]


def test_steps_may_catch_the_error_of_a_call_and_go_on():
    def steps() -> Steps[Any]:
        try:
            yield Call.of("fail", error=answered(500))
        except EngineError as error:
            return (yield Call.of("add", first=1, second=1)), error.__cause__.status_code

    assert run_both(steps) == [(2, 500), (2, 500)]


def test_an_error_that_the_steps_do_not_catch_comes_out():
    def steps() -> Steps[None]:
        yield Call.of("fail", error=InvalidArgumentError("a", "b", "c"))

    assert [type(error) for error in run_both(steps)] == [InvalidArgumentError] * 2


def test_pauses_and_computations_are_the_shells_business():
    threads = []

    def compute() -> int:
        threads.append(threading.current_thread() is threading.main_thread())
        return 7

    def steps() -> Steps[int]:
        yield Call.pause(0.05)
        return (yield Call.compute(compute))

    began = time.monotonic()
    assert run_both(steps) == [7, 7]
    assert time.monotonic() - began >= 0.1
    # The asynchronous shell leaves its event loop free.
    assert threads == [True, False]


@pytest.mark.parametrize(
    ("error", "kind", "says", "transient"),
    [
        (RpcError(grpc.StatusCode.UNAVAILABLE), EngineConnectionError, "UNAVAILABLE: the details", True),
        (RpcError(grpc.StatusCode.DEADLINE_EXCEEDED), EngineError, "DEADLINE_EXCEEDED", True),
        (RpcError(grpc.StatusCode.INVALID_ARGUMENT), EngineError, "INVALID_ARGUMENT: the details", False),
        (RpcError(grpc.StatusCode.UNAUTHENTICATED), EngineError, "UNAUTHENTICATED", False),
        (ResponseHandlingException(ConnectionError("refused")), EngineConnectionError, "refused", True),
        (httpx.ReadTimeout("too slow"), EngineConnectionError, "too slow", True),
        (answered(503), EngineError, '503: {"status": "why"}', True),
        (answered(429), EngineError, "429", True),
        (answered(400), EngineError, "400", False),
        (ResourceExhaustedResponse("slow down", 3), EngineError, "slow down", True),
        (ResourceExhaustedResponse("slow down", 3600), EngineError, "pause of 3600 s, which is more", False),
        (RpcError(grpc.StatusCode.INTERNAL), EngineError, "INTERNAL", True),
        (
            RpcError(grpc.StatusCode.INTERNAL, "Exception deserializing response!"),
            EngineAnswerError,
            "deserializing",
            False,
        ),
    ],
)
def test_errors_of_the_clients_become_ours(error, kind, says, transient):
    ours = translated(error)
    assert type(ours) is kind
    assert says in str(ours)
    assert ours.__cause__ is error
    assert is_transient(ours) is is_transient(error) is transient
    assert retry_after(ours) == getattr(error, "retry_after_s", 0.0)


@pytest.mark.parametrize("error", [EngineError("ours"), ValueError("somebody's"), KeyError("a")])
def test_other_errors_stay_what_they_are(error):
    assert translated(error) is error
    assert not is_transient(error)


def test_a_refusal_of_a_real_server_is_told(server_client):
    def steps() -> Steps[Any]:
        return (yield Call.of("count", collection_name="nowhere"))

    with pytest.raises(CollectionNotFoundError, match=r"NOT_FOUND.*nowhere"):
        run(server_client, steps())


@pytest.fixture
def web_server() -> Iterator[ThreadingHTTPServer]:
    """An HTTP server that is no Qdrant: it gives each request the same ``answer``."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Answering)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield server
    server.shutdown()
    server.server_close()


class Answering(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        status, headers, body = self.server.answer  # type: ignore[attr-defined]
        self.send_response(status)
        for name, value in {**headers, "Content-Length": len(body)}.items():
            self.send_header(name, str(value))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *args: Any) -> None:
        pass


@pytest.mark.parametrize(
    ("status", "headers", "body", "kind", "says", "seconds"),
    [
        (200, {}, b"<html>", EngineAnswerError, "cannot be read", None),
        (200, {}, b'{"result": 7}', EngineAnswerError, "cannot be read", None),
        (200, {}, b"\xff", EngineAnswerError, "cannot be read", None),
        (200, {"Content-Encoding": "gzip"}, b"zzz", EngineAnswerError, "cannot be read", None),
        (429, {"Retry-After": "5"}, b"{}", EngineError, "at its limit", (5, 5)),
        (429, {"Retry-After": 30}, b"{}", EngineError, "at its limit", (1, 31)),
        (429, {"Retry-After": -30}, b"{}", EngineError, "at its limit", (0, 0)),
        (429, {"Retry-After": "soon"}, b"{}", EngineError, "at its limit", (0, 0)),
        (429, {"Retry-After": "-3"}, b"{}", EngineError, "at its limit", (0, 0)),
        (429, {"Retry-After": 1e6}, b"{}", EngineError, "which is more than the 60 s", None),
        (429, {"Retry-After": "3600"}, b"{}", EngineError, "which is more than the 60 s", None),
        (429, {}, b"{}", EngineError, "429", (0, 0)),
    ],
)
def test_answers_over_rest(web_server, status, headers, body, kind, says, seconds):
    headers = {
        name: value if isinstance(value, str) else formatdate(time.time() + value, usegmt=True)
        for name, value in headers.items()
    }
    web_server.answer = (status, headers, body)
    client = QdrantClient(f"http://127.0.0.1:{web_server.server_port}", check_compatibility=False)

    def steps() -> Steps[Any]:
        return (yield Call.of("collection_exists", collection_name="docs"))

    with closing(client), pytest.raises(EngineError, match=says) as raised:
        run(client, steps())
    assert type(raised.value) is kind
    assert is_transient(raised.value) is (seconds is not None)
    if seconds is not None:
        assert seconds[0] <= retry_after(raised.value) <= seconds[1]


def failing_first(calls: list[Call], failures: int, steps: Steps[Any]) -> Any:
    """The result of steps whose first calls fail for a while."""
    call = next(steps)
    try:
        while True:
            calls.append(call)
            if call.method == PAUSE:
                call = steps.send(None)
            elif failures:
                failures -= 1
                call = steps.throw(translated(answered(503)))
            else:
                call = steps.send(call.arguments["answer"])
    except StopIteration as stop:
        return stop.value


def test_every_call_of_steps_is_repeated():
    def steps() -> Steps[list[Any]]:
        return [(yield Call.of("ask", answer=1)), (yield Call.of("ask", answer=2))]

    calls: list[Call] = []
    assert failing_first(calls, 3, all_retried(steps())) == [1, 2]
    assert [call.method for call in calls] == ["ask", PAUSE] * 3 + ["ask", "ask"]
    with pytest.raises(EngineError):
        failing_first([], RETRIES + 1, all_retried(steps()))


def test_retries_inside_each_other_do_not_multiply():
    calls: list[Call] = []
    with pytest.raises(EngineError):
        failing_first(calls, 10**6, all_retried(retried(Call.of("ask"))))
    assert [call.method for call in calls].count("ask") == RETRIES + 1


def test_steps_see_an_error_that_remains():
    def steps() -> Steps[str]:
        try:
            yield Call.of("fail", error=answered(400))
        except EngineError:
            return "seen"
        return "unseen"

    assert run_both(lambda: all_retried(steps())) == ["seen", "seen"]


def test_a_pause_is_logged(caplog):
    def steps() -> Steps[Any]:
        return (yield from retried(Call.of("ask")))

    waiting = steps()
    next(waiting)
    pause = waiting.throw(translated(ResourceExhaustedResponse("slow down", 1)))
    assert pause == Call.pause(1.0)
    assert "waiting 1.0 s before retry 1 of 6: the engine is at its limit: slow down" in caplog.text


@pytest.mark.parametrize("prefer_grpc", [True, False])
def test_a_client_of_another_event_loop_is_refused(qdrant_address, prefer_grpc):
    url, grpc_port = qdrant_address

    async def exists() -> Any:
        def steps() -> Steps[bool]:
            return (yield Call.of("collection_exists", collection_name="nowhere"))

        return await run_async(client, steps())

    client = AsyncQdrantClient(url, grpc_port=grpc_port, prefer_grpc=prefer_grpc, check_compatibility=False)

    async def twice() -> list[Any]:
        return [await exists(), await exists()]

    assert asyncio.run(twice()) == [False, False]
    with pytest.raises(EngineError, match="belongs to another event loop"):
        asyncio.run(exists())
