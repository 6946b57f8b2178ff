"""Maximal marginal relevance, against its definition."""

from __future__ import annotations

import numpy as np
import pytest
from qdrant_client import models

from embplug import TokenBatch
from embplug.errors import InvalidArgumentError
from embplug.search import dense_similarities, mmr, token_similarities


@pytest.mark.parametrize("diversity", [0, 0.3, 1])
def test_each_next_one_adds_most(diversity):
    rng = np.random.default_rng(0)
    relevance, vectors = rng.random(8), rng.standard_normal((8, 4))
    similarity = vectors @ vectors.T
    chosen = mmr(relevance, similarity, diversity, 5)
    assert chosen[0] == relevance.argmax() and len(set(chosen)) == 5
    for count in range(1, 5):
        before = chosen[:count]
        gains = {
            i: (1 - diversity) * relevance[i] - diversity * max(similarity[j, i] for j in before)
            for i in range(8)
            if i not in before
        }
        assert gains[chosen[count]] == max(gains.values())


def test_relevance_alone_is_the_ranking_and_nothing_is_chosen_from_nothing():
    assert mmr([0.1, 0.9, 0.5], np.eye(3), 0, 9) == [1, 2, 0]
    assert mmr([], np.empty((0, 0)), 0.5, 3) == []
    with pytest.raises(InvalidArgumentError, match="diversity"):
        mmr([1.0], np.eye(1), 1.5, 1)


def test_relevance_and_similarity_are_on_one_scale():
    rng = np.random.default_rng(1)
    documents = [rng.standard_normal((3, 4)).astype(np.float32) for _ in range(3)]
    documents = [rows / np.linalg.norm(rows, axis=1, keepdims=True) for rows in documents]
    relevance, similarity = token_similarities(documents[1], TokenBatch.from_list(documents))
    assert relevance[1] == pytest.approx(1, abs=1e-6) and relevance.argmax() == 1
    np.testing.assert_allclose(np.diag(similarity), 1, atol=1e-6)
    np.testing.assert_array_equal(similarity, similarity.T)
    for distance in (models.Distance.COSINE, models.Distance.EUCLID):
        relevance, similarity = dense_similarities(documents[0][1], documents[0], distance)
        assert relevance[1] == pytest.approx(1, abs=1e-5)
        np.testing.assert_allclose(np.diag(similarity), 1, atol=1e-5)


def test_similarities_are_those_of_their_definitions():
    rng = np.random.default_rng(2)
    query, vectors = rng.standard_normal(4).astype(np.float32), rng.standard_normal((3, 4)).astype(np.float32)
    rows = np.concatenate([query[None], vectors])
    unit = rows / np.linalg.norm(rows, axis=1, keepdims=True)
    relevance, similarity = dense_similarities(query, vectors, models.Distance.COSINE)
    np.testing.assert_allclose(relevance, unit[1:] @ unit[0], atol=1e-6)
    np.testing.assert_allclose(similarity, unit[1:] @ unit[1:].T, atol=1e-6)
    apart = np.linalg.norm(rows[:, None] - rows, axis=2)
    for distance in (models.Distance.EUCLID, models.Distance.MANHATTAN):
        relevance, similarity = dense_similarities(query, vectors, distance)
        np.testing.assert_allclose(relevance, 1 / (1 + apart[0, 1:]), atol=1e-6)
        np.testing.assert_allclose(similarity, 1 / (1 + apart[1:, 1:]), atol=1e-6)

    documents = [rng.standard_normal((count, 4)).astype(np.float32) for count in (1, 2, 5)]
    query_tokens = rng.standard_normal((2, 4)).astype(np.float32)

    def share(of, by):
        return (by @ of.T).max(axis=1).sum() / np.square(by).sum()

    relevance, similarity = token_similarities(query_tokens, TokenBatch.from_list(documents))
    itself = (query_tokens @ query_tokens.T).max(axis=1).sum()
    exact = [(query_tokens @ document.T).max(axis=1).sum() / itself for document in documents]
    np.testing.assert_allclose(relevance, exact, atol=1e-5)
    both = [[(share(a, b) + share(b, a)) / 2 for a in documents] for b in documents]
    np.testing.assert_allclose(similarity, both, atol=1e-5)


def test_relevance_is_a_share_of_the_query_as_a_document_where_it_was_weighed():
    query = np.eye(2, 4, dtype=np.float32)
    documents = TokenBatch.from_list([query])
    relevance, _ = token_similarities(query * np.float32(2), documents, documents)
    assert relevance.tolist() == [1.0]
