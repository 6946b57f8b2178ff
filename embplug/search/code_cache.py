"""Codes that were read before, kept in this process as long as their points do not change."""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass, field
from itertools import repeat
from threading import Lock
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from embplug.common.byte_strings import ByteStrings
from embplug.engines.answers import PointId
from embplug.errors import InvalidArgumentError

VARIABLE = "EMBPLUG_CODE_CACHE_MB"
"""Environment variable: megabytes of codes that a handle of a collection keeps at most; 0 keeps none."""

DEFAULT_MB = 64
MEGABYTE = 1 << 20
FIRST_BYTES = 1 << 20
FIRST_ROWS = 1 << 10
ABSENT = -1


class _Columns(NamedTuple):
    """Codes of all rows. They are replaced together, so that a reader never sees parts of two."""

    data: NDArray[np.uint8]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]
    versions: NDArray[np.int64]


def _columns(capacity: int, rows: int) -> _Columns:
    return _Columns(np.empty(capacity, dtype=np.uint8), *np.empty((3, rows), dtype=np.int64))


@dataclass
class _Arena:
    """Codes of points of one source, one after the other."""

    source: object
    columns: _Columns
    rows: dict[str, dict[PointId, int]] = field(default_factory=dict)
    used_bytes: int = 0
    used_rows: int = 0

    def append(
        self, name: str, ids: Sequence[PointId], versions: Sequence[int], strings: ByteStrings
    ) -> None:
        joined = strings.joined()
        first, stop = self.used_rows, self.used_rows + len(ids)
        self._grow(self.used_bytes + len(joined), stop)
        columns = self.columns
        columns.data[self.used_bytes : self.used_bytes + len(joined)] = joined
        columns.starts[first:stop] = self.used_bytes + np.cumsum(strings.lengths) - strings.lengths
        columns.lengths[first:stop] = strings.lengths
        columns.versions[first:stop] = versions
        self.used_bytes, self.used_rows = self.used_bytes + len(joined), stop
        # Readers look rows up before they read the columns, which are whole by now.
        self.rows.setdefault(name, {}).update(zip(ids, range(first, stop), strict=True))

    def _grow(self, least_bytes: int, least_rows: int) -> None:
        old = self.columns
        if least_bytes <= len(old.data) and least_rows <= len(old.starts):
            return
        grown = _columns(max(2 * len(old.data), least_bytes), max(2 * len(old.starts), least_rows))
        grown.data[: len(old.data)] = old.data
        for before, after in ((old.starts, grown.starts), (old.lengths, grown.lengths)):
            after[: len(before)] = before
        grown.versions[: len(old.versions)] = old.versions
        self.columns = grown


class CodeCache:
    """Codes of documents by payload field, id and version of the point.

    An engine that runs in this process tells the version of each point with its score. What was read of a
    version stays right, so that a search reads the payloads of those points alone that are new to it. If the
    cache is full, it begins anew. Threads may share it.

    Parameters
    ----------
    capacity : int
        Largest number of bytes of codes.
    """

    def __init__(self, capacity: int) -> None:
        self.capacity = capacity
        self._lock = Lock()
        self._arena = _Arena(None, _columns(0, 0))

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
        columns = arena.columns
        known = rows >= 0
        known[known] = columns.versions[rows[known]] == np.asarray(versions, dtype=np.int64)[known]
        rows = rows[known]
        return ByteStrings(columns.data, columns.starts[rows], columns.lengths[rows]), known

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
        size = int(strings.lengths.sum())
        if size > self.capacity:
            return
        with self._lock:
            arena = self._arena
            if arena.source is not source or arena.used_bytes + size > self.capacity:
                arena = _Arena(source, _columns(min(FIRST_BYTES, self.capacity), FIRST_ROWS))
            arena.append(name, ids, versions, strings)
            self._arena = arena


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
