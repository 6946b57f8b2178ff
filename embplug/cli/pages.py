"""Pages of PDFs and scans, which ``add`` encodes as images."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Any

import typer

from embplug.cli.adding import add_from, has_all
from embplug.cli.shared import show

if TYPE_CHECKING:
    from embplug.branches.documents import Documents
    from embplug.branches.empty import OnEmpty
    from embplug.collection.collection import Collection
    from embplug.errors import ImageError
    from embplug.files.progress import AddProgress

PAGES_AT_ONCE = 16


def are_pages(collection: Collection, files: Sequence[Path]) -> bool:
    """Whether there are files with pages, and the encoder of the collection reads them as images."""
    from embplug.encoders import encodes_images
    from embplug.pages import PAGE_SUFFIXES, page_files

    if not any(file.suffix.lower() in PAGE_SUFFIXES for file in page_files(files)):
        return False
    return collection.has_encoder and encodes_images(collection.encoder)


def add_pages(
    collection: Collection,
    files: Sequence[Path],
    progress: AddProgress,
    *,
    dpi: int,
    thumbnail: int | None,
    on_empty: OnEmpty,
    as_json: bool,
) -> None:
    """Add every page that can be read, and name the others; exit with 1 if there are such.

    Parameters
    ----------
    collection : Collection
        Has an encoder of images.
    files : sequence of Path
        PDFs, images, and folders with them.
    progress : AddProgress
        How many pages an earlier call has stored, which was interrupted.
    dpi : int
        Dots per inch of the pages of PDFs.
    thumbnail : int or None
        Longer side of a thumbnail for the payload, in pixels.
    on_empty : {"raise", "skip", "store"}
        What happens to blank pages.
    as_json : bool
        Whether to print one JSON object.
    """
    from embplug.branches.documents import Documents
    from embplug.pages import read_pages

    failed: dict[str, str] = {}
    # The sparse vector reads the text of a page, which may be empty.
    with_text = collection.recipe.sparse is not None

    def fail(error: ImageError) -> None:
        failed[error.argument] = str(error)
        typer.secho(str(error), err=True, fg="red")

    earlier, seen, resumed = progress.rows, 0, 0

    def is_stored(page: str) -> bool:
        nonlocal seen, resumed
        seen += 1
        stored = seen <= earlier and has_all(collection, [page])
        resumed += stored
        return stored

    def batches() -> Iterator[tuple[int, Documents]]:
        pages = read_pages(
            files, dpi=dpi, with_text=with_text, thumbnail=thumbnail, on_error=fail, skip=is_stored
        )
        start = 0
        while batch := [*islice(pages, PAGES_AT_ONCE)]:
            documents = Documents(
                [page.id for page in batch],
                images=[page.image for page in batch],
                texts=[page.text for page in batch] if with_text else None,
                payloads=[page.payload for page in batch],
            )
            yield start, documents
            start = seen

    report = add_from(collection, batches(), progress, on_empty, unit="pages")
    result: dict[str, Any] = {
        "collection": collection.name,
        "added": report.added,
        "retries": report.retries,
        "skipped": report.skipped,
        "without_vectors": report.without_vectors,
        "resumed": resumed,
        "failed": failed,
    }
    text = f"{collection.name}: {report.added:,} pages added"
    if report.skipped:
        text += f", {len(report.skipped)} blank ones left out"
    if report.without_vectors:
        text += f", {len(report.without_vectors)} of them blank and without vectors"
    if failed:
        text += f", {len(failed)} files or pages could not be read"
    if resumed:
        text += f"; {resumed:,} were stored before"
    show(result, as_json, text)
    if failed:
        raise typer.Exit(1)
