"""From an existing collection to a compressed one."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.table import Table

from embplug.cli.shared import ApiKey, AsJson, At, app, open_engine, reporting, show
from embplug.errors import InvalidArgumentError
from embplug.lifecycle.migration import MigrationReport, rollback
from embplug.lifecycle.migration import migrate as run_migration
from embplug.recipe import Recipe
from embplug.search.types import Query


@app.command()
def migrate(
    source: Annotated[str, typer.Argument(help="Collection or alias to copy; it is only read.")],
    target: Annotated[str, typer.Argument(help="Compressed collection to make; none with --in-place.")] = "",
    recipe: Annotated[Path | None, typer.Option(help="Recipe, a YAML or JSON file.")] = None,
    at: At = "./data",
    api_key: ApiKey = None,
    alias: Annotated[str | None, typer.Option(help="Alias to switch to the target at the end.")] = None,
    recall: Annotated[
        float | None, typer.Option(min=0, max=1, help="Switch only where recall@10 reaches this.")
    ] = None,
    queries: Annotated[
        Path | None,
        typer.Option(
            help="Queries for recall: .npy of vectors, or one JSON object a line with text, vector or tokens."
            " Default: points of the source."
        ),
    ] = None,
    vector: Annotated[
        list[str] | None,
        typer.Option(help="Vector of the source, or RECIPE=SOURCE for each vector of the recipe."),
    ] = None,
    updated_at: Annotated[
        str | None, typer.Option(help="Indexed payload field with the time of the last change.")
    ] = None,
    shards: Annotated[int | None, typer.Option(min=1, help="Of the target. Default: as the source.")] = None,
    replicas: Annotated[
        int | None, typer.Option(min=1, help="Of the target. Default: as the source.")
    ] = None,
    workers: Annotated[int, typer.Option(min=1, help="Requests under way at a time.")] = 4,
    finish: Annotated[bool, typer.Option("--finish", help="Without an alias: it is over, tidy up.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Measure on a sample, say what would be done, write nothing.")
    ] = False,
    roll_back: Annotated[
        bool, typer.Option("--rollback", help="Point the alias back at the source.")
    ] = False,
    in_place: Annotated[
        bool, typer.Option("--in-place", help="Add the compressed vectors to the source itself.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Copy a live collection into a compressed one, verify it, switch an alias. Again: go on, or catch up."""
    with reporting(as_json), open_engine(at, api_key) as engine:
        if roll_back:
            if alias is None:
                raise InvalidArgumentError("--alias", "the alias to point back", None)
            switched = rollback(source, target, alias, engine)
            state = "points at the source again" if switched else "points at the source already"
            show({"alias": alias, "switched": switched}, as_json, f"{alias}: {state}")
            return
        if recipe is None:
            raise InvalidArgumentError("--recipe", "a recipe file", None)
        wanted = Recipe.from_file(recipe)
        sharding = {"shard_number": shards, "replication_factor": replicas}
        report = run_migration(
            source,
            target or None,
            wanted.replaced({field: number for field, number in sharding.items() if number is not None}),
            engine,
            alias=alias,
            recall=recall,
            queries=None if queries is None else _read_queries(queries),
            vector=_vectors(vector or []),
            updated_at=updated_at,
            finish=finish,
            dry_run=dry_run,
            in_place=in_place,
            workers=workers,
        )
        show(report.to_dict(), as_json, _table(report))


def _vectors(given: list[str]) -> str | dict[str, str] | None:
    if len(given) == 1 and "=" not in given[0]:
        return given[0]
    named = {}
    for one in given:
        own, equals, source = one.partition("=")
        if not equals:
            raise InvalidArgumentError("--vector", "RECIPE=SOURCE, where there are several", repr(one))
        named[own] = source
    return named or None


def _read_queries(path: Path) -> list[Query]:
    """Vectors ``(n, dim)`` or matrices ``(n, tokens, dim)`` from numpy, or JSON objects."""
    try:
        if path.suffix == ".npy":
            array = np.load(path, allow_pickle=False)
            return [Query(dense=row) if array.ndim == 2 else Query(tokens=row) for row in array]
        lines = path.read_text(encoding="utf-8").splitlines()
        objects: list[dict[str, Any]] = [json.loads(line) for line in lines if line.strip()]
        return [Query(one.get("tokens"), one.get("vector"), one.get("text")) for one in objects]
    except (OSError, ValueError, AttributeError) as error:
        raise InvalidArgumentError("path", "a readable file of queries", f"{path}: {error}") from None


def _table(report: MigrationReport) -> Table:
    """What was done, or would be, for people."""
    would = "would be " if report.dry_run else ""
    table = Table(show_header=False, box=None)
    vectors = ", ".join(f"{source or 'the vector'} as {own}" for own, source in report.vectors.items())
    table.add_row("from", f"{report.source}, {report.points:,} points: {vectors}")
    table.add_row("to", "the same collection" if report.in_place else report.target)
    table.add_row("copied", f"{would}{report.copied:,} points{' (resumed)' if report.resumed else ''}")
    if not report.dry_run:
        table.add_row("caught up", f"{report.changed:,} points written, {report.deleted:,} deleted meanwhile")
    if report.recall is not None:
        found = report.recall
        whose = "given queries" if found.given else "points of the source as queries"
        against = "exact search" if found.exact else "the source's own answers"
        table.add_row(
            f"recall@{found.limit}", f"{found.value:.3f} ({found.queries} {whose}, against {against})"
        )
    if report.checked_payloads:
        table.add_row("payloads", f"{report.checked_payloads:,} compared, all equal")
    for side, size in report.vector_bytes.items():
        whole = f"{size.stored * report.points / 1e9:,.2f} GB"
        table.add_row(
            f"bytes, {side}", f"{size.stored:,.0f} a point ({size.searched:,.0f} searched), {whole} in all"
        )
    if report.alias is not None:
        state = (
            "switched" if report.switched else "points at the target" if report.finished else "not switched"
        )
        table.add_row("alias", f"{report.alias}: {'would be switched' if report.dry_run else state}")
    elif not report.dry_run and not report.in_place:
        table.add_row("state", "finished" if report.finished else "open: the same command again catches up")
    for note in report.notes:
        table.add_row("note", note)
    return table
