"""Which reader a path gets, by its suffix or by what a folder holds."""

from __future__ import annotations

import json
from pathlib import Path

from embplug.common.files import STANDARD_INPUT, read_text
from embplug.errors import InvalidArgumentError
from embplug.files.arrays import SUFFIXES as ARRAY_SUFFIXES
from embplug.files.arrays import NumberedVectors
from embplug.files.arrow import ARROW_SUFFIXES, PARQUET_SUFFIXES, Arrow
from embplug.files.delimited import Delimited
from embplug.files.json_lines import JsonLines
from embplug.files.source import Source
from embplug.files.texts import PASSAGE, TEXT_SUFFIXES, Texts

JSON_SUFFIXES = (".jsonl", ".ndjson", ".json")
FORMATS = ("jsonl", "csv", "tsv", "parquet", "arrow", "npy", "text")
STREAMED = ("jsonl", "csv", "tsv")
"""Formats that are read from standard input; readers of the others need a file."""

_STATE = "state.json"
_SPLITS = "dataset_dict.json"


def open_source(
    path: Path,
    *,
    kind: str | None = None,
    passage: int = PASSAGE,
    texts: frozenset[str] = frozenset(),
    vector_key: str = "vector",
) -> Source:
    """Open a file or a folder of documents.

    Parameters
    ----------
    path : path
        A file of JSON lines, CSV, TSV, Parquet, Arrow, ``.npy`` vectors, text, Markdown or PDF; a folder of
        Parquet or of text files; or a Hugging Face dataset on disk. ``-`` is standard input.
    kind : {"jsonl", "csv", "tsv", "parquet", "arrow", "npy", "text"}, default=None
        Format of the file. By default its suffix tells. Standard input is JSON lines, CSV or TSV, by default
        JSON lines.
    passage : int, default=PASSAGE
        Largest number of characters of a passage of a text, 0 for whole texts; see :class:`Texts`.
    texts : set of str, default=()
        Columns of CSV that hold texts whatever their values look like.
    vector_key : str, default="vector"
        Name of the field that a file of nothing but vectors has.

    Returns
    -------
    Source
        The rows.

    Raises
    ------
    InvalidArgumentError
        There is no such file, or standard input is to be read in a format that needs a file.
    """
    if str(path) != STANDARD_INPUT:
        try:
            is_folder, exists = path.is_dir(), path.exists()
        except ValueError:  # a path with NUL
            is_folder = exists = False
        if not exists:
            raise InvalidArgumentError("path", "a file or a folder of documents", f"{path}: no such file")
        if is_folder:
            return _open_folder(path, passage)
    kind = kind or _kind(path)
    if str(path) == STANDARD_INPUT and kind not in STREAMED:
        raise InvalidArgumentError("path", f"a file, or one of {[*STREAMED]} on standard input", repr(kind))
    if kind == "jsonl":
        return JsonLines(path)
    if kind in ("csv", "tsv"):
        return Delimited(path, "\t" if kind == "tsv" else None, texts)
    if kind in ("parquet", "arrow"):
        return Arrow([path])
    if kind == "npy":
        return NumberedVectors(path, vector_key)
    return Texts([path], path.parent, passage)


def _kind(path: Path) -> str:
    suffix = path.suffix.lower()
    for kind, suffixes in (
        ("csv", (".csv",)),
        ("tsv", (".tsv", ".tab")),
        ("parquet", PARQUET_SUFFIXES),
        ("arrow", ARROW_SUFFIXES),
        ("npy", ARRAY_SUFFIXES),
        ("text", TEXT_SUFFIXES),
    ):
        if suffix in suffixes:
            return kind
    return "jsonl"


def _open_folder(folder: Path, passage: int) -> Source:
    if (folder / _SPLITS).is_file():
        splits = sorted(child.name for child in folder.iterdir() if (child / _STATE).is_file())
        expected = f"one split of the dataset, such as {folder / splits[0]}" if splits else "a split"
        raise InvalidArgumentError("path", expected, f"{folder} with {', '.join(splits) or 'none'}")
    if (folder / _STATE).is_file():
        return Arrow(_dataset_files(folder))
    files = sorted(file for file in folder.rglob("*") if file.is_file() and not _is_hidden(file, folder))
    for suffixes in (PARQUET_SUFFIXES, ARROW_SUFFIXES):
        tables = [file for file in files if file.suffix.lower() in suffixes]
        if tables:
            return Arrow(tables)
    texts = [file for file in files if file.suffix.lower() in TEXT_SUFFIXES]
    if texts:
        return Texts(texts, folder, passage)
    others = sorted({file.suffix or file.name for file in files})[:8]
    expected = "a folder of Parquet, text, Markdown or PDF files, or a Hugging Face dataset on disk"
    raise InvalidArgumentError("path", expected, f"{folder} with {', '.join(others) or 'no file'}")


def _dataset_files(folder: Path) -> list[Path]:
    """Files of a Hugging Face dataset in the order that its state tells."""
    file = folder / _STATE
    try:
        names = [data["filename"] for data in json.loads(read_text(file, "a dataset"))["_data_files"]]
    except (ValueError, KeyError, TypeError) as error:
        expected = "the state of a Hugging Face dataset, with _data_files"
        raise InvalidArgumentError(str(file), expected, error) from None
    return [folder / name for name in names]


def _is_hidden(file: Path, folder: Path) -> bool:
    return any(part.startswith(".") for part in file.relative_to(folder).parts)
