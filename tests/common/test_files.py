"""Files, whose errors name the file and the line, and files that are replaced whole."""

from __future__ import annotations

import io
import sys
from pathlib import Path

import numpy as np
import pytest

from embplug.common.files import read_array, read_lines, read_text, replacing
from embplug.errors import InvalidArgumentError


def test_lines_come_with_their_places_and_without_a_byte_order_mark(tmp_path: Path) -> None:
    file = tmp_path / "docs.jsonl"
    file.write_bytes("\ufeffä\r\n\n b\u2028c\n".encode())
    assert [*read_lines(file, "lines")] == [(f"{file}, line 1", "ä"), (f"{file}, line 3", " b\u2028c")]
    assert read_text(file, "text").startswith("ä")


@pytest.mark.parametrize("data", ["a\nGrüße\n".encode("latin-1"), b"a\n\xff\xfeb\x00"])
def test_what_is_not_utf8_is_named_with_its_line(tmp_path: Path, data: bytes) -> None:
    file = tmp_path / "docs.jsonl"
    file.write_bytes(data)
    with pytest.raises(
        InvalidArgumentError, match=r"docs\.jsonl, line 2: expected text in UTF-8, got byte 0xf"
    ):
        list(read_lines(file, "lines"))
    with pytest.raises(InvalidArgumentError, match=r"^path: .*docs\.jsonl.* byte 0xf. in line 2"):
        read_text(file, "text")


def test_standard_input_is_read_as_a_file_is(monkeypatch: pytest.MonkeyPatch) -> None:
    stdin = io.TextIOWrapper(io.BytesIO("\ufeffä\n".encode()), encoding="ascii")
    monkeypatch.setattr(sys, "stdin", stdin)
    assert [*read_lines(Path("-"), "lines")] == [("-, line 1", "ä")]
    assert not stdin.buffer.closed


@pytest.mark.parametrize("name", ["absent", ".", "a\0b"])
def test_what_is_no_file_is_named(tmp_path: Path, name: str) -> None:
    for read in (
        lambda file: list(read_lines(file, "lines")),
        lambda file: read_text(file, "text"),
        read_array,
    ):
        with pytest.raises(InvalidArgumentError) as raised:
            read(tmp_path / name)
        assert raised.value.argument == "path"


@pytest.mark.parametrize(
    "array", [np.float32(1.0), np.array("text"), np.array(["a"]), np.array([True]), np.array([1j])]
)
def test_an_array_that_holds_no_vectors_is_refused(tmp_path: Path, array: np.ndarray) -> None:
    np.save(tmp_path / "queries.npy", array)
    with pytest.raises(InvalidArgumentError, match=r"^path: expected a \.npy file .*queries\.npy: "):
        read_array(tmp_path / "queries.npy")


def test_a_damaged_array_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "queries.npy"
    np.save(file, np.ones((2, 3), np.float32))
    whole = file.read_bytes()
    assert read_array(file).shape == (2, 3)
    np.savez(tmp_path / "several.npz", a=np.ones(2))
    archive = (tmp_path / "several.npz").read_bytes()
    for data in (b"", whole[:7], whole[:-5], b"PK\x03\x04", archive, b"\x80\x04N."):
        file.write_bytes(data)
        with pytest.raises(InvalidArgumentError, match=r"^path: "):
            read_array(file)


@pytest.mark.parametrize("failure", [OSError, KeyboardInterrupt])
def test_a_file_that_cannot_be_written_whole_stays_as_it_was(
    tmp_path: Path, failure: type[BaseException]
) -> None:
    file = tmp_path / "docs.jsonl"
    file.write_text("old")
    with pytest.raises(failure), replacing(file) as beside:
        beside.write_text("half of the n")
        raise failure
    assert [*tmp_path.iterdir()] == [file]
    assert file.read_text() == "old"


def test_others_see_the_old_file_until_the_new_one_is_whole(tmp_path: Path) -> None:
    file = tmp_path / "docs.jsonl"
    file.write_text("old")
    with replacing(file) as first, replacing(file) as second:
        first.write_text("first")
        second.write_text("second")
        assert file.read_text() == "old"
    # The block that begins first ends last.
    assert file.read_text() == "first"
    assert [*tmp_path.iterdir()] == [file]


def test_a_link_to_a_file_that_is_replaced_stays(tmp_path: Path) -> None:
    (tmp_path / "data").mkdir()
    file, link = tmp_path / "data" / "docs.jsonl", tmp_path / "link"
    link.symlink_to(file)
    with replacing(link) as beside:
        beside.write_text("new")
    assert link.is_symlink()
    assert file.read_text() == "new"
