"""Commands on a collection, and the command ``demo``."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import asdict
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from embplug.cli.shared import (
    ApiKey,
    AsJson,
    At,
    Filter,
    Ids,
    Name,
    app,
    console,
    open_engine,
    parse_filter,
    parse_formula,
    parse_ids,
    reporting,
    show,
)

if TYPE_CHECKING:
    from embplug.branches.documents import Documents
    from embplug.branches.empty import OnEmpty
    from embplug.collection.grouping import HitGroup
    from embplug.search.types import Hit

BATCH = 256


@app.command()
def create(
    name: Name,
    recipe: Annotated[
        Path | None, typer.Option(help="Recipe: a YAML or JSON file. Default: that of the preset.")
    ] = None,
    preset: Annotated[
        str | None, typer.Option(help="Without a recipe: small, balanced or exact. Default: balanced.")
    ] = None,
    encoder: Annotated[
        str | None, typer.Option(help="Without a recipe: the encoder, such as minilm.")
    ] = None,
    at: At = "./data",
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Create a collection by a recipe, or for the vectors of an encoder.

    Nothing changes if it exists with the same recipe. Another recipe is an error.
    """
    from embplug import Collection, Recipe
    from embplug.errors import InvalidArgumentError
    from embplug.recipe.presets import check_preset

    if recipe is None and encoder is None:
        raise typer.BadParameter("a collection needs --recipe or --encoder")
    with reporting(as_json), open_engine(at, api_key) as engine:
        if recipe is not None and (preset or encoder):
            option = "--preset" if preset else "--encoder"
            raise InvalidArgumentError(option, "no such option beside --recipe", preset or encoder)
        if recipe is None and encoder is None:
            raise InvalidArgumentError("--recipe", "a recipe file, or --encoder for a preset", None)
        existed = engine.collection_exists(name)
        if recipe is not None:
            Collection.create(name, Recipe.from_file(recipe), engine)
        else:
            Collection.create(name, check_preset(preset or "balanced"), engine, encoder=encoder)
        state = "exists" if existed else "created"
        show({"collection": name, "state": state}, as_json, f"{name}: {state}")


@app.command()
def add(
    name: Name,
    file: Annotated[
        Path, typer.Argument(help="Documents: a file with a JSON object on each line; - for standard input.")
    ],
    at: At = "./data",
    api_key: ApiKey = None,
    id_key: Annotated[str, typer.Option(help="Key of the id. Default: id or _id.")] = "",
    text_key: Annotated[str, typer.Option(help="Key of the text.")] = "text",
    skip_empty: Annotated[
        bool, typer.Option("--skip-empty", help="Leave out documents without a text, in place of an error.")
    ] = False,
    store_empty: Annotated[
        bool, typer.Option("--store-empty", help="Store documents without a text without vectors.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Encode and add documents.

    The keys other than id and text are the payload. A document replaces the earlier one with its id.
    """
    from embplug import Collection
    from embplug.common.jsonl import read_jsonl
    from embplug.errors import InvalidArgumentError

    with reporting(as_json), open_engine(at, api_key) as engine:
        if skip_empty and store_empty:
            raise InvalidArgumentError("--store-empty", "no such option beside --skip-empty", "both")
        on_empty: OnEmpty = "skip" if skip_empty else "store" if store_empty else "raise"
        collection = Collection.open(name, engine)
        lines = read_jsonl(file, id_key or None, text_key, on_empty=on_empty)
        report = collection.add_batches(_batches(lines), on_empty=on_empty)
        left_out = f", {len(report.skipped)} left out without text" if report.skipped else ""
        if report.without_vectors:
            left_out = f", {len(report.without_vectors)} of them without text and vectors"
        show(
            {
                "collection": name,
                "added": report.added,
                "retries": report.retries,
                "skipped": report.skipped,
                "without_vectors": report.without_vectors,
            },
            as_json,
            f"{name}: {report.added} documents added{left_out}",
        )


@app.command()
def search(
    name: Name,
    query: Annotated[str, typer.Argument(help="Text to search for.")],
    at: At = "./data",
    api_key: ApiKey = None,
    limit: Annotated[int, typer.Option(help="Number of hits.")] = 10,
    filter_json: Filter = None,
    stages: Annotated[bool, typer.Option(help="Show the score of each stage.")] = False,
    branch: Annotated[
        list[str] | None,
        typer.Option(
            help="Branch to search in: tokens, sparse, or the name of a dense vector. Default: all."
        ),
    ] = None,
    formula_json: Annotated[
        str | None, typer.Option("--formula", help="Qdrant formula as JSON, by which hits are ranked last.")
    ] = None,
    group_by: Annotated[
        str | None, typer.Option(help="Path of a payload field; shows the best groups of its values.")
    ] = None,
    group_size: Annotated[int, typer.Option(help="Highest number of hits of a group.")] = 3,
    as_json: AsJson = False,
) -> None:
    """Search by text."""
    from embplug import Collection

    with reporting(as_json), open_engine(at, api_key) as engine:
        collection = Collection.open(name, engine)
        options: dict[str, Any] = {
            "text": query,
            "limit": limit,
            "filter": parse_filter(filter_json),
            "with_stages": stages,
            "branches": branch or None,
            "formula": parse_formula(formula_json),
        }
        if group_by is not None:
            groups = collection.search_groups(group_by, group_size=group_size, **options)
            result = {"groups": [asdict(group) for group in groups]}
            show(result, as_json, groups_table(groups, collection.recipe.text_key))
            return
        hits = collection.search(**options)
        show({"hits": [asdict(hit) for hit in hits]}, as_json, hits_table(hits, collection.recipe.text_key))


@app.command()
def info(name: Name, at: At = "./data", api_key: ApiKey = None, as_json: AsJson = False) -> None:
    """Describe a collection: its points, vectors, recipe and size."""
    from embplug import Collection

    with reporting(as_json), open_engine(at, api_key) as engine:
        described = Collection.open(name, engine).info()
        rows = described.to_dict()
        table = Table(show_header=False, box=None)
        for key, value in rows.items():
            if key not in ("recipe", "vectors"):
                table.add_row(key, "unknown" if value is None else str(value))
        for vector, parameters in described.vectors.items():
            table.add_row(f"vector {vector}", json.dumps(parameters))
        table.add_row("recipe", described.recipe.to_yaml())
        show(rows, as_json, table)


@app.command()
def delete(
    name: Name,
    ids: Ids = None,
    at: At = "./data",
    api_key: ApiKey = None,
    filter_json: Filter = None,
    as_json: AsJson = False,
) -> None:
    """Delete documents by ids or by a filter."""
    from embplug import Collection

    with reporting(as_json), open_engine(at, api_key) as engine:
        collection = Collection.open(name, engine)
        collection.delete(parse_ids(ids), filter=parse_filter(filter_json))
        left = collection.count()
        show({"collection": name, "points": left}, as_json, f"{name}: {left} documents remain")


@app.command()
def drop(
    name: Name,
    at: At = "./data",
    api_key: ApiKey = None,
    yes: Annotated[bool, typer.Option("--yes", help="Delete without asking.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete a collection with all its documents."""
    from embplug import Collection

    with reporting(as_json), open_engine(at, api_key) as engine:
        collection = Collection.open(name, engine)
        if not yes:
            typer.confirm(f"Delete {name} with {collection.count()} documents?", abort=True, err=True)
        collection.drop()
        show({"collection": name, "state": "deleted"}, as_json, f"{name}: deleted")


@app.command()
def demo(
    query: Annotated[
        str, typer.Argument(help="Text to search for. Default: the command asks for it on a terminal.")
    ] = "",
    at: Annotated[Path, typer.Option(help="Folder of the demonstration.")] = Path("embplug-demo"),
    as_json: AsJson = False,
) -> None:
    """Store the docstrings of the standard library with and without embplug, and compare both."""
    from embplug.cli.demo import Demo, conclusion

    with reporting(as_json), Demo(at) as demonstration:
        measured = demonstration.figures()
        figures, meaning = [asdict(row) for row in measured], conclusion(*measured[:2])
        hits = demonstration.search(query) if query.strip() else []
        result = {"documents": demonstration.count, "figures": figures, "conclusion": meaning}
        if as_json:
            typer.echo(json.dumps({**result, "hits": [asdict(hit) for hit in hits]}))
            return
        console.print(_figures_table(figures, demonstration.count))
        console.print(meaning)
        if hits:
            console.print(hits_table(hits))
        elif sys.stdin.isatty():
            for question in _questions():
                console.print(hits_table(demonstration.search(question)))


def hits_table(hits: list[Hit], text_key: str = "text") -> Table:
    """Make a table of hits."""
    table = Table("score", "id", "document")
    for hit in hits:
        table.add_row(*_hit_row(hit, text_key))
    return table


def groups_table(groups: list[HitGroup], text_key: str = "text") -> Table:
    """Make a table of groups of hits."""
    table = Table("group", "score", "id", "document")
    for group in groups:
        for i, hit in enumerate(group.hits):
            table.add_row("" if i else str(group.id), *_hit_row(hit, text_key))
    return table


def _hit_row(hit: Hit, text_key: str) -> tuple[str, str, str]:
    payload = hit.payload or {}
    rest = " ".join(f"{key}={value}" for key, value in payload.items() if key != text_key)
    text = " ".join(str(payload.get(text_key, "")).split())
    stages = "".join(f"\n{stage} {score:.3f}" for stage, score in (hit.stages or {}).items())
    return f"{hit.score:.3f}{stages}", str(hit.id), f"{rest}\n{text[:200]}".strip()


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
            question = input("query (empty to end): ").strip()
        except EOFError:
            return
        if not question:
            return
        yield question


def _batches(lines: Iterator[tuple[Any, str, dict[str, Any]]]) -> Iterator[Documents]:
    from embplug.branches.documents import Documents

    position = 0
    while batch := list(islice(lines, BATCH)):
        ids, texts, payloads = zip(*batch, strict=True)
        yield Documents(ids, texts=texts, payloads=payloads, position=position)
        position += len(batch)
