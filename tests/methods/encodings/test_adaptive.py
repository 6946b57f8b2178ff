"""The adaptive encoding: learned from many documents, pooled of few, always of one size."""

from __future__ import annotations

import numpy as np
import pytest

from embplug.errors import StateError
from embplug.methods import FDE, AdaptiveEncoding, LearnedEncoding
from embplug.methods.encodings import adaptive
from embplug.methods.maxsim import maxsim
from embplug.methods.numeric.arrays import state_bytes
from embplug.methods.token_batch import TokenBatch

DIM = 16


def tokens(documents: int, seed: int = 0, dim: int = DIM) -> TokenBatch:
    """Documents of ten unit tokens around a few of 40 topics."""
    rng = np.random.default_rng(seed)
    topics = np.random.default_rng(1).standard_normal((40, dim))[rng.integers(0, 40, (documents, 3))]
    rows = topics[:, rng.integers(0, 3, 10)] + 0.5 * rng.standard_normal((documents, 10, dim))
    rows /= np.linalg.norm(rows, axis=2, keepdims=True)
    return TokenBatch(rows.reshape(-1, dim).astype(np.float32), 10 * np.arange(documents + 1))


@pytest.fixture(autouse=True)
def few_landmarks(monkeypatch):
    monkeypatch.setattr(adaptive, "LANDMARKS", (64, 32))


@pytest.mark.parametrize("documents", [1, 3, 30])
def test_few_documents_are_pooled_and_learn_next_to_nothing(documents):
    encoding = AdaptiveEncoding(stored_dim=64).fit(tokens(documents))
    assert isinstance(encoding.chosen_, FDE)
    assert state_bytes(encoding.get_state()) < 100
    assert encoding.encode_documents(tokens(5)).shape == (5, 64)


def test_many_documents_are_learned_from_within_the_share_of_their_bytes():
    chosen = {}
    for documents in (400, 900, 8000):
        sample = tokens(documents)
        encoding = AdaptiveEncoding(stored_dim=64).fit(sample)
        chosen[documents] = getattr(encoding.chosen_, "landmarks", 0)
        # What is not a map or a landmark is a few numbers for each feature.
        assert state_bytes(encoding.get_state()) <= 0.01 * sample.values.nbytes + 600
        assert encoding.encode_documents(tokens(5)).shape == (5, 64)
    assert chosen == {400: 0, 900: 32, 8000: 64}


@pytest.mark.parametrize("length", [1e-6, 1000.0, 1e6])
def test_tokens_of_any_length_are_learned_from(length):
    sample = tokens(450)
    scaled = TokenBatch(sample.values * np.float32(length), sample.offsets)
    encoding = AdaptiveEncoding(stored_dim=64).fit(scaled)
    assert isinstance(encoding.chosen_, LearnedEncoding)
    scores = encoding.encode_queries(scaled[:100]).astype(float) @ encoding.encode_documents(scaled).T
    first = np.argsort(-scores, axis=1)[:, :20]
    assert (first == np.arange(100)[:, None]).any(axis=1).mean() > 0.9
    # As much of MaxSim is explained as with tokens of length 1.
    unit = AdaptiveEncoding(stored_dim=64).fit(sample)
    assert encoding.drift(scaled) == pytest.approx(unit.drift(sample), rel=0.1)
    assert encoding.chosen_.fitted_.unexplained == pytest.approx(unit.chosen_.fitted_.unexplained, rel=0.1)


@pytest.mark.parametrize(("documents", "least"), [(30, 0.5), (1500, 0.9)])
def test_the_best_third_holds_most_of_the_best_by_maxsim(documents, least):
    sample, queries = tokens(documents), tokens(40, seed=5)
    encoding = AdaptiveEncoding(stored_dim=64).fit(sample)
    scores = encoding.encode_queries(queries).astype(float) @ encoding.encode_documents(sample).T
    shares = []
    for query, row in zip(queries, scores, strict=True):
        best = np.argsort(-maxsim(query, sample))[:5]
        shares.append(len({*best} & {*np.argsort(-row)[: documents // 3]}) / 5)
    assert np.mean(shares) > least


def test_a_token_may_be_wider_than_the_encoding():
    encoding = AdaptiveEncoding(stored_dim=24).fit(tokens(5, dim=40))
    assert encoding.encode_documents(tokens(5, dim=40)).shape == (5, 24)


@pytest.mark.parametrize("documents", [30, 1500])
def test_the_state_says_which_encoding_it_is_of(documents):
    fitted = AdaptiveEncoding(stored_dim=64).fit(tokens(documents))
    opened = AdaptiveEncoding(stored_dim=64)
    opened.set_state(fitted.get_state())
    assert type(opened.chosen_) is type(fitted.chosen_)
    assert isinstance(opened.chosen_, LearnedEncoding) == (documents == 1500)
    new = tokens(7, seed=3)
    np.testing.assert_array_equal(opened.encode_documents(new), fitted.encode_documents(new))
    np.testing.assert_array_equal(opened.encode_queries(new), fitted.encode_queries(new))
    if documents == 1500:
        assert opened.drift(new) == pytest.approx(fitted.drift(new), rel=1e-3) != 1.0
    else:
        assert opened.drift(new) == 1.0


@pytest.mark.parametrize(("name", "value"), [("landmarks", 33), ("landmarks", -1), ("dim", 0), ("dim", 15)])
def test_a_state_with_other_numbers_is_refused(name, value):
    state = AdaptiveEncoding(stored_dim=64).fit(tokens(30)).get_state()
    with pytest.raises(StateError, match="AdaptiveEncoding"):
        AdaptiveEncoding(stored_dim=64).set_state({**state, name: np.array(value)})
