"""The ``embplug`` command: thin, it calls what the library offers.

Exit codes: 0 success, 1 failure, 2 wrong usage, 3 the collection exists with another recipe,
4 no such collection.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer
from pydantic import ValidationError
from qdrant_client import models
from rich.console import Console
from rich.table import Table

from embplug.collection import Collection
from embplug.documents import Documents
from embplug.engines import Engine, connect
from embplug.errors import (
    CollectionNotFoundError,
    EmbplugError,
    FilterError,
    InvalidArgumentError,
    RecipeMismatchError,
)
from embplug.jsonl import read_jsonl
from embplug.pipeline import Hit
from embplug.recipe import Recipe

BATCH = 256

app = typer.Typer(
    help="Compressed and multi-vector retrieval on Qdrant.",
    epilog="Exit codes: 0 success, 1 failure, 2 wrong usage, 3 the collection exists with another recipe, "
    "4 no such collection.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
)
console = Console()

Name = Annotated[str, typer.Argument(help="Name of the collection.")]
At = Annotated[
    str,
    typer.Option(envvar="EMBPLUG_AT", help="A directory (Qdrant Edge), or http(s)://host:port (a server)."),
]
ApiKey = Annotated[
    str | None, typer.Option(envvar="QDRANT_API_KEY", show_envvar=True, help="Key of the server.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print one JSON object.")]


@app.command()
def create(
    name: Name,
    recipe: Annotated[Path, typer.Option(help="Recipe, a YAML or JSON file.")],
    at: At = "./data",
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Make a collection; the same recipe again changes nothing, another one is refused."""
    with _reporting(as_json), _engine(at, api_key) as engine:
        existed = engine.collection_exists(name)
        Collection.create(name, Recipe.from_file(recipe), engine)
        state = "exists" if existed else "created"
        _print({"collection": name, "state": state}, as_json, f"{name}: {state}")


@app.command()
def add(
    name: Name,
    file: Annotated[Path, typer.Argument(help="Documents, one JSON object a line; - for standard input.")],
    at: At = "./data",
    api_key: ApiKey = None,
    id_key: Annotated[str, typer.Option(help="Key of the id. Default: id, or _id.")] = "",
    text_key: Annotated[str, typer.Option(help="Key of the text.")] = "text",
    as_json: AsJson = False,
) -> None:
    """Encode and add documents: id and text, the other keys are the payload. Adding again replaces."""
    with _reporting(as_json), _engine(at, api_key) as engine:
        collection = Collection.open(name, engine)
        lines = read_jsonl(file, id_key or None, text_key)
        report = collection.add_batches(_batches(lines))
        _print(
            {"collection": name, "added": report.added, "retries": report.retries},
            as_json,
            f"{name}: {report.added} documents added",
        )


@app.command()
def search(
    name: Name,
    query: Annotated[str, typer.Argument(help="Text to search for.")],
    at: At = "./data",
    api_key: ApiKey = None,
    limit: Annotated[int, typer.Option(help="Number of hits.")] = 10,
    filter_json: Annotated[str | None, typer.Option("--filter", help="A Qdrant filter, as JSON.")] = None,
    stages: Annotated[bool, typer.Option(help="Show the score of each stage.")] = False,
    as_json: AsJson = False,
) -> None:
    """Search by text."""
    with _reporting(as_json), _engine(at, api_key) as engine:
        collection = Collection.open(name, engine)
        hits = collection.search(text=query, limit=limit, filter=_filter(filter_json), with_stages=stages)
        _print({"hits": [asdict(hit) for hit in hits]}, as_json, hits_table(hits, collection.recipe.text_key))


@app.command()
def info(name: Name, at: At = "./data", api_key: ApiKey = None, as_json: AsJson = False) -> None:
    """Describe a collection: points, vectors, recipe, size."""
    with _reporting(as_json), _engine(at, api_key) as engine:
        described = Collection.open(name, engine).info()
        rows = described.to_dict()
        table = Table(show_header=False, box=None)
        for key, value in rows.items():
            if key not in ("recipe", "vectors"):
                table.add_row(key, "unknown" if value is None else str(value))
        for vector, parameters in described.vectors.items():
            table.add_row(f"vector {vector}", json.dumps(parameters))
        table.add_row("recipe", described.recipe.to_yaml())
        _print(rows, as_json, table)


@app.command()
def delete(
    name: Name,
    ids: Annotated[list[str], typer.Argument(help="Ids of documents; an integer is an integer id.")],
    at: At = "./data",
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Delete documents by id."""
    with _reporting(as_json), _engine(at, api_key) as engine:
        collection = Collection.open(name, engine)
        collection.delete([int(one) if one.isdecimal() else one for one in ids])
        left = collection.count()
        _print({"collection": name, "points": left}, as_json, f"{name}: {left} documents left")


@app.command()
def drop(
    name: Name,
    at: At = "./data",
    api_key: ApiKey = None,
    yes: Annotated[bool, typer.Option("--yes", help="Do not ask.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete a collection with all its documents."""
    with _reporting(as_json), _engine(at, api_key) as engine:
        collection = Collection.open(name, engine)
        if not yes:
            typer.confirm(f"Delete {name} with {collection.count()} documents?", abort=True, err=True)
        collection.drop()
        _print({"collection": name, "state": "deleted"}, as_json, f"{name}: deleted")


@app.command()
def demo(
    query: Annotated[str, typer.Argument(help="A text to search for. Default: asked on a terminal.")] = "",
    at: Annotated[Path, typer.Option(help="Folder of the demonstration.")] = Path("embplug-demo"),
    as_json: AsJson = False,
) -> None:
    """Store the standard library's docstrings plainly and with embplug, and compare both."""
    from embplug.demo import Demo

    with _reporting(as_json), Demo(at) as demonstration:
        figures = [asdict(row) for row in demonstration.figures()]
        hits = demonstration.search(query) if query.strip() else []
        result = {"documents": len(demonstration.documents), "figures": figures}
        if as_json:
            typer.echo(json.dumps({**result, "hits": [asdict(hit) for hit in hits]}))
            return
        console.print(_figures_table(figures, len(demonstration.documents)))
        if hits:
            console.print(hits_table(hits))
        elif sys.stdin.isatty():
            for asked in _questions():
                console.print(hits_table(demonstration.search(asked)))


def main() -> None:
    """Entry point of the ``embplug`` command."""
    app()


def hits_table(hits: list[Hit], text_key: str = "text") -> Table:
    """Hits for people."""
    table = Table("score", "id", "document")
    for hit in hits:
        payload = hit.payload or {}
        rest = " ".join(f"{key}={value}" for key, value in payload.items() if key != text_key)
        text = " ".join(str(payload.get(text_key, "")).split())
        stages = "".join(f"\n{stage} {score:.3f}" for stage, score in (hit.stages or {}).items())
        table.add_row(f"{hit.score:.3f}{stages}", str(hit.id), f"{rest}\n{text[:200]}".strip())
    return table


def _figures_table(figures: list[dict[str, Any]], documents: int) -> Table:
    table = Table(title=f"{documents} docstrings of the standard library")
    for column in ("method", "bytes/document", "recall@10 vs exact", "MRR@10", "p50 ms", "p95 ms"):
        table.add_column(column, justify="left" if column == "method" else "right")
    for row in figures:
        table.add_row(
            row["method"],
            f"{row['bytes_per_document']:,.0f}",
            f"{row['recall_at_10']:.3f}",
            f"{row['mrr_at_10']:.3f}",
            f"{row['p50_ms']:.2f}",
            f"{row['p95_ms']:.2f}",
        )
    return table


def _questions() -> Iterator[str]:
    while True:
        try:
            asked = input("query (empty to end): ").strip()
        except EOFError:
            return
        if not asked:
            return
        yield asked


def _batches(lines: Iterator[tuple[Any, str, dict[str, Any]]]) -> Iterator[Documents]:
    while batch := list(islice(lines, BATCH)):
        ids, texts, payloads = zip(*batch, strict=True)
        yield Documents(ids, texts=texts, payloads=payloads)


def _filter(text: str | None) -> models.Filter | None:
    if text is None:
        return None
    try:
        return models.Filter.model_validate_json(text)
    except ValidationError as error:
        raise FilterError("--filter", "a Qdrant filter as JSON", error.errors()[0]["msg"]) from None


@contextmanager
def _engine(at: str, api_key: str | None) -> Iterator[Engine]:
    engine = connect(at, api_key=api_key if "://" in at else None)
    try:
        yield engine
    finally:
        engine.close()


@contextmanager
def _reporting(as_json: bool) -> Iterator[None]:
    try:
        yield
    except CollectionNotFoundError as error:
        _fail(error, as_json, 4)
    except RecipeMismatchError as error:
        _fail(error, as_json, 3)
    except InvalidArgumentError as error:
        _fail(error, as_json, 2 if error.argument in ("target", "path", "--filter") else 1)
    except EmbplugError as error:
        _fail(error, as_json, 1)


def _fail(error: EmbplugError, as_json: bool, code: int) -> NoReturn:
    if as_json:
        typer.echo(json.dumps({"error": type(error).__name__, "message": str(error)}))
    else:
        typer.secho(str(error), err=True, fg="red")
    raise typer.Exit(code)


def _print(result: dict[str, Any], as_json: bool, shown: Any) -> None:
    if as_json:
        typer.echo(json.dumps(result))
    else:
        console.print(shown)


if __name__ == "__main__":
    main()
