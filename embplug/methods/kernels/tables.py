"""Products of a query with what the bytes of codes stand for, as the compiled kernel looks them up."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from embplug.errors import InvalidArgumentError
from embplug.methods.kernels.arguments import check_shape, floats, place
from embplug.methods.kernels.library import Kernel
from embplug.methods.numeric.arrays import Float32

LANES = 32
"""Query tokens that one call scores together."""
ENTRIES = 256
LARGEST_WIDTH = 16_384
"""Bytes of a token up to which sums of rounded products fit into 16 bits."""
FLOAT32, INTEGER = 0, 1
"""Kinds of tables, as the kernel names them."""


class Table(NamedTuple):
    """Products of up to 32 query tokens with the 256 entries of each byte of a code.

    Attributes
    ----------
    entries : float32 (bytes, 256, 32), or uint8 (any,)
        Exact products, or rounded ones in the layout of the kernel: rows of 16 bits for the quarter of the
        bytes whose products differ most, rows of 8 bits for the others.
    order : int64 (bytes,)
        The byte of a code that each part of rounded entries belongs to.
    steps : float32 (32,)
        What one unit of rounded entries stands for; 0 for exact ones.
    shifts : float32 (32,)
        Sums that were taken out of rounded entries; 0 for exact ones.
    """

    entries: NDArray[Any]
    order: NDArray[np.int64]
    steps: Float32
    shifts: Float32

    def largest_error(self) -> Float32:
        """How far a sum of rounded entries lies at most from that of exact ones (32,): half a step a byte."""
        return np.asarray(self.steps * np.float32(len(self.order) / 2))


class ClassTables(NamedTuple):
    """Tables of several classes of codes, one below the other; ``steps`` and ``shifts`` (classes, 32)."""

    entries: NDArray[Any]
    order: NDArray[np.int64]
    steps: Float32
    shifts: Float32


def tiles(query: Float32) -> Iterator[tuple[Float32, int]]:
    """Tokens of a query (t, dim), 32 at a time, and their number; zeros fill up the last ones."""
    for start in range(0, len(query), LANES):
        some = query[start : start + LANES]
        filled = np.zeros((LANES, query.shape[1]), dtype=np.float32)
        filled[: len(some)] = some
        yield filled, len(some)


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
    turned : float32 (32, active)
        The query tokens in the same directions.
    """
    classes = table_of_classes(kernel, [(entries, widths, turned)])
    return Table(
        classes.entries.reshape(-1, ENTRIES, LANES) if kernel.exact else classes.entries,
        *(classes.order, classes.steps[0], classes.shifts[0]),
    )


def table_of_classes(
    kernel: Kernel, classes: Sequence[tuple[Float32, NDArray[np.int64], Float32]]
) -> ClassTables:
    """Tables of several classes of codes, one below the other.

    Parameters
    ----------
    kernel : Kernel
        It says whether products are rounded.
    classes : sequence of (entries, widths, turned)
        Of each class, as in :func:`table_of_entries`.
    """
    sizes = [table_size(len(widths), kernel.exact) for _, widths, _ in classes]
    counts = [len(widths) for _, widths, _ in classes]
    entries = aligned((sum(sizes),), np.float32 if kernel.exact else np.uint8)
    order = np.concatenate([np.arange(count, dtype=np.int64) for count in counts])
    steps, shifts = np.zeros((2, len(classes), LANES), dtype=np.float32)
    places = np.empty(max(counts), dtype=np.int64)
    ranges = np.empty(max(counts) * (2 * LANES + 1), dtype=np.float32)
    start = first = 0
    for k, (class_entries, widths, turned) in enumerate(classes):
        widths = np.ascontiguousarray(widths, dtype=np.int64)
        active = int(widths.sum())
        if (widths < 0).any():
            raise InvalidArgumentError("widths", "numbers from 0", "others")
        if len(widths) > LARGEST_WIDTH and not kernel.exact:
            raise InvalidArgumentError("widths", f"at most {LARGEST_WIDTH} bytes", len(widths))
        check_shape("entries", class_entries, (active, ENTRIES))
        check_shape("turned", turned, (LANES, active))
        class_entries, columns = floats(class_entries), floats(turned.T)
        kernel.functions.embplug_table(
            *(kernel.level, FLOAT32 if kernel.exact else INTEGER, place(class_entries)),
            *(place(widths), len(widths), place(columns), place(entries[start:])),
            *(place(array) for array in (order[first:], steps[k], shifts[k], places, ranges)),
        )
        start, first = start + sizes[k], first + len(widths)
    return ClassTables(entries, order, steps, shifts)


def kind_of(entries: NDArray[Any]) -> int:
    """The kind by which the kernel knows a table of such entries."""
    return FLOAT32 if entries.dtype == np.float32 else INTEGER


def table_size(width: int, exact: bool) -> int:
    """Floats, or bytes of rounded entries, of a table for so many bytes of a code."""
    parts = width if exact else width + wide_parts(width)
    return parts * ENTRIES * LANES


def wide_parts(width: int) -> int:
    """Bytes of a code whose rounded products have 16 bits, of so many."""
    return (width + 3) // 4


def no_table() -> Table:
    """A table for codes of which no byte is looked up."""
    nothing = np.zeros(LANES, dtype=np.float32)
    return Table(np.zeros((0, ENTRIES, LANES), dtype=np.float32), np.zeros(0, np.int64), nothing, nothing)


def aligned(shape: tuple[int, ...], dtype: Any = np.float32) -> NDArray[Any]:
    """An array whose rows begin where the processor's cache lines do."""
    size = int(np.prod(shape)) * np.dtype(dtype).itemsize
    room = np.empty(size + 64, dtype=np.uint8)
    start = -room.ctypes.data % 64
    array: NDArray[Any] = room[start : start + size].view(dtype).reshape(shape)
    return array
