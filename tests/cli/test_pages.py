"""Pages of PDFs and scans, added by the command line for an encoder of images."""

from __future__ import annotations

import contextlib
import json
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest

from embplug import Collection, connect, register_encoder
from embplug.errors import InvalidArgumentError
from tests.cli.test_documents import embplug, folder, progress_rows
from tests.images import DIM, ColourEncoder, picture, write_pdf

__all__ = ["folder"]

RECIPE = f"tokens: {{dim: {DIM}, preset: exact}}\nencoder: colours\n"

AT_ONCE = f"""
tokens:
  dim: {DIM}
  encoding: {{kind: fde, repetitions: 8, simhash_bits: 2, projection_dim: 8}}
  multivector: {{}}
  codes: null
encoder: colours
"""
"""A recipe that learns nothing, so that the first pages are stored before the last ones are encoded."""

SLOW = """
import signal
import time
from embplug import register_encoder
from embplug.cli import main
from tests.images import ColourEncoder

class Slow(ColourEncoder):
    def encode_images(self, images):
        time.sleep(0.2)
        return super().encode_images(images)

register_encoder("colours", Slow)
signal.signal(signal.SIGINT, signal.default_int_handler)
main()
"""

PAGES = 160


class Failing(ColourEncoder):
    """Fails once, after so many calls."""

    left: int | None = None

    def encode_images(self, images):
        if self.left == 0:
            self.left = None
            raise InvalidArgumentError("images", "what this model reads", "others")
        self.left = None if self.left is None else self.left - 1
        return super().encode_images(images)


@pytest.fixture
def scans(folder):
    register_encoder("colours", ColourEncoder)
    (folder / "recipe.yaml").write_text(RECIPE)
    scans_folder = folder / "scans"
    scans_folder.mkdir()
    write_pdf(scans_folder / "report.pdf", ["Apples", "", "Pears"])
    write_pdf(scans_folder / "secret.pdf", ["Figs"], encrypted=True)
    (scans_folder / "notes.pdf").write_text("words\n" * 99)
    (scans_folder / "broken.pdf").write_bytes((scans_folder / "report.pdf").read_bytes()[:60])
    picture("red").save(scans_folder / "red.png")
    return scans_folder


def adds_what_can_be_read(scans: Path, at: str) -> None:
    """A folder is added: its good pages are found, and each of the others is named."""
    assert embplug("create", "docs", "--recipe", "recipe.yaml", "--at", at).exit_code == 0
    write_pdf(scans.parent / "manual.pdf", ["Plums"])
    options = ["--dpi", 72, "--thumbnail", 50, "--json", "--at", at]
    done = embplug("add", "docs", "manual.pdf", "scans", "missing.pdf", *options)
    assert done.exit_code == 1
    report = json.loads(done.stdout)
    assert (report["added"], report["skipped"]) == (4, ["scans/report.pdf#2"])
    assert [*report["failed"]] == [
        *(f"scans/{name}.pdf" for name in ("broken", "notes", "secret")),
        "missing.pdf",
    ]
    for name, reason in (
        ("scans/broken", "a damaged one"),
        ("scans/notes", "a file of another kind"),
        ("scans/secret", "an encrypted one"),
        ("missing", "No such file"),
    ):
        assert f"{name}.pdf: expected a " in report["failed"][f"{name}.pdf"]
        assert reason in report["failed"][f"{name}.pdf"] and report["failed"][f"{name}.pdf"] in done.stderr
    with contextlib.closing(connect(at)) as engine:
        collection = Collection.open("docs", engine, encoder=ColourEncoder())
        assert collection.count() == 4
        hit = collection.search(text="red", limit=1)[0]
        assert hit.id == "scans/red.png#1" and hit.payload["page"] == 1
        assert hit.payload["thumbnail"].startswith("data:image/jpeg;base64,")
        assert collection.retrieve(["manual.pdf#1"])[0].payload["file"] == "manual.pdf"


def test_pages_that_can_be_read_are_added_and_the_others_named(scans):
    adds_what_can_be_read(scans, "./data")


def test_pages_are_added_to_a_server(scans, qdrant_address, server_client):
    adds_what_can_be_read(scans, qdrant_address[0])


def test_good_pages_alone_are_a_success(scans):
    assert embplug("create", "docs", "--recipe", "recipe.yaml").exit_code == 0
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


def killed(number: int) -> tuple[int, str]:
    """Exit code and messages of a call that gets a signal as soon as it has stored some pages more."""
    before = progress_rows()
    arguments = [sys.executable, "-c", SLOW, "add", "docs", "scans", "--dpi", "72"]
    with subprocess.Popen(arguments, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, text=True) as run:
        end = time.monotonic() + 120
        while progress_rows() <= before and run.poll() is None and time.monotonic() < end:
            time.sleep(0.01)
        run.send_signal(number)
        _, messages = run.communicate(timeout=120)
    return run.returncode, messages


@pytest.fixture
def manual(folder, monkeypatch):
    """A folder with a long PDF among files that cannot be read, and a collection for it."""
    # The command runs in this folder, and finds the modules of the tests.
    monkeypatch.setenv("PYTHONPATH", str(Path(__file__).parents[2]))
    encoder = Failing()
    register_encoder("colours", lambda: encoder)
    (folder / "recipe.yaml").write_text(AT_ONCE)
    assert embplug("create", "docs", "--recipe", "recipe.yaml").exit_code == 0
    (folder / "scans").mkdir()
    texts = ["" if i == 3 else f"Page {i}" for i in range(PAGES)]
    write_pdf(folder / "scans" / "manual.pdf", texts)
    (folder / "scans" / "a.pdf").write_text("words")
    return encoder


def added(*options: str) -> dict[str, object]:
    done = embplug("add", "docs", "scans", "--dpi", 72, "--json", *options)
    assert done.exit_code == 1, done.stderr
    return json.loads(done.stdout)


def test_pages_of_a_call_that_was_killed_are_not_encoded_again(manual):
    code, messages = killed(signal.SIGKILL)
    assert code == -signal.SIGKILL, messages
    first = progress_rows()
    assert 0 < first < PAGES
    code, messages = killed(signal.SIGINT)
    assert code == 130 and "pages are stored" in messages, messages
    second = progress_rows()
    assert first < second < PAGES
    done = added()
    # The blank page and the file that is no PDF are named by the last call too.
    assert (done["skipped"], [*done["failed"]]) == (["scans/manual.pdf#4"], ["scans/a.pdf"])
    # One page of those before the mark is blank, and not stored.
    assert done["resumed"] == second - 1 and done["added"] + done["resumed"] == PAGES - 1
    assert sum(map(len, manual.sizes)) == done["added"]
    with connect("./data") as engine:
        records, _ = Collection.open("docs", engine).scroll(limit=1000)
    assert {record.id for record in records} == {
        f"scans/manual.pdf#{i}" for i in range(1, PAGES + 1) if i != 4
    }
    # A call that has ended begins anew.
    assert (progress_rows(), added()["added"]) == (0, PAGES - 1)


def failed(encoder: Failing) -> int:
    """Pages that are known to be stored after a call that fails."""
    encoder.left = 12
    done = embplug("add", "docs", "scans", "--dpi", 72)
    assert done.exit_code and "the same command goes on there" in done.stderr
    return progress_rows()


@pytest.mark.parametrize("change", [["--restart"], ["--encoder", "colours"], ["--thumbnail", "20"]])
def test_pages_are_encoded_again_by_another_command(manual, change):
    assert failed(manual) > 0
    done = added(*change)
    assert (done["added"], done["resumed"]) == (PAGES - 1, 0)


def test_pages_that_were_deleted_or_changed_meanwhile_are_added_again(manual):
    reached = failed(manual)
    with connect("./data") as engine:
        Collection.open("docs", engine, encoder=manual).delete(["scans/manual.pdf#1"])
    done = added()
    assert (done["added"], done["resumed"]) == (PAGES + 1 - reached, reached - 2)
    assert failed(manual) > 0
    write_pdf(Path("scans/manual.pdf"), ["Other"] * 5)
    done = added()
    assert (done["added"], done["resumed"]) == (5, 0)
