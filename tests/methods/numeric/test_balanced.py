from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embplug.methods.numeric.balanced import OFFSET, BalancedBytes


def vectors(count: int, dim: int, seed: int, shift: float = 0.0) -> np.ndarray:
    rng = np.random.default_rng(seed)
    return (rng.standard_normal((count, dim)) + shift).astype(np.float32)


@given(st.integers(1, 200), st.integers(0, 1000), st.sampled_from([-50.0, -1.0, 0.0, 1.0, 50.0]))
def test_every_document_has_the_same_sum(dim, seed, shift):
    documents = vectors(5, dim, seed, shift)
    codes = BalancedBytes.fit(documents).documents(documents)
    assert codes.dtype == np.uint8
    assert codes.shape == (5, dim + BalancedBytes.balancing_dims(dim))
    assert codes.min() >= 1
    np.testing.assert_array_equal(codes.sum(axis=1, dtype=int), OFFSET * codes.shape[1])


@given(st.integers(1, 60), st.integers(0, 1000))
def test_unsigned_dot_products_are_the_signed_ones_and_a_constant_of_the_query(dim, seed):
    documents, queries = vectors(20, dim, seed), vectors(3, dim, seed + 1)
    coder = BalancedBytes.fit(documents)
    coded, query_codes = coder.documents(documents).astype(int), coder.queries(queries).astype(int)
    signed = (query_codes - OFFSET)[:, :dim] @ (coded - OFFSET)[:, :dim].T
    shift = query_codes @ coded.T - signed
    np.testing.assert_array_equal(shift, np.broadcast_to(shift[:, :1], shift.shape))


def test_codes_are_the_scaled_and_rounded_vectors():
    documents = vectors(50, 100, 0)
    coder = BalancedBytes.fit(documents)
    decoded = (coder.documents(documents)[:, :100].astype(float) - OFFSET) / coder.scale
    inside = np.abs(documents) < 127 / coder.scale
    assert inside.mean() > 0.98
    assert np.abs(decoded - documents)[inside].max() <= 0.5001 / coder.scale


def test_a_sum_beyond_the_balancing_dimensions_is_taken_from_the_vector_in_small_steps():
    ones = np.ones((1, 400), dtype=np.float32)
    coder = BalancedBytes(400, scale=127.0)
    codes = coder.documents(ones)[0].astype(int) - OFFSET
    assert codes.sum() == 0
    assert (codes[400:] == -127).all()
    assert np.ptp(codes[:400]) <= 1


@given(st.integers(30, 200), st.integers(0, 1000))
def test_documents_are_brought_to_one_length_and_queries_do_not_notice(dim, seed):
    lengths = np.linspace(0.7, 1.3, 60, dtype=np.float32)[:, None]
    before, after = [], []
    # Of some samples more documents have sums that leave no room, so the share is that of several samples.
    for sample in range(seed, seed + 8):
        documents = lengths * vectors(60, dim, sample)
        coder = BalancedBytes.fit(documents, one_length=True)
        coded = coder.documents(documents).astype(int) - OFFSET
        assert not coded.sum(axis=1).any()
        assert np.abs(coded).max() <= 127
        before.append(np.abs(np.linalg.norm(documents, axis=1) / coder.length - 1) < 0.03)
        after.append(np.abs(np.linalg.norm(coded, axis=1) / coder.scale / coder.length - 1) < 0.03)
    assert np.mean(before) < 0.3
    assert np.mean(after) > 0.85
    assert not (coder.queries(vectors(3, dim, seed + 1)).astype(int) - OFFSET)[:, dim:].any()


def test_zeros_stay_zeros():
    zeros = np.zeros((2, 9), dtype=np.float32)
    coder = BalancedBytes.fit(zeros)
    assert BalancedBytes.fit(zeros, one_length=True) == coder
    assert (BalancedBytes(9, 1.0, length=50.0).documents(zeros) == OFFSET).all()
    assert (coder.documents(zeros) == OFFSET).all()
    assert (coder.queries(zeros) == OFFSET).all()


@pytest.mark.parametrize("factor", [1e-6, 1.0, 1e6])
def test_a_query_is_coded_at_its_own_scale(factor):
    query, coder = vectors(1, 30, 0), BalancedBytes(30, 1.0)
    scaled = coder.queries(query * np.float32(factor))
    np.testing.assert_array_equal(scaled, coder.queries(query))
    assert np.abs(scaled.astype(int) - OFFSET).max() == 127
