from __future__ import annotations

import gc
import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor, wait
from pathlib import Path
from typing import Any

import portalocker
import pytest
from qdrant_client import models

from embplug.engines import EdgeClient
from embplug.engines.edge import store
from embplug.engines.edge.store import folder_name
from embplug.errors import (
    CollectionNotFoundError,
    EngineError,
    EngineLockedError,
    InvalidArgumentError,
    StateError,
)

VECTORS = {"d": models.VectorParams(size=2, distance=models.Distance.DOT)}
ROOT = Path(__file__).resolve().parents[3]


def point(i: int) -> models.PointStruct:
    return models.PointStruct(id=i, vector={"d": [float(i), 1.0]}, payload={"i": i})


def fill(path: Path, *names: str) -> None:
    with EdgeClient(path) as client:
        for i, name in enumerate(names):
            client.create_collection(name, VECTORS, metadata={"nr": i})
            client.upsert(name, [point(i)])


def contents(path: Path, name: str) -> list[Any]:
    with EdgeClient(path) as client:
        return [record.id for record in client.scroll(name, limit=1000)[0]]


def start(code: str, path: Path) -> subprocess.Popen[str]:
    """Another process that runs ``code`` with ``client`` open."""
    prelude = f"""
        import sys, time
        from qdrant_client import models
        from embplug.engines import EdgeClient
        def say(what): print(what, flush=True)
        def point(i): return models.PointStruct(id=i, vector={{"d": [float(i), 1.0]}}, payload={{"i": i}})
        client = EdgeClient({str(path)!r})
    """
    return subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(prelude) + textwrap.dedent(code)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": str(ROOT)},
    )


def is_locked(path: Path) -> bool:
    """Whether anybody holds the lock: a second descriptor is refused, even in the same process."""
    with open(path / ".lock", "a") as lock:
        try:
            portalocker.lock(lock, portalocker.LockFlags.EXCLUSIVE | portalocker.LockFlags.NON_BLOCKING)
        except portalocker.exceptions.AlreadyLocked:
            return True
    return False


def line_of(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


# Several collections in one directory


def test_collections_of_a_directory_are_apart_and_come_back(tmp_path):
    fill(tmp_path, "b", "a", "c")
    with EdgeClient(tmp_path) as client:
        assert [c.name for c in client.get_collections().collections] == ["a", "b", "c"]
        assert {n: client.get_collection(n).config.metadata["nr"] for n in "abc"} == {"b": 0, "a": 1, "c": 2}
        client.delete_collection("a")
        assert client.count("b").count == 1
    assert contents(tmp_path, "c") == [2]
    with EdgeClient(tmp_path) as client, pytest.raises(CollectionNotFoundError):
        client.count("a")


def test_everything_comes_back(tmp_path):
    config = models.DenseVectorNameConfig(
        dense=models.DenseVectorConfig(size=3, distance=models.Distance.COSINE)
    )
    with EdgeClient(tmp_path) as client:
        client.create_collection("docs", VECTORS, {"s": models.SparseVectorParams()}, metadata={"a": 1})
        client.create_payload_index("docs", "i", "integer")
        client.create_vector_name("docs", "new", config)
        client.update_collection("docs", metadata={"b": 2})
        alias = models.CreateAlias(collection_name="docs", alias_name="live")
        client.update_collection_aliases([models.CreateAliasOperation(create_alias=alias)])
        vector = {
            "d": [1.0, 2.0],
            "new": [0.0, 1.0, 0.0],
            "s": models.SparseVector(indices=[7], values=[1.0]),
        }
        client.upsert("docs", [models.PointStruct(id=1, vector=vector, payload={"i": 1})])
        before = client.get_collection("docs")
    with EdgeClient(tmp_path) as client:
        assert client.get_collection("live") == before
        assert before.config.metadata == {"a": 1, "b": 2}
        assert before.status is models.CollectionStatus.GREY
        record = client.retrieve("live", ids=[1], with_vectors=True)[0]
        assert (record.vector, record.payload) == (vector, {"i": 1})
        assert client.query_points("docs", query=[0.0, 1.0, 0.0], using="new").points[0].score == 1.0


@pytest.mark.parametrize(
    "name",
    ["docs", "with space", "a%20b", "..", ".", ".hidden", "dot.dot", "end.", "CON", "nul.txt", "ü" * 200,
     "日本", "tab\t", "a" * 255, "~"],
)  # fmt: skip
def test_a_name_becomes_a_folder_that_every_system_takes(name):
    folder = folder_name(name)
    assert folder not in (".", "..")
    assert len(folder) <= 200
    assert folder[0] != "." and folder[-1] not in ". "
    assert folder.isascii() and folder.isprintable() and not set(folder) & set('<>:"/\\|?*')
    assert folder.split(".")[0].upper() not in ("CON", "NUL")


def test_names_that_need_escaping_stay_apart(tmp_path):
    names = ["a b", "a%20b", "..", ".x", "ü", "CON", "x" * 255, "x" * 254 + "y"]
    assert len({folder_name(name) for name in names}) == len(names)
    fill(tmp_path, *names[:4])
    with EdgeClient(tmp_path) as client:
        assert {c.name for c in client.get_collections().collections} == set(names[:4])
        assert [client.scroll(name)[0][0].id for name in names[:4]] == [0, 1, 2, 3]
    assert len([p for p in tmp_path.iterdir() if p.is_dir()]) == 4


@pytest.mark.parametrize(
    "name", ["", "x" * 256, "a/b", "a\\b", "a:b", "a*", "a?", 'a"', "a<b", "a|b", "a\0b", 7]
)
def test_an_impossible_name_is_refused(tmp_path, name):
    with EdgeClient(tmp_path) as client, pytest.raises(InvalidArgumentError, match=r"^collection_name:"):
        client.create_collection(name, VECTORS)
    assert [p.name for p in tmp_path.iterdir() if not p.name.startswith(".")] == []


# One owner


def test_another_process_is_refused_told_who_holds_the_lock_and_may_wait_for_it(tmp_path):
    fill(tmp_path, "docs")
    holder = start("say('ready'); sys.stdin.readline(); client.close(); sys.stdin.readline()", tmp_path)
    assert holder.stdin is not None
    try:
        assert line_of(holder) == "ready"
        with pytest.raises(EngineLockedError, match=f"in use by process {holder.pid} on .* since 20"):
            EdgeClient(tmp_path)
        began = time.monotonic()
        with pytest.raises(EngineLockedError, match=f"process {holder.pid} "):
            EdgeClient(tmp_path, timeout=0.3)
        assert time.monotonic() - began >= 0.3
        threading.Timer(0.3, lambda: print(file=holder.stdin, flush=True)).start()
        with EdgeClient(tmp_path, timeout=30) as client:
            assert client.count("docs").count == 1
        assert holder.poll() is None
    finally:
        holder.kill()
        holder.communicate()


def test_clients_of_one_process_share_a_directory_under_any_of_its_names(tmp_path):
    (tmp_path / "data").mkdir()
    (tmp_path / "link").symlink_to(tmp_path / "data")
    first, second = EdgeClient(tmp_path / "data"), EdgeClient(tmp_path / "link" / ".." / "data")
    first.create_collection("docs", VECTORS)
    second.upsert("docs", [point(1)])
    assert first.count("docs").count == 1
    first.close()
    assert second.count("docs").count == 1
    second.close()
    assert not (tmp_path / "data" / ".owner.json").exists()
    with pytest.raises(EngineError, match="closed"):
        second.count("docs")


def test_a_forgotten_client_lets_go_of_the_directory(tmp_path):
    EdgeClient(tmp_path).create_collection("docs", VECTORS)
    gc.collect()
    assert not is_locked(tmp_path)


class SlowIds(list):
    """Ids that a call of a shard reads until it is told to go on. The shard stays borrowed meanwhile."""

    def __init__(self, *ids: int, meanwhile: Callable[[], object] = lambda: None) -> None:
        super().__init__(ids)
        self.in_call, self.finish, self.meanwhile = threading.Event(), threading.Event(), meanwhile

    def __iter__(self) -> Iterator[int]:
        self.in_call.set()
        assert self.finish.wait(20)
        self.meanwhile()
        return super().__iter__()


def reading(threads: ThreadPoolExecutor, client: EdgeClient, ids: SlowIds) -> Future[list[Any]]:
    """A read in another thread, which is in a call of the shard of "docs" now."""
    shard = client._collection("docs").shard
    read = threads.submit(lambda: shard.retrieve(ids, True, False))
    assert ids.in_call.wait(20)
    return read


def test_a_collection_is_deleted_after_the_calls_of_other_threads_that_are_in_its_shard(tmp_path):
    fill(tmp_path, "docs")
    ids = SlowIds(0)
    with EdgeClient(tmp_path) as client, ThreadPoolExecutor(2) as threads:
        read = reading(threads, client, ids)
        deleted = threads.submit(client.delete_collection, "docs")
        assert not wait([deleted], timeout=0.2).done
        ids.finish.set()
        assert [record.id for record in read.result(20)] == [0]
        assert deleted.result(20) and client.get_collections().collections == []
        client.create_collection("docs", VECTORS)
        client.upsert("docs", [point(1)])
        assert client.count("docs").count == 1


def test_a_directory_is_closed_beside_a_call_that_closes_another_one(tmp_path):
    """As the garbage collector does, which runs in any call."""
    fill(tmp_path / "a", "docs")
    first, second = EdgeClient(tmp_path / "a"), EdgeClient(tmp_path / "b")
    ids = SlowIds(0, meanwhile=second.close)
    with ThreadPoolExecutor(2) as threads:
        read = reading(threads, first, ids)
        closed = threads.submit(first.close)
        assert not wait([closed], timeout=0.2).done
        ids.finish.set()
        assert [record.id for record in read.result(20)] == [0]
        closed.result(20)
    assert not is_locked(tmp_path / "a") and not is_locked(tmp_path / "b")


def test_a_call_that_does_not_end_is_told(tmp_path, monkeypatch):
    monkeypatch.setattr(store, "LONGEST_CALL_SECONDS", 0.1)
    fill(tmp_path, "docs")
    ids = SlowIds(0)
    with EdgeClient(tmp_path) as client, ThreadPoolExecutor(1) as threads:
        read = reading(threads, client, ids)
        with pytest.raises(EngineError, match=r"'docs' cannot be deleted: a call .* has not ended"):
            client.delete_collection("docs")
        ids.finish.set()
        assert [record.id for record in read.result(20)] == [0]
        assert client.count("docs").count == 1


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork on this system")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_a_forked_child_is_told_and_the_parent_goes_on(tmp_path):
    with EdgeClient(tmp_path) as client:
        client.create_collection("docs", VECTORS)
        receiver, sender = multiprocessing.Pipe(duplex=False)
        child = os.fork()
        if child == 0:
            try:
                said = []
                for attempt in (lambda: client.count("docs"), lambda: EdgeClient(tmp_path)):
                    try:
                        attempt()
                    except (EngineError, EngineLockedError) as error:
                        said.append(f"{type(error).__name__} {error}")
                sender.send(said)
            finally:
                os._exit(0)
        said = receiver.recv() if receiver.poll(20) else []
        os.waitpid(child, 0)
        assert (
            said[0].startswith("EngineError") and f"process {os.getpid()}" in said[0] and "spawn" in said[0]
        )
        assert said[1].startswith("EngineLockedError") and f"process {os.getpid()}" in said[1]
        client.upsert("docs", [point(1)])
        assert client.count("docs").count == 1
        assert is_locked(tmp_path)
    assert not is_locked(tmp_path)


def test_a_shard_that_another_program_opened_is_locked(tmp_path):
    import qdrant_edge

    fill(tmp_path, "docs")
    shard = qdrant_edge.EdgeShard.load(str(tmp_path / "docs" / "shard"))
    try:
        with EdgeClient(tmp_path) as client, pytest.raises(EngineLockedError, match="another program"):
            client.count("docs")
    finally:
        shard.close()
    assert contents(tmp_path, "docs") == [0]


# Nothing acknowledged is lost


def test_what_was_acknowledged_survives_a_kill(tmp_path):
    code = """
        client.create_collection("docs", {"d": models.VectorParams(size=2, distance=models.Distance.DOT)},
                                 metadata={"kept": True})
        client.create_payload_index("docs", "i", "integer")
        for i in range(100000):
            client.upsert("docs", [point(2 * i), point(2 * i + 1)])
            if i == 5:
                client.delete("docs", [0])
                client.set_payload("docs", {"i": -1}, [1])
            say(i)
    """
    writer = start(code, tmp_path)
    for _ in range(40):
        acknowledged = int(line_of(writer))
    os.kill(writer.pid, signal.SIGKILL)
    # What it had said before it was killed, and we had not read.
    assert writer.stdout is not None
    acknowledged = max([acknowledged, *(int(n) for n in writer.stdout.read().split("\n")[:-1])])
    assert writer.wait() == -signal.SIGKILL
    writer.communicate()
    with EdgeClient(tmp_path) as client:
        assert client.get_collection("docs").config.metadata == {"kept": True}
        assert "i" in client.get_collection("docs").payload_schema
        found = {r.id: r for r in client.scroll("docs", limit=10**6, with_vectors=True)[0]}
        assert set(found) >= set(range(1, 2 * acknowledged + 2))
        assert 0 not in found
        assert found[1].payload == {"i": -1}
        last = 2 * acknowledged + 1
        assert (found[last].vector, found[last].payload) == ({"d": [float(last), 1.0]}, {"i": last})
        client.upsert("docs", [point(0)])
        assert client.optimize("docs") in (True, False)
        assert client.count("docs").count == len(found) + 1


def test_what_a_kill_left_half_made_or_half_deleted_is_gone(tmp_path):
    fill(tmp_path, "docs")
    for half in (".new-1234", ".old-5678"):
        shutil.copytree(tmp_path / "docs", tmp_path / half)
    (tmp_path / ".new-abcd" / "shard").mkdir(parents=True)
    with EdgeClient(tmp_path) as client:
        assert [c.name for c in client.get_collections().collections] == ["docs"]
    assert not [p for p in tmp_path.iterdir() if p.name.startswith((".new", ".old"))]


def test_a_failed_creation_leaves_nothing(tmp_path):
    with EdgeClient(tmp_path) as client:
        before = set(tmp_path.iterdir())
        with pytest.raises(InvalidArgumentError):
            client.create_collection(
                "docs", {"d": VECTORS["d"], "": VECTORS["d"]}, metadata={"a": {1, object()}}
            )
        assert set(tmp_path.iterdir()) == before
        client.create_collection("docs", VECTORS)


# Damage


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ("{", r"collection\.json is damaged"),
        ("[]", r"collection\.json is damaged"),
        ('{"format": 1}', r"collection\.json is damaged"),
        ('{"format": "x", "name": "docs", "metadata": null}', r"collection\.json is damaged"),
        (None, r"collection\.json is damaged .*No such file"),
        (
            '{"format": 2, "name": "docs", "metadata": null}',
            "has format 2, this embplug reads up to 1; upgrade",
        ),
        ('{"format": 1, "name": "other", "metadata": null}', "is that of collection 'other'"),
    ],
)
def test_a_damaged_collection_says_what_to_do_and_leaves_the_others_alone(tmp_path, content, says):
    fill(tmp_path, "docs", "sound")
    file = tmp_path / "docs" / "collection.json"
    if content is None:
        file.unlink()
    else:
        file.write_text(content)
    with EdgeClient(tmp_path) as client:
        assert client.count("sound").count == 1
        assert client.collection_exists("docs")
        with pytest.raises(StateError, match=says):
            client.count("docs")
        with pytest.raises(InvalidArgumentError, match="not taken"):
            client.create_collection("docs", VECTORS)
        assert client.delete_collection("docs")
        client.create_collection("docs", VECTORS)
        assert client.count("docs").count == 0


def test_a_copied_folder_is_not_taken_for_its_original(tmp_path):
    fill(tmp_path, "docs")
    shutil.copytree(tmp_path / "docs", tmp_path / "a copy")
    with EdgeClient(tmp_path) as client:
        client.upsert("docs", [point(5)])
        with pytest.raises(StateError, match="a copy"):
            client.count("a copy")
    assert contents(tmp_path, "docs") == [0, 5]


def test_a_damaged_shard_is_an_error_of_ours(tmp_path):
    fill(tmp_path, "docs")
    (tmp_path / "docs" / "shard" / "edge_config.json").write_text("{")
    with EdgeClient(tmp_path) as client, pytest.raises(EngineError, match=r"edge_config\.json"):
        client.count("docs")


@pytest.mark.parametrize("content", ["{", "[1]", "7"])
def test_damaged_aliases_are_named_and_the_lock_is_not_kept(tmp_path, content):
    fill(tmp_path, "docs")
    aliases = tmp_path / ".aliases.json"
    aliases.write_text(content)
    with pytest.raises(StateError, match=r"\.aliases\.json is damaged .* delete it"):
        EdgeClient(tmp_path)
    aliases.unlink()
    assert not is_locked(tmp_path)
    assert contents(tmp_path, "docs") == [0]


def test_an_unreadable_note_of_the_owner_is_no_obstacle(tmp_path):
    fill(tmp_path, "docs")
    (tmp_path / ".owner.json").write_text("{")
    assert contents(tmp_path, "docs") == [0]
    assert json.loads((tmp_path / "docs" / "collection.json").read_text())["name"] == "docs"


@pytest.mark.parametrize("kind", ["file", "shard", "below a file"])
def test_a_path_that_cannot_be_such_a_directory_is_refused(tmp_path, kind):
    if kind == "shard":
        fill(tmp_path, "docs")
        path = tmp_path / "docs" / "shard"
    else:
        (tmp_path / "file").touch()
        path = tmp_path / "file" if kind == "file" else tmp_path / "file" / "below"
    with pytest.raises(InvalidArgumentError, match=r"^path:"):
        EdgeClient(path)
