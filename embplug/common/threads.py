"""Threads that share work, and limits on those of BLAS and PyTorch, which only wait in small products."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import lru_cache
from typing import Any, Generic, TypeVar

from threadpoolctl import ThreadpoolController

from embplug.errors import InvalidArgumentError

Item = TypeVar("Item")
Result = TypeVar("Result")

_computing: set[int] = set()
"""Threads in :func:`computing`."""

_lock = threading.Lock()
_holders = 0
_before: list[tuple[Any, int]] = []


@contextmanager
def single_blas_thread() -> Iterator[None]:
    """Run a block with one BLAS thread, and restore the number of threads afterwards.

    A matrix product of a few tokens takes microseconds on one thread and, on a busy machine,
    milliseconds on several threads. The limit holds for the whole process, or for this thread alone where
    BLAS uses OpenMP. Blocks may nest and may run in several threads: the first to enter sets the limit of the
    process, and the last to leave removes it.
    """
    global _holders
    own = [(library, library.get_num_threads()) for library in _openmp_libraries()]
    for library, _ in own:
        library.set_num_threads(1)
    with _lock:
        _holders += 1
        if _holders == 1:
            for library in _blas_libraries():
                threads = library.get_num_threads()
                if threads > 1:
                    _before.append((library, threads))
                    _limit(library, 1)
    try:
        yield
    finally:
        with _lock:
            # None is left where a fork inside of a block began to count anew.
            _holders = max(_holders - 1, 0)
            if _holders == 0:
                while _before:
                    _limit(*_before.pop())
        for library, threads in own:
            library.set_num_threads(threads)


@contextmanager
def single_torch_thread(torch: Any) -> Iterator[None]:
    """Run a block with one thread of PyTorch, and restore the number of threads afterwards.

    Parameters
    ----------
    torch : module
        The imported module ``torch``.
    """
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)


def worker_count(n_jobs: int) -> int:
    """Turn an ``n_jobs`` argument into a number of threads.

    Parameters
    ----------
    n_jobs : int
        Number of threads; -1 stands for all cores that the process may use.

    Returns
    -------
    int
        Number of threads.

    Raises
    ------
    InvalidArgumentError
        ``n_jobs`` is neither -1 nor at least 1.
    """
    if n_jobs == -1:
        return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
    if n_jobs < 1:
        raise InvalidArgumentError("n_jobs", "-1 or at least 1", n_jobs)
    return n_jobs


def computing(function: Callable[[], Result]) -> Result:
    """Call a function, and count this thread as one that computes meanwhile; see :func:`free_cores`."""
    thread = threading.get_ident()
    _computing.add(thread)
    try:
        return function()
    finally:
        _computing.discard(thread)


def free_cores() -> int:
    """Tell how many cores are left for this thread, beside the other threads that compute.

    Returns
    -------
    int
        At least 1. Where as many threads compute as there are cores, each has its own, and would only make
        the others wait if it shared its work.
    """
    others = len(_computing) - (threading.get_ident() in _computing)
    return max(worker_count(-1) - others, 1)


def in_threads(function: Callable[[Item], Result], items: Sequence[Item], threads: int) -> list[Result]:
    """Call a function for each of some items, in this thread and in others that are free.

    Threads take the next item as soon as they are done with one. They are kept, because their start takes
    longer than the work of a search. Where all are busy, this thread does the work alone.

    Parameters
    ----------
    function : callable
        It is called from several threads at once.
    items : sequence
        What it is called with, one after the other.
    threads : int
        How many threads take part at most, this one included.

    Returns
    -------
    list
        What each call returns, in the order of the items.

    Raises
    ------
    Exception
        The first error of a call, once no thread is in a call any more. No call begins after it.
    """
    work = _SharedWork(function, items)
    try:
        # Where the system or the end of the interpreter allows no more threads, fewer do the work.
        with suppress(RuntimeError):
            for _ in range(min(threads, len(items)) - 1):
                _helpers().submit(work.help)
        work.take_items()
    finally:
        work.end()
    if work.error is not None:
        raise work.error
    return work.results


class _SharedWork(Generic[Item, Result]):
    """Calls of a function that several threads share, until one of them fails.

    A helper that comes after the end does nothing, so that nobody has to know which ones will come.
    """

    def __init__(self, function: Callable[[Item], Result], items: Sequence[Item]) -> None:
        self.results: list[Any] = [None] * len(items)
        self.error: BaseException | None = None
        self._function, self._items = function, items
        self._left = iter(range(len(items)))
        self._ended = False
        self._helping = 0
        self._changed = threading.Condition()

    def take_items(self) -> None:
        """Call the function for items until none is left."""
        while not self._ended and (i := next(self._left, None)) is not None:
            self.results[i] = self._function(self._items[i])

    def help(self) -> None:
        """Take items, in a thread of its own."""
        with self._changed:
            if self._ended:
                return
            self._helping += 1
        try:
            self.take_items()
        except BaseException as error:
            self.error, self._ended = error, True
        finally:
            with self._changed:
                self._helping -= 1
                self._changed.notify_all()

    def end(self) -> None:
        """Let no helper take more items, and wait for those that are in a call."""
        with self._changed:
            self._ended = True
            try:
                self._changed.wait_for(self._is_alone)
            finally:
                # Calls write to arrays of the caller, which an interruption must not free before they end.
                self._changed.wait_for(self._is_alone)

    def _is_alone(self) -> bool:
        return self._helping == 0


@lru_cache(maxsize=1)
def _helpers() -> ThreadPoolExecutor:
    return ThreadPoolExecutor(os.cpu_count() or 1, thread_name_prefix="embplug-helper")


def _limit(library: Any, threads: int) -> None:
    """Set the number of threads of a library, whichever thread of this process has set it before."""
    # From version 3.8 on, threadpoolctl ignores all threads but the first; the lock here keeps them in order.
    clear = getattr(library, "clear_controlling_thread", None)
    if clear is not None:
        clear(force=True)
    library.set_num_threads(threads)
    if clear is not None:
        clear(force=True)


def _count_anew() -> None:
    """Forget other threads after a fork, which leaves only the thread that forked."""
    global _lock, _holders
    _lock, _holders = threading.Lock(), 0
    _computing.clear()
    _helpers.cache_clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_count_anew)


def _blas_libraries() -> list[Any]:
    """Libraries of BLAS whose number of threads is that of the process."""
    return _libraries()[0]


def _openmp_libraries() -> list[Any]:
    """Libraries of BLAS for which each thread has a number of its own."""
    return _libraries()[1]


@lru_cache(maxsize=1)
def _libraries() -> tuple[list[Any], list[Any]]:
    """Find the BLAS libraries of this process. The search runs once, because it takes milliseconds."""
    found = ThreadpoolController().select(user_api="blas").lib_controllers
    of_threads = [
        library
        for library in found
        if library.internal_api == "openblas" and library.threading_layer == "openmp"
    ]
    return [library for library in found if library not in of_threads], of_threads
