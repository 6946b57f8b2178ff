"""Short codes from the command line: searched, evaluated, exported and added, on Edge and on a server."""

from __future__ import annotations

import contextlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

from embplug import connect, register_encoder
from embplug.cli import app
from embplug.common.ids import CODES, SHORTLIST
from tests.words import DIM, Words

COUNT, LENGTH = 60, 110
"""Documents are long enough for short codes."""

RECIPE = f"""
encoder: words
tokens:
  dim: {DIM}
  encoding: {{kind: fde, repetitions: 4, simhash_bits: 2, projection_dim: 8}}
  multivector: null
  codes: {{kind: predictive, size: 14, centroids: 64, levels: scalar}}
  shortlist_bytes: 16
rerank: {{candidates: 50, shortlist: 12}}
"""


def texts() -> list[str]:
    generator = np.random.default_rng(0)
    return [" ".join(f"c{word}" for word in generator.integers(200, size=LENGTH)) for _ in range(COUNT)]


def embplug(*arguments: object) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)], env={"COLUMNS": "200"})


def done(*arguments: object) -> Any:
    """The JSON object that a command prints."""
    result = embplug(*arguments, "--json")
    assert result.exit_code == 0, (arguments, result.stderr, result.exception)
    return json.loads(result.stdout)


@pytest.fixture(autouse=True)
def _in_a_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    register_encoder("words", Words)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    Path("recipe.yaml").write_text(RECIPE)


@pytest.fixture(params=["edge", "server"])
def at(request: pytest.FixtureRequest) -> str:
    """Where a collection ``docs`` has short codes."""
    address = "./data"
    if request.param == "server":
        request.getfixturevalue("server_client")  # which removes the collections
        address, _ = request.getfixturevalue("qdrant_address")
    rows = [{"id": f"doc {i}", "text": text, "kind": f"k{i % 4}"} for i, text in enumerate(texts())]
    Path("docs.jsonl").write_text("\n".join(map(json.dumps, rows)) + "\n")
    fill("docs", "docs.jsonl", address)
    return address


def fill(name: str, file: str, at: str) -> None:
    done("create", name, "--recipe", "recipe.yaml", "--at", at)
    assert done("add", name, file, "--at", at)["added"] == COUNT
    with contextlib.closing(connect(at)) as engine:
        records, _ = engine.scroll(name, limit=COUNT + 1, with_payload=True)
    assert all(record.payload[CODES] and record.payload[SHORTLIST] for record in records)


def best(name: str, at: str, *options: object) -> Any:
    return done("search", name, texts()[7], "--limit", 2, "--stages", "--at", at, *options)


def test_searches_have_a_shortlist(at: str) -> None:
    (hit, other) = best("docs", at)["hits"]
    assert (hit["id"], {*hit["payload"]}) == ("doc 7", {"text", "kind"}) and other["score"] < hit["score"]
    assert [*hit["stages"]] == ["fde", "shortlist", "codes"]
    groups = best("docs", at, "--group-by", "kind", "--group-size", 1)["groups"]
    assert groups[0]["hits"][0]["id"] == "doc 7" and len(groups) == 2
    explained = best("docs", at, "--explain")["hits"][0]
    assert explained["id"] == "doc 7" and explained["explanation"]["stage"] == "codes"
    assert done("explain", "docs", texts()[7], "doc 7", "--at", at)
    shown = embplug("search", "docs", texts()[7], "--stages", "--at", at).stdout
    assert "shortlist" in shown and "_embplug" not in shown
    assert "_embplug" not in json.dumps([hit, groups, explained, done("get", "docs", "doc 7", "--at", at)])
    assert done("info", "docs", "--at", at)["document_bytes"] is not None


@pytest.mark.parametrize("file", ["export.jsonl", "export.parquet"])
def test_what_is_exported_is_added_with_short_codes_again(at: str, file: str) -> None:
    done("export", "docs", file, "--at", at)
    assert b"_embplug" not in Path(file).read_bytes()
    fill("again", file, at)
    (hit, _) = best("again", at)["hits"]
    assert (hit["id"], hit["payload"]) == ("doc 7", {"kind": "k3", "text": texts()[7]})
    assert "shortlist" in hit["stages"]


def test_recipes_are_evaluated_with_a_shortlist_and_without() -> None:
    folder = Path("judged")
    (folder / "qrels").mkdir(parents=True)
    corpus = [{"_id": f"d{i}", "title": "", "text": text} for i, text in enumerate(texts())]
    queries = [{"_id": f"q{i}", "text": texts()[i]} for i in range(8)]
    qrels = ["query-id\tcorpus-id\tscore", *(f"q{i}\td{i}\t1" for i in range(8))]
    (folder / "corpus.jsonl").write_text("\n".join(map(json.dumps, corpus)) + "\n")
    (folder / "queries.jsonl").write_text("\n".join(map(json.dumps, queries)) + "\n")
    (folder / "qrels" / "test.tsv").write_text("\n".join(qrels) + "\n")
    Path("whole.yaml").write_text(RECIPE.replace("shortlist: 12", "shortlist: null"))
    recipes = ("--recipe", "recipe.yaml", "--recipe", "whole.yaml")
    result = done("evaluate", "--beir", folder, *recipes, "--encoder", "words", "--filtered")
    short, whole = result["recipes"]
    assert short["figures"]["nDCG@10"]["mean"] == whole["figures"]["nDCG@10"]["mean"] == 1
    # Of 60 documents, filters that match 1 % and less may match none.
    assert short["state_bytes"] == whole["state_bytes"]
    assert [filtered["share"] for filtered in short["filtered"]][:2] == [0.5, 0.1]
    # Documents of the same words at random: a shortlist of 40 keeps most of ten hits.
    assert 0.6 < short["figures"]["overlap@10"]["mean"] <= whole["figures"]["overlap@10"]["mean"]
