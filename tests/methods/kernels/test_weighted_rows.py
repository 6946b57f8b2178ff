"""Weighted sums of rows of bytes, and products with such rows, beside numpy."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from embplug.errors import InvalidArgumentError
from embplug.methods.encodings import scaled_rows
from embplug.methods.encodings.scaled_rows import FEW, ScaledRows
from embplug.methods.kernels import Kernel
from embplug.methods.kernels.weighted_rows import weighted_rows


@pytest.mark.parametrize(("rows", "columns"), [(0, 5), (1, 1), (7, 16), (8, 33), (21, 70)])
def test_sums_are_those_of_numpy(kernel: Kernel, rows: int, columns: int) -> None:
    rng = np.random.default_rng(rows)
    codes = rng.integers(-127, 128, (rows, columns)).astype(np.int8)
    weights = rng.integers(-9, 10, (3, rows)).astype(np.float32)
    # Whole numbers, so that no order of the sums rounds them.
    expected = weights.astype(np.int64) @ codes.astype(np.int64)
    np.testing.assert_array_equal(weighted_rows(kernel, codes, weights), expected)


def test_other_weights_and_codes_are_refused(kernel: Kernel) -> None:
    codes = np.ones((4, 6), np.int8)
    with pytest.raises(InvalidArgumentError, match=r"^weights: "):
        weighted_rows(kernel, codes, np.ones((1, 3), np.float32))
    with pytest.raises(InvalidArgumentError, match=r"^codes: "):
        weighted_rows(kernel, codes.T, np.ones((1, 6), np.float32))


def with_and_without_the_kernel(compute: Callable[[], Any], monkeypatch: pytest.MonkeyPatch) -> Any:
    compiled = compute()
    monkeypatch.setattr(scaled_rows, "load", lambda: None)
    return compiled, compute()


ROWS = np.random.default_rng(0).standard_normal((70, 9)).astype(np.float32)


@pytest.mark.parametrize("count", [0, 1, 8, 33, 70])
def test_products_are_the_same_with_and_without_the_kernel(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    points = np.random.default_rng(count).standard_normal((count, 9)).astype(np.float32)
    rows = ScaledRows.round(ROWS)
    compiled, plain = with_and_without_the_kernel(lambda: rows.products(points), monkeypatch)
    np.testing.assert_allclose(plain, compiled, rtol=1e-6, atol=1e-7)
    # Each factor is off by at most half a step, of which there are 127 to its largest number.
    largest = np.abs(ROWS).max(axis=1)[:, None] * np.abs(points).max(axis=1)
    assert (np.abs(compiled - ROWS @ points.T) <= 9 * largest * (1 / 127 + 0.25 / 127**2)).all()
    exact = ScaledRows.exact(ROWS).products(points)
    np.testing.assert_allclose(exact, ROWS @ points.T, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("count", [1, FEW, FEW + 1])
def test_weighted_sums_are_the_same_with_and_without_the_kernel(
    count: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    weights = np.random.default_rng(count).standard_normal((count, 70)).astype(np.float32)
    rows = ScaledRows.round(ROWS)
    compiled, plain = with_and_without_the_kernel(lambda: rows.weighted_sums(weights), monkeypatch)
    np.testing.assert_allclose(plain, compiled, rtol=1e-4, atol=1e-4)
