"""Images of users and pages of PDFs, read when they are needed.

:func:`read_pages` yields the pages of PDFs and folders of scans, and :class:`PageImage` is an image that is
checked and decoded late. Both need the extra ``pages``.
"""

from __future__ import annotations

from embplug.pages.images import ImageLike, OnLarge, PageImage
from embplug.pages.pdf import PdfPage
from embplug.pages.read import PAGE_SUFFIXES, Page, page_files, read_pages

__all__ = [
    "PAGE_SUFFIXES",
    "ImageLike",
    "OnLarge",
    "Page",
    "PageImage",
    "PdfPage",
    "page_files",
    "read_pages",
]
