"""Documents compared with landmarks in bytes, in the compiled kernel."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from embplug.errors import InvalidArgumentError
from embplug.methods.kernels.arguments import floats, integers, place
from embplug.methods.kernels.bases import GROUP, MIDDLE
from embplug.methods.kernels.library import Kernel
from embplug.methods.numeric.arrays import Float32

PANEL = 64
"""Landmarks that the kernel compares at a time."""

LARGEST_LIMIT = 1 << 30
"""Squared distance that the kernel compares with at most, so that its sums fit into 32 bits."""


class Panels(NamedTuple):
    """Landmarks in the order in which the kernel reads them."""

    codes: NDArray[np.int8]
    """(panels, dim / 4, 64, 4)"""
    starts: NDArray[np.int32]
    """(panels * 64,): where a sum begins, so that the offset of the tokens falls out."""
    landmarks: int

    @classmethod
    def of(cls, landmarks: NDArray[np.int8]) -> Panels:
        """Arrange landmarks (landmarks, dim), filled up with zeros."""
        count, dim = landmarks.shape
        panels, groups = -(-count // PANEL), -(-dim // GROUP)
        padded = np.zeros((panels * PANEL, groups * GROUP), dtype=np.int8)
        padded[:count, :dim] = landmarks
        starts = -MIDDLE * padded.sum(axis=1, dtype=np.int32)
        codes = padded.reshape(panels, PANEL, groups, GROUP).swapaxes(1, 2)
        return cls(np.ascontiguousarray(codes), starts.astype(np.int32), count)


def offsets_of(kept: NDArray[np.bool_], offsets: NDArray[np.int64]) -> NDArray[np.int64]:
    """Offsets (n + 1,) of documents once only some of their tokens are there."""
    counts = np.zeros(len(kept) + 1, dtype=np.int64)
    np.cumsum(kept, out=counts[1:])
    after: NDArray[np.int64] = counts[offsets] - counts[offsets[0]]
    return after


def distances_in_steps(distance: float, steps: Float32) -> NDArray[np.int32]:
    """A squared distance in the units of each document (n,), whose tokens are whole numbers of ``steps``."""
    return np.minimum(distance / np.square(steps, dtype=np.float64), LARGEST_LIMIT).astype(np.int32)


def distinct_rows(
    kernel: Kernel, rows: NDArray[np.uint8], offsets: NDArray[np.int64], limits: NDArray[np.int32]
) -> NDArray[np.bool_]:
    """Which tokens of a document are no closer to an earlier one than a distance allows.

    The kernel has to be one of ``eight_bits``.

    Parameters
    ----------
    kernel : Kernel
    rows : uint8 (sum_tokens, dim)
        Tokens about 128. The dimension is a multiple of 4.
    offsets : int64 (n + 1,)
        Document ``i`` has the tokens ``offsets[i]:offsets[i + 1]``, which are there.
    limits : int32 (n,)
        Squared distance up to which tokens of each document are alike, at most ``LARGEST_LIMIT``.

    Returns
    -------
    bool (sum_tokens,)
        A token that is like an earlier one counts for none after it.
    """
    sums, squares = np.empty((2, len(rows)), dtype=np.int32)
    panel = np.empty(rows.shape[1] * PANEL, dtype=np.int8)
    kept = np.zeros(len(rows), dtype=np.bool_)
    kernel.functions.embplug_distinct(
        *(place(rows), place(offsets), len(offsets) - 1, rows.shape[1]),
        *(place(array) for array in (limits, sums, squares, panel, kept)),
    )
    return kept


def highest_sums(
    kernel: Kernel,
    tokens: NDArray[Any],
    offsets: NDArray[np.int64],
    panels: Panels,
    distance: float = 0.0,
) -> tuple[NDArray[np.int32], Float32]:
    """Highest sums of products of landmarks with the tokens of documents, which are rounded to bytes.

    The kernel has to be one of ``eight_bits``.

    Parameters
    ----------
    kernel : Kernel
    tokens : float32 or float16 (sum_tokens, dim)
    offsets : int64 (n + 1,)
        Document ``i`` has the tokens ``offsets[i]:offsets[i + 1]``.
    panels : Panels
    distance : float, default=0.0
        Squared distance up to which a token is left out that is like an earlier one; 0 compares all.

    Returns
    -------
    sums : int32 (n, landmarks)
        Those of a document without tokens are 0.
    steps : float32 (n,)
        What one unit of a document's tokens stands for: its largest number is 127 of them.
    """
    dim = panels.codes.shape[1] * GROUP
    offsets = integers(offsets)
    if not tokens.flags.c_contiguous or tokens.dtype not in (np.float32, np.float16):
        tokens = floats(tokens)
    if offsets[0] < 0 or offsets[-1] > len(tokens) or (np.diff(offsets) < 0).any():
        raise InvalidArgumentError("offsets", f"rising numbers from 0 to {len(tokens)}", "others")
    if not dim - GROUP < tokens.shape[1] <= dim:
        raise InvalidArgumentError("tokens", f"the {dim} dimensions of landmarks", tokens.shape[1])
    rows = np.full((len(tokens), dim), MIDDLE, dtype=np.uint8)
    highest = np.zeros((len(offsets) - 1, len(panels.starts)), dtype=np.int32)
    steps = np.empty(len(highest), dtype=np.float32)
    kernel.functions.embplug_rounded_tokens(
        *(place(tokens), tokens.dtype == np.float16, place(offsets), len(highest)),
        *(tokens.shape[1], dim, place(rows), place(steps)),
    )
    if distance:
        kept = distinct_rows(kernel, rows, offsets, distances_in_steps(distance, steps))
        rows, offsets = rows[kept], offsets_of(kept, offsets)
    kernel.functions.embplug_highest(
        *(place(rows), place(offsets), 0, len(highest), dim),
        *(place(panels.codes), place(panels.starts), len(panels.starts), place(highest)),
    )
    return highest[:, : panels.landmarks], steps
