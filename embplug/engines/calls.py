"""Requests as data: a generator yields the calls of an engine, and a sync or async runner makes them."""

from __future__ import annotations

import asyncio
import json
import logging
import random
import re
import threading
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from datetime import datetime, timezone
from email.utils import parsedate_to_datetime
from operator import attrgetter
from typing import Any, TypeAlias, TypeVar
from weakref import WeakKeyDictionary, ref

import grpc  # type: ignore[import-untyped]
import httpx
from qdrant_client import AsyncQdrantClient, QdrantClient
from qdrant_client import grpc as qdrant_grpc
from qdrant_client.common.client_exceptions import QdrantException, ResourceExhaustedResponse
from qdrant_client.http.exceptions import ResponseHandlingException, UnexpectedResponse

from embplug.common.telemetry import RETRIED, record
from embplug.common.threads import computing
from embplug.engines import AsyncEngine, Engine, traits_of
from embplug.engines.answers import unreadable, unreadable_payload
from embplug.engines.connect import is_server
from embplug.engines.observation import record_answer, request_span
from embplug.errors import (
    CollectionNotFoundError,
    EmbplugError,
    EngineAnswerError,
    EngineConnectionError,
    EngineError,
)

T = TypeVar("T")

logger = logging.getLogger(__name__)

RETRIES = 6
FIRST_PAUSE_S = 0.25
LONGEST_PAUSE_S = 15.0
LONGEST_RETRY_AFTER_S = 60.0
"""An engine that requests a longer pause is not asked again."""

PAUSE = "pause"
COMPUTE = "compute"
"""Calls that the runner handles itself: it waits, or computes without blocking an event loop."""


@dataclass(frozen=True)
class Call:
    """A call of a method of the engine's client.

    Attributes
    ----------
    method : str
        Name of the method. Dots reach into attributes of the client.
    arguments : dict
        Keyword arguments of the method.
    function : callable, default=None
        What is called in place of the client's method, with the same arguments.
    """

    method: str
    arguments: dict[str, Any]
    function: Callable[..., Any] | None = None

    def function_of(self, engine: Any) -> Callable[..., Any]:
        """Return what is called."""
        function: Callable[..., Any] = self.function or attrgetter(self.method)(engine)
        return function

    @classmethod
    def of(cls, method: str, **arguments: Any) -> Call:
        """Build a call from keyword arguments, as in ``Call.of("count", collection_name="docs")``."""
        return cls(method, arguments)

    @classmethod
    def pause(cls, seconds: float) -> Call:
        """Build a call that waits before the next call."""
        return cls(PAUSE, {"seconds": seconds})

    @classmethod
    def compute(cls, function: Callable[[], Any]) -> Call:
        """Build a call that runs a function, without blocking an event loop, and returns its result."""
        return cls(COMPUTE, {"function": function})


Steps: TypeAlias = Generator[Call, Any, T]
"""Yields calls, receives their results, and returns a ``T``."""


def computed(function: Callable[[], T]) -> Steps[T]:
    """Steps that only compute; see :meth:`Call.compute`."""
    result: T = yield Call.compute(function)
    return result


def run(engine: Engine, steps: Steps[T]) -> T:
    """Run steps on a synchronous engine.

    Parameters
    ----------
    engine : QdrantClient or EdgeClient
        Engine that answers the calls.
    steps : generator
        Generator of calls.

    Returns
    -------
    object
        What the generator returns.

    Raises
    ------
    EngineConnectionError
        The engine cannot be reached; the client's own error is the cause.
    EngineAnswerError
        An answer cannot be read; the client's own error is the cause.
    EngineError
        A call fails, with the client's own error as the cause, or the engine answers that it did nothing.
    """
    try:
        call = next(steps)
        while True:
            try:
                result: Any = None
                if call.method == PAUSE:
                    time.sleep(call.arguments["seconds"])
                elif call.method == COMPUTE:
                    result = computing(call.arguments["function"])
                else:
                    with request_span(call.method, call.arguments) as request:
                        result = _answer(engine, call)
                        record_answer(request, call.method, result)
                    _check_answer(call, result)
            except Exception as error:
                call = steps.throw(translated(error))
            else:
                call = steps.send(result)
    except StopIteration as stop:
        value: T = stop.value
        return value
    finally:
        # What the steps have begun ends here, also after an interruption.
        steps.close()


async def run_async(engine: AsyncEngine | QdrantClient, steps: Steps[T]) -> T:
    """Run steps on an asynchronous engine.

    Parameters
    ----------
    engine : AsyncQdrantClient, AsyncEdgeClient or QdrantClient
        Engine that answers the calls. Calls of a ``QdrantClient`` run in a thread.
    steps : generator
        Generator of calls.

    Returns
    -------
    object
        What the generator returns.

    Raises
    ------
    EngineConnectionError
        The engine cannot be reached; the client's own error is the cause.
    EngineAnswerError
        An answer cannot be read; the client's own error is the cause.
    EngineError
        A call fails, with the client's own error as the cause, or the engine answers that it did nothing.
    """
    try:
        call = next(steps)
        while True:
            try:
                result: Any = None
                if call.method == PAUSE:
                    await asyncio.sleep(call.arguments["seconds"])
                elif call.method == COMPUTE:
                    result = await asyncio.to_thread(computing, call.arguments["function"])
                else:
                    with request_span(call.method, call.arguments) as request:
                        if isinstance(engine, QdrantClient):
                            result = await asyncio.to_thread(_answer, engine, call)
                        else:
                            _check_event_loop(engine)
                            result = await call.function_of(engine)(**call.arguments)
                        record_answer(request, call.method, result)
                    _check_answer(call, result)
            except Exception as error:
                call = steps.throw(translated(error))
            else:
                call = steps.send(result)
    except StopIteration as stop:
        value: T = stop.value
        return value
    finally:
        # A task that is cancelled leaves the steps where they are.
        steps.close()


def _answer(engine: Engine, call: Call) -> Any:
    with _turn(engine):
        return call.function_of(engine)(**call.arguments)


def _turn(engine: Engine) -> AbstractContextManager[Any]:
    """Return a lock for qdrant-client's simulation, which is not thread-safe; other engines need none."""
    if traits_of(engine).takes_parallel_calls:
        return nullcontext()
    with _locks_guard:
        return _locks.setdefault(engine, threading.Lock())


_locks: WeakKeyDictionary[Any, threading.Lock] = WeakKeyDictionary()
_locks_guard = threading.Lock()
_event_loops: WeakKeyDictionary[Any, ref[asyncio.AbstractEventLoop]] = WeakKeyDictionary()


def _check_event_loop(engine: AsyncEngine) -> None:
    """Refuse a client of a server in another event loop than that of its connections."""
    if not (isinstance(engine, AsyncQdrantClient) and is_server(engine)):
        return
    running = asyncio.get_running_loop()
    if _event_loops.setdefault(engine, ref(running))() is not running:
        raise EngineError(
            "this AsyncQdrantClient belongs to another event loop, in which it was first used: open one "
            "client for each event loop, with embplug.connect_async or Collection.to_async"
        )


_REFUSED = (
    qdrant_grpc.UpdateStatus.UnknownUpdateStatus,
    qdrant_grpc.UpdateStatus.ClockRejected,
)
_QUESTIONS = ("collection_exists", "optimize")
"""Methods whose ``False`` is an answer, and no refusal."""


def _check_answer(call: Call, result: Any) -> None:
    """Raise where an engine answers, without an error, that it did nothing."""
    if result is False and call.method not in _QUESTIONS:
        name = call.arguments.get("collection_name")
        what = call.method if name is None else f"{call.method} of {name!r}"
        raise EngineError(f"the engine answered False to {what}: it changed nothing")
    if isinstance(result, qdrant_grpc.PointsOperationResponse) and result.result.status in _REFUSED:
        status = qdrant_grpc.UpdateStatus.Name(result.result.status)
        raise EngineError(f"the engine answered {status} to {call.method}: it changed nothing")


def translated(error: Exception) -> Exception:
    """Turn an error of a client into an error of embplug; other errors are returned unchanged.

    Parameters
    ----------
    error : Exception
        Error that a call raised.

    Returns
    -------
    Exception
        ``CollectionNotFoundError``, ``EngineConnectionError``, ``EngineAnswerError`` or ``EngineError`` with
        ``error`` as its cause, or ``error`` itself.
    """
    if isinstance(error, EmbplugError):
        return error
    unknown = _is_unknown_collection(error)
    kind: type[EmbplugError] = CollectionNotFoundError if unknown else EngineError
    if unknown and isinstance(error, ValueError):
        return _caused(kind(str(error)), error)
    if isinstance(error, grpc.RpcError):
        if error.code() == grpc.StatusCode.UNAVAILABLE:
            kind = EngineConnectionError
        elif _is_unreadable(error):
            return _caused(unreadable_payload(error.details()), error)
        return _caused(kind(f"the engine answered {error.code().name}: {error.details()}"), error)
    source = error.source if isinstance(error, ResponseHandlingException) else error
    if isinstance(source, _UNREADABLE) or (source is not error and isinstance(source, ValueError)):
        shown = str(source)[:_SHOWN]
        return _caused(unreadable(shown), error)
    if isinstance(error, (ResponseHandlingException, httpx.HTTPError)):
        return _caused(EngineConnectionError(f"the engine cannot be reached: {error}"), error)
    if isinstance(error, UnexpectedResponse):
        content = error.content.decode(errors="replace")[:_SHOWN]
        return _caused(kind(f"the engine answered {error.status_code}: {content}"), error)
    if isinstance(error, QdrantException):
        seconds = retry_after(error)
        message = error.message if isinstance(error, ResourceExhaustedResponse) else "too many requests"
        if seconds > LONGEST_RETRY_AFTER_S:
            message += (
                f". It requests a pause of {seconds:.0f} s, which is more than the "
                f"{LONGEST_RETRY_AFTER_S:.0f} s that are waited; send the request again after that time"
            )
        return _caused(EngineError(f"the engine is at its limit: {message}"), error)
    return error


def _is_unknown_collection(error: Exception) -> bool:
    """Return whether the engine has no collection or alias of the name in a request."""
    if isinstance(error, grpc.RpcError):
        if error.code() != grpc.StatusCode.NOT_FOUND:
            return False
        text = error.details() or ""
    elif isinstance(error, UnexpectedResponse):
        if error.status_code != 404:
            return False
        text = error.content.decode(errors="replace")
    elif isinstance(error, ValueError):
        text = str(error)
    else:
        return False
    return _UNKNOWN_COLLECTION.search(text) is not None


_UNKNOWN_COLLECTION = re.compile(r"Collection `.*` doesn't exist|^Collection .* not found$")
"""What servers, and the simulation of qdrant-client, say of a name that they do not know."""


def is_transient(error: Exception) -> bool:
    """Return whether the same request may succeed when it is sent again soon."""
    if retry_after(error) > LONGEST_RETRY_AFTER_S:
        return False
    cause = error.__cause__ or error
    if isinstance(cause, grpc.RpcError):
        return cause.code() in _TRANSIENT_CODES and not _is_unreadable(cause)
    if isinstance(error, EngineAnswerError):
        return False
    if isinstance(cause, UnexpectedResponse):
        return cause.status_code in (408, 425, 429, 500, 502, 503, 504)
    return isinstance(cause, (ResponseHandlingException, httpx.HTTPError, QdrantException))


def retried(call: Call) -> Steps[Any]:
    """Make an idempotent call, and repeat it after transient errors.

    Parameters
    ----------
    call : Call
        Call that has the same effect when it is made twice.

    Returns
    -------
    object
        Answer of the engine.

    Raises
    ------
    EmbplugError
        The error is not transient, or remains after six retries.
    """
    for attempt in range(RETRIES + 1):
        try:
            return (yield call)
        except EmbplugError as error:
            # Retries inside each other would multiply.
            error.retried |= attempt == RETRIES
            if error.retried or not is_transient(error):
                raise
            yield pause_before_retry(attempt, error)


def all_retried(steps: Steps[T]) -> Steps[T]:
    """Repeat each call of steps after transient errors, as :func:`retried` does.

    Parameters
    ----------
    steps : generator
        Steps whose calls are idempotent.

    Returns
    -------
    object
        What the steps return.
    """
    try:
        call = next(steps)
        while True:
            try:
                result = yield from retried(call)
            except Exception as error:
                call = steps.throw(error)
            else:
                call = steps.send(result)
    except StopIteration as stop:
        value: T = stop.value
        return value


def pause_before_retry(attempt: int, error: Exception) -> Call:
    """Build a call that waits, twice as long after each attempt and at least as long as the engine requests.

    The pause is logged as a warning.

    Parameters
    ----------
    attempt : int
        Number of retries so far.
    error : Exception
        Error of the last attempt.

    Returns
    -------
    Call
        The call.
    """
    pause = min(LONGEST_PAUSE_S, FIRST_PAUSE_S * 2**attempt) * random.uniform(0.5, 1.0)
    pause = max(pause, retry_after(error))
    record(RETRIED, 1)
    logger.warning("waiting %.1f s before retry %d of %d: %s", pause, attempt + 1, RETRIES, error)
    return Call.pause(pause)


def retry_after(error: Exception) -> float:
    """Return the seconds that the engine requests to wait before the next attempt; 0 if it does not."""
    cause = error.__cause__ if isinstance(error, EmbplugError) else error
    if isinstance(cause, ResourceExhaustedResponse):
        return max(0.0, float(cause.retry_after_s))
    header = _RETRY_AFTER.fullmatch(str(cause)) if isinstance(cause, QdrantException) else None
    return 0.0 if header is None else _seconds_until(header[1])


_RETRY_AFTER = re.compile(r"Retry-After header value is not a valid integer: (.*)", re.DOTALL)
"""Message of qdrant-client where the header holds a date, which HTTP permits."""


def _seconds_until(date: str) -> float:
    try:
        until = parsedate_to_datetime(date)
    except ValueError:
        return 0.0
    if until.tzinfo is None:  # the date says "-0000"
        until = until.replace(tzinfo=timezone.utc)
    return max(0.0, (until - datetime.now(timezone.utc)).total_seconds())


def _is_unreadable(error: grpc.RpcError) -> bool:
    """Whether gRPC received an answer that is no message of Qdrant."""
    return error.code() == grpc.StatusCode.INTERNAL and "deserializing response" in (error.details() or "")


_UNREADABLE = (json.JSONDecodeError, UnicodeDecodeError, httpx.DecodingError)
"""What the client raises over REST for an answer that is no JSON."""

_SHOWN = 500
"""Characters of an answer that an error shows."""

_TRANSIENT_CODES = {
    grpc.StatusCode.UNAVAILABLE,
    grpc.StatusCode.DEADLINE_EXCEEDED,
    grpc.StatusCode.RESOURCE_EXHAUSTED,
    grpc.StatusCode.ABORTED,
    grpc.StatusCode.INTERNAL,
    grpc.StatusCode.UNKNOWN,
}


def _caused(error: EmbplugError, cause: Exception) -> Exception:
    error.__cause__ = cause
    return error
