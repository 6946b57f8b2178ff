"""Scores of codes whose bytes name entries, by one call of the compiled kernel for each query."""

from __future__ import annotations

import ctypes
from ctypes import c_float, c_int64, c_void_p
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from embplug.errors import InvalidArgumentError
from embplug.methods.kernels.arguments import (
    CodedDocuments,
    check_documents,
    check_shape,
    floats,
    integers,
    place,
)
from embplug.methods.kernels.bases import RoundedRows, checked_bases
from embplug.methods.kernels.library import Kernel
from embplug.methods.kernels.lookups import over_documents, refuse_unknown_ids, thread_count
from embplug.methods.kernels.tables import (
    ENTRIES,
    FLOAT32,
    INTEGER,
    LARGEST_WIDTH,
    TILES,
    aligned,
    filled,
    tile_of,
)
from embplug.methods.numeric.arrays import Float32

HEADER_BYTES = 2
LARGEST_HEADER_BITS = 8 * HEADER_BYTES


class Headers(NamedTuple):
    """What the first two bytes of a code name: a centroid and, in the lowest bits, a factor.

    Attributes
    ----------
    centroids : RoundedRows
        Vectors (n, dim) to which entries are added.
    factors : float32 (2 ** bits,)
        Factors of scores.
    """

    centroids: RoundedRows
    factors: Float32


class _Bytewise(ctypes.Structure):
    _fields_ = (
        ("directions", c_void_p),
        ("mean", c_void_p),
        ("dim", c_int64),
        ("active", c_int64),
        ("entries", c_void_p),
        ("widths", c_void_p),
        ("bytes", c_int64),
        ("squares", c_void_p),
        ("square", c_float),
        ("lengths", c_void_p),
        ("header_bytes", c_int64),
        ("factor_bits", c_int64),
        ("factors", c_void_p),
    )


class BytewiseCodes:
    """Codes of vectors as a mean or a centroid, and an entry for each byte, as the kernel reads them.

    It is made once for all queries, and read by several threads.

    Parameters
    ----------
    directions : float32 (dim, active) or None
        Directions that the entries describe, as columns. None are the dimensions themselves.
    mean : float32 (dim,) or Headers
        What entries are added to: the same vector for all codes, or the centroids that their headers name.
    entries : float32 (active, 256)
        The entries of each byte in its directions.
    widths : int64 (bytes,)
        Number of directions of each byte.
    squares : float32 (bytes, 256), default=None
        What each entry adds to the squared length of a vector, whose scores are divided by its length. None
        keeps the lengths, as codes with headers do.
    square : float, default=0.0
        Squared length of the mean.
    lengths : float32 (256,), default=None
        Factors of scores by one more byte of the code, where there are squares.
    """

    def __init__(
        self,
        directions: Float32 | None,
        mean: Float32 | Headers,
        entries: Float32,
        widths: NDArray[np.int64],
        squares: Float32 | None = None,
        square: float = 0.0,
        lengths: Float32 | None = None,
    ) -> None:
        self._arguments = directions, mean, entries, widths, squares, square, lengths
        self._centroids, factors, vector, header = None, None, None, (0, 0)
        if isinstance(mean, Headers):
            self._centroids, factors = mean
            self.dim, header = self._centroids.exact.shape[1], (HEADER_BYTES, _bits_of(factors))
            if squares is not None:
                raise InvalidArgumentError("squares", "None for codes with headers", f"shape {squares.shape}")
        else:
            self.dim, vector = len(mean), mean
            check_shape("mean", mean, (self.dim,))
        widths = integers(widths)
        self.width, active = len(widths), int(widths.sum())
        if (widths < 0).any():
            raise InvalidArgumentError("widths", "numbers from 0", "others")
        check_shape("entries", entries, (active, ENTRIES))
        if directions is not None:
            check_shape("directions", directions, (self.dim, active))
        elif active != self.dim:
            raise InvalidArgumentError("widths", f"{self.dim} dimensions together", active)
        if squares is not None:
            check_shape("squares", squares, (self.width, ENTRIES))
        if lengths is not None:
            check_shape("lengths", lengths, (ENTRIES,))
        rows = None if directions is None else directions.T
        arrays = (rows, vector, entries, squares, lengths, factors)
        self._kept = [widths, *(None if array is None else floats(array) for array in arrays)]
        of_widths, *before, of_squares, of_lengths, of_factors = (place(array) for array in self._kept)
        self._struct = _Bytewise(
            *(*before[:2], self.dim, active, before[2], of_widths, self.width),
            *(of_squares, square, of_lengths, *header, of_factors),
        )
        self._place = ctypes.addressof(self._struct)
        self.code_bytes = header[0] + self.width + (lengths is not None)

    def __reduce__(self) -> tuple[Any, ...]:
        return BytewiseCodes, self._arguments

    def maxsim(
        self, kernel: Kernel, query: Float32, documents: CodedDocuments, *, threads: int | None = None
    ) -> Float32:
        """Sum over query tokens (t, dim) of the highest score of a token of each document.

        Parameters
        ----------
        kernel : Kernel
        query : float32 (t, dim)
        documents : CodedDocuments
        threads : int, default=None
            None takes as many as the work is worth.

        Returns
        -------
        float32 (n,)
            -inf for a document without tokens.

        Raises
        ------
        InvalidArgumentError
            The query has another shape, or documents reach beyond the codes.
        """
        check_shape("query", query, (len(query), self.dim))
        if self.width > LARGEST_WIDTH and not kernel.exact:
            raise InvalidArgumentError("widths", f"at most {LARGEST_WIDTH} bytes", self.width)
        check_documents(kernel, documents, self.code_bytes, self.code_bytes)
        query = floats(query)
        scores = np.empty(len(documents.starts), dtype=np.float32)
        if len(query) == 0:
            scores[:] = np.where(np.diff(documents.offsets) > 0, 0, -np.inf)
            return scores
        places = [place(array) for array in documents]
        self._score(kernel, query[: TILES[-1]], documents, places, scores, threads)
        for start in range(TILES[-1], len(query), TILES[-1]):
            more = np.empty_like(scores)
            self._score(kernel, query[start : start + TILES[-1]], documents, places, more, threads)
            scores += more
        return scores

    @property
    def adds_up(self) -> bool:
        """Whether scores are sums of what the bytes of a code add: :meth:`sums` has them."""
        return self._centroids is None and self._struct.squares is None

    def sums(
        self, kernel: Kernel, query: Float32, codes: NDArray[np.uint8], starts: NDArray[np.int64]
    ) -> Float32:
        """Sums (n,) of the products of all query tokens with one code for each document.

        Parameters
        ----------
        kernel : Kernel
        query : float32 (t, dim)
        codes : uint8 (bytes,)
        starts : int64 (n,)
            The first byte of each code.
        """
        if not self.adds_up:
            raise InvalidArgumentError("codes", "codes without headers that keep their lengths", "others")
        check_shape("query", query, (len(query), self.dim))
        starts, query = integers(starts), floats(query)
        if codes.dtype != np.uint8 or codes.ndim != 1 or not codes.flags.c_contiguous:
            raise InvalidArgumentError("codes", "contiguous uint8 (n,)", f"{codes.dtype} {codes.shape}")
        scores = np.empty(len(starts), dtype=np.float32)
        room = np.empty(self.dim + self._struct.active + self.width * ENTRIES, dtype=np.float32)
        wrong = kernel.functions_for(len(starts) * self.width).embplug_bytewise_sum(
            *(self._place, place(query), len(query), place(codes), len(codes)),
            *(place(starts), len(starts), place(scores), place(room)),
        )
        if wrong >= 0:
            expected = f"a place of {self.code_bytes} bytes"
            raise InvalidArgumentError(f"starts[{wrong}]", expected, int(starts[wrong]))
        return scores

    def _score(
        self,
        kernel: Kernel,
        query: Float32,
        documents: CodedDocuments,
        places: list[Any],
        scores: Float32,
        threads: int | None,
    ) -> None:
        """Scores of documents with query tokens that fit into one tile."""
        tile = tile_of(len(query))
        kind, tokens = FLOAT32 if kernel.exact else INTEGER, int(documents.offsets[-1])
        bases: tuple[int | None, int | None, int] = None, None, 0
        if self._centroids is not None:
            # They leave nothing else in the cache, so that they come before the table.
            numbers, units = checked_bases(self._centroids.products(kernel, filled(query)), tile)
            bases = place(numbers), place(units), len(numbers)
        size = kernel.functions.held.embplug_bytewise_room(self._place, tile, kind, tokens)
        memory = aligned((size,), np.uint8)
        call = kernel.functions_for(tokens * self.width).embplug_bytewise
        before = kernel.level, tile, kind, self._place
        behind = place(scores), place(memory), *bases

        def run(first: int, last: int, query_place: int | None = None) -> int:
            stride = self.code_bytes
            return int(call(*before, query_place, len(query), *places, stride, first, last, *behind))

        threads = thread_count(documents.offsets, self.width + 1, threads)
        if threads < 2:
            results = [run(0, len(scores), place(query))]
        else:
            # The table is made before the threads that read it.
            run(0, 0, place(query))
            results = over_documents(run, documents.offsets, threads)
        refuse_unknown_ids(results, bases[2])


def _bits_of(factors: Float32) -> int:
    """Bits of the number of a factor."""
    bits = max(len(factors).bit_length() - 1, 0)
    check_shape("factors", factors, (1 << min(bits, LARGEST_HEADER_BITS),))
    return bits
