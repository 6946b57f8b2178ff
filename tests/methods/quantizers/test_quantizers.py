"""What holds for every quantizer of this package, each at a few settings."""

from __future__ import annotations

import copy
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from numpy.typing import NDArray

from embplug.errors import DimensionError, InvalidArgumentError, NonFiniteError, NotFittedError, StateError
from embplug.methods import (
    BinaryQuantizer,
    BitAllocationQuantizer,
    CentroidQuantizer,
    Quantizer,
    ResidualQuantizer,
)

QUANTIZERS: dict[str, Quantizer] = {
    "centroids": CentroidQuantizer(count=16),
    "centroids-two-bytes": CentroidQuantizer(count=700),
    "bit-allocation": BitAllocationQuantizer(size=4),
    "bit-allocation-scalar": BitAllocationQuantizer(size=4, levels="scalar"),
    "bit-allocation-own-length": BitAllocationQuantizer(size=4, length="own"),
    "bit-allocation-decoded": BitAllocationQuantizer(size=4, length="decoded"),
    "residual": ResidualQuantizer(size=5, centroids=8),
    "residual-scalar": ResidualQuantizer(size=5, centroids=8, levels="scalar"),
    "residual-bits": ResidualQuantizer(bits=2, centroids=8),
    "residual-many": ResidualQuantizer(size=4, centroids=600),
    "residual-one-bit": ResidualQuantizer(bits=1, centroids=1),
    "binary": BinaryQuantizer(),
    "binary-rotated": BinaryQuantizer(rotate=True),
    "binary-uncentred": BinaryQuantizer(center=False),
}
every = pytest.mark.parametrize("name", QUANTIZERS)


def vectors(count: int, dim: int, seed: int = 0) -> NDArray[np.float32]:
    generator = np.random.default_rng(seed)
    spread = generator.normal(size=(count, dim)) * np.linspace(2, 0.1, dim)
    made = spread + 3 * generator.normal(size=(5, dim))[generator.integers(0, 5, count)]
    return (made / np.linalg.norm(made, axis=1, keepdims=True)).astype(np.float32)


def fitted(name: str, sample: NDArray[np.float32]) -> Quantizer:
    return copy.deepcopy(QUANTIZERS[name]).fit(sample)


@every
@settings(max_examples=5, deadline=None)
@given(st.integers(1, 60), st.integers(3, 21), st.integers(0, 100))
def test_scores_are_products_with_what_the_codes_decode_to(
    name: str, count: int, dim: int, seed: int
) -> None:
    sample = vectors(count, dim, seed)
    quantizer = fitted(name, sample)
    codes = quantizer.encode(sample)
    assert codes.shape == (count, quantizer.code_bytes)
    assert codes.dtype == np.uint8
    decoded = quantizer.decode(codes)
    assert decoded.shape == sample.shape
    assert decoded.dtype == np.float32
    queries = vectors(4, dim, seed + 1)
    scores = quantizer.score(quantizer.encode_query(queries), codes)
    assert scores.dtype == np.float32
    np.testing.assert_allclose(scores, decoded @ queries.T, atol=2e-5)
    alone = quantizer.score(quantizer.encode_query(queries[0]), codes)
    np.testing.assert_allclose(alone, scores[:, 0], atol=1e-6)


@every
def test_a_restored_quantizer_gives_the_same_bytes(name: str) -> None:
    sample = vectors(300, 12)
    quantizer = fitted(name, sample)
    restored = copy.deepcopy(QUANTIZERS[name])
    restored.set_state(quantizer.get_state())
    np.testing.assert_array_equal(restored.encode(sample), quantizer.encode(sample))
    query = quantizer.encode_query(sample[:3])
    codes = quantizer.encode(sample)
    np.testing.assert_array_equal(
        restored.score(restored.encode_query(sample[:3]), codes), quantizer.score(query, codes)
    )
    assert restored.describe() == quantizer.describe()


@every
def test_the_same_seed_gives_the_same_bytes(name: str) -> None:
    sample = vectors(300, 12)
    np.testing.assert_array_equal(fitted(name, sample).encode(sample), fitted(name, sample).encode(sample))


@every
@pytest.mark.parametrize("sample", [np.zeros((5, 9)), np.full((40, 9), 1 / 3), np.eye(9)[:1]])
def test_constant_and_single_vectors_stay_finite(name: str, sample: NDArray[Any]) -> None:
    quantizer = fitted(name, sample.astype(np.float32))
    decoded = quantizer.decode(quantizer.encode(sample))
    assert np.isfinite(decoded).all()
    if name != "centroids-two-bytes":
        np.testing.assert_allclose(decoded, sample, atol=2e-3)


@every
def test_vectors_that_cannot_be_used_are_refused(name: str) -> None:
    sample = vectors(100, 8)
    with pytest.raises(NotFittedError):
        copy.deepcopy(QUANTIZERS[name]).encode(sample)
    with pytest.raises(InvalidArgumentError):
        copy.deepcopy(QUANTIZERS[name]).fit(sample[:0])
    quantizer = fitted(name, sample)
    with pytest.raises(DimensionError):
        quantizer.encode(sample[:, :7])
    with pytest.raises(DimensionError):
        quantizer.decode(np.zeros((2, quantizer.code_bytes + 1), np.uint8))
    broken = sample.copy()
    broken[3, 2] = np.nan
    with pytest.raises(NonFiniteError, match=r"X\[3\]"):
        quantizer.encode(broken)
    with pytest.raises(StateError):
        quantizer.set_state({"other": np.zeros(1)})


@every
def test_the_state_before_fitting_is_empty_and_can_be_set(name: str) -> None:
    sample = vectors(100, 8)
    unfitted = copy.deepcopy(QUANTIZERS[name])
    assert unfitted.get_state() == {}
    quantizer = fitted(name, sample)
    quantizer.set_state(unfitted.get_state())
    assert quantizer.get_state() == {}
    with pytest.raises(NotFittedError):
        quantizer.encode(sample)


@every
def test_a_description_states_the_bytes(name: str) -> None:
    quantizer = fitted(name, vectors(300, 12))
    description = quantizer.describe()
    assert description.code_bytes == quantizer.code_bytes
    assert description.state_bytes > 0
    assert description.exact_queries
    assert description.to_dict()["ratio"] == 48 / quantizer.code_bytes


@pytest.mark.parametrize("name", ["centroids", "residual", "bit-allocation"])
def test_too_few_vectors_are_named(name: str) -> None:
    assert "5 vectors" in fitted(name, vectors(5, 8)).describe().notes[0]


def test_costs_are_those_of_the_levels() -> None:
    sample = vectors(300, 12)
    joint, scalar = (
        BitAllocationQuantizer(size=4, levels=levels).fit(sample) for levels in ("joint", "scalar")
    )
    assert "256 means" in joint.describe().fit_cost and "256 means" not in scalar.describe().fit_cost
    bits = ResidualQuantizer(centroids=8, bits=2).fit(sample).describe().fit_cost
    assert "256 means" not in bits and "eigen" not in bits


def test_more_bytes_lose_less() -> None:
    sample = vectors(3000, 32)
    for levels in ("joint", "scalar"):
        errors = []
        for size in (3, 6, 12):
            quantizer = BitAllocationQuantizer(size=size, levels=levels, length="decoded").fit(sample)
            errors.append(np.square(quantizer.decode(quantizer.encode(sample)) - sample).sum())
        assert errors == sorted(errors, reverse=True)


@pytest.mark.parametrize("dim", [5, 16, 130])
@pytest.mark.parametrize("rotate", [False, True])
def test_whole_numbers_in_queries_change_scores_by_their_rounding_alone(dim: int, rotate: bool) -> None:
    sample, queries = vectors(300, dim), vectors(6, dim, 1)
    exact = BinaryQuantizer(rotate=rotate).fit(sample)
    rounded = BinaryQuantizer(rotate=rotate, queries="int8").fit(sample)
    codes = exact.encode(sample)
    np.testing.assert_array_equal(rounded.encode(sample), codes)
    prepared = rounded.encode_query(queries)
    assert prepared.parts.products.dtype == np.int16
    scores = rounded.score(prepared, codes)
    np.testing.assert_allclose(scores, exact.score(exact.encode_query(queries), codes), atol=0.02)
    assert not rounded.describe().exact_queries and exact.describe().exact_queries
    np.testing.assert_allclose(
        rounded.score(rounded.encode_query(queries[2]), codes), scores[:, 2], atol=1e-6
    )


def test_sums_of_whole_numbers_stay_within_16_bits() -> None:
    sample = np.random.default_rng(0).choice([-1.0, 1.0], (50, 2048)).astype(np.float32)
    coded = BinaryQuantizer(center=False, queries="int8").fit(sample)
    codes = coded.encode(sample)
    scores = coded.score(coded.encode_query(sample[:3]), codes)
    np.testing.assert_allclose(scores, sample @ sample[:3].T / 2048**0.5, rtol=0.02, atol=0.05)


def test_own_lengths_are_kept_and_unit_length_is_made() -> None:
    sample = vectors(500, 16) * np.random.default_rng(1).uniform(0.5, 4, (500, 1)).astype(np.float32)
    lengths = np.linalg.norm(sample, axis=1)
    own = BitAllocationQuantizer(size=6, length="own").fit(sample)
    np.testing.assert_allclose(np.linalg.norm(own.decode(own.encode(sample)), axis=1), lengths, rtol=0.05)
    unit = BitAllocationQuantizer(size=6).fit(sample)
    np.testing.assert_allclose(np.linalg.norm(unit.decode(unit.encode(sample)), axis=1), 1, rtol=1e-5)
    residual = ResidualQuantizer(size=6, centroids=64).fit(sample)
    np.testing.assert_allclose(
        np.linalg.norm(residual.decode(residual.encode(sample)), axis=1), lengths, rtol=0.1
    )
