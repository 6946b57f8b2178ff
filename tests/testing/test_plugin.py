"""Fixtures of the plugin, as the tests of a user take them."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from embplug import Collection, Dense, Recipe, connect
from embplug.errors import InvalidArgumentError
from embplug.testing import (
    ContainerError,
    qdrant_cluster,
    qdrant_container,
    removing_collections,
    removing_own_collections,
    throwaway_collection,
)

TESTS = """
import numpy as np
from embplug import Collection, Dense, Recipe

names = []

def test_finds(embplug_collection):
    docs = embplug_collection(Recipe(dense=Dense(dim=4)))
    docs.add(["a", "b"], dense=np.eye(4)[:2])
    assert docs.search(dense=np.eye(4)[1], limit=1)[0].id == "b"
    other = embplug_collection(Recipe(dense=Dense(dim=4)), name="other")
    names.extend([docs.name, other.name])

def test_is_clean(embplug_engine):
    assert len(names) == 2 and names[1] == "other"
    assert [c.name for c in embplug_engine.get_collections().collections if c.name in names] == []
    Collection.create("left", Recipe(dense=Dense(dim=4)), embplug_engine)

def test_is_clean_again(embplug_engine):
    assert not embplug_engine.collection_exists("left")
"""


@pytest.fixture
def users_tests(tmp_path: Path) -> Path:
    (tmp_path / "conftest.py").write_text('pytest_plugins = ["embplug.testing.plugin"]\n')
    (tmp_path / "pytest.ini").write_text("[pytest]\n")
    (tmp_path / "test_users.py").write_text(TESTS)
    return tmp_path


def outcome(folder: Path, *arguments: str, **environment: str) -> str:
    """Last line of a run of pytest."""
    root = str(Path(__file__).resolve().parents[2])
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *arguments, str(folder)],
        capture_output=True,
        text=True,
        check=False,
        cwd=folder,
        env={
            **os.environ,
            "PYTHONPATH": root,
            "PYTEST_ADDOPTS": "",
            "PYTEST_DISABLE_PLUGIN_AUTOLOAD": "1",
            "CI": "",
            **environment,
        },
    )
    return done.stdout.strip().splitlines()[-1] if done.stdout.strip() else done.stderr


def test_collections_are_gone_after_a_test(users_tests):
    assert "3 passed" in outcome(users_tests)


def test_the_engine_is_a_setting_or_an_option(users_tests):
    (users_tests / "pytest.ini").write_text("[pytest]\nembplug_engine = nowhere\n")
    assert "3 errors" in outcome(users_tests)
    assert "3 passed" in outcome(users_tests, "--embplug-engine", "memory")


def test_a_server_may_be_named(users_tests, qdrant_address):
    assert "3 passed" in outcome(users_tests, "--embplug-engine", qdrant_address[0])


def test_without_docker_tests_are_skipped_and_fail_in_ci(users_tests):
    nowhere = {"DOCKER_HOST": f"unix://{users_tests}/nothing.sock"}
    assert "3 skipped" in outcome(users_tests, "--embplug-engine", "container", **nowhere)
    assert "3 errors" in outcome(users_tests, "--embplug-engine", "cluster", **nowhere, CI="true")


@pytest.mark.parametrize("start", [qdrant_container, qdrant_cluster])
def test_without_docker_the_error_says_so(start, monkeypatch, tmp_path):
    monkeypatch.setenv("DOCKER_HOST", f"unix://{tmp_path}/nothing.sock")
    with pytest.raises(ContainerError, match="Docker"), start():
        pass


def test_a_cluster_has_a_node():
    with pytest.raises(InvalidArgumentError, match="nodes: expected at least 1, got 0"):
        qdrant_cluster(nodes=0).__enter__()


# Docker is no condition of the tests: ``make test-containers`` names an image, and then it has to be there.
containers = pytest.mark.skipif(
    "EMBPLUG_TEST_QDRANT_IMAGE" not in os.environ, reason="make test-containers runs it"
)


@containers
def test_a_container_answers_until_it_is_gone(embplug_container):
    engine = connect(embplug_container.url, grpc_port=embplug_container.grpc_port)
    with removing_collections(engine):
        assert found(engine) == "b"
    engine.close()


@containers
def test_nodes_of_a_cluster_know_what_one_of_them_stores(embplug_cluster):
    engines = [connect(node.url, grpc_port=node.grpc_port) for node in embplug_cluster]
    recipe = Recipe(dense=Dense(dim=4), shard_number=3, replication_factor=2)
    with throwaway_collection(engines[0], recipe) as docs:
        docs.add(range(4), dense=np.eye(4))
        hits = [Collection.open(docs.name, engine).search(dense=np.eye(4)[3], limit=1) for engine in engines]
    assert [own[0].id for own in hits] == [3, 3, 3]
    assert docs.name not in [c.name for c in engines[0].get_collections().collections]
    for engine in engines:
        engine.close()


def test_a_collection_is_dropped_also_after_an_error(memory_client):
    with pytest.raises(RuntimeError, match="stop"):  # noqa: SIM117
        with throwaway_collection(memory_client, Recipe(dense=Dense(dim=4))):
            raise RuntimeError("stop")
    assert memory_client.get_collections().collections == []


def test_what_a_test_drops_itself_is_no_error(memory_client):
    with throwaway_collection(memory_client, Recipe(dense=Dense(dim=4)), name="docs") as docs:
        docs.drop()
    assert memory_client.get_collections().collections == []


def test_a_collection_of_others_is_not_thrown_away(memory_client):
    recipe = Recipe(dense=Dense(dim=4))
    Collection.create("docs", recipe, memory_client).add([1], dense=np.eye(4)[:1])
    with pytest.raises(InvalidArgumentError, match=r"name: .*'docs'"):  # noqa: SIM117
        with throwaway_collection(memory_client, recipe, name="docs"):
            pass
    assert memory_client.count("docs").count == 1


def test_collections_of_others_stay(memory_client):
    recipe = Recipe(dense=Dense(dim=4))
    with removing_own_collections(memory_client):
        Collection.create("own", recipe, memory_client)
        memory_client.create_collection("plain", {})
        # As another process would.
        type(memory_client).create_collection(memory_client, "others", {})
    assert [c.name for c in memory_client.get_collections().collections] == ["others"]


SHARED = """
from embplug import connect

def test_others_create(embplug_engine):
    other = connect("{url}")
    other.create_collection("others_of_a_test", {{}})
    other.close()
    embplug_engine.create_collection("own_of_a_test", {{}})

def test_theirs_stay(embplug_engine):
    assert embplug_engine.collection_exists("others_of_a_test")
    assert not embplug_engine.collection_exists("own_of_a_test")
    embplug_engine.delete_collection("others_of_a_test")
"""


def test_on_a_shared_server_the_collections_of_others_stay(users_tests, qdrant_address):
    (users_tests / "test_users.py").write_text(SHARED.format(url=qdrant_address[0]))
    assert "2 passed" in outcome(users_tests, "--embplug-engine", qdrant_address[0])


def found(engine: object) -> object:
    """Best of two documents in a throwaway collection."""
    with throwaway_collection(engine, Recipe(dense=Dense(dim=4))) as docs:  # type: ignore[arg-type]
        docs.add(["a", "b"], dense=np.eye(4)[:2])
        return docs.search(dense=np.eye(4)[1], limit=1)[0].id
