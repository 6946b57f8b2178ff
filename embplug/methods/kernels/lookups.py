"""MaxSim of query tokens with coded documents by looked-up sums, in the compiled kernel.

A function here checks all that it passes on, so that no code, however it came about, makes the kernel read
or write beyond its arrays. :mod:`embplug.methods.kernels.reference` holds the same in numpy.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from ctypes import c_int64, c_void_p
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from embplug.common.threads import worker_count
from embplug.errors import InvalidArgumentError
from embplug.methods.kernels.library import Kernel
from embplug.methods.token_batch import document_blocks

LANES = 32
"""Query tokens that one call scores together."""
ENTRIES = 256
CLASSES, GAINS, FACTORS, HEADER_BYTES = 8, 16, 32, 4
"""Of predictive codes, as the kernel reads them."""
LARGEST_WIDTH = 16_384
"""Bytes of a token up to which sums of rounded products fit into 16 bits."""
BLOCK_TOKENS = 1 << 15
"""Tokens of predictive codes whose scores are held at once, unless one document has more."""
LOOKUPS_OF_A_THREAD = 1 << 22
"""From so many looked-up rows on, another thread is worth its start."""

Float32 = NDArray[np.float32]


class CodedDocuments(NamedTuple):
    """Where the codes of documents stand."""

    codes: NDArray[np.uint8]
    """(bytes,): all documents, with or without something in between."""
    starts: NDArray[np.int64]
    """(n,): byte at which the codes of a document begin."""
    offsets: NDArray[np.int64]
    """(n + 1,): number of the first token of a document, counted over all documents."""


class Table(NamedTuple):
    """Products of up to 32 query tokens with the 256 entries of each byte.

    Attributes
    ----------
    entries : float32 or int16 (bytes, 256, 32)
    steps : float32 (32,)
        What one unit of ``entries`` stands for; 1 for float32.
    shifts : float32 (32,)
        Sums that were taken out of ``entries``; 0 for float32.
    """

    entries: NDArray[Any]
    steps: Float32
    shifts: Float32

    def largest_error(self) -> Float32:
        """How far a sum of rounded entries lies at most from that of exact ones (32,): half a step a byte."""
        if self.entries.dtype == np.float32:
            return np.zeros(LANES, dtype=np.float32)
        return np.asarray(self.steps * np.float32(len(self.entries) / 2))


NO_TABLE = Table(
    np.zeros((0, ENTRIES, LANES), dtype=np.float32),
    np.ones(LANES, dtype=np.float32),
    np.zeros(LANES, dtype=np.float32),
)
"""For codes of which no byte is looked up."""


class TokenTerms(NamedTuple):
    """What a quantizer reads from the codes of tokens before the kernel scores them.

    Attributes
    ----------
    codes : uint8 (tokens, stride), C-contiguous
    first : int
        The byte of a code from which on bytes are looked up.
    ids : int32 (tokens,) or None
        Row of the bases for each token. None is the first row for all.
    scales : float32 (tokens,) or None
        Factor of the score of each token. None is 1 for all.
    """

    codes: NDArray[np.uint8]
    first: int = 0
    ids: NDArray[np.int32] | None = None
    scales: Float32 | None = None


class _Uniform(ctypes.Structure):
    _fields_ = (
        *((name, c_void_p) for name in ("codes", "starts", "offsets")),
        *((name, c_int64) for name in ("stride", "width", "lanes")),
        *((name, c_void_p) for name in ("table", "steps", "shifts", "bases", "ids", "scales", "scores")),
    )


class _Predictive(ctypes.Structure):
    _fields_ = (
        *((name, c_void_p) for name in ("codes", "starts", "offsets", "widths")),
        ("lanes", c_int64),
        *((name, c_void_p) for name in ("table", "steps", "shifts", "bases", "gains", "factors")),
        *((name, c_void_p) for name in ("scratch", "places", "order", "scores")),
    )


def tiles(query: Float32) -> Iterator[tuple[Float32, int]]:
    """Tokens of a query (t, dim), 32 at a time, and their number; zeros fill up the last ones."""
    for start in range(0, len(query), LANES):
        some = query[start : start + LANES]
        yield (
            np.concatenate([some, np.zeros((LANES - len(some), query.shape[1]), dtype=np.float32)]),
            len(some),
        )


def in_rows(codes: NDArray[np.uint8]) -> CodedDocuments:
    """Codes (n, stride) as those of one document."""
    offsets = np.array([0, len(codes)], dtype=np.int64)
    return CodedDocuments(codes.reshape(-1), np.zeros(1, dtype=np.int64), offsets)


def table_of_entries(
    kernel: Kernel,
    entries: Float32,
    widths: NDArray[np.int64],
    turned: Float32,
    exact: bool = True,
    out: NDArray[Any] | None = None,
) -> Table:
    """Table of the products of query tokens with the entries of each byte.

    Parameters
    ----------
    kernel : Kernel
    entries : float32 (256, active)
        Those of all bytes side by side.
    widths : int64 (bytes,)
        Columns of ``entries`` that belong to each byte.
    turned : float32 (32, active)
        The query tokens in the same directions.
    exact : bool, default=True
        False rounds products to int16: sums differ by at most :meth:`Table.largest_error`.
    out : float32 or int16 (bytes, 256, 32), default=None
        Takes the entries; None makes an array.
    """
    widths = np.ascontiguousarray(widths, dtype=np.int64)
    if (widths < 0).any():
        raise InvalidArgumentError("widths", "numbers from 0", "others")
    _check_shape("entries", entries, (ENTRIES, int(widths.sum())))
    _check_shape("turned", turned, (LANES, int(widths.sum())))
    entries, columns = _floats(entries), _floats(turned.T)
    shape = (len(widths), ENTRIES, LANES)
    products = aligned(shape) if out is None or not exact else _checked_out(out, shape, np.float32)
    kernel.functions.embplug_products(
        kernel.level,
        *(entries.ctypes.data, entries.shape[1], widths.ctypes.data, len(widths)),
        *(columns.ctypes.data, products.ctypes.data),
    )
    return table_of_products(kernel, products, exact, out)


def table_of_classes(
    kernel: Kernel, classes: Sequence[tuple[Float32, NDArray[np.int64], Float32]], exact: bool = True
) -> Table:
    """Tables of several classes of codes, one below the other, as :func:`predictive_maxsim` reads them.

    Parameters
    ----------
    kernel : Kernel
    classes : sequence of (entries, widths, turned)
        Of each class, as in :func:`table_of_entries`.
    exact : bool, default=True
        False rounds products to int16.
    """
    stops = np.cumsum([len(widths) for _, widths, _ in classes]).tolist()
    entries = aligned((stops[-1], ENTRIES, LANES), np.float32 if exact else np.int16)
    tables = [
        table_of_entries(kernel, *parts, exact, entries[stop - len(parts[1]) : stop])
        for parts, stop in zip(classes, stops, strict=True)
    ]
    return Table(
        entries, np.stack([table.steps for table in tables]), np.stack([table.shifts for table in tables])
    )


def table_of_products(
    kernel: Kernel, products: Float32, exact: bool = True, out: NDArray[Any] | None = None
) -> Table:
    """Table of products (bytes, 256, 32) that are computed already; see :func:`table_of_entries`."""
    _check_shape("products", products, (len(products), ENTRIES, LANES))
    steps, shifts = np.ones(LANES, dtype=np.float32), np.zeros(LANES, dtype=np.float32)
    if exact:
        return Table(_floats(products), steps, shifts)
    if len(products) > LARGEST_WIDTH:
        raise InvalidArgumentError("products", f"at most {LARGEST_WIDTH} bytes for int16", len(products))
    rounded = (
        aligned(products.shape, np.int16) if out is None else _checked_out(out, products.shape, np.int16)
    )
    products = _floats(products)
    kernel.functions.embplug_quantize(
        kernel.level,
        *(products.ctypes.data, len(products), rounded.ctypes.data, steps.ctypes.data, shifts.ctypes.data),
    )
    return Table(rounded, steps, shifts)


def maxsim(
    kernel: Kernel,
    table: Table,
    bases: Float32,
    documents: CodedDocuments,
    stride: int,
    *,
    ids: NDArray[np.int32] | None = None,
    scales: Float32 | None = None,
    lanes: int = LANES,
    threads: int | None = None,
) -> Float32:
    """Sum over the query tokens of the highest score of a token of each document.

    A token scores ``(looked-up sum + base) * scale``.

    Parameters
    ----------
    kernel : Kernel
    table : Table
        Of as many bytes as are looked up from the first one of a token on; it may have none.
    bases : float32 (rows, 32)
        Added to the sum of a token by its id.
    documents : CodedDocuments
    stride : int
        Bytes from one token of a document to the next.
    ids : int32 (tokens,), default=None
        Row of ``bases`` for each token; None is the first row for all.
    scales : float32 (tokens,), default=None
        Factor of each token; None is 1 for all.
    lanes : int, default=32
        Query tokens that count: those of the first columns.
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
    entries = _integers_or_floats(table.entries)
    width, tokens = len(entries), int(documents.offsets[-1])
    _check_shape("table", entries, (width, ENTRIES, LANES))
    _check_shape("bases", bases, (len(bases), LANES))
    _check_documents(documents, np.diff(documents.offsets), stride, width)
    if ids is not None:
        ids = np.ascontiguousarray(ids, dtype=np.int32)
        _check_shape("ids", ids, (tokens,))
    if tokens and (len(bases) == 0 or (ids is not None and _outside(ids, len(bases)))):
        raise InvalidArgumentError("codes", f"centroids below {len(bases)}", "others")
    if scales is not None:
        scales = _floats(scales)
        _check_shape("scales", scales, (tokens,))
    steps, shifts, bases = _floats(table.steps), _floats(table.shifts), _floats(bases)
    scores = np.empty(len(documents.starts), dtype=np.float32)
    arguments = _Uniform(
        *(_place(array) for array in documents),
        *(stride, width, _checked_lanes(lanes)),
        *(_place(array) for array in (entries, steps, shifts, bases, ids, scales, scores)),
    )

    def run(first: int, last: int) -> None:
        kind = int(entries.dtype == np.int16)
        kernel.functions.embplug_maxsim(kernel.level, kind, ctypes.byref(arguments), first, last)

    _over_documents(run, documents.offsets, width + 1, threads)
    return scores


def predictive_maxsim(
    kernel: Kernel,
    tables: Table,
    widths: NDArray[np.int64],
    bases: Float32,
    gains: Float32,
    factors: Float32,
    documents: CodedDocuments,
    *,
    lanes: int = LANES,
    threads: int | None = None,
) -> Float32:
    """As :func:`maxsim`, for strings of predictive codes that were checked before.

    Parameters
    ----------
    kernel : Kernel
    tables : Table
        ``entries`` (sum of widths, 256, 32) of the classes, one below the other; ``steps`` and ``shifts``
        (8, 32).
    widths : int64 (8,)
        Bytes of a code of each class, without the header.
    bases : float32 (centroids, 32)
    gains : float32 (16,)
    factors : float32 (32,)
    documents : CodedDocuments
        ``starts`` are those of the headers. That strings are as long as their headers say, that
        references stay in their document, and that centroids exist is for the caller to check.
    lanes : int, default=32
        Query tokens that count: those of the first columns.
    threads : int, default=None
        None takes as many as the work is worth.
    """
    entries, steps, shifts = (
        _integers_or_floats(tables.entries),
        _floats(tables.steps),
        _floats(tables.shifts),
    )
    widths = np.ascontiguousarray(widths, dtype=np.int64)
    gains, factors, bases = _floats(gains), _floats(factors), _floats(bases)
    _check_shape("widths", widths, (CLASSES,))
    _check_shape("tables", entries, (int(widths.sum()), ENTRIES, LANES))
    _check_shape("steps", steps, (CLASSES, LANES))
    _check_shape("shifts", shifts, (CLASSES, LANES))
    _check_shape("gains", gains, (GAINS,))
    _check_shape("factors", factors, (FACTORS,))
    _check_shape("bases", bases, (len(bases), LANES))
    lengths = np.diff(documents.offsets)
    _check_documents(documents, lengths, HEADER_BYTES, HEADER_BYTES)
    scores = np.empty(len(documents.starts), dtype=np.float32)

    lanes, kind = _checked_lanes(lanes), int(entries.dtype == np.int16)

    def run(first: int, last: int) -> None:
        for block in document_blocks(documents.offsets[first : last + 1], BLOCK_TOKENS):
            start, stop = first + block.start, first + block.stop
            tokens = int(documents.offsets[stop] - documents.offsets[start])
            work = (aligned((tokens, LANES)), *np.empty((2, tokens), dtype=np.int64), scores)
            arguments = _Predictive(
                *(_place(array) for array in (*documents, widths)),
                lanes,
                *(_place(array) for array in (entries, steps, shifts, bases, gains, factors, *work)),
            )
            kernel.functions.embplug_predictive(kernel.level, kind, ctypes.byref(arguments), start, stop)

    _over_documents(run, documents.offsets, int(widths.max()) + 1, threads)
    return scores


def token_sums(
    kernel: Kernel,
    table: Float32,
    documents: CodedDocuments,
    stride: int,
    *,
    threads: int | None = None,
) -> Float32:
    """Sum (tokens,) of one table (bytes, 256) over the bytes of each token's code, in float32."""
    table = _floats(table)
    _check_shape("table", table, (len(table), ENTRIES))
    _check_documents(documents, np.diff(documents.offsets), stride, len(table))
    made = np.empty(int(documents.offsets[-1]), dtype=np.float32)

    def run(first: int, last: int) -> None:
        places = [_place(array) for array in documents]
        kernel.functions.embplug_sums(
            *places, first, last, stride, len(table), table.ctypes.data, made.ctypes.data
        )

    _over_documents(run, documents.offsets, len(table), threads)
    return made


def base85_decode(
    kernel: Kernel, text: bytes, offsets: NDArray[np.int64], digits: bytes
) -> NDArray[np.uint8]:
    """Bytes of base85 texts, one after the other.

    Parameters
    ----------
    kernel : Kernel
    text : bytes
        All texts, one after the other.
    offsets : int64 (n + 1,)
        Where each text begins in ``text``.
    digits : bytes (256,)
        The digit that each character stands for, 255 for a character that is none.

    Raises
    ------
    ValueError
        A character that is none of the 85, a group that is too large, or a text that is cut off.
    """
    lengths = np.diff(offsets)
    if (lengths < 0).any() or len(offsets) == 0 or offsets[0] < 0 or offsets[-1] > len(text):
        raise InvalidArgumentError("offsets", "places in the text", "others")
    decoded = np.empty(int(decoded_lengths(lengths).sum()), dtype=np.uint8)
    wrong = kernel.functions.embplug_base85(
        text, offsets.ctypes.data, len(lengths), digits.ljust(ENTRIES, b"\xff"), decoded.ctypes.data
    )
    if wrong >= 0:
        raise ValueError("not base85, or cut off")
    return decoded


def decoded_lengths(lengths: NDArray[np.int64]) -> NDArray[np.int64]:
    """Bytes that base85 texts of these lengths stand for."""
    return np.asarray(lengths // 5 * 4 + np.maximum(lengths % 5 - 1, 0))


def aligned(shape: tuple[int, ...], dtype: Any = np.float32) -> NDArray[Any]:
    """An array whose rows begin where the processor's cache lines do."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    room = np.empty(size + 64, dtype=np.uint8)
    start = -room.ctypes.data % 64
    made: NDArray[Any] = room[start : start + size].view(dtype).reshape(shape)
    return made


def _over_documents(
    run: Callable[[int, int], None], offsets: NDArray[np.int64], lookups: int, threads: int | None
) -> None:
    """Call ``run`` with the first and the last of some documents, in several threads where that is faster."""
    count = len(offsets) - 1
    if threads is None:
        threads = min(worker_count(-1), int(offsets[-1]) * lookups // LOOKUPS_OF_A_THREAD)
    if threads < 2 or count < 2:
        run(0, count)
        return
    shares = np.linspace(0, offsets[-1], threads + 1)
    bounds = np.searchsorted(offsets, shares).clip(0, count)
    bounds[0], bounds[-1] = 0, count
    with ThreadPoolExecutor(threads) as pool:
        list(pool.map(run, bounds[:-1].tolist(), bounds[1:].tolist()))


def _check_documents(documents: CodedDocuments, lengths: NDArray[np.int64], stride: int, width: int) -> None:
    codes, starts, offsets = documents
    if len(offsets) != len(starts) + 1 or offsets[0] != 0 or (lengths < 0).any():
        raise InvalidArgumentError("offsets", f"{len(starts) + 1} rising numbers from 0", "others")
    for name, dtype in (("codes", np.uint8), ("starts", np.int64), ("offsets", np.int64)):
        array: NDArray[Any] = getattr(documents, name)
        if array.dtype != dtype or array.ndim != 1 or not array.flags.c_contiguous:
            raise InvalidArgumentError(
                name, f"contiguous {np.dtype(dtype)} (n,)", f"{array.dtype} {array.shape}"
            )
    if stride < max(width, 1):
        raise InvalidArgumentError("stride", f"at least {max(width, 1)} bytes", stride)
    # Lengths that lie may be so large that their bytes overflow.
    some = np.minimum(lengths, len(codes) // stride + 1)
    beyond = (starts < 0) | (starts > len(codes) - (some - 1) * stride - width)
    wrong = np.flatnonzero(beyond & (lengths > 0))
    if wrong.size:
        raise InvalidArgumentError(f"codes[{wrong[0]}]", f"{stride} bytes a token", "fewer")


def _outside(ids: NDArray[np.int32], rows: int) -> bool:
    return bool(len(ids)) and (int(ids.min()) < 0 or int(ids.max()) >= rows)


def _check_shape(name: str, array: NDArray[Any], shape: tuple[int, ...]) -> None:
    if array.shape != shape:
        raise InvalidArgumentError(name, f"shape {shape}", f"shape {array.shape}")


def _checked_lanes(lanes: int) -> int:
    if not 0 <= lanes <= LANES:
        raise InvalidArgumentError("lanes", f"0 to {LANES}", lanes)
    return lanes


def _integers_or_floats(entries: NDArray[Any]) -> NDArray[Any]:
    return np.ascontiguousarray(entries, dtype=np.int16 if entries.dtype == np.int16 else np.float32)


def _checked_out(out: NDArray[Any], shape: tuple[int, ...], dtype: Any) -> NDArray[Any]:
    _check_shape("out", out, shape)
    if out.dtype != dtype or not out.flags.c_contiguous:
        raise InvalidArgumentError("out", f"contiguous {np.dtype(dtype)}", out.dtype)
    return out


def _floats(array: NDArray[Any]) -> Float32:
    return np.ascontiguousarray(array, dtype=np.float32)


def _place(array: NDArray[Any] | None) -> int | None:
    return None if array is None else array.ctypes.data
