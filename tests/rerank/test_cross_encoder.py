from __future__ import annotations

import asyncio
import time
from collections.abc import Sequence
from types import SimpleNamespace

import pytest

from embplug.errors import InvalidArgumentError, RerankError
from embplug.plan import Hit
from embplug.rerank import CrossEncoder

HITS = [Hit(i, 1.0 - i / 10, {"text": "x" * i}, {"fde": 1.0 - i / 10}) for i in range(1, 6)]


def by_length(query: str, texts: Sequence[str]) -> list[float]:
    return [float(len(text)) for text in texts]


def broken(query: str, texts: Sequence[str]) -> list[float]:
    raise RuntimeError("out of memory")


def slow(query: str, texts: Sequence[str]) -> list[float]:
    time.sleep(0.2)
    return by_length(query, texts)


@pytest.mark.parametrize("timeout", [None, 10.0])
def test_hits_come_in_the_scorers_order_and_tell_every_stage(timeout: float | None) -> None:
    hits = CrossEncoder(by_length, batch_size=2, timeout=timeout).rerank("q", HITS, limit=3)
    assert [hit.id for hit in hits] == [5, 4, 3]
    assert hits[0].stages == {"fde": 0.5, "cross_encoder": 5.0}
    assert hits[0].score == 5.0
    assert asyncio.run(CrossEncoder(by_length).rerank_async("q", HITS))[0].id == 5
    assert CrossEncoder(by_length).rerank("q", []) == []


@pytest.mark.parametrize(
    ("scorer", "reason"),
    [
        (broken, "out of memory"),
        (slow, "0.05 s"),
        (lambda q, t: [1.0], "scores"),
        (lambda q, t: [float("nan")] * 5, "finite"),
    ],
)
def test_a_failure_is_raised_or_the_order_kept_with_the_reason(scorer, reason: str) -> None:  # type: ignore[no-untyped-def]
    with pytest.raises(RerankError, match=reason):
        CrossEncoder(scorer, timeout=0.05).rerank("q", HITS)
    kept = CrossEncoder(scorer, timeout=0.05, on_failure="keep").rerank("q", HITS, limit=4)
    assert [hit.id for hit in kept] == [1, 2, 3, 4]
    assert kept[0].score == HITS[0].score
    assert reason in (kept[0].skipped or {})["cross_encoder"]


def test_hits_without_text_are_named() -> None:
    with pytest.raises(InvalidArgumentError, match=r"hits\[0\]"):
        CrossEncoder(by_length).rerank("q", [Hit(1, 1.0)])
    with pytest.raises(InvalidArgumentError, match="on_failure"):
        CrossEncoder(by_length, on_failure="ignore")  # type: ignore[arg-type]


def test_models_of_sentence_transformers_and_rerankers_are_scorers() -> None:
    class Model:
        def predict(self, pairs: list[tuple[str, str]], show_progress_bar: bool) -> list[float]:
            return [float(len(text)) for _, text in pairs]

    class Ranker:
        def rank(self, query: str, docs: list[str], doc_ids: list[int]) -> SimpleNamespace:
            ranked = sorted(zip(docs, doc_ids, strict=True), key=lambda pair: -len(pair[0]))
            return SimpleNamespace(
                results=[SimpleNamespace(doc_id=one, score=len(doc)) for doc, one in ranked]
            )

    for made in (
        CrossEncoder.from_sentence_transformers(Model(), batch_size=2),
        CrossEncoder.from_rerankers(Ranker()),
    ):
        assert [hit.id for hit in made.rerank("q", HITS)] == [5, 4, 3, 2, 1]
