"""Limits of BLAS threads hold in whichever thread of the process a block runs."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from typing import Any

import numpy as np
import pytest

from embplug.common import threads as threads_module
from embplug.common.threads import (
    _blas_libraries,
    _helpers,
    _limit,
    computing,
    free_cores,
    in_threads,
    single_blas_thread,
    worker_count,
)


def holds_in_a_fork(check: Callable[[], bool]) -> bool:
    """Whether a check is true in a forked process, which the signal ends if it waits for ever."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", DeprecationWarning)
        child = os.fork()
    if child == 0:
        try:
            signal.signal(signal.SIGALRM, signal.SIG_DFL)
            signal.alarm(20)
            os._exit(0 if check() else 1)
        finally:
            os._exit(2)
    return os.waitpid(child, 0)[1] == 0


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


def test_each_thread_has_its_own_limit_where_blas_uses_openmp() -> None:
    pytest.importorskip("faiss")
    code = """
import faiss, threading
from embplug.common.threads import _openmp_libraries, single_blas_thread
(library,) = _openmp_libraries()
inside, leave, seen = threading.Event(), threading.Event(), []
def search():
    library.set_num_threads(3)
    with single_blas_thread():
        seen.append(library.get_num_threads())
        inside.set()
        leave.wait()
    seen.append(library.get_num_threads())
library.set_num_threads(2)
thread = threading.Thread(target=search)
with single_blas_thread():
    thread.start()
    inside.wait()
    seen.append(library.get_num_threads())
seen.append(library.get_num_threads())
leave.set()
thread.join()
print(seen, library.get_num_threads())
"""
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] == "[1, 1, 2, 3] 2"


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_fork_waits_for_no_thread_that_it_leaves_behind(libraries: list[Any]) -> None:
    inside, leave = threading.Event(), threading.Event()

    def search() -> None:
        with single_blas_thread():
            inside.set()
            leave.wait()

    thread = threading.Thread(target=search)
    thread.start()
    inside.wait()

    def limits_blas() -> bool:
        with single_blas_thread():
            limited = {library.get_num_threads() for library in libraries}
        return limited == {1} and {library.get_num_threads() for library in libraries} == {2}

    with threads_module._lock:
        assert holds_in_a_fork(limits_blas)
    leave.set()
    thread.join()
    assert [library.get_num_threads() for library in libraries] == [2] * len(libraries)


def test_work_is_shared_by_several_threads_and_comes_back_in_order() -> None:
    together = threading.Barrier(2)

    def work(item: int) -> tuple[int, int]:
        if item < 2:
            together.wait(20)  # The first two items are in different threads.
        return item * item, threading.get_ident()

    results = in_threads(work, range(40), 2)
    assert [square for square, _ in results] == [item * item for item in range(40)]
    assert len({thread for _, thread in results}) == 2


def test_a_thread_works_alone_where_all_others_are_busy() -> None:
    leave = threading.Event()
    busy = [_helpers().submit(leave.wait, 20) for _ in range(worker_count(-1))]
    try:
        assert {thread for thread in in_threads(lambda _: threading.get_ident(), range(9), 3)} == {
            threading.get_ident()
        }
    finally:
        leave.set()
    assert all(task.result() for task in busy)


def test_threads_that_compute_leave_fewer_cores_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads_module, "worker_count", lambda _: 3)
    leave, ready = threading.Event(), threading.Barrier(3)

    def compute() -> None:
        ready.wait(20)
        leave.wait(20)

    others = [threading.Thread(target=computing, args=(compute,)) for _ in range(2)]
    assert computing(free_cores) == free_cores() == 3
    for other in others:
        other.start()
    ready.wait(20)
    assert computing(free_cores) == free_cores() == 1
    leave.set()
    for other in others:
        other.join()
    with pytest.raises(ZeroDivisionError):
        computing(lambda: 1 // 0)
    assert free_cores() == 3


@pytest.mark.parametrize("threads", [1, 3])
def test_what_goes_wrong_in_a_thread_reaches_the_caller(threads: int) -> None:
    def work(item: int) -> None:
        if item == 5:
            raise ValueError(f"item {item}")

    with pytest.raises(ValueError, match="item 5"):
        in_threads(work, range(9), threads)
    assert in_threads(str, [], threads) == []


@pytest.mark.parametrize("failing", ["caller", "helper"])
def test_nobody_is_in_a_call_any_more_when_an_error_reaches_the_caller(failing: str) -> None:
    together, caller = threading.Barrier(2), threading.get_ident()
    ended: list[int] = []

    def work(item: int) -> None:
        together.wait(20)
        if (threading.get_ident() == caller) == (failing == "caller"):
            raise ValueError("failed")
        time.sleep(0.2)
        ended.append(item)

    with pytest.raises(ValueError, match="failed"):
        in_threads(work, range(9), 2)
    assert len(ended) == 1


def test_a_thread_that_cannot_be_started_leaves_the_work_to_others(monkeypatch: pytest.MonkeyPatch) -> None:
    """The executor keeps what it was told to do, and another helper may find it at any later time."""
    queued: list[Callable[[], None]] = []

    class Executor:
        def submit(self, work: Callable[[], None]) -> None:
            queued.append(work)
            raise RuntimeError("can't start new thread")

    monkeypatch.setattr(threads_module, "_helpers", Executor)
    done: list[int] = []
    assert in_threads(done.append, range(3), 2) == [None] * 3
    queued[0]()
    assert done == [0, 1, 2]


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system does not fork")
def test_a_forked_process_has_helpers_of_its_own() -> None:
    assert in_threads(abs, [-1, -2, -3], 3) == [1, 2, 3]

    def shares_work() -> bool:
        together = threading.Barrier(2)
        return in_threads(lambda item: together.wait(10) >= 0 and item, [1, 2], 2) == [1, 2]

    assert holds_in_a_fork(shares_work)
