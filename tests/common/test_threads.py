"""Limits of BLAS threads hold in whichever thread of the process a block runs."""

from __future__ import annotations

import threading
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from embplug.common.threads import _blas_libraries, _limit, single_blas_thread


@pytest.fixture
def libraries() -> Iterator[list[Any]]:
    """The libraries of BLAS, with two threads each."""
    assert np.ones((2, 2)).sum() == 4
    found = _blas_libraries()
    before = [library.get_num_threads() for library in found]
    for library in found:
        _limit(library, 2)
    if not found or any(library.get_num_threads() != 2 for library in found):
        pytest.skip("no BLAS with threads")
    yield found
    for library, threads in zip(found, before, strict=True):
        _limit(library, threads)


def _in_thread(work: Callable[[], None]) -> None:
    thread = threading.Thread(target=work)
    thread.start()
    thread.join()


def test_a_block_has_one_thread_of_blas_in_each_thread(libraries: list[Any]) -> None:
    seen: list[int] = []

    def search() -> None:
        with single_blas_thread():
            seen.extend(library.get_num_threads() for library in libraries)

    search()
    _in_thread(search)
    _in_thread(search)
    assert seen == [1] * 3 * len(libraries)
    assert [library.get_num_threads() for library in libraries] == [2] * len(libraries)


def test_the_last_of_several_threads_to_leave_lifts_the_limit(libraries: list[Any]) -> None:
    inside, leave = threading.Event(), threading.Event()

    def search() -> None:
        with single_blas_thread():
            inside.set()
            leave.wait()

    thread = threading.Thread(target=search)
    with single_blas_thread():
        thread.start()
        inside.wait()
    assert [library.get_num_threads() for library in libraries] == [1] * len(libraries)
    leave.set()
    thread.join()
    assert [library.get_num_threads() for library in libraries] == [2] * len(libraries)
