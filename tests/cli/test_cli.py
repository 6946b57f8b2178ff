"""The command line, run as a user runs it."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from click.testing import Result
from typer.testing import CliRunner

from embplug import Collection, connect
from embplug.cli import app

RECIPE = """
encoder: minilm
tokens:
  dim: 384
  encoding: {repetitions: 4, simhash_bits: 3, projection_dim: 8}
payload_indexes: {year: integer}
"""
DOCUMENTS = [
    {"id": "cats", "text": "The cat sleeps on the warm sofa all day long.", "year": 2020},
    {"id": "stocks", "text": "Stock markets fell sharply after the interest rate decision.", "year": 2021},
    {"id": 7, "text": "A recipe for bread: flour, water, salt and yeast.", "year": 2022},
]


def embplug(*arguments: object, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)], input=stdin, env={"COLUMNS": "200"})


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    (tmp_path / "recipe.yaml").write_text(RECIPE)
    (tmp_path / "docs.jsonl").write_text("\n".join(json.dumps(d) for d in DOCUMENTS) + "\n\n")
    return tmp_path


def test_from_recipe_to_hits(folder):
    created = embplug("create", "docs", "--recipe", "recipe.yaml", "--json")
    assert created.exit_code == 0, created.stderr
    assert json.loads(created.stdout) == {"collection": "docs", "state": "created"}
    again = embplug("create", "docs", "--recipe", "recipe.yaml", "--json")
    assert json.loads(again.stdout) == {"collection": "docs", "state": "exists"}
    for _ in range(2):
        added = embplug("add", "docs", "docs.jsonl", "--json")
        assert json.loads(added.stdout)["added"] == 3, added.stderr
    found = embplug("search", "docs", "economy and finance", "--limit", 2, "--stages", "--json")
    hits = json.loads(found.stdout)["hits"]
    assert [hits[0]["id"], hits[0]["payload"]["year"], len(hits)] == ["stocks", 2021, 2]
    assert set(hits[0]["stages"]) == {"fde", "codes"}
    where = json.dumps({"must": [{"key": "year", "range": {"gte": 2022}}]})
    filtered = embplug("search", "docs", "economy", "--filter", where, "--json")
    assert [hit["id"] for hit in json.loads(filtered.stdout)["hits"]] == [7]
    described = json.loads(embplug("info", "docs", "--json").stdout)
    assert (described["points"], described["recipe"]["encoder"]) == (3, "minilm")
    left = embplug("delete", "docs", "7", "cats", "--json")
    assert json.loads(left.stdout)["points"] == 1
    shown = embplug("search", "docs", "economy")
    assert "Stock markets fell" in shown.stdout and "stocks" in shown.stdout
    dropped = embplug("drop", "docs", "--yes", "--json")
    assert json.loads(dropped.stdout)["state"] == "deleted"


def test_exit_codes_tell_what_went_wrong(folder):
    assert embplug("create", "docs", "--recipe", "recipe.yaml").exit_code == 0
    (folder / "other.yaml").write_text(RECIPE.replace("repetitions: 4", "repetitions: 5"))
    (folder / "broken.yaml").write_text(RECIPE + "\nnonsense: 1\n")
    (folder / "bad.jsonl").write_text('{"text": "fine"}\n{"title": "no text"}\n')
    for arguments, code, said in [
        (("create", "docs", "--recipe", "other.yaml"), 3, "tokens.encoding.repetitions: stored 4, passed 5"),
        (("create", "more", "--recipe", "broken.yaml"), 1, "nonsense"),
        (("create", "more", "--recipe", "absent.yaml"), 2, "absent.yaml"),
        (("create", "more"), 2, "--recipe"),
        (("search", "nowhere", "text"), 4, "'nowhere'"),
        (("add", "docs", "bad.jsonl"), 1, "line 2"),
        (("add", "docs", "absent.jsonl"), 2, "absent.jsonl"),
        (("search", "docs", "text", "--filter", "{"), 2, "--filter"),
        (("search", "docs", "text", "--limit", "0"), 1, "limit"),
        (("info", "docs", "--at", "http://127.0.0.1:1"), 1, "127.0.0.1:1"),
        (("info", "docs", "--at", "ftp://host"), 2, "ftp"),
    ]:
        done = embplug(*arguments)
        assert (done.exit_code, said in done.stderr) == (code, True), (arguments, done.stderr)
        assert "Traceback" not in done.stderr
    as_json = embplug("search", "nowhere", "text", "--json")
    assert json.loads(as_json.stdout)["error"] == "CollectionNotFoundError"


def test_documents_from_standard_input_on_a_server(folder, server_client, qdrant_address):
    url, _ = qdrant_address
    lines = json.dumps({"_id": "a", "body": "Whales are mammals.", "kind": "animal"})
    assert embplug("create", "docs", "--recipe", "recipe.yaml", "--at", url).exit_code == 0
    added = embplug("add", "docs", "-", "--text-key", "body", "--at", url, "--json", stdin=lines)
    assert json.loads(added.stdout)["added"] == 1, added.stderr
    hits = json.loads(embplug("search", "docs", "sea", "--at", url, "--json").stdout)["hits"]
    assert (hits[0]["id"], hits[0]["payload"]) == ("a", {"kind": "animal", "text": "Whales are mammals."})


def test_the_command_is_installed():
    command = Path(sys.executable).with_name("embplug")
    done = subprocess.run([str(command), "info", "--help"], capture_output=True, text=True, check=False)
    assert (done.returncode, "Describe a collection" in done.stdout) == (0, True), done.stderr


def test_a_search_can_be_of_one_branch_alone(folder):
    Path("recipe.yaml").write_text("dense: {dim: 384}\nsparse: {average_length: 10}\nencoder: minilm\n")
    assert embplug("create", "words", "--recipe", "recipe.yaml").exit_code == 0
    assert embplug("add", "words", "docs.jsonl").exit_code == 0
    found = embplug("search", "words", "yeast", "--branch", "sparse", "--json")
    assert [hit["id"] for hit in json.loads(found.stdout)["hits"]] == [7], found.stderr
    both = embplug("search", "words", "yeast", "--stages", "--json")
    assert {"dense", "sparse", "fusion"} == json.loads(both.stdout)["hits"][0]["stages"].keys()
    assert embplug("search", "words", "yeast", "--branch", "colour").exit_code == 1


BAD_FILES = {
    "latin.jsonl": '{"text": "Grüße"}\n'.encode("latin-1"),
    "deep.jsonl": b'{"text": "a", "n": ' + b"[" * 99_999,
    "digits.jsonl": b'{"text": "a", "n": ' + b"9" * 5000 + b"}",
    "half.jsonl": b'{"text": "a\\ud800"}',
    "deep.yaml": b"[" * 99_999,
    "digits.yaml": b"dense: {dim: " + b"9" * 5000 + b"}",
    "latin.yaml": "# ä".encode("latin-1"),
    "deep.json": b"[" * 99_999,
    "text.npy": b"no array",
}


def test_files_that_cannot_be_read_are_named(folder):
    np.save("single.npy", np.float32(1.0))
    for name, data in BAD_FILES.items():
        Path(name).write_bytes(data)
    assert embplug("create", "docs", "--recipe", "recipe.yaml").exit_code == 0
    for arguments, said in [
        *((("add", "docs", name), f"{name}, line 1") for name in BAD_FILES if name.endswith(".jsonl")),
        *((("create", "more", "--recipe", name), "recipe") for name in BAD_FILES if name.endswith(".yaml")),
        (("report", "deep.json"), "path"),
        *(
            (("advise", "docs", "--queries", name), name)
            for name in ("text.npy", "single.npy", "latin.jsonl")
        ),
        (("advise", "docs", "--queries", "digits.jsonl"), "digits.jsonl, line 1"),
        (("info", "docs", "--at", "a\0b"), "target"),
        (("info", "docs", "--at", "http://a\0b"), "target"),
        (("search", "docs", "a\udcff"), "UTF-8"),
        (("search", "docs", "a", "--filter", '{"must":' * 200), "--filter"),
        (("delete", "docs", "\udcff"), "ids[0]"),
    ]:
        done = embplug(*arguments)
        assert done.exit_code in (1, 2) and said in done.stderr, (arguments, done.stderr, done.exception)
        assert isinstance(done.exception, SystemExit), arguments


def test_documents_without_a_text_are_left_out_if_the_user_says_so(folder):
    lines = [{"id": "a", "text": "whales"}, {"id": "b", "text": " "}, {"id": 3}, {"id": "d", "text": None}]
    folder.joinpath("blank.jsonl").write_text("\n".join(map(json.dumps, lines)))
    embplug("create", "docs", "--recipe", "recipe.yaml")
    refused = embplug("add", "docs", "blank.jsonl", "--json")
    assert refused.exit_code == 1 and "line 2" in json.loads(refused.stdout)["message"]
    added = json.loads(embplug("add", "docs", "blank.jsonl", "--skip-empty", "--json").stdout)
    assert (added["added"], added["skipped"]) == (1, ["b", 3, "d"])
    shown = embplug("add", "docs", "blank.jsonl", "--skip-empty")
    assert "1 documents added, 3 left out without text" in shown.stdout
    folder.joinpath("wrong.jsonl").write_text('{"id": "a", "text": 5}')
    assert embplug("add", "docs", "wrong.jsonl", "--skip-empty").exit_code == 1


def test_documents_without_a_text_are_stored_without_vectors_if_the_user_says_so(folder):
    lines = [{"id": "a", "text": "whales"}, {"id": "b", "text": " "}, {"id": 3, "year": 7}]
    folder.joinpath("blank.jsonl").write_text("\n".join(map(json.dumps, lines)))
    embplug("create", "docs", "--recipe", "recipe.yaml")
    added = json.loads(embplug("add", "docs", "blank.jsonl", "--store-empty", "--json").stdout)
    assert (added["added"], added["skipped"], added["without_vectors"]) == (3, [], ["b", 3])
    shown = embplug("add", "docs", "blank.jsonl", "--store-empty")
    assert "3 documents added, 2 of them without text and vectors" in shown.stdout
    assert embplug("add", "docs", "blank.jsonl", "--store-empty", "--skip-empty").exit_code == 2
    folder.joinpath("nameless.jsonl").write_text('{"text": "whales"}\n{"text": ""}')
    nameless = embplug("add", "docs", "nameless.jsonl", "--store-empty", "--json")
    assert nameless.exit_code == 1 and "line 2" in json.loads(nameless.stdout)["message"]


def test_only_decimal_ids_are_numbers(folder):
    Path("recipe.yaml").write_text("dense: {dim: 384}\nencoder: minilm\n")
    ids = [3, "3 ", "007", "\u0663"]
    lines = [json.dumps({"id": id_, "text": "A text."}) for id_ in ids]
    Path("docs.jsonl").write_text("\ufeff" + "\n".join(lines), encoding="utf-8")
    assert embplug("create", "docs", "--recipe", "recipe.yaml").exit_code == 0
    assert json.loads(embplug("add", "docs", "docs.jsonl", "--json").stdout)["added"] == 4
    assert json.loads(embplug("delete", "docs", "\u0663", "007", "--json").stdout)["points"] == 2
    with connect("data") as engine:
        assert {record.id for record in Collection.open("docs", engine).scroll()[0]} == {3, "3 "}


def test_payloads_and_their_indexes_change_later(folder):
    recipe = "sparse: {}\n"
    (folder / "recipe.yaml").write_text(recipe)
    assert embplug("create", "docs", "--recipe", "recipe.yaml").exit_code == 0
    assert embplug("add", "docs", "docs.jsonl").exit_code == 0

    def payload(id_: int | str) -> dict[str, object]:
        with connect("./data") as engine:
            (record,) = Collection.open("docs", engine).retrieve([id_])
            return record.payload

    new = json.dumps({"must": [{"key": "year", "range": {"gte": 2021}}]})
    for arguments in (
        ("set-payload", "docs", '{"seen": true}', "cats", "7"),
        ("set-payload", "docs", '{"town": "Rome"}', "--filter", new, "--key", "author.address"),
        ("delete-payload", "docs", "7", "--key", "year", "--key", "seen"),
    ):
        done = embplug(*arguments, "--json")
        assert json.loads(done.stdout) == {"collection": "docs", "state": "updated"}, done.stderr
    text = {document["id"]: document["text"] for document in DOCUMENTS}
    assert payload("cats") == {"text": text["cats"], "year": 2020, "seen": True}
    assert payload(7) == {"text": text[7], "author": {"address": {"town": "Rome"}}}
    assert embplug("set-payload", "docs", '{"a": 1}', "cats", "--overwrite").exit_code == 0
    assert embplug("delete-payload", "docs", "stocks").exit_code == 0
    assert payload("cats") == {"text": text["cats"], "a": 1} and payload("stocks") == {"text": text["stocks"]}
    for arguments, said in [
        (("set-payload", "docs", '{"text": "other"}', "cats"), "no change of 'text'"),
        (("set-payload", "docs", '{"a": 1}', "cats", "--overwrite", "--key", "b"), "--key"),
        (("set-payload", "docs", "{a}", "cats"), "PAYLOAD"),
        (("set-payload", "docs", '{"a": 1}'), "either ids or filter"),
        (("delete-payload", "docs", "nobody"), "'nobody'"),
    ]:
        failed = embplug(*arguments)
        assert failed.exit_code in (1, 2) and said in failed.stderr

    tenant = '{"type": "keyword", "is_tenant": true}'
    created = json.loads(embplug("create-payload-index", "docs", "user", tenant, "--json").stdout)
    assert created["payload_indexes"]["user"]["is_tenant"] is True
    assert "year (integer)" in embplug("create-payload-index", "docs", "year", "integer").stdout
    described = json.loads(embplug("info", "docs", "--json").stdout)
    assert {*described["recipe"]["payload_indexes"]} == {"user", "year"}
    assert embplug("create", "docs", "--recipe", "recipe.yaml").exit_code == 0
    left = json.loads(embplug("delete-payload-index", "docs", "user", "--json").stdout)
    assert {*left["payload_indexes"]} == {"year"}
    assert "expected an indexed field" in embplug("delete-payload-index", "docs", "user").stderr
    assert "field_schema" in embplug("create-payload-index", "docs", "user", "nonsense").stderr
    whole = json.dumps({"must_not": [{"has_id": ["cats"]}]})
    assert json.loads(embplug("delete", "docs", "--filter", whole, "--json").stdout)["points"] == 1


def test_a_search_shows_the_best_chunks_of_each_document(folder):
    (folder / "recipe.yaml").write_text("sparse: {}\n")
    lines = [{"id": i, "text": f"apple number {i}", "doc": f"text {i % 3}"} for i in range(9)]
    (folder / "chunks.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert embplug("create", "docs", "--recipe", "recipe.yaml").exit_code == 0
    assert embplug("add", "docs", "chunks.jsonl").exit_code == 0
    grouped = ("search", "docs", "apple", "--group-by", "doc", "--group-size", 2, "--limit", 2)
    groups = json.loads(embplug(*grouped, "--json").stdout)["groups"]
    assert [len(group["hits"]) for group in groups] == [2, 2]
    assert all(hit["payload"]["doc"] == group["id"] for group in groups for hit in group["hits"])
    last = json.dumps(
        {"formula": {"sum": ["$score", {"mult": [100, {"key": "doc", "match": {"value": "text 2"}}]}]}}
    )
    boosted = json.loads(embplug(*grouped, "--formula", last, "--json").stdout)["groups"]
    assert boosted[0]["id"] == "text 2" and boosted[0]["hits"][0]["score"] > 100
    assert embplug(*grouped, "--formula", "{}").exit_code == 2
    shown = embplug(*grouped).stdout
    assert groups[0]["id"] in shown and "apple number" in shown


def test_a_collection_may_be_created_without_a_recipe(folder):
    (folder / "dense.yaml").write_text("dense: {dim: 4, preset: small}")
    both = embplug("create", "docs", "--recipe", "dense.yaml", "--preset", "small")
    assert both.exit_code == 2 and "--preset" in both.stderr
    without = embplug("create", "docs")
    assert without.exit_code and "encoder" in without.stderr
    unknown = embplug("create", "docs", "--preset", "tiny", "--encoder", "minilm")
    assert unknown.exit_code and "'tiny'" in unknown.stderr
    assert embplug("create", "docs", "--recipe", "dense.yaml").exit_code == 0
    assert "small" in embplug("info", "docs").stdout
