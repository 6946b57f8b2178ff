from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

from embplug.errors import InvalidArgumentError, NonFiniteError
from embplug.methods.numeric.arrays import (
    CHECKED_ROWS,
    FEW_NUMBERS,
    LARGEST_NUMBER,
    as_vectors,
    first_out_of_range,
    out_of_range,
)


@pytest.mark.parametrize("dtype", [np.float16, np.float32])
@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("row", [0, 7, CHECKED_ROWS + 3])
@pytest.mark.parametrize("dim", [3, 20])
def test_the_first_row_that_is_not_finite_is_named(dtype: Any, number: float, row: int, dim: int) -> None:
    warnings.simplefilter("error")
    vectors = np.ones((2 * CHECKED_ROWS, dim), dtype=dtype)
    assert (vectors.size > FEW_NUMBERS) == (dim == 20)
    assert first_out_of_range(vectors) is None
    vectors[row, 1] = vectors[-1, 2] = number
    assert first_out_of_range(vectors) == row
    assert first_out_of_range(vectors[::-1, 1:]) == 0
    assert isinstance(out_of_range(vectors[row], "X"), NonFiniteError)


@pytest.mark.parametrize("number", [2 * LARGEST_NUMBER, -2 * LARGEST_NUMBER, 3e38])
def test_numbers_whose_products_leave_the_range_are_named(number: float) -> None:
    warnings.simplefilter("error")
    vectors = np.full((4, 3), LARGEST_NUMBER, dtype=np.float32)
    assert np.isfinite(vectors @ vectors.T).all()
    as_vectors(vectors)
    vectors[2, 0] = number
    with pytest.raises(
        InvalidArgumentError, match=r"^X\[2\]: expected numbers of at most 1\.126e\+15"
    ) as raised:
        as_vectors(vectors)
    assert not isinstance(raised.value, NonFiniteError)


def test_the_largest_halves_are_taken() -> None:
    vectors = np.full((2, 3), np.finfo(np.float16).max, dtype=np.float16)
    assert first_out_of_range(vectors) is None
    assert first_out_of_range(vectors[:0]) is None
    assert first_out_of_range(vectors, 1e4) == 0
    assert first_out_of_range(vectors / 64, 1e4) is None
