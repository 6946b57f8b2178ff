"""How far an interrupted ``embplug add`` has come, so that the same command goes on."""

from __future__ import annotations

import hashlib
import json
import os
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path
from typing import Any

from embplug.common.files import replacing

INTERVAL_S = 0.5


class AddProgress:
    """Number of rows at the beginning of a file that are stored, in a file of the user's state.

    A file whose size or time of change has changed begins anew. Where nothing can be written, nothing is
    remembered: a command that begins anew replaces the same documents.

    Parameters
    ----------
    command : dict
        What makes a command the same: the engine, the collection, the path and the options.
    files : iterable of path
        Files that are read.

    Attributes
    ----------
    rows : int
        Number of rows that are stored.
    """

    def __init__(self, command: dict[str, Any], files: Iterable[Path]) -> None:
        key = hashlib.sha256(json.dumps(command, sort_keys=True, default=str).encode()).hexdigest()
        self._file = state_folder() / "add" / f"{key[:32]}.json"
        self._signature = _signature(files)
        self._next = 0.0
        self.rows = 0
        try:
            stored = json.loads(self._file.read_text(encoding="utf-8"))
            if stored["files"] == self._signature and isinstance(stored["rows"], int):
                self.rows = stored["rows"]
        except (OSError, ValueError, KeyError, TypeError):
            pass

    def reached(self, rows: int, *, now: bool = False) -> None:
        """Remember that the first rows are stored, at intervals that cost next to nothing."""
        self.rows = max(self.rows, rows)
        if not now and time.monotonic() < self._next:
            return
        self._next = time.monotonic() + INTERVAL_S
        text = json.dumps({"files": self._signature, "rows": self.rows})
        with suppress(OSError):
            self._file.parent.mkdir(parents=True, exist_ok=True)
            with replacing(self._file, durable=False) as beside:
                beside.write_text(text, encoding="utf-8")

    def clear(self) -> None:
        """Forget the command, which has ended."""
        with suppress(OSError):
            self._file.unlink(missing_ok=True)


def state_folder() -> Path:
    """Return the folder for what this user's commands remember."""
    base = os.environ.get("XDG_STATE_HOME")
    return (Path(base) if base else Path.home() / ".local" / "state") / "embplug"


def _signature(files: Iterable[Path]) -> str:
    digest = hashlib.sha256()
    for file in files:
        status = file.stat()
        digest.update(f"{file}\0{status.st_size}\0{status.st_mtime_ns}\0".encode())
    return digest.hexdigest()
