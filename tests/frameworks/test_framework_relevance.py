"""Relevance from 0 to 1, made of scores."""

from __future__ import annotations

import pytest
from qdrant_client import models

from embplug import Collection, Dense, Fusion, Recipe, Sparse
from embplug.errors import InvalidArgumentError
from embplug.frameworks.relevance import dense_relevance, maxsim_relevance, relevance_scale
from tests.frameworks.conftest import ENCODER, TOKENS_RECIPE


@pytest.mark.parametrize("distance", [*models.Distance])
def test_a_better_score_is_more_relevant_and_all_lie_between_0_and_1(distance):
    relevance = dense_relevance(distance)
    values = [relevance(score) for score in (0.0, 0.25, 1.0)]
    is_similarity = distance in (models.Distance.COSINE, models.Distance.DOT)
    assert values == sorted(values, reverse=not is_similarity) and len(set(values)) == 3
    assert all(0 <= value <= 1 for value in values)


def test_the_ends_of_each_scale():
    cosine, dot = dense_relevance(models.Distance.COSINE), dense_relevance(models.Distance.DOT)
    assert (cosine(-1.0), cosine(0.0), cosine(1.00001)) == (0.0, 0.5, 1.0)
    assert dot(0.0) == 0.5 and dot(1000.0) == 1.0 and dot(-1000.0) == 0.0
    assert dense_relevance(models.Distance.EUCLID)(0.0) == 1.0


def test_maxsim_is_divided_by_that_of_the_query_with_itself():
    relevance = maxsim_relevance(4.0)
    assert (relevance(2.0), relevance(5.0), relevance(-1.0)) == (0.5, 1.0, 0.0)
    assert maxsim_relevance(0.0)(3.0) == 0.0


def test_a_recipe_decides_which_scale_it_is(memory_client):
    tokens = Collection.create("tokens", TOKENS_RECIPE, memory_client, encoder=ENCODER)
    assert relevance_scale(tokens, "two words", None)(1.0) == pytest.approx(0.5)
    dense = Collection.create("dense", Recipe(dense=Dense(dim=4)), memory_client)
    assert relevance_scale(dense, "any", "dense")(0.0) == 0.5
    beside = TOKENS_RECIPE.model_copy(update={"sparse": Sparse()})
    for name, recipe in {"fused": Recipe(dense=Dense(dim=4), sparse=Sparse()), "beside": beside}.items():
        fused = Collection.create(name, recipe, memory_client, encoder=ENCODER)
        with pytest.raises(InvalidArgumentError, match="relevance"):
            relevance_scale(fused, "any", "dense")
    last = beside.model_copy(update={"fusion": Fusion(after_rerank=False)})
    tokens = Collection.create("last", last, memory_client, encoder=ENCODER)
    assert relevance_scale(tokens, "two words", None)(1.0) == pytest.approx(0.5)
