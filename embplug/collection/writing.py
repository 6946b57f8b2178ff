"""Chunks of points sent to the engine: several requests at a time, retried, accounted for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from functools import partial
from typing import Any, Protocol, TypeAlias

from embplug.branches.points import upsert_request
from embplug.collection.chunks import Chunk
from embplug.common.ids import Id
from embplug.engines import AnyEngine, PointForm, traits_of
from embplug.engines.calls import RETRIES, Call, Steps, is_transient, pause_before_retry
from embplug.errors import EmbplugError, IngestError

IN_FLIGHT = 4
"""Requests under way at a time."""

RENEWALS = 10
"""Times that documents are encoded anew because the collection has changed once more."""

WAITING: dict[str, Any] = {"wait": True}
"""Arguments of ``upsert`` that wait until points are found."""

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
    skipped : list of Id
        Ids of the documents without text or tokens that were left out, by ``on_empty="skip"``.
    without_vectors : list of Id
        Ids of such documents that are stored with their payload alone, by ``on_empty="store"``. They are
        among those that were added.
    """

    added: int = 0
    failed: list[Failure] = field(default_factory=list)
    retries: int = 0
    skipped: list[Id] = field(default_factory=list)
    without_vectors: list[Id] = field(default_factory=list)


@dataclass(frozen=True)
class Sent:
    """What became of one request; ``outdated`` if the collection is of another revision than the points."""

    retries: int
    failure: Failure | None
    outdated: bool = False


class Renewal(Protocol):
    """Encodes documents anew whose chunk was not written because the collection had changed."""

    def is_outdated_steps(self, chunk: Chunk, error: Exception | None) -> Steps[bool]:
        """Return whether the collection has another revision than a chunk that was written or refused."""

    def renewed(self, chunk: Chunk) -> Iterator[Chunk]:
        """Encode the documents of a chunk for the revision that the collection has now."""


def write(
    engine: AnyEngine,
    name: str,
    chunks: Iterable[Chunk],
    submit: Submit,
    *,
    in_flight: int,
    bar: Any = None,
    arguments: Mapping[str, Any] = WAITING,
    written: Callable[[Any], None] | None = None,
    renewal: Renewal | None = None,
    report: AddReport | None = None,
) -> AddReport:
    """Write chunks, ``in_flight`` at a time, with these arguments of ``upsert``.

    After each part, which a chunk without points ends, the callback ``written`` is passed the mark of the
    oldest part that is not wholly written, or of this part. Documents that were encoded for a revision that
    the collection has no more are encoded anew by ``renewal``; without it they fail. A ``report`` that is
    passed is filled in and returned.

    Raises
    ------
    IngestError
        The engine did not take some documents after all retries.
    """
    form = traits_of(engine).point_form
    report = AddReport() if report is None else report
    pending: dict[Future[Sent], Chunk] = {}
    outdated: list[Chunk] = []

    def send(chunk: Chunk) -> None:
        is_outdated = None if renewal is None else partial(renewal.is_outdated_steps, chunk)
        upsert = upsert_call(engine, name, chunk, form, arguments)
        pending[submit(send_steps(upsert, chunk.ids, is_outdated))] = chunk

    def collect() -> None:
        outdated.extend(_collect(pending, report, bar))
        while outdated and renewal is not None:
            for chunk in renewal.renewed(outdated.pop()):
                send(chunk)
                if len(pending) >= in_flight:
                    outdated.extend(_collect(pending, report, bar))

    ended: Chunk | None = None
    try:
        for chunk in chunks:
            if not chunk.points:
                ended = chunk
                if written is not None:
                    written(next(iter(pending.values())).mark if pending else chunk.mark)
                continue
            while len(pending) >= in_flight:
                collect()
            if report.failed:
                break
            send(chunk)
        while pending:
            collect()
    finally:
        while pending:
            outdated.extend(_collect(pending, report, bar))
        # An error or an interruption may have come while requests were under way.
        if written is not None and ended is not None and not report.failed and not outdated:
            written(ended.mark)
    if report.failed:
        count = sum(len(failure.ids) for failure in report.failed)
        raise IngestError(
            f"{count} documents could not be written to {name!r}, {report.added} were; "
            f"the first reason: {report.failed[0].error}. Adding them again is safe",
            report,
        )
    return report


def upsert_call(
    engine: AnyEngine, name: str, chunk: Chunk, form: PointForm, arguments: Mapping[str, Any] = WAITING
) -> Call:
    """Call that writes one chunk, under the name that only the revision of its pipeline has."""
    if chunk.pipeline is not None:
        name = chunk.pipeline.alias or name
    if form is not PointForm.MESSAGES:
        return Call.of("upsert", collection_name=name, points=chunk.points, **arguments)
    timeout = arguments.get("timeout", traits_of(engine).timeout)
    return Call.of(
        "grpc_points.Upsert", request=upsert_request(name, chunk.points, arguments), timeout=timeout
    )


def send_steps(
    upsert: Call, ids: Sequence[Id], is_outdated: Callable[[Exception | None], Steps[bool]] | None = None
) -> Steps[Sent]:
    """Write one chunk, again after a while where that may help.

    A chunk that was written and not acknowledged is written again: points are replaced, never doubled.
    A chunk of which ``is_outdated`` says that the collection has another revision is no failure.
    """
    for attempt in range(RETRIES + 1):
        try:
            yield upsert
            if is_outdated is not None and (yield from is_outdated(None)):
                return Sent(attempt, None, outdated=True)
        except (EmbplugError, ValueError) as error:
            if is_outdated is not None and (yield from is_outdated(error)):
                return Sent(attempt, None, outdated=True)
            if not isinstance(error, EmbplugError):
                raise
            if attempt == RETRIES or not is_transient(error):
                return Sent(attempt, Failure(list(ids), str(error)))
            yield pause_before_retry(attempt, error)
        else:
            break
    return Sent(attempt, None)


def _collect(pending: dict[Future[Sent], Chunk], report: AddReport, bar: Any) -> list[Chunk]:
    """Wait for one request at least, and account for what has come back; returns chunks to encode anew."""
    outdated = []
    for future in wait(pending, return_when=FIRST_COMPLETED).done:
        chunk, sent = pending.pop(future), future.result()
        report.retries += sent.retries
        if sent.outdated and chunk.renewed < RENEWALS:
            outdated.append(chunk)
        elif sent.outdated:
            report.failed.append(Failure(list(chunk.ids), "the collection changes all the time"))
        elif sent.failure is not None:
            report.failed.append(sent.failure)
        else:
            report.added += len(chunk.points)
            if bar is not None:
                bar.update(len(chunk.points))
    return outdated
