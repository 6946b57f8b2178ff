"""Spans and metrics of OpenTelemetry, and lines of the log with the same figures.

An application that exports telemetry has imported OpenTelemetry. Until it has, nothing is imported or
recorded here, and an observed operation costs two look-ups. No text, vector, payload or key is recorded.
"""

from __future__ import annotations

import logging
import sys
import time
from collections.abc import Callable, Generator
from contextlib import AbstractContextManager
from functools import cache, lru_cache, wraps
from types import TracebackType
from typing import Any, ParamSpec, TypeVar

P = ParamSpec("P")
Y = TypeVar("Y")
S = TypeVar("S")
R = TypeVar("R")

SCOPE = "embplug"
"""Name of the tracer and of the meter."""

DURATION = "embplug.operation.duration"
CANDIDATES = "embplug.request.candidates"
RESPONSE_BYTES = "embplug.request.response.size"
RERANKED = "embplug.rerank.candidates"
CODE_BYTES = "embplug.rerank.code.size"
RETRIED = "embplug.request.retries"
ADDED = "embplug.documents.added"
DRIFT = "embplug.drift"

_INSTRUMENTS = {
    DURATION: ("histogram", "s", "Duration of an operation."),
    CANDIDATES: ("histogram", "{point}", "Points that the engine returned to one batch of searches."),
    RESPONSE_BYTES: ("histogram", "By", "Bytes of one answer to a batch of searches over gRPC."),
    RERANKED: ("histogram", "{document}", "Documents that one search ranked again in this process."),
    CODE_BYTES: ("histogram", "By", "Bytes of the codes that one search ranked by."),
    RETRIED: ("counter", "{request}", "Requests that were sent again."),
    ADDED: ("counter", "{document}", "Documents that the engine acknowledged."),
    DRIFT: ("gauge", "1", "Error of a learned encoding on new documents, relative to that on its sample."),
}

_BOUNDS: dict[str, list[float]] = {
    "s": [0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0, 60.0, 600.0],
    "By": [float(4**power) for power in range(4, 15)],
    "{point}": [float(2**power) for power in range(13)],
    "{document}": [float(2**power) for power in range(13)],
}
"""Bounds of the buckets of histograms: the default ones are for milliseconds."""


class Span:
    """One observed operation; this one observes nothing."""

    recording = False
    """Whether attributes are kept, so that figures for them are worth computing."""

    def set(self, **attributes: Any) -> None:
        """Add attributes."""

    def __enter__(self) -> Span:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the operation."""


_NOTHING = Span()


class _Recorded(Span):
    """An operation whose duration is logged, and recorded by OpenTelemetry where the application uses it."""

    recording = True

    def __init__(
        self,
        operation: str,
        collection: str | None,
        logger: logging.Logger | None,
        attributes: dict[str, Any],
    ) -> None:
        self._operation = operation
        self._collection = collection
        self._logger = logger
        self._attributes = attributes
        self._current: AbstractContextManager[Any] | None = None
        self._span: Any = None
        self._started = 0.0

    def set(self, **attributes: Any) -> None:
        self._attributes.update(attributes)
        if self._span is not None:
            self._span.set_attributes(_named(attributes))

    def __enter__(self) -> Span:
        tracer = _current_tracer() if _is_used() else None
        if tracer is not None:
            own = {} if self._collection is None else {"db.collection.name": self._collection}
            # The message of an error may show what a user has passed.
            self._current = tracer.start_as_current_span(
                f"{SCOPE}.{self._operation}",
                attributes={"db.system.name": "qdrant", **own, **_named(self._attributes)},
                record_exception=False,
                set_status_on_exception=False,
            )
            self._span = self._current.__enter__()
        self._started = time.perf_counter()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        seconds = time.perf_counter() - self._started
        failed = {} if kind is None or kind is GeneratorExit else {"error_type": kind.__name__}
        if self._current is not None:
            if failed:
                from opentelemetry.trace import StatusCode

                self._span.set_attributes(_named(failed))
                self._span.set_status(StatusCode.ERROR)
            self._current.__exit__(kind, error, trace)
        method = {"method": self._attributes["method"]} if "method" in self._attributes else {}
        record(DURATION, seconds, operation=self._operation, **method, **failed)
        if self._logger is not None and self._logger.isEnabledFor(logging.DEBUG):
            figures = "".join(f", {key} {value}" for key, value in self._attributes.items())
            outcome = f", {kind.__name__}" if failed and kind is not None else ""
            of = "" if self._collection is None else f" of {self._collection!r}"
            self._logger.debug("%s%s: %.1f ms%s%s", self._operation, of, 1000 * seconds, figures, outcome)


def span(
    operation: str, collection: str | None = None, logger: logging.Logger | None = None, **attributes: Any
) -> Span:
    """Observe the operation that a ``with`` block runs.

    Parameters
    ----------
    operation : str
        Name of the operation. The span is named ``embplug.`` and this name.
    collection : str, default=None
        Name of the collection.
    logger : logging.Logger, default=None
        Logger that says at ``DEBUG`` how long the operation has taken.
    **attributes
        Names and numbers that describe the operation, never what a user has stored or searched for.

    Returns
    -------
    Span
        Context manager that takes further attributes.
    """
    if not _is_used() and (logger is None or not logger.isEnabledFor(logging.DEBUG)):
        return _NOTHING
    return _Recorded(operation, collection, logger, attributes)


def observed(
    operation: str,
    describe: Callable[..., dict[str, Any]],
    logger: logging.Logger | None = None,
) -> Callable[[Callable[P, Generator[Y, S, R]]], Callable[P, Generator[Y, S, R]]]:
    """Decorate a function that returns steps, so that the steps are observed as one operation.

    Parameters
    ----------
    operation : str
        Name of the operation.
    describe : callable
        Takes the arguments of the function, and returns ``collection`` and attributes of the span.
    logger : logging.Logger, default=None
        Logger of the duration, at ``DEBUG``.

    Returns
    -------
    callable
        The decorator.
    """

    def decorate(steps: Callable[P, Generator[Y, S, R]]) -> Callable[P, Generator[Y, S, R]]:
        @wraps(steps)
        def wrapped(*args: P.args, **kwargs: P.kwargs) -> Generator[Y, S, R]:
            if not _is_used() and (logger is None or not logger.isEnabledFor(logging.DEBUG)):
                return (yield from steps(*args, **kwargs))
            with span(operation, logger=logger, **describe(*args, **kwargs)):
                return (yield from steps(*args, **kwargs))

        return wrapped

    return decorate


def record(instrument: str, value: float, **attributes: Any) -> None:
    """Record a measurement.

    Parameters
    ----------
    instrument : str
        One of the names of this module, such as ``RETRIED``.
    value : float
        The measurement; what a counter is increased by.
    **attributes
        Names of few different values, such as that of the operation.
    """
    if _is_used():
        _recorder(instrument)(value, _named(attributes))


def _named(attributes: dict[str, Any]) -> dict[str, Any]:
    """Attributes under the names that OpenTelemetry has for them, or under embplug's own."""
    return {_STANDARD.get(key, f"{SCOPE}.{key}"): value for key, value in attributes.items()}


_STANDARD = {
    "collection": "db.collection.name",
    "method": "db.operation.name",
    "error_type": "error.type",
}


def _is_used() -> bool:
    """Return whether the API of OpenTelemetry is imported, as an application does that exports."""
    return "opentelemetry.trace" in sys.modules


def _current_tracer() -> Any:
    """Return the tracer, or None as long as no provider of traces is configured."""
    from opentelemetry import trace

    return None if isinstance(trace.get_tracer_provider(), trace.ProxyTracerProvider) else _tracer()


@lru_cache(maxsize=1)
def _tracer() -> Any:
    from opentelemetry import trace

    return trace.get_tracer(SCOPE)


@cache
def _recorder(instrument: str) -> Callable[[float, dict[str, Any]], None]:
    from opentelemetry import metrics

    kind, unit, description = _INSTRUMENTS[instrument]
    meter = metrics.get_meter(SCOPE)
    if kind == "counter":
        add: Callable[[float, dict[str, Any]], None] = meter.create_counter(instrument, unit, description).add
        return add
    if kind == "gauge":
        set_: Callable[[float, dict[str, Any]], None] = meter.create_gauge(instrument, unit, description).set
        return set_
    bounds = {"explicit_bucket_boundaries_advisory": _BOUNDS[unit]}
    try:
        histogram = meter.create_histogram(instrument, unit, description, **bounds)
    except TypeError:  # OpenTelemetry before 1.30
        histogram = meter.create_histogram(instrument, unit, description)
    return histogram.record
