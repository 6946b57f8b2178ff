from __future__ import annotations

import numpy as np
import pytest

from embplug.errors import DimensionError, EmptyTokensError, NonFiniteError, NotFittedError, StateError
from embplug.methods.encodings.token_idf import TokenIDF
from embplug.methods.token_batch import TokenBatch

DIM = 8


def words(documents: list[list[int]]) -> TokenBatch:
    """Every word a direction of its own, every occurrence a little off it."""
    rng = np.random.default_rng(0)
    return TokenBatch.from_list(
        [np.eye(DIM)[document] + 0.01 * rng.standard_normal((len(document), DIM)) for document in documents],
        dim=DIM,
    )


def test_weights_are_the_inverse_document_frequencies_of_words():
    documents = words([[0, 0, 1], [0, 2, 2], [0, 1, 3], [0], []])
    weights = TokenIDF(cells=4).fit(documents).weights(words([[0, 1], [2, 3]]))
    frequencies = np.array([4, 2, 1, 1])  # of the four documents that have tokens
    expected = np.log(1 + (4 - frequencies + 0.5) / (frequencies + 0.5))
    np.testing.assert_allclose(weights, expected, rtol=1e-6)
    assert weights.dtype == np.float32


def test_the_same_seed_gives_the_same_weights_whatever_the_batch():
    documents = words([[0, 1, 4], [2, 5, 5], [3, 6, 7], [1]])
    queries = words([[0, 5], [7]])
    first, again = (TokenIDF(cells=5, seed=1).fit(documents) for _ in range(2))
    np.testing.assert_array_equal(first.weights(queries), again.weights(queries))
    np.testing.assert_array_equal(first.weights(queries)[2:], first.weights(queries[1:]))
    assert first.weights(words([[]])).shape == (0,)


def test_float16_tokens_are_taken():
    documents = words([[0, 1], [0, 2]])
    half = TokenBatch(documents.values.astype(np.float16), documents.offsets)
    np.testing.assert_allclose(
        TokenIDF(cells=3).fit(half).weights(half), TokenIDF(cells=3).fit(documents).weights(documents)
    )


def test_state_restores_the_same_weights():
    queries = words([[0, 3, 7]])
    fitted = TokenIDF(cells=4).fit(words([[0, 1], [2, 3], [3]]))
    again = TokenIDF(cells=4)
    again.set_state(fitted.get_state())
    np.testing.assert_array_equal(again.weights(queries), fitted.weights(queries))
    for name in ("centroids", "idf"):
        with pytest.raises(StateError, match=name):
            again.set_state({key: array for key, array in fitted.get_state().items() if key != name})


def test_what_is_wrong_is_named():
    with pytest.raises(NotFittedError):
        TokenIDF().weights(words([[0]]))
    with pytest.raises(EmptyTokensError) as empty:
        TokenIDF().fit(words([[]]))
    assert empty.value.argument == "documents"
    with pytest.raises(DimensionError) as other:
        TokenIDF(cells=2).fit(words([[0, 1]])).weights(TokenBatch.from_list([np.ones((1, 3))]))
    assert other.value.argument == "queries"
    for broken in (TokenIDF(cells=2).fit, TokenIDF(cells=2).fit(words([[0, 1]])).weights):
        with pytest.raises(NonFiniteError):
            broken(TokenBatch.from_list([np.full((2, DIM), np.nan)]))
