"""Rows of a file with one JSON object on each line."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

from embplug.common.files import STANDARD_INPUT, numbered_lines
from embplug.common.json_types import parse_json
from embplug.common.validation import short_repr
from embplug.errors import InvalidArgumentError
from embplug.files.source import LineSource

BLOCK_BYTES = 1 << 20


class JsonLines(LineSource):
    """A file with one JSON object on each line; ``-`` is standard input."""

    def __init__(self, file: Path) -> None:
        super().__init__(file)
        if str(file) != STANDARD_INPUT:
            self.total = count_lines(file)

    def rows(self) -> Iterator[tuple[int, dict[str, Any]]]:
        """Iterate over the objects; blank lines are left out."""
        for number, line in numbered_lines(self.file, "a readable file of JSON lines"):
            place = f"{self.file}, line {number}"
            row = parse_json(line, place)
            if not isinstance(row, dict):
                raise InvalidArgumentError(place, "a JSON object", short_repr(row))
            yield number, row

    def place(self, row: int) -> str:
        """Return the file and the line of a row."""
        return f"{self.file}, line {self.number(row)}"


def count_lines(file: Path) -> int | None:
    """Count the lines of a file, blank ones as well; None if it cannot be read, or only once."""
    lines, last = 0, b"\n"
    try:
        if not file.is_file():
            # What a pipe has told is gone.
            return None
        with file.open("rb") as stream:
            while block := stream.read(BLOCK_BYTES):
                lines += block.count(b"\n")
                last = block
    except (OSError, ValueError):
        return None
    return lines + (not last.endswith(b"\n"))
