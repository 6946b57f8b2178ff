"""Documents compared with landmarks in bytes, in the compiled kernel."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from embplug.methods.kernels.library import Kernel

PANEL = 64
"""Landmarks that the kernel compares at a time."""

GROUP = 4
"""Dimensions whose products it adds at a time."""

OFFSET = 128

Float32 = NDArray[np.float32]


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
        starts = -OFFSET * padded.sum(axis=1, dtype=np.int32)
        codes = padded.reshape(panels, PANEL, groups, GROUP).swapaxes(1, 2)
        return cls(np.ascontiguousarray(codes), starts.astype(np.int32), count)


def compares(kernel: Kernel) -> bool:
    """Whether the kernel can compare documents with landmarks on this processor."""
    return bool(kernel.level >= 2 and kernel.functions.embplug_compares())


def highest_sums(
    kernel: Kernel, tokens: Float32, offsets: NDArray[np.int64], panels: Panels
) -> NDArray[np.int32]:
    """Highest sums (n, landmarks) of products of tokens (sum_tokens, dim), whole numbers of -127 to 127.

    Document ``i`` has the tokens ``offsets[i]:offsets[i + 1]``; without tokens its sums are 0.
    """
    groups = panels.codes.shape[1]
    rows = np.full((len(tokens), groups * GROUP), OFFSET, dtype=np.uint8)
    np.add(tokens, OFFSET, out=rows[:, : tokens.shape[1]], casting="unsafe")
    offsets = np.ascontiguousarray(offsets, dtype=np.int64)
    _check(len(rows), offsets)
    highest = np.zeros((len(offsets) - 1, len(panels.starts)), dtype=np.int32)
    kernel.functions.embplug_highest(
        rows.ctypes.data,
        offsets.ctypes.data,
        0,
        len(highest),
        groups * GROUP,
        panels.codes.ctypes.data,
        panels.starts.ctypes.data,
        len(panels.starts),
        highest.ctypes.data,
    )
    return highest[:, : panels.landmarks]


def _check(tokens: int, offsets: NDArray[Any]) -> None:
    assert offsets[0] >= 0 and offsets[-1] <= tokens and (np.diff(offsets) >= 0).all()
