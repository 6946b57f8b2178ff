"""Centroid ids compared by their bits."""

from __future__ import annotations

import numpy as np
import pytest

from embplug.errors import RecipeError
from embplug.methods import CentroidQuantizer
from embplug.methods.quantizers.centroid import differing_bits
from embplug.recipe import Recipe
from tests.methods.quantizers.checks import check_contract, sample_of


def test_ids_compared_by_bits_keep_the_contract():
    check_contract(CentroidQuantizer(count=16, compare="hamming"), sample_of(200, 12))


def test_ids_that_differ_in_few_bits_belong_to_close_centroids():
    sample = sample_of(3000, 16, unit=True)
    ordered = CentroidQuantizer(count=64, compare="hamming").fit(sample)
    plain = CentroidQuantizer(count=64).fit(sample)
    assert {row.tobytes() for row in ordered.centroids_} == {row.tobytes() for row in plain.centroids_}
    ids = np.arange(64)
    differing = differing_bits(ids[:, None], ids)
    assert differing[0b101, 0b110] == 2 and differing[63, 0] == 6
    above = np.triu_indices(64, 1)

    def agreement(quantizer: CentroidQuantizer) -> float:
        products = quantizer.centroids_ @ quantizer.centroids_.T
        return -float(np.corrcoef(differing[above], products[above])[0, 1])

    assert agreement(ordered) > agreement(plain) + 0.2


def test_scores_fall_with_the_number_of_differing_bits():
    sample = sample_of(3000, 16, unit=True)
    coded = CentroidQuantizer(count=64, compare="hamming").fit(sample)
    queries, documents = sample[:5], sample[5:200]
    codes = coded.encode(documents)
    scores = coded.score(coded.encode_query(queries), codes)
    bits = differing_bits(codes.astype(np.int64), coded.encode(queries)[:, 0].astype(np.int64))
    for column in range(5):
        by_bits = [scores[bits[:, column] == count, column] for count in np.unique(bits[:, column])]
        assert all(np.ptp(alike) == 0 for alike in by_bits)
    nearest = [scores[bits == count].mean() for count in (0, 1, 2, 3)]
    assert nearest == sorted(nearest, reverse=True)
    assert not coded.describe().exact_queries


@pytest.mark.parametrize("count", [1, 100, 4096])
def test_only_whole_numbers_of_bits_are_compared(count):
    with pytest.raises(RecipeError, match=r"^tokens\.codes: .*count"):
        Recipe.from_yaml(f"tokens: {{dim: 8, codes: {{kind: centroids, count: {count}, compare: hamming}}}}")
