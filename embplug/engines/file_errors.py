"""Errors of the file system, as those of an engine that keeps its data in files of this machine."""

from __future__ import annotations

import errno
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from embplug.errors import DiskSpaceError, EngineError


@contextmanager
def file_errors(path: Path) -> Iterator[None]:
    """Turn an error of the file system into one that names the file or folder.

    Raises
    ------
    DiskSpaceError
        The disk is full, or the user has no space left on it.
    EngineError
        Any other error of the file system.
    """
    try:
        yield
    except OSError as error:
        kind = DiskSpaceError if error.errno in (errno.ENOSPC, errno.EDQUOT) else EngineError
        raise kind(f"{path} of Qdrant Edge cannot be used: {error}") from error
