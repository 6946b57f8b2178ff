"""What every reader of a file yields: rows, with the places by which errors name them."""

from __future__ import annotations

from abc import ABC, abstractmethod
from array import array
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

from embplug.common.files import STANDARD_INPUT


@dataclass(frozen=True, eq=False)
class Rows:
    """Some rows of a source.

    Attributes
    ----------
    fields : list of dict
        Fields of each row by their names, without those in ``arrays``.
    arrays : dict of str to ndarray, TokenBatch or list of ndarray, default={}
        Fields that hold vectors or token matrices, one for each row.
    """

    fields: list[dict[str, Any]]
    arrays: dict[str, Any] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.fields)


class Source(ABC):
    """Rows of a file or of a folder.

    Attributes
    ----------
    total : int or None
        Number of rows, where it is known before they are read; it may count blank lines.
    numbered : bool
        Whether a row without an id gets its number as its id, rather than an id made from its text.
    left_out : list of str
        Places without anything to read, such as scanned pages, which were passed over.
    files : list of path
        Files that are read; none for standard input.
    """

    total: int | None = None
    numbered: bool = False

    def __init__(self, files: Sequence[Path] = ()) -> None:
        self.left_out: list[str] = []
        self.files = [file for file in files if str(file) != STANDARD_INPUT]

    @abstractmethod
    def batches(self, size: int, vector_keys: frozenset[str] = frozenset()) -> Iterator[Rows]:
        """Read the rows in order.

        Parameters
        ----------
        size : int
            Largest number of rows of a batch.
        vector_keys : set of str
            Fields that are vectors or token matrices where they hold numbers.

        Yields
        ------
        rows : Rows
            The next rows.

        Raises
        ------
        InvalidArgumentError
            The file cannot be read; the error names the place.
        """

    @abstractmethod
    def place(self, row: int) -> str:
        """Return the place of a row that was read, such as ``docs.csv, line 3``."""


class LineSource(Source):
    """Rows that come one at a time, each from a line or a file with a number."""

    def __init__(self, file: Path) -> None:
        super().__init__([file])
        self.file = file
        self._numbers = array("q")

    @abstractmethod
    def rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Iterate over the number of the line of each row, and its fields."""

    def batches(self, size: int, vector_keys: frozenset[str] = frozenset()) -> Iterator[Rows]:
        """Read the rows in order; see :meth:`Source.batches`."""
        self._numbers = array("q")
        rows: Iterable[tuple[int, dict[str, Any]]] = self.rows()
        iterator = iter(rows)
        while some := list(islice(iterator, size)):
            self._numbers.extend(number for number, _ in some)
            yield Rows([fields for _, fields in some])

    def number(self, row: int) -> int:
        """Return the number with which a row came."""
        return self._numbers[row]
