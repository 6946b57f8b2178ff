"""The directory of an :class:`~embplug.engines.edge.client.EdgeClient`: one owner, several shards.

::

    data/
      .lock  .owner.json      the owner of the directory; the lock decides, the file is for messages
      .aliases.json
      docs/
        collection.json       name and metadata
        unoptimized           exists if points have been written since the last optimize
        shard/                the files of Qdrant Edge
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from datetime import datetime, timezone
from hashlib import sha256
from pathlib import Path
from typing import IO, Any, TypeVar
from urllib.parse import quote

import portalocker
import qdrant_edge as edge

from embplug.common.files import replacing, sync
from embplug.common.names import check_collection_name
from embplug.engines.edge.convert_config import VectorSchema, schema_of
from embplug.engines.file_errors import file_errors
from embplug.errors import (
    CollectionNotFoundError,
    DiskSpaceError,
    EmbplugError,
    EngineError,
    EngineLockedError,
    InvalidArgumentError,
    StateError,
)

FORMAT = 1
LOCK_POLL_SECONDS = 0.05
BORROW_POLL_SECONDS = 0.001
LONGEST_CALL_SECONDS = 60
LONGEST_FOLDER_NAME = 150
WINDOWS_DEVICES = {"CON", "PRN", "AUX", "NUL", *(f"{d}{i}" for d in ("COM", "LPT") for i in range(1, 10))}

SPACE_TO_WRITE = 128 << 20
"""Bytes that have to be free before points are written: four requests of 8 MiB at a time, each of which takes
2.7 times its size in the log and in the segments, and a margin."""

SPACE_TO_LOAD = 64 << 20
"""Bytes that have to be free before a shard is loaded, for its log of 32 MiB and what is replayed from it."""

T = TypeVar("T")


class EdgeStore:
    """A directory that this process owns.

    All clients of a directory in one process share a store. They call :meth:`acquire` and :meth:`release`.
    The last release closes the shards and frees the lock.
    """

    def __init__(self, root: Path, lock: IO[str]) -> None:
        self.root = root
        self.users = 1
        self.closed_because: str | None = None
        self._lock_file = lock
        self._guard = threading.RLock()
        for leftover in [*root.glob(".new-*"), *root.glob(".old-*")]:
            shutil.rmtree(leftover, ignore_errors=True)
        self._collections = {c.name: c for c in map(EdgeCollection, _collection_folders(root))}
        self._aliases = _read_aliases(self._alias_file)

    @classmethod
    def acquire(cls, path: str | os.PathLike[str], timeout: float | None = None) -> EdgeStore:
        """Return the store of a directory, which is created if it does not exist.

        Parameters
        ----------
        path : str or path
            Directory of collections.
        timeout : float, default=None
            Seconds to wait for another process to release the directory. ``None`` does not wait.

        Returns
        -------
        EdgeStore
            The store of the directory in this process.

        Raises
        ------
        EngineLockedError
            Another process owns the directory; the error names the process.
        InvalidArgumentError
            The path cannot be such a directory.
        StateError
            The file of aliases is damaged.
        """
        root = _directory(path)
        deadline = time.monotonic() + (timeout or 0.0)
        while True:
            with _REGISTRY_GUARD:
                store = _REGISTRY.get(root)
                if store is not None:
                    store.users += 1
                    return store
                try:
                    lock = _lock(root)
                except EngineLockedError:
                    if time.monotonic() >= deadline:
                        raise
                else:
                    try:
                        with file_errors(root):
                            store = _REGISTRY[root] = cls(root, lock)
                    except BaseException:
                        lock.close()
                        raise
                    return store
            time.sleep(LOCK_POLL_SECONDS)

    def release(self) -> None:
        """Undo one call of :meth:`acquire`."""
        with _REGISTRY_GUARD:
            self.users -= 1
        for _ in _polls(f"Edge directory {self.root} cannot be closed"):
            with _REGISTRY_GUARD, self._guard:
                if self.users > 0 or self.closed_because is not None:
                    return
                if all([collection.close() for collection in self._collections.values()]):
                    del _REGISTRY[self.root]
                    self.closed_because = "it was closed"
                    (self.root / ".owner.json").unlink(missing_ok=True)
                    self._lock_file.close()
                    return

    def forget_after_fork(self) -> None:
        """Close the store in a forked child.

        The child has no threads of the engine, and the parent still owns the directory.
        """
        self.closed_because = (
            f"it was opened by process {os.getppid()}, from which this one was forked; "
            "start workers with the 'spawn' method and open it there after the parent has closed it"
        )
        self._guard = threading.RLock()
        # A lock is free when its last descriptor is closed, so the child must not keep a descriptor.
        self._lock_file.close()

    def check_open(self) -> None:
        """Raise an error if this process does not own the directory any more."""
        if self.closed_because is not None:
            raise EngineError(f"Edge directory {self.root} is not open: {self.closed_because}")

    @property
    def _alias_file(self) -> Path:
        return self.root / ".aliases.json"

    def names(self) -> list[str]:
        """Return the names of the collections, sorted."""
        self.check_open()
        with self._guard:
            return sorted(self._collections)

    def aliases(self) -> dict[str, str]:
        """Return the collection of each alias."""
        self.check_open()
        with self._guard:
            return dict(self._aliases)

    def exists(self, name: str) -> bool:
        """Tell whether there is a collection or an alias of that name."""
        self.check_open()
        with self._guard:
            return self._aliases.get(name, name) in self._collections

    def collection(self, name: str) -> EdgeCollection:
        """Return the collection of a name or an alias, with its shard loaded.

        Raises
        ------
        CollectionNotFoundError
            There is no such collection.
        """
        self.check_open()
        with self._guard:
            collection = self._collections.get(self._aliases.get(name, name))
            if collection is None:
                raise CollectionNotFoundError(f"no collection {name!r} in {self.root}")
            collection.load()
            return collection

    def create(self, name: str, config: edge.EdgeConfig, metadata: dict[str, Any] | None) -> None:
        """Create a collection. A process that is killed meanwhile leaves nothing behind.

        Raises
        ------
        InvalidArgumentError
            The name is taken or not valid.
        """
        self.check_open()
        folder = self.root / folder_name(name)
        with self._guard:
            if self.exists(name) or folder.exists():
                raise InvalidArgumentError("collection_name", "a name that is not taken", repr(name))
            check_space(self.root, SPACE_TO_WRITE, "no collection can be created")
            building = self.root / f".new-{uuid.uuid4().hex}"
            try:
                (building / "shard").mkdir(parents=True)
                shard = translating(lambda: edge.EdgeShard.create(str(building / "shard"), config))
                shard.close()
                _write_json(
                    building / "collection.json", {"format": FORMAT, "name": name, "metadata": metadata}
                )
                _sync_tree(building)
                building.rename(folder)
            except BaseException:
                shutil.rmtree(building, ignore_errors=True)
                raise
            sync(self.root)
            self._collections[name] = EdgeCollection(folder)

    def delete(self, name: str) -> bool:
        """Delete a collection and its aliases.

        Parameters
        ----------
        name : str
            Name of the collection; an alias is not accepted.

        Returns
        -------
        bool
            Whether the collection existed.
        """
        self.check_open()
        for _ in _polls(f"collection {name!r} cannot be deleted"):
            with self._guard:
                collection = self._collections.get(name)
                if collection is None:
                    return False
                if not collection.close():
                    continue
                kept = {alias: target for alias, target in self._aliases.items() if target != name}
                if kept != self._aliases:
                    self.set_aliases(kept)
                dying = self.root / f".old-{uuid.uuid4().hex}"
                collection.folder.rename(dying)
                sync(self.root)
                del self._collections[name]
                break
        shutil.rmtree(dying)
        return True

    def set_aliases(self, aliases: dict[str, str]) -> None:
        """Replace all aliases in one step."""
        with self._guard:
            _write_json(self._alias_file, aliases)
            self._aliases = dict(aliases)

    @contextlib.contextmanager
    def exclusively(self) -> Iterator[None]:
        """Prevent other threads from changing collections and aliases."""
        self.check_open()
        with self._guard:
            yield


class EdgeCollection:
    """A collection: its shard, which is loaded on first use, and the files beside the shard."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.schema: dict[str, VectorSchema] = {}
        self._shard: edge.EdgeShard | None = None
        self._guard = threading.RLock()
        self._writes = 0
        self._broken: str | None = None
        try:
            stored = _read_json(folder / "collection.json")
            self.name, self.metadata = str(stored["name"]), stored["metadata"]
            if stored["format"] > FORMAT:
                self._broken = f"has format {stored['format']}, this embplug reads up to {FORMAT}; upgrade it"
            elif folder_name(self.name) != folder.name:
                self._broken = f"is that of collection {self.name!r}; a copied folder is not a collection"
                self.name = folder.name
        except (OSError, ValueError, KeyError, TypeError) as error:
            self.name, self.metadata = folder.name, None
            self._broken = f"is damaged ({error}); restore it from a backup or delete its folder"

    @property
    def shard(self) -> edge.EdgeShard:
        """The loaded shard."""
        if self._shard is None:
            raise CollectionNotFoundError(
                f"collection {self.name!r} was closed or deleted while it was in use"
            )
        return self._shard

    @property
    def _config_file(self) -> Path:
        return self.folder / "shard" / "edge_config.json"

    @property
    def _unoptimized_file(self) -> Path:
        return self.folder / "unoptimized"

    def load(self) -> None:
        """Load the shard if it is not loaded yet, which replays the write-ahead log.

        Raises
        ------
        StateError
            ``collection.json`` is damaged or written by a newer version of embplug.
        EngineLockedError
            Another program has opened the shard.
        DiskSpaceError
            Too little space is free for the log.
        """
        if self._broken is not None:
            raise StateError(f"{self.folder / 'collection.json'} {self._broken}")
        with self._guard:
            if self._shard is None:
                check_space(self.folder, SPACE_TO_LOAD, "the collection cannot be loaded")
                self._shard = translating(lambda: edge.EdgeShard.load(str(self.folder / "shard")))
                self.read_schema()

    def read_schema(self) -> None:
        """Read the vectors from the configuration of the shard."""
        self.schema = schema_of(self.config())

    def config(self) -> dict[str, Any]:
        """Read the configuration of the shard from its file, because Edge has no call for it."""
        try:
            config: dict[str, Any] = _read_json(self._config_file)
        except FileNotFoundError:
            if self.folder.exists():
                raise
            raise CollectionNotFoundError(f"{self.folder} was deleted while it was in use") from None
        return config

    def close(self) -> bool:
        """Close the shard, unless another thread is in a call of it.

        Returns
        -------
        bool
            Whether no shard is open any more.
        """
        with self._guard:
            if self._shard is not None and _is_closed(self._shard):
                self._shard = None
            return self._shard is None

    def set_metadata(self, metadata: dict[str, Any] | None) -> None:
        """Replace the metadata in one atomic step."""
        with self._guard:
            stored = {"format": FORMAT, "name": self.name, "metadata": metadata}
            _write_json(self.folder / "collection.json", stored)
            self.metadata = metadata

    @property
    def is_optimized(self) -> bool:
        """Whether nothing has been written since the last :meth:`optimize`."""
        return not self._unoptimized_file.exists()

    @contextlib.contextmanager
    def writing(self) -> Iterator[None]:
        """Mark the collection as not optimized before and after a write of points.

        Raises
        ------
        DiskSpaceError
            Too little space is free.
        """
        check_space(self.folder, SPACE_TO_WRITE, "points cannot be written")
        self._note_write()
        try:
            yield
        finally:
            self._note_write()

    def _note_write(self) -> None:
        with self._guard:
            self._writes += 1
            if self._shard is not None and not self._unoptimized_file.exists():
                self._unoptimized_file.touch()

    def optimize(self) -> bool:
        """Build the indexes that are due, and flush.

        Returns
        -------
        bool
            True if the collection changed.

        Raises
        ------
        DiskSpaceError
            Too little space is free for a second copy of the segments.
        """
        writes = self._writes
        if not self.is_optimized:
            # Edge itself asks for twice the size of a segment, and what is written meanwhile comes on top.
            needed = SPACE_TO_WRITE + 2 * bytes_on_disk(self.folder / "shard" / "segments")
            check_space(self.folder, needed, "indexes cannot be built")
        changed = translating(self.shard.optimize)
        translating(self.shard.flush)
        with self._guard:
            if writes == self._writes:
                self._unoptimized_file.unlink(missing_ok=True)
        return changed


def folder_name(name: str) -> str:
    """Compute the folder name of a collection.

    Parameters
    ----------
    name : str
        Name of the collection.

    Returns
    -------
    str
        The name, with unsafe characters percent-encoded.

    Raises
    ------
    InvalidArgumentError
        A server would refuse the name too.
    """
    check_collection_name(name, "collection_name")
    folder = quote(name, safe=" ")
    if folder[0] == "." or folder[-1] in ". " or folder.split(".")[0].upper() in WINDOWS_DEVICES:
        folder = "".join(f"%{ord(c):02X}" if c in ". " else c for c in folder) + "~"
    if len(folder) > LONGEST_FOLDER_NAME:
        folder = folder[:LONGEST_FOLDER_NAME] + "~" + sha256(name.encode()).hexdigest()[:16]
    return folder


def check_space(folder: Path, needed: int, problem: str) -> None:
    """Refuse what would fill the disk, on which the engine ends the process without an error.

    Parameters
    ----------
    folder : path
        Folder that is written to.
    needed : int
        Bytes that have to be free.
    problem : str
        What cannot be done, for the error.

    Raises
    ------
    DiskSpaceError
        Fewer bytes are free.
    """
    try:
        free = shutil.disk_usage(folder).free
    except FileNotFoundError:
        raise CollectionNotFoundError(f"{folder} was deleted while it was in use") from None
    if free < needed:
        raise DiskSpaceError(
            f"{problem}: the disk of {folder} has {free >> 20} MiB free, and {-(-needed >> 20)} MiB are "
            "needed. Free space, for example by dropping collections, and try again"
        )


def bytes_on_disk(path: Path) -> int:
    """Measure the allocated bytes of a folder. Edge allocates sparse files, so their lengths say little."""
    total = 0
    for folder, _, files in os.walk(path):
        for file in files:
            with contextlib.suppress(FileNotFoundError):
                status = os.stat(os.path.join(folder, file))
                blocks: int | None = getattr(status, "st_blocks", None)
                total += status.st_size if blocks is None else 512 * blocks
    return total


def translating(call: Callable[[], T]) -> T:
    """Run a call of the binding, and translate its plain ``Exception`` to an error of embplug.

    Raises
    ------
    InvalidArgumentError
        The request is wrong.
    EngineLockedError
        Another program has opened the shard.
    EngineError
        The engine fails for another reason.
    """
    try:
        return call()
    except EmbplugError:
        raise
    except Exception as error:
        raise _translated(error) from error
    except BaseException as panic:
        # Panics of pyo3 derive from BaseException.
        if type(panic).__name__ != "PanicException":
            raise
        raise EngineError(f"Qdrant Edge panicked: {panic}") from panic


def _is_closed(shard: edge.EdgeShard) -> bool:
    """Close a shard, or return False where another thread is in a call of it."""
    try:
        shard.close()
    except RuntimeError as error:
        # A call keeps the shard borrowed while Python code runs in it, such as the garbage collector's.
        if str(error) != "Already borrowed":
            raise
        return False
    return True


def _polls(problem: str) -> Iterator[None]:
    """Turns of a thread that waits, without a lock, for the calls of others to end.

    Raises
    ------
    EngineError
        They do not end.
    """
    deadline = time.monotonic() + LONGEST_CALL_SECONDS
    while time.monotonic() < deadline:
        yield
        time.sleep(BORROW_POLL_SECONDS)
    raise EngineError(f"{problem}: a call of another thread has not ended in {LONGEST_CALL_SECONDS} seconds")


def _translated(error: Exception) -> EmbplugError:
    message = str(error)
    if "Not enough space" in message or "No space left on device" in message:
        return DiskSpaceError(f"Qdrant Edge has too little space on the disk: {message}")
    if "WouldBlock" in message:
        return EngineLockedError(f"another program has opened the shard itself: {message}")
    if "Shard is not initialized" in message:
        return CollectionNotFoundError("the collection was closed or deleted while it was in use")
    for sign, argument, expected in _REFUSALS:
        if sign in message:
            return InvalidArgumentError(argument, expected, message)
    if isinstance(error, (TypeError, ValueError, OverflowError)):
        return InvalidArgumentError("request", "what Qdrant Edge accepts", message)
    return EngineError(f"Qdrant Edge failed: {message}")


_REFUSALS = (
    ("invalid JSON path", "key", 'a path into the payload, such as a.b[].c or "with a space"'),
    ("No point with id", "points", "ids of points that exist"),
    ("No range index for `order_by`", "order_by", "a payload field with a range index"),
    ("No appropriate index for faceting", "key", "a payload field with an index"),
    ("Validation failed", "request", "what Qdrant Edge accepts"),
    ("Bad request", "request", "what Qdrant Edge accepts"),
    ("Wrong input", "request", "what Qdrant Edge accepts"),
    ("Not existing vector name", "using", "a vector of the collection"),
)


def _directory(path: str | os.PathLike[str]) -> Path:
    try:
        root = Path(path).expanduser()
        root.mkdir(parents=True, exist_ok=True)
    except (OSError, RuntimeError, ValueError) as error:  # a home that is not there, a NUL
        raise InvalidArgumentError("path", "a directory that exists or can be created", error) from None
    root = root.resolve()
    if (root / "edge_config.json").exists():
        raise InvalidArgumentError("path", "a directory of collections", f"{root}, a single Edge shard")
    if not os.access(root, os.W_OK):
        raise InvalidArgumentError("path", "a directory with write permission", root)
    return root


def _collection_folders(root: Path) -> list[Path]:
    return sorted(shard.parent for shard in root.glob("*/shard") if not shard.parent.name.startswith("."))


def _read_aliases(file: Path) -> dict[str, str]:
    if not file.exists():
        return {}
    try:
        aliases = _read_json(file)
        return {str(alias): str(name) for alias, name in aliases.items()}
    except (OSError, ValueError, AttributeError) as error:
        raise StateError(
            f"{file} is damaged ({error}); restore it from a backup, or delete it and set the aliases again"
        ) from error


def _lock(root: Path) -> IO[str]:
    with file_errors(root):
        lock = open(root / ".lock", "a")  # noqa: SIM115 - it stays open as long as the directory is owned
    try:
        portalocker.lock(lock, portalocker.LockFlags.EXCLUSIVE | portalocker.LockFlags.NON_BLOCKING)
    except portalocker.exceptions.AlreadyLocked:
        lock.close()
        raise EngineLockedError(_who_owns(root)) from None
    except portalocker.exceptions.LockException as error:
        lock.close()
        raise EngineError(f"cannot lock {root}, is it on a file system without locks? ({error})") from error
    owner = {
        "pid": os.getpid(),
        "host": socket.gethostname(),
        "since": datetime.now(timezone.utc).isoformat(timespec="seconds"),
    }
    with contextlib.suppress(EngineError):  # a directory on a full disk can be opened, to delete from it
        _write_json(root / ".owner.json", owner)
    return lock


def _who_owns(root: Path) -> str:
    try:
        owner = _read_json(root / ".owner.json")
        who = f"process {owner['pid']} on {owner['host']} since {owner['since']}"
    except (OSError, ValueError, KeyError, TypeError):
        who = "another process"
    return f"{root} is in use by {who}; close it there first, or give the directory to one process only"


def _read_json(path: Path) -> Any:
    return json.loads(path.read_text(encoding="utf-8"))


def _write_json(path: Path, value: Any) -> None:
    with file_errors(path), replacing(path) as beside:
        beside.write_text(json.dumps(value, ensure_ascii=False, allow_nan=False), encoding="utf-8")


def _sync_tree(root: Path) -> None:
    for folder, _, files in os.walk(root):
        for file in files:
            sync(Path(folder, file))
        sync(Path(folder))


_REGISTRY: dict[Path, EdgeStore] = {}
_REGISTRY_GUARD = threading.RLock()


def _after_fork_in_child() -> None:
    global _REGISTRY_GUARD
    _REGISTRY_GUARD = threading.RLock()
    for store in _REGISTRY.values():
        store.forget_after_fork()
    _REGISTRY.clear()


if hasattr(os, "register_at_fork"):
    os.register_at_fork(after_in_child=_after_fork_in_child)
