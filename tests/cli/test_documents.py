"""Documents brought in from files, shown and written again, on Edge."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
import time
import uuid
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from click.testing import Result
from typer.testing import CliRunner

from embplug import Collection, Documents, connect
from embplug.cli import app

ROWS, DIM = 20_000, 32
MIXED = [1, "1", 1.0, True, "true", None, {"a": "1"}, ["NaN"]]


def embplug(*arguments: object, stdin: str | None = None) -> Result:
    return CliRunner().invoke(app, [*map(str, arguments)], input=stdin, env={"COLUMNS": "80"})


@pytest.fixture(autouse=True)
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("XDG_STATE_HOME", str(tmp_path / "state"))
    return tmp_path


def created(recipe: str, name: str = "docs") -> None:
    Path(f"{name}.yaml").write_text(recipe)
    done = embplug("create", name, "--recipe", f"{name}.yaml")
    assert done.exit_code == 0, done.stderr


def stored(name: str = "docs", with_vectors: bool = False) -> dict[object, object]:
    with connect("./data") as engine:
        records, _ = Collection.open(name, engine).scroll(limit=100_000, with_vectors=with_vectors)
    return {
        record.id: (record.payload, record.vector) if with_vectors else record.payload for record in records
    }


def test_csv_with_typed_columns_becomes_payload(folder):
    created("sparse: {}\npayload_indexes: {version: keyword}\n")
    Path("docs.csv").write_text('id,text,year,version\n1,"red, apples",2020,1.10\nb,pears,2021,1.9\n')
    added = embplug("add", "docs", "docs.csv")
    assert added.exit_code == 0 and "2 documents added" in added.stdout, added.stderr
    assert stored() == {
        "1": {"text": "red, apples", "year": 2020, "version": "1.10"},
        "b": {"text": "pears", "year": 2021, "version": "1.9"},
    }


def test_errors_name_file_line_and_field(folder):
    created("dense: {dim: 2}\nsparse: {}\npayload_indexes: {}\n")
    good = {"id": 1, "text": "a", "dense": [1, 0]}
    for wrong, said in [
        ({"id": 2, "text": "b", "dense": [1]}, "line 3, field 'dense': expected 2 numbers"),
        ({"id": 2, "text": "b", "dense": [1, "x"]}, "line 3, field 'dense': expected a list of numbers"),
        (
            {"id": 2, "text": "b", "dense": [1, float("nan")]},
            "line 3, field 'dense': expected finite numbers",
        ),
        ({"id": 2, "text": "b"}, "line 3, field 'dense': expected a vector, as other rows have"),
        (
            {"id": 2, "text": "b", "dense": None},
            "line 3, field 'dense': expected a vector, as other rows have; --store-empty keeps",
        ),
        (
            {"id": 2, "title": "b", "dense": [1, 0]},
            "field 'text': expected a text; --text-key names another field",
        ),
        ({"id": 2, "text": " ", "dense": [1, 0]}, "line 3, field 'text': expected a text; --skip-empty"),
        ({"id": 2.5, "text": "b", "dense": [1, 0]}, "line 3, field 'id': expected an integer"),
        ({"id": 1, "text": "b", "dense": [1, 0]}, "docs.jsonl, line 3: expected ids that differ"),
        ({"id": 2, "text": "b", "dense": [1, 0], "n": {"m": [1, 1e999]}}, "line 3, field 'n'['m'][1]"),
        ({"id": 2, "text": "b", "dense": "absent.npy"}, "absent.npy"),
        ({"id": 2, "text": "b", "dense": "../absent.npy"}, "line 3, field 'dense': expected a file inside"),
    ]:
        Path("docs.jsonl").write_text(f"{json.dumps(good)}\n\n{json.dumps(wrong)}\n")
        done = embplug("add", "docs", "docs.jsonl")
        shown = " ".join(done.stderr.split())
        assert (done.exit_code != 0, said in shown) == (True, True), (wrong, shown, done.exception)
        assert isinstance(done.exception, SystemExit)
    assert stored() == {}


def test_a_field_that_would_replace_the_text_is_named():
    created("dense: {dim: 2}\nsparse: {}\n")
    row = {"id": 1, "text": "stored", "body": "encoded", "dense": [1.0, 0.0]}
    Path("docs.jsonl").write_text(json.dumps(row))
    done = embplug("add", "docs", "docs.jsonl", "--text-key", "body")
    assert "docs.jsonl, line 1, field 'text': expected no such field" in " ".join(done.stderr.split())


def test_vectors_come_from_fields_and_from_npy_files(folder):
    dense = "dense: {a: {dim: 2, distance: Dot}, b: {dim: 3, distance: Dot}}\n"
    created(f"{dense}tokens: {{dim: 2, encoding: null, codes: null}}\n")
    rng = np.random.default_rng(0)
    a, b, tokens = rng.random((4, 2)), rng.random((4, 3)).astype(np.float32), rng.random((4, 5, 2))
    np.save("b.npy", b)
    (folder / "matrices").mkdir()
    for i in range(4):
        np.save(f"matrices/{i}.npy", tokens[i, : i + 1].astype(np.float32))
    lines = [{"id": i, "first": a[i].tolist(), "tokens": f"matrices/{i}.npy", "n": i} for i in range(4)]
    Path("docs.jsonl").write_text("\n".join(map(json.dumps, lines)))
    options = ("--vector", "a=first", "--vector", "b=b.npy")
    done = embplug("add", "docs", "docs.jsonl", *options)
    assert done.exit_code == 0, done.stderr
    documents = stored(with_vectors=True)
    for i in range(4):
        payload, vectors = documents[i]
        assert payload == {"n": i}
        np.testing.assert_allclose(vectors["a"], a[i], rtol=1e-6)
        np.testing.assert_allclose(vectors["b"], b[i], rtol=1e-6)
        # Edge stores them in eight bits a dimension.
        np.testing.assert_allclose(vectors["tokens"], tokens[i, : i + 1], atol=0.02)
    np.save("b.npy", b[:3])
    short = embplug("add", "docs", "docs.jsonl", *options)
    assert short.exit_code and "expected 3 rows, as b.npy has" in " ".join(short.stderr.split())
    assert "one of ['a', 'b', 'tokens']" in embplug("add", "docs", "docs.jsonl", "--vector", "c=x").stderr
    assert "VECTOR=FIELD" in embplug("add", "docs", "docs.jsonl", "--vector", "first").stderr


def test_a_file_of_nothing_but_vectors(folder):
    created("dense: {dim: 3}\n")
    np.save("vectors.npy", np.eye(3, dtype=np.float32))
    done = embplug("add", "docs", "vectors.npy")
    assert done.exit_code == 0, done.stderr
    assert {*stored()} == {0, 1, 2}


@pytest.mark.parametrize("name", ["out.jsonl", "out.parquet"])
def test_what_is_exported_is_read_again(folder, name):
    created("dense: {v: {dim: 2}}\ntokens: {dim: 2, encoding: null, codes: null}\n")
    lines = [
        {"id": i, "text": f"t{i}", "v": [1, i], "tokens": [[1, i]] * (1 + i), "n": None if i == 1 else i}
        for i in range(3)
    ]
    lines[0] |= {"mixed": "x", "object": {"a": [1]}, "empty": {}}
    lines[1] |= {"mixed": 5, "object": {"b": "c"}, "big": 2**62 + 1}
    Path("docs.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert embplug("add", "docs", "docs.jsonl").exit_code == 0
    done = embplug("export", "docs", name, "--with-vectors")
    assert done.exit_code == 0 and "3 documents written" in done.stdout, (done.stderr, done.exception)
    created("dense: {v: {dim: 2}}\ntokens: {dim: 2, encoding: null, codes: null}\n", "again")
    again = embplug("add", "again", name)
    assert again.exit_code == 0, again.stderr
    first, second = stored(with_vectors=True), stored("again", with_vectors=True)
    assert first.keys() == second.keys()
    for id_, (payload, vectors) in first.items():
        other, other_vectors = second[id_]
        for vector in ("v", "tokens"):
            np.testing.assert_allclose(other_vectors[vector], vectors[vector], rtol=1e-6)
        if name.endswith(".parquet"):
            # A column has one type, and null is what a row lacks.
            payload = {key: value for key, value in payload.items() if value is not None}
            if "object" in payload:
                other["object"] = {key: value for key, value in other["object"].items() if value is not None}
        assert other == payload
    if name.endswith(".parquet"):
        assert "JSON texts: empty, mixed" in " ".join(done.stdout.split())
    assert not [*folder.glob(".*.part")]


def test_ids_of_several_types_are_the_same_after_parquet(folder):
    created("dense: {dim: 2}\n")
    ids = [1, "1", '"1"', "a", "null", "[1", str(uuid.UUID(int=7)), 2**63]
    payloads = [{"mixed": value, "id of": repr(id_)} for id_, value in zip(ids, MIXED, strict=True)]
    with connect("./data") as engine:
        Collection.open("docs", engine).add(ids, dense=[[1, 0]] * len(ids), payloads=payloads)
    done = embplug("export", "docs", "out.parquet", "--with-vectors")
    assert done.exit_code == 0 and "JSON texts: id, mixed" in " ".join(done.stdout.split())
    created("dense: {dim: 2}\n", "again")
    assert embplug("add", "again", "out.parquet").exit_code == 0
    first, second = stored(), stored("again")
    assert {*map(repr, first)} == {*map(repr, second)}
    for id_, payload in first.items():
        kept = {key: value for key, value in payload.items() if value is not None}
        assert json.dumps(second[id_], sort_keys=True) == json.dumps(kept, sort_keys=True)


def test_an_export_may_be_filtered_and_piped(folder):
    created("sparse: {}\n")
    Path("docs.csv").write_text("id,text,n\n1,a,1\n2,b,2\n3,c,3\n")
    embplug("add", "docs", "docs.csv")
    some = json.dumps({"must": [{"key": "n", "range": {"gte": 2}}]})
    piped = embplug("export", "docs", "-", "--filter", some)
    assert [json.loads(line)["id"] for line in piped.stdout.splitlines()] == [2, 3]
    wrong = embplug("export", "docs", "out.xlsx")
    assert wrong.exit_code == 2 and ".parquet" in wrong.stderr
    taken = embplug("export", "docs", "out.jsonl", "--id-key", "n")
    assert taken.exit_code == 2 and "--id-key" in taken.stderr and not Path("out.jsonl").exists()
    nowhere = embplug("export", "docs", "absent/out.jsonl")
    assert nowhere.exit_code == 2 and "absent" in nowhere.stderr


def test_documents_are_shown_by_their_ids(folder):
    created("dense: {dim: 2}\nsparse: {}\n")
    Path("docs.jsonl").write_text('{"id": 1, "text": "a b", "dense": [3, 4], "tags": ["x"]}')
    embplug("add", "docs", "docs.jsonl")
    shown = embplug("get", "docs", "1")
    assert "a b" in shown.stdout and '["x"]' in shown.stdout
    got = embplug("get", "docs", "1", "nobody", "--with-vectors", "--json")
    result = json.loads(got.stdout)
    assert got.exit_code == 1 and result["missing"] == ["nobody"]
    np.testing.assert_allclose(result["documents"][0]["vector"]["dense"], [0.6, 0.8], rtol=1e-6)


def test_passages_of_a_folder_of_texts_are_searched(folder):
    created("sparse: {}\n")
    (folder / "notes").mkdir()
    (folder / "notes" / "fruit.md").write_text("# Fruit\n\nApples are red.\n\n# Fish\n\nSalmon swims.\n")
    (folder / "notes" / "scan.txt").write_text("\n")
    added = embplug("add", "docs", "notes")
    assert added.exit_code == 0 and "2 documents added, nothing to read in 1: scan.txt" in added.stdout
    hits = json.loads(embplug("search", "docs", "salmon", "--json").stdout)["hits"]
    assert [hit["id"] for hit in hits] == ["fruit.md#passage=2"]


@pytest.fixture
def table(folder) -> pa.Table:
    rng = np.random.default_rng(0)
    numbers = pa.array(rng.standard_normal(ROWS * DIM).astype(np.float32))
    vectors = pa.FixedSizeListArray.from_arrays(numbers, DIM)
    texts = [f"text {i}" for i in range(ROWS)]
    table = pa.table({"id": range(ROWS), "text": texts, "n": [i % 7 for i in range(ROWS)], "dense": vectors})
    pq.write_table(table, "rows.parquet", row_group_size=4096)
    return table


SLOWER = """
import signal
import time
from embplug.cli import main
from embplug.files.documents import FileDocuments

batches = FileDocuments.batches

def slower(self):
    for batch in batches(self):
        time.sleep(0.5)
        yield batch

FileDocuments.batches = slower
signal.signal(signal.SIGINT, signal.default_int_handler)
main()
"""
"""The command on a machine that is slow enough for the signal to come before the end.

A shell has its jobs in the background ignore SIGINT, so the handler is set as on a terminal.
"""


def interrupted(number: int) -> tuple[int, str]:
    """Exit code and messages of a call that gets a signal as soon as it has stored some rows more."""
    before = progress_rows()
    with subprocess.Popen(
        [sys.executable, "-c", SLOWER, "add", "docs", "rows.parquet"],
        stderr=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as run:
        end = time.monotonic() + 120
        while progress_rows() <= before and run.poll() is None and time.monotonic() < end:
            time.sleep(0.01)
        run.send_signal(number)
        _, messages = run.communicate(timeout=120)
    return run.returncode, messages


def progress_rows() -> int:
    files = [*Path(os.environ["XDG_STATE_HOME"]).glob("embplug/add/*.json")]
    return max((json.loads(file.read_text())["rows"] for file in files), default=0)


def test_without_a_terminal_lines_tell_of_learning_and_of_what_is_stored(folder, table, monkeypatch):
    monkeypatch.setattr("embplug.cli.adding.TOLD_EVERY_S", 0.0)
    created(f"dense: {{dim: {DIM}, codes: {{kind: bit_allocation, size: 8}}, hnsw: {{m: 0}}}}\n")
    done = embplug("add", "docs", "rows.parquet", "--json")
    assert json.loads(done.stdout)["added"] == ROWS, done.stderr
    lines = done.stderr.splitlines()
    assert "collection 'docs' learns from" in lines[0] and "has learned in" in "".join(lines[1:3])
    counts = [line for line in lines if line.endswith(f"of {ROWS:,} rows are stored")]
    assert len(counts) > 1 and counts == sorted(
        counts, key=lambda line: int(line.split()[0].replace(",", ""))
    )
    monkeypatch.undo()
    monkeypatch.chdir(folder)
    assert "rows are stored" not in embplug("add", "docs", "rows.parquet").stderr


def test_an_interrupted_call_goes_on_and_loses_nothing(folder, table):
    created(f"dense: {{dim: {DIM}, distance: Dot, hnsw: {{m: 0}}}}\n")
    code, _ = interrupted(signal.SIGKILL)
    assert code == -signal.SIGKILL
    first = progress_rows()
    assert 0 < first < ROWS
    code, messages = interrupted(signal.SIGINT)
    assert code == 130, messages
    second = progress_rows()
    assert first < second < ROWS
    assert f"the first {second:,} of {ROWS:,} rows are stored" in messages
    assert "The same command goes on there" in messages
    done = json.loads(embplug("add", "docs", "rows.parquet", "--json").stdout)
    assert done["resumed"] > 0 and done["added"] + done["resumed"] == ROWS
    assert progress_rows() == 0
    assert embplug("export", "docs", "out.parquet", "--with-vectors").exit_code == 0
    written = pq.read_table("out.parquet").sort_by("id")
    for column in ("id", "text", "n"):
        assert written[column].to_pylist() == table[column].to_pylist()
    numbers = [t["dense"].combine_chunks().flatten().to_numpy() for t in (written, table)]
    np.testing.assert_allclose(*numbers, rtol=1e-6)
    # A call that has ended begins anew.
    again = json.loads(embplug("add", "docs", "rows.parquet", "--json").stdout)
    assert (again["added"], again["resumed"]) == (ROWS, 0)


def test_rows_that_were_deleted_meanwhile_are_added_again(folder):
    created("sparse: {average_length: 2}\n")
    lines = [json.dumps({"id": i, "text": f"text {i}"}) for i in range(600)]
    Path("docs.jsonl").write_text("\n".join([*lines, "{"]))
    broken = embplug("add", "docs", "docs.jsonl")
    assert broken.exit_code and "docs.jsonl, line 601" in broken.stderr
    assert progress_rows() > 0 and "the same command goes on there" in broken.stderr
    with connect("./data") as engine:
        Collection.open("docs", engine).delete([3])
    status = os.stat("docs.jsonl")
    Path("docs.jsonl").write_text("\n".join([*lines, "\n"]))
    os.utime("docs.jsonl", ns=(status.st_atime_ns, status.st_mtime_ns))
    done = json.loads(embplug("add", "docs", "docs.jsonl", "--json").stdout)
    assert done["added"] + done["resumed"] == 600
    assert len(stored()) == 600


def test_brackets_in_texts_of_users_are_no_markup(folder):
    created("sparse: {}\n")
    row = {"id": "[a]", "text": "apple [/INST] [red]pear[/red] :smile:", "tags": ["[/b]"]}
    Path("docs.jsonl").write_text(json.dumps(row))
    assert embplug("add", "docs", "docs.jsonl").exit_code == 0
    for shown in (embplug("search", "docs", "apple"), embplug("get", "docs", "[a]")):
        assert shown.exit_code == 0, shown.exception
        assert "apple [/INST] [red]pear[/red] :smile:" in shown.stdout and "[a]" in shown.stdout


@pytest.mark.parametrize("name", ["parquet", "arrow", "npy", "text"])
def test_standard_input_is_refused_in_a_format_that_needs_a_file(folder, name):
    created("sparse: {}\n")
    done = embplug("add", "docs", "-", "--format", name, stdin="hello there")
    assert done.exit_code == 2 and "on standard input" in done.stderr


def test_long_work_does_not_begin_if_its_result_cannot_be_written(folder):
    created("sparse: {}\n")
    for command in (
        ["evaluate", "--beir", "absent", "--recipe", "docs.yaml"],
        ["advise", "docs"],
    ):
        done = embplug(*command, "-o", "absent/result")
        assert done.exit_code == 2 and "can be written, got absent/result" in " ".join(done.stderr.split())


@pytest.mark.parametrize("name", ["out.jsonl", "out.parquet"])
def test_an_export_of_tokens_leaves_out_what_is_computed_of_them(folder, name):
    created("tokens: {dim: 4}\n")
    rng = np.random.default_rng(0)
    lines = [{"id": i, "tokens": rng.standard_normal((3, 4)).tolist(), "fde": i} for i in range(3)]
    Path("docs.jsonl").write_text("\n".join(map(json.dumps, lines)))
    assert embplug("add", "docs", "docs.jsonl").exit_code == 0
    done = embplug("export", "docs", name, "--with-vectors")
    assert done.exit_code == 0 and "no vectors of tokens" in " ".join(done.stdout.split()), done.exception
    rows = (
        pq.read_table(name).to_pylist()
        if name.endswith("parquet")
        else map(json.loads, Path(name).read_text().splitlines())
    )
    assert sorted(rows, key=lambda row: row["id"]) == [{"id": i, "fde": i} for i in range(3)]


@pytest.mark.parametrize("name", ["out.jsonl", "out.parquet"])
def test_an_export_loses_no_field_to_a_vector_of_its_name(folder, name):
    created("dense: {dim: 2}\n")
    with connect("./data") as engine:
        Collection.open("docs", engine).add([1], dense=[[1, 0]], payloads=[{"dense": "forest"}])
    taken = embplug("export", "docs", name, "--with-vectors")
    assert taken.exit_code == 2 and "'dense' of document 1" in " ".join(taken.stderr.split())
    named = embplug("export", "docs", name, "--with-vectors", "--id-key", "dense")
    assert named.exit_code == 2 and "--id-key" in named.stderr and not Path(name).exists()
    assert embplug("export", "docs", name).exit_code == 0


def test_parquet_keeps_whole_numbers_that_no_float_holds(folder, monkeypatch):
    monkeypatch.setattr("embplug.files.export.AT_ONCE", 1)
    created("dense: {dim: 2}\n")
    values = [2**60 + 1, 0.5, 3]
    payloads = [{"n": n, "object": {"m": [n]}, "small": 3 if i else 0.5} for i, n in enumerate(values)]
    with connect("./data") as engine:
        Collection.open("docs", engine).add([0, 1, 2], dense=[[1, 0]] * 3, payloads=payloads)
    done = embplug("export", "docs", "out.parquet")
    assert done.exit_code == 0, done.exception
    assert "JSON texts: n, object" in " ".join(done.stdout.split())
    rows = sorted(pq.read_table("out.parquet").to_pylist(), key=lambda row: row["id"])
    assert [json.loads(row["n"]) for row in rows] == values
    assert [json.loads(row["object"]) for row in rows] == [{"m": [n]} for n in values]
    assert [row["small"] for row in rows] == [0.5, 3.0, 3.0]


def test_parquet_has_nulls_for_documents_without_vectors(folder, monkeypatch):
    monkeypatch.setattr("embplug.files.export.AT_ONCE_WITH_VECTORS", 1)
    created("dense: {dim: 2, distance: Dot}\nsparse: {kind: learned}\n")
    ids, dense, sparse = range(3), [None, [1, 0], None], [None, {7: 1.0}, None]
    batch = Documents(ids, dense=dense, sparse=sparse, texts=["", "a", ""])
    with connect("./data") as engine:
        Collection.open("docs", engine).add_batches([batch], on_empty="store")
    done = embplug("export", "docs", "out.parquet", "--with-vectors")
    assert done.exit_code == 0, done.stderr
    rows = sorted(pq.read_table("out.parquet").to_pylist(), key=lambda row: row["id"])
    assert [row["dense"] for row in rows] == dense
    assert [row["sparse"] for row in rows] == [None, {"indices": [7], "values": [1.0]}, None]


def test_a_text_that_comes_twice_without_an_id_is_explained(folder):
    created("sparse: {}\n")
    Path("docs.csv").write_text("text\nsame\nother\nsame\n")
    done = embplug("add", "docs", "docs.csv")
    assert (
        done.exit_code == 1 and "docs.csv, line 4" in done.stderr and "text, which comes twice" in done.stderr
    )


def test_an_unknown_branch_is_named(folder):
    created("dense: {dim: 2}\nsparse: {}\n")
    done = embplug("search", "docs", "bees", "--branch", "tokens")
    assert done.exit_code == 1 and "branches[0]" in done.stderr


def test_documents_that_all_lack_tokens_are_named_or_stored(folder):
    created("tokens: {dim: 2, encoding: null, codes: null}\n")
    kind = pa.list_(pa.list_(pa.float32()))
    pq.write_table(pa.table({"id": [1, 2], "tokens": pa.array([[], []], kind)}), "docs.parquet")
    done = embplug("add", "docs", "docs.parquet")
    assert done.exit_code == 1 and "docs.parquet, row 1, field 'tokens'" in done.stderr
    assert embplug("add", "docs", "docs.parquet", "--store-empty").exit_code == 0
    assert stored() == {1: {}, 2: {}}


def test_an_empty_list_of_tokens_is_a_document_without_vectors(folder):
    created("tokens: {dim: 2, encoding: null, codes: null}\n")
    lines = ['{"id": 1, "tokens": []}', '{"id": 2, "tokens": [[1, 2]]}']
    Path("docs.jsonl").write_text("\n".join(lines))
    done = embplug("add", "docs", "docs.jsonl")
    assert done.exit_code == 1 and "docs.jsonl, line 1, field 'tokens'" in done.stderr
    done = embplug("add", "docs", "docs.jsonl", "--store-empty")
    assert done.exit_code == 0 and "2 documents added, 1 of them without" in done.stdout
    assert [not vectors for _, (_, vectors) in sorted(stored(with_vectors=True).items())] == [True, False]
    Path("docs.jsonl").write_text(lines[0])
    assert embplug("add", "docs", "docs.jsonl", "--store-empty").exit_code == 0
    assert {*stored()} == {1, 2}


@pytest.mark.parametrize("name", ["out.jsonl", "out.parquet"])
@pytest.mark.parametrize(
    ("recipe", "vector"),
    [
        ("dense: {dim: 2}\n", {"vector": [1, 2]}),
        ("tokens: {dim: 2, encoding: null, codes: null}\n", {"tokens": [[1, 2], [2, 1]]}),
    ],
)
def test_documents_without_vectors_among_others_come_back_from_an_export(folder, name, recipe, vector):
    created(recipe)
    created(recipe, "again")
    rows = [{"id": 1, "n": 1, **vector}, {"id": 2, "n": 2}, {"id": 3, "n": 3, **vector}]
    Path("docs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    done = embplug("add", "docs", "docs.jsonl")
    assert (
        done.exit_code == 1 and "docs.jsonl, line 2, field" in done.stderr and "--store-empty" in done.stderr
    )
    assert embplug("add", "docs", "docs.jsonl", "--store-empty").exit_code == 0
    assert embplug("export", "docs", name, "--with-vectors").exit_code == 0
    refused = embplug("add", "again", name)
    assert refused.exit_code == 1 and f"{name}, " in refused.stderr and "--store-empty" in refused.stderr
    branch = "tokens" if "tokens" in vector else "dense"
    mistaken = embplug("add", "again", name, "--store-empty", "--vector", f"{branch}=absent")
    assert mistaken.exit_code == 1 and "'absent'" in mistaken.stderr
    assert embplug("add", "again", name, "--store-empty").exit_code == 0
    kept = stored(with_vectors=True)
    assert [bool(vectors) for _, (_, vectors) in sorted(kept.items())] == [True, False, True]
    assert stored("again", with_vectors=True) == kept


def test_vectors_that_all_have_another_dimension_are_named_with_file_and_row(folder):
    created("dense: {dim: 2}\n")
    created("tokens: {dim: 2, encoding: null, codes: null}\n", "tokens")
    Path("v.jsonl").write_text('{"id": 1, "vector": [1, 2, 3]}\n{"id": 2, "vector": [1, 2, 3]}')
    Path("t.jsonl").write_text('{"id": 1, "tokens": [[1, 2, 3]]}\n{"id": 2, "tokens": [[1, 2, 3]]}')
    vectors = pa.array([[1.0, 2.0, 3.0]] * 2, pa.list_(pa.float32()))
    pq.write_table(pa.table({"id": [1, 2], "embedding": vectors}), "v.parquet")
    np.save("v.npy", np.ones((2, 3), dtype=np.float32))
    Path("ids.jsonl").write_text('{"id": 1}\n{"id": 2}')
    for name, arguments, place in (
        ("docs", ["v.jsonl"], "v.jsonl, line 1, field 'vector'"),
        ("tokens", ["t.jsonl"], "t.jsonl, line 1, field 'tokens'"),
        ("docs", ["v.parquet"], "v.parquet, row 1, field 'embedding'"),
        ("docs", ["v.npy"], "v.npy, row 0, field 'dense'"),
        ("docs", ["ids.jsonl", "--vector", "v.npy"], "v.npy, row 0"),
    ):
        done = embplug("add", name, *arguments)
        assert done.exit_code == 1, done.stdout
        assert f"{place}: expected 2 numbers, as in the recipe, got 3" in " ".join(done.stderr.split())


@pytest.mark.skipif(not hasattr(os, "mkfifo"), reason="this system has no pipes with names")
def test_a_pipe_is_read_once(folder):
    created("sparse: {}\n")
    os.mkfifo("pipe")
    lines = "".join(json.dumps({"id": i, "text": f"word{i}"}) + "\n" for i in range(5))
    writer = threading.Thread(target=lambda: Path("pipe").write_text(lines))
    writer.start()
    done = embplug("add", "docs", "pipe")
    writer.join()
    assert done.exit_code == 0 and "5 documents added" in done.stdout, done.stderr
