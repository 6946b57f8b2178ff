"""Pages of PDFs and scans, added by the command line for an encoder of images."""

from __future__ import annotations

import json

import pytest

from embplug import Collection, connect, register_encoder
from tests.cli.test_documents import embplug, folder
from tests.images import DIM, ColourEncoder, picture, write_pdf

__all__ = ["folder"]

RECIPE = f"tokens: {{dim: {DIM}, preset: exact}}\nencoder: colours\n"


@pytest.fixture
def scans(folder):
    register_encoder("colours", ColourEncoder)
    (folder / "recipe.yaml").write_text(RECIPE)
    assert embplug("create", "docs", "--recipe", "recipe.yaml").exit_code == 0
    made = folder / "scans"
    made.mkdir()
    write_pdf(made / "report.pdf", ["Apples", "", "Pears"])
    write_pdf(made / "secret.pdf", ["Figs"], encrypted=True)
    (made / "notes.pdf").write_text("words\n" * 99)
    (made / "broken.pdf").write_bytes((made / "report.pdf").read_bytes()[:60])
    picture("red").save(made / "red.png")
    return made


def test_pages_that_can_be_read_are_added_and_the_others_named(scans):
    write_pdf(scans.parent / "manual.pdf", ["Plums"])
    done = embplug("add", "docs", "manual.pdf", "scans", "--dpi", 72, "--thumbnail", 50, "--json")
    assert done.exit_code == 1
    report = json.loads(done.stdout)
    assert (report["added"], report["skipped"]) == (4, ["scans/report.pdf#2"])
    assert [*report["failed"]] == ["scans/broken.pdf", "scans/notes.pdf", "scans/secret.pdf"]
    for name, reason in (("secret", "an encrypted one"), ("notes", "a file of another kind")):
        assert f"scans/{name}.pdf: expected a PDF" in done.stderr and reason in done.stderr
    with connect("./data") as engine:
        collection = Collection.open("docs", engine, encoder=ColourEncoder())
        hit = collection.search(text="red", limit=1)[0]
        assert hit.id == "scans/red.png#1" and hit.payload["page"] == 1
        assert hit.payload["thumbnail"].startswith("data:image/jpeg;base64,")
        assert collection.retrieve(["manual.pdf#1"])[0].payload["file"] == "manual.pdf"


def test_good_pages_alone_are_a_success(scans):
    done = embplug("add", "docs", scans / "report.pdf", "--store-empty")
    assert done.exit_code == 0, done.stderr
    assert "3 pages added, 1 of them blank and without vectors" in " ".join(done.stdout.split())


def test_an_encoder_of_texts_reads_one_file(folder):
    (folder / "recipe.yaml").write_text("sparse: {}\n")
    assert embplug("create", "docs", "--recipe", "recipe.yaml").exit_code == 0
    write_pdf(folder / "a.pdf", ["Apples"])
    added = embplug("add", "docs", "a.pdf")
    assert added.exit_code == 0 and "1 documents added" in added.stdout
    several = embplug("add", "docs", "a.pdf", "a.pdf")
    assert several.exit_code == 2 and "one file or folder, unless its pages are images" in several.stderr
    pages = embplug("add", "docs", "a.pdf", "--format", "pages")
    assert pages.exit_code == 1 and "images: expected none" in pages.stderr
