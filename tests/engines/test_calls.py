from __future__ import annotations

import asyncio
import threading
import time
from collections.abc import Callable
from typing import Any

import grpc
import httpx
import pytest
from qdrant_client.common.client_exceptions import ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from embplug.engines import connect
from embplug.engines.calls import Call, Steps, is_transient, retry_after, run, run_async, translated
from embplug.errors import (
    CollectionNotFoundError,
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
    def __init__(self, code: grpc.StatusCode) -> None:
        self._code = code

    def code(self) -> grpc.StatusCode:
        return self._code

    def details(self) -> str:
        return "the details"


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
    ],
)
def test_errors_of_the_clients_become_ours(error, kind, says, transient):
    ours = translated(error)
    assert type(ours) is kind
    assert says in str(ours)
    assert ours.__cause__ is error
    assert is_transient(ours) is is_transient(error) is transient
    assert retry_after(ours) == (3.0 if isinstance(error, ResourceExhaustedResponse) else 0.0)


@pytest.mark.parametrize("error", [EngineError("ours"), ValueError("somebody's"), KeyError("a")])
def test_other_errors_stay_what_they_are(error):
    assert translated(error) is error
    assert not is_transient(error)


def test_a_refusal_of_a_real_server_is_told(server_client):
    def steps() -> Steps[Any]:
        return (yield Call.of("count", collection_name="nowhere"))

    with pytest.raises(CollectionNotFoundError, match=r"NOT_FOUND.*nowhere"):
        run(server_client, steps())
