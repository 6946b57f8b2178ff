"""Readers of files: what they yield, and which place an error names."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from embplug.errors import InvalidArgumentError
from embplug.files import arrow, choose, texts
from embplug.files.choose import open_source
from embplug.files.texts import cut


def rows(path: Path, size: int = 2, **options):
    source = open_source(path, **options)
    fields = [row for batch in source.batches(size) for row in batch.fields]
    return source, fields


def written(folder: Path, name: str, text: str) -> Path:
    (folder / name).write_text(text, encoding="utf-8")
    return folder / name


def test_json_lines_have_the_numbers_of_their_lines(tmp_path):
    file = written(tmp_path, "docs.jsonl", '{"a": 1}\n\n{"a": 2}\n{"a": 3}')
    source, fields = rows(file)
    assert fields == [{"a": 1}, {"a": 2}, {"a": 3}]
    assert source.total == 4
    assert [source.place(row) for row in range(3)] == [f"{file}, line {line}" for line in (1, 3, 4)]


def test_columns_of_csv_get_the_type_that_all_their_values_have(tmp_path):
    text = 'id,price,sold,code,note,big\n1,2.5,true,007,"a, ""b""\nc",1\n2,3,False,8,,12345678901234567890\n'
    file = written(tmp_path, "docs.csv", "\ufeff" + text)
    source, fields = rows(file)
    assert fields == [
        {"id": 1, "price": 2.5, "sold": True, "code": "007", "note": 'a, "b"\nc', "big": "1"},
        {"id": 2, "price": 3.0, "sold": False, "code": "8", "big": "12345678901234567890"},
    ]
    assert source.total == 2
    # The first row takes two lines.
    assert [source.place(0), source.place(1)] == [f"{file}, line 2", f"{file}, line 4"]
    assert rows(file, texts=frozenset({"price"}))[1][0]["price"] == "2.5"


@pytest.mark.parametrize(("name", "separator"), [("a.csv", ";"), ("a.tsv", "\t"), ("a.csv", "|")])
def test_other_separators_are_recognised(tmp_path, name, separator):
    text = "\n".join(separator.join(row) for row in (("id", "text"), ("1", "a, b")))
    assert rows(written(tmp_path, name, text))[1] == [{"id": 1, "text": "a, b"}]


@pytest.mark.parametrize(
    ("text", "place", "said"),
    [
        ("id,text\n1,a\n2\n", "line 3", "expected 2 fields, as the first line has, got 1"),
        ("id,id\n1,a\n", "line 1", "'id' twice"),
        ("id,\n1,a\n", "line 1", "none for column 2"),
        ("", "line 1", "an empty file"),
        ('id,text\n1,a\n2,"b\n', "line 3", "quotes"),
        ("id,text\n1,Gr\udcfc\udcdfe\n", "line 2", "byte 0xfc"),
    ],
)
def test_a_bad_line_of_csv_is_named(tmp_path, text, place, said):
    file = tmp_path / "docs.csv"
    file.write_bytes(text.encode("utf-8", "surrogateescape"))
    with pytest.raises(InvalidArgumentError, match=said) as raised:
        rows(file)
    assert raised.value.argument == f"{file}, {place}"


def table(start: int, count: int) -> pa.Table:
    numbers = np.arange(start * 4, (start + count) * 4, dtype=np.float32)
    vectors = pa.FixedSizeListArray.from_arrays(pa.array(numbers), 4)
    return pa.table(
        {
            "id": range(start, start + count),
            "label": [None if i % 2 else f"l{i}" for i in range(start, start + count)],
            "dense": vectors,
            "tokens": [[[i, 1.0], [i, 2.0]] for i in range(start, start + count)],
        }
    )


def test_parquet_files_of_a_folder_are_read_in_order(tmp_path):
    for number in range(2):
        pq.write_table(table(3 * number, 3), tmp_path / f"part-{number}.parquet", row_group_size=2)
    source = open_source(tmp_path)
    batches = list(source.batches(2, frozenset({"dense", "tokens"})))
    assert source.total == 6
    fields = [row for batch in batches for row in batch.fields]
    assert fields[0] == {"id": 0, "label": "l0"} and fields[1] == {"id": 1}
    dense = np.concatenate([batch.arrays["dense"] for batch in batches])
    np.testing.assert_array_equal(dense, np.arange(24).reshape(6, 4))
    tokens = [matrix for batch in batches for matrix in batch.arrays["tokens"]]
    np.testing.assert_array_equal(tokens[4], [[4, 1], [4, 2]])
    assert source.place(4) == f"{tmp_path / 'part-1.parquet'}, row 2"


def test_a_column_that_is_no_vector_of_the_recipe_stays_a_field(tmp_path):
    pq.write_table(table(0, 2), tmp_path / "a.parquet")
    batch = next(open_source(tmp_path / "a.parquet").batches(2))
    assert batch.fields[1]["dense"] == [4.0, 5.0, 6.0, 7.0] and not batch.arrays


@pytest.mark.parametrize("form", ["stream", "file"])
def test_arrow_files_and_datasets_on_disk_are_read(tmp_path, form):
    writer = pa.ipc.new_stream if form == "stream" else pa.ipc.new_file
    names = [f"data-0000{i}-of-00002.arrow" for i in range(2)]
    for number, name in enumerate(names):
        with writer(tmp_path / name, table(0, 1).schema) as out:
            out.write_table(table(2 * number, 2))
    state = {"_data_files": [{"filename": name} for name in names], "_split": "train"}
    written(tmp_path, "state.json", json.dumps(state))
    source, fields = rows(tmp_path, size=3)
    assert [row["id"] for row in fields] == [0, 1, 2, 3] and source.total == 4


def test_a_dataset_of_several_splits_names_them(tmp_path):
    for split in ("test", "train"):
        (tmp_path / split).mkdir()
        written(tmp_path / split, "state.json", "{}")
    written(tmp_path, "dataset_dict.json", '{"splits": ["train", "test"]}')
    with pytest.raises(InvalidArgumentError, match="test, train"):
        open_source(tmp_path)
    with pytest.raises(InvalidArgumentError, match="_data_files"):
        open_source(tmp_path / "train")


def test_vectors_of_different_lengths_are_named_with_their_row(tmp_path):
    pq.write_table(pa.table({"dense": [[1.0, 2.0], [1.0, 2.0], [1.0]]}), tmp_path / "a.parquet")
    with pytest.raises(InvalidArgumentError, match=r"row 3, field 'dense': expected 2 numbers"):
        list(open_source(tmp_path / "a.parquet").batches(9, frozenset({"dense"})))
    pq.write_table(pa.table({"dense": [[1.0, 2.0], None]}), tmp_path / "a.parquet")
    (rows,) = open_source(tmp_path / "a.parquet").batches(9, frozenset({"dense"}))
    assert [None if own is None else own.tolist() for own in rows.arrays["dense"]] == [[1.0, 2.0], None]
    tokens = pa.table({"tokens": [[[1.0, 2.0]], [[1.0, 2.0], [3.0, None]]]})
    pq.write_table(tokens, tmp_path / "a.parquet")
    with pytest.raises(InvalidArgumentError, match=r"row 2, field 'tokens': expected numbers, got null"):
        list(open_source(tmp_path / "a.parquet").batches(9, frozenset({"tokens"})))


def test_files_that_are_not_what_their_name_says_are_named(tmp_path):
    for name in ("a.parquet", "a.arrow", "a.npy", "a.npz", "a.pdf"):
        file = written(tmp_path, name, "something else")
        with pytest.raises(InvalidArgumentError, match=f"{name}"):
            list(open_source(file).batches(2))
    with pytest.raises(InvalidArgumentError, match="no such file"):
        open_source(tmp_path / "nowhere.csv")
    (tmp_path / "images").mkdir()
    written(tmp_path / "images", "cat.jpeg", "")
    with pytest.raises(InvalidArgumentError, match=r"with \.jpeg"):
        open_source(tmp_path / "images")


def test_texts_of_a_folder_are_cut_into_passages(tmp_path):
    (tmp_path / "notes").mkdir()
    written(tmp_path, ".hidden.md", "hidden")
    written(tmp_path, "a.md", "# Title\n\n## One\n\nFirst.\n\n## Two\n\nSecond.\n")
    written(tmp_path / "notes", "b.txt", "# no heading\n\none\n\ntwo\n")
    written(tmp_path / "notes", "empty.txt", " \n")
    source, fields = rows(tmp_path)
    assert fields == [
        {"id": "a.md#passage=1", "text": "# Title\n\n## One\n\nFirst.", "path": "a.md", "passage": 1},
        {"id": "a.md#passage=2", "text": "## Two\n\nSecond.", "path": "a.md", "passage": 2},
        {"id": "notes/b.txt", "text": "# no heading\n\none\n\ntwo", "path": "notes/b.txt"},
    ]
    assert source.left_out == ["notes/empty.txt"]
    assert source.place(1) == "a.md, passage 2"
    whole = rows(tmp_path / "a.md", passage=0)[1]
    assert [row["id"] for row in whole] == ["a.md"]


def test_passages_hold_all_words_and_are_short_enough():
    paragraphs = [f"Sentence {i} of it. " * (i % 9) + f"word{i} " * (i % 5) for i in range(60)]
    text = "\n\n".join(paragraphs) + "\n\n" + "x" * 500
    passages = cut(text, 120)
    assert max(map(len, passages)) <= 120
    assert "".join("".join(passages).split()) == "".join(text.split())
    assert cut("", 10) == [] and cut(" a ", 10) == ["a"]


def test_pages_of_a_pdf_are_documents(tmp_path):
    pdfium = pytest.importorskip("pypdfium2")
    document = pdfium.PdfDocument.new()
    for _ in range(2):
        document.new_page(200, 200)
    document.save(tmp_path / "scan.pdf")
    source, fields = rows(tmp_path / "scan.pdf")
    assert fields == [] and source.left_out == ["scan.pdf#page=1", "scan.pdf#page=2"]
    (tmp_path / "hello.pdf").write_bytes(pdf("Hello page"))
    assert rows(tmp_path / "hello.pdf")[1] == [
        {"id": "hello.pdf#page=1", "text": "Hello page", "path": "hello.pdf", "page": 1}
    ]


def pdf(text: str) -> bytes:
    """A page with one line of text."""
    stream = f"BT /F1 24 Tf 20 100 Td ({text}) Tj ET".encode()
    objects = [
        b"<< /Type /Catalog /Pages 2 0 R >>",
        b"<< /Type /Pages /Kids [3 0 R] /Count 1 >>",
        b"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 300 200] /Contents 4 0 R "
        b"/Resources << /Font << /F1 5 0 R >> >> >>",
        b"<< /Length %d >>\nstream\n%s\nendstream" % (len(stream), stream),
        b"<< /Type /Font /Subtype /Type1 /BaseFont /Helvetica >>",
    ]
    out, offsets = b"%PDF-1.4\n", []
    for number, content in enumerate(objects, start=1):
        offsets.append(len(out))
        out += b"%d 0 obj\n%s\nendobj\n" % (number, content)
    table = b"".join(b"%010d 00000 n \n" % offset for offset in offsets)
    start = len(out)
    out += b"xref\n0 6\n0000000000 65535 f \n" + table
    return out + b"trailer << /Size 6 /Root 1 0 R >>\nstartxref\n%d\n%%%%EOF" % start


def test_bounds_that_the_command_repeats_are_those_of_the_readers():
    from embplug.cli import documents

    assert (documents.PASSAGE, documents.FORMATS) == (texts.PASSAGE, choose.FORMATS)
    assert arrow.PARQUET_SUFFIXES[0] == ".parquet"
