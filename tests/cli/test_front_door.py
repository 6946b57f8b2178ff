"""What a new user meets: plain collections, misspelt names, tables that fit a terminal."""

from __future__ import annotations

import json
from importlib.metadata import version
from pathlib import Path
from types import SimpleNamespace

import pytest
from click.testing import Result
from qdrant_client import models
from typer.main import get_command
from typer.testing import CliRunner

from embplug import Collection, Dense, Recipe, Tokens, connect, register_encoder
from embplug.cli import app
from embplug.cli.shared import complete_names
from tests.words import DIM, Words

TEXTS = [f"w{i} w{i // 2} c{i % 5}" for i in range(60)]


def embplug(*arguments: object) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)], env={"COLUMNS": "80", "TERMINAL_WIDTH": "80"})


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path


@pytest.fixture
def plain(folder: Path) -> None:
    """A collection as other tools make it, with an alias."""
    register_encoder("words", Words)
    with connect("./data") as engine:
        engine.create_collection(
            "docs", vectors_config={"v": models.VectorParams(size=DIM, distance=models.Distance.COSINE)}
        )
        vectors = Words().encode_documents(TEXTS).dense
        payloads = [{"page_content": text, "metadata": {"n": i}} for i, text in enumerate(TEXTS)]
        ids = list(range(len(TEXTS)))
        engine.upsert("docs", models.Batch(ids=ids, vectors={"v": vectors.tolist()}, payloads=payloads))
        alias = models.CreateAlias(collection_name="docs", alias_name="live")
        engine.update_collection_aliases([models.CreateAliasOperation(create_alias=alias)])


def test_the_version_is_that_of_the_package():
    done = embplug("--version")
    assert (done.exit_code, done.stdout.strip()) == (0, f"embplug {version('embplug')}")


@pytest.mark.parametrize(
    "command", [("info", "docs"), ("search", "docs", "w1"), ("upgrade", "docs", "--encoder", "words")]
)
def test_a_plain_collection_says_how_to_bring_it_in(plain, command):
    done = embplug(*command)
    assert done.exit_code == 1
    lines = [line.strip() for line in done.stderr.splitlines()]
    assert "embplug advise docs --at ./data -o recipe.yaml" in lines
    assert "embplug migrate docs docs-small --recipe recipe.yaml --at ./data --dry-run" in lines


def test_misspelt_names_are_suggested(plain):
    for command in (("info", "dosc"), ("advise", "dosc"), ("migrate", "dosc", "x", "--recipe", "r.yaml")):
        Path("r.yaml").write_text(f"dense: {{dim: {DIM}}}")
        done = embplug(*command)
        assert done.exit_code == 4 and "did you mean 'docs'?" in done.stderr, (command, done.stderr)
    assert "embplug list --at ./data" in embplug("info", "other").stderr
    Path("empty").mkdir()
    failed = embplug("info", "docs", "--at", "empty").stderr
    assert "empty holds none at all" in failed and "EMBPLUG_AT" in failed
    assert "'search'" in embplug("serach", "docs", "w1").stderr


def test_collections_are_listed_with_those_of_others(plain):
    with connect("./data") as engine:
        Collection.create("own", Recipe(dense=Dense(dim=2, preset="small")), engine)
    listed = json.loads(embplug("list", "--json").stdout)["collections"]
    assert [(entry["name"], entry["points"], entry["is_embplug"], entry["aliases"]) for entry in listed] == [
        ("docs", 60, False, ["live"]),
        ("own", 0, True, []),
    ]
    shown = embplug("list").stdout
    assert "docs (live)" in shown and "embplug" in shown and max(map(len, shown.splitlines())) <= 80
    Path("empty").mkdir()
    assert "no collection" in embplug("list", "--at", "empty").stdout


COMMANDS = [
    ("search", "docs", "w1"),
    ("info", "docs"),
    ("list",),
    ("get", "docs", "1"),
    ("export", "docs", "-"),
    ("explain", "docs", "w1"),
    ("advise", "docs"),
    ("add", "docs", "recipe.yaml"),
    ("delete", "docs", "1"),
    ("drop", "docs", "--yes"),
    ("mcp", "docs"),
    ("migrate", "docs", "small", "--recipe", "recipe.yaml"),
    ("upgrade", "docs", "--encoder", "words"),
    ("reembed", "docs"),
    ("set-payload", "docs", "{}"),
    ("delete-payload", "docs", "a"),
    ("create-payload-index", "docs", "a", "keyword"),
    ("delete-payload-index", "docs", "a"),
]


@pytest.mark.parametrize("command", COMMANDS, ids=lambda command: command[0])
def test_a_directory_that_does_not_exist_is_named_and_not_made(folder, command):
    Path("recipe.yaml").write_text(f"dense: {{dim: {DIM}}}")
    for at in ((), ("--at", "./dta"), ("--at", "~nobody/dta")):
        done = embplug(*command, *at)
        named = at[1] if at else "./data"
        assert done.exit_code == 4 and f"no directory {named}: " in done.stderr, done.stderr
        assert "EMBPLUG_AT" in done.stderr
    assert [path.name for path in folder.iterdir()] == ["recipe.yaml"]


def test_every_command_that_opens_an_engine_is_tried_without_its_directory():
    commands = get_command(app).commands.items()
    opening = {name for name, command in commands if "at" in {option.name for option in command.params}}
    assert opening - {command[0] for command in COMMANDS} == {"create", "demo", "evaluate"}


def test_a_completion_makes_no_directory(folder):
    assert complete_names(SimpleNamespace(params={}), "d") == []
    assert not [*folder.iterdir()]


def test_names_are_completed(plain):
    here, nowhere = (SimpleNamespace(params={"at": at}) for at in ("./data", "ftp://nowhere"))
    assert complete_names(here, "d") == ["docs"]
    assert complete_names(here, "") == ["docs", "live"]
    assert complete_names(nowhere, "") == []


def test_a_migrated_collection_is_searched_by_text(plain):
    Path("recipe.yaml").write_text(
        f"dense: {{v: {{dim: {DIM}, datatype: float16}}}}\ntext_key: page_content\n"
    )
    done = embplug("migrate", "docs", "small", "--recipe", "recipe.yaml", "--alias", "live")
    assert done.exit_code == 0, done.stderr
    text = " ".join(done.stdout.split())
    assert "go on working with Qdrant's own client: the vectors keep their names" in text
    assert "embplug migrate docs small --alias live --rollback --at ./data" in text
    assert "ms before" in text and "for the graph" in text
    without = embplug("search", "live", "w7")
    assert without.exit_code == 2 and "--encoder" in without.stderr
    hits = json.loads(embplug("search", "live", "w7 w3 c2", "--encoder", "words", "--json").stdout)["hits"]
    assert hits[0]["payload"]["page_content"] == TEXTS[7]
    shown = embplug("search", "live", "w7 w3 c2", "--encoder", "words").stdout
    assert TEXTS[7] in shown


def test_info_tells_bytes_and_the_recipe_without_nulls(folder):
    recipe = Recipe(dense={"title": Dense(dim=64, preset="small")}, tokens=Tokens(dim=8))
    with connect("./data") as engine:
        Collection.create("docs", Recipe(dense={"title": Dense(dim=64, preset="small")}), engine).add(
            range(20), dense=[[1.0] * 64] * 20
        )
    shown = embplug("info", "docs").stdout
    assert "bytes in memory" in shown and "256 bytes as float32 vectors" in shown
    assert "null" not in shown and "None" not in shown
    assert max(map(len, shown.splitlines())) <= 80
    for whole in (recipe, Recipe.from_yaml("sparse: {}")):
        assert Recipe.from_yaml(whole.to_short_yaml()) == whole
