"""References of predictive codes: the earlier token that each token is predicted from."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from embplug.methods.numeric.arrays import Float32
from embplug.methods.numeric.rows import unit_rows

WINDOW = 255
SEARCH_ROWS = 1024


def find_references(residuals: Float32, offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    """For each row (n, dim) the earlier one of its document that points most nearly the same way.

    At most :data:`WINDOW` rows back; -1 where none points the same way.
    """
    unit = unit_rows(residuals)
    references = np.full(len(residuals), -1, dtype=np.int64)
    for first, stop in zip(offsets[:-1].tolist(), offsets[1:].tolist(), strict=True):
        for start in range(first, stop, SEARCH_ROWS):
            rows = np.arange(start, min(start + SEARCH_ROWS, stop))
            earlier = np.arange(max(first, start - WINDOW), rows[-1] + 1)
            cosines = unit[rows] @ unit[earlier].T
            back = rows[:, None] - earlier
            cosines[(back < 1) | (back > WINDOW)] = 0
            best = cosines.argmax(axis=1)
            alike = cosines[np.arange(len(rows)), best] > 0
            references[rows[alike]] = earlier[best[alike]]
    return references


def in_order(references: NDArray[np.int64]) -> list[NDArray[np.int64]]:
    """Rows without a reference (-1), then again and again those whose references came before."""
    if len(references) == 0:
        return []
    depths = np.zeros(len(references), dtype=np.int64)
    earlier = references
    rows = np.flatnonzero(earlier >= 0)
    depths[rows] = 1
    # Each round looks twice as far back as the one before.
    while rows.size:
        reached = earlier[rows]
        depths[rows] += depths[reached]
        earlier = earlier.copy()
        earlier[rows] = earlier[reached]
        rows = rows[earlier[rows] >= 0]
    return np.split(np.argsort(depths, kind="stable"), np.cumsum(np.bincount(depths))[:-1])
