"""A disk that is nearly full: writes are refused in words, because Edge would end the process."""

from __future__ import annotations

import errno
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from embplug import Collection, Dense, Recipe
from embplug.collection import ingest
from embplug.engines import EdgeClient
from embplug.engines.edge import store
from embplug.errors import DiskSpaceError, EngineError, IngestError

RECIPE = Recipe(dense=Dense(dim=4))
VECTORS = np.random.default_rng(0).normal(size=(20, 4))


@pytest.fixture
def free(monkeypatch: pytest.MonkeyPatch) -> Any:
    """Sets how much space the system reports as free."""
    return lambda size: monkeypatch.setattr(store.shutil, "disk_usage", lambda _: SimpleNamespace(free=size))


@pytest.fixture
def docs(edge_client: EdgeClient) -> Collection:
    collection = Collection.create("docs", RECIPE, edge_client)
    collection.add(range(20), dense=VECTORS)
    return collection


def test_nothing_is_written_without_space(docs: Collection, free: Any) -> None:
    free(store.SPACE_TO_WRITE - 1)
    with pytest.raises(IngestError, match=r"points cannot be written: the disk of .* 127 MiB free, and 128"):
        docs.add([20], dense=VECTORS[:1])
    for write in (lambda: docs.delete([1]), lambda: docs.set_payload({"a": 1}, [1])):
        with pytest.raises(DiskSpaceError, match="points cannot be written"):
            write()
    with pytest.raises(DiskSpaceError, match="no collection can be created"):
        Collection.create("others", RECIPE, docs.engine)
    assert docs.count() == 20 and len(docs.search(dense=VECTORS[0])) == 10
    docs.drop()
    assert docs.engine.get_collections().collections == []


def test_indexes_are_not_built_without_space(docs: Collection, free: Any) -> None:
    free(store.SPACE_TO_WRITE)
    with pytest.raises(DiskSpaceError, match="indexes cannot be built"):
        docs.optimize()
    free(1 << 40)
    docs.optimize()
    free(0)
    assert docs.optimize() is False  # nothing to do needs no space


def test_documents_that_are_written_are_reported_where_indexes_find_no_space(
    docs: Collection, free: Any, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    monkeypatch.setattr(ingest, "BULK_POINTS", 10)
    free(store.SPACE_TO_WRITE)
    assert docs.add(range(20, 40), dense=VECTORS).added == 20
    assert "collection 'docs': indexes cannot be built" in caplog.text


def test_a_collection_is_not_loaded_without_space(docs: Collection, tmp_path: Path, free: Any) -> None:
    docs.engine.close()
    free(store.SPACE_TO_LOAD - 1)
    with EdgeClient(tmp_path / "edge") as client:
        with pytest.raises(DiskSpaceError, match="the collection cannot be loaded"):
            Collection.open("docs", client)
        client.delete_collection("docs")  # which needs no space
        assert client.get_collections().collections == []


@pytest.mark.parametrize(("number", "kind"), [(errno.ENOSPC, DiskSpaceError), (errno.EIO, EngineError)])
def test_errors_of_the_file_system_name_the_file(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, number: int, kind: type[EngineError]
) -> None:
    def fail(*args: Any, **kwargs: Any) -> None:
        raise OSError(number, "the reason")

    with monkeypatch.context() as patch:
        patch.setattr(store, "_collection_folders", fail)
        with pytest.raises(EngineError, match=rf"{tmp_path}.*the reason") as raised:
            EdgeClient(tmp_path)
        assert type(raised.value) is kind
    with EdgeClient(tmp_path) as client:
        collection = Collection.create("docs", RECIPE, client)
        with monkeypatch.context() as patch:
            patch.setattr(store.os, "fsync", fail)
            with pytest.raises(EngineError, match=r"collection\.json.*the reason"):
                client.update_collection("docs", metadata={"a": 1})
        assert collection.count() == 0
