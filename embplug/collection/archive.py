"""Arrays as one archive of bytes, and back: the bytes are input, of which every size is checked first."""

from __future__ import annotations

import io
import math
import zipfile
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from embplug.errors import StateError

State: TypeAlias = dict[str, NDArray[Any]]

MOST_BYTES = 1 << 30
"""Size of the largest archive."""

_NUMBERS = "fiub"


def pack(state: State) -> bytes:
    """Arrays as one ``.npz``; the same arrays give the same bytes.

    Raises
    ------
    StateError
        The arrays are too large.
    """
    size = sum(array.nbytes for array in state.values())
    if size > MOST_BYTES // 2:
        raise StateError(
            f"the methods of the recipe have learned {size >> 20} MiB, which is more than the "
            f"{MOST_BYTES >> 21} MiB that a collection keeps: choose fewer centroids or features"
        )
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_STORED) as archive:
        for name in sorted(state):
            entry = io.BytesIO()
            np.lib.format.write_array(entry, np.asarray(state[name], order="C"), allow_pickle=False)
            archive.writestr(zipfile.ZipInfo(f"{name}.npy"), entry.getvalue())
    return buffer.getvalue()


def unpack(packed: bytes) -> State:
    """Arrays of :func:`pack`.

    Raises
    ------
    StateError
        The bytes are no such archive, or say that they hold more than they do.
    """
    try:
        with zipfile.ZipFile(io.BytesIO(packed)) as archive:
            entries = archive.infolist()
            if any(entry.compress_type != zipfile.ZIP_STORED for entry in entries):
                raise StateError("the archive of the fitted state is compressed")
            if sum(entry.file_size for entry in entries) > len(packed):
                raise StateError("the archive of the fitted state says that it holds more than it does")
            arrays = {entry.filename: _array(archive.read(entry)) for entry in entries}
    except StateError:
        raise
    # Broken archives raise many kinds of errors, of which zipfile and numpy document few.
    except Exception as error:
        raise StateError(f"the archive of the fitted state cannot be read: {error}") from None
    if len(arrays) < len(entries):
        raise StateError("the archive of the fitted state holds an array twice")
    return {name.removesuffix(".npy"): array for name, array in arrays.items()}


def _array(entry: bytes) -> NDArray[Any]:
    """One array of numbers whose header says what the entry really holds."""
    stream = io.BytesIO(entry)
    version = np.lib.format.read_magic(stream)
    if version != (1, 0):
        raise StateError(f"an array of the fitted state has format {version} instead of (1, 0)")
    shape, by_columns, dtype = np.lib.format.read_array_header_1_0(stream)
    size = math.prod(shape) * dtype.itemsize
    if dtype.kind not in _NUMBERS or by_columns or any(axis < 0 for axis in shape):
        raise StateError(f"an array of the fitted state is no array of numbers: {dtype} {shape}")
    if size != len(entry) - stream.tell():
        raise StateError(f"an array of the fitted state has another size than its shape {shape}")
    array: NDArray[Any] = np.frombuffer(entry, dtype, offset=stream.tell()).reshape(shape).copy()
    return array
