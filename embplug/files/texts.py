"""Texts of plain files, Markdown and PDF, cut into passages."""

from __future__ import annotations

import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from embplug.common.files import read_text
from embplug.errors import ImageError
from embplug.files.source import Rows, Source

MARKDOWN_SUFFIXES = (".md", ".markdown")
PLAIN_SUFFIXES = (*MARKDOWN_SUFFIXES, ".txt", ".text", ".rst")
PDF_SUFFIX = ".pdf"
TEXT_SUFFIXES = (*PLAIN_SUFFIXES, PDF_SUFFIX)

PASSAGE = 1000
"""Characters of a passage: embedding models read some 250 tokens."""

_PARAGRAPHS = re.compile(r"\n[ \t]*\n")
_HEADING = re.compile(r"(?m)^(?=#{1,6} )")
_HEADINGS_ALONE = re.compile(r"\s*(?:#{1,6} [^\n]*\s*)*")
_SENTENCES = re.compile(r"(?<=[.!?])\s+")
_SPACES = re.compile(r"\s+")


class Texts(Source):
    """Passages of files with text: at the ends of pages, sections, paragraphs, sentences or words.

    The id of a passage is its file, page and number, so that adding the files again replaces the passages.
    The payload has the ``path`` of the file, the ``page`` of a PDF, and the number of the ``passage``.

    Parameters
    ----------
    files : sequence of path
        The files.
    root : path
        Folder that paths begin at.
    passage : int, default=PASSAGE
        Largest number of characters of a passage; 0 keeps pages of PDF and other files whole.
    """

    def __init__(self, files: Sequence[Path], root: Path, passage: int = PASSAGE) -> None:
        super().__init__(files)
        self.root = root
        self.passage = passage
        self._places: list[str] = []

    def batches(self, size: int, vector_keys: frozenset[str] = frozenset()) -> Iterator[Rows]:
        """Read the passages in order; see :meth:`Source.batches`."""
        self._places = []
        self.left_out = []
        rows: list[dict[str, Any]] = []
        for row in self._rows():
            rows.append(row)
            if len(rows) == size:
                yield Rows(rows)
                rows = []
        if rows:
            yield Rows(rows)

    def place(self, row: int) -> str:
        """Return the file, the page and the number of a passage."""
        return self._places[row]

    def _rows(self) -> Iterator[dict[str, Any]]:
        for file in self.files:
            path = file.relative_to(self.root).as_posix()
            for page, text in _pages(file):
                where: dict[str, Any] = {"path": path} | ({} if page is None else {"page": page})
                name = path if page is None else f"{path}#page={page}"
                markdown = file.suffix.lower() in MARKDOWN_SUFFIXES
                passages = cut(text, self.passage, markdown=markdown) if self.passage else [text]
                passages = [passage for passage in passages if passage.strip()]
                if not passages:
                    self.left_out.append(name)
                for number, passage in enumerate(passages, start=1):
                    single = len(passages) == 1
                    separator = "#" if page is None else "&"
                    self._places.append(name if single else f"{name}, passage {number}")
                    yield {
                        "id": name if single else f"{name}{separator}passage={number}",
                        "text": passage,
                        **where,
                        **({} if single else {"passage": number}),
                    }


def cut(text: str, most: int, *, markdown: bool = False) -> list[str]:
    """Cut a text into passages of at most ``most`` characters, at the most natural places that suffice.

    Parameters
    ----------
    text : str
        The text.
    most : int
        Largest number of characters of a passage.
    markdown : bool, default=False
        Whether a heading begins a passage.

    Returns
    -------
    list of str
        The passages, without white space around them.
    """
    passages: list[str] = []
    headings = ""
    for section in _HEADING.split(text) if markdown else [text]:
        # A heading without a text of its own stands before that of its first section.
        headings += section
        if _HEADINGS_ALONE.fullmatch(headings):
            continue
        passages += _packed(headings.strip(), most, (_PARAGRAPHS, _SENTENCES, _SPACES))
        headings = ""
    return passages + _packed(headings.strip(), most, (_SPACES,))


def _packed(text: str, most: int, separators: Sequence[re.Pattern[str]]) -> list[str]:
    if len(text) <= most:
        return [text] if text else []
    if not separators:
        return [text[start : start + most] for start in range(0, len(text), most)]
    first, *finer = separators
    passages: list[str] = []
    start = end = 0
    for piece_start, piece_end in _spans(first, text):
        if piece_end - start > most and end > start:
            passages += _packed(text[start:end].strip(), most, finer)
            start = piece_start
        end = piece_end
    return passages + _packed(text[start:end].strip(), most, finer)


def _spans(separator: re.Pattern[str], text: str) -> Iterator[tuple[int, int]]:
    start = 0
    for match in separator.finditer(text):
        yield start, match.start()
        start = match.end()
    yield start, len(text)


def _pages(file: Path) -> Iterator[tuple[int | None, str]]:
    """Iterate over the pages of a PDF with their numbers, or over the one text of another file."""
    if file.suffix.lower() != PDF_SUFFIX:
        yield None, read_text(file, "a readable file of text")
        return
    from embplug.pages.pdf import PdfPage, page_count

    place = str(file)
    try:
        for number in range(1, page_count(file) + 1):
            place = f"{file}, page {number}"
            yield number, PdfPage(file, number).text()
    except ImageError as error:
        raise ImageError(place, error.expected, error.got) from None
