"""Bytes as text of 85 characters that JSON does not escape: a quarter longer, where base64 is a third.

The text is that of :func:`base64.b85encode`, which Python computes one group at a time.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

ALPHABET = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~"
INVALID = 255
GROUP_BYTES, GROUP_CHARACTERS = 4, 5

_characters = np.frombuffer(ALPHABET, dtype=np.uint8)
_digits = np.full(256, INVALID, dtype=np.uint8)
_digits[_characters] = np.arange(85)
_powers = 85 ** np.arange(GROUP_CHARACTERS, dtype=np.int64)[::-1]


def encode(strings: Sequence[bytes]) -> list[str]:
    """Text of each string."""
    padded = [string + bytes(-len(string) % GROUP_BYTES) for string in strings]
    groups = np.frombuffer(b"".join(padded), dtype=">u4").astype(np.int64)
    text = _characters[groups[:, None] // _powers % 85].tobytes().decode("ascii")
    made, stop = [], 0
    for string, whole in zip(strings, padded, strict=True):
        start, stop = stop, stop + len(whole) // GROUP_BYTES * GROUP_CHARACTERS
        made.append(text[start : stop - (len(whole) - len(string))])
    return made


def decode(texts: Sequence[str]) -> list[bytes]:
    """Undo :func:`encode`.

    Raises
    ------
    ValueError
        A character that is none of the 85, a group that is too large, or a text that is cut off.
    """
    raw = [text.encode("ascii") for text in texts]
    padded = [text + b"~" * (-len(text) % GROUP_CHARACTERS) for text in raw]
    digits = _digits[np.frombuffer(b"".join(padded), dtype=np.uint8)]
    if (digits == INVALID).any():
        raise ValueError("a character that is not base85")
    groups = digits.reshape(-1, GROUP_CHARACTERS).astype(np.int64) @ _powers
    if (groups >> 32).any() or any(len(text) % GROUP_CHARACTERS == 1 for text in raw):
        raise ValueError("not base85, or cut off")
    joined = groups.astype(">u4").tobytes()
    made, stop = [], 0
    for text, whole in zip(raw, padded, strict=True):
        start, stop = stop, stop + len(whole) // GROUP_CHARACTERS * GROUP_BYTES
        made.append(joined[start : stop - (len(whole) - len(text))])
    return made
