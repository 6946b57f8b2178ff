"""Fixtures shared by all tests: the real server, and each engine in turn."""

from __future__ import annotations

import contextlib
import os
import warnings
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

# Before any test module imports a library that reads them.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"

import pytest
from qdrant_client import QdrantClient

from embplug.engines import EdgeClient, Engine, connect
from tests.servers import NoServerError, qdrant_server

ENGINES = ("edge", "memory", "server")
_ran: Counter[str] = Counter()
_engine_of_test = pytest.StashKey[str]()


@pytest.fixture(scope="session")
def qdrant_address() -> Iterator[tuple[str, int]]:
    """URL and gRPC port of a real server. Without one: skipped, or failed when CI=true."""
    with contextlib.ExitStack() as stack:
        try:
            address = stack.enter_context(qdrant_server())
        except NoServerError as reason:
            if os.environ.get("CI", "").lower() in ("1", "true"):
                pytest.fail(str(reason), pytrace=False)
            pytest.skip(str(reason))
        yield address


@pytest.fixture
def server_client(qdrant_address: tuple[str, int], request: pytest.FixtureRequest) -> Iterator[QdrantClient]:
    """A client of the real server; the collections and aliases that the test makes are removed after it."""
    request.node.stash[_engine_of_test] = "server"
    url, grpc_port = qdrant_address
    client = connect(url, grpc_port=grpc_port)
    assert isinstance(client, QdrantClient)
    with _removing_collections(client):
        yield client
    client.close()


@pytest.fixture
def edge_client(tmp_path: Path, request: pytest.FixtureRequest) -> Iterator[EdgeClient]:
    """A client of an empty Edge directory, ``tmp_path / "edge"``."""
    request.node.stash[_engine_of_test] = "edge"
    with EdgeClient(tmp_path / "edge") as client:
        yield client


@pytest.fixture
def memory_client(request: pytest.FixtureRequest) -> Iterator[QdrantClient]:
    """An empty ``QdrantClient(":memory:")``."""
    request.node.stash[_engine_of_test] = "memory"
    client = QdrantClient(":memory:")
    with warnings.catch_warnings():
        # It warns of payload indexes and of large collections, which is its nature.
        warnings.filterwarnings("ignore", message=".*[Ll]ocal.*", category=UserWarning)
        yield client
    client.close()


@pytest.fixture(params=ENGINES)
def engine_name(request: pytest.FixtureRequest) -> str:
    """Each engine's name; ``engine`` is the client."""
    return str(request.param)


@pytest.fixture
def engine(engine_name: str, request: pytest.FixtureRequest) -> Engine:
    """A clean client of each engine in turn: the test runs once on each."""
    client: Engine = request.getfixturevalue(f"{engine_name}_client")
    return client


@contextlib.contextmanager
def _removing_collections(client: QdrantClient) -> Iterator[None]:
    before = {collection.name for collection in client.get_collections().collections}
    yield
    for collection in client.get_collections().collections:
        if collection.name not in before:
            client.delete_collection(collection.name)


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Count the tests that ran, by engine."""
    if report.when == "call" and not report.skipped:
        for key, value in report.user_properties:
            if key == "engine":
                _ran[str(value)] += 1


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Note the engine where the report will carry it, also across processes."""
    engine = item.stash.get(_engine_of_test, None)
    if engine is not None:
        item.user_properties.append(("engine", engine))
    return (yield)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One line: how many tests ran on each engine."""
    counts = ", ".join(f"{name} {_ran[name]}" for name in ENGINES)
    terminalreporter.write_line(f"engines: {counts}")
