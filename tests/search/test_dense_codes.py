"""Scores of one query vector, against numpy."""

from __future__ import annotations

import numpy as np
import pytest

from embplug.errors import DimensionError
from embplug.methods import BitAllocationQuantizer
from embplug.search import dense, dense_codes


def test_dense_scores_and_codes() -> None:
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(20, 6)).astype(np.float32)
    query = generator.normal(size=6).astype(np.float32)
    np.testing.assert_allclose(dense(query, vectors, "dot"), vectors @ query, rtol=1e-5)
    cosines = vectors @ query / np.linalg.norm(vectors, axis=1) / np.linalg.norm(query)
    np.testing.assert_allclose(dense(query, vectors), cosines, rtol=1e-5)
    distances = np.linalg.norm(vectors - query, axis=1)
    np.testing.assert_allclose(dense(query, vectors, "euclid"), -distances, rtol=1e-5)
    assert dense(query, np.zeros((1, 6))).tolist() == [0.0]
    with pytest.raises(DimensionError):
        dense(query, vectors[:, :5])
    quantizer = BitAllocationQuantizer(size=6, length="own").fit(vectors)
    codes = quantizer.encode(vectors)
    np.testing.assert_allclose(
        dense_codes(quantizer, query, codes), quantizer.decode(codes) @ query, atol=1e-5
    )
