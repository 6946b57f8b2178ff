"""Decode base85 texts in the compiled kernel."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from embplug.common import base85
from embplug.common.byte_strings import ByteStrings
from embplug.errors import InvalidArgumentError
from embplug.methods.kernels.arguments import place
from embplug.methods.kernels.library import Kernel, load

CHARACTERS = 256


def decode(texts: Sequence[str]) -> ByteStrings:
    """Decode base85 texts, as :func:`embplug.common.base85.decode` does without the kernel.

    Parameters
    ----------
    texts : sequence of str

    Returns
    -------
    ByteStrings
        One string for each text.

    Raises
    ------
    ValueError
        A text has a character that is none of the 85, a group that is too large, or is cut off.
    """
    kernel = load()
    if kernel is None:
        return ByteStrings.of(base85.decode(texts))
    lengths = np.fromiter(map(len, texts), dtype=np.int64, count=len(texts))
    return decode_joined(kernel, "".join(texts).encode("ascii"), np.concatenate([[0], np.cumsum(lengths)]))


def decode_joined(kernel: Kernel, text: bytes, offsets: NDArray[np.int64]) -> ByteStrings:
    """Decode base85 texts that stand one after the other.

    Parameters
    ----------
    kernel : Kernel
    text : bytes
        All texts, one after the other.
    offsets : int64 (n + 1,)
        Where each text begins in ``text``.

    Raises
    ------
    ValueError
        A character that is none of the 85, a group that is too large, or a text that is cut off.
    """
    offsets = np.ascontiguousarray(offsets, dtype=np.int64)
    lengths = np.diff(offsets)
    if (lengths < 0).any() or len(offsets) == 0 or offsets[0] < 0 or offsets[-1] > len(text):
        raise InvalidArgumentError("offsets", "places in the text", "others")
    decoded_lengths = lengths // 5 * 4 + np.maximum(lengths % 5 - 1, 0)
    decoded = np.empty(int(decoded_lengths.sum()), dtype=np.uint8)
    digits = base85.DIGITS.ljust(CHARACTERS, b"\xff")
    wrong = kernel.functions.embplug_base85(text, place(offsets), len(lengths), digits, place(decoded))
    if wrong >= 0:
        raise ValueError("not base85, or cut off")
    return ByteStrings(decoded, np.cumsum(decoded_lengths) - decoded_lengths, decoded_lengths)
