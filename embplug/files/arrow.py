"""Rows of Parquet files, of Arrow files, and of Hugging Face datasets on disk."""

from __future__ import annotations

import bisect
import json
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from embplug.common.extras import import_extra
from embplug.common.files import reason_of
from embplug.errors import DimensionError, InvalidArgumentError
from embplug.files.source import Rows, Source
from embplug.methods.token_batch import TokenBatch

if TYPE_CHECKING:
    import pyarrow as pa

PARQUET_SUFFIXES = (".parquet", ".pq")
ARROW_SUFFIXES = (".arrow", ".feather", ".ipc")

JSON_COLUMN = {b"embplug": b"json"}
"""Metadata of a column whose texts stand for values of several types; see :func:`to_json_text`."""

_EXPECTED = "a readable Parquet or Arrow file"


class Arrow(Source):
    """Parquet or Arrow files with the same columns, read one after another.

    Parameters
    ----------
    files : sequence of path
        The files.
    """

    def __init__(self, files: Sequence[Path]) -> None:
        super().__init__(files)
        import_extra("pyarrow", "reading Parquet and Arrow files", extra="parquet")
        self._starts = [0]
        for file in self.files:
            self._starts.append(self._starts[-1] + _row_count(file))
        self.total = self._starts[-1]

    def batches(self, size: int, vector_keys: frozenset[str] = frozenset()) -> Iterator[Rows]:
        """Read the rows in order; see :meth:`Source.batches`. Fields that are null are left out."""
        row = 0
        for file in self.files:
            for batch in _record_batches(file, size):
                yield self._rows(batch, row, vector_keys)
                row += len(batch)

    def place(self, row: int) -> str:
        """Return the file, and the number of the row in it, from 1."""
        file = bisect.bisect_right(self._starts, row) - 1
        file = min(file, len(self.files) - 1)
        return f"{self.files[file]}, row {row - self._starts[file] + 1}"

    def _rows(self, batch: pa.RecordBatch, first: int, vector_keys: frozenset[str]) -> Rows:
        arrays: dict[str, Any] = {}
        plain = []
        for name, column in zip(batch.schema.names, batch.columns, strict=True):
            if name in vector_keys and _depth(column.type):
                arrays[name] = self._arrays(name, column, first)
            else:
                plain.append(name)
        fields = batch.select(plain).to_pylist() if plain else [{} for _ in range(len(batch))]
        for name in plain:
            if _is_json(batch.schema.field(name)):
                for row in fields:
                    row[name] = None if row[name] is None else from_json_text(row[name])
        # Every row has every column; what a document lacks is null.
        return Rows(
            [{name: value for name, value in row.items() if value is not None} for row in fields], arrays
        )

    def _arrays(self, name: str, column: Any, first: int) -> Any:
        """The numbers of a column of vectors (n, dim), or of token matrices; a list where some are null."""
        rows = first + np.arange(len(column))
        if not column.null_count:
            return self._array(name, column, rows)
        valid = np.flatnonzero(column.is_valid().to_numpy(zero_copy_only=False))
        arrays: list[Any] = [None] * len(column)
        for place, array in zip(valid, self._array(name, column.drop_null(), rows[valid]), strict=True):
            arrays[place] = array
        return arrays

    def _array(self, name: str, column: Any, rows: NDArray[np.int64]) -> Any:
        """The numbers of a column without nulls, whose rows have these numbers."""
        if _depth(column.type) == 1:
            return self._matrix(name, column, rows)
        lengths = column.value_lengths().to_numpy(zero_copy_only=False)
        if not lengths.any():  # no token tells the dimension
            return [np.zeros((0, 0), dtype=np.float32) for _ in range(len(column))]
        offsets = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int64)
        owners = np.repeat(rows, lengths)
        return TokenBatch(self._matrix(name, column.flatten(), owners), offsets)

    def _matrix(self, name: str, column: Any, rows: Any) -> Any:
        """The vectors (n, dim) of a column of lists; ``rows`` are the rows that they stand in."""
        if not len(column):
            return np.zeros((0, 0), dtype=np.float32)
        lengths = _lengths(column)
        other = np.flatnonzero(lengths != lengths[0])
        if other.size:
            place = f"{self.place(int(rows[other[0]]))}, field {name!r}"
            raise DimensionError(place, f"{lengths[0]} numbers, as before", int(lengths[other[0]]))
        values = column.flatten()
        if values.null_count:
            at = int(np.flatnonzero(values.is_null().to_numpy(zero_copy_only=False))[0]) // int(lengths[0])
            place = f"{self.place(int(rows[at]))}, field {name!r}"
            raise InvalidArgumentError(place, "numbers", "null")
        numbers = values.to_numpy(zero_copy_only=False)
        kept = numbers.dtype if numbers.dtype in (np.float16, np.float32) else np.float32
        return np.ascontiguousarray(numbers, dtype=kept).reshape(len(column), int(lengths[0]))


def to_json_text(value: Any) -> str:
    """Return a text for a value of any type of JSON: a text as it is, unless it reads as JSON itself."""
    if isinstance(value, str) and from_json_text(value) is value:
        return value
    return json.dumps(value, ensure_ascii=False)


def from_json_text(text: str) -> Any:
    """Return the value for which :func:`to_json_text` wrote a text."""
    try:
        return json.loads(text)
    except (ValueError, RecursionError):
        return text


def _is_json(field: pa.Field) -> bool:
    return bool(field.metadata) and JSON_COLUMN.items() <= field.metadata.items()


def _lengths(column: Any) -> Any:
    import pyarrow as pa

    if pa.types.is_fixed_size_list(column.type):
        return np.full(len(column), column.type.list_size)
    return column.value_lengths().to_numpy(zero_copy_only=False)


def _depth(kind: Any) -> int:
    """Return 1 for lists of numbers, 2 for lists of lists of numbers, and 0 for anything else."""
    import pyarrow as pa

    depth = 0
    while pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind):
        kind, depth = kind.value_type, depth + 1
    is_number = pa.types.is_floating(kind) or pa.types.is_integer(kind)
    return depth if is_number and depth <= 2 else 0


def _row_count(file: Path) -> int:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if file.suffix.lower() in PARQUET_SUFFIXES:
            return int(pq.read_metadata(file).num_rows)
        with pa.memory_map(str(file)) as mapped:
            return sum(len(batch) for batch in _arrow_reader(mapped))
    except (OSError, pa.ArrowException) as error:
        raise InvalidArgumentError("path", _EXPECTED, f"{file}: {reason_of(error)}") from None


def _record_batches(file: Path, size: int) -> Iterator[Any]:
    import pyarrow as pa
    import pyarrow.parquet as pq

    try:
        if file.suffix.lower() in PARQUET_SUFFIXES:
            with pq.ParquetFile(file) as parquet:
                for batch in parquet.iter_batches(batch_size=size):
                    yield from _parts(batch, size)
        else:
            with pa.memory_map(str(file)) as mapped:
                for batch in _arrow_reader(mapped):
                    yield from _parts(batch, size)
    except (OSError, pa.ArrowException) as error:
        raise InvalidArgumentError("path", _EXPECTED, f"{file}: {reason_of(error)}") from None


def _parts(batch: Any, size: int) -> Iterator[Any]:
    for start in range(0, len(batch), size):
        yield batch.slice(start, size)


def _arrow_reader(mapped: Any) -> Iterator[Any]:
    """Iterate over the batches of a file of Arrow's stream or file format; datasets write streams."""
    import pyarrow as pa

    if mapped.read(6) == b"ARROW1":
        mapped.seek(0)
        reader = pa.ipc.open_file(mapped)
        for number in range(reader.num_record_batches):
            yield reader.get_batch(number)
        return
    mapped.seek(0)
    yield from pa.ipc.open_stream(mapped)
