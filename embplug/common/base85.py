"""Bytes as base85 text, which JSON does not have to escape.

The text is a quarter longer than the bytes; base64 is a third longer. It equals that of
:func:`base64.b85encode`, which Python computes group by group.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

ALPHABET = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz!#$%&()*+-;<=>?@^_`{|}~"
INVALID = 255
GROUP_BYTES, GROUP_CHARACTERS = 4, 5

_letters = ALPHABET.ljust(256)
DIGITS = bytes(ALPHABET.find(byte) if byte in ALPHABET else INVALID for byte in range(256))
"""The digit of each of the 256 characters, ``INVALID`` where there is none."""


def encode(strings: Sequence[bytes]) -> list[str]:
    """Encode byte strings as base85 text.

    Parameters
    ----------
    strings : sequence of bytes
        Byte strings of any lengths.

    Returns
    -------
    list of str
        Text of each byte string.
    """
    padded = [string + bytes(-len(string) % GROUP_BYTES) for string in strings]
    groups = np.frombuffer(b"".join(padded), dtype=">u4").astype(np.uint32)
    places = np.empty((len(groups), GROUP_CHARACTERS), dtype=np.uint8)
    for place in range(GROUP_CHARACTERS - 1, -1, -1):
        groups, places[:, place] = np.divmod(groups, 85)
    text = places.tobytes().translate(_letters).decode("ascii")
    encoded, stop = [], 0
    for string, whole in zip(strings, padded, strict=True):
        start, stop = stop, stop + len(whole) // GROUP_BYTES * GROUP_CHARACTERS
        encoded.append(text[start : stop - (len(whole) - len(string))])
    return encoded


def decode(texts: Sequence[str]) -> list[bytes]:
    """Decode base85 texts.

    Parameters
    ----------
    texts : sequence of str
        Texts that :func:`encode` returned.

    Returns
    -------
    list of bytes
        Byte string of each text.

    Raises
    ------
    ValueError
        A text has a character outside of the alphabet, has a group that is too large, or is cut off.
    """
    raw = [text.encode("ascii") for text in texts]
    padded = [text + b"~" * (-len(text) % GROUP_CHARACTERS) for text in raw]
    digits = np.frombuffer(b"".join(padded).translate(DIGITS), dtype=np.uint8)
    if digits.max(initial=0) == INVALID:
        raise ValueError("a character that is not base85")
    groups = np.zeros(len(digits) // GROUP_CHARACTERS, dtype=np.int64)
    for place in range(GROUP_CHARACTERS):
        groups *= 85
        groups += digits[place::GROUP_CHARACTERS]
    if groups.max(initial=0) >> 32 or any(len(text) % GROUP_CHARACTERS == 1 for text in raw):
        raise ValueError("not base85, or cut off")
    joined = groups.astype(">u4").tobytes()
    decoded, stop = [], 0
    for text, whole in zip(raw, padded, strict=True):
        start, stop = stop, stop + len(whole) // GROUP_CHARACTERS * GROUP_BYTES
        decoded.append(joined[start : stop - (len(whole) - len(text))])
    return decoded
