"""Pages of files and folders: each named, those that cannot be read too."""

from __future__ import annotations

import base64
import io

import pytest
from PIL import Image

from embplug.errors import ImageError, InvalidArgumentError
from embplug.pages import read_pages
from tests.images import picture, write_pdf


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A folder as users have them: good files among bad ones."""
    monkeypatch.chdir(tmp_path)
    scans = tmp_path / "scans"
    (scans / "old").mkdir(parents=True)
    write_pdf(scans / "report.pdf", ["Apples", None, "Pears"])
    write_pdf(scans / "secret.pdf", ["Figs"], encrypted=True)
    (scans / "notes.pdf").write_text("words\n" * 99)
    (scans / "broken.pdf").write_bytes((scans / "report.pdf").read_bytes()[:60])
    (scans / "readme.txt").write_text("no page")
    picture("red").save(scans / "old" / "a.PNG")
    picture("red").save(scans / "old" / "b.tiff", save_all=True, append_images=[picture("gold")] * 2)
    (scans / "old" / "c.jpg").write_bytes(b"\xff\xd8\xff cut off")
    return scans


def test_good_pages_are_read_and_bad_ones_are_named(folder):
    errors = []
    pages = [*read_pages("scans", on_error=errors.append, with_text=True)]
    assert [page.id for page in pages] == [
        "scans/report.pdf#1",
        "scans/report.pdf#3",
        "scans/old/a.PNG#1",
        "scans/old/b.tiff#1",
        "scans/old/b.tiff#2",
        "scans/old/b.tiff#3",
    ]
    assert pages[1].payload == {"file": "scans/report.pdf", "page": 3}
    assert [page.text for page in pages] == ["Apples", "Pears", "", "", "", ""]
    assert pages[4].image.load().getpixel((20, 20)) == (230, 190, 20)
    assert [(error.argument, error.got) for error in errors[:-1]] == [
        ("scans/broken.pdf", "a damaged one"),
        ("scans/notes.pdf", "a file of another kind"),
        ("scans/report.pdf#2", "2, a damaged one"),
        ("scans/secret.pdf", "an encrypted one"),
    ]
    assert errors[-1].argument == "scans/old/c.jpg#1"


def test_without_a_callback_the_first_error_is_raised(folder):
    with pytest.raises(ImageError, match=r"^scans/broken.pdf: expected a PDF that can be read"):
        [*read_pages(folder.name)]


def test_thumbnails_are_small_jpegs(folder):
    page = next(read_pages(["scans/report.pdf"], thumbnail=50))
    kind, _, content = page.payload["thumbnail"].partition(",")
    assert kind == "data:image/jpeg;base64"
    assert Image.open(io.BytesIO(base64.b64decode(content))).size == (50, 25)


def test_pages_are_read_one_at_a_time(folder, monkeypatch):
    pages = read_pages(["scans/old/a.PNG", "scans/none.png"])
    assert next(pages).id == "scans/old/a.PNG#1"
    with pytest.raises(ImageError, match=r"^scans/none.png#1: expected a file that can be read"):
        next(pages)


def test_large_pages_become_smaller_or_are_named(folder):
    page = next(read_pages("scans/report.pdf", dpi=720, max_pixels=5000))
    assert page.image.load().size == (100, 50)
    errors = []
    strict = read_pages("scans/old", max_pixels=2000, on_large="raise", on_error=errors.append)
    assert [*strict] == [] and len(errors) == 5
    assert "at most 2,000 pixels" in str(errors[0])


@pytest.mark.parametrize(
    "arguments",
    [
        {"dpi": 0},
        {"thumbnail": 0},
        {"max_pixels": "8"},
        {"on_large": "no"},
        {"on_error": "skip"},
        {"skip": ["a.png#1"]},
    ],
)
def test_wrong_arguments_are_refused(arguments):
    with pytest.raises(InvalidArgumentError, match=f"^{next(iter(arguments))}: "):
        [*read_pages([], **arguments)]


@pytest.mark.parametrize(
    ("paths", "named"), [(None, r"paths: .* None"), (["scan.pdf", 3], r"paths\[1\]: .* 3")]
)
def test_what_is_no_path_is_named(tmp_path, monkeypatch, paths, named):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(InvalidArgumentError, match=f"^{named}"):
        list(read_pages(paths, on_error=print))


def test_pages_to_skip_are_not_decoded(folder):
    offered, errors = [], []

    def skip(page: str) -> bool:
        offered.append(page)
        return page != "scans/report.pdf#3"

    pages = read_pages("scans", on_error=errors.append, skip=skip)
    assert [page.id for page in pages] == ["scans/report.pdf#3"]
    # The damaged page and the damaged image are asked for, and not read.
    assert {"scans/report.pdf#2", "scans/old/c.jpg#1"} <= {*offered} and len(offered) == 8
    assert [error.argument for error in errors] == [f"scans/{n}.pdf" for n in ("broken", "notes", "secret")]
