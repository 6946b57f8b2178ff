"""The command ``mcp``."""

from __future__ import annotations

from typing import Annotated

import typer

from embplug.cli.shared import COLLECTIONS, ApiKey, At, app, open_engine, reporting


@app.command(rich_help_panel=COLLECTIONS)
def mcp(
    names: Annotated[list[str], typer.Argument(help="Names of the collections that clients see.")],
    at: At = "./data",
    api_key: ApiKey = None,
    encoder: Annotated[
        str | None, typer.Option(help="Encoder of texts. Default: the one that each recipe names.")
    ] = None,
    text_key: Annotated[
        str, typer.Option(help="Payload field of the text in collections that embplug did not create.")
    ] = "text",
    add_to: Annotated[
        list[str] | None, typer.Option(help="Collection to which clients may add documents.")
    ] = None,
    delete_from: Annotated[
        list[str] | None, typer.Option(help="Collection from which clients may delete documents.")
    ] = None,
    http: Annotated[bool, typer.Option("--http", help="Serve HTTP, not standard input and output.")] = False,
    host: Annotated[str, typer.Option(help="Address for HTTP.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port for HTTP.")] = 8000,
    token: Annotated[
        str | None,
        typer.Option(
            envvar="EMBPLUG_MCP_TOKEN",
            show_envvar=True,
            help="Token that clients over HTTP send. Needed unless the host is this machine alone.",
        ),
    ] = None,
) -> None:
    """Serve collections to assistants, by the Model Context Protocol.

    Clients search, list and read documents. They add or delete only where an option allows it.
    """
    with reporting(as_json=False):
        # Inside, so that the error of a missing extra is reported as others are.
        from embplug.frameworks.mcp.served import open_served
        from embplug.frameworks.mcp.server import http_application, make_server

    with reporting(as_json=False), open_engine(at, api_key) as engine:
        served = open_served(
            engine,
            names,
            encoder=encoder,
            text_key=text_key,
            add_to=add_to or (),
            delete_from=delete_from or (),
        )
        server = make_server(served)
        if http:
            import uvicorn

            application = http_application(server, host, token)
            uvicorn.run(application, host=host, port=port, log_level="warning")
        else:
            server.run("stdio")
