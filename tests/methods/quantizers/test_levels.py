from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embplug.errors import NotFittedError
from embplug.methods.quantizers.power import PowerQuantizer
from embplug.methods.quantizers.pyramid import PyramidQuantizer, on_pyramid
from tests.methods.quantizers.checks import check_contract, sample_of

KINDS = [PowerQuantizer, PyramidQuantizer]


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=20, deadline=None)
@given(
    dim=st.integers(1, 19),
    bits=st.integers(2, 8),
    count=st.integers(1, 40),
    unit=st.booleans(),
    rotate=st.booleans(),
)
def test_contract(kind, dim: int, bits: int, count: int, unit: bool, rotate: bool) -> None:
    check_contract(kind(bits=bits, rotate=rotate), sample_of(count, dim, unit=unit))


@pytest.mark.parametrize("kind", KINDS)
def test_more_bits_lose_less(kind) -> None:
    sample = sample_of(200, 24)
    losses = []
    for bits in (2, 4, 6, 8):
        quantizer = kind(bits=bits).fit(sample)
        losses.append(np.square(quantizer.decode(quantizer.encode(sample)) - sample).mean())
    assert losses == sorted(losses, reverse=True)
    assert losses[-1] < 1e-3 * np.square(sample).mean()


@settings(max_examples=50, deadline=None)
@given(dim=st.integers(1, 30), pulses=st.integers(1, 100), seed=st.integers(0, 99))
def test_pulses_sum_to_what_was_asked(dim: int, pulses: int, seed: int) -> None:
    vectors = sample_of(5, dim, seed)
    placed = on_pyramid(vectors, pulses, largest=127)
    assert (np.abs(placed).sum(axis=1) == min(pulses, 127 * dim)).all()
    assert (placed * vectors >= 0).all()


def test_one_pulse_more_or_less_elsewhere_would_not_be_closer() -> None:
    vectors = np.abs(sample_of(20, 6))
    scaled = vectors * (9 / vectors.sum(axis=1, keepdims=True))
    placed = on_pyramid(vectors, 9, largest=127)
    error = np.square(placed - scaled).sum(axis=1)
    for giver in range(6):
        for taker in range(6):
            moved = placed.copy()
            moved[:, giver] -= 1
            moved[:, taker] += 1
            possible = moved.min(axis=1) >= 0
            assert (np.square(moved - scaled).sum(axis=1) >= error - 1e-9)[possible].all()


def test_the_exponent_is_searched() -> None:
    heavy = np.random.default_rng(0).standard_cauchy((300, 8)).astype(np.float32)
    even = np.random.default_rng(0).uniform(-1, 1, (300, 8)).astype(np.float32)
    assert (
        PowerQuantizer(rotate=False).fit(heavy).exponent_ < PowerQuantizer(rotate=False).fit(even).exponent_
    )


@pytest.mark.parametrize("kind", KINDS)
def test_use_before_fit_is_an_error(kind) -> None:
    for use in (lambda q: q.encode(np.zeros((1, 4))), lambda q: q.describe(), lambda q: q.dim):
        with pytest.raises(NotFittedError):
            use(kind())
