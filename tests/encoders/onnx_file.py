"""A tiny ONNX model, written without the package onnx: each token has its row of an embedding."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from numpy.typing import NDArray

FLOAT, INT64 = 1, 7
"""Types of tensors, as ONNX numbers them."""


def write_embedding(file: Path, rows: NDArray[np.float32]) -> None:
    """Write ``last_hidden_state = rows[input_ids]``; ``attention_mask`` is an input that is not read."""
    node = b"".join(
        (_bytes(1, b"rows"), _bytes(1, b"input_ids"), _bytes(2, b"last_hidden_state"), _bytes(4, b"Gather"))
    )
    tensor = b"".join(_number(1, size) for size in rows.shape)
    tensor += _number(2, FLOAT) + _bytes(8, b"rows") + _bytes(9, rows.astype("<f4").tobytes())
    graph = _bytes(1, node) + _bytes(2, b"graph") + _bytes(5, tensor)
    graph += b"".join(_bytes(11, _value(name, INT64, 2)) for name in (b"input_ids", b"attention_mask"))
    graph += _bytes(12, _value(b"last_hidden_state", FLOAT, 3))
    file.write_bytes(_number(1, 8) + _bytes(7, graph) + _bytes(8, _bytes(1, b"") + _number(2, 13)))


def _value(name: bytes, kind: int, axes: int) -> bytes:
    """An input or an output, with a free size of each axis."""
    shape = b"".join(_bytes(1, _bytes(2, f"{name.decode()}_{axis}".encode())) for axis in range(axes))
    return _bytes(1, name) + _bytes(2, _bytes(1, _number(1, kind) + _bytes(2, shape)))


def _bytes(field: int, value: bytes) -> bytes:
    return _varint(field << 3 | 2) + _varint(len(value)) + value


def _number(field: int, value: int) -> bytes:
    return _varint(field << 3) + _varint(value)


def _varint(value: int) -> bytes:
    parts = bytearray()
    while value > 127:
        parts.append(value & 127 | 128)
        value >>= 7
    return bytes([*parts, value])
