"""Files and folders of PDFs and scans as pages: what the command line adds."""

from __future__ import annotations

import base64
import io
import os
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeAlias

from embplug.common.checks import checked_integer
from embplug.common.validation import short_repr
from embplug.errors import ImageError, InvalidArgumentError
from embplug.pages.images import MAX_PIXELS, OnLarge, PageImage, check_limits
from embplug.pages.pdf import DPI, PdfPage, page_count
from embplug.pages.tiff import TiffPage, frame_count

PDF_SUFFIXES = (".pdf",)
TIFF_SUFFIXES = (".tif", ".tiff")
IMAGE_SUFFIXES = (".bmp", ".gif", ".jpeg", ".jpg", ".png", ".webp")
PAGE_SUFFIXES = (*PDF_SUFFIXES, *TIFF_SUFFIXES, *IMAGE_SUFFIXES)
"""Endings of the names of files that :func:`read_pages` reads in a folder."""

OnError: TypeAlias = Callable[[ImageError], Any]


@dataclass(frozen=True)
class Page:
    """A page of a file.

    Attributes
    ----------
    id : str
        ``file#page``.
    image : PageImage
        The page, for ``images`` of :meth:`Collection.add`. It is decoded anew when it is encoded.
    payload : dict
        ``file``, ``page`` from 1, and ``thumbnail`` if one was asked for: a JPEG as a ``data:`` URL.
    text : str
        Text of the page. Empty for a scan, or without ``with_text``.
    """

    id: str
    image: PageImage
    payload: dict[str, Any]
    text: str = ""


def read_pages(
    paths: str | os.PathLike[str] | Iterable[str | os.PathLike[str]],
    *,
    dpi: int = DPI,
    with_text: bool = False,
    thumbnail: int | None = None,
    max_pixels: int = MAX_PIXELS,
    on_large: OnLarge = "downscale",
    on_error: OnError | None = None,
    skip: Callable[[str], bool] | None = None,
) -> Iterator[Page]:
    """Read the pages of PDFs and of image files, one at a time.

    Each page is decoded once, to see that it can be. Nothing is kept of it.

    Parameters
    ----------
    paths : path or iterable of path
        Files, and folders whose files are read: PDFs and images, by the endings of their names, also in
        folders within them. A file of several TIFF images has as many pages.
    dpi : int, default=150
        Dots per inch of the pages of a PDF.
    with_text : bool, default=False
        Whether the text of the pages of a PDF is read.
    thumbnail : int, default=None
        Longer side in pixels of a small image for the payload. None makes none.
    max_pixels, on_large
        See :class:`PageImage`.
    on_error : callable, default=None
        Is called with the error of a file or a page that cannot be read, and reading goes on. None raises
        the first error.
    skip : callable, default=None
        Is called with the id of each page before it is decoded, and leaves the page out where it returns
        True: pages that are stored already, for example. None reads all pages.

    Yields
    ------
    Page
        The next page, in the order of ``paths``, and of the names in a folder.

    Raises
    ------
    ImageError
        A file cannot be read; ``argument`` is its name, or ``file#page``.
    InvalidArgumentError
        Another argument is wrong.
    MissingExtraError
        Pillow or pypdfium2 is not installed.

    Examples
    --------
    >>> from itertools import islice
    >>> from embplug import Documents
    >>> from embplug.pages import read_pages
    >>> def batches(paths, size=16):
    ...     pages = read_pages(paths, on_error=print)
    ...     while batch := list(islice(pages, size)):
    ...         yield Documents(
    ...             [page.id for page in batch],
    ...             images=[page.image for page in batch],
    ...             payloads=[page.payload for page in batch],
    ...         )
    >>> [*batches([])]
    []
    """
    checked_integer(dpi, "dpi", 1)
    check_limits(max_pixels, on_large)
    if thumbnail is not None:
        checked_integer(thumbnail, "thumbnail", 1)
    for name, function in (("on_error", on_error), ("skip", skip)):
        if function is not None and not callable(function):
            raise InvalidArgumentError(name, "a function", short_repr(function))
    if isinstance(paths, str | os.PathLike):
        paths = [paths]
    if not isinstance(paths, Iterable):
        raise InvalidArgumentError("paths", "a path, or an iterable of paths", short_repr(paths))

    def failed(error: ImageError, place: str) -> None:
        named = ImageError(place, error.expected, error.got)
        if on_error is None:
            raise named from error
        on_error(named)

    for file in page_files(paths):
        try:
            sources = _sources(file, dpi)
        except ImageError as error:
            failed(error, file.as_posix())
            continue
        for number, source in enumerate(sources, 1):
            id_ = f"{file.as_posix()}#{number}"
            if skip is not None and skip(id_):
                continue
            image = PageImage(source, max_pixels=max_pixels, on_large=on_large)
            page = Page(id_, image, {"file": file.as_posix(), "page": number})
            try:
                if thumbnail is not None:
                    page.payload["thumbnail"] = _thumbnail(image, thumbnail)
                else:
                    image.check()
                if with_text and isinstance(source, PdfPage):
                    page = replace(page, text=source.text())
            except ImageError as error:
                failed(error, page.id)
            else:
                yield page


def page_files(paths: Iterable[str | os.PathLike[str]]) -> Iterator[Path]:
    """Iterate over the files of which :func:`read_pages` reads the pages.

    Parameters
    ----------
    paths : iterable of path
        Files, which are returned whatever they are, and folders.

    Yields
    ------
    Path
        The next file.

    Raises
    ------
    InvalidArgumentError
        An item is no path.
    """
    for i, name in enumerate(paths):
        if not isinstance(name, str | os.PathLike):
            raise InvalidArgumentError(f"paths[{i}]", "a path", short_repr(name))
        path = Path(name)
        if not path.is_dir():
            yield path
            continue
        for folder, folders, names in os.walk(path):
            folders.sort()
            yield from (Path(folder, name) for name in sorted(names) if _suffix(name) in PAGE_SUFFIXES)


def _suffix(name: str | os.PathLike[str]) -> str:
    return os.path.splitext(name)[1].lower()


def _sources(file: Path, dpi: int) -> list[Any]:
    """What :class:`PageImage` takes of each page of a file."""
    if _suffix(file) in PDF_SUFFIXES:
        return [PdfPage(file, number, dpi) for number in range(1, page_count(file) + 1)]
    if _suffix(file) in TIFF_SUFFIXES:
        return [TiffPage(file, number) for number in range(1, frame_count(file) + 1)]
    return [file]


def _thumbnail(image: PageImage, side: int) -> str:
    small = image.load()
    small.thumbnail((side, side))
    written = io.BytesIO()
    small.save(written, "JPEG", quality=80)
    return "data:image/jpeg;base64," + base64.b64encode(written.getvalue()).decode("ascii")
