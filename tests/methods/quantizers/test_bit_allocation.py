from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embplug.methods import BitAllocationQuantizer
from embplug.methods.quantizers.bit_allocation import byte_widths, fill_bytes, integer_bits, water_filling
from embplug.methods.quantizers.byte_tables import lloyd_max

variances = st.lists(st.floats(0, 100), min_size=1, max_size=40).map(lambda v: np.sort(v)[::-1])


@given(variances, st.integers(1, 20))
def test_water_filling_spends_the_budget_and_equalises_the_error(found: np.ndarray, size: int) -> None:
    bits = water_filling(found, 8 * size)
    real = found > 1e-9 * found.max()
    assert (bits >= 0).all() and (bits <= 8).all()
    assert bits.sum() == pytest.approx(min(8 * size, 8 * real.sum() if found.max() > 0 else 0), abs=1e-3)
    errors = (found * 0.25**bits)[(bits > 1e-6) & (bits < 8 - 1e-6)]
    if errors.size:
        np.testing.assert_allclose(errors, errors[0], rtol=1e-3)


@given(variances, st.integers(1, 20))
def test_whole_bits_never_exceed_the_budget(found: np.ndarray, size: int) -> None:
    bits = integer_bits(found, 8 * size)
    assert bits.sum() <= 8 * size
    assert bits.max() <= 8


@given(variances, st.integers(1, 20))
def test_bytes_serve_consecutive_directions_and_leave_none_out(found: np.ndarray, size: int) -> None:
    bits = water_filling(found, 8 * size)
    widths = byte_widths(bits, size)
    assert len(widths) == size
    assert sum(widths) == (bits > 0).sum()
    if sum(widths) >= size:
        assert min(widths) >= 1


@given(st.lists(st.integers(0, 8), min_size=1, max_size=60), st.integers(1, 20))
def test_no_byte_holds_more_than_eight_bits(optimal_bits: list[int], size: int) -> None:
    bins, bits = fill_bytes(np.array(optimal_bits), size)
    assert len(bins) == size
    placed = [direction for directions in bins for direction in directions]
    assert len(set(placed)) == len(placed)
    assert all(sum(bits[directions]) <= 8 for directions in bins)
    assert (bits <= optimal_bits).all()


def test_lloyd_max_finds_the_levels_of_a_normal_distribution() -> None:
    values = np.random.default_rng(0).normal(size=200_000).astype(np.float32)
    np.testing.assert_allclose(lloyd_max(values, 4), [-1.51, -0.453, 0.453, 1.51], atol=0.03)


@pytest.mark.parametrize("sampled", [1, 5, 40])
def test_a_prior_codes_vectors_unlike_a_small_sample(sampled):
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((300, 32)).astype(np.float32)
    vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
    cosines = {}
    for prior in (0, 256):
        quantizer = BitAllocationQuantizer(size=16, levels="auto", prior=prior).fit(vectors[:sampled])
        decoded = quantizer.decode(quantizer.encode(vectors[100:]))
        cosines[prior] = float((decoded * vectors[100:]).sum(axis=1).mean())
        assert quantizer.sampled_ == sampled
    # Four bits a dimension keep a cosine of .99 where all directions are alike.
    assert cosines[256] > 0.97
    assert cosines[256] > cosines[0] + (0.02 if sampled < 32 else -0.01)


def test_a_large_sample_needs_no_prior_and_is_learned_jointly():
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((8192, 8)).astype(np.float32)
    joint = BitAllocationQuantizer(size=2, prior=100).fit(vectors)
    chosen = BitAllocationQuantizer(size=2, levels="auto", prior=100).fit(vectors)
    np.testing.assert_array_equal(joint.encode(vectors), chosen.encode(vectors))


@pytest.mark.parametrize("levels", ["joint", "scalar"])
@pytest.mark.parametrize("emphasis", [1.0, 1.5])
def test_what_was_learned_from_vectors_that_are_all_alike_opens(levels: str, emphasis: float) -> None:
    alike = np.full((40, 6), 0.25, dtype=np.float32)
    fitted = BitAllocationQuantizer(size=4, levels=levels, emphasis=emphasis, length="own").fit(alike)
    opened = fitted.unfitted()
    opened.set_state(fitted.get_state())
    np.testing.assert_allclose(opened.decode(opened.encode(alike)), alike, rtol=1e-5)
