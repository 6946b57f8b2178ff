"""Bytes as text of 85 characters that JSON does not escape: a quarter longer, where base64 is a third.

The text is that of :func:`base64.b85encode`, which Python computes one group at a time.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

ALPHABET = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~"
INVALID = 255
GROUP_BYTES, GROUP_CHARACTERS = 4, 5

_letters = ALPHABET.ljust(256)
_digits = bytes(ALPHABET.find(byte) if byte in ALPHABET else INVALID for byte in range(256))


def encode(strings: Sequence[bytes]) -> list[str]:
    """Text of each string."""
    padded = [string + bytes(-len(string) % GROUP_BYTES) for string in strings]
    groups = np.frombuffer(b"".join(padded), dtype=">u4").astype(np.uint32)
    places = np.empty((len(groups), GROUP_CHARACTERS), dtype=np.uint8)
    for place in range(GROUP_CHARACTERS - 1, -1, -1):
        groups, places[:, place] = np.divmod(groups, 85)
    text = places.tobytes().translate(_letters).decode("ascii")
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
    digits = np.frombuffer(b"".join(padded).translate(_digits), dtype=np.uint8)
    if digits.max(initial=0) == INVALID:
        raise ValueError("a character that is not base85")
    groups = np.zeros(len(digits) // GROUP_CHARACTERS, dtype=np.int64)
    for place in range(GROUP_CHARACTERS):
        groups *= 85
        groups += digits[place::GROUP_CHARACTERS]
    if groups.max(initial=0) >> 32 or any(len(text) % GROUP_CHARACTERS == 1 for text in raw):
        raise ValueError("not base85, or cut off")
    joined = groups.astype(">u4").tobytes()
    made, stop = [], 0
    for text, whole in zip(raw, padded, strict=True):
        start, stop = stop, stop + len(whole) // GROUP_CHARACTERS * GROUP_BYTES
        made.append(joined[start : stop - (len(whole) - len(text))])
    return made
