from __future__ import annotations

import numpy as np
import pytest

from embplug.errors import DimensionError, InvalidArgumentError
from embplug.methods import BitAllocationQuantizer
from embplug.search import dense, dense_codes, reciprocal_rank_fusion, weighted_fusion
from embplug.search.types import Hit

RANKINGS = {
    "words": [Hit("a", 9.0), Hit("b", 5.0), Hit("c", 1.0)],
    "dense": [Hit("b", 0.9, {"year": 1}), Hit("d", 0.1, None, {"fde": 0.2})],
}


def test_reciprocal_ranks_are_summed() -> None:
    hits = reciprocal_rank_fusion(RANKINGS, k=1, limit=3)
    assert [hit.id for hit in hits] == ["b", "a", "d"]
    assert hits[0].score == pytest.approx(1 / 3 + 1 / 2)
    assert hits[0].payload == {"year": 1}
    assert hits[0].stages == {"words": 5.0, "dense": 0.9, "fusion": hits[0].score}
    assert hits[2].stages == {"fde": 0.2, "dense": 0.1, "fusion": hits[2].score}


def test_weights_turn_the_order() -> None:
    assert reciprocal_rank_fusion(RANKINGS, weights={"dense": 0})[0].id == "a"
    assert weighted_fusion(RANKINGS)[0].id == "b"
    assert weighted_fusion(RANKINGS, weights={"dense": 0.1})[0].id == "a"
    plain = weighted_fusion(RANKINGS, scale="none")
    assert {hit.id: hit.score for hit in plain} == pytest.approx({"a": 9, "b": 5.9, "c": 1, "d": 0.1})
    assert [hit.score for hit in weighted_fusion({"one": [Hit(1, 3.0), Hit(2, 3.0)]})] == [1.0, 1.0]
    assert weighted_fusion({"none": []}) == []


def test_wrong_weights_are_named() -> None:
    with pytest.raises(InvalidArgumentError, match="sparse"):
        reciprocal_rank_fusion(RANKINGS, weights={"sparse": 1})
    with pytest.raises(InvalidArgumentError, match="words"):
        weighted_fusion(RANKINGS, weights={"words": -1})
    with pytest.raises(InvalidArgumentError, match="k"):
        reciprocal_rank_fusion(RANKINGS, k=-1)


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
