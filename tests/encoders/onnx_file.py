"""Tiny ONNX models, written without the package onnx."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

FLOAT, INT64 = 1, 7
"""Types of tensors, as ONNX numbers them."""

INT_ATTRIBUTE, INTS_ATTRIBUTE = 2, 7
"""Types of attributes, likewise."""


class Node(NamedTuple):
    """An operator; its output has the name by which later nodes read it."""

    operator: str
    inputs: Sequence[str]
    output: str
    attributes: Mapping[str, Any] = {}


def write_embedding(file: Path, rows: NDArray[np.float32]) -> None:
    """Write ``last_hidden_state = rows[input_ids]``; ``attention_mask`` is an input that is not read."""
    nodes = [Node("Gather", ["rows", "input_ids"], "last_hidden_state")]
    inputs = {"input_ids": (INT64, 2), "attention_mask": (INT64, 2)}
    write_model(file, nodes, {"rows": rows}, inputs, "last_hidden_state", 3)


def write_model(
    file: Path,
    nodes: Sequence[Node],
    constants: Mapping[str, NDArray[Any]],
    inputs: Mapping[str, tuple[int, int]],
    output: str,
    output_axes: int,
) -> None:
    """Write a model.

    Parameters
    ----------
    file : Path
        File to write.
    nodes : sequence of Node
        Operators, in the order in which they run.
    constants : dict of str to float32 or int64 array
        Tensors by name.
    inputs : dict of str to tuple of int
        Type and number of axes of each input.
    output : str
        Name of the float output.
    output_axes : int
        Its number of axes.
    """
    graph = b"".join(_bytes(1, _node(node)) for node in nodes) + _bytes(2, b"graph")
    graph += b"".join(_bytes(5, _tensor(name, values)) for name, values in constants.items())
    graph += b"".join(_bytes(11, _value(name, kind, axes)) for name, (kind, axes) in inputs.items())
    graph += _bytes(12, _value(output, FLOAT, output_axes))
    file.write_bytes(_number(1, 8) + _bytes(7, graph) + _bytes(8, _bytes(1, b"") + _number(2, 13)))


def _node(node: Node) -> bytes:
    written = b"".join(_bytes(1, name.encode()) for name in node.inputs)
    written += _bytes(2, node.output.encode()) + _bytes(4, node.operator.encode())
    return written + b"".join(_bytes(5, _attribute(*item)) for item in node.attributes.items())


def _attribute(name: str, value: Any) -> bytes:
    if isinstance(value, int):
        return _bytes(1, name.encode()) + _number(3, value) + _number(20, INT_ATTRIBUTE)
    numbers = b"".join(_number(8, number) for number in value)
    return _bytes(1, name.encode()) + numbers + _number(20, INTS_ATTRIBUTE)


def _tensor(name: str, values: NDArray[Any]) -> bytes:
    kind, stored = (INT64, "<i8") if values.dtype == np.int64 else (FLOAT, "<f4")
    sizes = b"".join(_number(1, size) for size in values.shape)
    return sizes + _number(2, kind) + _bytes(8, name.encode()) + _bytes(9, values.astype(stored).tobytes())


def _value(name: str, kind: int, axes: int) -> bytes:
    """An input or an output, with a free size of each axis."""
    shape = b"".join(_bytes(1, _bytes(2, f"{name}_{axis}".encode())) for axis in range(axes))
    return _bytes(1, name.encode()) + _bytes(2, _bytes(1, _number(1, kind) + _bytes(2, shape)))


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
