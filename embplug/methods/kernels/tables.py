"""Products of a query with what the bytes of codes stand for, as the compiled kernel looks them up."""

from __future__ import annotations

import math
from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from embplug.errors import InvalidArgumentError
from embplug.methods.kernels.arguments import check_shape, floats, integers, place
from embplug.methods.kernels.library import Kernel
from embplug.methods.numeric.arrays import Float32

TILES = (8, 16, 32)
"""Numbers of query tokens that one call scores together: zeros fill up the next larger one."""
ENTRIES = 256
LARGEST_WIDTH = 16_384
"""Bytes of a token up to which sums of rounded products fit into 16 bits."""
FLOAT32, INTEGER = 0, 1
"""Kinds of tables, as the kernel names them."""


class Table(NamedTuple):
    """Products of a tile of query tokens with the 256 entries of each byte of a code.

    Attributes
    ----------
    entries : float32 (bytes, 256, tile), or uint8 (any,)
        Exact products, or rounded ones in the layout of the kernel: rows of 16 bits for the bytes whose
        products differ most, rows of 8 bits for the others. The first bytes take the place of the former
        where that makes no step more than twice as long.
    order : int64 (bytes,)
        The byte of a code that each part of rounded entries belongs to. It rises among the bytes with rows of
        16 bits, and among the others.
    steps : float32 (tile,)
        What one unit of rounded entries stands for; 0 for exact ones.
    shifts : float32 (tile,)
        Sums that were taken out of rounded entries; 0 for exact ones.
    """

    entries: NDArray[Any]
    order: NDArray[np.int64]
    steps: Float32
    shifts: Float32

    @property
    def tile(self) -> int:
        """Number of query tokens, with those that fill up."""
        return len(self.steps)

    def largest_error(self) -> Float32:
        """How far a sum of rounded entries lies at most from that of exact ones (tile,)."""
        return np.asarray(self.steps * np.float32(len(self.order) / 2))


def tiles(query: Float32) -> Iterator[tuple[Float32, int]]:
    """Tokens of a query (t, dim), at most 32 at a time, and their number; zeros fill up the last ones."""
    for start in range(0, len(query), TILES[-1]):
        some = query[start : start + TILES[-1]]
        yield filled(some), len(some)


def tile_of(tokens: int) -> int:
    """The smallest tile that so many query tokens, at most 32, fit into."""
    return next(size for size in TILES if size >= tokens)


def filled(query: Float32) -> Float32:
    """Some tokens of a query (t, dim), at most 32, with zeros after them up to the next tile."""
    tile = tile_of(len(query))
    if len(query) == tile:
        return query
    larger = np.zeros((tile, query.shape[1]), dtype=np.float32)
    larger[: len(query)] = query
    return larger


def table_of_entries(kernel: Kernel, entries: Float32, widths: NDArray[np.int64], turned: Float32) -> Table:
    """Table of the products of query tokens with the entries of each byte.

    Parameters
    ----------
    kernel : Kernel
        It says whether products are rounded.
    entries : float32 (active, 256)
        The entries of each byte in the directions that it describes.
    widths : int64 (bytes,)
        Number of directions of each byte.
    turned : float32 (tile, active)
        The query tokens in the same directions.
    """
    widths, entries = checked_entries(entries, widths)
    tile, columns = checked_tile("turned", len(turned)), floats(turned.T)
    check_shape("turned", turned, (tile, len(entries)))
    work = TableWork.of(len(widths), kernel.exact, tile)
    kernel.functions.embplug_table(
        *(kernel.level, tile, kind_of(work.table), place(entries), place(widths), len(widths)),
        *(place(array) for array in (columns, *work)),
    )
    table = work.table.reshape(-1, ENTRIES, tile) if kernel.exact else work.table
    return Table(table, work.order, work.steps, work.shifts)


class VectorTable(NamedTuple):
    """Products of one vector with the 256 entries of each byte of a code.

    Attributes
    ----------
    kernel : Kernel
        It scores the codes.
    entries : float32 (bytes, 256)
        Exact products.
    base : float
        Added to every sum.
    """

    kernel: Kernel
    entries: Float32
    base: float


def vector_table(
    kernel: Kernel, entries: Float32, widths: NDArray[np.int64], turned: Float32, base: float = 0.0
) -> VectorTable:
    """Table of the products of one vector (1, active) with entries as in :func:`table_of_entries`."""
    widths = integers(widths)
    active = int(widths.sum())
    check_shape("entries", entries, (active, ENTRIES))
    check_shape("turned", turned, (1, active))
    entries, vector = floats(entries), floats(turned)
    table = np.empty((len(widths), ENTRIES), dtype=np.float32)
    kernel.functions.embplug_vector_table(
        *(place(entries), place(widths), len(widths), place(vector), place(table))
    )
    return VectorTable(kernel, table, base)


class TableWork(NamedTuple):
    """Arrays that the kernel writes when it makes a table."""

    table: NDArray[Any]
    order: NDArray[np.int64]
    steps: Float32
    shifts: Float32
    places: NDArray[np.int64]
    ranges: Float32

    @classmethod
    def of(cls, width: int, exact: bool, tile: int, tables: int = 1) -> TableWork:
        """Arrays for codes of ``width`` bytes, with steps and shifts of several tables."""
        if width > LARGEST_WIDTH and not exact:
            raise InvalidArgumentError("widths", f"at most {LARGEST_WIDTH} bytes", width)
        steps, shifts = np.zeros((2, tables * tile), dtype=np.float32)
        return cls(
            aligned((table_size(width, exact, tile),), np.float32 if exact else np.uint8),
            np.arange(width, dtype=np.int64),
            steps,
            shifts,
            np.empty(width, dtype=np.int64),
            np.empty(width * (2 * tile + 1), dtype=np.float32),
        )


def checked_entries(entries: Float32, widths: NDArray[np.int64]) -> tuple[NDArray[np.int64], Float32]:
    """Arguments of :func:`table_of_entries` in the form in which the kernel reads them: widths first."""
    widths = integers(widths)
    if (widths < 0).any():
        raise InvalidArgumentError("widths", "numbers from 0", "others")
    check_shape("entries", entries, (int(widths.sum()), ENTRIES))
    return widths, floats(entries)


def kind_of(entries: NDArray[Any]) -> int:
    """The kind by which the kernel knows a table of such entries."""
    return FLOAT32 if entries.dtype == np.float32 else INTEGER


def checked_tile(name: str, tile: int) -> int:
    """A number of query tokens that the kernel scores together, for the array ``name``."""
    if tile not in TILES:
        raise InvalidArgumentError(name, f"{' or '.join(map(str, TILES))} query tokens", tile)
    return tile


def table_size(width: int, exact: bool, tile: int) -> int:
    """Floats, or bytes of rounded entries, of a table for so many bytes of a code."""
    parts = width if exact else width + wide_parts(width)
    return parts * ENTRIES * tile


def wide_parts(width: int) -> int:
    """Bytes of a code whose rounded products have 16 bits, of so many: 16, or a quarter of more than 64."""
    return min(width, max(16, (width + 3) // 4))


def no_table(tile: int) -> Table:
    """A table for codes of which no byte is looked up."""
    nothing = np.zeros(tile, dtype=np.float32)
    return Table(np.zeros((0, ENTRIES, tile), np.float32), np.zeros(0, np.int64), nothing, nothing)


def aligned(shape: tuple[int, ...], dtype: Any = np.float32) -> NDArray[Any]:
    """An array whose rows begin where the processor's cache lines do."""
    size = math.prod(shape) * np.dtype(dtype).itemsize
    room = np.empty(size + 64, dtype=np.uint8)
    start = -(place(room) or 0) % 64
    array: NDArray[Any] = room[start : start + size].view(dtype).reshape(shape)
    return array
