from __future__ import annotations

import errno
import hashlib
import os
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as npst
from qdrant_client import models

from embplug.collection import state as state_module
from embplug.collection.archive import pack, unpack
from embplug.collection.state import forget, load, save
from embplug.collection.state_collection import STATE_COLLECTION
from embplug.engines import EdgeClient, Engine
from embplug.engines.calls import run
from embplug.errors import CollectionNotFoundError, DiskSpaceError, StateError

VECTORS = {"d": models.VectorParams(size=2, distance=models.Distance.DOT)}
STATE = {
    "pca.components": np.random.default_rng(0).standard_normal((30, 20)).astype(np.float32),
    "codes": np.arange(7, dtype=np.uint8),
    "scalar": np.array(1.5),
    "empty": np.empty((0, 3), np.int64),
}

arrays = npst.arrays(
    dtype=st.sampled_from(["<f4", "<f2", "<f8", "|u1", "<i8", "|b1"]),
    shape=npst.array_shapes(min_dims=0, max_dims=3, min_side=0, max_side=4),
)
names = st.text("abc._0", min_size=1, max_size=6)


def assert_same(found: dict[str, Any], expected: dict[str, Any]) -> None:
    assert found.keys() == expected.keys()
    for name, array in expected.items():
        assert found[name].dtype == array.dtype
        np.testing.assert_array_equal(found[name], array, strict=True)


@settings(deadline=None)
@given(st.dictionaries(names, arrays, max_size=3))
def test_packed_arrays_come_back(state):
    assert_same(unpack(pack(state)), state)


def test_the_same_arrays_give_the_same_bytes():
    reordered = dict(reversed(STATE.items()))
    assert pack(STATE) == pack(reordered)
    transposed = {"a": np.asfortranarray(STATE["pca.components"])}
    assert pack(transposed) == pack({"a": STATE["pca.components"]})


def test_objects_are_never_pickled():
    with pytest.raises(ValueError, match="pickle"):
        pack({"a": np.array([object()])})


@pytest.fixture
def docs(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> Engine:
    """An engine with a collection, and chunks so small that a state has several."""
    monkeypatch.setattr(state_module, "CHUNK_BYTES", 1000)
    engine.create_collection("docs", vectors_config=VECTORS)
    return engine


def chunks(engine: Engine) -> list[Any]:
    return engine.scroll(STATE_COLLECTION, limit=100, with_payload=True)[0]


def file_of(engine: EdgeClient, reference: dict[str, Any]) -> Path:
    return engine.collection_path("docs") / "state" / f"{reference['sha256']}.npz"


@pytest.mark.parametrize("moment", ["collection_path", "mkdir", "fsync"])
def test_a_collection_that_is_deleted_while_its_state_is_written_is_missed(tmp_path, monkeypatch, moment):
    with EdgeClient(tmp_path) as client:
        client.create_collection("docs", vectors_config=VECTORS)
        owner = client if moment == "collection_path" else state_module.os
        before = getattr(owner, moment)

        def delete_after(*arguments: Any, **named: Any) -> Any:
            try:
                return before(*arguments, **named)
            finally:
                monkeypatch.setattr(owner, moment, before)  # Deleting writes to the disk, too.
                client.delete_collection("docs")

        run(client, save(client, "docs", {"earlier": np.zeros(1)}))
        monkeypatch.setattr(owner, moment, delete_after)
        with pytest.raises(CollectionNotFoundError, match="was deleted meanwhile"):
            run(client, save(client, "docs", STATE))
        assert {path.name for path in tmp_path.iterdir()} <= {".lock", ".owner.json"}


def test_a_state_for_which_the_disk_has_no_room_leaves_nothing(tmp_path, monkeypatch):
    def full(path: Path, data: bytes) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))

    with EdgeClient(tmp_path) as client:
        client.create_collection("docs", vectors_config=VECTORS)
        monkeypatch.setattr(Path, "write_bytes", full)
        with pytest.raises(DiskSpaceError, match=r"state.*of Qdrant Edge cannot be used.*No space left"):
            run(client, save(client, "docs", STATE))
        assert not [*client.collection_path("docs").joinpath("state").iterdir()]


def test_a_state_is_found_by_its_reference(docs):
    reference = run(docs, save(docs, "docs", STATE))
    assert reference == {"sha256": hashlib.sha256(pack(STATE)).hexdigest(), "bytes": len(pack(STATE))}
    assert_same(run(docs, load(docs, "docs", reference)), STATE)
    if isinstance(docs, EdgeClient):
        assert [file.name for file in file_of(docs, reference).parent.iterdir()] == [
            f"{reference['sha256']}.npz"
        ]
        assert not docs.collection_exists(STATE_COLLECTION)
    else:
        assert len(chunks(docs)) == -(-reference["bytes"] // 1000) > 2


def test_saving_twice_keeps_one_and_two_states_are_apart(docs):
    first = run(docs, save(docs, "docs", STATE))
    assert run(docs, save(docs, "docs", STATE)) == first
    other = {"codes": np.arange(5000)}
    second = run(docs, save(docs, "docs", other))
    if not isinstance(docs, EdgeClient):
        assert len(chunks(docs)) == sum(-(-reference["bytes"] // 1000) for reference in (first, second))
        run(docs, forget(docs, first))
        with pytest.raises(StateError, match="chunk 0 is missing"):
            run(docs, load(docs, "docs", first))
    assert_same(run(docs, load(docs, "docs", second)), other)


@pytest.mark.parametrize("damage", ["missing", "truncated", "altered", "unreadable"])
def test_a_damaged_state_says_what_where_and_what_to_do(docs, damage):
    reference = run(docs, save(docs, "docs", STATE))
    if isinstance(docs, EdgeClient):
        file = file_of(docs, reference)
        data = file.read_bytes()
        place = str(file)
        if damage == "missing":
            file.unlink()
        elif damage == "truncated":
            file.write_bytes(data[:-100])
        else:
            file.write_bytes(data[:700] + b"?" + data[701:])
        says = {"missing": "is missing", "truncated": "bytes instead of"}.get(damage, "was altered")
    else:
        (chunk,) = [record for record in chunks(docs) if record.payload["chunk"] == 1]
        place = reference["sha256"]
        if damage == "missing":
            docs.delete(STATE_COLLECTION, points_selector=[chunk.id], wait=True)
        else:
            content = chunk.payload["data"]
            damaged: Any = {"truncated": content[:400], "unreadable": {"not": "text"}}.get(damage)
            if damage == "altered":
                damaged = content[:200] + ("A" if content[200] != "A" else "B") + content[201:]
            docs.set_payload(STATE_COLLECTION, payload={"data": damaged}, points=[chunk.id], wait=True)
        says = {
            "missing": "chunk 1 is missing",
            "truncated": "bytes instead of",
            "altered": "was altered",
            "unreadable": "cannot be read",
        }[damage]
    with pytest.raises(StateError) as raised:
        run(docs, load(docs, "docs", reference))
    message = str(raised.value)
    assert message.startswith("the fitted state of collection 'docs' is damaged: ")
    assert says in message and place in message
    assert "restore it from a backup or snapshot, or create the collection anew" in message


def test_a_missing_state_collection_is_told(server_client):
    reference = run(server_client, save(server_client, "docs", STATE))
    server_client.delete_collection(STATE_COLLECTION)
    with pytest.raises(StateError, match="collection 'embplug_state' is missing"):
        run(server_client, load(server_client, "docs", reference))
    run(server_client, forget(server_client, reference))


def test_two_processes_may_make_the_state_collection_at_once(server_client):
    steps = save(server_client, "docs", STATE)
    call = next(steps)
    assert call.method == "collection_exists"
    run(server_client, save(server_client, "docs", {"other": np.arange(3)}))

    def late() -> Any:
        # What the slower process had been told before the faster one made it.
        following = steps.send(False)
        while True:
            try:
                following = steps.send(run(server_client, as_steps(following)))
            except StopIteration as stop:
                return stop.value
            except Exception as error:
                following = steps.throw(error)

    def as_steps(following: Any) -> Any:
        return (yield following)

    reference = late()
    assert_same(run(server_client, load(server_client, "docs", reference)), STATE)
