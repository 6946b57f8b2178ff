"""Many byte strings in one buffer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import overload

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True, eq=False)
class ByteStrings(Sequence[bytes]):
    """A sequence of byte strings that lie in one buffer, so that none of them is an object.

    Attributes
    ----------
    data : ndarray of shape (bytes,), uint8
        All strings, with or without something in between.
    starts : ndarray of shape (n,), int64
        First byte of each string.
    lengths : ndarray of shape (n,), int64
        Bytes of each string.
    """

    data: NDArray[np.uint8]
    starts: NDArray[np.int64]
    lengths: NDArray[np.int64]

    @classmethod
    def of(cls, strings: Sequence[bytes]) -> ByteStrings:
        """Join strings. Those that are joined already are returned as they are."""
        if isinstance(strings, ByteStrings):
            return strings
        lengths = np.fromiter(map(len, strings), dtype=np.int64, count=len(strings))
        data = np.frombuffer(b"".join(strings), dtype=np.uint8)
        return cls(data, np.cumsum(lengths) - lengths, lengths)

    @classmethod
    def of_rows(cls, rows: NDArray[np.uint8], offsets: NDArray[np.int64]) -> ByteStrings:
        """Strings that are the rows ``offsets[i]:offsets[i + 1]`` of an array (rows, bytes)."""
        stops = np.asarray(offsets, dtype=np.int64) * rows.shape[1]
        return cls(np.ascontiguousarray(rows).reshape(-1), stops[:-1], np.diff(stops))

    def __len__(self) -> int:
        return len(self.starts)

    @overload
    def __getitem__(self, index: int) -> bytes: ...
    @overload
    def __getitem__(self, index: slice) -> ByteStrings: ...
    def __getitem__(self, index: int | slice) -> bytes | ByteStrings:
        if isinstance(index, slice):
            return ByteStrings(self.data, self.starts[index], self.lengths[index])
        start = int(self.starts[index])
        return self.data[start : start + int(self.lengths[index])].tobytes()

    def take(self, rows: NDArray[np.intp]) -> ByteStrings:
        """Some of the strings, in the order of ``rows``."""
        return ByteStrings(self.data, self.starts[rows], self.lengths[rows])

    def heads(self, count: int) -> NDArray[np.uint8]:
        """First bytes (n, count) of all strings, which have that many."""
        return np.ascontiguousarray(self.data[self.starts[:, None] + np.arange(count)])

    def without_heads(self, count: int) -> ByteStrings:
        """The strings without their first bytes, which they all have."""
        return ByteStrings(self.data, self.starts + count, self.lengths - count)

    def joined(self) -> NDArray[np.uint8]:
        """All strings one after the other, without anything in between."""
        stops = self.starts + self.lengths
        if len(self) and (self.starts[1:] == stops[:-1]).all():
            return self.data[self.starts[0] : stops[-1]]
        spans = zip(self.starts.tolist(), stops.tolist(), strict=True)
        parts = [self.data[start:stop] for start, stop in spans]
        return np.concatenate(parts) if parts else self.data[:0]
