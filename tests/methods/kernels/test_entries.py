from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embplug.errors import InvalidArgumentError
from embplug.methods.kernels import Kernel
from embplug.methods.kernels.entries import Entries
from embplug.methods.kernels.tables import ENTRIES
from embplug.methods.quantizers import byte_tables
from embplug.methods.quantizers.byte_tables import ByteTables


def columns_of(widths: list[int]) -> list[slice]:
    stops = np.cumsum(widths)
    return [slice(int(stop) - width, int(stop)) for stop, width in zip(stops, widths, strict=True)]


@settings(
    max_examples=40,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.function_scoped_fixture],
)
@given(
    widths=st.lists(st.integers(0, 9), min_size=1, max_size=12),
    rows=st.integers(0, 20),
    size=st.sampled_from([1e-3, 1.0, 1e6]),
    weighted=st.booleans(),
    seed=st.integers(0, 99),
)
def test_nearest_entries_are_those_of_numpy(
    kernel: Kernel, widths: list[int], rows: int, size: float, weighted: bool, seed: int
) -> None:
    generator, active = np.random.default_rng(seed), sum(widths)
    entries = (size * generator.standard_normal((ENTRIES, active))).astype(np.float32)
    vectors = (size * generator.standard_normal((rows, 2 * active))).astype(np.float32)[:, ::2]
    weights = generator.uniform(0.1, 1, active).astype(np.float32) if weighted else None
    own = Entries(entries, np.array(widths), weights)
    codes = own.nearest(kernel, vectors)
    assert codes.shape == (rows, len(widths)) and codes.dtype == np.uint8
    factors = np.ones(active) if weights is None else weights.astype(np.float64)
    for byte, columns in enumerate(columns_of(widths)):
        lost = (vectors[:, None, columns] - entries[:, columns]).astype(np.float64) * factors[columns]
        distances = np.square(lost).sum(axis=2)
        chosen = distances[np.arange(rows), codes[:, byte]]
        # Products are rounded at their own size, not at that of the distances.
        assert (chosen <= distances.min(axis=1, initial=np.inf) + 1e-5 * size**2 * (1 + widths[byte])).all()
    expected = np.concatenate(
        [np.zeros((rows, 0)), *(entries[codes[:, i], c] for i, c in enumerate(columns_of(widths)))], axis=1
    )
    np.testing.assert_array_equal(own.of(kernel, codes), expected)


def test_small_numbers_behind_large_ones_have_their_nearest_entries(kernel: Kernel) -> None:
    generator = np.random.default_rng(1)
    sizes = np.repeat([1e8, 1.0, 1e-8], 4).astype(np.float32)
    entries, vectors = (
        sizes * generator.standard_normal((count, 12)).astype(np.float32) for count in (ENTRIES, 200)
    )
    codes = Entries(entries, np.array([4, 4, 4])).nearest(kernel, vectors)
    for byte, columns in enumerate(columns_of([4, 4, 4])):
        distances = np.square((vectors[:, None, columns] - entries[:, columns]).astype(np.float64)).sum(
            axis=2
        )
        chosen = distances[np.arange(200), codes[:, byte]]
        assert (chosen <= distances.min(axis=1) + 1e-4 * float(sizes[columns][0]) ** 2).all()


@pytest.mark.parametrize("first", [0, 1, 7, 15, 16, 100, 128, 254, 255])
def test_of_equally_near_entries_the_first_is_taken(kernel: Kernel, first: int) -> None:
    entries = np.full((ENTRIES, 3), 5, dtype=np.float32)
    entries[first:] = 1
    codes = Entries(entries, np.array([3, 0])).nearest(kernel, np.ones((2, 3), dtype=np.float32))
    np.testing.assert_array_equal(codes, [[first, 0]] * 2)


@pytest.mark.parametrize("number", [np.nan, np.inf, -np.inf])
def test_numbers_that_are_not_finite_name_some_entry(kernel: Kernel, number: float) -> None:
    own = Entries(np.ones((ENTRIES, 3), dtype=np.float32), np.array([2, 1]))
    codes = own.nearest(kernel, np.full((1, 3), number, dtype=np.float32))
    assert np.isfinite(own.of(kernel, codes)).all()


@pytest.mark.parametrize("weights", [None, [1.0, 0.5, 1.0, 0.25, 1.0]])
def test_tables_encode_and_decode_alike_with_and_without_the_kernel(
    kernel: Kernel, monkeypatch: pytest.MonkeyPatch, weights: Any
) -> None:
    generator = np.random.default_rng(0)
    # Products of small integers are exact in any order.
    entries = generator.integers(-8, 9, (ENTRIES, 5)).astype(np.float32)
    vectors = generator.integers(-8, 9, (300, 5)).astype(np.float32)
    factors = None if weights is None else np.array(weights, dtype=np.float32)
    tables = ByteTables(None, entries, np.array([2, 0, 3]), weights=factors)
    results = []
    for used in (kernel, None):
        monkeypatch.setattr(byte_tables, "load", lambda used=used: used)
        codes = tables.encode(vectors)
        results.append((codes, tables.decode(codes)))
    np.testing.assert_array_equal(*(codes for codes, _ in results))
    np.testing.assert_array_equal(*(decoded for _, decoded in results))


def test_what_does_not_fit_is_refused(kernel: Kernel) -> None:
    entries = np.zeros((ENTRIES, 3), dtype=np.float32)
    own = Entries(entries, np.array([2, 1]))
    for refused, named in (
        (lambda: own.nearest(kernel, np.zeros((2, 4), np.float32)), "vectors"),
        (lambda: own.of(kernel, np.zeros((2, 3), np.uint8)), "codes"),
        (lambda: Entries(entries, np.array([2, 2])), "entries"),
        (lambda: Entries(entries[:255], np.array([2, 1])), "entries"),
        (lambda: Entries(entries, np.array([4, -1])), "widths"),
        (lambda: Entries(entries, np.array([2, 1]), np.ones(2, np.float32)), "weights"),
    ):
        with pytest.raises(InvalidArgumentError, match=rf"^{named}: "):
            refused()


def test_tables_are_learned_as_well_with_the_kernel(kernel: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    sample = np.random.default_rng(3).standard_normal((3000, 6)).astype(np.float32)
    errors, calls = [], []
    searched = Entries.nearest
    monkeypatch.setattr(Entries, "nearest", lambda *args: calls.append(1) or searched(*args))
    for used in (kernel, None):
        monkeypatch.setattr(byte_tables, "load", lambda used=used: used)
        calls.clear()
        tables = byte_tables.fit_joint(sample, [4, 0, 2], np.random.default_rng(0))
        assert bool(calls) == (used is not None)
        own = ByteTables(None, tables, np.array([4, 0, 2]))
        errors.append(float(np.square(sample - own.decode(own.encode(sample))).mean()))
    # A token that lies between two centroids may go to either, and the next rounds then differ.
    assert errors[0] == pytest.approx(errors[1], rel=0.02)
