"""The command ``explain``: heat maps in the terminal, as JSON and as a page."""

from __future__ import annotations

import json
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
from typer.testing import CliRunner

from embplug import Collection, Recipe, Record, Sparse, Tokens, register_encoder
from embplug.cli import app
from embplug.cli.explain import _thumbnails, heated_text
from embplug.methods import FDE, BitAllocationQuantizer
from embplug.search.explain import TokenOrigins
from tests.collection.test_explain import TEXTS, Spans
from tests.words import DIM


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    register_encoder("spans", Spans)
    small = FDE(repetitions=4, simhash_bits=2, projection_dim=8)
    tokens = Tokens(dim=DIM, encoding=small, multivector=None, codes=BitAllocationQuantizer(size=16))
    with_engine = Collection.create("docs", Recipe(tokens=tokens, encoder="spans"), tmp_path / "data")
    with_engine.add([*range(len(TEXTS))], texts=TEXTS)
    with_engine.engine.close()
    return tmp_path


def run(*arguments: object) -> str:
    result = CliRunner().invoke(app, [*map(str, arguments)], env={"COLUMNS": "100"})
    assert result.exit_code == 0, result.output
    return result.output


def test_the_best_hits_are_explained_word_by_word(folder: Path) -> None:
    shown = run("explain", "docs", "alpha3 delta", "--at", folder / "data", "--limit", 2)
    assert TEXTS[3] in shown and "share" in shown and "alpha3" in shown
    page = folder / "heat.html"
    run("explain", "docs", "alpha3 delta", "--at", folder / "data", "--html", page)
    assert "<mark" in page.read_text(encoding="utf-8") and "alpha3" in page.read_text(encoding="utf-8")


def test_chosen_documents_are_explained_as_json(folder: Path) -> None:
    written = run("explain", "docs", "alpha3 delta", 9, 3, "--at", folder / "data", "--json")
    explained = json.loads(written)["explained"]
    assert [own["id"] for own in explained] == [9, 3]
    assert explained[1]["matches"][0]["document_text"] == "alpha3"
    assert sum(match["share"] for match in explained[1]["matches"]) == pytest.approx(1)


def test_backgrounds_are_the_warmer_the_more_a_part_brings() -> None:
    origins = TokenOrigins(np.array([0, 1, -1]), "ab cd ef", np.array([[0, 2], [3, 5], [6, 8]]))
    text = heated_text("ab cd ef", origins, [1.0, 0.5])
    assert text.plain == "ab cd ef"
    styles = {text.plain[span.start : span.end]: str(span.style) for span in text.spans}
    assert styles["ab"].endswith("rgb(240,120,20)") and styles["cd"].endswith("rgb(248,188,138)")
    assert "strike" in styles["ef"] and " " not in styles


@pytest.mark.parametrize("other", ["https://example.org/a.png", "data:image/png;base64,A", 7])
def test_a_thumbnail_of_another_kind_is_left_out(other: object) -> None:
    image = "data:image/png;base64,AAAA"
    records = [Record(1, {"thumbnail": image}), Record(2, {"thumbnail": other})]
    page: Any = SimpleNamespace(id=1, document=SimpleNamespace(grid=(1, 1)))
    collection: Any = SimpleNamespace(retrieve=lambda ids: records)
    assert _thumbnails(collection, [page]) == {1: bytes(3)}


def test_a_search_explains_each_of_its_hits(folder: Path) -> None:
    options = ("alpha3 delta", "--at", folder / "data", "--limit", 2, "--explain")
    shown = run("search", "docs", *options)
    assert shown.count("share") == 2 and TEXTS[3] in shown
    hits = json.loads(run("search", "docs", *options, "--json"))["hits"]
    assert len(hits) == 2 and hits[0]["id"] == 3
    for hit in hits:
        matches = hit["explanation"]["matches"]
        assert [match["query_text"] for match in matches] == ["alpha3", "delta"]
        assert sum(match["score"] for match in matches) == pytest.approx(hit["score"], abs=1e-4)
        assert sum(match["share"] for match in matches) == pytest.approx(1)
    assert hits[0]["explanation"]["matches"][0]["document_text"] == "alpha3"
    plain = json.loads(run("search", "docs", *options[:-1], "--json"))["hits"]
    assert [hit["explanation"] for hit in plain] == [None, None]


def test_groups_are_explained_too(folder: Path) -> None:
    collection = Collection.open("docs", folder / "data")
    collection.set_payload({"kind": "a"}, ids=[3, 9])
    collection.engine.close()
    options = ("search", "docs", "alpha3", "--at", folder / "data", "--group-by", "kind", "--explain")
    groups = json.loads(run(*options, "--json"))["groups"]
    (group,) = groups
    assert group["id"] == "a" and len(group["hits"]) == 2
    assert all(hit["explanation"]["matches"] for hit in group["hits"])
    assert run(*options).count("share") == 2


def test_nothing_is_explained_without_tokens(folder: Path) -> None:
    Collection.create("words", Recipe(sparse=Sparse(average_length=3.0)), folder / "data").engine.close()
    result = CliRunner().invoke(
        app, ["search", "words", "alpha3", "--at", str(folder / "data"), "--explain"], env={"COLUMNS": "100"}
    )
    assert result.exit_code == 2 and "--explain: expected a recipe with tokens" in result.stderr
