"""An archive is input: what is no archive of plain numbers is refused before memory is allocated for it."""

from __future__ import annotations

import contextlib
import io
import tracemalloc
import zipfile
from typing import Any

import numpy as np
import pytest

from embplug.collection import archive
from embplug.collection.archive import pack, unpack
from embplug.errors import StateError

STATE = {"a": np.arange(6, dtype=np.float32).reshape(2, 3), "b": np.array(7), "c": np.zeros((0, 2), np.uint8)}


def zipped(entries: dict[str, bytes], compression: int = zipfile.ZIP_STORED) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", compression) as file:
        for name, data in entries.items():
            file.writestr(name, data)
    return buffer.getvalue()


def npy(array: Any, **changes: Any) -> bytes:
    """An array as a file, whose header says something else where ``changes`` says so."""
    buffer = io.BytesIO()
    array = np.asarray(array)
    header = {"descr": array.dtype.str, "fortran_order": False, "shape": array.shape, **changes}
    np.lib.format.write_array_header_1_0(buffer, header)
    return buffer.getvalue() + array.tobytes()


def test_arrays_come_back() -> None:
    unpacked = unpack(pack(STATE))
    assert unpacked.keys() == STATE.keys()
    for name, array in STATE.items():
        assert unpacked[name].dtype == array.dtype and np.array_equal(unpacked[name], array)
        assert unpacked[name].flags.writeable
    with np.load(io.BytesIO(pack(STATE))) as plain:
        assert {*plain.files} == {*STATE}


PICKLED = io.BytesIO()
np.save(PICKLED, np.array([{}], dtype=object), allow_pickle=True)

BROKEN = {
    "nothing": b"",
    "no archive": b"x" * 100,
    "cut off": pack(STATE)[:-30],
    "no array": zipped({"a.npy": b"x" * 100}),
    "an empty entry": zipped({"a.npy": b""}),
    "an object": zipped({"a.npy": PICKLED.getvalue()}),
    "text": zipped({"a.npy": npy(np.array(["text"]))}),
    "by columns": zipped({"a.npy": npy(np.zeros((2, 2)), fortran_order=True)}),
    "too few numbers": zipped({"a.npy": npy(np.zeros(3), shape=(4,))}),
    "too many numbers": zipped({"a.npy": npy(np.zeros(3), shape=(2,))}),
    "a huge shape": zipped({"a.npy": npy(np.zeros(3), shape=(10**15, 10**6))}),
    "a negative axis": zipped({"a.npy": npy(np.zeros(3), shape=(-3, -1))}),
    "a shape of text": zipped({"a.npy": npy(np.zeros(3), shape=("3",))}),
    "code as header": zipped({"a.npy": b"\x93NUMPY\x01\x00\x10\x00__import__('os')"}),
    "compressed": zipped({"a.npy": npy(np.zeros(10))}, zipfile.ZIP_DEFLATED),
}


@pytest.mark.parametrize("what", BROKEN)
def test_what_is_no_archive_of_numbers_is_refused(what: str) -> None:
    with pytest.raises(StateError, match=r"fitted state"):
        unpack(BROKEN[what])


def test_an_array_that_comes_twice_is_refused() -> None:
    with pytest.warns(UserWarning, match="Duplicate"):
        buffer = io.BytesIO()
        with zipfile.ZipFile(buffer, "w") as file:
            file.writestr("a.npy", npy(np.zeros(3)))
            file.writestr("a.npy", npy(np.ones(3)))
    with pytest.raises(StateError, match="twice"):
        unpack(buffer.getvalue())


def test_a_small_archive_does_not_become_large() -> None:
    bomb = zipped({"a.npy": npy(np.zeros(1 << 22))}, zipfile.ZIP_DEFLATED)
    overlapping = pack({"a": np.zeros(1000)}).replace(np.int32(8128).tobytes(), np.int32(1 << 30).tobytes())
    tracemalloc.start()
    for packed in (bomb, overlapping, BROKEN["a huge shape"]):
        with pytest.raises(StateError):
            unpack(packed)
    assert tracemalloc.get_traced_memory()[1] < 4 << 20
    tracemalloc.stop()


@pytest.mark.parametrize("seed", range(20))
def test_damaged_bytes_give_the_arrays_or_a_typed_error(seed: int) -> None:
    generator = np.random.default_rng(seed)
    packed = pack(STATE)
    for _ in range(20):
        damaged = bytearray(packed)
        for place in generator.integers(0, len(packed), generator.integers(1, 8)):
            damaged[place] = generator.integers(256)
        with contextlib.suppress(StateError):
            assert all(array.dtype.kind in "fiub" for array in unpack(bytes(damaged)).values())


def test_what_is_too_large_is_not_stored(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(archive, "MOST_BYTES", 64 << 20)
    with pytest.raises(StateError, match="learned 40 MiB, which is more than the 32 MiB"):
        pack({"a": np.broadcast_to(np.float32(0), (10 << 20,))})
