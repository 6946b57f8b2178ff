"""Measuring recipes on judged collections, and the page that shows it."""

from __future__ import annotations

import html
import json
import re
from html.parser import HTMLParser

import numpy as np
import pytest
from typer.testing import CliRunner

from embplug import Dense, Evaluation, Multivector, Recipe, Sparse, Tokens, evaluate, register_encoder
from embplug.cli import app
from embplug.encoders import Encoded
from embplug.errors import InvalidArgumentError
from embplug.evaluation.report import report_html
from embplug.evaluation.statistics import bootstrap, compare
from embplug.methods.reductions.pruning import SaliencyPruning
from tests.collection.test_learned_sparse import Both, SparseWords
from tests.words import DIM, Words, write_beir

TOKENS = Recipe(tokens=Tokens(dim=DIM, encoding=None, multivector=Multivector(), codes=None))
DENSE = Recipe(dense=Dense(dim=DIM))
WORDS = Recipe(sparse=Sparse())
PREFIX = Recipe(dense=Dense(dim=DIM, transforms=[{"kind": "truncation", "dim": 4}]))


@pytest.fixture(scope="module")
def result(tmp_path_factory) -> Evaluation:
    folder = write_beir(tmp_path_factory.mktemp("data") / "small")
    return evaluate(
        folder,
        {"tokens": TOKENS, "dense": DENSE, "prefix": PREFIX, "dense again": DENSE, "words": WORDS},
        encoder=Words(),
        limit=20,
        selectivities=[0.5, 0.01],
        progress=False,
    )


def test_measures_are_those_of_the_rankings(result):
    assert (result.documents, result.queries, result.skipped) == (60, 12, {"documents": 1, "queries": 0})
    for evaluated in result.recipes:
        relevant = [query.replace("q", "d") for query in result.query_ids]
        ranks = [[*hits, d].index(d) + 1 for d, hits in zip(relevant, evaluated.hits, strict=True)]
        ranks = [rank if rank <= 10 else 0 for rank in ranks]
        assert evaluated.per_query["RR@10"] == pytest.approx([1 / rank if rank else 0 for rank in ranks])
        assert evaluated.per_query["nDCG@10"] == pytest.approx(
            [1 / np.log2(r + 1) if r else 0 for r in ranks]
        )
        assert evaluated.figures["R@10"].mean == pytest.approx(np.mean([rank > 0 for rank in ranks]))
        assert evaluated.figures["R@20"].mean >= evaluated.figures["R@10"].mean
        assert evaluated.latency_ms["p50"] <= evaluated.latency_ms["p95"] <= evaluated.latency_ms["p99"]
        assert all(figure.low <= figure.mean <= figure.high for figure in evaluated.figures.values())
    tokens, dense, prefix, _, words = result.recipes
    # Matrices are stored as float16.
    assert tokens.figures["overlap@10"].mean > 0.95 and dense.figures["overlap@10"].mean == 1
    assert prefix.figures["overlap@10"].mean < 0.8
    assert words.figures["nDCG@10"].mean == words.figures["overlap@10"].mean == 1
    assert tokens.bytes_per_document > dense.bytes_per_document > prefix.bytes_per_document > 0


class SalientWords(Words):
    """Words of one document alone matter, those that all share do not."""

    def encode_documents(self, texts):
        encoded = super().encode_documents(texts)
        words = [word for text in texts for word in text.split()]
        return Encoded(
            encoded.tokens, encoded.dense, np.array([word[0] == "w" for word in words], np.float32)
        )

    encode_queries = encode_documents


def test_tokens_are_pruned_by_what_the_encoder_says(tmp_path):
    folder = write_beir(tmp_path / "small")
    pruned = Recipe(
        tokens=Tokens(
            dim=DIM,
            encoding=None,
            multivector=Multivector(hnsw=None),
            reduction=SaliencyPruning(keep=0.34),
            query_reduction=SaliencyPruning(keep=0.7),
            codes=None,
        )
    )
    recipes = {"all": TOKENS, "pruned": pruned}
    result = evaluate(folder, recipes, encoder=SalientWords(), cache=tmp_path, progress=False)
    every, some = result.recipes
    assert some.figures["nDCG@10"].mean == 1
    assert some.bytes_per_document < every.bytes_per_document
    with pytest.raises(InvalidArgumentError, match=r"^encoder: .*saliency"):
        evaluate(folder, {"pruned": pruned}, encoder=Words(), progress=False)


def test_filtered_searches_are_held_to_exact_filtered_ones(result):
    for evaluated in result.recipes:
        assert [(f.share, f.documents) for f in evaluated.filtered] == [(0.5, 30), (0.01, 1)]
        assert evaluated.filtered[1].overlap.mean == 1
    assert result.recipes[1].filtered[0].overlap.mean == 1
    assert 0.2 < result.recipes[2].filtered[0].overlap.mean < 0.9


def test_pairs_that_are_alike_differ_by_nothing(result):
    pairs = {(c.measure, c.first, c.second): c for c in result.comparisons}
    assert len(pairs) == 5 * 10
    alike = pairs["nDCG@10", "dense", "dense again"]
    assert (alike.difference.mean, alike.difference.low, alike.p, alike.p_holm) == (0, 0, 1, 1)
    worse = pairs["overlap@10", "dense", "prefix"]
    assert worse.difference.high < 0 and worse.p < 0.01 < 10 * worse.p_holm


def test_chance_differences_are_told_from_real_ones():
    rng = np.random.default_rng(0)
    base = rng.random(200)
    values = {
        "base": {"m": base},
        "noise": {"m": base + rng.normal(0, 0.1, 200)},
        "better": {"m": base + rng.normal(0.05, 0.1, 200)},
    }
    p = {(comparison.first, comparison.second): comparison.p_holm for comparison in compare(values)}
    assert p["base", "better"] < 0.001 < 0.1 < p["base", "noise"]
    figure = bootstrap([base])[0]
    error = base.std() / np.sqrt(200)
    assert figure.high - figure.low == pytest.approx(3.92 * error, rel=0.1)


def test_wrong_arguments_are_named(tmp_path):
    folder = write_beir(tmp_path / "small", documents=3, queries=1)
    for arguments, said in [
        ({"recipes": {}}, "recipes"),
        ({"limit": 5}, "limit"),
        ({"selectivities": [0]}, r"selectivities\[0\]"),
        ({"encoder": None}, "encoder"),
        ({"queries": 0}, "queries"),
        ({"recipes": {"r": Recipe(dense={"a": Dense(dim=DIM), "b": Dense(dim=DIM)})}}, "dense"),
    ]:
        with pytest.raises(InvalidArgumentError, match=said):
            evaluate(folder, **{"recipes": {"r": DENSE}, "encoder": Words(), "progress": False, **arguments})


class Reader(HTMLParser):
    """Checks that tags are closed, and notes what the page would load."""

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag, attrs):
        self.loads += [value for name, value in attrs if name in ("src", "href")] + [tag] * (tag == "script")
        if tag not in ("meta",):
            self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_startendtag(self, tag, attrs):
        pass


def test_the_page_stands_alone_and_shows_everything(result):
    named = re.sub(r'"(name|first|second)": "dense"', r'"\1": "dense <&>"', json.dumps(result.to_dict()))
    contents = json.loads(named)
    contents["texts"]["queries"]["q0"] = "<script>alert('query')</script>"
    page = report_html(contents)
    reader = Reader()
    reader.feed(page)
    assert (reader.open, reader.loads) == ([], [])
    assert not re.search(r"https?://|@import|url\(", page)
    assert "prefers-color-scheme: dark" in page and "dense &lt;&amp;&gt;" in page
    for text in ("Bytes against", "Latency", "Under filters", "Query by query", "All 50 comparisons"):
        assert text in page
    assert "<h1>small: 5 recipes</h1>" in page and '<p class="conclusion">' in page
    assert f"{result.date}." in page and f"Python {result.machine['python']}" in page
    # The recipe is the one that an evaluation reads.
    texts = [html.unescape(text) for text in re.findall(r"<pre[^>]*>(.*?)</pre>", page, re.DOTALL)]
    assert [Recipe.from_yaml(text).to_dict() for text in texts] == [
        evaluated.recipe for evaluated in result.recipes
    ]
    change = next(c for c in result.comparisons if (c.measure, c.second) == ("overlap@10", "prefix"))
    assert f"{change.difference.mean:+.3f}</span>" in page
    assert "NaN" not in page and "nan" not in re.sub(r"<style>.*?</style>", "", page).lower().split()
    for plot in re.findall(r"<svg .*?</svg>", page):
        width, height = map(float, re.search(r'viewBox="0 0 (\S+) (\S+)"', plot).groups())
        for x, y in re.findall(r'<text[^>]* x="(\S+)" y="(\S+)"', plot):
            assert 0 <= float(x) <= width and 0 <= float(y) <= height
    with pytest.raises(InvalidArgumentError):
        report_html({"kind": "else"})


def test_a_page_of_one_recipe_and_no_sizes(result):
    contents = result.to_dict()
    evaluated = {**contents["recipes"][0], "bytes_per_document": None, "filtered": []}
    page = report_html({**contents, "recipes": [evaluated], "comparisons": []})
    assert "not reported" in page and "Query by query" not in page and "Under filters" not in page


def test_from_the_command_line_on_a_server(tmp_path, qdrant_address, server_client, monkeypatch):
    register_encoder("words", Words)
    monkeypatch.chdir(tmp_path)
    write_beir(tmp_path / "small")
    for name, recipe in {"dense": DENSE, "prefix": PREFIX}.items():
        (tmp_path / f"{name}.yaml").write_text(recipe.to_yaml())
    arguments = (
        "evaluate --beir small --recipe dense.yaml --recipe prefix.yaml --encoder words --cache cached"
    )
    before = server_client.get_collections()
    done = CliRunner().invoke(
        app, [*arguments.split(), "--queries", "5", "-o", "result.json", "--at", qdrant_address[0], "--json"]
    )
    assert done.exit_code == 0, done.output
    told = json.loads(done.stdout)
    assert told == json.loads((tmp_path / "result.json").read_text())
    assert [evaluated["name"] for evaluated in told["recipes"]] == ["dense", "prefix"]
    assert (told["queries"], "Qdrant server" in told["engine"]) == (5, True)
    assert len(list((tmp_path / "cached").iterdir())) == 2
    assert server_client.get_collections() == before
    shown = CliRunner().invoke(app, ["report", "result.json", "-o", "page.html"])
    assert shown.exit_code == 0 and (tmp_path / "page.html").read_text().startswith("<!doctype html>")
    held = CliRunner().invoke(app, [*arguments.split(), "--fail-under", "nDCG@10=0.1", "--json"])
    assert held.exit_code == 0
    below = CliRunner().invoke(
        app, [*arguments.split(), "--fail-under", "overlap@10=0.99", "-o", "below.json"]
    )
    assert below.exit_code == 5
    assert "overlap@10 of prefix is 0." in below.output and "of dense" not in below.output
    assert json.loads((tmp_path / "below.json").read_text())["kind"] == "embplug-evaluation"
    for bar in ("overlap", "overlap@10=high", "overlap@7=0.5", "nDCG@10=nan"):
        wrong = CliRunner().invoke(app, [*arguments.split(), "--fail-under", bar])
        assert (wrong.exit_code, "--fail-under" in wrong.output) == (2, True)
    plain = CliRunner().invoke(app, [*arguments.split(), "--filtered"], env={"COLUMNS": "200"})
    assert "overlap@10" in plain.stdout and "0.1 % (1)" in plain.stdout
    for wrong, code in ((["report", "absent.json"], 2), (["report", "dense.yaml"], 2)):
        assert CliRunner().invoke(app, wrong).exit_code == code


@pytest.mark.parametrize(
    ("data", "recipes", "argument"),
    [
        (object(), Recipe(dense=Dense(dim=3)), "recipes"),
        ("nowhere", {"a": {"dim": 3}}, "recipes['a']"),
        (object(), {"a": Recipe(dense=Dense(dim=3))}, "data"),
        ("/nowhere", {"a": Recipe(dense=Dense(dim=3))}, "data"),
    ],
)
def test_data_and_recipes_of_another_type_are_named(data, recipes, argument):
    with pytest.raises(InvalidArgumentError) as raised:
        evaluate(data, recipes)
    assert raised.value.argument == argument


def test_recipes_with_learned_weights_are_measured(tmp_path):
    register_encoder("sparse-words", SparseWords)
    folder = write_beir(tmp_path / "small")
    own = Sparse(kind="learned", encoder="sparse-words")
    recipes = {
        "own encoder": Recipe(dense=Dense(dim=DIM), sparse=own, tokens=Tokens(dim=DIM)),
        "weights alone": Recipe(sparse=own),
    }
    first, alone = evaluate(folder, recipes, encoder=Words(), cache=tmp_path, progress=False).recipes
    assert first.figures["nDCG@10"].mean == alone.figures["nDCG@10"].mean == 1
    assert len(first.explained) == 3 and alone.explained == []
    by_recipe = {"same encoder": Recipe(dense=Dense(dim=DIM), sparse=Sparse(kind="learned"))}
    (same,) = evaluate(folder, by_recipe, encoder=Both(), progress=False).recipes
    assert same.figures["nDCG@10"].mean == 1
    with pytest.raises(InvalidArgumentError, match=r"sparse: expected only vectors that the encoder makes"):
        evaluate(folder, by_recipe, encoder=Words(), progress=False)
