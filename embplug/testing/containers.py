"""Qdrant in containers, one node or a cluster, started by testcontainers and removed at the end."""

from __future__ import annotations

import json
import os
import time
import urllib.error
import urllib.request
import uuid
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any

import grpc  # type: ignore[import-untyped]

from embplug.errors import EmbplugError, InvalidArgumentError, MissingExtraError

IMAGE = "qdrant/qdrant:v1.16.3"
"""The image where neither the caller nor ``EMBPLUG_TEST_QDRANT_IMAGE`` names another one."""

HTTP_PORT, GRPC_PORT, PEER_PORT = 6333, 6334, 6335
READY_TIMEOUT_S = 60.0
POLL_S = 0.1


class ContainerError(EmbplugError):
    """Docker does not run, cannot start the image, or Qdrant in it does not answer."""


@dataclass(frozen=True)
class Address:
    """Where a server answers.

    Attributes
    ----------
    url : str
        URL of the REST API.
    grpc_port : int
        Port of gRPC.
    """

    url: str
    grpc_port: int


def default_image() -> str:
    """Return the image that the environment variable ``EMBPLUG_TEST_QDRANT_IMAGE`` names, else ``IMAGE``."""
    return os.environ.get("EMBPLUG_TEST_QDRANT_IMAGE") or IMAGE


@contextmanager
def qdrant_container(
    image: str | None = None, *, environment: Mapping[str, str] | None = None
) -> Iterator[Address]:
    """Start one Qdrant server in a container, and remove it with its data after the ``with`` block.

    Parameters
    ----------
    image : str, default=None
        Image with tag. By default that of the environment variable ``EMBPLUG_TEST_QDRANT_IMAGE``, else
        ``"qdrant/qdrant:v1.16.3"``.
    environment : mapping of str to str, default=None
        Settings of Qdrant, such as ``{"QDRANT__SERVICE__API_KEY": "secret"}``.

    Yields
    ------
    Address
        Where the server answers.

    Raises
    ------
    MissingExtraError
        testcontainers is not installed.
    ContainerError
        Docker does not run, or the server does not come up.
    """
    with ExitStack() as stack:
        container = _container(image or default_image(), environment)
        yield _started(stack, container)


@contextmanager
def qdrant_cluster(
    image: str | None = None, *, nodes: int = 3, environment: Mapping[str, str] | None = None
) -> Iterator[list[Address]]:
    """Start a cluster of Qdrant in containers, and remove it with its data after the ``with`` block.

    Parameters
    ----------
    image : str, default=None
        Image with tag; see :func:`qdrant_container`.
    nodes : int, default=3
        Number of nodes.
    environment : mapping of str to str, default=None
        Settings of each node.

    Yields
    ------
    list of Address
        Where each node answers. All nodes know each other.

    Raises
    ------
    InvalidArgumentError
        There is to be no node.
    MissingExtraError
        testcontainers is not installed.
    ContainerError
        Docker does not run, or the nodes do not come up or do not find each other.
    """
    if nodes < 1:
        raise InvalidArgumentError("nodes", "at least 1", nodes)
    settings = {"QDRANT__CLUSTER__ENABLED": "true", **(environment or {})}
    names = [f"qdrant-{uuid.uuid4().hex[:12]}-{number}" for number in range(nodes)]
    first = f"http://{names[0]}:{PEER_PORT}"
    with ExitStack() as stack:
        network = stack.enter_context(_network())
        addresses: list[Address] = []
        for name in names:
            peers = ["--bootstrap", first] if addresses else []
            command = ["./qdrant", "--uri", f"http://{name}:{PEER_PORT}", *peers]
            container = _container(image or default_image(), settings, command)
            addresses.append(_started(stack, container.with_network(network).with_name(name)))
            _wait_until(f"{name} is not known", lambda: _peer_count(addresses[0], settings) == len(addresses))
        yield addresses


def _container(image: str, environment: Mapping[str, str] | None, command: Sequence[str] = ()) -> Any:
    try:
        from testcontainers.core.container import DockerContainer
    except ImportError as error:
        raise MissingExtraError("Qdrant in a container", "testing") from error
    try:
        container = DockerContainer(image).with_exposed_ports(HTTP_PORT, GRPC_PORT)
    except Exception as error:  # the client of Docker connects at once, and has errors of many kinds
        raise ContainerError(f"Docker does not answer ({error})") from error
    settings = {"QDRANT__TELEMETRY_DISABLED": "true", **(environment or {})}
    for name, value in settings.items():
        container = container.with_env(name, value)
    return container.with_command(list(command)) if command else container


@contextmanager
def _network() -> Iterator[Any]:
    try:
        from testcontainers.core.network import Network
    except ImportError as error:
        raise MissingExtraError("Qdrant in containers", "testing") from error
    try:
        network = Network().create()
    except Exception as error:
        raise ContainerError(f"Docker cannot make a network ({error})") from error
    try:
        yield network
    finally:
        network.remove()


def _started(stack: ExitStack, container: Any) -> Address:
    """Start a container, removed when ``stack`` closes, and wait until it answers over REST and gRPC."""
    # Also removed where the start has failed half-way.
    stack.callback(container.stop)
    try:
        container.start()
        host = container.get_container_host_ip()
        http_port, grpc_port = (int(container.get_exposed_port(port)) for port in (HTTP_PORT, GRPC_PORT))
    except Exception as error:  # of the client of Docker, of many kinds
        raise ContainerError(f"Docker cannot start {container.image} ({error})") from error
    address = Address(f"http://{host}:{http_port}", grpc_port)
    # REST may answer before gRPC, and a client would then do without it.
    _wait_until(
        f"Qdrant in {container.image} does not answer",
        lambda: _is_ready(address.url) and _takes_grpc(f"{host}:{grpc_port}"),
    )
    return address


def _wait_until(what: str, is_so: Callable[[], bool]) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_S
    while not is_so():
        if time.monotonic() > deadline:
            raise ContainerError(f"{what} after {READY_TIMEOUT_S:.0f} s")
        time.sleep(POLL_S)


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False


def _takes_grpc(target: str) -> bool:
    # A port of Docker accepts connections before the server behind it does.
    with grpc.insecure_channel(target) as channel:
        try:
            grpc.channel_ready_future(channel).result(timeout=5)
        except grpc.FutureTimeoutError:
            return False
    return True


def _peer_count(address: Address, settings: Mapping[str, str]) -> int:
    """Return how many nodes a node knows; 0 where it does not answer at the moment."""
    key = settings.get("QDRANT__SERVICE__API_KEY")
    request = urllib.request.Request(f"{address.url}/cluster", headers={"api-key": key} if key else {})
    try:
        with urllib.request.urlopen(request, timeout=5) as answer:
            return len(json.load(answer)["result"]["peers"])
    except OSError:
        return 0
