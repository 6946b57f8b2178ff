from __future__ import annotations

import asyncio
import contextlib
import http.server
import logging
import socket
import threading
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import grpc
import pytest
from qdrant_client import AsyncQdrantClient, QdrantClient, models
from qdrant_client import grpc as qdrant_grpc
from qdrant_client.grpc import collections_service_pb2_grpc, qdrant_pb2_grpc

from embplug.engines import AsyncEdgeClient, EdgeClient, connect, connect_async
from embplug.engines.calls import run
from embplug.engines.capabilities import capabilities_steps
from embplug.engines.connect import GRPC_OPTIONS, _Server, for_reading
from embplug.errors import (
    EngineConnectionError,
    EngineLockedError,
    InvalidArgumentError,
)
from tests.servers import NoServerError, _binary, free_ports

VECTORS = {"d": models.VectorParams(size=2, distance=models.Distance.DOT)}


def speaks_grpc(client: Any) -> bool:
    return bool(client.init_options["prefer_grpc"])


@contextmanager
def forwarding(port: int, target: int) -> Iterator[None]:
    """A port of this machine that passes everything on to another."""

    def pump(source: socket.socket, sink: socket.socket) -> None:
        try:
            while data := source.recv(1 << 16):
                sink.sendall(data)
            sink.shutdown(socket.SHUT_WR)
        except OSError:
            pass

    def accept() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            other = socket.create_connection(("127.0.0.1", target))
            open_sockets.extend([connection, other])
            for pair in ((connection, other), (other, connection)):
                threading.Thread(target=pump, args=pair, daemon=True).start()

    open_sockets: list[socket.socket] = []
    with closing(socket.create_server(("127.0.0.1", port))) as listener:
        threading.Thread(target=accept, daemon=True).start()
        try:
            yield
        finally:
            listener.shutdown(socket.SHUT_RDWR)
            for each in open_sockets:
                each.close()


@pytest.fixture
def neighbours() -> tuple[int, int]:
    """Two free ports that follow each other."""
    for _ in range(100):
        (port,) = free_ports(1)
        # Where nobody listens, a connection of somebody's may still begin: only binding tells.
        with socket.socket() as probe, contextlib.suppress(OSError):
            probe.bind(("127.0.0.1", port + 1))
            return port, port + 1
    raise AssertionError("no two free ports")


# Directories, memory and clients


@pytest.mark.parametrize("convert", [str, lambda path: path], ids=["str", "Path"])
def test_a_directory_opens_edge(tmp_path, convert):
    with connect(convert(tmp_path / "new" / "data")) as client:
        assert isinstance(client, EdgeClient)
        assert client.path == (tmp_path / "new" / "data").resolve()
        assert client.create_collection("docs", VECTORS)
    assert (tmp_path / "new" / "data" / "docs").is_dir()


def test_a_relative_path_and_home(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    with connect("data") as client, connect("~/data") as same:
        client.create_collection("docs", VECTORS)
        assert same.collection_exists("docs")


def test_memory_is_the_simulation():
    with closing(connect(":memory:")) as client:
        assert isinstance(client, QdrantClient)
        assert run(client, capabilities_steps(client)).kind == "memory"


def test_a_client_is_returned_as_it_is(edge_client, memory_client):
    for client in (edge_client, memory_client, AsyncEdgeClient(edge_client), AsyncQdrantClient(":memory:")):
        assert connect(client) is client


@pytest.mark.parametrize(
    ("target", "expected"),
    [
        ("", "a directory, 'http"),
        ("  ", "a directory, 'http"),
        (None, "a directory, 'http"),
        (7, "a directory, 'http"),
        ("localhost:6333", "is 'http://localhost:6333' meant?"),
        ("ftp://host", "a 'ftp' URL"),
        ("http://", "without a host"),
        ("http://host:port", "cannot be read"),
        ("http://[::1", "cannot be read"),
        ("http://me:secret@host", "use api_key"),
        ("http://host/?a=1", "without query"),
        ("http://host/#top", "without query"),
    ],
)
def test_what_is_no_engine_is_refused(target, expected):
    with pytest.raises(InvalidArgumentError, match=r"^target:") as raised:
        connect(target)
    assert expected in str(raised.value)
    assert "secret" not in str(raised.value)
    with pytest.raises(InvalidArgumentError, match=r"^target:"):
        asyncio.run(connect_async(target))


@pytest.mark.parametrize(
    ("target", "options"),
    [
        ("{path}", {"api_key": "secret"}),
        ("{path}", {"grpc_port": 6334}),
        (":memory:", {"api_key": "secret"}),
        (":memory:", {"timeout": 1.0}),
        ("client", {"api_key": "secret"}),
        ("client", {"timeout": 1.0}),
    ],
)
def test_an_option_without_meaning_is_refused(tmp_path, memory_client, target, options):
    destination = memory_client if target == "client" else target.format(path=tmp_path)
    (name,) = options
    with pytest.raises(InvalidArgumentError, match=rf"^{name}: expected nothing for") as raised:
        connect(destination, **options)
    assert "secret" not in str(raised.value)
    assert list(tmp_path.glob("*")) == []


def test_the_timeout_of_a_directory_is_for_its_lock(tmp_path):
    import portalocker

    (tmp_path / ".lock").touch()
    with open(tmp_path / ".lock", "a") as lock:
        portalocker.lock(lock, portalocker.LockFlags.EXCLUSIVE | portalocker.LockFlags.NON_BLOCKING)
        threading.Timer(0.2, lambda: portalocker.unlock(lock)).start()
        with pytest.raises(EngineLockedError):
            connect(tmp_path)
        with connect(tmp_path, timeout=20) as client:
            assert client.get_collections().collections == []


# Servers


def test_a_server_is_spoken_to_over_grpc(qdrant_address):
    url, grpc_port = qdrant_address
    with closing(connect(url, grpc_port=grpc_port, timeout=7)) as client:
        assert speaks_grpc(client)
        assert client.init_options["timeout"] == 7
        assert isinstance(client.get_collections(), models.CollectionsResponse)


def test_answers_are_taken_uncompressed(qdrant_address):
    url, grpc_port = qdrant_address
    with closing(connect(url, grpc_port=grpc_port)) as client:
        assert client.init_options["grpc_options"].items() >= GRPC_OPTIONS.items()
        assert for_reading(client) is client
    options = {"url": url, "grpc_port": grpc_port, "prefer_grpc": True, "check_compatibility": False}
    with closing(QdrantClient(**options)) as own, closing(for_reading(own)) as reader:
        assert reader.init_options["grpc_options"].items() >= GRPC_OPTIONS.items()
        assert reader.collection_exists("nowhere") is False
    with closing(QdrantClient(url, check_compatibility=False)) as over_rest:
        assert for_reading(over_rest) is over_rest


def test_rest_is_the_fallback_where_grpc_is_closed(qdrant_address, caplog):
    (closed,) = free_ports(1)
    with caplog.at_level(logging.WARNING), closing(connect(qdrant_address[0], grpc_port=closed)) as client:
        assert not speaks_grpc(client)
        assert isinstance(client.get_collections(), models.CollectionsResponse)
    (message,) = [record.message for record in caplog.records if record.name.startswith("embplug")]
    assert f"gRPC port {closed}: UNAVAILABLE" in message


def test_the_grpc_port_is_guessed_from_that_of_the_url(qdrant_address, neighbours):
    url, grpc_port = qdrant_address
    with ExitStack() as stack:
        stack.enter_context(forwarding(neighbours[0], urlsplit(url).port))
        stack.enter_context(forwarding(neighbours[1], grpc_port))
        client = stack.enter_context(closing(connect(f"http://127.0.0.1:{neighbours[0]}")))
        assert speaks_grpc(client)
        assert client.init_options["grpc_port"] == neighbours[1]


@pytest.mark.parametrize(
    ("url", "grpc_port", "expected"),
    [
        ("http://host:6333", None, 6334),
        ("https://host", None, 6334),
        ("https://host:443", None, 6334),
        ("http://host:80", None, 6334),
        ("http://host:7000", None, 7001),
        ("http://host:7000", 9000, 9000),
    ],
)
def test_which_port_is_guessed(url, grpc_port, expected):
    assert _Server(urlsplit(url), None, grpc_port, None)._likely_grpc_port() == expected


class _OtherCollections(collections_service_pb2_grpc.CollectionsServicer):
    def List(self, request: Any, context: Any) -> Any:
        description = qdrant_grpc.CollectionDescription(name="of another server")
        return qdrant_grpc.ListCollectionsResponse(collections=[description])


class _OtherHealth(qdrant_pb2_grpc.QdrantServicer):
    def HealthCheck(self, request: Any, context: Any) -> Any:
        return qdrant_grpc.HealthCheckReply(title="qdrant", version="1.16.3")


def test_a_guessed_port_of_another_server_is_not_used(qdrant_address, neighbours, caplog):
    other = grpc.server(ThreadPoolExecutor(2))
    qdrant_pb2_grpc.add_QdrantServicer_to_server(_OtherHealth(), other)
    collections_service_pb2_grpc.add_CollectionsServicer_to_server(_OtherCollections(), other)
    assert other.add_insecure_port(f"127.0.0.1:{neighbours[1]}") == neighbours[1]
    other.start()
    try:
        with (
            forwarding(neighbours[0], urlsplit(qdrant_address[0]).port),
            caplog.at_level(logging.WARNING),
            closing(connect(f"http://127.0.0.1:{neighbours[0]}")) as client,
        ):
            assert not speaks_grpc(client)
            assert "another server answers there" in caplog.text
    finally:
        other.stop(0)


@pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection")
def test_no_server_is_told_with_what_was_tried():
    rest, grpc_port = free_ports(2)
    with pytest.raises(EngineConnectionError) as raised:
        connect(f"http://127.0.0.1:{rest}", grpc_port=grpc_port, api_key="secret")
    message = str(raised.value)
    assert f"no Qdrant answers at http://127.0.0.1:{rest}" in message
    assert f"gRPC port {grpc_port}: UNAVAILABLE" in message
    assert "docker run" in message
    assert "secret" not in message


def test_a_web_server_is_not_taken_for_qdrant():
    class Page(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(200)
            self.end_headers()
            self.wfile.write(b"<html>hello</html>")

        def log_message(self, *args: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Page) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        (closed,) = free_ports(1)
        try:
            with pytest.raises(EngineConnectionError, match="no Qdrant answers"):
                connect(f"http://127.0.0.1:{server.server_port}", grpc_port=closed)
        finally:
            server.shutdown()


def test_https_to_a_plain_server_is_an_error(qdrant_address):
    url, grpc_port = qdrant_address
    with pytest.raises(EngineConnectionError, match="no Qdrant answers at https"):
        connect(url.replace("http://", "https://"), grpc_port=grpc_port)


@pytest.mark.filterwarnings("ignore:Api key is used with an insecure connection")
def test_the_api_key_opens_a_server_and_is_not_shown(monkeypatch, caplog):
    monkeypatch.setenv("QDRANT__SERVICE__API_KEY", "open-sesame")
    monkeypatch.delenv("EMBPLUG_TEST_QDRANT_URL", raising=False)
    try:
        server = _binary()
        url, grpc_port = server.__enter__()
    except NoServerError as reason:
        pytest.skip(str(reason))
    try:
        for port in (grpc_port, free_ports(1)[0]):
            with closing(connect(url, grpc_port=port, api_key="open-sesame")) as client:
                assert client.get_collections().collections == []
            with closing(connect(url, grpc_port=port)) as client, pytest.raises(Exception, match="API key"):
                client.get_collections()
    finally:
        server.__exit__(None, None, None)
    assert "open-sesame" not in caplog.text
    assert "open-sesame" not in repr(_Server(urlsplit(url), "open-sesame", None, None))


# Asynchronous


def test_asynchronous_engines(tmp_path, qdrant_address, edge_client):
    url, grpc_port = qdrant_address

    async def use() -> None:
        server = await connect_async(url, grpc_port=grpc_port)
        assert isinstance(server, AsyncQdrantClient) and speaks_grpc(server)
        assert not await server.collection_exists("nothing")
        memory = await connect_async(":memory:")
        assert isinstance(memory, AsyncQdrantClient)
        edge = await connect_async(tmp_path / "data")
        assert isinstance(edge, AsyncEdgeClient)
        assert await edge.create_collection("docs", VECTORS)
        for client in (server, memory, edge):
            assert await connect_async(client) is client
            assert connect(client) is client
        wrapped = await connect_async(edge_client)
        assert isinstance(wrapped, AsyncEdgeClient) and wrapped.sync is edge_client
        with pytest.raises(InvalidArgumentError, match=r"^target: expected an AsyncQdrantClient"):
            await connect_async(connect(":memory:"))
        with pytest.raises(InvalidArgumentError, match=r"^api_key:"):
            await connect_async(tmp_path, api_key="secret")
        with pytest.raises(EngineConnectionError):
            await connect_async(f"http://127.0.0.1:{free_ports(1)[0]}")
        await edge.close()
        await server.close()

    asyncio.run(use())


@pytest.mark.parametrize("target", ["a\0b", Path("a\0b"), "http://a\0b:6333"])
def test_a_target_with_nul_is_refused(target):
    with pytest.raises(InvalidArgumentError, match=r"^target: .*NUL"):
        connect(target)
    with pytest.raises(InvalidArgumentError, match=r"^target: .*NUL"):
        asyncio.run(connect_async(target))


def test_a_directory_with_nul_is_refused():
    with pytest.raises(InvalidArgumentError, match=r"^path: "):
        EdgeClient("a\0b")
