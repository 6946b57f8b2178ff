"""Batches of documents from the user: checked whole, learned from if need be, handed on to be written."""

from __future__ import annotations

import logging
import warnings
from collections.abc import AsyncIterable, Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import chain
from typing import Any

import numpy as np
from tqdm import tqdm

from embplug.branches.complete import complete_documents
from embplug.branches.documents import CheckedDocuments, CheckedSample, Documents
from embplug.branches.empty import (
    EmptyDocuments,
    OnEmpty,
    check_batch,
    check_on_empty,
    check_stored_texts,
    split_empty,
)
from embplug.branches.images import IMAGES_AT_ONCE
from embplug.branches.pipeline import Pipeline
from embplug.branches.places import naming_documents
from embplug.collection.chunks import Chunk, chunked
from embplug.collection.handle import ATTEMPTS, Handle
from embplug.collection.maintenance import optimize_steps
from embplug.collection.payload_sizes import check_payload_sizes
from embplug.collection.selection import write_arguments
from embplug.collection.writing import AddReport, Submit, write
from embplug.common.checks import checked_integer
from embplug.common.ids import point_ids
from embplug.common.telemetry import ADDED, record, span
from embplug.engines import PointForm, traits_of
from embplug.engines.calls import Steps, all_retried
from embplug.engines.request_options import WriteOptions
from embplug.errors import DiskSpaceError, DuplicateIdError, InvalidArgumentError
from embplug.methods.token_batch import TokenBatch

logger = logging.getLogger(__name__)

TEXTS_AT_ONCE = 256
BULK_POINTS = 1000
"""From this many points in one call on, Edge builds its indexes at the end."""


def check_batches(batches: Any, workers: Any, *, may_be_async: bool) -> int:
    """Check that batches come as an iterable; return the checked number of workers.

    Raises
    ------
    InvalidArgumentError
        They do not, or come as an asynchronous iterable where ``may_be_async`` is False, or the number is no
        integer of at least 1.
    """
    if isinstance(batches, Documents):
        raise InvalidArgumentError("batches", "an iterable of Documents", "Documents; pass [documents]")
    if isinstance(batches, AsyncIterable) and not may_be_async:
        expected = "an iterable of Documents; an AsyncCollection takes asynchronous iterables"
        raise InvalidArgumentError("batches", expected, type(batches).__name__)
    if not isinstance(batches, (Iterable, AsyncIterable)):
        raise InvalidArgumentError("batches", "an iterable of Documents", type(batches).__name__)
    return checked_integer(workers, "workers", 1)


def ingest(
    handle: Handle,
    batches: Iterable[Documents],
    submit: Submit,
    *,
    in_flight: int,
    progress: bool | None,
    options: WriteOptions | None = None,
    on_empty: OnEmpty = "raise",
    total: int | None = None,
    on_stored: Callable[[int], None] | None = None,
) -> AddReport:
    """Write batches. Runs in one thread; requests run wherever ``submit`` lets them, ``in_flight`` at a time.

    After the first request that fails for good no more batches are read, those under way are waited
    for, and :class:`~embplug.errors.IngestError` tells what was not written.
    """
    traits = traits_of(handle.engine)
    arguments = write_arguments(handle.pipeline, options)
    check_on_empty(on_empty)
    if total is not None:
        checked_integer(total, "total")
    if on_stored is not None and not callable(on_stored):
        raise InvalidArgumentError("on_stored", "a function of a number", type(on_stored).__name__)
    report = AddReport()
    if handle.pipeline.unfilled:
        warnings.warn(
            f"collection {handle.name!r} also has vectors {[*handle.pipeline.unfilled]}: the documents that "
            "are added get none of them, and searches by them do not find these documents. For a sparse "
            "vector pass its model: sparse_encoder to open_plain, sparse_embedding to a store of "
            "LangChain, sparse_doc_fn or fastembed_sparse_model to one of LlamaIndex",
            stacklevel=2,
        )
    # ``disable=None`` is silent unless standard error is a terminal.
    silent = None if progress is None else not progress
    with (
        span("add", handle.name, logger) as observed,
        tqdm(desc=f"adding to {handle.name}", total=total, unit=" documents", disable=silent) as bar,
    ):
        checked = _checked_parts(batches, handle, submit, traits.point_form, on_empty, report)
        parts = _showing(checked, bar)
        if not handle.pipeline.fitted:
            parts = _learn(handle, parts, submit)
        parts = _recording(handle, parts, submit)
        renewal = _Renewal(handle, submit, traits.point_form)

        def stored(part: _Part) -> None:
            # Documents that are encoded anew are sent behind later ones.
            if on_stored is not None and not renewal.is_used:
                on_stored(part.number)

        try:
            write(
                handle.engine,
                handle.name,
                renewal.chunks(parts),
                submit,
                in_flight=in_flight,
                bar=bar,
                written=stored,
                renewal=renewal,
                arguments=arguments,
                report=report,
            )
        finally:
            # Also of a call that fails, some documents may be acknowledged.
            observed.set(documents=report.added, retries=report.retries)
            record(ADDED, report.added, collection=handle.name)
    for ids, what in ((report.skipped, "left out"), (report.without_vectors, "stored without vectors")):
        if ids:
            logger.warning("collection %r: %d empty documents were %s", handle.name, len(ids), what)
    if report.added >= BULK_POINTS and traits.optimizes_on_call:
        try:
            submit(optimize_steps(handle.engine, handle.name, 0.0)).result()
        except DiskSpaceError as error:  # the documents are written, and searches only take longer
            logger.warning("collection %r: %s", handle.name, error)
    return report


@dataclass(frozen=True, eq=False)
class _Part:
    """Checked documents that have all vectors.

    Attributes
    ----------
    checked : CheckedDocuments
        The documents, as the recipe of ``pipeline`` needs them.
    pipeline : Pipeline
        What they were checked for.
    batch : Documents
        The batch of the user that they come from.
    number : int
        Position of the batch in the call.
    start : int
        Position of the first document in the batch.
    """

    checked: CheckedDocuments
    pipeline: Pipeline
    batch: Documents
    number: int
    start: int

    def fits(self, pipeline: Pipeline) -> bool:
        """Return whether the documents are also as another pipeline needs them."""
        own = self.pipeline
        return own is pipeline or (own.recipe == pipeline.recipe and own.versions == pipeline.versions)

    def checked_for(
        self, pipeline: Pipeline, form: PointForm, first: int = 0, count: int | None = None
    ) -> CheckedDocuments:
        """Return some of the documents, checked once more if the collection has another recipe now.

        Raises
        ------
        InvalidArgumentError
            The documents do not fit the recipe, or have vectors of a model that the collection had before.
        """
        last = len(self.checked) if count is None else first + count
        if self.fits(pipeline):
            return self.checked.part(first, last)
        batch, start = self.batch, self.start + first
        kinds = ("tokens", "dense", "sparse")
        vectors = next((name for name in kinds if getattr(batch, name) is not None), None)
        if vectors is not None and _models(pipeline) != _models(self.pipeline):
            expected = "vectors of the model that the collection has now; pass the documents again with them"
            raise InvalidArgumentError(vectors, expected, "vectors of the model before its upgrade")
        with naming_documents(batch, self.number, start):
            rows = _rows(batch, start, self.start + last)
            whole = check_batch(rows, pipeline.recipe, pipeline.models.has_encoder)
            check_payload_sizes(whole, form)
            return complete_documents(whole, pipeline)


def _models(pipeline: Pipeline) -> dict[str, int]:
    return {name: version.model for name, version in pipeline.versions.items()}


def _rows(batch: Documents, start: int, stop: int) -> Documents:
    def rows(values: Any) -> Any:
        if isinstance(values, Mapping):
            return {name: rows(column) for name, column in values.items()}
        if hasattr(values, "tocsr"):  # not every sparse matrix of scipy can be sliced
            values = values.tocsr()
        return None if values is None else values[start:stop]

    sequences = ("ids", "tokens", "dense", "texts", "payloads", "saliency", "images", "grids", "sparse")
    kind = EmptyDocuments if isinstance(batch, EmptyDocuments) else Documents
    return kind(**{name: rows(getattr(batch, name)) for name in sequences})


class _Renewal:
    """Encodes parts with the pipeline that the collection has at the moment."""

    def __init__(self, handle: Handle, submit: Submit, form: PointForm) -> None:
        self.handle = handle
        self.submit = submit
        self.form = form
        self.is_used = False

    def chunks(self, parts: Iterable[_Part]) -> Iterator[Chunk]:
        """Chunks of all parts; a chunk without points ends each part."""
        for part in parts:
            yield from self._encoded(part, 0, len(part.checked))
            yield Chunk((), [], part)

    def is_outdated_steps(self, chunk: Chunk, error: Exception | None) -> Steps[bool]:
        """Return whether the collection has another revision by now than a chunk."""
        assert chunk.pipeline is not None
        return self.handle.is_outdated_steps(chunk.pipeline, error)

    def renewed(self, chunk: Chunk) -> Iterator[Chunk]:
        """Encode the documents of a chunk once more, after the collection has changed."""
        assert chunk.pipeline is not None
        self.is_used = True
        self.submit(self.handle.replace_steps(chunk.pipeline)).result()
        for again in self._encoded(chunk.mark, chunk.first, len(chunk.ids)):
            yield replace(again, first=chunk.first + again.first, renewed=chunk.renewed + 1)

    def _encoded(self, part: _Part, first: int, count: int) -> Iterator[Chunk]:
        while not (pipeline := self.handle.pipeline).fitted and not part.checked.without_vectors:
            sample = _sample([part.checked_for(pipeline, self.form, first, count)], count)
            self.submit(all_retried(self.handle.learn_steps(sample))).result()
        checked = part.checked_for(pipeline, self.form, first, count)
        yield from chunked(checked, pipeline, self.form, part)


def _showing(parts: Iterable[_Part], bar: Any) -> Iterator[_Part]:
    """Show how many documents have vectors: learning and encoding take longer than to store them."""
    count = 0
    for part in parts:
        count += len(part.checked)
        if count > bar.n:
            bar.set_postfix_str(f"{count:,} encoded")
        yield part


def _checked_parts(
    batches: Iterable[Documents],
    handle: Handle,
    submit: Submit,
    form: PointForm,
    on_empty: OnEmpty,
    report: AddReport,
) -> Iterator[_Part]:
    """Each batch checked whole, then cut where texts are still to become vectors.

    The ids of empty documents that are left out or stored without vectors go into ``report``.
    """
    seen: set[int | str] = set()
    for number, batch in enumerate(batches):
        if not isinstance(batch, Documents):
            raise InvalidArgumentError("batches", "embplug.Documents", type(batch).__name__)
        with naming_documents(batch, number):
            check_stored_texts(batch, handle.pipeline.recipe.text_key)
        kept, empty = (batch, None) if on_empty == "raise" else split_empty(batch)
        if empty is not None and on_empty == "skip":
            report.skipped += empty.ids
            empty = None
        if empty is not None:
            with naming_documents(batch, number):
                point_ids(batch.ids)  # they differ from those of the documents that are not empty
            report.without_vectors += empty.ids
        # Both are checked before a document of either is written.
        wholes = [
            (documents, _checked(documents, number, handle, submit, form))
            for documents in (kept, empty)
            if documents is not None
        ]
        for documents, (whole, _) in wholes:
            with naming_documents(documents, number):
                _check_new(whole, seen)
        for documents, (whole, pipeline) in wholes:
            at_once = TEXTS_AT_ONCE if whole.images is None else IMAGES_AT_ONCE
            step = len(whole) if whole.has_vectors(pipeline.recipe) else at_once
            for start in range(0, len(whole), max(step, 1)):
                with naming_documents(documents, number, start):
                    part = complete_documents(whole.part(start, start + step), pipeline)
                yield _Part(part, pipeline, documents, number, start)


def _checked(
    documents: Documents, number: int, handle: Handle, submit: Submit, form: PointForm
) -> tuple[CheckedDocuments, Pipeline]:
    """A batch, checked whole before any of it is encoded, and the pipeline that it was checked for."""
    for _ in range(ATTEMPTS):
        pipeline = handle.pipeline
        try:
            with naming_documents(documents, number):
                whole = check_batch(documents, pipeline.recipe, pipeline.models.has_encoder)
                check_payload_sizes(whole, form)
            for branch in pipeline.branches.values():
                branch.check_storable(whole)
        except InvalidArgumentError as error:
            # What does not fit this recipe may fit the one that the collection has now.
            if not submit(handle.changed_steps(pipeline, error)).result():
                raise
        else:
            return whole, pipeline
    raise handle.overtaken_error()


def _check_new(documents: CheckedDocuments, seen: set[int | str]) -> None:
    """Refuse an id that an earlier batch of the call has, as one that the same batch has."""
    if not seen.isdisjoint(documents.ids):
        row = next(i for i, point in enumerate(documents.ids) if point in seen)
        got = f"{documents.user_ids[row]!r}, as in an earlier batch"
        raise DuplicateIdError(f"ids[{row}]", "ids that differ", got)
    seen.update(documents.ids)


def _learn(handle: Handle, parts: Iterator[_Part], submit: Submit) -> Iterator[_Part]:
    """Let the collection learn from the first documents, unless another process did; lose none of them."""
    from embplug.methods.encodings.learned import SAMPLE_TOKENS

    submit(all_retried(handle.learn_steps(None))).result()
    if handle.pipeline.fitted:
        return parts
    first: list[_Part] = []
    count = handle.pipeline.recipe.fit_sample
    documents = tokens = 0
    while documents < count and tokens < SAMPLE_TOKENS and (part := next(parts, None)) is not None:
        first.append(part)
        if part.checked.without_vectors:
            continue
        documents += len(part.checked)
        if handle.pipeline.learns_from_tokens and part.checked.tokens is not None:
            tokens += len(part.checked.tokens.values)
    form = traits_of(handle.engine).point_form
    learned_from = [part for part in first if not part.checked.without_vectors]
    while learned_from and not (pipeline := handle.pipeline).fitted:
        sample = _sample([part.checked_for(pipeline, form) for part in learned_from], count)
        submit(all_retried(handle.learn_steps(sample))).result()
    return chain(first, parts)


def _recording(handle: Handle, parts: Iterable[_Part], submit: Submit) -> Iterator[_Part]:
    """Let the collection remember which encoders make its vectors, before the first are written."""
    for part in parts:
        if part.pipeline.models.unrecorded:
            submit(handle.record_encoders_steps(part.pipeline)).result()
        yield part


def _sample(parts: Sequence[CheckedDocuments], count: int) -> CheckedSample:
    matrices = [part.tokens for part in parts if part.tokens is not None]
    tokens = TokenBatch.concat(matrices) if matrices else None
    if tokens is not None:
        from embplug.methods.encodings.learned import SAMPLE_TOKENS

        affordable = int(np.searchsorted(tokens.offsets, SAMPLE_TOKENS, side="right")) - 1
        tokens = tokens[: min(count, max(affordable, 1))]
    dense = {name: np.concatenate([part.dense[name] for part in parts])[:count] for name in parts[0].dense}
    texts = [text for part in parts for text in part.texts or ()][:count]
    return CheckedSample(tokens, dense, texts=texts or None)
