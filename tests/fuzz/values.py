"""Values that users pass by mistake, and text files that are damaged, from a seeded generator."""

from __future__ import annotations

import datetime
import decimal
import random
import uuid
from collections.abc import Callable
from typing import Any

import numpy as np
from qdrant_client import models


def _nested(depth: int, inner: Any = 1) -> Any:
    value = inner
    for _ in range(depth):
        value = {"k": value} if depth % 2 else [value]
    return value


SCALARS: list[Any] = [
    None,
    True,
    0,
    -1,
    1,
    3,
    2**31,
    2**63,
    2**64,
    -(2**63) - 1,
    10**400,
    0.5,
    -0.0,
    1e308,
    1e-320,
    float("nan"),
    float("inf"),
    float("-inf"),
    1j,
    "",
    " ",
    "a",
    "doc/a",
    "٣",
    "\ud800",
    "nul \0",
    "x" * 100_000,
    b"bytes",
    bytearray(b"a"),
    object(),
    int,
    len,
    decimal.Decimal("0.1"),
    datetime.date(2024, 1, 1),
    datetime.datetime(9999, 12, 31, tzinfo=datetime.timezone.utc),
    uuid.UUID(int=5),
    np.int64(3),
    np.float32("nan"),
    np.str_("a"),
    np.datetime64("2024"),
    models.Filter(),
    models.HasIdCondition(has_id=[]),
]

CONTAINERS: list[Callable[[random.Random], Any]] = [
    lambda rng: [],
    lambda rng: {},
    lambda rng: (),
    lambda rng: set(),
    lambda rng: [rng.choice(SCALARS)],
    lambda rng: [rng.choice(SCALARS) for _ in range(3)],
    lambda rng: {"a": rng.choice(SCALARS)},
    lambda rng: {rng.choice(["", "n", "a.b", "_embplug_id", "dense"]): rng.choice(SCALARS)},
    lambda rng: {5: 1},
    lambda rng: [[rng.choice(SCALARS)] * rng.randrange(4)] * rng.randrange(1, 4),
    lambda rng: _nested(rng.choice([5, 31, 32, 33, 34, 125, 500, 4999, 5000])),
    lambda rng: iter([1, 2]),
    lambda rng: range(rng.randrange(5)),
    lambda rng: np.zeros(rng.choice([(), (0,), (1,), (2,), (3,), (1, 2), (2, 2), (3, 3), (0, 2), (1, 1, 2)])),
    lambda rng: np.full((rng.randrange(3), 2), rng.choice([np.nan, np.inf, 1e39, 70_000.0, -1.0])),
    lambda rng: np.array(["a", None], dtype=object),
    lambda rng: np.ones((2, 2), dtype=rng.choice(["f2", "f4", "f8", "i1", "u8", "c8", "?"])),
    lambda rng: np.ma.masked_all((1, 2)),
]


def value(rng: random.Random) -> Any:
    """Something that an argument may be by mistake."""
    return rng.choice(CONTAINERS)(rng) if rng.random() < 0.6 else rng.choice(SCALARS)


def damaged(rng: random.Random, text: str) -> bytes:
    """A text with some mistakes: cut off, doubled, moved, in another encoding, with other values."""
    data = bytearray(text.encode())
    for _ in range(rng.randrange(1, 4)):
        at = rng.randrange(len(data) + 1)
        kind = rng.randrange(9)
        if kind == 0:
            del data[at:]
        elif kind == 1:
            data[at:at] = rng.choice([b"\xff\xfe", b"\x00", b"\xef\xbb\xbf", b"\r", b"\n\n", b"\xed\xa0\x80"])
        elif kind == 2:
            data[at : at + 5] = b""
        elif kind == 3:
            data[at:at] = rng.choice([b"[", b"{", b"}", b"]", b'"', b"'", b":", b"- ", b"&a ", b"*a "])
        elif kind == 4:
            data[at:at] = rng.choice([b"[" * 3000, b'{"a":' * 1500, b"9" * 6000, b"- " * 800])
        elif kind == 5:
            data[at:at] = rng.choice([b"NaN", b"1e999", b"-1", b"null", b"true", b"1" * 17])
        elif kind == 6:
            encoding = rng.choice(["utf-16", "utf-8-sig", "utf-8"])
            data = bytearray(data.decode(errors="replace").encode(encoding))
        elif kind == 7:
            other = rng.randrange(len(data) + 1)
            data[at:at] = data[min(at, other) : max(at, other)][:200]
        else:
            data = data.upper() if rng.random() < 0.2 else data.replace(b"id", b"ID", 1)
    return bytes(data)
