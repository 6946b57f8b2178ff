"""Options, the engine, exit codes and output, which all commands share."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console

from embplug.errors import (
    CollectionNotFoundError,
    EmbplugError,
    FilterError,
    InvalidArgumentError,
    RecipeMismatchError,
    UpgradeError,
    VerificationError,
)

if TYPE_CHECKING:
    from qdrant_client import models

    from embplug.engines import Engine

app = typer.Typer(
    help="Compressed and multi-vector retrieval on Qdrant.",
    epilog="Exit codes: 0 success, 1 failure, 2 wrong usage, 3 the collection exists with another recipe, "
    "4 no such collection, 5 a recipe, a copy or an upgrade misses its target.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console()

Name = Annotated[str, typer.Argument(help="Name of the collection.")]
At = Annotated[
    str,
    typer.Option(
        envvar="EMBPLUG_AT", help="A directory for Qdrant Edge, or http(s)://host:port of a server."
    ),
]
ApiKey = Annotated[
    str | None, typer.Option(envvar="QDRANT_API_KEY", show_envvar=True, help="API key of the server.")
]
Ids = Annotated[
    list[str] | None,
    typer.Argument(help="Ids of documents. A number is an integer id.", show_default=False),
]
Filter = Annotated[str | None, typer.Option("--filter", help="Qdrant filter as JSON.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


def parse_filter(text: str | None) -> models.Filter | None:
    """Read a Qdrant filter from JSON."""
    if text is None:
        return None
    from pydantic import ValidationError
    from qdrant_client import models

    try:
        return models.Filter.model_validate_json(text)
    except ValidationError as error:
        raise FilterError("--filter", "a Qdrant filter as JSON", error.errors()[0]["msg"]) from None


def parse_formula(text: str | None) -> models.FormulaQuery | None:
    """Read a formula of Qdrant from JSON."""
    if text is None:
        return None
    from pydantic import ValidationError
    from qdrant_client import models

    try:
        return models.FormulaQuery.model_validate_json(text)
    except ValidationError as error:
        expected = 'a Qdrant formula as JSON, such as {"formula": {"sum": ["$score", "popularity"]}}'
        raise InvalidArgumentError("--formula", expected, error.errors()[0]["msg"]) from None


def parse_ids(ids: list[str] | None) -> list[int | str] | None:
    """Read ids, of which those in decimal digits are integers; None where there are none."""
    from embplug.common.ids import is_integer_text

    return [int(text) if is_integer_text(text) else text for text in ids] if ids else None


@contextmanager
def open_engine(at: str, api_key: str | None) -> Iterator[Engine]:
    """Open the engine at ``at`` and close it at the end. The API key is only sent to a server."""
    from embplug.engines import connect

    engine = connect(at, api_key=api_key if "://" in at else None)
    try:
        yield engine
    finally:
        engine.close()


@contextmanager
def reporting(as_json: bool) -> Iterator[None]:
    """Print an error of embplug as a line or as a JSON object, and exit with its code."""
    try:
        yield
    except CollectionNotFoundError as error:
        _fail(error, as_json, 4)
    except RecipeMismatchError as error:
        _fail(error, as_json, 3)
    except InvalidArgumentError as error:
        wrong_usage = error.argument in ("target", "path") or error.argument.startswith("--")
        _fail(error, as_json, 2 if wrong_usage else 1)
    except VerificationError as error:
        _fail(error, as_json, 5, {"report": error.report.to_dict()})
    except UpgradeError as error:
        if error.report is None:
            _fail(error, as_json, 1)
        _fail(error, as_json, 5, {"report": error.report.to_dict()})
    except EmbplugError as error:
        _fail(error, as_json, 1)


def _fail(
    error: EmbplugError, as_json: bool, code: int, details: Mapping[str, Any] | None = None
) -> NoReturn:
    if as_json:
        typer.echo(json.dumps({"error": type(error).__name__, "message": str(error), **(details or {})}))
    else:
        typer.secho(str(error), err=True, fg="red")
    raise typer.Exit(code)


def show(result: dict[str, Any], as_json: bool, shown: Any) -> None:
    """Print ``result`` as a JSON object, or ``shown`` for people."""
    if as_json:
        typer.echo(json.dumps(result))
    else:
        console.print(shown)
