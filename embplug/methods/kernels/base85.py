"""Decode base85 texts in the compiled kernel."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import accumulate, pairwise

import numpy as np

from embplug.common import base85
from embplug.methods.kernels.library import load
from embplug.methods.kernels.lookups import base85_decode, decoded_lengths


def decode(texts: Sequence[str]) -> list[bytes]:
    """Decode base85 texts, as :func:`embplug.common.base85.decode` does without the kernel.

    Parameters
    ----------
    texts : sequence of str

    Returns
    -------
    list of bytes
        One for each text.

    Raises
    ------
    ValueError
        A text has a character that is none of the 85, a group that is too large, or is cut off.
    """
    kernel = load()
    if kernel is None:
        return base85.decode(texts)
    encoded = [text.encode("ascii") for text in texts]
    offsets = np.fromiter(accumulate(map(len, encoded), initial=0), dtype=np.int64, count=len(encoded) + 1)
    decoded = base85_decode(kernel, b"".join(encoded), offsets, base85.DIGITS).tobytes()
    stops = accumulate(decoded_lengths(np.diff(offsets)).tolist(), initial=0)
    return [decoded[start:stop] for start, stop in pairwise(stops)]
