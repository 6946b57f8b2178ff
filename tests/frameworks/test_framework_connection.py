"""From the keywords of a store to an open engine."""

from __future__ import annotations

import contextlib
from pathlib import Path

import pytest
from qdrant_client import AsyncQdrantClient, QdrantClient

from embplug.engines import EdgeClient, closed_on_error
from embplug.errors import InvalidArgumentError
from embplug.frameworks.connection import (
    connection_options,
    open_engine,
    split_options,
    target_options,
)


def test_options_of_the_connection_are_told_from_the_others():
    assert split_options({"url": "u", "vector_name": "v", "timeout": 3}) == (
        {"url": "u", "timeout": 3},
        {"vector_name": "v"},
    )


def test_a_target_is_one_option(memory_client):
    assert target_options(None, None, None) == {}
    assert target_options("http://host", None, None) == {"url": "http://host"}
    assert target_options(Path("folder"), None, None) == {"path": Path("folder")}
    assert target_options(":memory:", None, None) == {"location": ":memory:"}
    assert target_options(memory_client, None, None) == {"client": memory_client}
    assert target_options(None, "http://host", None) == {"url": "http://host"}
    assert target_options(None, None, "folder") == {"path": "folder"}
    with pytest.raises(InvalidArgumentError, match="nothing beside client"):
        target_options("folder", None, "other")


def test_an_asynchronous_client_shows_the_server():
    aclient = AsyncQdrantClient("http://localhost:1", check_compatibility=False)
    with contextlib.closing(target_options(None, None, None, aclient)["client"]) as client:
        assert isinstance(client, QdrantClient)
        assert client.init_options["location"] == "http://localhost:1"
    with pytest.raises(InvalidArgumentError, match="aclient"):
        target_options(None, None, None, AsyncQdrantClient(":memory:"))


def test_further_options_are_known_by_name():
    options = connection_options({"url": "http://host"}, "key", {"timeout": 3})
    assert options == {"url": "http://host", "api_key": "key", "timeout": 3}
    assert connection_options({}, None, {"host": "host"}) == {"host": "host"}
    for target, further in (({}, None), ({"url": "u"}, {"unknown": 1}), ({"url": "u"}, {"client": 1})):
        with pytest.raises(InvalidArgumentError):
            connection_options(target, None, further)


def test_engines_open_by_each_option(tmp_path, memory_client):
    assert open_engine({"client": memory_client, "url": None}) is memory_client
    with contextlib.closing(open_engine({"path": tmp_path / "edge"})) as edge:
        assert isinstance(edge, EdgeClient)
    with contextlib.closing(open_engine({"location": ":memory:"})) as memory:
        assert isinstance(memory, QdrantClient)
    with contextlib.closing(open_engine({"host": "localhost", "port": 1})) as server:
        assert isinstance(server, QdrantClient)
    for wrong in ({"url": "http://x", "path": "y"}, {"path": "y", "prefix": "z"}):
        with pytest.raises(InvalidArgumentError):
            open_engine(wrong)


def test_only_an_engine_that_was_opened_here_is_closed_after_an_error(tmp_path):
    path = tmp_path / "edge"
    with pytest.raises(RuntimeError), closed_on_error(EdgeClient(path), path):
        raise RuntimeError
    with EdgeClient(path) as engine:
        with pytest.raises(RuntimeError), closed_on_error(engine, engine):
            raise RuntimeError
        assert engine.get_collections().collections == []
    with EdgeClient(path) as engine, closed_on_error(engine, path):
        pass
