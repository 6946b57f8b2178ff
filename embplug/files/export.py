"""Documents of a collection written to JSON lines or Parquet, which ``embplug add`` reads again."""

from __future__ import annotations

import json
import sys
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any

import numpy as np
from qdrant_client import models
from tqdm import tqdm

from embplug.collection.collection import Collection
from embplug.collection.records import Record
from embplug.common.extras import import_extra
from embplug.common.files import STANDARD_INPUT, WRITABLE, reason_of, replacing
from embplug.errors import InvalidArgumentError
from embplug.files.arrow import JSON_COLUMN, PARQUET_SUFFIXES, to_json_text
from embplug.files.choose import JSON_SUFFIXES
from embplug.recipe.names import SPARSE_VECTOR, TOKENS_BRANCH, TOKENS_VECTOR

if TYPE_CHECKING:
    import pyarrow as pa

AT_ONCE = 1000
AT_ONCE_WITH_VECTORS = 250
STANDARD_OUTPUT = STANDARD_INPUT

EXACT_IN_FLOATS = 2**53
"""Whole numbers up to this one are floats without a loss."""


@dataclass
class ExportReport:
    """What was written.

    Attributes
    ----------
    documents : int
        Number of documents.
    notes : list of str
        What the file holds in another form than the collection.
    """

    documents: int = 0
    notes: list[str] = field(default_factory=list)


def export_documents(
    collection: Collection,
    file: Path,
    *,
    filter: models.Filter | None = None,
    with_vectors: bool = False,
    id_key: str = "id",
    progress: bool | None = None,
) -> ExportReport:
    """Write the documents of a collection to a file.

    The file appears when it is complete. Documents that are written meanwhile may be missing.

    Parameters
    ----------
    collection : Collection
        The collection.
    file : path
        ``.jsonl`` or ``.parquet``; ``-`` writes JSON lines to standard output.
    filter : models.Filter, default=None
        Documents to write. By default all.
    with_vectors : bool, default=False
        Whether to write dense vectors, token matrices and learned weights of terms too, as they are stored:
        after the transforms and in the datatype of the recipe.
    id_key : str, default="id"
        Field of the id.
    progress : bool, default=None
        Whether to show a progress bar. By default on a terminal.

    Returns
    -------
    ExportReport
        How many documents were written.

    Raises
    ------
    InvalidArgumentError
        The format is unknown, the file cannot be written, or a payload has a field of the name ``id_key`` or
        of a vector that is written.
    """
    suffix = file.suffix.lower()
    is_parquet = suffix in PARQUET_SUFFIXES
    if not is_parquet and suffix not in JSON_SUFFIXES and str(file) != STANDARD_OUTPUT:
        raise InvalidArgumentError("path", "a .jsonl or .parquet file", str(file))
    report = ExportReport()
    vectors = _written_vectors(collection, report) if with_vectors else {}
    if id_key in vectors.values():
        raise InvalidArgumentError("--id-key", "another name than that of a vector", repr(id_key))
    disable = None if progress is None else not progress
    title, total = f"exporting {collection.name}", collection.count(filter=filter)
    with tqdm(desc=title, total=total, unit=" documents", disable=disable) as bar:
        pages = _pages(collection, filter, vectors, id_key, bar, report)
        if str(file) == STANDARD_OUTPUT:
            _write_lines(pages, sys.stdout)
            return report
        try:
            with replacing(file) as beside:
                if is_parquet:
                    _write_parquet(pages, beside, id_key, report)
                else:
                    with beside.open("w", encoding="utf-8") as stream:
                        _write_lines(pages, stream)
        except OSError as error:
            raise InvalidArgumentError("path", WRITABLE, f"{file}: {reason_of(error)}") from None
    return report


@dataclass(frozen=True, eq=False)
class _Page:
    """Some documents: ids, payloads, and vectors by name."""

    rows: list[dict[str, Any]]
    vectors: list[dict[str, Any]]


def _pages(
    collection: Collection,
    condition: models.Filter | None,
    vectors: dict[str, str],
    id_key: str,
    bar: Any,
    report: ExportReport,
) -> Iterator[_Page]:
    offset: Any = None
    limit = AT_ONCE_WITH_VECTORS if vectors else AT_ONCE
    while True:
        records, offset = collection.scroll(
            filter=condition, limit=limit, offset=offset, with_vectors=[*vectors]
        )
        rows = [_row(record, id_key, {*vectors.values()}) for record in records]
        if rows:
            yield _Page(rows, [_named(record, vectors) for record in records])
        report.documents += len(rows)
        bar.update(len(rows))
        if offset is None:
            return


def _written_vectors(collection: Collection, report: ExportReport) -> dict[str, str]:
    """Return the vectors that ``add`` takes, by their names in Qdrant, and their names in the recipe."""
    recipe, info = collection.recipe, collection.info()
    names = {}
    for name in recipe.dense:
        version = info.versions.get(name)
        names[(version and version.stored_as) or name] = name
    if recipe.tokens is not None:
        names[TOKENS_VECTOR] = TOKENS_BRANCH
    if recipe.sparse is not None and recipe.sparse.is_learned:
        names[SPARSE_VECTOR] = SPARSE_VECTOR
    if any(dense.transforms for dense in recipe.dense.values()):
        report.notes.append("The vectors are those after the transforms of the recipe.")
    absent = [name for stored, name in names.items() if stored not in info.vectors]
    if absent:
        report.notes.append(f"The collection stores no vectors of {', '.join(absent)}, so none are written.")
    # What is computed from these, such as the encoding of tokens and BM25, is computed anew by add.
    return {stored: name for stored, name in names.items() if stored in info.vectors}


def _named(record: Record, vectors: dict[str, str]) -> dict[str, Any]:
    return {vectors[stored]: vector for stored, vector in (record.vector or {}).items()}


def _row(record: Record, id_key: str, vectors: set[str]) -> dict[str, Any]:
    payload = record.payload or {}
    taken = next((name for name in vectors if name in payload), None)
    if taken is not None:
        expected = "payloads without a field that is named as a vector"
        raise InvalidArgumentError("--with-vectors", expected, f"{taken!r} of document {record.id!r}")
    if id_key in payload:
        expected = f"a name that no payload has, because document {record.id!r} has {id_key!r}"
        raise InvalidArgumentError("--id-key", expected, repr(id_key))
    return {id_key: record.id, **payload}


def _write_lines(pages: Iterator[_Page], stream: IO[str]) -> None:
    for page in pages:
        for row, vectors in zip(page.rows, page.vectors, strict=True):
            plain = {name: _plain(vector) for name, vector in vectors.items()}
            stream.write(json.dumps({**row, **plain}, ensure_ascii=False) + "\n")


def _plain(vector: Any) -> Any:
    if isinstance(vector, models.SparseVector):
        return {"indices": [*vector.indices], "values": [*vector.values]}
    return np.asarray(vector).tolist()


def _write_parquet(pages: Iterator[_Page], file: Path, id_key: str, report: ExportReport) -> None:
    """Write pages twice: first to a temporary file, because only all rows tell the types of the columns."""
    import_extra("pyarrow", "writing Parquet", extra="parquet")
    import pyarrow as pa
    import pyarrow.parquet as pq

    types = _Types(id_key)
    with tempfile.TemporaryFile() as spool:
        sizes = []
        vectors_schema = pa.schema([])
        with tempfile.TemporaryDirectory(prefix="embplug-") as folder:
            for number, page in enumerate(pages):
                types.see(page.rows)
                data = json.dumps(page.rows, ensure_ascii=False).encode()
                sizes.append(spool.write(data))
                table = _vector_table(page)
                if table is not None:
                    vectors_schema = pa.unify_schemas([vectors_schema, table.schema])
                    pq.write_table(table, f"{folder}/{number}.parquet", compression="none")
            schema = types.schema()
            if types.as_json:
                names = ", ".join(sorted(types.as_json))
                report.notes.append(
                    f"Values of several types are written as JSON texts: {names}. embplug add reads them."
                )
            whole = pa.unify_schemas([schema, vectors_schema])
            spool.seek(0)
            with pq.ParquetWriter(file, whole, compression="zstd") as writer:
                for number, size in enumerate(sizes):
                    rows = [types.converted(row) for row in json.loads(spool.read(size))]
                    table = pa.Table.from_pylist(rows, schema=schema)
                    written = Path(folder, f"{number}.parquet")
                    # It may be that no document of a page has a vector, or that none has this one.
                    other = pq.read_table(written) if written.exists() else pa.table({})
                    for field in vectors_schema:
                        is_present = field.name in other.column_names
                        column = other[field.name] if is_present else pa.nulls(len(rows), field.type)
                        table = table.append_column(field, column)
                    writer.write_table(table)


def _vector_table(page: _Page) -> Any:
    """Vectors as lists of fixed size, token matrices as lists of them, and weights as structs of two lists.

    Returns None without vectors.
    """
    import pyarrow as pa

    names = dict.fromkeys(name for vectors in page.vectors for name in vectors)
    columns = {}
    for name in names:
        if name == SPARSE_VECTOR:
            weights = [_plain(vectors[name]) if name in vectors else None for vectors in page.vectors]
            fields = {"indices": pa.list_(pa.uint32()), "values": pa.list_(pa.float32())}
            columns[name] = pa.array(weights, type=pa.struct([*fields.items()]))
            continue
        arrays = [np.asarray(vectors[name], dtype=np.float32) for vectors in page.vectors if name in vectors]
        dim = arrays[0].shape[-1]
        flat = pa.array(np.concatenate([array.reshape(-1) for array in arrays]))
        rows = pa.FixedSizeListArray.from_arrays(flat, dim)
        if arrays[0].ndim == 2:
            ends = np.cumsum([0, *(len(array) for array in arrays)]).astype(np.int32)
            rows = pa.ListArray.from_arrays(pa.array(ends), rows)
        if len(arrays) < len(page.vectors):
            present = iter(range(len(arrays)))
            places = [next(present) if name in vectors else None for vectors in page.vectors]
            rows = rows.take(pa.array(places, type=pa.int64()))
        columns[name] = rows
    return pa.table(columns) if columns else None


class _Types:
    """Types of the columns of all rows; a column whose values have no common type becomes JSON texts."""

    def __init__(self, id_key: str) -> None:
        self.id_key = id_key
        self.as_json: set[str] = set()
        self._known: dict[str, pa.DataType] = {}
        self._inexact: set[str] = set()
        self._mixed: set[str] = set()

    def see(self, rows: list[dict[str, Any]]) -> None:
        """Take in the values of some rows."""
        import pyarrow as pa

        for name in dict.fromkeys(name for row in rows for name in row):
            if name in self.as_json:
                continue
            values = [row.get(name) for row in rows]
            try:
                array = pa.array(values)
                kind, known = array.type, self._known.get(name, pa.null())
                merged = pa.unify_schemas(
                    [pa.schema([(name, known)]), pa.schema([(name, kind)])], promote_options="permissive"
                )
                self._known[name] = merged.field(name).type
                if _has_inexact(array):
                    self._inexact.add(name)
                if _become_floats(known, kind):
                    self._mixed.add(name)
                if name in self._inexact & self._mixed or _has_empty_struct(self._known[name]):
                    self.as_json.add(name)
            except (pa.ArrowException, OverflowError):
                self.as_json.add(name)

    def schema(self) -> Any:
        """Return the schema of all columns."""
        import pyarrow as pa

        names = dict.fromkeys([*self._known, *self.as_json])
        return pa.schema(
            [
                pa.field(name, pa.string(), metadata=JSON_COLUMN)
                if name in self.as_json
                else pa.field(name, self._known[name])
                for name in names
            ]
        )

    def converted(self, row: dict[str, Any]) -> dict[str, Any]:
        """Return a row with the values that its columns hold."""
        return {
            name: to_json_text(value) if name in self.as_json and value is not None else value
            for name, value in row.items()
        }


def _has_inexact(array: Any) -> bool:
    """Whether there are whole numbers that no float holds exactly, at any depth."""
    import pyarrow as pa
    import pyarrow.compute as pc

    kind = array.type
    if pa.types.is_integer(kind):
        ends = pc.min_max(array).as_py()
        return any(end is not None and abs(end) > EXACT_IN_FLOATS for end in ends.values())
    if pa.types.is_struct(kind):
        return any(_has_inexact(inner) for inner in array.flatten())
    return pa.types.is_list(kind) and _has_inexact(array.flatten())


def _become_floats(known: Any, kind: Any) -> bool:
    """Whether whole numbers become floats in the common type of two types, at any depth."""
    import pyarrow as pa

    if pa.types.is_struct(known) and pa.types.is_struct(kind):
        both = {inner.name for inner in known} & {inner.name for inner in kind}
        return any(_become_floats(known.field(name).type, kind.field(name).type) for name in both)
    if pa.types.is_list(known) and pa.types.is_list(kind):
        return _become_floats(known.value_type, kind.value_type)
    numbers = [pa.types.is_integer(type_) or pa.types.is_floating(type_) for type_ in (known, kind)]
    differ = pa.types.is_floating(known) != pa.types.is_floating(kind)
    return all(numbers) and (differ or pa.types.is_uint64(known) != pa.types.is_uint64(kind))


def _has_empty_struct(kind: Any) -> bool:
    """Parquet cannot hold an object without fields."""
    import pyarrow as pa

    if pa.types.is_struct(kind):
        return kind.num_fields == 0 or any(_has_empty_struct(inner.type) for inner in kind)
    return pa.types.is_list(kind) and _has_empty_struct(kind.value_type)
