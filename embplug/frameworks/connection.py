"""From the keywords of a store to an open engine."""

from __future__ import annotations

import os
from collections.abc import Mapping
from typing import Any, TypedDict, cast

from qdrant_client import AsyncQdrantClient, QdrantClient

from embplug.engines import Engine, connect, traits_of
from embplug.errors import InvalidArgumentError

TARGETS = ("client", "path", "url", "host", "location")
"""The options that say where the engine is; one of them is set."""


class ConnectionOptions(TypedDict, total=False):
    """Where the engine is, and how to connect to it; see ``qdrant_client.QdrantClient``.

    One of ``client``, ``path``, ``url``, ``host`` and ``location`` is set.
    """

    client: Engine
    location: str | None
    url: str | None
    port: int | None
    grpc_port: int | None
    prefer_grpc: bool | None
    https: bool | None
    api_key: str | None
    prefix: str | None
    timeout: int | None
    host: str | None
    path: str | os.PathLike[str] | None


def split_options(options: Mapping[str, Any]) -> tuple[ConnectionOptions, dict[str, Any]]:
    """Split keyword arguments into those of the connection and all others.

    Parameters
    ----------
    options : mapping
        Keyword arguments of a store.

    Returns
    -------
    connection : ConnectionOptions
        Options of the connection.
    others : dict
        All other arguments.
    """
    names = ConnectionOptions.__annotations__
    connection = {name: value for name, value in options.items() if name in names}
    others = {name: value for name, value in options.items() if name not in names}
    return cast(ConnectionOptions, connection), others


def target_options(
    client: Engine | str | os.PathLike[str] | None,
    url: str | None,
    path: str | os.PathLike[str] | None,
    aclient: AsyncQdrantClient | None = None,
) -> ConnectionOptions:
    """Return the option that says where the engine is, from arguments of which one is set.

    Parameters
    ----------
    client : QdrantClient, EdgeClient, str, path or None
        A client, the URL of a server, a directory for Qdrant Edge, or ``":memory:"``.
    url : str or None
        URL of a server.
    path : str, path or None
        Directory for Qdrant Edge.
    aclient : AsyncQdrantClient, default=None
        Asynchronous client whose server is used if the other arguments are None.

    Returns
    -------
    ConnectionOptions
        One option, or none if all arguments are None.

    Raises
    ------
    InvalidArgumentError
        Two arguments are set, or ``aclient`` has no server.
    """
    targets = {"client": client, "url": url, "path": path}
    names = [name for name, value in targets.items() if value is not None]
    if len(names) > 1:
        raise InvalidArgumentError(names[1], f"nothing beside {names[0]}", "both")
    if not names:
        return {} if aclient is None else {"client": _synchronous(aclient)}
    if not isinstance(client, (str, os.PathLike)):
        return cast(ConnectionOptions, {names[0]: targets[names[0]]})
    if client == ":memory:":
        return {"location": ":memory:"}
    return {"url": str(client)} if "://" in os.fspath(client) else {"path": client}


def connection_options(
    target: ConnectionOptions, api_key: str | None, client_kwargs: Mapping[str, Any] | None
) -> ConnectionOptions:
    """Return all options of a connection.

    Parameters
    ----------
    target : ConnectionOptions
        Where the engine is, from :func:`target_options`.
    api_key : str or None
        API key of the server.
    client_kwargs : mapping or None
        Further options of ``QdrantClient``.

    Returns
    -------
    ConnectionOptions
        The options together.

    Raises
    ------
    InvalidArgumentError
        An option is unknown, or none says where the engine is.
    """
    known = [name for name in ConnectionOptions.__annotations__ if name not in ("client", "api_key")]
    for name in client_kwargs or {}:
        if name not in known:
            raise InvalidArgumentError("client_kwargs", f"options among {known}", repr(name))
    options: dict[str, Any] = {**target, **(client_kwargs or {})}
    if api_key is not None:
        options["api_key"] = api_key
    if options.keys().isdisjoint(TARGETS):
        raise InvalidArgumentError("client", "client, url or path", "none of them")
    return cast(ConnectionOptions, options)


def open_engine(options: ConnectionOptions) -> Engine:
    """Open the engine; without any option, the server on this machine, as Qdrant's own stores do.

    Parameters
    ----------
    options : ConnectionOptions
        Where the engine is. Options that are None count as not set.

    Returns
    -------
    QdrantClient or EdgeClient
        The client, or the one among the options.

    Raises
    ------
    InvalidArgumentError
        Two options contradict each other.
    EngineConnectionError
        No Qdrant answers at the URL.
    """
    values: dict[str, Any] = {name: value for name, value in options.items() if value is not None}
    targets = [name for name in TARGETS if name in values]
    if len(targets) > 1:
        raise InvalidArgumentError(targets[1], f"nothing beside {targets[0]}", "both")
    if not targets and not values:
        return connect("http://localhost:6333")
    target = targets[0] if targets else "host"
    if target == "location" and values["location"] != ":memory:":
        target, values["url"] = "url", values.pop("location")
    simple = {name: values[name] for name in ("api_key", "grpc_port", "timeout") if name in values}
    if target != "host" and values.get("prefer_grpc") is not False:
        others = {*values} - {target, "prefer_grpc", *simple}
        if not others:
            engine: Engine = connect(values[target], **simple)
            return engine
        if target != "url":
            raise InvalidArgumentError(others.pop(), f"nothing beside {target}", "a value")
    return QdrantClient(**values, check_compatibility=False)


def _synchronous(aclient: AsyncQdrantClient) -> QdrantClient:
    if not traits_of(aclient).is_remote:
        raise InvalidArgumentError("client", "the client whose data it is", "aclient alone, without server")
    # The check would ask the server once more.
    return QdrantClient(**aclient.init_options | {"check_compatibility": False})
