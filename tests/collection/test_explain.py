"""Explanations: which token of a query met which token of a document, and what each adds to the score."""

from __future__ import annotations

import asyncio
import copy
import re
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qdrant_client import models

from embplug import (
    AsyncCollection,
    Collection,
    Dense,
    Encoded,
    Multivector,
    Query,
    Recipe,
    Rerank,
    Sparse,
    TokenBatch,
    Tokens,
)
from embplug.common.ids import CODES
from embplug.engines import AsyncEdgeClient, EdgeClient, Engine, connect_async
from embplug.errors import InvalidArgumentError
from embplug.methods import FDE, BitAllocationQuantizer
from embplug.methods.reductions.pooling import GridPooling, HierarchicalPooling
from embplug.methods.reductions.pruning import BallCarving, FirstTokens, SaliencyPruning
from embplug.methods.registry import registered
from embplug.search.explain import Explanation, TokenOrigins, heated_parts, patch_heat
from tests.methods.table import CASES
from tests.words import DIM, Words

SMALL = FDE(repetitions=4, simhash_bits=2, projection_dim=8)
TOKEN_CODES = [name for name in CASES if CASES[name].method.kind in registered("token_codes")]
TEXTS = [f"alpha{i} beta{i} gamma delta epsilon zeta{i % 7} eta{i % 5}" for i in range(60)]
WITHIN = {"rtol": 1e-4, "atol": 1e-4}


class Spans(Words):
    """Words that tells where each word stands; a longer word matters more."""

    spec = "spans"

    def encode_documents(self, texts: Sequence[str]) -> Encoded:
        spans = [match.span() for text in texts for match in re.finditer(r"\S+", text)]
        lengths = np.diff(np.array(spans, np.int32).reshape(-1, 2), axis=1)[:, 0]
        return replace(
            super().encode_documents(texts),
            spans=np.array(spans, np.int32).reshape(-1, 2),
            saliency=lengths.astype(np.float32),
        )

    encode_queries = encode_documents


def recipe(**tokens: Any) -> Recipe:
    values: dict[str, Any] = {"multivector": None, "codes": BitAllocationQuantizer(size=16)}
    return Recipe(tokens=Tokens(dim=DIM, encoding=SMALL, **{**values, **tokens}))


def filled(engine: Any, recipe: Recipe, encoder: Any = None, name: str = "docs") -> Collection:
    collection = Collection.create(name, recipe, engine, encoder=encoder or Spans())
    collection.add([*range(len(TEXTS))], texts=TEXTS)
    return collection


def check_sums(explanation: Explanation, score: float) -> None:
    """The parts add up to the score of the search, and each is that of the named token."""
    assert explanation.score == pytest.approx(score, rel=1e-4, abs=1e-4)
    assert sum(match.score for match in explanation.matches) == pytest.approx(score, rel=1e-4, abs=1e-4)
    assert sum(match.share for match in explanation.matches) == pytest.approx(1, abs=1e-6)
    assert explanation.heat.sum() == pytest.approx(1, abs=1e-6)
    best = explanation.similarities.max(axis=1)
    at = np.take_along_axis(explanation.similarities, explanation.matched[:, None], axis=1)[:, 0]
    np.testing.assert_array_equal(at, best)
    # The kernel rounds products to eight or sixteen bits.
    np.testing.assert_allclose(explanation.scores, best, atol=0.05)


@pytest.mark.parametrize("document_bytes", [0, 12])
@pytest.mark.parametrize("kind", TOKEN_CODES)
def test_shares_add_up_to_the_score_on_every_kind_of_code(
    kind: str, document_bytes: int, memory_client: Any
) -> None:
    codes = copy.deepcopy(CASES[kind].method)
    collection = filled(memory_client, recipe(codes=codes, document_bytes=document_bytes))
    text = "alpha3 delta beta9 zeta3 unknown"
    hits = collection.search(text=text, explain=True, with_stages=True, limit=5)
    assert len(hits) == 5
    for hit in hits:
        assert hit.explanation is not None and hit.stages is not None and hit.matches is not None
        assert len(hit.matches) == 5 and hit.explanation.id == hit.id
        check_sums(hit.explanation, hit.stages["codes"])
        check_sums(collection.explain(hit.id, text=text), hit.stages["codes"])


@pytest.mark.parametrize("datatype", ["float32", "float16"])
def test_shares_add_up_to_the_score_of_multivectors_on_every_engine(engine: Engine, datatype: Any) -> None:
    collection = filled(engine, recipe(codes=None, multivector=Multivector(datatype=datatype)))
    hits = collection.search(text="alpha3 delta beta9", explain=True)
    for hit in hits:
        assert hit.explanation is not None and hit.explanation.stage == "maxsim"
        check_sums(hit.explanation, hit.score)


@pytest.mark.parametrize("datatype", ["turbo4", "turbo8"])
def test_shares_are_those_of_the_engine_where_it_rounds_tokens(edge_client: Any, datatype: Any) -> None:
    collection = filled(edge_client, recipe(codes=None, multivector=Multivector(datatype=datatype)))
    for hit in collection.search(text="alpha3 delta beta9", explain=True):
        assert hit.explanation is not None
        assert hit.explanation.score == pytest.approx(hit.score, abs=1e-4)


def test_codes_of_every_engine_are_explained(engine: Engine) -> None:
    collection = filled(engine, recipe())
    hits = collection.search(text="alpha3 delta beta9", explain=True)
    assert hits[0].id in (3, 9) and len(hits) == 10
    for hit in hits:
        assert hit.explanation is not None and hit.explanation.stage == "codes"
        check_sums(hit.explanation, hit.score)


def test_the_last_stage_is_explained_where_codes_come_first(memory_client: Any) -> None:
    stored = recipe(multivector=Multivector()).model_copy(update={"rerank": Rerank(exact=20)})
    collection = filled(memory_client, stored)
    for options in ({}, {"exact": True}):
        hit = collection.search(text="alpha3 delta", explain=True, with_stages=True, **options)[0]
        assert hit.explanation is not None and hit.explanation.stage == "maxsim"
        check_sums(hit.explanation, hit.score)
    both = filled(memory_client, recipe(multivector=Multivector()), name="both")
    assert both.explain(3, text="alpha3").stage == "codes"
    assert both.explain(3, text="alpha3", exact=True).stage == "maxsim"


def test_matches_name_the_words_that_met(memory_client: Any) -> None:
    collection = filled(memory_client, recipe())
    explanation = collection.explain(3, text="delta  alpha3")
    met = [(match.query_text, match.document_text) for match in explanation.matches]
    assert met == [("delta", "delta"), ("alpha3", "alpha3")]
    first, second = explanation.matches
    assert first.query_spans == ((0, 5),) and second.query_spans == ((7, 13),)
    assert [TEXTS[3][start:stop] for start, stop in first.document_spans] == ["delta"]
    assert first.document_token == 3 and first.share == pytest.approx(0.5, abs=0.1)
    known = explanation.to_dict()
    assert known["stage"] == "codes" and known["matches"][0]["document_text"] == "delta"
    assert known["matches"][0]["document_spans"] == [[19, 24]]
    assert "reason" not in known and "patches" not in known["matches"][0]


@pytest.mark.parametrize(
    "reduction",
    [
        HierarchicalPooling(factor=2),
        FirstTokens(count=3),
        SaliencyPruning(keep=0.5),
        (SaliencyPruning(keep=0.8), HierarchicalPooling(factor=2)),
    ],
)
def test_pooled_and_pruned_tokens_name_all_that_they_stand_for(reduction: Any, memory_client: Any) -> None:
    collection = filled(memory_client, recipe(reduction=reduction))
    hit = collection.search(text="alpha3 beta3 gamma", explain=True, with_stages=True)[0]
    explanation = hit.explanation
    assert explanation is not None and hit.id == 3
    check_sums(explanation, hit.score)
    count, origins = explanation.similarities.shape[1], explanation.document
    spans = [span for token in range(-1, count) for span in origins.spans_of(token)]
    words = [match.span() for match in re.finditer(r"\S+", TEXTS[3])]
    assert sorted(spans) == words
    pools, prunes = count < len(words) and not origins.spans_of(-1), bool(origins.spans_of(-1))
    assert pools or prunes
    if pools:
        assert max(len(match.document_spans) for match in explanation.matches) > 1
    parts = heated_parts(TEXTS[3], origins, explanation.heat.tolist())
    assert "".join(text for text, _ in parts) == TEXTS[3]
    assert any(heat is None for _, heat in parts) == prunes


def test_reduced_and_weighted_queries_are_explained_as_they_rank(memory_client: Any) -> None:
    collection = filled(memory_client, recipe(query_reduction=BallCarving(threshold=0.9)))
    hit = collection.search(text="alpha3 delta delta", explain=True, with_stages=True)[0]
    assert hit.explanation is not None and len(hit.explanation.matches) == 2
    check_sums(hit.explanation, hit.score)
    assert hit.explanation.matches[1].query_spans == ((7, 12), (13, 18))
    assert hit.explanation.matches[1].share == pytest.approx(2 / 3, abs=0.1)
    tokens = Words().encode_queries(["alpha3 delta"]).tokens
    assert tokens is not None
    weighted = collection.explain(3, tokens=tokens[0], token_weights=[0.0, 3.0])
    assert [match.share for match in weighted.matches] == pytest.approx([0, 1], abs=1e-6)


def test_without_texts_the_positions_are_told_and_why(memory_client: Any) -> None:
    def reason(collection: Collection, **changes: Any) -> str:
        explanation = collection.explain(0, **{"text": "alpha0 beta0", **changes})
        assert [match.document_text for match in explanation.matches] == [None, None]
        assert [match.document_token for match in explanation.matches] == [0, 1]
        return str(explanation.to_dict()["reason"])

    words = filled(memory_client, recipe(), Words())
    assert "does not tell which characters" in reason(words)
    spans = filled(memory_client, recipe(), name="spans")
    assert spans.explain(0, text="alpha0 beta0").to_dict().keys() == {"stage", "score", "matches"}
    for other in ("seven quite other words than were stored", "alpha0 beta0"):
        memory_client.set_payload("spans", {"text": other}, points=[0])
        assert "not those that encoder 'spans' makes" in reason(spans)
    memory_client.delete_payload("spans", ["text"], points=[0])
    assert "no text is stored" in reason(spans)
    tokens = Words().encode_queries(["alpha0 beta0"]).tokens
    assert tokens is not None
    alone = Collection.create("alone", recipe(), memory_client)
    alone.add([0, 1], tokens=TokenBatch.concat([tokens, tokens]), payloads=[{"text": "alpha0 beta0"}, None])
    assert "no encoder" in reason(alone, text=None, tokens=tokens[0])


def test_a_search_without_explain_carries_nothing(memory_client: Any) -> None:
    collection = filled(memory_client, recipe())
    (hit,) = collection.search(text="alpha3", limit=1)
    assert hit.explanation is None and hit.matches is None


def test_every_kind_of_search_explains_its_hits_with_one_encoding_of_the_query(memory_client: Any) -> None:
    encoder = Spans()
    stored = recipe().model_copy(update={"sparse": Sparse(average_length=7.0)})
    collection = filled(memory_client, stored, encoder)
    queries = [Query(text="alpha3 delta"), Query(text="beta9 eta1")]
    batch = collection.batch_search(queries, limit=3, explain=True)
    assert [hits[0].id for hits in batch] == [3, 9]
    groups = collection.search_groups("text", text="alpha3 delta", limit=3, explain=True)
    mmr = collection.search(text="alpha3 delta", limit=3, mmr=models.Mmr(diversity=0.5), explain=True)
    fused = collection.search(text="alpha3 delta", limit=3, explain=True, with_stages=True)
    for hit in [*batch[0], *batch[1], *(hit for group in groups for hit in group.hits), *mmr, *fused]:
        assert hit.matches is not None and len(hit.matches) == 2
        assert hit.matches[0].document_text is not None
    assert fused[0].explanation is not None and fused[0].stages is not None
    check_sums(fused[0].explanation, fused[0].stages["codes"])
    before = encoder.encoded
    collection.search(text="alpha3 delta", limit=3, explain=True)
    assert encoder.encoded - before == 1 + 3


def test_an_asynchronous_collection_explains_alike(tmp_path: Path) -> None:
    with EdgeClient(tmp_path) as client:
        expected = filled(client, recipe()).explain(3, text="alpha3 delta").to_dict()

    async def explained() -> tuple[Explanation, Any]:
        client = await connect_async(tmp_path)
        assert isinstance(client, AsyncEdgeClient)
        async with client:
            collection = await AsyncCollection.open("docs", client, encoder=Spans())
            hits = await collection.search(text="alpha3 delta", explain=True)
            return await collection.explain(3, text="alpha3 delta"), hits[0].explanation

    for explanation in asyncio.run(explained()):
        assert explanation.to_dict() == expected


def test_what_cannot_be_explained_is_named(memory_client: Any) -> None:
    collection = filled(memory_client, recipe())
    with pytest.raises(InvalidArgumentError, match=r"^id: .* in collection 'docs', got 99$"):
        collection.explain(99, text="alpha3")
    with pytest.raises(InvalidArgumentError, match=r"^tokens"):
        collection.explain(3)
    with pytest.raises(InvalidArgumentError, match=r"^exact"):
        collection.explain(3, text="alpha3", exact="yes")  # type: ignore[arg-type]
    with pytest.raises(InvalidArgumentError, match=r"^explain"):
        collection.search(text="alpha3", explain="yes")  # type: ignore[arg-type]
    with pytest.raises(InvalidArgumentError, match=r"^recipe\.tokens"):
        filled(memory_client, recipe(codes=None), name="encoding").explain(3, text="alpha3")
    dense = Collection.create("dense", Recipe(dense=Dense(dim=2), sparse=Sparse()), memory_client)
    dense.add([1], dense=[[0.6, 0.8]], texts=["one"])
    with pytest.raises(InvalidArgumentError, match=r"^recipe\.tokens"):
        dense.search(text="one", explain=True, branches=["sparse"])
    mixed = filled(memory_client, recipe().model_copy(update={"sparse": Sparse()}), name="mixed")
    with pytest.raises(InvalidArgumentError, match=r"^branches"):
        mixed.search(text="alpha3", explain=True, branches=["sparse"])
    with pytest.raises(InvalidArgumentError, match=r"^branches: expected a sequence"):
        mixed.search(text="alpha3", explain=True, branches=5)  # type: ignore[arg-type]
    with pytest.raises(InvalidArgumentError, match=r"^branches\[1\]"):
        mixed.search(text="alpha3", explain=True, branches=["tokens", "words"])


def test_a_hit_whose_codes_are_gone_stays_a_hit(memory_client: Any) -> None:
    stored = recipe(codes=None, multivector=Multivector()).model_copy(update={"sparse": Sparse()})
    collection = filled(memory_client, stored)
    memory_client.delete_vectors("docs", ["tokens"], points=[3])
    hits = {hit.id: hit for hit in collection.search(text="alpha3 delta", explain=True, limit=60)}
    if 3 in hits:
        assert hits[3].matches is None
    assert sum(hit.matches is not None for hit in hits.values()) >= 50
    with pytest.raises(InvalidArgumentError, match=r"^id"):
        collection.explain(3, text="alpha3")
    assert CODES not in (hits[4].payload or {})


def test_text_is_cut_where_its_heat_changes() -> None:
    origins = TokenOrigins(
        np.array([0, 1, 1, -1]), "ab cd ef gh", np.array([[0, 2], [3, 5], [6, 8], [9, 11]])
    )
    parts = heated_parts("ab cd ef gh", origins, [0.25, 0.75])
    assert parts == [
        ("ab", 0.25),
        (" ", 0.0),
        ("cd", 0.75),
        (" ", 0.0),
        ("ef", 0.75),
        (" ", 0.0),
        ("gh", None),
    ]
    assert heated_parts("", TokenOrigins(), []) == []
    assert heated_parts("whole", TokenOrigins(), [1.0]) == [("whole", 0.0)]


def test_patches_of_a_page_are_rows_and_columns() -> None:
    origins = TokenOrigins(np.array([0, 0, 1, 1, 2, 2, 3]), grid=(2, 2), first_patch=1)
    assert origins.patches_of(0) == ((0, 0),)
    assert origins.patches_of(1) == ((0, 1), (1, 0))
    assert origins.patches_of(2) == ((1, 1),) and origins.patches_of(3) == ()


@pytest.mark.parametrize(
    ("reduction", "expected"),
    [
        (None, {(row, column): 1 for row in range(3) for column in range(4)}),
        (
            GridPooling(tile_rows=1, tile_columns=2),
            {(row, column): 2 for row in range(3) for column in range(4)},
        ),
        (HierarchicalPooling(factor=2), {}),
    ],
)
def test_tokens_of_pages_name_their_patches(reduction: Any, expected: Any, memory_client: Any) -> None:
    rng = np.random.default_rng(0)
    tokens = [rng.standard_normal((2 + 12 + 1, DIM)).astype(np.float32) for _ in range(60)]
    stored = recipe(reduction=reduction)
    collection = Collection.create("pages", stored, memory_client)
    collection.add([*range(60)], tokens=tokens, grids=[(3, 4, 2)] * 60)
    query = np.concatenate([tokens[7][2 + 5 : 2 + 6], tokens[7][:1]])
    explanation = collection.search(tokens=query, explain=True, limit=1)[0].explanation
    assert explanation is not None and explanation.id == 7
    origins = explanation.document
    counts = {}
    for token in range(explanation.similarities.shape[1]):
        patches = origins.patches_of(token)
        counts |= dict.fromkeys(patches, len(patches))
    assert counts == expected
    if expected:
        patch, prompt = explanation.matches
        assert (1, 1) in patch.patches and prompt.patches == () and prompt.document_token == 0
        assert explanation.to_dict()["matches"][0]["patches"] == [list(pair) for pair in patch.patches]
        grid = patch_heat(explanation)
        assert grid is not None and grid.shape == (3, 4) and grid.argmax() in (4, 5)
        assert grid.sum() == pytest.approx(patch.share * len(patch.patches), abs=1e-6)
    else:
        assert "by what they show" in str(origins.reason) and patch_heat(explanation) is None


class WithoutSaliency(Spans):
    """Tells spans, but not what matters."""

    def encode_documents(self, texts: Sequence[str]) -> Encoded:
        return replace(super().encode_documents(texts), saliency=None)

    encode_queries = encode_documents


def test_an_encoder_that_fails_leaves_the_positions(memory_client: Any) -> None:
    filled(memory_client, recipe(reduction=SaliencyPruning(keep=0.5)))
    again = Collection.open("docs", memory_client, encoder=WithoutSaliency())
    explanation = again.explain(3, text="alpha3 delta")
    assert "saliency" in str(explanation.document.reason)
    assert [match.query_text for match in explanation.matches] == ["alpha3", "delta"]
