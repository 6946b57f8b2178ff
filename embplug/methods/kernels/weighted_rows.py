"""Weighted sums of rows of 8 bits, which are read as they are stored."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from embplug.errors import InvalidArgumentError
from embplug.methods.kernels.arguments import check_shape, floats, place
from embplug.methods.kernels.library import Kernel
from embplug.methods.numeric.arrays import Float32


def weighted_rows(kernel: Kernel, codes: NDArray[np.int8], weights: Float32) -> Float32:
    """Sums (n, columns) of the rows of int8 codes (rows, columns), each times its weight (n, rows)."""
    rows, columns = codes.shape
    if codes.dtype != np.int8 or not codes.flags.c_contiguous:
        raise InvalidArgumentError("codes", "contiguous int8 (rows, columns)", f"{codes.dtype} {codes.shape}")
    weights = floats(weights)
    check_shape("weights", weights, (len(weights), rows))
    sums = np.empty((len(weights), columns), dtype=np.float32)
    functions = kernel.functions_for(rows)
    for own, out in zip(weights, sums, strict=True):
        functions.embplug_weighted_rows(kernel.level, place(codes), place(own), rows, columns, place(out))
    return sums
