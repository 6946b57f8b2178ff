"""Batches of documents and of pages, added so that the same command goes on after an interruption."""

from __future__ import annotations

import logging
import signal
import sys
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import AbstractContextManager, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from embplug.cli.shared import INTERRUPTED
from embplug.errors import EmbplugError

if TYPE_CHECKING:
    from embplug.branches.documents import Documents
    from embplug.branches.empty import OnEmpty
    from embplug.collection.collection import Collection
    from embplug.collection.writing import AddReport
    from embplug.files.progress import AddProgress


TOLD_EVERY_S = 10.0
"""Time between two lines of progress where there is no terminal for a bar."""


def same_command(
    collection: Collection, at: str, encoder: str | None, files: Sequence[Path], options: Sequence[Any]
) -> dict[str, Any]:
    """Return what makes a command the same, for :class:`~embplug.files.progress.AddProgress`.

    Parameters
    ----------
    collection : Collection
        Collection to which documents are added.
    at : str
        Where the engine is.
    encoder : str or None
        Encoder that the command names.
    files : sequence of Path
        Files that the command names.
    options : sequence
        Other options that decide what is stored.
    """
    return {
        "at": at if "://" in at else str(Path(at).resolve()),
        "collection": collection.name,
        "encoder": encoder,
        "files": [str(file.resolve()) for file in files],
        "options": options,
    }


def add_from(
    collection: Collection,
    batches: Iterable[tuple[int, Documents]],
    progress: AddProgress,
    on_empty: OnEmpty,
    *,
    unit: str = "rows",
    total: int | None = None,
    naming: AbstractContextManager[Any] | None = None,
) -> AddReport:
    """Add batches, and remember how far they are stored.

    Parameters
    ----------
    collection : Collection
        Collection to which documents are added.
    batches : iterable of tuple of int and Documents
        Each batch, and the number of rows before it. Batches that are stored are not among them.
    progress : AddProgress
        Where an earlier call was interrupted.
    on_empty : {"raise", "skip", "store"}
        What happens to empty documents.
    unit : str, default="rows"
        What is counted, for messages.
    total : int, default=None
        Number of rows, with those of an earlier call, if it is known.
    naming : context manager, default=None
        Names the place of a document in errors.
    """
    starts: list[int] = []
    of = "" if total is None else f" of {total:,}"
    told = time.monotonic()

    def documents() -> Iterator[Documents]:
        for start, batch in batches:
            starts.append(start)
            yield batch

    def reached(count: int) -> None:
        nonlocal told
        if count < len(starts):
            progress.reached(starts[count])
        if time.monotonic() - told > TOLD_EVERY_S and not sys.stderr.isatty():
            typer.echo(f"{progress.rows:,}{of} {unit} are stored", err=True)
            told = time.monotonic()

    try:
        with naming or nullcontext(), _interruptible(), _telling_of_learning():
            report = collection.add_batches(
                documents(),
                on_empty=on_empty,
                total=None if total is None else max(total - progress.rows, 0),
                on_stored=reached,
            )
    except BaseException as error:
        progress.reached(progress.rows, now=True)
        stored = f"the first {progress.rows:,}{of} {unit} are stored"
        if isinstance(error, KeyboardInterrupt):
            count = collection.count()
            typer.echo(
                f"\nInterrupted: {stored}, and {collection.name} has {count:,} documents. "
                "The same command goes on there.",
                err=True,
            )
            raise typer.Exit(INTERRUPTED) from None
        if isinstance(error, EmbplugError) and progress.rows:
            typer.echo(f"{stored}; the same command goes on there.", err=True)
        raise
    progress.clear()
    return report


def has_all(collection: Collection, ids: Sequence[Any]) -> bool:
    """Whether the collection has all documents with these ids, which an earlier call has stored."""
    from embplug.engines.filter_ids import with_ids

    return collection.count(filter=with_ids(ids)) == len(ids)


@contextmanager
def _telling_of_learning() -> Iterator[None]:
    """Print when the collection learns and has learned, which takes most of the time of a first call."""
    logger = logging.getLogger("embplug.collection.fitting")
    printed, level = logging.StreamHandler(), logger.level
    logger.addHandler(printed)
    logger.setLevel(logging.INFO)
    try:
        yield
    finally:
        logger.setLevel(level)
        logger.removeHandler(printed)


@contextmanager
def _interruptible() -> Iterator[None]:
    """Have SIGTERM end a command as Ctrl-C does, so that requests under way are waited for."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)
