"""Rows of CSV and TSV files, whose values get a type for each column."""

from __future__ import annotations

import csv
import io
import re
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO, Any

from embplug.common.files import STANDARD_INPUT, not_utf8, reason_of
from embplug.common.json_types import MAX_INTEGER
from embplug.common.unicode_text import is_unicode
from embplug.errors import InvalidArgumentError
from embplug.files.source import LineSource

SPOOL_BYTES = 64 << 20
"""Bytes of standard input that are kept in memory; more of them go into a temporary file."""

MOST_FIELD_BYTES = 1 << 30

_DELIMITERS = (",", ";", "\t", "|")
_INTEGER = re.compile(r"-?(?:0|[1-9][0-9]{0,18})")
_NUMBER = re.compile(r"-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?")
_BOOLEANS = {"true": True, "false": False}


class Delimited(LineSource):
    """A file of rows whose fields a comma, a semicolon, a tab or a bar separates; ``-`` is standard input.

    The first line names the columns. A column all of whose values are whole numbers, numbers, or ``true`` and
    ``false``, holds such values; any other column holds texts. Empty fields are left out.

    Parameters
    ----------
    file : path
        The file.
    delimiter : str, default=None
        What separates fields. By default what the first line has most of.
    texts : set of str, default=()
        Columns that hold texts whatever their values look like.
    """

    def __init__(self, file: Path, delimiter: str | None = None, texts: frozenset[str] = frozenset()) -> None:
        super().__init__(file)
        self._texts = texts
        self._stream = self._opened()
        with self._named():
            header = self._stream.readline()
            self._delimiter = delimiter or max(_DELIMITERS, key=header.count)
            self._columns = self._header()
            self._types = self._measured()

    def rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Iterate over the rows as fields by the names of the columns."""
        with self._named():
            for line, values in self._values():
                yield (
                    line,
                    {
                        column: convert(value)
                        for column, convert, value in zip(self._columns, self._types, values, strict=True)
                        if value
                    },
                )

    def place(self, row: int) -> str:
        """Return the file and the line of a row."""
        return f"{self.file}, line {self.number(row)}"

    def _opened(self) -> IO[str]:
        options: dict[str, Any] = {"encoding": "utf-8-sig", "errors": "surrogateescape", "newline": ""}
        with self._named():
            if str(self.file) != STANDARD_INPUT:
                opened: IO[str] = self.file.open(**options)
                return opened
            spool = tempfile.SpooledTemporaryFile(SPOOL_BYTES)  # noqa: SIM115
            while block := sys.stdin.buffer.read(1 << 20):
                spool.write(block)
            spool.seek(0)
            stream: IO[str] = io.TextIOWrapper(spool, **options)  # type: ignore[type-var]
            return stream

    @contextmanager
    def _named(self) -> Iterator[None]:
        try:
            yield
        except (OSError, ValueError) as error:
            if isinstance(error, InvalidArgumentError):
                raise
            got = f"{self.file}: {reason_of(error)}"
            raise InvalidArgumentError("path", "a readable file of rows", got) from None

    def _header(self) -> list[str]:
        self._stream.seek(0)
        place = f"{self.file}, line 1"
        columns = next(self._read(), (0, []))[1]
        if not columns:
            raise InvalidArgumentError(place, "names of columns", "an empty file")
        for i, column in enumerate(columns):
            if not column.strip():
                raise InvalidArgumentError(place, "a name for each column", f"none for column {i + 1}")
            if column in columns[:i]:
                raise InvalidArgumentError(place, "columns with different names", f"{column!r} twice")
        return columns

    def _measured(self) -> list[Callable[[str], Any]]:
        """Count the rows, and find the type of each column."""
        possible: list[list[Callable[[str], Any]]] = [
            [] if column in self._texts else [_integer, _number, _boolean] for column in self._columns
        ]
        seen = [False] * len(self._columns)
        self.total = 0
        for _, values in self._values():
            self.total += 1
            for i, value in enumerate(values):
                if value:
                    seen[i] = True
                    if possible[i]:
                        possible[i] = [convert for convert in possible[i] if convert(value) is not None]
        return [kinds[0] if kinds and any_ else _text for kinds, any_ in zip(possible, seen, strict=True)]

    def _values(self) -> Iterator[tuple[int, list[str]]]:
        """Iterate over the rows after the first, with the line on which each begins."""
        self._stream.seek(0)
        rows = self._read()
        next(rows, None)
        for line, values in rows:
            if not values:
                continue
            if len(values) != len(self._columns):
                expected = f"{len(self._columns)} fields, as the first line has"
                raise InvalidArgumentError(f"{self.file}, line {line}", expected, len(values))
            yield line, values

    def _read(self) -> Iterator[tuple[int, list[str]]]:
        limit = csv.field_size_limit(MOST_FIELD_BYTES)
        try:
            reader = csv.reader(self._stream, delimiter=self._delimiter, strict=True)
            line = 1
            while True:
                try:
                    values = next(reader)
                except StopIteration:
                    return
                except csv.Error as error:
                    expected = "fields, of which those with quotes end with one"
                    raise InvalidArgumentError(f"{self.file}, line {line}", expected, error) from None
                for value in values:
                    if not is_unicode(value):
                        place = f"{self.file}, line {line}"
                        raise InvalidArgumentError(place, "text in UTF-8", not_utf8(value))
                yield line, values
                line = reader.line_num + 1
        finally:
            csv.field_size_limit(limit)


def _integer(value: str) -> int | None:
    if not _INTEGER.fullmatch(value):
        return None
    number = int(value)
    return number if -MAX_INTEGER - 1 <= number <= MAX_INTEGER else None


def _number(value: str) -> float | None:
    if not _NUMBER.fullmatch(value):
        return None
    # A whole number of more than 64 bits is rather a code, whose digits matter.
    is_whole = value.lstrip("-").isdecimal()
    return None if is_whole and _integer(value) is None else float(value)


def _boolean(value: str) -> bool | None:
    return _BOOLEANS.get(value.lower())


def _text(value: str) -> str:
    return value
