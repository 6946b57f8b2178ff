"""Options, the engine, exit codes and output, which all commands share."""

from __future__ import annotations

import difflib
import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer
from rich.console import Console

from embplug.common.files import WRITABLE, reason_of
from embplug.errors import (
    CollectionNotFoundError,
    EmbplugError,
    FilterError,
    InvalidArgumentError,
    NotAnEmbplugCollectionError,
    RecipeMismatchError,
    UpgradeError,
    VerificationError,
)

if TYPE_CHECKING:
    from qdrant_client import models

    from embplug.collection.collection import Collection
    from embplug.engines import Engine

INTERRUPTED = 130
"""Exit code of a command that Ctrl-C has ended, as of any other program."""


app = typer.Typer(
    help="Compressed and multi-vector retrieval on Qdrant.",
    epilog="Exit codes: 0 success, 1 failure, 2 wrong usage, 3 the collection exists with another recipe, "
    "4 no such collection, 5 a recipe, a copy or an upgrade misses its target, 130 Ctrl-C.",
    no_args_is_help=True,
    pretty_exceptions_enable=False,
)
# Texts of users are no markup: "[/INST]" stays as it is.
console = Console(markup=False, emoji=False)

COLLECTIONS = "Collections"
DOCUMENTS = "Documents"
RECIPES = "Choose a recipe"
CHANGES = "Change a collection in use"


def _show_version(shows: bool) -> None:
    if shows:
        from importlib.metadata import version

        typer.echo(f"embplug {version('embplug')}")
        raise typer.Exit


@app.callback()
def _options(
    version: Annotated[
        bool,
        typer.Option("--version", callback=_show_version, is_eager=True, help="Show the version and exit."),
    ] = False,
) -> None:
    """Compressed and multi-vector retrieval on Qdrant."""


def complete_names(ctx: typer.Context, incomplete: str) -> list[str]:
    """Names of collections for the completion of a shell; none if the engine cannot be asked."""
    from embplug.collection.listing import collection_names

    try:
        with open_engine(ctx.params.get("at") or "./data", ctx.params.get("api_key")) as engine:
            return [name for name in collection_names(engine) if name.startswith(incomplete)]
    except Exception:  # a completion never disturbs what is typed
        return []


Name = Annotated[str, typer.Argument(help="Name of the collection.", autocompletion=complete_names)]
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
EncoderName = Annotated[
    str | None,
    typer.Option("--encoder", help="Encoder of texts, such as minilm. Default: that of the recipe."),
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
def open_engine(at: str, api_key: str | None, *, creates: bool = False) -> Iterator[Engine]:
    """Open the engine at ``at`` and close it at the end. The API key is only sent to a server.

    Raises
    ------
    CollectionNotFoundError
        A directory does not exist, and the command does not create it.
    """
    from embplug.engines import connect
    from embplug.engines.connect import existing

    try:
        at = at if creates else existing(at)
    except CollectionNotFoundError as error:
        hint = "embplug create makes it, and --at or EMBPLUG_AT names another directory or a server"
        raise CollectionNotFoundError(f"{error}: {hint}") from None
    engine = connect(at, api_key=api_key if "://" in at else None)
    try:
        yield engine
    finally:
        engine.close()


@contextmanager
def open_collection(
    name: str, at: str, api_key: str | None, *, encoder: str | None = None
) -> Iterator[Collection]:
    """Open a collection, and close its engine at the end.

    Raises
    ------
    CollectionNotFoundError
        There is none of this name; the error names the closest one.
    NotAnEmbplugCollectionError
        It has no recipe; the error says how to bring it in.
    """
    from embplug.collection.collection import Collection

    with open_engine(at, api_key) as engine, naming_others(name, at, engine):
        yield Collection.open(name, engine, encoder=encoder)


@contextmanager
def naming_others(name: str, at: str, engine: Engine) -> Iterator[None]:
    """Have errors of a missing or a plain collection say what to do; see :func:`open_collection`."""
    try:
        yield
    except CollectionNotFoundError as error:
        from embplug.collection.listing import collection_names

        try:
            names = collection_names(engine)
        except EmbplugError:  # who may not list collections still learns that this one is missing
            raise error from None
        close = difflib.get_close_matches(name, names, n=1)
        empty = f"; {at} holds none at all, and --at or EMBPLUG_AT names another directory or a server"
        hint = f"; embplug list --at {at} shows those that exist" if names else empty
        hint = f"; did you mean {close[0]!r}?" if close else hint
        raise CollectionNotFoundError(f"{error}{hint}") from None
    except NotAnEmbplugCollectionError as error:
        # Longer lines would be wrapped, and could not be copied.
        raise NotAnEmbplugCollectionError(
            f"{error}. It can be copied into one that has, while it is in use:\n"
            f"  embplug advise {name} --at {at} -o recipe.yaml\n"
            f"  embplug migrate {name} {name}-small --recipe recipe.yaml --at {at} --dry-run"
        ) from None


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


def check_output(file: Path | None) -> None:
    """Refuse a file that cannot be written, before a command works for minutes."""
    if file is None:
        return
    if file.is_dir() or not file.absolute().parent.is_dir():
        got = f"{file}: {'a folder' if file.is_dir() else f'no folder {file.parent}'}"
        raise InvalidArgumentError("path", WRITABLE, got)


def write_output(file: Path, text: str) -> None:
    """Write a text to a file of the user."""
    try:
        file.write_text(text, encoding="utf-8")
    except OSError as error:
        raise InvalidArgumentError("path", WRITABLE, f"{file}: {reason_of(error)}") from None


def show(result: dict[str, Any], as_json: bool, shown: Any) -> None:
    """Print ``result`` as a JSON object, or ``shown`` for people."""
    if as_json:
        typer.echo(json.dumps(result))
    else:
        console.print(shown)


def readable_size(size: float) -> str:
    """Write a number of bytes with three digits and a unit."""
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size / 1e3:.3g} kB"
