from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embplug.errors import InvalidArgumentError, NotFittedError
from embplug.methods.numeric.rows import unit_rows
from embplug.methods.quantizers.product import OptimizedProductQuantizer, ProductQuantizer
from tests.methods.quantizers.checks import check_contract, sample_of

KINDS = [ProductQuantizer, OptimizedProductQuantizer]


@pytest.mark.parametrize("kind", KINDS)
@settings(max_examples=12, deadline=None)
@given(
    dim=st.integers(3, 19),
    subspaces=st.integers(1, 3),
    bits=st.sampled_from([1, 3, 4, 8]),
    count=st.integers(1, 50),
    unit=st.booleans(),
)
def test_contract(kind, dim: int, subspaces: int, bits: int, count: int, unit: bool) -> None:
    quantizer = kind(subspaces=subspaces, bits=bits, iterations=3)
    check_contract(quantizer, sample_of(count, dim, unit=unit))


@pytest.mark.parametrize("kind", KINDS)
def test_fewer_samples_than_centroids_is_named_and_exact(kind) -> None:
    sample = sample_of(20, 8)
    quantizer = kind(subspaces=2, rescale=False).fit(sample)
    assert "20 centroids instead of 256" in quantizer.describe().notes[0]
    np.testing.assert_allclose(quantizer.decode(quantizer.encode(sample)), sample, atol=1e-4)


def test_more_subspaces_than_dimensions_is_an_error() -> None:
    with pytest.raises(InvalidArgumentError, match=r"^subspaces"):
        ProductQuantizer(9).fit(sample_of(20, 8))


def test_use_before_fit_is_an_error() -> None:
    for use in (lambda q: q.encode(np.zeros((1, 4))), lambda q: q.describe(), lambda q: q.dim):
        with pytest.raises(NotFittedError):
            use(ProductQuantizer(2))


def test_vectors_of_one_length_decode_to_that_length() -> None:
    sample = 3 * unit_rows(sample_of(400, 16))
    quantizer = ProductQuantizer(4, bits=4).fit(sample)
    np.testing.assert_allclose(
        np.linalg.norm(quantizer.decode(quantizer.encode(sample)), axis=1), 3, rtol=1e-4
    )


def test_the_optimized_one_loses_less() -> None:
    sample = sample_of(600, 16)
    losses = []
    for kind in KINDS:
        quantizer = kind(subspaces=4, bits=4, rescale=False).fit(sample)
        losses.append(np.square(quantizer.decode(quantizer.encode(sample)) - sample).mean())
    assert losses[1] < losses[0]
