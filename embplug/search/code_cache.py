"""Codes that were read before, kept in this process as long as their points do not change."""

from __future__ import annotations

import os
from collections.abc import Sequence
from itertools import repeat
from threading import Lock
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embplug.common.byte_strings import ByteStrings
from embplug.engines.answers import PointId
from embplug.errors import InvalidArgumentError

VARIABLE = "EMBPLUG_CODE_CACHE_MB"
"""Environment variable: megabytes that codes take at most in a handle of a collection; 0 keeps none."""

DEFAULT_MB = 64
MEGABYTE = 1 << 20
ABSENT = -1

ROW_BYTES = 192
"""Bytes of a point besides its codes: place and version, and the id in a dictionary, which may be a UUID."""

REFUSED_BEFORE_ANEW = 4
"""A full cache begins anew after it has refused so many times as much as it holds."""


class _Arena:
    """Codes of points of one source, one after the other.

    The arrays have their full size from the beginning. The operating system gives them memory only where
    they are written, so that nothing is ever copied, and readers keep what they have.
    """

    def __init__(self, source: object, capacity: int) -> None:
        self.source = source
        self.data = np.empty(capacity, dtype=np.uint8)
        self.starts, self.lengths, self.versions = np.empty((3, capacity // ROW_BYTES), dtype=np.int64)
        self.rows: dict[str, dict[PointId, int]] = {}
        self.used_bytes = 0
        self.used_rows = 0
        self.outdated = 0
        self.refused = 0

    @property
    def size(self) -> int:
        """Bytes that are in use."""
        return self.used_bytes + ROW_BYTES * self.used_rows

    def forget(self, name: str, ids: Sequence[PointId]) -> None:
        """Forget the codes of earlier versions of points, whose bytes stay in use."""
        row_of = self.rows.get(name, {})
        rows = [row for row in map(row_of.pop, ids, repeat(ABSENT)) if row != ABSENT]
        self.outdated += int(self.lengths[rows].sum()) + ROW_BYTES * len(rows)

    def append(
        self, name: str, ids: Sequence[PointId], versions: Sequence[int], strings: ByteStrings
    ) -> None:
        joined = strings.joined()
        first, stop = self.used_rows, self.used_rows + len(ids)
        self.data[self.used_bytes : self.used_bytes + len(joined)] = joined
        self.starts[first:stop] = self.used_bytes + np.cumsum(strings.lengths) - strings.lengths
        self.lengths[first:stop] = strings.lengths
        self.versions[first:stop] = versions
        self.used_bytes, self.used_rows = self.used_bytes + len(joined), stop
        # Readers look rows up before they read the arrays, which are whole by now.
        self.rows.setdefault(name, {}).update(zip(ids, range(first, stop), strict=True))


class CodeCache:
    """Codes of documents by payload field, id and version of the point.

    An engine that runs in this process tells the version of each point with its score. What was read of a
    version stays right, so that a search reads the payloads of those points alone that are new to it.
    Threads may share it.

    A full cache keeps what it has, and takes no more: where searches need more codes than it holds, they
    would replace each other before they are read again. It begins anew once half of it is of earlier versions
    of points, or searches have missed four times as much as it holds.

    Parameters
    ----------
    capacity : int
        Largest number of bytes of codes, with the ids and places of their points.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._lock = Lock()
        self._arena = _Arena(None, 0)

    def find(
        self, name: str, source: object, ids: Sequence[PointId], versions: Sequence[int]
    ) -> tuple[ByteStrings, NDArray[np.bool_]]:
        """Find the codes of some points.

        Parameters
        ----------
        name : str
            Payload field of the codes.
        source : object
            What the versions belong to; see ``Answer.source``.
        ids : sequence of int or str, of length n
            Ids of the points.
        versions : sequence of int, of length n
            Their versions.

        Returns
        -------
        codes : ByteStrings
            Codes of the points that are known, in their order.
        known : ndarray of shape (n,), bool
            Which ones these are.
        """
        arena = self._arena
        if arena.source is not source:
            return ByteStrings.of([]), np.zeros(len(ids), dtype=bool)
        row_of = arena.rows.get(name, {})
        rows = np.fromiter(map(row_of.get, ids, repeat(ABSENT)), dtype=np.int64, count=len(ids))
        # A point that is absent reads the last row, of which nothing is taken.
        known = (arena.versions[rows] == versions) & (rows != ABSENT)
        rows = rows[known]
        return ByteStrings(arena.data, arena.starts[rows], arena.lengths[rows]), known

    def add(
        self,
        name: str,
        source: object,
        ids: Sequence[PointId],
        versions: Sequence[int],
        strings: ByteStrings,
    ) -> None:
        """Keep the codes of some points; the arguments are as for :meth:`find`.

        Parameters
        ----------
        strings : ByteStrings, of length n
            Codes of the points, as they were read with these versions.
        """
        size = int(strings.lengths.sum()) + ROW_BYTES * len(ids)
        if size > self.capacity:
            return
        with self._lock:
            arena = self._arena
            if arena.source is source:
                arena.forget(name, ids)
            if arena.source is not source or (arena.size + size > self.capacity and self._is_spent(size)):
                self._arena = arena = _Arena(source, self.capacity)
            if arena.size + size <= self.capacity:
                arena.append(name, ids, versions, strings)

    def _is_spent(self, refused: int) -> bool:
        """Whether a cache that is full, and refuses so many bytes, serves too few searches."""
        arena = self._arena
        arena.refused += refused
        return 2 * arena.outdated > self.capacity or arena.refused > REFUSED_BEFORE_ANEW * self.capacity


def code_cache() -> CodeCache | None:
    """Return an empty cache of the size that :data:`VARIABLE` sets, or None if it is 0.

    Raises
    ------
    InvalidArgumentError
        The variable is no number of at least 0.
    """
    value: Any = os.environ.get(VARIABLE, str(DEFAULT_MB))
    if not value.isascii() or not value.isdigit():
        raise InvalidArgumentError(VARIABLE, "whole megabytes, at least 0", repr(value))
    capacity = int(value) * MEGABYTE
    return CodeCache(capacity) if capacity else None
