"""Heat of best hits in an evaluation, and its place on the page."""

from __future__ import annotations

import json
import re
from importlib import import_module
from typing import Any

import numpy as np
import pytest

from embplug import Dense, Evaluation, Multivector, Recipe, Sparse, Tokens, evaluate
from embplug.evaluation.explained import explained_hit, hottest_parts
from embplug.evaluation.report import report_html
from embplug.search.explain import Explanation, TokenOrigins
from tests.collection.test_explain import Spans
from tests.words import DIM, Words, write_beir

MATRICES = Recipe(tokens=Tokens(dim=DIM, encoding=None, multivector=Multivector(), codes=None))
BESIDE_BM25 = Recipe(tokens=Tokens(dim=DIM), sparse=Sparse(), dense=Dense(dim=DIM))
RECIPES = {"dense": Recipe(dense=Dense(dim=DIM)), "matrices": MATRICES, "codes": BESIDE_BM25}


@pytest.fixture(scope="module")
def result(tmp_path_factory: Any) -> Evaluation:
    folder = write_beir(tmp_path_factory.mktemp("data") / "small")
    return evaluate(folder, RECIPES, encoder=Spans(), progress=False)


def test_best_hits_of_a_few_queries_are_explained_where_there_are_tokens(result: Evaluation) -> None:
    dense, matrices, codes = result.recipes
    assert dense.explained == []
    for recipe in (matrices, codes):
        assert [hit.query for hit in recipe.explained] == [0, 5, 11]
        for hit in recipe.explained:
            assert hit.document == recipe.hits[hit.query][0] and hit.reason is None
            query = result.texts["queries"][result.query_ids[hit.query]]
            assert "".join(text for text, _ in hit.query_parts) == query
            words = {word: value for word, value in hit.document_parts if (value or 0) > 0}
            assert {f"w{hit.document[1:]}a", f"w{hit.document[1:]}b"} <= {*words}
            assert sum(words.values()) == pytest.approx(1, abs=1e-3)


def test_texts_for_explanations_count_in_no_figure(tmp_path: Any, monkeypatch: Any) -> None:
    folder = write_beir(tmp_path / "small")
    figures = []
    for count in (0, 12):
        monkeypatch.setattr(import_module("embplug.evaluation.evaluate"), "EXPLAINED_QUERIES", count)
        figures += evaluate(folder, {"matrices": MATRICES}, encoder=Words(), progress=False).recipes
    assert [len(own.explained) for own in figures] == [0, 12]
    assert figures[0].bytes_per_document == figures[1].bytes_per_document
    hit = figures[1].explained[0]
    assert hit.document_parts == [] and hit.reason is not None and "'words'" in hit.reason


def test_the_page_shows_heat_maps_and_says_what_has_none(result: Evaluation) -> None:
    contents = json.loads(json.dumps(result.to_dict()))
    page = report_html(contents)
    section = page[page.index("Why the best hits are hits") : page.index("Query by query")]
    assert section.count('<div class="card">') == 3 and section.count('<p class="hit">') == 6
    assert section.count('<span class="tag">relevant</span>') == 6
    assert re.search(r'<mark style="background:rgba\(240, 120, 20, 0\.620\)"[^>]*>w0a</mark>', section)
    assert ".heat mark" in page
    for recipe in contents["recipes"]:
        for hit in recipe["explained"]:
            hit |= {"document_parts": [], "reason": "no <spans>"}
    assert "No heat map: no &lt;spans&gt;." in report_html(contents)
    for recipe in contents["recipes"]:
        recipe["explained"] = []
    assert "Why the best hits" not in report_html(contents)


def test_a_long_text_is_cut_to_its_hottest_stretch() -> None:
    cold, warm = "cold words " * 200, "warm words"
    parts = [(cold, 0.0), (warm, 0.7), (" and " + cold, 0.0), ("more", 0.3), (cold, 0.0)]
    cut = hottest_parts(parts, 400)
    text = "".join(part for part, _ in cut)
    assert ("warm words", 0.7) in cut and len(text) <= 404
    assert text.startswith("… ") and text.endswith(" …")
    assert {*text.split()} <= {"…", "cold", "words", "warm", "and"}
    assert hottest_parts(parts[1:2], 400) == parts[1:2]
    assert hottest_parts([], 400) == []
    endless = hottest_parts([("x" * 3000, 1.0)], 400)
    assert len("".join(part for part, _ in endless)) <= 404


def test_parts_without_spans_are_left_out() -> None:
    query = TokenOrigins(np.arange(2), "red fox")
    explanation = Explanation(
        "1", "codes", np.float32([1, 1]), np.array([0, 0]), np.ones((2, 1), np.float32), query, TokenOrigins()
    )
    hit = explained_hit(3, "d1", explanation)
    assert (hit.query_parts, hit.document_parts, hit.score) == ([], [], 2.0)
