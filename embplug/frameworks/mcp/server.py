"""The server, over standard input and output or over HTTP."""

from __future__ import annotations

import functools
import hmac
import ipaddress
from collections.abc import Awaitable, Callable, Mapping
from importlib.metadata import version
from typing import Any, TypeVar

from embplug.common.extras import import_extra
from embplug.errors import EmbplugError, InvalidArgumentError

import_extra("mcp", "embplug mcp")

from mcp.server.mcpserver import MCPServer  # noqa: E402
from mcp.server.mcpserver.exceptions import ToolError  # noqa: E402
from mcp.types import ToolAnnotations  # noqa: E402

from embplug.frameworks.mcp.served import ServedCollection  # noqa: E402
from embplug.frameworks.mcp.tools import Tools  # noqa: E402

T = TypeVar("T")
Application = Callable[[Any, Any, Any], Awaitable[None]]
"""An application of ASGI, which takes a scope and two functions that receive and send."""

PATH = "/mcp"
"""Path of the server in a URL."""

_INSTRUCTIONS = (
    "Search collections of documents. Call list_collections first: it names the collections and the fields "
    "by which a filter may choose documents. Then call search with a question in plain words, and "
    "get_documents for the whole text of a document that was found."
)


def make_server(served: Mapping[str, ServedCollection]) -> MCPServer:
    """Return a server with the tools that its collections allow.

    Parameters
    ----------
    served : mapping of str to ServedCollection
        Collections from :func:`~embplug.frameworks.mcp.served.open_served`.

    Returns
    -------
    MCPServer
        The server. It has no tool that adds or deletes unless a collection allows that.
    """
    server = MCPServer("embplug", instructions=_INSTRUCTIONS, version=version("embplug"), log_level="WARNING")
    tools = Tools(served)
    reads = ToolAnnotations(read_only_hint=True, open_world_hint=False)
    for tool in (
        tools.list_collections,
        tools.search,
        tools.get_documents,
        tools.list_documents,
        tools.count_documents,
    ):
        server.add_tool(_named(tool), annotations=reads)
    if any(item.shared.collection.recipe.tokens is not None for item in served.values()):
        server.add_tool(_named(tools.explain), annotations=reads)
    if any(item.may_add for item in served.values()):
        adds = ToolAnnotations(destructive_hint=True, idempotent_hint=False, open_world_hint=False)
        server.add_tool(_named(tools.add_documents), annotations=adds)
    if any(item.may_delete for item in served.values()):
        deletes = ToolAnnotations(destructive_hint=True, idempotent_hint=True, open_world_hint=False)
        server.add_tool(_named(tools.delete_documents), annotations=deletes)
    return server


def http_application(server: MCPServer, host: str, token: str | None) -> Application:
    """Return a server as an application for HTTP, at the path ``/mcp``.

    Parameters
    ----------
    server : MCPServer
        The server.
    host : str
        Address that it listens on.
    token : str or None
        Token that clients send as ``Authorization: Bearer``. None asks for none.

    Returns
    -------
    callable
        The application.

    Raises
    ------
    InvalidArgumentError
        Other machines can reach the address, and there is no token; or the token is empty.
    """
    if token is not None and not token.strip():
        raise InvalidArgumentError("--token", "a token that is not empty", repr(token))
    if token is None and not _is_loopback(host):
        expected = "a token, because other machines reach this address; or the host 127.0.0.1"
        raise InvalidArgumentError("--token", expected, f"none, with the host {host}")
    application: Application = server.streamable_http_app(streamable_http_path=PATH, host=host)
    return application if token is None else _asking_for(token, application)


def _is_loopback(host: str) -> bool:
    try:
        return host == "localhost" or ipaddress.ip_address(host).is_loopback
    except ValueError:
        return False


def _asking_for(token: str, application: Application) -> Application:
    expected = f"Bearer {token}".encode()

    async def checked(scope: Any, receive: Any, send: Any) -> None:
        headers = dict(scope.get("headers") or ())
        if scope["type"] == "lifespan" or hmac.compare_digest(headers.get(b"authorization", b""), expected):
            await application(scope, receive, send)
            return
        refused = [(b"www-authenticate", b"Bearer"), (b"content-length", b"0")]
        await send({"type": "http.response.start", "status": 401, "headers": refused})
        await send({"type": "http.response.body", "body": b""})

    return checked


def _named(tool: Callable[..., Awaitable[T]]) -> Callable[..., Awaitable[T]]:
    """Let a client read the errors of embplug, which name the argument and what is expected."""

    @functools.wraps(tool)
    async def call(*args: Any, **kwargs: Any) -> T:
        try:
            return await tool(*args, **kwargs)
        except EmbplugError as error:
            raise ToolError(str(error)) from error

    return call
