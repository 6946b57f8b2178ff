"""Checks of what is passed to the compiled kernel, and in which form it is passed."""

from __future__ import annotations

import ctypes
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from embplug.common.byte_strings import ByteStrings
from embplug.errors import InvalidArgumentError
from embplug.methods.kernels.library import Kernel
from embplug.methods.numeric.arrays import Codes, Float32


class CodedDocuments(NamedTuple):
    """Where the codes of documents stand."""

    codes: NDArray[np.uint8]
    """(bytes,): all documents, with or without something in between."""
    starts: NDArray[np.int64]
    """(n,): byte at which the codes of a document begin."""
    offsets: NDArray[np.int64]
    """(n + 1,): number of the first token of a document, counted over all documents."""

    @classmethod
    def of(cls, strings: ByteStrings, offsets: NDArray[np.int64]) -> CodedDocuments:
        """Documents whose codes are strings."""
        return cls(
            np.ascontiguousarray(strings.data),
            np.ascontiguousarray(strings.starts, dtype=np.int64),
            np.ascontiguousarray(offsets, dtype=np.int64),
        )

    @classmethod
    def of_rows(cls, codes: Codes) -> CodedDocuments:
        """Codes (n, stride) as those of one document."""
        offsets = np.array([0, len(codes)], dtype=np.int64)
        return cls(np.ascontiguousarray(codes).reshape(-1), np.zeros(1, dtype=np.int64), offsets)

    def rows(self, stride: int) -> Codes:
        """Codes (tokens, stride) of all tokens."""
        lengths = np.diff(self.offsets) * stride
        return ByteStrings(self.codes, self.starts, lengths).joined().reshape(-1, stride)


_TYPES: tuple[type, ...] = (np.uint8, np.int64, np.int64)


def check_documents(kernel: Kernel, documents: CodedDocuments, stride: int, width: int) -> None:
    """Refuse documents whose tokens, ``stride`` bytes apart and ``width`` bytes long, leave the codes."""
    codes, starts, offsets = documents
    arrays: tuple[NDArray[Any], ...] = codes, starts, offsets
    for name, array, dtype in zip(documents._fields, arrays, _TYPES, strict=True):
        if array.dtype.type is not dtype or array.ndim != 1 or not array.flags.c_contiguous:
            raise InvalidArgumentError(
                name, f"contiguous {np.dtype(dtype)} (n,)", f"{array.dtype} {array.shape}"
            )
    if stride < max(width, 1):
        raise InvalidArgumentError("stride", f"at least {max(width, 1)} bytes", stride)
    wrong = -2
    if len(offsets) == len(starts) + 1:
        wrong = kernel.functions_for(len(starts)).embplug_documents(
            *(place(starts), place(offsets), len(starts), len(codes), stride, width)
        )
    if wrong == -2:
        raise InvalidArgumentError("offsets", f"{len(starts) + 1} rising numbers from 0", "others")
    if wrong >= 0:
        raise InvalidArgumentError(f"codes[{wrong}]", f"{stride} bytes a token", "fewer")


def check_shape(name: str, array: NDArray[Any], shape: tuple[int, ...]) -> None:
    """Refuse an array of another shape."""
    if array.shape != shape:
        raise InvalidArgumentError(name, f"shape {shape}", f"shape {array.shape}")


def floats(array: NDArray[Any]) -> Float32:
    """The array as contiguous float32."""
    return np.ascontiguousarray(array, dtype=np.float32)


def integers(array: NDArray[Any]) -> NDArray[np.int64]:
    """The array as contiguous int64."""
    return np.ascontiguousarray(array, dtype=np.int64)


def place(array: NDArray[Any] | None) -> int | None:
    """Address of an array, which the caller keeps alive while the kernel runs."""
    if array is None:
        return None
    try:
        # A search needs dozens of addresses, and numpy's own way takes five times as long.
        return ctypes.addressof(ctypes.c_char.from_buffer(array))  # type: ignore[arg-type]
    except (TypeError, ValueError):
        # Arrays that are empty, or that nobody may write, export no such buffer.
        return int(array.__array_interface__["data"][0])
