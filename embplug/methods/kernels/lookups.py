"""MaxSim of query tokens with coded documents by looked-up sums, in the compiled kernel.

A function here checks all that it passes on, so that no code, however it came about, makes the kernel read
or write beyond its arrays. :mod:`embplug.methods.kernels.reference` holds the same in numpy.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Sequence
from ctypes import c_int64, c_void_p
from itertools import pairwise
from typing import Any, NamedTuple, TypeVar

import numpy as np
from numpy.typing import NDArray

from embplug.common.byte_strings import ByteStrings
from embplug.common.threads import free_cores, in_threads
from embplug.errors import InvalidArgumentError
from embplug.methods.kernels.arguments import (
    CodedDocuments,
    check_documents,
    check_shape,
    floats,
    integers,
    place,
)
from embplug.methods.kernels.bases import Bases, checked_bases
from embplug.methods.kernels.library import Kernel
from embplug.methods.kernels.tables import (
    ENTRIES,
    FLOAT32,
    INTEGER,
    Table,
    TableWork,
    VectorTable,
    aligned,
    checked_entries,
    checked_tile,
    kind_of,
    table_size,
    tiles,
    wide_parts,
)
from embplug.methods.numeric.arrays import Float32
from embplug.methods.token_batch import document_blocks

Result = TypeVar("Result")

CLASSES, GAINS, FACTORS, HEADER_BYTES = 8, 16, 32, 4
"""Of predictive codes, as the kernel reads them."""
BLOCK_TOKENS = 1 << 16
"""Tokens of predictive codes whose sums are held at once, unless one document has more."""
LOOKUPS_OF_A_THREAD = 1 << 19
"""Looked-up rows, half a millisecond of work, that another thread is woken for."""


class TokenTerms(NamedTuple):
    """What a quantizer reads from the codes of tokens before the kernel scores them.

    Attributes
    ----------
    documents : CodedDocuments
    stride : int
        Bytes from one token of a document to the next.
    first : int
        The byte of a token from which on bytes are looked up.
    id_bytes : int
        First bytes of a token, at most two, that hold its id and, below it, the number of its factor. 0 is
        the id 0 for all.
    factor_bits : int
        Bits of the number of the factor.
    factors : float32 (2 ** factor_bits,) or None
        Factors of scores, where there are ids. None is 1 for all.
    scales : float32 (tokens,) or None
        More factors, one for each token.
    """

    documents: CodedDocuments
    stride: int
    first: int = 0
    id_bytes: int = 0
    factor_bits: int = 0
    factors: Float32 | None = None
    scales: Float32 | None = None


class _Uniform(ctypes.Structure):
    _fields_ = (
        *((name, c_void_p) for name in ("codes", "starts", "offsets")),
        *((name, c_int64) for name in ("stride", "first", "width", "query_tokens")),
        *((name, c_void_p) for name in ("table", "order", "steps", "shifts", "bases", "units")),
        *((name, c_int64) for name in ("rows", "id_bytes", "factor_bits")),
        *((name, c_void_p) for name in ("factors", "scales", "scores")),
    )


class _Predictive(ctypes.Structure):
    _fields_ = (
        *((name, c_void_p) for name in ("codes", "starts", "offsets", "widths")),
        ("query_tokens", c_int64),
        *((name, c_void_p) for name in ("entries", "columns", "kept", "active", "turned", "bases", "units")),
        *((name, c_void_p) for name in ("gains", "factors", "steps", "shifts")),
        *((name, c_void_p) for name in ("sums", "places", "members", "stops", "scores")),
    )


class _Work(ctypes.Structure):
    _fields_ = tuple((name, c_void_p) for name in ("table", "order", "places", "ranges", "query"))


def maxsim(
    kernel: Kernel,
    table: Table,
    bases: Bases,
    terms: TokenTerms,
    *,
    lanes: int | None = None,
    threads: int | None = None,
) -> Float32:
    """Sum over the query tokens of the highest score of a token of each document.

    A token scores ``(looked-up sum + base) * factor * scale``.

    Parameters
    ----------
    kernel : Kernel
    table : Table
        Of as many bytes as are looked up; it may have none.
    bases : float32 (rows, tile) or RoundedProducts
        Added to the sum of a token by its id.
    terms : TokenTerms
    lanes : int, default=None
        Query tokens that count: those of the first columns. None counts all.
    threads : int, default=None
        None takes as many as the work is worth.

    Returns
    -------
    float32 (n,)
        -inf for a document without tokens.

    Raises
    ------
    InvalidArgumentError
        Documents that reach beyond the codes, ids without a row, or arrays of another shape.
    """
    documents, width, tokens = terms.documents, len(table.order), int(terms.documents.offsets[-1])
    tile = checked_tile("steps", table.tile)
    _check_table(table.entries, table.order, width, tile)
    check_shape("shifts", table.shifts, (tile,))
    numbers, units = checked_bases(bases, tile)
    if not 0 <= terms.id_bytes <= 2 or not 0 <= terms.factor_bits <= 8 * terms.id_bytes:
        raise InvalidArgumentError("id_bytes", "0 to 2, with room for the factor", terms.id_bytes)
    if terms.first < terms.id_bytes:
        raise InvalidArgumentError("first", f"at least {terms.id_bytes}", terms.first)
    check_documents(kernel, documents, terms.stride, terms.first + width)
    if terms.factors is not None:
        check_shape("factors", terms.factors, (1 << terms.factor_bits if terms.id_bytes else 0,))
    if terms.scales is not None:
        check_shape("scales", terms.scales, (tokens,))
    if tokens and len(numbers) == 0:
        raise InvalidArgumentError("bases", "at least one row", "none")
    steps, shifts = floats(table.steps), floats(table.shifts)
    factors, scales = (None if array is None else floats(array) for array in terms[-2:])
    scores = np.empty(len(documents.starts), dtype=np.float32)
    arguments = _Uniform(
        *(place(array) for array in documents),
        *(terms.stride, terms.first, width, _checked_lanes(lanes, tile)),
        *(place(array) for array in (table.entries, table.order, steps, shifts, numbers, units)),
        *(len(numbers), terms.id_bytes, terms.factor_bits),
        *(place(array) for array in (factors, scales, scores)),
    )
    kind = kind_of(table.entries)

    def run(first: int, last: int) -> int:
        call = kernel.functions.embplug_maxsim
        return int(call(kernel.level, tile, kind, ctypes.byref(arguments), first, last))

    results = over_documents(run, documents.offsets, thread_count(documents.offsets, width + 1, threads))
    refuse_unknown_ids(results, len(numbers))
    return scores


def maxsim_of_tiles(
    kernel: Kernel, query: Float32, terms: TokenTerms, lookups: Callable[[Float32], tuple[Table, Bases]]
) -> Float32:
    """As :func:`maxsim`, for any number of query tokens (t, dim).

    ``lookups`` makes the table and the bases of one tile of them (tile, dim).
    """
    scores: Float32 = np.where(np.diff(terms.documents.offsets) > 0, np.float32(0), np.float32(-np.inf))
    for tokens, lanes in tiles(query):
        table, bases = lookups(tokens)
        scores += maxsim(kernel, table, bases, terms, lanes=lanes)
    return scores


class PredictiveClasses:
    """Entries of each class of predictive codes, in the form in which the kernel reads them.

    They are made once for all queries, and read by several threads.

    Parameters
    ----------
    directions : float32 (n, dim)
        Directions that entries describe.
    classes : sequence of (entries, widths, kept), of length 8
        Arguments of :func:`~embplug.methods.kernels.tables.table_of_entries` for each class, and the numbers
        of the directions that its entries describe.
    """

    def __init__(
        self, directions: Float32, classes: Sequence[tuple[Float32, NDArray[np.int64], NDArray[np.int64]]]
    ) -> None:
        if len(classes) != CLASSES:
            raise InvalidArgumentError("classes", f"{CLASSES} classes", len(classes))
        self.directions = floats(directions)
        self._kept = [
            (*checked_entries(entries, widths), integers(kept)) for entries, widths, kept in classes
        ]
        for _, entries, kept in self._kept:
            check_shape("kept", kept, (len(entries),))
            if ((kept < 0) | (kept >= len(directions))).any():
                raise InvalidArgumentError("kept", f"numbers below {len(directions)}", "others")
        self.active = np.array([len(entries) for _, entries, _ in self._kept], dtype=np.int64)
        self.widths = np.array([len(widths) for widths, _, _ in self._kept], dtype=np.int64)
        self.columns, self.entries, self.kept = (
            np.array([place(array) for array in arrays], dtype=np.uint64)
            for arrays in zip(*self._kept, strict=True)
        )

    def __reduce__(self) -> tuple[Any, ...]:
        classes = [(entries, widths, kept) for widths, entries, kept in self._kept]
        return PredictiveClasses, (self.directions, classes)

    def turned(self, kernel: Kernel, query: Float32) -> Float32:
        """Query tokens (tile, dim) along all directions (n, tile)."""
        tile, (count, dim) = checked_tile("query", len(query)), self.directions.shape
        check_shape("query", query, (tile, dim))
        query, columns, turned = floats(query), aligned((dim, tile)), aligned((count, tile))
        kernel.functions.embplug_turned(
            *(kernel.level, tile, place(self.directions), place(query), dim, count),
            *(place(columns), place(turned)),
        )
        return turned


class _PredictiveTerms(NamedTuple):
    """What scores of predictive codes are made of, besides the codes: checked arguments of the kernel."""

    lanes: int
    classes: PredictiveClasses
    turned: Float32
    bases: NDArray[Any]
    units: Float32 | None
    gains: Float32
    factors: Float32


def predictive_maxsim(
    kernel: Kernel,
    classes: PredictiveClasses,
    query: Float32,
    bases: Bases,
    gains: Float32,
    factors: Float32,
    documents: CodedDocuments,
    *,
    lanes: int | None = None,
    threads: int | None = None,
) -> Float32:
    """As :func:`maxsim`, for strings of predictive codes that :func:`check_predictive` accepts.

    Parameters
    ----------
    kernel : Kernel
    classes : PredictiveClasses
        The entries of all classes of rests.
    query : float32 (tile, dim)
    bases : float32 (centroids, tile) or RoundedProducts
    gains : float32 (16,)
    factors : float32 (32,)
    documents : CodedDocuments
        ``starts`` are those of the headers.
    lanes : int, default=None
        Query tokens that count: those of the first columns. None counts all.
    threads : int, default=None
        None takes as many as the work is worth.
    """
    gains, factors = floats(gains), floats(factors)
    check_shape("gains", gains, (GAINS,))
    check_shape("factors", factors, (FACTORS,))
    tile = checked_tile("query", len(query))
    numbers, units = checked_bases(bases, tile)
    check_documents(kernel, documents, HEADER_BYTES, HEADER_BYTES)
    scores = np.empty(len(documents.starts), dtype=np.float32)
    lanes, turned = _checked_lanes(lanes, tile), classes.turned(kernel, query)
    terms = _PredictiveTerms(lanes, classes, turned, numbers, units, gains, factors)
    for block in document_blocks(documents.offsets, BLOCK_TOKENS):
        offsets = documents.offsets[block.start : block.stop + 1]
        part = CodedDocuments(documents.codes, documents.starts[block], offsets - offsets[0])
        _score_predictive(kernel, tile, terms, part, scores[block], threads)
    return scores


def _score_predictive(
    kernel: Kernel,
    tile: int,
    terms: _PredictiveTerms,
    documents: CodedDocuments,
    scores: Float32,
    threads: int | None,
) -> None:
    """Scores of one block of documents, in three steps: threads share classes, and then documents."""
    lanes, classes, *numbers = terms
    tokens, widest, active = int(documents.offsets[-1]), int(classes.widths.max()), int(classes.active.max())
    kind = FLOAT32 if kernel.exact else INTEGER
    sums = aligned((tokens, tile), np.float32 if kernel.exact else np.uint16)
    steps = np.zeros((2, CLASSES * tile), dtype=np.float32)
    arrays = *steps, sums, *np.empty((2, tokens), dtype=np.int64), np.empty(CLASSES, dtype=np.int64), scores
    arguments = _Predictive(
        *(place(array) for array in (*documents, classes.widths)),
        lanes,
        *(place(array) for array in (classes.entries, classes.columns, classes.kept, classes.active)),
        *(place(array) for array in (*numbers, *arrays)),
    )
    before = kernel.level, tile, kind, ctypes.byref(arguments)
    rooms: list[tuple[TableWork, Float32]] = []

    def add_up(first: int, last: int) -> None:
        room = rooms.pop() if rooms else (TableWork.of(widest, kernel.exact, tile), aligned((active, tile)))
        work, query = room
        places = (place(array) for array in (work.table, work.order, work.places, work.ranges, query))
        kernel.functions.embplug_predictive_sums(*before, ctypes.byref(_Work(*places)), first, last)
        rooms.append(room)

    def score(first: int, last: int) -> None:
        kernel.functions.embplug_predictive(*before, first, last)

    kernel.functions.embplug_predictive_order(ctypes.byref(arguments), len(scores))
    shared = thread_count(documents.offsets, widest + 1, threads)
    if shared < 2:
        add_up(0, CLASSES)
    else:
        in_threads(lambda k: add_up(k, k + 1), range(CLASSES), shared)
    over_documents(score, documents.offsets, thread_count(documents.offsets, 1, threads))


def check_predictive(
    kernel: Kernel,
    strings: ByteStrings,
    offsets: NDArray[np.int64],
    widths: NDArray[np.int64],
    centroids: int,
) -> int:
    """Find the first string that is not one of predictive codes, or -1.

    Parameters
    ----------
    kernel : Kernel
    strings : ByteStrings
    offsets : int64 (n + 1,)
        Number of the first token of each string.
    widths : int64 (8,)
        Bytes of a code of each class, without the header.
    centroids : int
        Number of centroids.
    """
    data, starts, lengths = (
        np.ascontiguousarray(strings.data),
        integers(strings.starts),
        integers(strings.lengths),
    )
    widths = integers(widths)
    check_shape("widths", widths, (CLASSES,))
    check_shape("offsets", offsets, (len(strings) + 1,))
    if ((starts < 0) | (lengths < 0) | (starts > len(data) - lengths)).any():
        raise InvalidArgumentError("strings", "strings in their buffer", "others")
    offsets = integers(offsets)
    return int(
        kernel.functions.embplug_check(
            *(place(array) for array in (data, starts, lengths, offsets)),
            *(len(strings), place(widths), centroids),
        )
    )


def token_sums(
    kernel: Kernel,
    table: Float32,
    documents: CodedDocuments,
    stride: int,
    *,
    threads: int | None = None,
) -> Float32:
    """Sum (tokens,) of one table (bytes, 256) over the bytes of each token's code, in float32."""
    table = floats(table)
    check_shape("table", table, (len(table), ENTRIES))
    check_documents(kernel, documents, stride, len(table))
    sums = np.empty(int(documents.offsets[-1]), dtype=np.float32)

    def run(first: int, last: int) -> None:
        places = [place(array) for array in documents]
        kernel.functions.embplug_sums(*places, first, last, stride, len(table), place(table), place(sums))

    over_documents(run, documents.offsets, thread_count(documents.offsets, len(table), threads))
    return sums


def vector_scores(table: VectorTable, terms: TokenTerms) -> Float32:
    """Scores (tokens,) of the codes of all tokens with the vector of a table."""
    sums = token_sums(table.kernel, table.entries, terms.documents, terms.stride)
    sums += np.float32(table.base)
    if terms.scales is not None:
        sums *= terms.scales
    return sums


def thread_count(offsets: NDArray[np.int64], lookups: int, threads: int | None) -> int:
    """How many threads score documents with so many looked-up rows a token; None takes what that is worth."""
    if threads is None:
        worth = int(offsets[-1]) * lookups // LOOKUPS_OF_A_THREAD
        threads = min(free_cores(), worth) if worth > 1 else 1
    return threads


def over_documents(
    run: Callable[[int, int], Result], offsets: NDArray[np.int64], threads: int
) -> list[Result]:
    """Call ``run`` with the first and the last of some documents, in several threads."""
    count = len(offsets) - 1
    threads = min(threads, count)
    if threads < 2:
        return [run(0, count)]
    shares = np.linspace(0, offsets[-1], threads + 1)
    bounds = np.searchsorted(offsets, shares).clip(0, count)
    bounds[0], bounds[-1] = 0, count
    return in_threads(lambda part: run(*part), list(pairwise(bounds.tolist())), threads)


def refuse_unknown_ids(results: list[int], rows: int) -> None:
    """Name the first document with an id that has no row, of those that calls have found, if there is one."""
    first = min((result for result in results if result >= 0), default=None)
    if first is not None:
        raise InvalidArgumentError(f"codes[{first}]", f"centroids below {rows}", "others")


def _check_table(entries: NDArray[Any], order: NDArray[np.int64], width: int, tile: int) -> None:
    """Refuse a table that makes the kernel read beyond it, or beyond codes of ``width`` bytes."""
    exact = entries.dtype == np.float32
    if not entries.flags.c_contiguous or not (exact or entries.dtype == np.uint8):
        raise InvalidArgumentError("table", "contiguous float32 or uint8", entries.dtype)
    if entries.size != table_size(width, exact, tile):
        raise InvalidArgumentError("table", f"{table_size(width, exact, tile)} entries", entries.size)
    if order.dtype != np.int64 or not order.flags.c_contiguous or ((order < 0) | (order >= width)).any():
        raise InvalidArgumentError("order", "int64 numbers of the bytes of a code", "others")
    wide = wide_parts(width)
    if not exact and any((part[1:] <= part[:-1]).any() for part in (order[:wide], order[wide:])):
        raise InvalidArgumentError("order", "numbers that rise in each group of rows", "others")


def _checked_lanes(lanes: int | None, tile: int) -> int:
    if lanes is None:
        return tile
    if not 0 <= lanes <= tile:
        raise InvalidArgumentError("lanes", f"0 to {tile}", lanes)
    return lanes
