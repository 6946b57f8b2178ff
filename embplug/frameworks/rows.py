"""Documents with what belongs to each, read one by one from any iterable."""

from __future__ import annotations

import logging
from collections.abc import Callable, Iterable, Iterator
from itertools import islice
from typing import Any, Generic, TypeVar

from embplug.branches.empty import OnEmpty, check_on_empty, is_blank
from embplug.errors import InvalidArgumentError, LengthMismatchError
from embplug.frameworks.arguments import check_integer

logger = logging.getLogger(__name__)

T = TypeVar("T")


def aligned(
    items: Iterable[T], noun: str, **columns: Iterable[Any] | None
) -> Iterator[tuple[T, dict[str, Any]]]:
    """Pair each item with its value of every column.

    The items and the columns are read no further than the caller reads the pairs.

    Parameters
    ----------
    items : iterable
        Documents, texts or nodes.
    noun : str
        What an item is, for errors.
    **columns : iterable or None
        One value per item. A column that is None is left out.

    Yields
    ------
    item : object
        The next item.
    values : dict
        Name of each column to the value of the item.

    Raises
    ------
    InvalidArgumentError
        A column cannot be iterated over.
    LengthMismatchError
        A column is shorter or longer than the items. The error comes when the end is reached.
    """
    iterators = {}
    for name, column in columns.items():
        try:
            if column is not None:
                iterators[name] = iter(column)
        except TypeError:  # an array without dimensions looks as if it could be iterated over
            raise InvalidArgumentError(name, f"one per {noun}", type(column).__name__) from None
    count = 0
    for count, item in enumerate(items, start=1):
        values = {}
        for name, iterator in iterators.items():
            try:
                values[name] = next(iterator)
            except StopIteration:
                raise LengthMismatchError(name, f"one per {noun}", f"{count - 1} of them") from None
        yield item, values
    for name, iterator in iterators.items():
        # The iterator itself marks the end: no value of a column is that.
        if next(iterator, iterator) is not iterator:
            raise LengthMismatchError(name, f"{count}, one per {noun}", "more")


def batched(rows: Iterable[T], batch_size: int) -> Iterator[list[T]]:
    """Split rows into lists of ``batch_size``; the last one may be shorter.

    Parameters
    ----------
    rows : iterable
        Rows, which are read batch by batch.
    batch_size : int
        Number of rows in a batch.

    Yields
    ------
    batch : list
        The next rows.

    Raises
    ------
    InvalidArgumentError
        ``batch_size`` is no integer of at least 1.
    """
    check_integer("batch_size", batch_size, 1)
    iterator = iter(rows)
    while batch := list(islice(iterator, batch_size)):
        yield batch


def without_empty(
    rows: Iterable[T], text_of: Callable[[T], str | None], on_empty: OnEmpty
) -> Iterator[tuple[int, T]]:
    """Leave out rows whose text is blank, if the user says so.

    Parameters
    ----------
    rows : iterable
        Rows, which are read one by one.
    text_of : callable
        Returns the text of a row, which is checked elsewhere.
    on_empty : {"raise", "skip", "store"}
        All but ``"skip"`` leave blank texts to the collection.

    Yields
    ------
    place : int
        Position of the row among all rows.
    row : object
        The next row with a text. The number of rows that were left out is logged.

    Raises
    ------
    InvalidArgumentError
        ``on_empty`` is something else.
    """
    check_on_empty(on_empty)
    skipped = 0
    for place, row in enumerate(rows):
        if on_empty == "skip" and is_blank(text_of(row)):
            skipped += 1
        else:
            yield place, row
    if skipped:
        logger.warning("%d empty documents were left out", skipped)


class UniqueRows(Generic[T]):
    """Rows of one call whose ids may come again, as each row replaces the earlier one with its id.

    The rows whose id is new are read first. What replaces them is kept until then, so that a collection
    which learns from its first documents sees all of them in one go.

    Parameters
    ----------
    rows : iterable
        Rows, which are read one by one.
    id_of : callable
        Returns the id of a row.

    Attributes
    ----------
    ids : list of str
        Ids of the rows that were read, with repetitions.
    """

    def __init__(self, rows: Iterable[T], id_of: Callable[[T], str]) -> None:
        self.ids: list[str] = []
        self._rows = rows
        self._id_of = id_of
        self._last: dict[str, T] = {}

    def parts(self) -> Iterator[Iterable[T]]:
        """Yield the rows whose ids are new, and when these are read, the last row of each id that came again.

        Yields
        ------
        part : iterable
            Rows of which no two have the same id.
        """
        yield self._first()
        if self._last:
            yield [*self._last.values()]

    def _first(self) -> Iterator[T]:
        seen = set()
        for row in self._rows:
            id_ = self._id_of(row)
            self.ids.append(id_)
            if id_ in seen:
                self._last[id_] = row
            else:
                seen.add(id_)
                yield row
