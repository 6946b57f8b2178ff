"""Documents compared with landmarks in bytes, in the compiled kernel."""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from embplug.errors import InvalidArgumentError
from embplug.methods.kernels.arguments import integers, place
from embplug.methods.kernels.bases import GROUP, MIDDLE
from embplug.methods.kernels.library import Kernel
from embplug.methods.numeric.arrays import Float32

PANEL = 64
"""Landmarks that the kernel compares at a time."""


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


def highest_sums(
    kernel: Kernel, tokens: Float32, offsets: NDArray[np.int64], panels: Panels
) -> NDArray[np.int32]:
    """Highest sums (n, landmarks) of products of tokens (sum_tokens, dim), whole numbers of -127 to 127.

    Document ``i`` has the tokens ``offsets[i]:offsets[i + 1]``; without tokens its sums are 0. The kernel has
    to be one of ``eight_bits``.
    """
    groups = panels.codes.shape[1]
    rows = np.full((len(tokens), groups * GROUP), MIDDLE, dtype=np.uint8)
    np.add(tokens, MIDDLE, out=rows[:, : tokens.shape[1]], casting="unsafe")
    offsets = integers(offsets)
    if offsets[0] < 0 or offsets[-1] > len(rows) or (np.diff(offsets) < 0).any():
        raise InvalidArgumentError("offsets", f"rising numbers from 0 to {len(rows)}", "others")
    highest = np.zeros((len(offsets) - 1, len(panels.starts)), dtype=np.int32)
    kernel.functions.embplug_highest(
        *(place(rows), place(offsets), 0, len(highest), groups * GROUP),
        *(place(panels.codes), place(panels.starts), len(panels.starts), place(highest)),
    )
    return highest[:, : panels.landmarks]
