"""``connect()`` turns a path, a URL or a client into an open client of an engine."""

from __future__ import annotations

import asyncio
import logging
import os
import re
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeAlias, TypeGuard, TypeVar, overload
from urllib.parse import SplitResult, urlsplit

import grpc  # type: ignore[import-untyped]
from qdrant_client import AsyncQdrantClient, QdrantClient
from qdrant_client import grpc as qdrant_grpc

from embplug.engines.edge.async_client import AsyncEdgeClient
from embplug.engines.edge.client import EdgeClient
from embplug.errors import (
    CapabilityError,
    CollectionNotFoundError,
    EngineConnectionError,
    InvalidArgumentError,
)

T = TypeVar("T")

logger = logging.getLogger(__name__)

DEFAULT_TIMEOUT_S = 60.0
PROBE_TIMEOUT_S = 5.0
REST_PORT = 6333
GRPC_PORT = 6334
MEMORY = ":memory:"

GRPC_OPTIONS = {"grpc.compression_enabled_algorithms_bitset": 1}
"""Requests uncompressed answers, because a server takes eighteen times as long to compress vectors."""

Engine: TypeAlias = QdrantClient | EdgeClient
AsyncEngine: TypeAlias = AsyncQdrantClient | AsyncEdgeClient
AnyEngine: TypeAlias = Engine | AsyncEngine
EngineTarget: TypeAlias = Engine | str | os.PathLike[str]
"""Arguments of :func:`connect` that open a synchronous engine."""

_EXPECTED = (
    "a directory, 'http(s)://host:port', ':memory:', or a QdrantClient, AsyncQdrantClient or EdgeClient"
)


@overload
def connect(
    target: str | os.PathLike[str] | QdrantClient | EdgeClient,
    *,
    api_key: str | None = None,
    grpc_port: int | None = None,
    timeout: float | None = None,
) -> Engine: ...


@overload
def connect(
    target: AsyncQdrantClient | AsyncEdgeClient,
    *,
    api_key: str | None = None,
    grpc_port: int | None = None,
    timeout: float | None = None,
) -> AsyncEngine: ...


def connect(
    target: str | os.PathLike[str] | AnyEngine,
    *,
    api_key: str | None = None,
    grpc_port: int | None = None,
    timeout: float | None = None,
) -> AnyEngine:
    """Connect to an engine: a Qdrant server or cluster, Qdrant Edge, or a simulation in memory.

    Parameters
    ----------
    target : str, path or client
        A directory opens Qdrant Edge in this process. ``"http(s)://host:port"`` connects to a server or
        cluster, over gRPC if its port answers and over REST if not. ``":memory:"`` opens qdrant-client's
        simulation. A client is returned unchanged.
    api_key : str, default=None
        API key of the server. Servers only.
    grpc_port : int, default=None
        Port for gRPC. Servers only. None is 6334 if the URL has no port or one of 6333, 443 and 80, and
        otherwise the port after that of the URL.
    timeout : float, default=None
        Time in seconds. For a server, it limits each request, and None is 60. For a directory, it is how long
        to wait while another process owns it, and None is 0.

    Returns
    -------
    QdrantClient or EdgeClient
        Open client, which the caller closes. An asynchronous client that is passed as ``target`` is returned
        unchanged.

    Raises
    ------
    InvalidArgumentError
        ``target`` is wrong, or an option has no meaning for it; the error names the argument.
    EngineConnectionError
        No Qdrant server answers at the URL.
    EngineLockedError
        Another process owns the directory.

    Examples
    --------
    >>> from embplug import connect
    >>> client = connect(":memory:")
    >>> client.close()
    """
    options = {"api_key": api_key, "grpc_port": grpc_port, "timeout": timeout}
    if isinstance(target, (QdrantClient, EdgeClient, AsyncQdrantClient, AsyncEdgeClient)):
        _without_meaning(options, "for a client that is already open")
        return target
    if target == MEMORY:
        _without_meaning(options, f"for {MEMORY!r}")
        return QdrantClient(MEMORY)
    url = _url(target)
    if url is None:
        _without_meaning({"api_key": api_key, "grpc_port": grpc_port}, "for a directory")
        return EdgeClient(_path(target), timeout=timeout)
    return QdrantClient(**_Server(url, api_key, grpc_port, timeout).client_options())


def connect_blocking(target: EngineTarget) -> Engine:
    """Connect to an engine for callers that cannot await an asynchronous client; see :func:`connect`.

    Raises
    ------
    InvalidArgumentError
        ``target`` is wrong or an asynchronous client.
    """
    if isinstance(target, (AsyncQdrantClient, AsyncEdgeClient)):
        expected = "a QdrantClient, an EdgeClient or a place; an AsyncCollection takes asynchronous clients"
        raise InvalidArgumentError("engine", expected, type(target).__name__)
    return connect(target)


async def connect_async(
    target: str | os.PathLike[str] | EdgeClient | AsyncEngine,
    *,
    api_key: str | None = None,
    grpc_port: int | None = None,
    timeout: float | None = None,
) -> AsyncEngine:
    """Connect to an engine for asyncio.

    Parameters
    ----------
    target : str, path or client
        A directory opens Qdrant Edge, whose calls run in a thread. ``"http(s)://host:port"`` connects to a
        server or cluster, over gRPC if its port answers and over REST if not. ``":memory:"`` opens
        qdrant-client's simulation. An asynchronous client is returned unchanged, and an ``EdgeClient`` gets
        an asynchronous client of the same data.
    api_key : str, default=None
        API key of the server. Servers only.
    grpc_port : int, default=None
        Port for gRPC. Servers only. None is 6334 if the URL has no port or one of 6333, 443 and 80, and
        otherwise the port after that of the URL.
    timeout : float, default=None
        Time in seconds. For a server, it limits each request, and None is 60. For a directory, it is how long
        to wait while another process owns it, and None is 0.

    Returns
    -------
    AsyncQdrantClient or AsyncEdgeClient
        Open client, which the caller closes.

    Raises
    ------
    InvalidArgumentError
        ``target`` is wrong or a synchronous ``QdrantClient``, or an option has no meaning for it; the
        error names the argument.
    EngineConnectionError
        No Qdrant server answers at the URL.
    EngineLockedError
        Another process owns the directory.
    """
    options = {"api_key": api_key, "grpc_port": grpc_port, "timeout": timeout}
    if isinstance(target, (AsyncQdrantClient, AsyncEdgeClient, EdgeClient)):
        _without_meaning(options, "for a client that is already open")
        return AsyncEdgeClient(target) if isinstance(target, EdgeClient) else target
    if isinstance(target, QdrantClient):
        raise InvalidArgumentError("target", "an AsyncQdrantClient", "a QdrantClient, which would block")
    if target == MEMORY:
        _without_meaning(options, f"for {MEMORY!r}")
        return AsyncQdrantClient(MEMORY)
    url = _url(target)
    if url is None:
        _without_meaning({"api_key": api_key, "grpc_port": grpc_port}, "for a directory")
        path = _path(target)
        return AsyncEdgeClient(await asyncio.to_thread(lambda: EdgeClient(path, timeout=timeout)))
    server = _Server(url, api_key, grpc_port, timeout)
    return AsyncQdrantClient(**await asyncio.to_thread(server.client_options))


@contextmanager
def closed_on_error(engine: Engine, argument: object) -> Iterator[None]:
    """Close an engine if the body fails, so that its directory can be opened again.

    Parameters
    ----------
    engine : QdrantClient or EdgeClient
        Engine that was opened for the body.
    argument : object
        What the user passed. If it is the engine itself, the engine stays open.
    """
    try:
        yield
    except BaseException:
        if engine is not argument:
            engine.close()
        raise


@asynccontextmanager
async def async_closed_on_error(engine: AsyncEngine, argument: object) -> AsyncIterator[None]:
    """Close an engine if the body fails; see :func:`closed_on_error`."""
    try:
        yield
    except BaseException:
        if engine is not argument and not isinstance(argument, EdgeClient):
            await engine.close()
        raise


def to_async(engine: Engine) -> AsyncEngine | QdrantClient:
    """Open an asynchronous client for the engine of an open client.

    Parameters
    ----------
    engine : QdrantClient or EdgeClient
        An open client.

    Returns
    -------
    AsyncQdrantClient, AsyncEdgeClient or QdrantClient
        Client of the same server or of the same data. A simulation is returned unchanged, because another
        simulation would be empty.
    """
    if isinstance(engine, EdgeClient):
        return AsyncEdgeClient(engine)
    if not is_server(engine):
        return engine
    return AsyncQdrantClient(**_options_again(engine))


def for_reading(engine: Engine) -> Engine:
    """Open a second client of a server that reads many vectors uncompressed.

    Parameters
    ----------
    engine : QdrantClient or EdgeClient
        An open client.

    Returns
    -------
    QdrantClient or EdgeClient
        The second client, which the caller closes, or ``engine`` itself if it is no server, uses REST, or
        already reads uncompressed.
    """
    if isinstance(engine, EdgeClient):
        return engine
    options = engine.init_options
    grpc_options = options.get("grpc_options") or {}
    over_grpc = is_server(engine) and options.get("prefer_grpc")
    if not over_grpc or GRPC_OPTIONS.items() <= grpc_options.items():
        return engine
    again = _options_again(engine)
    return QdrantClient(**again | {"grpc_options": {**(again["grpc_options"] or {}), **GRPC_OPTIONS}})


def _options_again(engine: QdrantClient | AsyncQdrantClient) -> dict[str, Any]:
    """Return the options of an open client, for a second client."""
    current = engine.init_options["grpc_options"]
    # A client adds its user agent to these options, and warns if they already have a user agent.
    options = current and {
        name: value for name, value in current.items() if name != "grpc.primary_user_agent"
    }
    # The first client has already checked the version, and a check would block an event loop.
    return {**engine.init_options, "grpc_options": options, "check_compatibility": False}


KEY_VARIABLE = "QDRANT_API_KEY"
"""Environment variable with the API key of what was pickled."""


def pickled_options(engine: Engine) -> dict[str, Any]:
    """Return the options by which another process opens a client of the same server.

    Parameters
    ----------
    engine : QdrantClient or EdgeClient
        An open client.

    Returns
    -------
    dict
        Arguments for :func:`reopened`, without the API key.

    Raises
    ------
    CapabilityError
        The engine belongs to this process, or the client has secrets that a pickle would show.
    """
    if not is_server(engine):
        kind = "Qdrant Edge" if isinstance(engine, EdgeClient) else "a simulation in memory"
        raise CapabilityError(
            f"what is on {kind} cannot be pickled, because one process owns the data: pickle the name, and "
            "open the collection by it"
        )
    options = _options_again(engine)
    for name in ("auth_token_provider", "metadata", "headers"):
        if options.get(name):
            raise CapabilityError(f"a client with {name} cannot be pickled: the pickle would show them")
    return {**options, "api_key": options.get("api_key") and KEY_VARIABLE}


def reopened(options: Mapping[str, Any]) -> QdrantClient:
    """Open a client by the result of :func:`pickled_options`.

    Raises
    ------
    InvalidArgumentError
        The server needs a key, and the environment has none.
    """
    key = None if options.get("api_key") is None else key_of_environment()
    return QdrantClient(**{**options, "api_key": key})


def key_of_environment() -> str:
    """Return the API key with which what was pickled is opened again.

    Raises
    ------
    InvalidArgumentError
        The environment has none.
    """
    key = os.environ.get(KEY_VARIABLE)
    if not key:
        expected = f"the key in the environment variable {KEY_VARIABLE}, because a pickle has none"
        raise InvalidArgumentError("api_key", expected, None)
    return key


def is_server(engine: AnyEngine) -> TypeGuard[QdrantClient | AsyncQdrantClient]:
    """Return whether requests leave this process."""
    if isinstance(engine, (EdgeClient, AsyncEdgeClient)):
        return False
    options = engine.init_options
    return options.get("location") != MEMORY and options.get("path") is None


def _without_meaning(options: dict[str, Any], where: str) -> None:
    for name, value in options.items():
        if value is not None:
            raise InvalidArgumentError(name, f"nothing {where}", "<hidden>" if name == "api_key" else value)


def existing(target: T) -> T:
    """Return what :func:`connect` takes, unless it is a directory that does not exist, which it would make.

    Raises
    ------
    CollectionNotFoundError
        The directory does not exist, and so there is no collection in it.
    InvalidArgumentError
        ``target`` is wrong.
    """
    is_place = isinstance(target, (str, os.PathLike)) and target != MEMORY
    if is_place and _url(target) is None and not os.path.exists(os.path.expanduser(_path(target))):
        raise CollectionNotFoundError(f"no directory {target}")
    return target


def _path(target: Any) -> Path:
    if isinstance(target, (str, os.PathLike)) and str(target).strip():
        if re.fullmatch(r"[\w.-]+:\d+", str(target)):
            raise InvalidArgumentError("target", _EXPECTED, f"{str(target)!r}; is 'http://{target}' meant?")
        return Path(target)
    raise InvalidArgumentError("target", _EXPECTED, repr(target) if isinstance(target, str) else type(target))


def _url(target: Any) -> SplitResult | None:
    if isinstance(target, (str, os.PathLike)) and "\0" in os.fspath(target):
        raise InvalidArgumentError("target", f"{_EXPECTED}, without NUL", repr(target))
    if not isinstance(target, str) or "://" not in target:
        return None
    scheme = target.split("://", 1)[0]
    if scheme not in ("http", "https"):
        raise InvalidArgumentError("target", _EXPECTED, f"a {scheme!r} URL")
    try:
        url = urlsplit(target)
        has_host, _ = bool(url.hostname), url.port
    except ValueError as error:
        raise InvalidArgumentError("target", _EXPECTED, f"a URL that cannot be read: {error}") from None
    if not has_host:
        raise InvalidArgumentError("target", _EXPECTED, "a URL without a host")
    if url.username is not None or url.password is not None:
        raise InvalidArgumentError("target", "a URL without user and password", "one with them; use api_key")
    if url.query or url.fragment:
        raise InvalidArgumentError("target", "a URL without query and fragment", "one with them")
    return url


@dataclass(frozen=True)
class _Server:
    """A server by its URL; the repr, which may be logged, does not contain the key."""

    url: SplitResult
    api_key: str | None
    grpc_port: int | None
    timeout: float | None

    def __repr__(self) -> str:
        return f"_Server({self.url.geturl()!r})"

    def client_options(self) -> dict[str, Any]:
        """Return the options of a QdrantClient that reaches the server, over gRPC if that answers.

        Raises
        ------
        EngineConnectionError
            Neither gRPC nor REST answers.
        """
        options = {
            "url": self.url.geturl(),
            "api_key": self.api_key,
            "grpc_port": self._likely_grpc_port(),
            "timeout": DEFAULT_TIMEOUT_S if self.timeout is None else self.timeout,
            # Capabilities say more precisely than this check what a server can do.
            "check_compatibility": False,
        }
        no_grpc = self._grpc_failure(options)
        if no_grpc is None:
            return options | {"prefer_grpc": True, "grpc_options": dict(GRPC_OPTIONS)}
        no_rest = _rest_failure(options)
        if no_rest is not None:
            raise EngineConnectionError(
                f"no Qdrant answers at {self.url.geturl()} (REST: {no_rest}; gRPC port "
                f"{options['grpc_port']}: {no_grpc}). Start one, for example with "
                "`docker run -p 6333:6333 -p 6334:6334 qdrant/qdrant`, check host and port, "
                "or pass a directory to work without a server"
            )
        logger.warning(
            "%s answers over REST only (gRPC port %s: %s). Adding points will be several times slower; "
            "open the port, or pass grpc_port.",
            self.url.geturl(),
            options["grpc_port"],
            no_grpc,
        )
        return options

    def _likely_grpc_port(self) -> int:
        if self.grpc_port is not None:
            return self.grpc_port
        port = self.url.port
        return GRPC_PORT if port in (None, REST_PORT, 80, 443) else port + 1

    def _grpc_failure(self, options: dict[str, Any]) -> str | None:
        host = f"[{self.url.hostname}]" if ":" in (self.url.hostname or "") else self.url.hostname
        address = f"{host}:{options['grpc_port']}"
        if self.url.scheme == "https":
            channel = grpc.secure_channel(address, grpc.ssl_channel_credentials())
        else:
            channel = grpc.insecure_channel(address)
        try:
            health = qdrant_grpc.QdrantStub(channel).HealthCheck  # type: ignore[no-untyped-call]
            health(qdrant_grpc.HealthCheckRequest(), timeout=PROBE_TIMEOUT_S)
        except grpc.RpcError as error:
            return str(error.code().name)
        finally:
            channel.close()
        guessed = self.grpc_port is None and options["grpc_port"] != GRPC_PORT
        if guessed and not _same_server(options):
            return "another server answers there"
        return None


def _rest_failure(options: dict[str, Any]) -> str | None:
    client = QdrantClient(**options | {"prefer_grpc": False, "timeout": PROBE_TIMEOUT_S})
    try:
        client.info()
    # Another service at that address may answer in any way.
    except Exception as error:
        return f"{type(error).__name__}: {error}".splitlines()[0]
    finally:
        client.close()
    return None


def _same_server(options: dict[str, Any]) -> bool:
    """Return whether REST and the guessed gRPC port list the same collections.

    The port may belong to another server on the same machine.
    """
    listed = []
    for prefer_grpc in (True, False):
        client = QdrantClient(**options | {"prefer_grpc": prefer_grpc, "timeout": PROBE_TIMEOUT_S})
        try:
            listed.append({collection.name for collection in client.get_collections().collections})
        except Exception:
            return False
        finally:
            client.close()
    return listed[0] == listed[1]
