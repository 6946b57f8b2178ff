"""The markers ``server``, ``model`` and ``slow``, set from what a test uses and from the time it takes."""

from __future__ import annotations

import os
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import pytest

TESTS = Path(__file__).parent
SLOW_FILE = TESTS / "slow.txt"
SLOW_SECONDS = 0.5
"""A test function is slow when one of its cases takes longer."""

ENGINES = ("edge", "memory", "server")
SERVER_FIXTURES = {
    "embplug_cluster",
    "embplug_container",
    "qdrant_address",
    "qdrant_cluster",
    "server_client",
}
SERVER_PARAMETERS = {"server", "rest", "grpc"}

MODEL_PATHS = (
    "cli/",
    "encoders/test_adapters.py",
    "encoders/test_fastembed.py",
    "encoders/test_minilm.py",
    "examples/test_notebooks.py",
    "encoders/test_minilm_int8.py",
    "encoders/test_page_models.py",
    "encoders/test_sentence_transformers.py",
    "test_docs.py",
    "test_readme.py",
)
"""Modules whose tests load a model, in this process or in a command that they run."""


def engine_of(item: pytest.Item) -> str | None:
    """The engine that a test runs on, if it runs on one."""
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    fixtures = set(getattr(item, "fixturenames", ()))
    for name in (parameters.get("engine_name"), parameters.get("engine_path")):
        if name is not None:
            return "server" if name in SERVER_PARAMETERS else str(name)
    for name in ENGINES:
        if f"{name}_client" in fixtures:
            return name
    return "server" if "qdrant_address" in fixtures else None


def needs_server(item: pytest.Item) -> bool:
    """Whether a test asks a real server."""
    parameters = item.callspec.params if hasattr(item, "callspec") else {}
    return (
        engine_of(item) == "server"
        or bool(SERVER_FIXTURES & set(getattr(item, "fixturenames", ())))
        or any(isinstance(value, str) and value in SERVER_PARAMETERS for value in parameters.values())
    )


def set_markers(items: Iterable[pytest.Item]) -> None:
    """Mark each test that needs a server or a model, or that is slow."""
    slow = set(SLOW_FILE.read_text(encoding="utf-8").split()) if SLOW_FILE.exists() else set()
    for item in items:
        if needs_server(item):
            item.add_marker("server")
        if _module(item).startswith(MODEL_PATHS):
            item.add_marker("model")
        if function_id(item) in slow:
            item.add_marker("slow")


def function_id(item: pytest.Item) -> str:
    """``search/test_fusion.py::test_weights_turn_the_order``: without the parameters of the case."""
    return f"{_module(item)}::{item.nodeid.split('::', 1)[-1].split('[')[0]}"


def write_slow(seconds: dict[str, float]) -> None:
    """Keep the names of the slow test functions; ``seconds`` is the time of the slowest case of each."""
    names = sorted(name for name, time in seconds.items() if time > SLOW_SECONDS)
    SLOW_FILE.write_text("".join(f"{name}\n" for name in names), encoding="utf-8")


class SlowRecorder:
    """A pytest plugin that writes the names of slow tests, for ``make slow``."""

    def __init__(self) -> None:
        self.seconds: dict[str, float] = defaultdict(float)
        self._case: dict[str, float] = defaultdict(float)
        self._names: dict[str, str] = {}

    def pytest_collection_finish(self, session: pytest.Session) -> None:
        """Keep the function of each case."""
        self._names = {item.nodeid: function_id(item) for item in session.items}

    def pytest_runtest_logreport(self, report: pytest.TestReport) -> None:
        """Add up set-up and call of a case; what a fixture of the session takes counts for the first."""
        if report.when in ("setup", "call"):
            self._case[report.nodeid] += report.duration
            name = self._names[report.nodeid]
            self.seconds[name] = max(self.seconds[name], self._case[report.nodeid])

    def pytest_sessionfinish(self) -> None:
        """Write the file."""
        write_slow(self.seconds)


def _module(item: pytest.Item) -> str:
    """Path of the test's module, from the folder of the tests."""
    return Path(os.path.relpath(item.path, TESTS)).as_posix()
