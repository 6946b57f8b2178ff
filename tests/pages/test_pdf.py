"""Pages of PDF files: rendered, read, and refused by name."""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pypdfium2
import pytest

from embplug.errors import ImageError, InvalidArgumentError
from embplug.pages import PageImage, PdfPage
from embplug.pages.pdf import page_count
from embplug.pages.tiff import TiffPage
from tests.images import write_pdf


def test_a_page_is_rendered_at_its_resolution_and_has_a_text(tmp_path):
    path = write_pdf(tmp_path / "two.pdf", ["Apples", "Pears"])
    assert page_count(path) == 2
    page = PdfPage(path, 2, dpi=72)
    image = page.render()
    assert (image.mode, image.size) == ("RGB", (200, 100))
    assert np.asarray(image).min() < 50 and np.asarray(image).max() == 255
    assert page.text() == "Pears"
    assert PdfPage(path, 1, dpi=144).render().size == (400, 200)


def test_a_page_that_is_too_large_is_rendered_smaller(tmp_path):
    path = write_pdf(tmp_path / "one.pdf", ["Apples"])
    image = PageImage(PdfPage(path, 1, dpi=720), max_pixels=5000, on_large="downscale").load()
    assert image.size == (100, 50)
    with pytest.raises(ImageError, match=r"at most 5,000 pixels.*got 2000 x 1000 pixels"):
        PageImage(PdfPage(path, 1, dpi=720), max_pixels=5000).load()


def test_threads_take_turns_because_pdfium_is_not_safe_for_them(tmp_path, monkeypatch):
    path = write_pdf(tmp_path / "many.pdf", [f"Page {i}" for i in range(8)])
    open_now, most = 0, 0

    class Counted(pypdfium2.PdfDocument):
        def __init__(self, *arguments):
            nonlocal open_now, most
            open_now += 1
            most = max(most, open_now)
            time.sleep(0.001)
            super().__init__(*arguments)

        def close(self):
            nonlocal open_now
            super().close()
            open_now -= 1

    monkeypatch.setattr(pypdfium2, "PdfDocument", Counted)
    with ThreadPoolExecutor(8) as threads:
        texts = [*threads.map(lambda i: PdfPage(path, i % 8 + 1).text(), range(32))]
        images = [*threads.map(lambda i: PdfPage(path, i % 8 + 1, dpi=36).render().tobytes(), range(16))]
    assert texts == [f"Page {i % 8}" for i in range(32)]
    assert images[:8] * 2 == images and len({*images}) == 8
    assert (open_now, most) == (0, 1)


@pytest.mark.parametrize(
    ("content", "got"),
    [
        (b"These are words.\n" * 100, "a file of another kind"),
        (b"", "an empty file"),
        (b"%PDF-1.4\n" + b"\x00\xff" * 500, "a damaged one"),
    ],
    ids=["text", "empty", "damaged"],
)
def test_what_is_no_pdf_is_refused(tmp_path, content, got):
    path = tmp_path / "odd.pdf"
    path.write_bytes(content)
    with pytest.raises(ImageError, match=f"got {got}"):
        page_count(path)


def test_an_encrypted_pdf_is_refused(tmp_path):
    path = write_pdf(tmp_path / "secret.pdf", ["Apples"], encrypted=True)
    with pytest.raises(ImageError, match="a PDF that opens without a password, got an encrypted one"):
        page_count(path)


def test_a_missing_file_or_page_is_refused(tmp_path):
    with pytest.raises(ImageError, match="No such file"):
        PdfPage(tmp_path / "none.pdf", 1).render()
    path = write_pdf(tmp_path / "two.pdf", ["Apples", None])
    with pytest.raises(ImageError, match="expected a page from 1 to 2, got 3"):
        PdfPage(path, 3).render()
    with pytest.raises(ImageError, match="got 2, a damaged one"):
        PdfPage(path, 2).render()
    assert PdfPage(path, 1).text() == "Apples"


@pytest.mark.parametrize(
    ("make", "named"),
    [
        (lambda path: PdfPage(path, 0), "number"),
        (lambda path: PdfPage(path, 1.0), "number"),
        (lambda path: PdfPage(path, 1, dpi=0), "dpi"),
        (lambda path: PdfPage(path, 1, dpi="fine"), "dpi"),
        (lambda path: TiffPage(path, "1"), "number"),
    ],
)
def test_arguments_of_a_page_are_checked(tmp_path, make, named):
    with pytest.raises(InvalidArgumentError, match=f"^{named}: expected an integer of at least 1"):
        make(tmp_path / "scan")
