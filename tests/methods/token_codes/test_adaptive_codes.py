"""Adaptive codes: predicted from many tokens, bits shared out from few, in at most the same bytes."""

from __future__ import annotations

import numpy as np
import pytest

from embplug.errors import EmptyTokensError, StateError
from embplug.methods import AdaptiveQuantizer, BitAllocationQuantizer, PredictiveQuantizer
from embplug.methods.maxsim import maxsim
from embplug.methods.numeric.arrays import state_bytes
from embplug.methods.numeric.compact import restored
from embplug.methods.token_batch import TokenBatch
from embplug.methods.token_codes import adaptive_codes
from tests.methods.table import documents

DIM = 32


@pytest.fixture(autouse=True)
def few_centroids(monkeypatch):
    monkeypatch.setattr(adaptive_codes, "CENTROIDS", (512, 16))


def fitted(count: int, **parameters: float) -> AdaptiveQuantizer:
    """Codes of at most 48 bytes that may learn as much as the sample takes in float32."""
    codes = AdaptiveQuantizer(**{"size": 48, "state_share": 1, **parameters})
    return codes.fit(documents(count, dim=DIM))


@pytest.mark.parametrize("count", [1, 10, 60])
def test_few_tokens_are_coded_bit_by_bit(count):
    codes = fitted(count)
    assert isinstance(codes.chosen_, BitAllocationQuantizer)
    assert codes.chosen_.length == "own" and codes.bytes_per_vector(DIM) == 48
    assert "chosen: bit_allocation" in codes.describe().notes


def test_many_tokens_are_predicted_within_the_share_of_their_bytes():
    chosen = {}
    for count in (100, 140, 1000):
        codes, sample = fitted(count), documents(count, dim=DIM)
        chosen[count] = getattr(codes.chosen_, "centroids", 0)
        # Besides, there are a few numbers for each class and byte.
        assert state_bytes(codes.get_state()) <= sample.values.nbytes + 4000
    assert chosen == {100: 0, 140: 16, 1000: 512}
    assert codes.bytes_per_vector(DIM) < 48
    assert "chosen: predictive" in codes.describe().notes


def test_short_codes_are_not_predicted():
    assert isinstance(fitted(1000, size=39).chosen_, BitAllocationQuantizer)
    assert isinstance(fitted(1000, size=40).chosen_, PredictiveQuantizer)


def test_tokens_beyond_float16_are_coded_all_the_same():
    batch = documents(1000, dim=DIM)
    batch = TokenBatch(batch.values * np.float32(1e6), batch.offsets)
    codes = AdaptiveQuantizer(size=48, state_share=1).fit(batch)
    assert isinstance(codes.chosen_, BitAllocationQuantizer)
    assert np.isfinite(codes.maxsim(batch[0], codes.encode(batch))).all()


@pytest.mark.parametrize("count", [60, 1000])
def test_scores_are_close_to_exact_ones_at_any_length(count):
    batch = documents(count, dim=DIM)
    batch = TokenBatch(3 * batch.values, batch.offsets)
    codes = AdaptiveQuantizer(size=48, state_share=1).fit(batch)
    query = documents(1, seed=7, dim=DIM).values
    exact, own = maxsim(query, batch), codes.maxsim(query, codes.encode(batch))
    assert np.corrcoef(exact, own)[0, 1] > 0.97
    assert np.abs(own - exact).mean() < 0.05 * np.abs(exact).mean()
    assert [len(string) for string in codes.encode(batch)] <= codes.sizes(batch).tolist()


@pytest.mark.parametrize("count", [60, 1000])
def test_the_state_says_which_codes_it_is_of(count):
    codes, opened = fitted(count), AdaptiveQuantizer(size=48, state_share=1)
    opened.set_state(codes.get_state())
    assert type(opened.chosen_) is type(codes.chosen_)
    assert isinstance(opened.chosen_, PredictiveQuantizer) == (count == 1000)
    batch = documents(9, seed=3, dim=DIM)
    strings = codes.encode(batch)
    assert opened.encode(batch) == strings
    np.testing.assert_array_equal(opened.decode(strings).values, codes.decode(strings).values)


@pytest.mark.parametrize("value", [17, -1])
def test_a_state_of_other_numbers_of_centroids_is_refused(value):
    state = {**fitted(60).get_state(), "centroids": np.array(value)}
    with pytest.raises(StateError, match="'centroids' of AdaptiveQuantizer"):
        AdaptiveQuantizer(size=48).set_state(state)


def test_nothing_to_learn_from_is_an_error():
    with pytest.raises(EmptyTokensError):
        AdaptiveQuantizer().fit(TokenBatch(np.zeros((0, DIM), dtype=np.float32), np.array([0, 0])))


def test_a_state_in_float16_without_weights_opens():
    codes, batch = fitted(1000), documents(9, seed=3, dim=DIM)
    state = codes.get_state()
    earlier = {}
    for name, array in state.items():
        if f"{name}_scales" in state:
            array = restored(state, name, axis=1 if name.endswith("centroids") else 0).astype(np.float16)
        if not name.endswith(("_scales", ".weights")):
            earlier[name] = array
    opened = AdaptiveQuantizer(size=48)
    opened.set_state(earlier)
    strings = codes.encode(batch)
    np.testing.assert_allclose(opened.decode(strings).values, codes.decode(strings).values, atol=2e-3)
    again = AdaptiveQuantizer(size=48)
    again.set_state(opened.get_state())
    assert again.encode(batch) == opened.encode(batch)
