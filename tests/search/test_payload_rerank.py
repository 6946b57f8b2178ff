"""Documents ranked by codes in their payloads."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import pytest
from qdrant_client import models
from qdrant_client.http.models import QueryResponse

from embplug import Hit
from embplug.common import base85
from embplug.common.byte_strings import ByteStrings
from embplug.common.ids import CODES, DENSE_CODES
from embplug.engines.answers import ModelsAnswer
from embplug.errors import StateError
from embplug.search.payload_rerank import PayloadRerank, decoded_codes, payload_codes
from embplug.search.ranking import Ranking


def point(number: int, codes: bytes, score: float = 0.0) -> models.ScoredPoint:
    return models.ScoredPoint(id=number, version=0, score=score, payload={CODES: base85.encode([codes])[0]})


def ranking(*points: models.ScoredPoint) -> Ranking:
    return Ranking.of(ModelsAnswer(QueryResponse(points=[*points])), "fde")


def lengths(strings: Sequence[bytes]) -> np.ndarray:
    return np.array([len(string) for string in strings], dtype=np.float32)


def test_hits_come_in_the_order_of_their_codes_scores() -> None:
    ranked = PayloadRerank("codes", CODES, lengths).rank(ranking(point(1, b"1", 0.9), point(2, b"123", 0.1)))
    assert ranked.ids == [2, 1] and ranked.scores.tolist() == [3.0, 1.0]
    assert ranked.hits(with_stages=True)[0].stages == {"fde": 0.1, "codes": 3.0}


def test_equal_scores_keep_their_order() -> None:
    points = [point(number, bytes([number])) for number in (5, 3, 7)]
    assert PayloadRerank("codes", CODES, lengths).rank(ranking(*points)).ids == [5, 3, 7]


def test_no_hits_are_not_scored() -> None:
    def never(strings: Sequence[bytes]) -> np.ndarray:
        raise AssertionError(strings)

    assert PayloadRerank("codes", CODES, never).rank(ranking()).ids == []


@pytest.mark.parametrize("payload", [None, {}, {CODES: 7}, {CODES: "not base85 \u00e9"}])
def test_the_point_that_has_lost_its_codes_is_named(payload) -> None:
    with pytest.raises(StateError, match="point 'b' has lost the codes of its tokens"):
        payload_codes([point(1, b"12"), Hit("b", 0.0, payload)], CODES)


@pytest.mark.parametrize("kernel", ["", "0"])
def test_texts_in_one_buffer_are_decoded_in_the_same_way(
    kernel: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("EMBPLUG_KERNEL", kernel)
    codes = [b"12", b"", b"a longer code"]
    texts = [text.encode() for text in base85.encode(codes)]
    assert list(decoded_codes([1, 2, 3], ByteStrings.of(texts), CODES)) == codes
    for broken in (b"0", b"~~~~~", "not base85 \u00e9".encode(), b"\xff\xfe"):
        with pytest.raises(StateError, match="point 3 has lost the codes of its tokens"):
            decoded_codes([1, 2, 3], ByteStrings.of([*texts[:2], broken]), CODES)


def test_codes_of_another_length_are_lost_codes() -> None:
    points = [
        Hit(name, 0.0, {DENSE_CODES: base85.encode([code])[0]}) for name, code in (("a", b"12"), ("b", b"1"))
    ]
    assert list(payload_codes(points, DENSE_CODES)) == [b"12", b"1"]
    with pytest.raises(StateError, match="point 'b' has lost the codes of its dense vectors"):
        payload_codes(points, DENSE_CODES, 2)
