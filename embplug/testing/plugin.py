"""Fixtures for pytest: a throwaway engine and throwaway collections.

``pytest_plugins = ["embplug.testing.plugin"]`` in the ``conftest.py`` at the root of the tests loads them.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing
from pathlib import Path
from typing import Any

import pytest
from qdrant_client import QdrantClient

from embplug.collection.collection import Collection
from embplug.engines import Engine, connect
from embplug.testing.collections import (
    removing_collections,
    removing_own_collections,
    throwaway_collection,
)
from embplug.testing.containers import (
    Address,
    default_image,
    qdrant_cluster,
    qdrant_container,
)
from embplug.testing.skipping import start_or_skip

ENGINES = ("edge", "memory", "container", "cluster")


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options ``--embplug-engine`` and ``--embplug-image``, which also are settings of pytest."""
    group = parser.getgroup("embplug")
    for name, text in (
        (
            "engine",
            f"engine of the fixture embplug_engine: one of {', '.join(ENGINES)}, or a server's URL",
        ),
        ("image", "image of Qdrant with its tag, for containers"),
    ):
        group.addoption(f"--embplug-{name}", default=None, help=text)
        parser.addini(f"embplug_{name}", help=text)


@pytest.fixture(scope="session")
def embplug_image(pytestconfig: pytest.Config) -> str:
    """Image of the containers: ``--embplug-image``, else ``EMBPLUG_TEST_QDRANT_IMAGE``, else a pinned one."""
    return _option(pytestconfig, "image") or default_image()


@pytest.fixture(scope="session")
def embplug_container(embplug_image: str) -> Iterator[Address]:
    """A server in a container, one for all tests of a process.

    Where Docker does not run, the test is skipped, and fails if ``CI`` is set.
    """
    with ExitStack() as stack:
        yield start_or_skip(stack, lambda: qdrant_container(embplug_image))


@pytest.fixture(scope="session")
def embplug_cluster(embplug_image: str) -> Iterator[list[Address]]:
    """A cluster of three nodes in containers, one for all tests of a process; see ``embplug_container``."""
    with ExitStack() as stack:
        yield start_or_skip(stack, lambda: qdrant_cluster(embplug_image))


@pytest.fixture
def embplug_engine(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Engine]:
    """Client of the engine that ``--embplug-engine`` names, by default Edge in a temporary folder.

    Collections that the test makes are deleted after it.
    """
    name = _option(request.config, "engine") or "edge"
    is_shared = name.startswith(("http://", "https://"))
    with ExitStack() as stack:
        if name == "edge":
            engine = connect(tmp_path / "edge")
        elif name == "memory":
            engine = QdrantClient(":memory:")
        elif name == "container":
            address = request.getfixturevalue("embplug_container")
            engine = connect(address.url, grpc_port=address.grpc_port)
        elif name == "cluster":
            address = request.getfixturevalue("embplug_cluster")[0]
            engine = connect(address.url, grpc_port=address.grpc_port)
        elif is_shared:
            engine = connect(name)
        else:
            raise pytest.UsageError(
                f"--embplug-engine: expected one of {', '.join(ENGINES)} or a URL, got {name!r}"
            )
        stack.enter_context(closing(engine))
        # Other processes may make collections on a server that has a URL.
        stack.enter_context((removing_own_collections if is_shared else removing_collections)(engine))
        yield engine


@pytest.fixture
def embplug_collection(embplug_engine: Engine) -> Iterator[Callable[..., Collection]]:
    """Function that creates collections on ``embplug_engine``; they are deleted after the test.

    It takes a recipe, a name and the further arguments of :meth:`embplug.Collection.create`.
    """
    with ExitStack() as stack:

        def create(recipe: Any = None, **options: Any) -> Collection:
            return stack.enter_context(throwaway_collection(embplug_engine, recipe, **options))

        yield create


def _option(config: pytest.Config, name: str) -> str | None:
    value = config.getoption(f"--embplug-{name}") or config.getini(f"embplug_{name}")
    return str(value) if value else None
