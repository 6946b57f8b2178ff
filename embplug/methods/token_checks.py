"""Checks that the encodings of token matrices share."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embplug.errors import InvalidArgumentError, LengthMismatchError
from embplug.methods.numeric.arrays import LARGEST_NUMBER, first_out_of_range, out_of_range


def checked_weights(values: ArrayLike, tokens: int, argument: str = "token_weights") -> NDArray[np.float32]:
    """Weights of tokens as float32 ``(tokens,)``, all finite."""
    try:
        weights = np.asarray(values, dtype=np.float32)
    except (TypeError, ValueError):
        raise InvalidArgumentError(argument, "numbers", repr(values)) from None
    if weights.shape != (tokens,):
        raise LengthMismatchError(argument, f"shape ({tokens},), one per token", f"shape {weights.shape}")
    wrong = np.flatnonzero(~np.isfinite(weights))
    if wrong.size:
        raise InvalidArgumentError(f"{argument}[{wrong[0]}]", "a finite number", weights[wrong[0]])
    return weights


def check_finite(values: NDArray[Any], argument: str, largest: float = LARGEST_NUMBER) -> None:
    """Refuse tokens (tokens, dim) of which one is not finite or beyond ``largest``, naming the first."""
    wrong = first_out_of_range(values, largest)
    if wrong is not None:
        raise out_of_range(values[wrong], f"{argument}.values[{wrong}]", largest=largest)
