"""Fixtures and markers shared by all tests: the real server, each engine in turn, what is slow."""

from __future__ import annotations

import contextlib
import os
import shutil
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

# Before any test module imports a library that reads them.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ["TRANSFORMERS_OFFLINE"] = "1"

# Edge makes every write durable, so that tests would mostly wait for the disk.
if os.path.isdir("/dev/shm") and shutil.disk_usage("/dev/shm").free > 4 << 30:
    os.environ.setdefault("PYTEST_DEBUG_TEMPROOT", "/dev/shm")

import pytest
from qdrant_client import QdrantClient

from embplug.encoders.minilm import MiniLMEncoder
from embplug.engines import EdgeClient, Engine, connect
from embplug.testing import removing_collections
from embplug.testing.skipping import start_or_skip
from tests.marks import ENGINES, SlowRecorder, engine_of, set_markers
from tests.servers import NoServerError, qdrant_server
from tests.servers import qdrant_cluster as start_cluster

MOST_PROCESSES = 4
"""Each process of a parallel run starts a server of its own."""

pytest_plugins = ["embplug.testing.plugin"]

_ran: Counter[str] = Counter()


def pytest_addoption(parser: pytest.Parser) -> None:
    """``--write-slow``: keep the names of the slow tests of this run in ``tests/slow.txt``."""
    parser.addoption("--write-slow", action="store_true", help="write tests/slow.txt; run the whole suite")
    parser.addoption("--fuzz", type=int, default=40, help="inputs of each kind that tests/fuzz tries")


def pytest_xdist_auto_num_workers(config: pytest.Config) -> int:
    """Processes of ``-n auto``: one where all share the server that the user names, else a few."""
    return 1 if os.environ.get("EMBPLUG_TEST_QDRANT_URL") else min(os.cpu_count() or 1, MOST_PROCESSES)


def pytest_configure(config: pytest.Config) -> None:
    """Record what is slow where that is asked for."""
    if config.getoption("--write-slow"):
        config.pluginmanager.register(SlowRecorder())


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Set the markers before ``-m`` reads them."""
    set_markers(items)


@pytest.fixture
def exact_tables(monkeypatch: pytest.MonkeyPatch) -> None:
    """Score codes by products that are not rounded."""
    monkeypatch.setenv("EMBPLUG_KERNEL_TABLES", "float32")


@pytest.fixture(scope="session", autouse=True)
def _no_model(pytestconfig: pytest.Config) -> Iterator[None]:
    """Fail a test that asks a model where tests that do are left out."""
    with pytest.MonkeyPatch.context() as patch:
        if "not model" in pytestconfig.option.markexpr:
            message = "this test lacks the marker 'model', see tests/marks.py"
            patch.setattr(MiniLMEncoder, "_forward", lambda *_, **__: pytest.fail(message, pytrace=False))
        yield


@pytest.fixture(scope="session")
def qdrant_address(pytestconfig: pytest.Config) -> Iterator[tuple[str, int]]:
    """URL and gRPC port of a real server. Without one: skipped, or failed when CI=true."""
    if "not server" in pytestconfig.option.markexpr:
        pytest.fail("this test lacks the marker 'server', see tests/marks.py", pytrace=False)
    with contextlib.ExitStack() as stack:
        yield start_or_skip(stack, qdrant_server, (NoServerError,))


@pytest.fixture(scope="module")
def qdrant_cluster() -> Iterator[list[tuple[str, int]]]:
    """URL and gRPC port of each of three nodes. Without them: skipped, or failed when CI=true."""
    with contextlib.ExitStack() as stack:
        yield start_or_skip(stack, start_cluster, (NoServerError,))


@pytest.fixture
def server_client(qdrant_address: tuple[str, int]) -> Iterator[QdrantClient]:
    """A client of the real server; the collections and aliases that the test makes are removed after it."""
    with _server_client(qdrant_address) as client:
        yield client


@pytest.fixture
def edge_client(tmp_path: Path) -> Iterator[EdgeClient]:
    """A client of an empty Edge directory, ``tmp_path / "edge"``."""
    with EdgeClient(tmp_path / "edge") as client:
        yield client


@pytest.fixture
def memory_client() -> Iterator[QdrantClient]:
    """An empty ``QdrantClient(":memory:")``."""
    with _memory_client() as client:
        yield client


@pytest.fixture(scope="session", params=ENGINES)
def engine_name(request: pytest.FixtureRequest) -> str:
    """Each engine's name; ``engine`` is the client."""
    return str(request.param)


@pytest.fixture
def engine(engine_name: str, request: pytest.FixtureRequest) -> Engine:
    """A clean client of each engine in turn: the test runs once on each."""
    client: Engine = request.getfixturevalue(f"{engine_name}_client")
    return client


@pytest.fixture(scope="module")
def shared_engine(
    engine_name: str, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> Iterator[Engine]:
    """As ``engine``, but one client for all tests of a module, which leave its collections as they are."""
    with contextlib.ExitStack() as stack:
        if engine_name == "edge":
            yield stack.enter_context(EdgeClient(tmp_path_factory.mktemp("edge")))
        elif engine_name == "memory":
            yield stack.enter_context(_memory_client())
        else:
            yield stack.enter_context(_server_client(request.getfixturevalue("qdrant_address")))


@contextlib.contextmanager
def _server_client(address: tuple[str, int]) -> Iterator[QdrantClient]:
    url, grpc_port = address
    client = connect(url, grpc_port=grpc_port)
    assert isinstance(client, QdrantClient)
    with contextlib.closing(client), removing_collections(client):
        yield client


@contextlib.contextmanager
def _memory_client() -> Iterator[QdrantClient]:
    with contextlib.closing(QdrantClient(":memory:")) as client:
        yield client


def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Count the tests that ran, by engine."""
    if report.when == "call" and not report.skipped:
        for key, value in report.user_properties:
            if key == "engine":
                _ran[str(value)] += 1


@pytest.hookimpl(wrapper=True)
def pytest_runtest_call(item: pytest.Item) -> Iterator[None]:
    """Note the engine where the report will carry it, also across processes."""
    engine = engine_of(item)
    if engine is not None:
        item.user_properties.append(("engine", engine))
    return (yield)


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """One line: how many tests ran on each engine."""
    counts = ", ".join(f"{name} {_ran[name]}" for name in ENGINES)
    terminalreporter.write_line(f"engines: {counts}")
