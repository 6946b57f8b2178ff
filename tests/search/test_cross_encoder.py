from __future__ import annotations

import asyncio
import sys
import time
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from embplug.errors import InvalidArgumentError, MissingExtraError, RerankError
from embplug.search import CrossEncoder, load_cross_encoder
from embplug.search.cross_encoder import register_cross_encoder
from embplug.search.types import Hit

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


@pytest.mark.parametrize("payload", [None, {}, {"text": 7}])
def test_hits_without_text_keep_their_place_where_the_caller_wants_it(payload: Any) -> None:
    hits = [replace(hit, payload=payload) if hit.id in (1, 4) else hit for hit in HITS]
    kept = CrossEncoder(by_length, on_failure="keep").rerank("q", hits, limit=4)
    assert [hit.id for hit in kept] == [1, 5, 3, 4]
    assert kept[0].score == HITS[0].score and kept[0].stages == HITS[0].stages
    assert "hits[0].payload['text']" in (kept[0].skipped or {})["cross_encoder"]
    assert "hits[3].payload['text']" in (kept[3].skipped or {})["cross_encoder"]
    assert kept[1].score == 5.0 and kept[1].skipped is None
    failed = CrossEncoder(broken, on_failure="keep").rerank("q", hits)
    assert [hit.id for hit in failed] == [1, 2, 3, 4, 5]
    reasons = [(hit.skipped or {})["cross_encoder"] for hit in failed]
    assert ["out of memory" in reason for reason in reasons] == [False, True, True, False, True]


def test_models_of_sentence_transformers_and_rerankers_are_scorers() -> None:
    class Model:
        def predict(self, pairs: list[tuple[str, str]], show_progress_bar: bool) -> list[float]:
            return [float(len(text)) for _, text in pairs]

    class Ranker:
        def rank(self, query: str, docs: list[str], doc_ids: list[int]) -> SimpleNamespace:
            ranked = sorted(zip(docs, doc_ids, strict=True), key=lambda pair: -len(pair[0]))
            return SimpleNamespace(
                results=[SimpleNamespace(doc_id=doc_id, score=len(doc)) for doc, doc_id in ranked]
            )

    for scorer in (
        CrossEncoder.from_sentence_transformers(Model(), batch_size=2),
        CrossEncoder.from_rerankers(Ranker()),
    ):
        assert [hit.id for hit in scorer.rerank("q", HITS)] == [5, 4, 3, 2, 1]


@pytest.fixture(scope="module")
def model_folder(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A tiny cross-encoder with random weights, as transformers saves one."""
    torch, transformers = pytest.importorskip("torch"), pytest.importorskip("transformers")
    folder = tmp_path_factory.mktemp("cross_encoder")
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "cats", "dogs", "sleep", "bark", "all", "day"]
    Path(folder, "vocab.txt").write_text("\n".join(words))
    transformers.BertTokenizerFast(str(folder / "vocab.txt")).save_pretrained(folder)
    torch.manual_seed(0)
    sizes = {
        "vocab_size": len(words),
        "hidden_size": 16,
        "num_hidden_layers": 1,
        "num_attention_heads": 2,
        "intermediate_size": 16,
    }
    config = transformers.BertConfig(**sizes, num_labels=1, initializer_range=1.0)
    transformers.BertForSequenceClassification(config).save_pretrained(folder)
    return str(folder)


@pytest.mark.parametrize("package", ["sentence-transformers", "rerankers"])
def test_a_real_model_is_loaded_by_the_name_in_a_recipe(package: str, model_folder: str) -> None:
    pytest.importorskip(package.replace("-", "_"))
    texts = ["cats sleep", "dogs bark all day", "cats sleep all day"]
    hits = [Hit(i, 0.0, {"text": text}) for i, text in enumerate(texts)]
    scorer = load_cross_encoder(f"{package}:{model_folder}")
    ranked = CrossEncoder(scorer, batch_size=2).rerank("cats", hits)
    alone = {hit.id: CrossEncoder(scorer).rerank("cats", [hit])[0].score for hit in hits}
    assert sorted(alone, key=lambda place: -alone[place]) == [hit.id for hit in ranked]
    assert len({round(score, 6) for score in alone.values()}) == 3
    for hit in ranked:
        assert hit.score == pytest.approx(alone[hit.id], abs=1e-5)


@pytest.mark.parametrize("package", ["sentence-transformers", "rerankers"])
def test_what_a_named_model_needs_is_said(package: str, monkeypatch: pytest.MonkeyPatch) -> None:
    module = package.replace("-", "_")
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(MissingExtraError, match=rf"embplug\[{package}\]"):
        load_cross_encoder(f"{package}:any")
    with pytest.raises(InvalidArgumentError, match="rerankers:MODEL"):
        load_cross_encoder(f"{package}:")
    if package == "rerankers":
        empty = SimpleNamespace(Reranker=lambda name, verbose: None)
        monkeypatch.setitem(sys.modules, module, empty)
        with pytest.raises(InvalidArgumentError, match="'any'"):
            load_cross_encoder("rerankers:any")


def test_a_registered_scorer_is_loaded_by_its_name(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("embplug.search.cross_encoder._registered", {})
    register_cross_encoder("by-length", lambda: by_length)
    assert CrossEncoder(load_cross_encoder("by-length")).rerank("q", HITS)[0].id == 5
    with pytest.raises(InvalidArgumentError, match=r"^cross_encoder: .*'by-length', 'sentence-.*'other'"):
        load_cross_encoder("other")
    for name in ("", "a:b", None):
        with pytest.raises(InvalidArgumentError, match=r"^name: .*without a colon"):
            register_cross_encoder(name, lambda: by_length)  # type: ignore[arg-type]


@pytest.mark.parametrize(("option", "value"), [("batch_size", 0), ("timeout", 0), ("timeout", float("nan"))])
def test_options_out_of_range_are_named(option: str, value: float) -> None:
    with pytest.raises(InvalidArgumentError, match=rf"^{option}: "):
        CrossEncoder(by_length, **{option: value})  # type: ignore[arg-type]
