"""Batches of documents from the user: checked whole, learned from if need be, handed on to be written."""

from __future__ import annotations

import logging
from collections.abc import AsyncIterable, Iterable, Iterator, Sequence
from itertools import chain
from typing import Any

import numpy as np
from tqdm import tqdm

from embplug.branches.complete import complete_documents
from embplug.branches.documents import CheckedDocuments, CheckedSample, Documents, check_documents
from embplug.branches.pipeline import Pipeline
from embplug.branches.places import naming_documents
from embplug.collection.chunks import chunks_of_parts
from embplug.collection.fitting import learn_steps
from embplug.collection.maintenance import optimize_steps
from embplug.collection.payload_sizes import check_payload_sizes
from embplug.collection.writing import AddReport, Submit, write
from embplug.engines import AnyEngine, PointForm, traits_of
from embplug.engines.calls import all_retried
from embplug.errors import DiskSpaceError, DuplicateIdError, InvalidArgumentError
from embplug.methods.encodings.learned import SAMPLE_TOKENS
from embplug.methods.token_batch import TokenBatch

logger = logging.getLogger(__name__)

TEXTS_AT_ONCE = 256
BULK_POINTS = 1000
"""From this many points in one call on, Edge builds its indexes at the end."""


def check_batches(batches: Any) -> None:
    """Check that batches come as an iterable, synchronous or not.

    Raises
    ------
    InvalidArgumentError
        They do not.
    """
    if isinstance(batches, Documents):
        raise InvalidArgumentError("batches", "an iterable of Documents", "Documents; pass [documents]")
    if not isinstance(batches, (Iterable, AsyncIterable)):
        raise InvalidArgumentError("batches", "an iterable of Documents", type(batches).__name__)


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
    traits = traits_of(engine)
    parts = _checked_parts(batches, pipeline, traits.point_form)
    if not pipeline.fitted:
        parts = _learn(engine, name, pipeline, parts, submit)
    # ``disable=None`` is silent unless standard error is a terminal.
    with tqdm(
        desc=f"adding to {name}", unit=" documents", disable=None if progress is None else not progress
    ) as bar:
        chunks = chunks_of_parts(((None, part) for part in parts), pipeline, traits.point_form)
        report = write(engine, name, chunks, submit, in_flight=in_flight, bar=bar)
    if report.added >= BULK_POINTS and traits.optimizes_on_call:
        try:
            submit(optimize_steps(engine, name, 0.0)).result()
        except DiskSpaceError as error:  # the documents are written, and searches only take longer
            logger.warning("collection %r: %s", name, error)
    return report


def _checked_parts(
    batches: Iterable[Documents], pipeline: Pipeline, form: PointForm
) -> Iterator[CheckedDocuments]:
    """Each batch checked whole, then cut where texts are still to become vectors."""
    seen: set[int | str] = set()
    for number, documents in enumerate(batches):
        if not isinstance(documents, Documents):
            raise InvalidArgumentError("batches", "embplug.Documents", type(documents).__name__)
        with naming_documents(documents, number):
            whole = check_documents(documents, pipeline.recipe, pipeline.models.has_encoder)
            _check_new(whole, seen)
            check_payload_sizes(whole, form)
        step = len(whole) if whole.has_vectors(pipeline.recipe) else TEXTS_AT_ONCE
        for start in range(0, len(whole), max(step, 1)):
            with naming_documents(documents, number, start):
                part = complete_documents(whole.part(start, start + step), pipeline)
            yield part


def _check_new(documents: CheckedDocuments, seen: set[int | str]) -> None:
    """Refuse an id that an earlier batch of the call has, as one that the same batch has."""
    if not seen.isdisjoint(documents.ids):
        row = next(i for i, point in enumerate(documents.ids) if point in seen)
        got = f"{documents.user_ids[row]!r}, as in an earlier batch"
        raise DuplicateIdError(f"ids[{row}]", "ids that differ", got)
    seen.update(documents.ids)


def _learn(
    engine: AnyEngine, name: str, pipeline: Pipeline, parts: Iterator[CheckedDocuments], submit: Submit
) -> Iterator[CheckedDocuments]:
    """Let the pipeline learn from the first documents, unless another process did; lose none of them."""
    submit(all_retried(learn_steps(engine, name, pipeline, None))).result()
    if pipeline.fitted:
        return parts
    first: list[CheckedDocuments] = []
    count = pipeline.recipe.fit_sample
    documents = tokens = 0
    while documents < count and tokens < SAMPLE_TOKENS and (part := next(parts, None)) is not None:
        first.append(part)
        documents += len(part)
        if pipeline.learns_from_tokens and part.tokens is not None:
            tokens += len(part.tokens.values)
    if first:
        submit(all_retried(learn_steps(engine, name, pipeline, _sample(first, count)))).result()
    return chain(first, parts)


def _sample(parts: Sequence[CheckedDocuments], count: int) -> CheckedSample:
    matrices = [part.tokens for part in parts if part.tokens is not None]
    tokens = TokenBatch.concat(matrices) if matrices else None
    if tokens is not None:
        affordable = int(np.searchsorted(tokens.offsets, SAMPLE_TOKENS, side="right")) - 1
        tokens = tokens[: min(count, max(affordable, 1))]
    dense = {name: np.concatenate([part.dense[name] for part in parts])[:count] for name in parts[0].dense}
    texts = [text for part in parts for text in part.texts or ()][:count]
    return CheckedSample(tokens, dense, texts=texts or None)
