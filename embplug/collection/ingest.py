"""Documents to points: checked whole, encoded and sent in bounded chunks, retried, accounted for."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field
from itertools import chain
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from pydantic_core import to_json
from tqdm import tqdm

from embplug.branches.documents import CheckedDocuments, CheckedSample, Documents, check_documents
from embplug.branches.pipeline import Pipeline
from embplug.branches.points import WirePayload, grpc_points, rest_points, upsert_request
from embplug.collection.operations import learn_steps, optimize_steps
from embplug.common.ids import Id
from embplug.engines import AnyEngine, PointForm, traits_of
from embplug.engines.calls import RETRIES, Call, Steps, is_transient, pause_before_retry
from embplug.engines.capabilities import MAX_REST_BYTES
from embplug.errors import EmbplugError, IngestError, InvalidArgumentError, PointTooLargeError
from embplug.methods.encodings.learned import SAMPLE_TOKENS
from embplug.methods.token_batch import TokenBatch

CHUNK_BYTES = 8 << 20
"""Vectors and payloads of one request; far below what a server takes, and enough to be sent at full speed."""

CHUNK_POINTS = 2048
IN_FLIGHT = 4
"""Requests under way at a time."""

TEXTS_AT_ONCE = 256
JSON_BYTES_PER_FLOAT = 22
"""Of a float32 written with all digits of a double, and its comma."""

BULK_POINTS = 1000
"""From this many points in one call on, Edge builds its indexes at the end."""


Submit: TypeAlias = Callable[[Steps[Any]], "Future[Any]"]
"""Runs steps on the engine, elsewhere than in the calling thread."""


@dataclass(frozen=True)
class Failure:
    """Documents of one request that was not written after all retries."""

    ids: list[Id]
    error: str


@dataclass
class AddReport:
    """What became of the documents of one call.

    Attributes
    ----------
    added
        Number of documents that the engine has acknowledged.
    failed
        Requests that it has not; adding the same documents again is safe, it replaces.
    retries
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


@dataclass(frozen=True, eq=False)
class Chunk:
    """Points of one request."""

    given_ids: Sequence[Id]
    points: list[Any]
    mark: Any


def ingest(
    engine: AnyEngine,
    name: str,
    pipeline: Pipeline,
    batches: Iterable[Documents],
    submit: Submit,
    *,
    in_flight: int,
    progress: bool | None,
) -> AddReport:
    """Write batches. Runs in one thread; requests run wherever ``submit`` lets them, ``in_flight`` at a time.

    After the first request that fails for good no more batches are read, those under way are waited
    for, and :class:`~embplug.errors.IngestError` tells what was not written.
    """
    form = traits_of(engine).point_form
    parts = _parts(batches, pipeline, form)
    if not pipeline.fitted:
        parts = _learn(engine, name, pipeline, parts, submit)
    # ``disable=None`` is silent unless standard error is a terminal.
    with tqdm(
        desc=f"adding to {name}", unit=" documents", disable=None if progress is None else not progress
    ) as bar:
        report = write(
            engine, name, pipeline, ((None, part) for part in parts), submit, in_flight=in_flight, bar=bar
        )
    if report.added >= BULK_POINTS and traits_of(engine).optimizes_on_call:
        submit(optimize_steps(engine, name, 0.0)).result()
    return report


def write(
    engine: AnyEngine,
    name: str,
    pipeline: Pipeline,
    parts: Iterable[tuple[Any, CheckedDocuments]],
    submit: Submit,
    *,
    in_flight: int,
    bar: Any = None,
    written: Callable[[Any], None] | None = None,
) -> AddReport:
    """Write parts of checked documents, each with a mark of where it comes from.

    After each part ``written`` is told the mark of the oldest one that is not wholly written, or of
    this one.

    Raises
    ------
    IngestError
        As :func:`ingest`.
    """
    form = traits_of(engine).point_form
    report = AddReport()
    pending: dict[Future[Sent], Chunk] = {}
    try:
        for mark, part in parts:
            for chunk in _chunks(part, pipeline, form, mark):
                while len(pending) >= in_flight:
                    _collect(pending, report, bar)
                if report.failed:
                    break
                pending[submit(_send_steps(_upsert(engine, name, chunk, form), chunk.given_ids))] = chunk
            if report.failed:
                break
            if written is not None:
                written(next(iter(pending.values())).mark if pending else mark)
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


def _parts(batches: Iterable[Documents], pipeline: Pipeline, form: PointForm) -> Iterator[CheckedDocuments]:
    """Each batch checked whole, then cut where texts are still to become vectors."""
    for documents in batches:
        if not isinstance(documents, Documents):
            raise InvalidArgumentError("batches", "embplug.Documents", type(documents).__name__)
        whole = check_documents(documents, pipeline.recipe, pipeline.models.has_encoder)
        if form is PointForm.LISTS:
            _check_sizes(whole, _payload_sizes(whole))
        for part in [whole] if whole.has_vectors(pipeline.recipe) else whole.slices(TEXTS_AT_ONCE):
            yield pipeline.with_vectors(part)


def _learn(
    engine: AnyEngine, name: str, pipeline: Pipeline, parts: Iterator[CheckedDocuments], submit: Submit
) -> Iterator[CheckedDocuments]:
    """Let the pipeline learn from the first documents, unless another process did; lose none of them."""
    submit(learn_steps(engine, name, pipeline, None)).result()
    if pipeline.fitted:
        return parts
    first: list[CheckedDocuments] = []
    wanted = pipeline.recipe.fit_sample
    documents = tokens = 0
    while documents < wanted and tokens < SAMPLE_TOKENS and (part := next(parts, None)) is not None:
        first.append(part)
        documents += len(part)
        if pipeline.learns_from_tokens and part.tokens is not None:
            tokens += len(part.tokens.values)
    if first:
        submit(learn_steps(engine, name, pipeline, _sample(first, wanted))).result()
    return chain(first, parts)


def _sample(parts: Sequence[CheckedDocuments], wanted: int) -> CheckedSample:
    matrices = [part.tokens for part in parts if part.tokens is not None]
    tokens = TokenBatch.concat(matrices) if matrices else None
    if tokens is not None:
        affordable = int(np.searchsorted(tokens.offsets, SAMPLE_TOKENS, side="right")) - 1
        tokens = tokens[: min(wanted, max(affordable, 1))]
    dense = {name: np.concatenate([part.dense[name] for part in parts])[:wanted] for name in parts[0].dense}
    texts = [text for part in parts for text in part.texts or ()][:wanted]
    return CheckedSample(tokens, dense, texts=texts or None)


def _chunks(documents: CheckedDocuments, pipeline: Pipeline, form: PointForm, mark: Any) -> Iterator[Chunk]:
    """Encode documents and make them into requests of bounded size."""
    sizes = pipeline.count_numbers(documents) * (JSON_BYTES_PER_FLOAT if form is PointForm.LISTS else 4)
    if form is not PointForm.ARRAYS:
        sizes = sizes + _payload_sizes(documents)
    if form is PointForm.LISTS:
        _check_sizes(documents, sizes)
    for start, stop in _ranges(sizes):
        part = documents.part(start, stop)
        vectors, payloads = pipeline.encode(part)
        if form is PointForm.MESSAGES:
            points: list[Any] = list(grpc_points(part.ids, vectors, payloads))
        else:
            points = list(rest_points(part.ids, vectors, payloads, as_lists=form is PointForm.LISTS))
        yield Chunk(part.given_ids, points, mark)


def _upsert(engine: AnyEngine, name: str, chunk: Chunk, form: PointForm) -> Call:
    if form is not PointForm.MESSAGES:
        return Call.of("upsert", collection_name=name, points=chunk.points, wait=True)
    request = upsert_request(name, chunk.points)
    return Call.of("grpc_points.Upsert", request=request, timeout=traits_of(engine).timeout)


def _send_steps(upsert: Call, ids: Sequence[Id]) -> Steps[Sent]:
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


def _ranges(sizes: Any) -> Iterator[tuple[int, int]]:
    start, total = 0, 0
    for i, size in enumerate(sizes.tolist()):
        if i > start and (total + size > CHUNK_BYTES or i - start >= CHUNK_POINTS):
            yield start, i
            start, total = i, 0
        total += size
    if len(sizes) > start:
        yield start, len(sizes)


def _payload_sizes(documents: CheckedDocuments) -> NDArray[np.int64]:
    sizes = (
        len(payload.entries) if isinstance(payload, WirePayload) else len(to_json(payload))
        for payload in documents.payloads
    )
    return np.fromiter(sizes, dtype=np.int64, count=len(documents))


def _check_sizes(documents: CheckedDocuments, sizes: NDArray[np.int64]) -> None:
    large = np.flatnonzero(sizes > MAX_REST_BYTES)
    if large.size:
        at = int(large[0])
        expected = f"at most {MAX_REST_BYTES} bytes as JSON, or a connection over gRPC"
        raise PointTooLargeError(f"document {documents.given_ids[at]!r}", expected, int(sizes[at]))
