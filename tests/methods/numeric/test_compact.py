"""What is learned takes one or two bytes a number, and what was stored in four still opens."""

from __future__ import annotations

import numpy as np
import pytest

from embplug.errors import StateError
from embplug.methods import BitAllocationQuantizer, PredictiveQuantizer, ResidualQuantizer
from embplug.methods.numeric.compact import (
    columns_of,
    compact_state,
    directions_in_bytes,
    halved,
    in_nibbles,
    orthonormal,
    restored,
    rounded_to_bytes,
)
from embplug.methods.token_batch import TokenBatch
from embplug.methods.token_codes import predictive

DIM = 24


def vectors(count: int = 600) -> np.ndarray:
    rng = np.random.default_rng(0)
    mixed = rng.standard_normal((count, DIM)) @ rng.standard_normal((DIM, DIM))
    return (mixed / np.linalg.norm(mixed, axis=1, keepdims=True)).astype(np.float32)


@pytest.mark.parametrize("scale", [1e-7, 1.0, 1e6])
def test_numbers_that_float16_cannot_hold_stay_float32(scale):
    array = np.array([[0.25, -1.0], [0.5, 0.125]]) * scale
    assert halved(array).dtype == (np.float16 if scale == 1 else np.float32)
    np.testing.assert_allclose(halved(array).astype(float), array, rtol=1e-6)


def test_rounded_directions_are_at_right_angles_again():
    directions = np.linalg.qr(np.random.default_rng(0).standard_normal((96, 40)))[0]
    stored = directions_in_bytes(directions)
    rounded = stored / np.linalg.norm(stored, axis=0)
    straight = orthonormal(stored).astype(np.float64)
    assert np.abs(rounded.T @ rounded - np.eye(40)).max() > 1e-4
    assert np.abs(straight.T @ straight - np.eye(40)).max() < 1e-5
    assert stored.dtype == np.int8
    # The rounding of the largest number of a column, twice.
    assert np.abs(straight - directions).max() < np.abs(directions).max() / 127


@pytest.mark.parametrize("dim", [300, 500, 700])
def test_directions_that_bytes_would_skew_stay_float32(dim):
    # A reflection has ones in its diagonal, and beside it the same small number everywhere.
    reflection = np.eye(dim) - 2 / dim
    straight = orthonormal(directions_in_bytes(reflection)).astype(np.float64)
    assert np.abs(straight.T @ straight - np.eye(dim)).max() < 1e-5


def test_no_directions_are_none():
    assert directions_in_bytes(np.zeros((7, 0))).shape == (7, 0)


@pytest.mark.parametrize(
    "quantizer",
    [
        BitAllocationQuantizer(size=12, levels="scalar"),
        BitAllocationQuantizer(size=12),
        ResidualQuantizer(size=8, centroids=16),
    ],
)
def test_a_state_in_float32_opens_and_means_the_same(quantizer):
    fitted = quantizer.fit(vectors())
    state = fitted.get_state()
    assert (state["rotation"].dtype, state["tables"].dtype) == (np.int8, np.float16)
    earlier = {**state, "rotation": fitted.tables_.rotation, "tables": fitted.tables_.tables}
    opened = quantizer.unfitted()
    opened.set_state(earlier)
    assert opened.get_state()["rotation"].dtype == np.float32
    np.testing.assert_array_equal(opened.encode(vectors()), fitted.encode(vectors()))
    again = quantizer.unfitted()
    again.set_state(opened.get_state())
    np.testing.assert_array_equal(
        again.decode(fitted.encode(vectors())), fitted.decode(fitted.encode(vectors()))
    )


def test_predictive_codes_are_the_same_after_a_restart():
    tokens = TokenBatch(vectors(), np.arange(0, 601, 12))
    fitted = PredictiveQuantizer(size=12, centroids=32).fit(tokens)
    state = fitted.get_state()
    in_bytes = [name for name, array in state.items() if array.dtype == np.int8]
    assert "0.tables" in in_bytes
    assert state["centroids"].dtype == np.uint8 and state["centroids"].shape == (32, DIM // 2)
    assert state["directions"].dtype == np.int8
    opened = PredictiveQuantizer(size=12, centroids=32)
    opened.set_state(state)
    assert opened.encode(tokens) == fitted.encode(tokens)


def test_centroids_are_unpacked_when_they_are_used_and_once(monkeypatch):
    tokens = TokenBatch(vectors(), np.arange(0, 601, 12))
    fitted = PredictiveQuantizer(size=12, centroids=32).fit(tokens)
    state, strings, unpacked = fitted.get_state(), fitted.encode(tokens), []

    def counted(arrays, name, axis):
        unpacked.append(name)
        return restored(arrays, name, axis)

    monkeypatch.setattr(predictive, "restored", counted)
    opened = PredictiveQuantizer(size=12, centroids=32)
    opened.set_state(state)
    assert opened.fitted_dim == DIM and not unpacked
    assert opened.encode(tokens) == strings
    opened.maxsim(vectors(4), strings)
    opened.centroid_codes()
    assert unpacked == ["centroids"]


@pytest.mark.parametrize("dim", [DIM - 1, DIM + 2])
def test_centroids_of_other_dimensions_are_refused(dim):
    fitted = PredictiveQuantizer(size=12, centroids=32).fit(TokenBatch(vectors(), np.arange(0, 601, 12)))
    others = in_nibbles("centroids", np.random.default_rng(0).standard_normal((32, dim)))
    with pytest.raises(StateError, match=f"'centroids' .*expected {DIM} dimensions, got {dim}"):
        PredictiveQuantizer(size=12, centroids=32).set_state({**fitted.get_state(), **others})


def test_tables_in_half_a_byte_are_refused():
    fitted = PredictiveQuantizer(size=12, centroids=32).fit(TokenBatch(vectors(), np.arange(0, 601, 12)))
    state = fitted.get_state()
    packed = in_nibbles("0.tables", restored(state, "0.tables", axis=0))
    with pytest.raises(StateError, match=r"0\.tables"):
        PredictiveQuantizer(size=12, centroids=32).set_state({**state, **packed})


def test_what_was_rounded_to_bytes_is_stored_in_bytes_and_not_rounded_again():
    array = np.random.default_rng(0).standard_normal((40, 6)).astype(np.float32) * np.float32(1e-3)
    rounded = rounded_to_bytes(array, axis=0)
    assert np.abs(rounded - array).max() <= np.abs(array).max() / 127
    np.testing.assert_array_equal(rounded_to_bytes(rounded, axis=0), rounded)
    state = compact_state("array", rounded, axis=0)
    assert state["array"].dtype == np.int8 and state["array_scales"].shape == (6,)
    assert columns_of(state, "array") == 6
    np.testing.assert_array_equal(restored(state, "array", axis=0), rounded)


@pytest.mark.parametrize("scale", [1e-30, 1.0, 1e6])
@pytest.mark.parametrize("dim", [1, 6, 7])
def test_numbers_in_half_a_byte(dim, scale):
    array = np.random.default_rng(dim).standard_normal((40, dim)).astype(np.float32) * np.float32(scale)
    array[3] = 0
    state = in_nibbles("array", array)
    assert state["array"].dtype == np.uint8 and state["array"].shape == (40, -(-dim // 2))
    rounded = restored(state, "array", axis=1)
    assert rounded.shape == array.shape and not rounded[3].any() and columns_of(state, "array") == dim
    # Seven steps to the largest number, which is off by half of a step, or by what is clipped of it.
    assert (np.abs(rounded - array) <= np.abs(array).max(axis=1, keepdims=True) / 2).all()
    assert np.abs(rounded - array).mean() < np.abs(array).mean() / 8


def test_no_rows_in_half_a_byte():
    assert restored(in_nibbles("array", np.zeros((0, 5))), "array", axis=1).shape[0] == 0


def test_what_bytes_do_not_hold_is_stored_in_float16():
    array = np.random.default_rng(0).standard_normal((40, 6)).astype(np.float32)
    state = compact_state("array", array, axis=1)
    assert list(state) == ["array"] and state["array"].dtype == np.float16 and columns_of(state, "array") == 6


@pytest.mark.parametrize(("size", "dtype"), [(4, np.int8), (32, np.float16)])
def test_entries_are_in_bytes_where_the_codes_lose_much_more_than_that(size, dtype):
    # 32 bytes for 32 dimensions: 256 levels of a single one stand closer together than bytes do.
    tables = BitAllocationQuantizer(size=size).fit(vectors()).tables_
    assert tables.in_bytes(vectors()).get_state()["tables"].dtype == dtype
