"""What an encoder returns, and the arrays that belong together in it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from scipy.sparse import csr_array

from embplug.encoders import Encoded
from embplug.errors import InvalidArgumentError, LengthMismatchError
from embplug.methods.token_batch import TokenBatch

TOKENS = TokenBatch(np.arange(10, dtype=np.float32).reshape(5, 2), np.array([0, 2, 2, 5]))
SALIENCY = np.arange(5, dtype=np.float32)
IDS = np.array([7, 8, -1, 9, 7])
SPANS = np.array([[0, 3], [4, 6], [0, 0], [0, 2], [2, 5]], np.int32)
SPARSE = csr_array(([1.5, 0.5], ([0, 2], [4, 1])), shape=(3, 30))


def test_values_of_tokens_are_read_by_the_text() -> None:
    encoded = Encoded(TOKENS, saliency=SALIENCY, token_ids=IDS, spans=SPANS)
    for row, tokens in enumerate([[0, 1], [], [2, 3, 4]]):
        for values, of_row in (
            (SALIENCY, encoded.saliency_of(row)),
            (IDS, encoded.token_ids_of(row)),
            (SPANS, encoded.spans_of(row)),
        ):
            np.testing.assert_array_equal(of_row, values[tokens])


@pytest.mark.parametrize("encoded", [Encoded(TOKENS), Encoded(dense=np.ones((3, 2), np.float32))])
def test_what_the_encoder_does_not_know_is_none(encoded: Encoded) -> None:
    assert encoded.saliency_of(0) is encoded.token_ids_of(0) is encoded.spans_of(0) is None


@pytest.mark.parametrize(
    ("fields", "count"),
    [({"tokens": TOKENS}, 3), ({"dense": np.ones((2, 4))}, 2), ({"sparse": SPARSE}, 3), ({}, 0)],
)
def test_the_length_is_the_number_of_texts(fields: dict[str, Any], count: int) -> None:
    assert len(Encoded(**fields)) == count


def test_texts_are_taken_and_put_together_with_all_that_is_known_of_them() -> None:
    dense = np.arange(6, dtype=np.float32).reshape(3, 2)
    whole = Encoded(TOKENS, dense, SALIENCY, SPARSE, IDS, SPANS)
    taken = whole.take([2, 1, 0])
    for row, source in enumerate([2, 1, 0]):
        assert taken.tokens is not None
        np.testing.assert_array_equal(taken.tokens[row], TOKENS[source])
        for of_row in ("saliency_of", "token_ids_of", "spans_of"):
            np.testing.assert_array_equal(getattr(taken, of_row)(row), getattr(whole, of_row)(source))
    np.testing.assert_array_equal(taken.dense, dense[::-1])
    assert taken.sparse is not None
    np.testing.assert_array_equal(taken.sparse.toarray(), SPARSE.toarray()[::-1])
    # Each batch of an encoder may know fewer indices than another.
    narrow = Encoded(TOKENS, dense, SALIENCY, SPARSE[:, :5], IDS, SPANS)
    both = Encoded.concat([narrow, taken])
    again = both.take([5, 4, 3])
    for name in ("dense", "saliency", "token_ids", "spans"):
        np.testing.assert_array_equal(getattr(again, name), getattr(whole, name))
    assert both.sparse is not None and both.sparse.shape == (6, 30)
    np.testing.assert_array_equal(both.sparse.toarray()[:3], SPARSE.toarray())
    assert len(Encoded(sparse=SPARSE).take([1])) == 1 and Encoded(TOKENS).take([0, 2]).saliency is None
    assert Encoded.concat([Encoded(TOKENS), whole]).saliency is None


@pytest.mark.parametrize(
    ("fields", "argument"),
    [
        ({"dense": np.ones((2, 4), np.float32)}, "dense"),
        ({"sparse": SPARSE[:2]}, "sparse"),
        ({"saliency": SALIENCY[1:]}, "saliency"),
        ({"token_ids": IDS[:3]}, "token_ids"),
        ({"spans": SPANS[:, 0]}, "spans"),
        ({"spans": SPANS[:4]}, "spans"),
        ({"tokens": None, "token_ids": IDS}, "token_ids"),
    ],
)
def test_arrays_that_do_not_belong_together_are_refused(fields: dict[str, Any], argument: str) -> None:
    with pytest.raises(LengthMismatchError) as raised:
        Encoded(**{"tokens": TOKENS, **fields})
    assert raised.value.argument == argument


def test_tokens_are_a_batch() -> None:
    with pytest.raises(InvalidArgumentError, match=r"^tokens: expected a TokenBatch, or None, got list$"):
        Encoded([np.ones((2, 4), np.float32)])  # type: ignore[arg-type]
