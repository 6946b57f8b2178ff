"""Pages of PDF files, rendered by PDFium."""

from __future__ import annotations

import os
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from math import ceil
from typing import TYPE_CHECKING, Any

from embplug.common.checks import checked_integer
from embplug.errors import ImageError, MissingExtraError
from embplug.pages.scaling import Fit

if TYPE_CHECKING:
    from PIL.Image import Image

DPI = 150
"""Dots per inch at which small print is legible; an A4 page has two million pixels."""

_POINTS = 72
_HEADER = b"%PDF-"
_HEADER_WITHIN = 1024
_PASSWORD_ERROR = 4

# PDFium is not safe for threads.
_lock = threading.Lock()


@dataclass(frozen=True)
class PdfPage:
    """A page of a PDF file, which is rendered when it is needed.

    Parameters
    ----------
    path : str or path
        The file.
    number : int
        Number of the page, from 1.
    dpi : int, default=150
        Dots per inch.

    Raises
    ------
    InvalidArgumentError
        ``number`` or ``dpi`` is no integer of at least 1.
    """

    path: str | os.PathLike[str]
    number: int
    dpi: int = DPI

    def __post_init__(self) -> None:
        checked_integer(self.number, "number", 1)
        checked_integer(self.dpi, "dpi", 1)

    def render(self, fit: Fit | None = None) -> Image:
        """Render the page.

        Parameters
        ----------
        fit : callable, default=None
            Returns a factor for the width and the height in pixels at ``dpi``. None is 1.

        Returns
        -------
        PIL.Image.Image
            The page in the mode ``"RGB"``.

        Raises
        ------
        ImageError
            The file is no PDF, is damaged or encrypted, or has no such page.
        """
        scale = self.dpi / _POINTS
        with _page(self) as page:
            if fit is not None:
                width, height = page.get_size()
                scale *= fit(ceil(width * scale), ceil(height * scale))
            image: Image = page.render(scale=scale).to_pil()
        return image

    def text(self) -> str:
        """Read the text of the page; empty for a scan.

        Returns
        -------
        str
            The text.

        Raises
        ------
        ImageError
            See :meth:`render`.
        """
        with _page(self) as page:
            text: str = page.get_textpage().get_text_bounded()
        # Characters without a meaning in Unicode, and halves of those that UTF-16 writes as two.
        return "".join(c for c in text if c not in "\ufffe\uffff\x00" and not "\ud800" <= c <= "\udfff")


def page_count(path: str | os.PathLike[str]) -> int:
    """Count the pages of a PDF file.

    Parameters
    ----------
    path : str or path
        The file.

    Returns
    -------
    int
        Number of pages.

    Raises
    ------
    ImageError
        The file is no PDF, is damaged or encrypted.
    MissingExtraError
        pypdfium2 is not installed.
    """
    with _document(path) as document:
        return len(document)


def _pdfium() -> Any:
    try:
        import pypdfium2
    except ImportError as error:
        raise MissingExtraError("reading PDFs", "pages") from error
    return pypdfium2


@contextmanager
def _document(path: str | os.PathLike[str]) -> Iterator[Any]:
    """An open document; opening takes about a millisecond."""
    pdfium = _pdfium()
    _check_header(path)
    with _lock:
        try:
            document = pdfium.PdfDocument(os.fspath(path))
        except pdfium.PdfiumError as error:
            if error.err_code == _PASSWORD_ERROR:
                raise ImageError("file", "a PDF that opens without a password", "an encrypted one") from None
            raise ImageError("file", "a PDF that can be read", "a damaged one") from error
        try:
            yield document
        finally:
            document.close()


@contextmanager
def _page(of: PdfPage) -> Iterator[Any]:
    pdfium = _pdfium()
    with _document(of.path) as document:
        if not 1 <= of.number <= len(document):
            raise ImageError("number", f"a page from 1 to {len(document)}", of.number)
        try:
            yield document[of.number - 1]
        except pdfium.PdfiumError as error:
            raise ImageError("number", "a page that can be read", f"{of.number}, a damaged one") from error


def _check_header(path: str | os.PathLike[str]) -> None:
    try:
        with open(path, "rb") as file:
            start = file.read(_HEADER_WITHIN)
    except OSError as error:
        raise ImageError("file", "a file that can be read", error.strerror or str(error)) from None
    if not start:
        raise ImageError("file", "a PDF", "an empty file")
    if _HEADER not in start:
        raise ImageError("file", "a PDF", "a file of another kind")
