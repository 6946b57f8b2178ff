"""Chunks of points sent to the engine: several requests at a time, retried, accounted for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from typing import Any, TypeAlias

from embplug.branches.points import upsert_request
from embplug.collection.chunks import Chunk
from embplug.common.ids import Id
from embplug.engines import AnyEngine, PointForm, traits_of
from embplug.engines.calls import RETRIES, Call, Steps, is_transient, pause_before_retry
from embplug.errors import EmbplugError, IngestError

IN_FLIGHT = 4
"""Requests under way at a time."""

Submit: TypeAlias = Callable[[Steps[Any]], "Future[Any]"]
"""Runs steps on the engine, elsewhere than in the calling thread."""


@dataclass(frozen=True)
class Failure:
    """Documents of one request that was not written after all retries.

    Attributes
    ----------
    ids : list of Id
        Ids of the documents as the user passed them.
    error : str
        Message of the last error.
    """

    ids: list[Id]
    error: str


@dataclass
class AddReport:
    """Result of adding documents.

    Attributes
    ----------
    added : int
        Number of documents that the engine has acknowledged.
    failed : list of Failure
        Requests that the engine has not acknowledged. Adding the same documents again is safe, because
        documents are replaced.
    retries : int
        Number of requests that were sent again.
    """

    added: int = 0
    failed: list[Failure] = field(default_factory=list)
    retries: int = 0


@dataclass(frozen=True)
class Sent:
    """What became of one request."""

    retries: int
    failure: Failure | None


def write(
    engine: AnyEngine,
    name: str,
    chunks: Iterable[Chunk],
    submit: Submit,
    *,
    in_flight: int,
    bar: Any = None,
    written: Callable[[Any], None] | None = None,
) -> AddReport:
    """Write chunks, ``in_flight`` at a time.

    After each part, which a chunk without points ends, the callback ``written`` is passed the mark of the
    oldest part that is not wholly written, or of this part.

    Raises
    ------
    IngestError
        The engine did not take some documents after all retries.
    """
    form = traits_of(engine).point_form
    report = AddReport()
    pending: dict[Future[Sent], Chunk] = {}
    try:
        for chunk in chunks:
            if not chunk.points:
                if written is not None:
                    written(next(iter(pending.values())).mark if pending else chunk.mark)
                continue
            while len(pending) >= in_flight:
                _collect(pending, report, bar)
            if report.failed:
                break
            pending[submit(send_steps(upsert_call(engine, name, chunk, form), chunk.ids))] = chunk
    finally:
        while pending:
            _collect(pending, report, bar)
    if report.failed:
        count = sum(len(failure.ids) for failure in report.failed)
        raise IngestError(
            f"{count} documents could not be written to {name!r}, {report.added} were; "
            f"the first reason: {report.failed[0].error}. Adding them again is safe",
            report,
        )
    return report


def upsert_call(engine: AnyEngine, name: str, chunk: Chunk, form: PointForm) -> Call:
    """Call that writes one chunk."""
    if form is not PointForm.MESSAGES:
        return Call.of("upsert", collection_name=name, points=chunk.points, wait=True)
    request = upsert_request(name, chunk.points)
    return Call.of("grpc_points.Upsert", request=request, timeout=traits_of(engine).timeout)


def send_steps(upsert: Call, ids: Sequence[Id]) -> Steps[Sent]:
    """Write one chunk, again after a while where that may help.

    A chunk that was written and not acknowledged is written again: points are replaced, never doubled.
    """
    for attempt in range(RETRIES + 1):
        try:
            yield upsert
        except EmbplugError as error:
            if attempt == RETRIES or not is_transient(error):
                return Sent(attempt, Failure(list(ids), str(error)))
            yield pause_before_retry(attempt, error)
        else:
            break
    return Sent(attempt, None)


def _collect(pending: dict[Future[Sent], Chunk], report: AddReport, bar: Any) -> None:
    """Wait for one request at least, and account for what has come back."""
    for future in wait(pending, return_when=FIRST_COMPLETED).done:
        chunk, sent = pending.pop(future), future.result()
        report.retries += sent.retries
        if sent.failure is not None:
            report.failed.append(sent.failure)
        else:
            report.added += len(chunk.points)
            if bar is not None:
                bar.update(len(chunk.points))
