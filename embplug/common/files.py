"""Files: text in UTF-8 and arrays, whose errors name file and line, and files that are replaced whole."""

from __future__ import annotations

import io
import os
import sys
import uuid
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from embplug.common.unicode_text import is_unicode
from embplug.errors import InvalidArgumentError

if TYPE_CHECKING:
    from numpy.typing import NDArray

STANDARD_INPUT = "-"
WRITABLE = "a file that can be written"


def read_lines(file: Path, expected: str) -> Iterator[tuple[str, str]]:
    """Read the lines of a file in UTF-8 with the place of each line; see :func:`numbered_lines`.

    Parameters
    ----------
    file : path
        The file; ``-`` reads standard input.
    expected : str
        What the file should be, for the error.

    Yields
    ------
    place : str
        The file and the number of the line, for errors.
    line : str
        The line without its end. Lines that are blank are left out.
    """
    for number, line in numbered_lines(file, expected):
        yield f"{file}, line {number}", line


def numbered_lines(file: Path, expected: str) -> Iterator[tuple[int, str]]:
    """Read the lines of a file in UTF-8; a byte order mark is left out.

    Parameters
    ----------
    file : path
        The file; ``-`` reads standard input.
    expected : str
        What the file should be, for the error.

    Yields
    ------
    number : int
        Number of the line, from 1.
    line : str
        The line without its end. Lines that are blank are left out.

    Raises
    ------
    InvalidArgumentError
        If the file cannot be read or is not in UTF-8.
    """
    # Bytes that are not UTF-8 become half surrogates, so that the error can name the line.
    encoding: dict[str, Any] = {"encoding": "utf-8-sig", "errors": "surrogateescape"}
    stream: Any
    is_stdin = str(file) == STANDARD_INPUT
    try:
        stream = io.TextIOWrapper(sys.stdin.buffer, **encoding) if is_stdin else file.open(**encoding)
    except (OSError, ValueError) as error:  # a path with NUL
        raise InvalidArgumentError("path", expected, f"{file}: {reason_of(error)}") from None
    try:
        for number, line in enumerate(stream, start=1):
            if not is_unicode(line):
                raise InvalidArgumentError(f"{file}, line {number}", "text in UTF-8", not_utf8(line))
            if line.strip():
                yield number, line.rstrip("\r\n")
    except OSError as error:
        raise InvalidArgumentError("path", expected, f"{file}: {reason_of(error)}") from None
    finally:
        if is_stdin:
            stream.detach()
        else:
            stream.close()


def read_text(file: Path, expected: str) -> str:
    """Read a whole file in UTF-8; a byte order mark is left out.

    Parameters
    ----------
    file : path
        The file.
    expected : str
        What the file should be, for the error.

    Returns
    -------
    str
        The text.

    Raises
    ------
    InvalidArgumentError
        If the file cannot be read or is not in UTF-8.
    """
    try:
        return file.read_text(encoding="utf-8-sig")
    except UnicodeDecodeError as error:
        number = error.object.count(b"\n", 0, error.start) + 1
        got = f"{file}, which is not in UTF-8: byte 0x{error.object[error.start]:02x} in line {number}"
        raise InvalidArgumentError("path", expected, got) from None
    except (OSError, ValueError) as error:
        raise InvalidArgumentError("path", expected, f"{file}: {reason_of(error)}") from None


def read_array(file: Path) -> NDArray[Any]:
    """Read the numbers of a ``.npy`` file.

    Parameters
    ----------
    file : path
        The file.

    Returns
    -------
    ndarray of at least one dimension
        The numbers.

    Raises
    ------
    InvalidArgumentError
        If the file cannot be read, or holds something else than an array of numbers.
    """
    expected = "a .npy file with an array of vectors"
    import numpy as np

    try:
        array = np.load(file, allow_pickle=False)
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InvalidArgumentError("path", expected, f"{file}: {reason_of(error)}") from None
    if not isinstance(array, np.ndarray):
        array.close()
        raise InvalidArgumentError("path", expected, f"{file}, an archive of several")
    if array.ndim == 0 or array.dtype.kind not in "fiu":
        raise InvalidArgumentError("path", expected, f"{file}: {array.dtype} of shape {array.shape}")
    return array


@contextmanager
def replacing(file: Path, *, durable: bool = True) -> Iterator[Path]:
    """Write a file as a whole: after the block, what was written to a path beside it takes its place.

    Others see the old file or the whole new one. Where the block or the disk fails, the old one stays, and
    nothing else is left.

    Parameters
    ----------
    file : path
        The file; its folder exists.
    durable : bool, default=True
        Whether the new file is on the disk, and a power failure leaves it whole, when the block ends.

    Yields
    ------
    Path
        The path to write to. No other process or thread writes there.

    Raises
    ------
    OSError
        The file cannot be written.
    """
    # A link stays, and the file that it leads to is replaced.
    file = file.resolve()
    beside = file.with_name(f".{uuid.uuid4().hex}.part")
    try:
        yield beside
        if durable:
            sync(beside)
        beside.replace(file)
    except BaseException:
        beside.unlink(missing_ok=True)
        raise
    if durable:
        sync(file.parent)


def sync(path: Path) -> None:
    """Wait until a file, or the names in a folder, are on the disk."""
    if os.name == "nt" and path.is_dir():
        return
    descriptor = os.open(path, os.O_RDONLY if os.name != "nt" else os.O_RDWR)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def reason_of(error: Exception) -> str:
    """Return what an error says, without the name of the file."""
    return (error.strerror if isinstance(error, OSError) else None) or str(error) or type(error).__name__


def not_utf8(line: str) -> str:
    """Name the first byte that is not UTF-8, of a text that was read with ``surrogateescape``."""
    at = next(i for i, letter in enumerate(line) if "\udc80" <= letter <= "\udcff")
    return f"byte 0x{ord(line[at]) - 0xDC00:02x} after {at} characters"
