"""Points of Qdrant's answers over gRPC, found by the compiled kernel in the bytes of the message."""

from __future__ import annotations

import contextlib
import itertools
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from embplug.common.byte_strings import ByteStrings
from embplug.methods.kernels.arguments import place
from embplug.methods.kernels.library import Kernel, load

SMALLEST_POINT_BYTES = 2
"""Bytes that a point takes in an answer, at least."""

ABSENT, NO_TEXT = -1, -2
"""In place of the length of a text: that there is nothing, or that there is another value."""

START, STOP, NUMBER, TEXT_START, TEXT_LENGTH, COLUMNS = range(6)
"""What the kernel tells of a point: its first byte and the byte behind it; its id, if that is a number; of an
id that is a text the first byte and the length. ``COLUMNS`` is how many that are."""


class PointSpans(NamedTuple):
    """Where the points of a result stand in an answer."""

    columns: NDArray[np.int64]
    """(n, 5): see ``START``. The length of an id that is a number is ``ABSENT``."""
    scores: NDArray[np.float32]
    """(n,)"""

    def ids(self, answer: bytes) -> list[int | str]:
        """Ids of the points."""
        numbers: list[int | str] = self.columns[:, NUMBER].view(np.uint64).tolist()
        lengths = self.columns[:, TEXT_LENGTH].tolist()
        if max(lengths, default=ABSENT) == ABSENT:
            return numbers
        texts = zip(self.columns[:, TEXT_START].tolist(), lengths, strict=True)
        return [
            number if length == ABSENT else answer[start : start + length].decode()
            for number, (start, length) in zip(numbers, texts, strict=True)
        ]

    def message(self, answer: bytes, row: int) -> bytes:
        """Message of one point, a ``ScoredPoint``."""
        start, stop = self.columns[row, [START, STOP]].tolist()
        return answer[start:stop]


def points(kernel: Kernel, answer: bytes, result: int, limit: int) -> PointSpans:
    """Find the points of one result.

    Parameters
    ----------
    kernel : Kernel
        The compiled kernel.
    answer : bytes
        A ``QueryBatchResponse``.
    result : int
        Number of the result, from 0.
    limit : int
        Largest number of points that the result may have.

    Returns
    -------
    PointSpans

    Raises
    ------
    ValueError
        The bytes are no such message, or one with fewer results or more points.
    """
    room = min(limit, len(answer) // SMALLEST_POINT_BYTES)
    columns, scores = np.empty((room, COLUMNS), dtype=np.int64), np.empty(room, dtype=np.float32)
    functions = kernel.functions_for(room)
    count = functions.embplug_points(answer, len(answer), result, room, place(columns), place(scores))
    if count < 0:
        raise ValueError(f"it has no result {result + 1}, or one with more than {limit} points")
    return PointSpans(columns[:count], scores[:count])


def count_points(answer: bytes) -> int:
    """Count the points of all results of an answer, up to what cannot be read; 0 without a kernel."""
    kernel, count = load(), 0
    if kernel is not None:
        with contextlib.suppress(ValueError):
            for result in itertools.count():
                count += len(points(kernel, answer, result, len(answer)).scores)
    return count


def texts(kernel: Kernel, answer: bytes, spans: PointSpans, name: str) -> ByteStrings:
    """Find the texts of one payload field of all points.

    Parameters
    ----------
    kernel : Kernel
        The compiled kernel.
    answer : bytes
        The answer.
    spans : PointSpans
        What :func:`points` has found in it.
    name : str
        Name of the field.

    Returns
    -------
    ByteStrings
        The texts as UTF-8, in the bytes of the answer. The length is ``ABSENT`` where a point lacks the
        field, and ``NO_TEXT`` where its value is no text.

    Raises
    ------
    ValueError
        A payload is malformed.
    """
    count, key = len(spans.scores), name.encode()
    starts, lengths = np.empty(count, dtype=np.int64), np.empty(count, dtype=np.int64)
    if kernel.functions_for(count).embplug_texts(
        *(answer, place(spans.columns), count, key, len(key), place(starts), place(lengths))
    ):
        raise ValueError("a payload that is no message")
    return ByteStrings(np.frombuffer(answer, dtype=np.uint8), starts, lengths)
