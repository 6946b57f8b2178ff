"""Learned weights of terms in files and on the command line, on Edge."""

from __future__ import annotations

import json
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import Result
from typer.testing import CliRunner

from embplug import Collection, connect
from embplug.cli import app
from embplug.files.arrow import Arrow

WEIGHTS = [{7: 0.5, 2_000_000: 1.25}, {7: 0.25}, {}]


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path


def embplug(*arguments: object) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)], env={"COLUMNS": "200"})


def create(name: str = "docs", recipe: str = "sparse: {kind: learned}\n") -> None:
    Path(f"{name}.yaml").write_text(recipe)
    done = embplug("create", name, "--recipe", f"{name}.yaml")
    assert done.exit_code == 0, done.stderr


def write_lines(values: list[object], field: str = "sparse", **fields: object) -> Path:
    lines = [{"id": i, field: value, "n": i, **fields} for i, value in enumerate(values)]
    Path("docs.jsonl").write_text("\n".join(map(json.dumps, lines)))
    return Path("docs.jsonl")


def stored(name: str = "docs") -> dict[object, dict[int, float]]:
    with connect("./data") as engine:
        records, _ = Collection.open(name, engine).scroll(with_vectors=["sparse"])
    assert [record.payload for record in records] == [{"n": record.id} for record in records]
    vectors = {record.id: (record.vector or {}).get("sparse") for record in records}
    return {id_: dict(zip(v.indices, v.values, strict=True)) if v else {} for id_, v in vectors.items()}


def shapes(weights: dict[int, float]) -> list[object]:
    """The forms in which JSON holds the same weights."""
    return [
        {str(index): weight for index, weight in weights.items()},
        {"indices": [*weights], "values": [*weights.values()]},
        [[index, weight] for index, weight in weights.items()],
        json.dumps({str(index): weight for index, weight in weights.items()}),
    ]


@pytest.mark.parametrize("form", range(4))
def test_weights_of_json_lines_are_stored_and_found(form: int) -> None:
    create()
    done = embplug("add", "docs", write_lines([shapes(weights)[form] for weights in WEIGHTS]))
    assert done.exit_code == 0, done.stderr
    assert stored() == dict(enumerate(WEIGHTS))
    hits = json.loads(embplug("search", "docs", "--sparse", '{"7": 2}', "--json").stdout)["hits"]
    assert [(hit["id"], hit["score"]) for hit in hits] == [(0, 1.0), (1, 0.5)]


def test_another_field_may_hold_the_weights() -> None:
    create()
    file = write_lines([shapes(weights)[0] for weights in WEIGHTS], "splade")
    assert embplug("add", "docs", file, "--vector", "splade").exit_code == 0
    create("named")
    assert embplug("add", "named", file, "--vector", "sparse=splade").exit_code == 0
    assert stored() == stored("named") == dict(enumerate(WEIGHTS))


COLUMNS = {
    "struct of lists": pa.struct([("indices", pa.list_(pa.int64())), ("values", pa.list_(pa.float32()))]),
    "struct of terms": pa.struct([("7", pa.float64()), ("2000000", pa.float64())]),
    "map": pa.map_(pa.uint32(), pa.float32()),
}


@pytest.mark.parametrize("suffix", ["parquet", "arrow"])
@pytest.mark.parametrize("kind", ["struct of lists", "struct of terms", "map"])
def test_weights_of_parquet_and_arrow_are_stored(kind: str, suffix: str) -> None:
    forms = {"struct of lists": 1, "struct of terms": 0, "map": 2}
    values = [shapes(weights)[forms[kind]] for weights in WEIGHTS]
    if kind == "map":
        values = [[tuple(pair) for pair in pairs] for pairs in values]  # type: ignore[attr-defined]
    table = pa.table({"id": [0, 1, 2], "n": [0, 1, 2], "sparse": pa.array(values, type=COLUMNS[kind])})
    file = f"docs.{suffix}"
    if suffix == "parquet":
        pq.write_table(table, file)
    else:
        with pa.OSFile(file, "wb") as sink, pa.ipc.new_stream(sink, table.schema) as writer:
            writer.write_table(table)
    create()
    done = embplug("add", "docs", file)
    assert done.exit_code == 0, done.stderr
    assert stored() == dict(enumerate(WEIGHTS))
    assert Arrow([Path(file)]).total == 3


@pytest.mark.parametrize("name", ["out.jsonl", "out.parquet"])
def test_exported_weights_are_read_again(name: str) -> None:
    recipe = "dense: {dim: 2, distance: Dot}\nsparse: {kind: learned}\n"
    create(recipe=recipe)
    lines = write_lines([shapes(weights)[0] for weights in WEIGHTS], dense=[3.0, 4.0])
    assert embplug("add", "docs", lines).exit_code == 0
    assert embplug("export", "docs", name, "--with-vectors").exit_code == 0
    create("again", recipe)
    again = embplug("add", "again", name)
    assert again.exit_code == 0, again.stderr
    assert stored("again") == stored() == dict(enumerate(WEIGHTS))
    shown = json.loads(embplug("get", "again", 0, "--with-vectors", "--json").stdout)
    assert shown["documents"][0]["vector"]["sparse"] == {"indices": [7, 2_000_000], "values": [0.5, 1.25]}


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        ({"x": 1}, "field 'sparse': expected integers as indices, got 'x'"),
        ({"-1": 1}, "field 'sparse': expected indices from 0 to 4294967295, got -1"),
        ({"4294967296": 1}, "field 'sparse': expected indices from 0 to 4294967295"),
        ({"7": "1"}, "field 'sparse', index 7: expected a number, got '1'"),
        ({"7": True}, "field 'sparse', index 7: expected a number, got True"),
        ({"7": float("nan")}, "field 'sparse': expected finite weights"),
        ({"7": 1, "07": 1}, "field 'sparse': expected each index once"),
        ({"indices": [1, 2], "values": [1]}, "field 'sparse': expected a weight for each index"),
        ({"indices": [1.5], "values": [1]}, "field 'sparse': expected integers as indices, got 1.5"),
        ({"indices": 1, "values": 1}, "field 'sparse': expected lists of indices and of values"),
        ([0.1, 0.2], "field 'sparse': expected weights by index, such as"),
        (0.5, "field 'sparse': expected weights by index, such as"),
        (None, "field 'sparse': expected weights by index, such as"),
        ("{", "field 'sparse': expected JSON"),
    ],
)
def test_wrong_weights_name_file_line_and_field(wrong: object, said: str) -> None:
    create()
    done = embplug("add", "docs", write_lines([{"1": 1.0}, wrong]))
    shown = " ".join(done.stderr.split())
    assert done.exit_code == 1 and isinstance(done.exception, SystemExit)
    assert f"docs.jsonl, line 2, {said}" in shown
    assert stored() == {}


def test_missing_weights_are_named_where_no_encoder_makes_them() -> None:
    create()
    Path("docs.jsonl").write_text('{"id": 1, "text": "a"}')
    done = embplug("add", "docs", "docs.jsonl")
    assert "line 1, field 'sparse': expected weights of terms; the fields are 'id', 'text'" in done.stderr
    Path("docs.jsonl").write_text('{"id": 1, "sparse": {"1": 1}}\n{"id": 2, "n": 2}')
    done = embplug("add", "docs", "docs.jsonl")
    assert "line 2, field 'sparse': expected weights of terms; the fields are 'id', 'n'" in done.stderr


def test_a_query_needs_a_text_or_weights_that_the_recipe_takes() -> None:
    create()
    create("words", "sparse: {average_length: 3.0}\n")
    for arguments, said in [
        (("docs",), "--sparse: expected weights of terms, or a text to search for, got neither"),
        (("docs", "alpha"), "--sparse: expected weights of terms, because no encoder makes them"),
        (("docs", "--sparse", "{"), "--sparse: expected JSON"),
        (("docs", "--sparse", '{"-1": 1}'), "--sparse: expected indices from 0 to"),
        (("words", "--sparse", '{"1": 1}'), "--sparse: expected no sparse vectors, because the recipe comp"),
    ]:
        done = embplug("search", *arguments)
        assert done.exit_code == 2 and said in " ".join(done.stderr.split()), (arguments, done.stderr)
