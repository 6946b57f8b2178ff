"""Checked documents as requests of bounded size, in the form that the engine reads fastest."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from embplug.branches.documents import CheckedDocuments
from embplug.branches.pipeline import Pipeline
from embplug.branches.points import grpc_points, rest_points
from embplug.collection.payload_sizes import check_sizes, payload_sizes
from embplug.common.ids import Id
from embplug.engines import PointForm

CHUNK_BYTES = 8 << 20
"""Vectors and payloads of one request; far below what a server takes, and enough to be sent at full speed."""

CHUNK_POINTS = 2048
JSON_BYTES_PER_FLOAT = 22
"""Bytes of a float32 that is written with all digits of a double, and of its comma."""


@dataclass(frozen=True, eq=False)
class Chunk:
    """Points of one request.

    Attributes
    ----------
    ids : sequence of Id
        Ids of the documents as the user passed them.
    points : list
        Points in the form that the engine reads.
    mark : Any
        Where the documents come from, for the caller of :func:`~embplug.collection.writing.write`.
    pipeline : Pipeline or None
        What has encoded the documents.
    documents : CheckedDocuments or None
        The documents before they were encoded.
    first : int
        Position of the first document among those that ``mark`` stands for.
    renewed : int
        Number of times that the documents were encoded anew, because the collection had changed.
    """

    ids: Sequence[Id]
    points: list[Any]
    mark: Any
    pipeline: Pipeline | None = None
    documents: CheckedDocuments | None = None
    first: int = 0
    renewed: int = 0


def chunked(documents: CheckedDocuments, pipeline: Pipeline, form: PointForm, mark: Any) -> Iterator[Chunk]:
    """Encode documents and make them into requests of bounded size."""
    sizes = pipeline.count_numbers(documents) * (JSON_BYTES_PER_FLOAT if form is PointForm.LISTS else 4)
    if form is not PointForm.ARRAYS:
        sizes = sizes + payload_sizes(documents)
    if form is PointForm.LISTS:
        check_sizes(documents, sizes)
    for start, stop in _ranges(sizes):
        part = documents.part(start, stop)
        vectors, payloads = pipeline.encode(part)
        if form is PointForm.MESSAGES:
            points: list[Any] = list(grpc_points(part.ids, vectors, payloads))
        else:
            points = list(rest_points(part.ids, vectors, payloads, as_lists=form is PointForm.LISTS))
        yield Chunk(part.user_ids, points, mark, pipeline, part, start)


def chunks_of_parts(
    parts: Iterable[tuple[Any, CheckedDocuments]], pipeline: Callable[[], Pipeline], form: PointForm
) -> Iterator[Chunk]:
    """Chunks of parts, each with a mark of where it comes from; a chunk without points ends each part.

    ``pipeline`` returns the pipeline that the collection has at the moment.
    """
    for mark, part in parts:
        yield from chunked(part, pipeline(), form, mark)
        yield Chunk((), [], mark)


def _ranges(sizes: Any) -> Iterator[tuple[int, int]]:
    start, total = 0, 0
    for i, size in enumerate(sizes.tolist()):
        if i > start and (total + size > CHUNK_BYTES or i - start >= CHUNK_POINTS):
            yield start, i
            start, total = i, 0
        total += size
    if len(sizes) > start:
        yield start, len(sizes)
