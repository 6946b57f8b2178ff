"""MaxSim of query tokens with codes of a bit for each dimension, in the compiled kernel."""

from __future__ import annotations

import ctypes
from ctypes import c_int64, c_void_p

import numpy as np

from embplug.errors import InvalidArgumentError
from embplug.methods.kernels.arguments import CodedDocuments, check_documents, check_shape, floats, place
from embplug.methods.kernels.library import Kernel
from embplug.methods.kernels.lookups import over_documents, thread_count
from embplug.methods.kernels.tables import aligned
from embplug.methods.numeric.arrays import Float32

BITS_OF_BYTE = 8
LARGEST_ENTRY = 127
LARGEST_WIDTH = 256
"""Bytes of a token up to which sums of rounded products fit into 16 bits."""


class _Bits(ctypes.Structure):
    _fields_ = (
        *((name, c_void_p) for name in ("codes", "starts", "offsets")),
        *((name, c_int64) for name in ("width", "query_tokens")),
        *((name, c_void_p) for name in ("tables", "steps", "shifts", "room", "highest", "scores")),
    )


def scores_bits(kernel: Kernel, width: int) -> bool:
    """Whether :func:`maxsim_of_bits` scores codes of ``width`` bytes: it always rounds products."""
    return bool(kernel.bits) and not kernel.exact and 0 < width <= LARGEST_WIDTH


def maxsim_of_bits(
    kernel: Kernel,
    vectors: Float32,
    shifts: Float32,
    documents: CodedDocuments,
    *,
    threads: int | None = None,
) -> Float32:
    """Sum over the query tokens of the highest score of a token of each document.

    A token scores ``(signs @ vector + shift) / sqrt(signs @ last vector + last shift)``. Its signs are those
    of its bits, the highest bit of a byte first.

    Parameters
    ----------
    kernel : Kernel
        One that :func:`scores_bits`.
    vectors : float32 (query tokens + 1, 8 * bytes of a token)
    shifts : float32 (query tokens + 1,)
    documents : CodedDocuments
        The codes of the tokens of a document follow one another.
    threads : int, default=None
        None takes as many as the work is worth.

    Returns
    -------
    float32 (n,)
        -inf for a document without tokens.

    Raises
    ------
    InvalidArgumentError
        Documents that reach beyond the codes, or arrays of another shape.
    """
    vectors, shifts = floats(vectors), floats(shifts)
    count, width = len(vectors), vectors.shape[1] // BITS_OF_BYTE
    check_shape("vectors", vectors, (max(count, 1), width * BITS_OF_BYTE))
    check_shape("shifts", shifts, (count,))
    if not scores_bits(kernel, width):
        raise InvalidArgumentError("vectors", f"at most {LARGEST_WIDTH} bytes of bits", width)
    check_documents(kernel, documents, width, width)
    tables = aligned(((count + 1) * groups(width, kernel.bits) << kernel.bits,), np.uint8)
    steps, lows = np.empty((2, count), dtype=np.float32)
    kernel.functions.embplug_bits_tables(
        *(kernel.bits, place(vectors), count, width, place(tables), place(steps), place(lows))
    )
    lows += shifts
    scores = np.empty(len(documents.starts), dtype=np.float32)

    def run(first: int, last: int) -> None:
        room = aligned((kernel.functions.embplug_bits_room(width),), np.uint8)
        highest = np.empty(count - 1, dtype=np.float32)
        arrays = (tables, steps, lows, room, highest, scores)
        arguments = _Bits(
            *(place(array) for array in documents), width, count - 1, *(place(array) for array in arrays)
        )
        kernel.functions.embplug_bits(kernel.bits, ctypes.byref(arguments), first, last)

    # A step scores as many tokens as a table of bytes looks up rows.
    over_documents(run, documents.offsets, thread_count(documents.offsets, width // 2 + 1, threads))
    return scores


def largest_error(vectors: Float32, bits: int) -> Float32:
    """How far rounding moves the product (n,) of each vector (n, dim) with signs at most."""
    count, dim = vectors.shape
    number = -(-dim // bits)
    sizes = (
        np.pad(np.abs(vectors), ((0, 0), (0, number * bits - dim))).reshape(count, number, bits).sum(axis=2)
    )
    return np.asarray(sizes.max(axis=1) * np.float32(number / LARGEST_ENTRY))


def groups(width: int, bits: int) -> int:
    """Groups of bits in a token, an even number."""
    pair = 2 * bits
    return 2 * ((BITS_OF_BYTE * width + pair - 1) // pair)
