"""What some quantizers promise beyond the contract of all methods."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from embplug.methods import (
    BinaryQuantizer,
    BitAllocationQuantizer,
    ResidualQuantizer,
)


def vectors(count: int, dim: int, seed: int = 0) -> NDArray[np.float32]:
    generator = np.random.default_rng(seed)
    spread = generator.normal(size=(count, dim)) * np.linspace(2, 0.1, dim)
    clustered = spread + 3 * generator.normal(size=(5, dim))[generator.integers(0, 5, count)]
    return (clustered / np.linalg.norm(clustered, axis=1, keepdims=True)).astype(np.float32)


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
