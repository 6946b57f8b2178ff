"""Rankings that are fused in this process, against sums by hand and against Qdrant's own fusion."""

from __future__ import annotations

from collections.abc import Callable
from statistics import fmean, pstdev, stdev

import pytest
from qdrant_client import QdrantClient, models

from embplug.errors import InvalidArgumentError
from embplug.search import reciprocal_rank_fusion, weighted_fusion, z_score_fusion
from embplug.search.fusion import distribution_based_fusion
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


def test_a_document_that_comes_twice_in_a_ranking_is_counted_twice() -> None:
    twice = {"words": [Hit("a", 4.0), Hit("b", 3.0), Hit("a", 2.0)], "dense": [Hit("b", 1.5)]}
    hits = weighted_fusion(twice, scale="none", weights={"words": 2})
    assert [(hit.id, hit.score) for hit in hits] == [("a", 12.0), ("b", 7.5)]


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


def test_a_limit_cuts_the_fused_ranking_and_not_what_is_fused() -> None:
    whole = weighted_fusion(RANKINGS)
    assert weighted_fusion(RANKINGS, limit=2) == whole[:2]
    assert reciprocal_rank_fusion({}) == []


def test_distributions_are_brought_to_one_scale_by_their_deviations() -> None:
    hits = distribution_based_fusion(RANKINGS, weights={"dense": 2.0})
    expected = {hit.id: 0.0 for ranking in RANKINGS.values() for hit in ranking}
    for name, weight in (("words", 1.0), ("dense", 2.0)):
        scores = [hit.score for hit in RANKINGS[name]]
        low, wide = fmean(scores) - 3 * stdev(scores), 6 * stdev(scores)
        for hit in RANKINGS[name]:
            expected[hit.id] += weight * (hit.score - low) / wide
    assert {hit.id: hit.score for hit in hits} == pytest.approx(expected)
    assert [hit.score for hit in hits] == pytest.approx(sorted(expected.values(), reverse=True))


def test_scores_without_a_spread_are_in_the_middle_of_their_distribution() -> None:
    assert [hit.score for hit in distribution_based_fusion({"one": [Hit(1, 3.0)]})] == [0.5]
    assert [hit.score for hit in distribution_based_fusion({"same": [Hit(1, 3.0), Hit(2, 3.0)]})] == [
        0.5,
        0.5,
    ]
    assert distribution_based_fusion({"none": []}) == []


def test_standard_scores_above_the_mean_are_summed() -> None:
    hits = z_score_fusion(RANKINGS, weights={"dense": 2.0})
    words, dense = [9.0, 5.0, 1.0], [0.9, 0.1, 0.0]
    expected = {
        "a": (9.0 - fmean(words)) / pstdev(words),
        "b": 2 * (0.9 - fmean(dense)) / pstdev(dense),
        "c": 0.0,
        "d": 0.0,
    }
    assert {hit.id: hit.score for hit in hits} == pytest.approx(expected)
    assert [hit.id for hit in hits] == ["b", "a", "c", "d"]
    assert z_score_fusion({"none": []}) == []


def test_the_only_document_with_a_word_outweighs_the_best_of_many() -> None:
    dense = [Hit(i, 0.9 - 0.01 * i) for i in range(50)]
    hits = z_score_fusion({"dense": dense, "sparse": [Hit(49, 0.5)]})
    assert [hit.id for hit in hits[:2]] == [49, 0]


def test_a_ranking_of_equal_scores_decides_nothing() -> None:
    equal = [Hit(i, 0.1) for i in range(3)]
    hits = z_score_fusion({"equal": equal, "dense": [Hit(2, 3.0), Hit(0, 1.0), Hit(1, 1.0)]})
    assert hits[0].id == 2 and [hit.score for hit in z_score_fusion({"equal": equal})] == [0.0] * 3


def test_documents_that_a_ranking_of_negative_scores_lacks_are_not_better_than_its_last() -> None:
    longer = [Hit(i, 1.0) for i in range(4)]
    hits = z_score_fusion({"negative": [Hit(0, -1.0), Hit(1, -5.0)], "longer": longer})
    assert {hit.id: hit.score for hit in hits} == pytest.approx({0: 3**0.5, 1: 0.0, 2: 0.0, 3: 0.0})


@pytest.mark.parametrize("fuse", [weighted_fusion, z_score_fusion, distribution_based_fusion])
def test_the_nearest_by_distance_counts_most(fuse: Callable[..., list[Hit]]) -> None:
    distances = [Hit("near", 0.1), Hit("middle", 0.3), Hit("far", 0.9)]
    negated = [Hit(hit.id, -hit.score) for hit in distances]
    hits = fuse({"euclid": distances})
    assert [hit.id for hit in hits] == ["near", "middle", "far"]
    scores = {hit.id: hit.score for hit in fuse({"euclid": negated})}
    assert {hit.id: hit.score for hit in hits} == pytest.approx(scores)


@pytest.mark.parametrize("fusion", [models.Fusion.RRF, models.Fusion.DBSF])
def test_fused_here_or_by_the_engine_is_the_same_ranking(
    memory_client: QdrantClient, fusion: models.Fusion
) -> None:
    line = models.VectorParams(size=1, distance=models.Distance.DOT)
    memory_client.create_collection("lines", vectors_config={"a": line, "b": line})
    values = {1: (9.0, 1.0), 2: (5.0, 8.0), 3: (1.0, 3.0), 4: (4.0, 2.0)}
    points = [models.PointStruct(id=i, vector={"a": [a], "b": [b]}) for i, (a, b) in values.items()]
    memory_client.upsert("lines", points)
    prefetch = [models.Prefetch(query=[1.0], using=name, limit=4) for name in "ab"]
    found = memory_client.query_points(
        "lines", prefetch=prefetch, query=models.FusionQuery(fusion=fusion), limit=4
    ).points
    rankings = {
        name: sorted((Hit(i, pair[place]) for i, pair in values.items()), key=lambda hit: -hit.score)
        for place, name in enumerate("ab")
    }
    fuse = distribution_based_fusion if fusion is models.Fusion.DBSF else reciprocal_rank_fusion
    hits = fuse(rankings)
    assert [hit.id for hit in hits] == [point.id for point in found]
    if fusion is models.Fusion.DBSF:
        assert [hit.score for hit in hits] == pytest.approx([point.score for point in found], abs=1e-5)
