"""Arrays that every method takes and returns, and the checks of them."""

from __future__ import annotations

import math
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embplug.errors import DimensionError, InvalidArgumentError, LengthMismatchError, NonFiniteError

Float32: TypeAlias = NDArray[np.float32]


Codes: TypeAlias = NDArray[np.uint8]


State: TypeAlias = dict[str, NDArray[Any]]


HALF_EXPONENT = np.uint16(0x7C00)
"""Bits of the exponent of a float16."""

CHECKED_ROWS = 2048
"""Rows of halves that are checked at once, so that they stay in a processor's cache."""

FEW_NUMBERS = 1 << 16
"""Numbers that are checked without letting other threads run, which costs more than the check."""

LARGEST_NUMBER = 2.0**50
"""Largest number in a vector: sums of squares and of products of such numbers stay in float32's range."""


def as_array(values: Any) -> NDArray[Any]:
    """Turn an array, a torch tensor on any device or a nested list into numpy, copying only if needed.

    Raises
    ------
    ValueError
        A nested list has rows of several lengths.
    """
    if not hasattr(values, "detach"):
        return np.asarray(values)
    tensor = values.detach().cpu()
    # numpy has no bfloat16.
    return np.asarray((tensor.float() if str(tensor.dtype) == "torch.bfloat16" else tensor).numpy())


def as_float32(numbers: NDArray[Any]) -> Float32:
    """Numbers as C-contiguous float32; those beyond its range become infinity, without a warning."""
    if numbers.dtype == np.float32:
        return np.ascontiguousarray(numbers)
    with np.errstate(over="ignore"):
        return np.ascontiguousarray(numbers, dtype=np.float32)


def as_vectors(values: ArrayLike, dim: int | None = None, argument: str = "X") -> Float32:
    """Vectors as C-contiguous float32 (n, d).

    Raises
    ------
    DimensionError
        Not a matrix, or not of ``dim`` columns.
    NonFiniteError
        A row holds NaN or infinity. The error names the first one.
    InvalidArgumentError
        A row holds a number beyond :data:`LARGEST_NUMBER`.
    """
    try:
        vectors = np.ascontiguousarray(values, dtype=np.float32)
    except (TypeError, ValueError, OverflowError) as error:
        raise DimensionError(argument, "numbers of shape (n, dim)", str(error)) from None
    if vectors.ndim != 2 or vectors.shape[1] == 0 or (dim is not None and vectors.shape[1] != dim):
        raise DimensionError(argument, f"shape (n, {dim or 'dim'})", f"shape {vectors.shape}")
    wrong = first_out_of_range(vectors)
    if wrong is not None:
        raise out_of_range(vectors[wrong], f"{argument}[{wrong}]")
    return vectors


def first_out_of_range(vectors: NDArray[Any], largest: float = LARGEST_NUMBER) -> int | None:
    """The first row (n, dim) with NaN or a number beyond ``largest``; None where there is none."""
    if vectors.size == 0 or _bound(vectors) <= largest:
        return None
    # Halves cannot be compared with numbers that they cannot hold.
    right = np.isfinite(vectors) & (np.abs(vectors) <= np.float32(largest))
    return int(right.all(axis=1).argmin()) if not right.all() else None


def _bound(vectors: NDArray[Any]) -> float:
    """A bound of the size of all numbers; NaN or infinity where one of them is."""
    if vectors.dtype == np.float16:
        # Processors compare halves slowly. An exponent of ones is NaN or infinity; all others are small.
        bits = vectors.view(np.uint16)
        blocks = (bits[start : start + CHECKED_ROWS] for start in range(0, len(bits), CHECKED_ROWS))
        is_non_finite = any((block & HALF_EXPONENT).max() == HALF_EXPONENT for block in blocks)
        return float(np.inf if is_non_finite else np.finfo(np.float16).max)
    if vectors.size <= FEW_NUMBERS and vectors.dtype == np.float32 and vectors.flags.c_contiguous:
        numbers = vectors.reshape(-1)
        # Reductions release the interpreter's lock, and a thread among many waits long to have it back.
        with np.errstate(over="ignore", invalid="ignore"):
            bound = math.sqrt(numbers @ numbers)
        if bound <= LARGEST_NUMBER:
            return bound
    # The greatest of several numbers is NaN where one of them is.
    return max(float(vectors.max()), -float(vectors.min()))


def out_of_range(
    vector: NDArray[Any], argument: str, within: str = "", largest: float = LARGEST_NUMBER
) -> InvalidArgumentError:
    """The error for a vector that :func:`first_out_of_range` finds; ``within`` says where in the argument."""
    number = float(np.abs(vector).max())
    if np.isfinite(number):
        return InvalidArgumentError(argument, f"numbers of at most {largest:.4g}", f"{number:.4g}{within}")
    return NonFiniteError(argument, "finite numbers", f"NaN or infinity{within}")


def as_sample(values: ArrayLike) -> Float32:
    """Vectors to learn from: as :func:`as_vectors`, and at least one."""
    vectors = as_vectors(values)
    if len(vectors) == 0:
        raise LengthMismatchError("X", "at least one vector to learn from", 0)
    return vectors


def as_query(values: ArrayLike, dim: int) -> tuple[Float32, bool]:
    """A query as float32 (t, dim), and whether it was passed as a single vector (dim,)."""
    single = np.ndim(values) == 1
    return as_vectors(np.asarray(values)[None] if single else values, dim, "q"), single


def check_codes(codes: Codes, code_bytes: int) -> Codes:
    """Codes as C-contiguous uint8 (n, code_bytes).

    Raises
    ------
    DimensionError
        They have another type or another number of bytes.
    """
    codes = np.asarray(codes)
    if codes.ndim != 2 or codes.shape[1] != code_bytes or codes.dtype != np.uint8:
        raise DimensionError(
            "codes", f"uint8 of shape (n, {code_bytes})", f"{codes.dtype} of shape {codes.shape}"
        )
    return np.ascontiguousarray(codes)


def state_part(state: State, prefix: str) -> State:
    """Arrays whose names begin with ``prefix``, by the rest of their names."""
    return {name.removeprefix(prefix): array for name, array in state.items() if name.startswith(prefix)}


def state_bytes(state: State) -> int:
    """Size of learned arrays."""
    return sum(array.nbytes for array in state.values())
