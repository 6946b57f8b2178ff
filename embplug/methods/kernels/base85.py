"""Decode base85 texts in the compiled kernel."""

from __future__ import annotations

import ctypes
from collections.abc import Sequence

import numpy as np

from embplug.common import base85
from embplug.common.byte_strings import ByteStrings
from embplug.methods.kernels.arguments import integers, place
from embplug.methods.kernels.library import Kernel, load

CHARACTERS = 256
CHARACTERS_A_STEP = 8
"""Characters that are decoded while one row is looked up."""
DIGITS = base85.DIGITS.ljust(CHARACTERS, b"\xff")

_utf8_of = ctypes.PYFUNCTYPE(ctypes.c_void_p, ctypes.py_object)(("PyUnicode_AsUTF8", ctypes.pythonapi))


def decode(texts: Sequence[str] | ByteStrings) -> ByteStrings:
    """Decode base85 texts, as :func:`embplug.common.base85.decode` does without the kernel.

    Parameters
    ----------
    texts : sequence of str, or ByteStrings
        Texts, or their characters.

    Returns
    -------
    ByteStrings
        One string for each text.

    Raises
    ------
    TypeError
        A text is not a string.
    ValueError
        A text has a character that is none of the 85, a group that is too large, or is cut off.
    """
    kernel = load()
    if kernel is not None:
        return decode_by(kernel, texts)
    if isinstance(texts, ByteStrings):
        texts = [text.decode() for text in texts]
    return ByteStrings.of(base85.decode(texts))


def decode_by(kernel: Kernel, texts: Sequence[str] | ByteStrings) -> ByteStrings:
    """As :func:`decode`, by a kernel. Texts are read where they are, without a copy."""
    count = len(texts)
    if isinstance(texts, ByteStrings):
        joined = np.ascontiguousarray(texts.data)
        places, lengths = texts.starts + (place(joined) or 0), integers(texts.lengths)
    else:
        places = np.fromiter(map(_utf8_of, texts), dtype=np.uint64, count=count)
        # A character beyond ASCII takes more bytes than one, the first of which is not base85.
        lengths = np.fromiter(map(len, texts), dtype=np.int64, count=count)
    characters = int(lengths.sum())
    decoded = np.empty(characters // 5 * 4 + 4 * count, dtype=np.uint8)
    starts, sizes = np.empty(count, dtype=np.int64), np.empty(count, dtype=np.int64)
    wrong = kernel.functions_for(characters // CHARACTERS_A_STEP).embplug_base85(
        *(kernel.level, place(places), place(lengths), count, DIGITS),
        *(place(decoded), place(starts), place(sizes)),
    )
    if wrong >= 0:
        raise ValueError("not base85, or cut off")
    return ByteStrings(decoded, starts, sizes)
