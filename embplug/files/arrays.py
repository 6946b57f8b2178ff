"""Vectors and token matrices in ``.npy`` and ``.npz`` files."""

from __future__ import annotations

import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from embplug.common.files import reason_of
from embplug.errors import InvalidArgumentError
from embplug.files.source import Rows, Source
from embplug.methods.token_batch import TokenBatch

SUFFIXES = (".npy", ".npz")

_EXPECTED = (
    "a .npy file with vectors (n, dim) or token matrices (n, tokens, dim), "
    "or a .npz file with values (tokens, dim) and offsets (n + 1,)"
)


class Vectors:
    """Vectors or token matrices of a file, in the order of the documents.

    Parameters
    ----------
    file : path
        A ``.npy`` file with vectors (n, dim) or token matrices (n, tokens, dim), which is not loaded as a
        whole; or a ``.npz`` file with ``values`` (tokens, dim) and ``offsets`` (n + 1,).
    """

    def __init__(self, file: Path) -> None:
        self.file = file
        loaded = load_numbers(file)
        self.values: Any = loaded
        if not isinstance(loaded, TokenBatch) and loaded.ndim not in (2, 3):
            raise InvalidArgumentError(str(file), _EXPECTED, f"shape {loaded.shape}")

    def __len__(self) -> int:
        return len(self.values)

    def part(self, start: int, stop: int) -> Any:
        """Return the vectors (n, dim) or token matrices of some documents."""
        if isinstance(self.values, TokenBatch) or self.values.ndim == 2:
            return self.values[start:stop]
        return TokenBatch.from_list(list(self.values[start:stop]))


class NumberedVectors(Source):
    """Documents that are nothing but vectors; their ids are their positions, from 0.

    Parameters
    ----------
    file : path
        See :class:`Vectors`.
    key : str
        Field that holds the vectors.
    """

    numbered = True

    def __init__(self, file: Path, key: str) -> None:
        super().__init__([file])
        self.vectors = Vectors(file)
        self.key = key
        self.total = len(self.vectors)

    def batches(self, size: int, vector_keys: frozenset[str] = frozenset()) -> Iterator[Rows]:
        """Read the vectors in order; see :meth:`Source.batches`."""
        for start in range(0, len(self.vectors), size):
            part = self.vectors.part(start, start + size)
            yield Rows([{} for _ in range(len(part))], {self.key: part})

    def place(self, row: int) -> str:
        """Return the file and the position of a vector."""
        return f"{self.vectors.file}, row {row}"


def load_numbers(file: Path) -> Any:
    """Load the array of a ``.npy`` file, mapped into memory, or the :class:`TokenBatch` of a ``.npz`` file.

    Raises
    ------
    InvalidArgumentError
        The file cannot be read or holds something else; the error names it.
    """
    try:
        loaded = np.load(file, mmap_mode="r", allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            if loaded.dtype.kind not in "fiu":
                raise InvalidArgumentError(str(file), "numbers", loaded.dtype)
            return loaded
        with loaded:
            if not {"values", "offsets"} <= {*loaded.files}:
                raise InvalidArgumentError(str(file), _EXPECTED, f"arrays {loaded.files}")
            return TokenBatch(loaded["values"], loaded["offsets"])
    except InvalidArgumentError as error:
        if error.argument == str(file):
            raise
        raise InvalidArgumentError(str(file), _EXPECTED, error) from None
    except (OSError, ValueError, EOFError, zipfile.BadZipFile) as error:
        raise InvalidArgumentError(str(file), _EXPECTED, reason_of(error)) from None
