"""Texts in the order of MaxSim or of a cross-encoder."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from embplug import Encoded, TokenBatch
from embplug.errors import InvalidArgumentError, RerankError
from embplug.search import CrossEncoder
from embplug.search.texts import TextReranker

LETTERS = "abcdefghij"
TEXTS = ["a b", "c", "a b c", "j"]


class Letters:
    """An encoder: each letter has an axis of its own, so that MaxSim counts letters in common."""

    spec = "letters"

    def __init__(self, tokens: bool = True) -> None:
        self.tokens = tokens

    def encode_documents(self, texts: Sequence[str]) -> Encoded:
        rows = [np.eye(10, dtype=np.float32)[[LETTERS.index(letter) for letter in t.split()]] for t in texts]
        if self.tokens:
            return Encoded(TokenBatch.from_list(rows, 10))
        return Encoded(None, np.stack([matrix.mean(axis=0) for matrix in rows]))

    def encode_queries(self, texts: Sequence[str]) -> Encoded:
        return self.encode_documents(texts)


def by_length(query: str, texts: Sequence[str]) -> list[float]:
    return [float(len(text)) for text in texts]


def broken(query: str, texts: Sequence[str]) -> list[float]:
    raise RuntimeError("out of memory")


def test_an_encoder_ranks_by_maxsim_and_equal_texts_keep_their_order() -> None:
    ranked = TextReranker(Letters()).rank("a b c", TEXTS)
    assert ranked == [(2, 3.0), (0, 2.0), (1, 1.0), (3, 0.0)]
    assert TextReranker(Letters()).rank("a b c", TEXTS, limit=2) == ranked[:2]
    assert [place for place, _ in TextReranker(Letters()).rank("d", TEXTS)] == [0, 1, 2, 3]


@pytest.mark.parametrize("scorer", [by_length, CrossEncoder(by_length, text_key="other")])
def test_a_cross_encoder_or_a_function_ranks_by_its_scores(scorer: Any) -> None:
    assert TextReranker(cross_encoder=scorer).rank("q", TEXTS, 2) == [(2, 5.0), (0, 3.0)]


def test_a_cross_encoder_that_failed_gives_no_scores_where_it_may() -> None:
    kept = TextReranker(cross_encoder=CrossEncoder(broken, on_failure="keep"))
    assert kept.rank("q", TEXTS) == [(0, None), (1, None), (2, None), (3, None)]
    with pytest.raises(RerankError, match="out of memory"):
        TextReranker(cross_encoder=broken).rank("q", TEXTS)


@pytest.mark.parametrize("reranker", [TextReranker(Letters()), TextReranker(cross_encoder=broken)])
def test_no_texts_are_ranked_without_a_model(reranker: TextReranker) -> None:
    assert reranker.rank("q", []) == []


@pytest.mark.parametrize(
    ("arguments", "named", "got"),
    [
        ({}, "encoder", "neither"),
        ({"encoder": Letters(), "cross_encoder": by_length}, "encoder", "both"),
        ({"encoder": 7}, "encoder", "int"),
        ({"encoder": "no-such-encoder"}, "encoder", "no-such-encoder"),
        ({"cross_encoder": 7}, "cross_encoder", "int"),
    ],
)
def test_what_cannot_rank_is_named(arguments: dict[str, Any], named: str, got: str) -> None:
    with pytest.raises(InvalidArgumentError, match=rf"^{named}: .*{got}"):
        TextReranker(**arguments)


def test_an_encoder_of_sentences_alone_cannot_rank_texts() -> None:
    with pytest.raises(InvalidArgumentError, match=r"encoder: .*token vectors.*letters"):
        TextReranker(Letters(tokens=False)).rank("a", TEXTS)
