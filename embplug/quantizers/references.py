"""Which earlier token of its document each token is predicted from."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
from numpy.typing import NDArray

from embplug.quantizers.base import Float32

WINDOW = 255
SEARCH_ROWS = 1024


def find_references(residuals: Float32, offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each row (n, dim) the earlier one of its document that points most nearly the same way.

    At most :data:`WINDOW` rows back; -1 where none points the same way.
    """
    lengths = np.linalg.norm(residuals, axis=1, keepdims=True)
    unit = residuals / np.where(lengths > 0, lengths, 1)
    found = np.full(len(residuals), -1, dtype=np.int64)
    for first, stop in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
        for start in range(first, stop, SEARCH_ROWS):
            rows = np.arange(start, min(start + SEARCH_ROWS, stop))
            earlier = np.arange(max(first, start - WINDOW), rows[-1] + 1)
            cosines = unit[rows] @ unit[earlier].T
            back = rows[:, None] - earlier
            cosines[(back < 1) | (back > WINDOW)] = 0
            best = cosines.argmax(axis=1)
            alike = cosines[np.arange(len(rows)), best] > 0
            found[rows[alike]] = earlier[best[alike]]
    return found


def in_order(references: NDArray[np.int64]) -> Iterator[NDArray[np.int64]]:
    """Rows without a reference, then again and again those whose references came before."""
    told = references < 0
    yield np.flatnonzero(told)
    rows = np.flatnonzero(~told)
    while rows.size:
        ready = told[references[rows]]
        yield rows[ready]
        told[rows[ready]] = True
        rows = rows[~ready]
