"""The command ``migrate``, which copies a collection into a compressed one."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group
from rich.table import Table
from rich.text import Text

from embplug.cli.shared import (
    CHANGES,
    ApiKey,
    AsJson,
    At,
    app,
    naming_others,
    open_engine,
    readable_size,
    reporting,
    show,
)
from embplug.errors import InvalidArgumentError

if TYPE_CHECKING:
    from embplug.lifecycle.migration import MigrationReport
    from embplug.search.types import Query


@app.command(rich_help_panel=CHANGES)
def migrate(
    source: Annotated[str, typer.Argument(help="Collection or alias to copy. It is not changed.")],
    target: Annotated[
        str, typer.Argument(help="Compressed collection to create. Not used with --in-place.")
    ] = "",
    recipe: Annotated[Path | None, typer.Option(help="Recipe, a YAML or JSON file.")] = None,
    at: At = "./data",
    api_key: ApiKey = None,
    alias: Annotated[str | None, typer.Option(help="Alias to switch to the target at the end.")] = None,
    recall: Annotated[
        float | None, typer.Option(min=0, max=1, help="Smallest recall@10 with which the alias is switched.")
    ] = None,
    queries: Annotated[
        Path | None,
        typer.Option(
            help="Queries for the recall: a .npy file of vectors, or a JSON object (text, vector or tokens) "
            "on each line of a file. Default: points of the source."
        ),
    ] = None,
    vector: Annotated[
        list[str] | None,
        typer.Option(help="Vector of the source, or RECIPE=SOURCE for each vector of the recipe."),
    ] = None,
    updated_at: Annotated[
        str | None, typer.Option(help="Indexed payload field with the time of the last change of a point.")
    ] = None,
    shards: Annotated[
        int | None, typer.Option(min=1, help="Shards of the target. Default: as in the source.")
    ] = None,
    replicas: Annotated[
        int | None, typer.Option(min=1, help="Replicas of the target. Default: as in the source.")
    ] = None,
    keep_names: Annotated[
        bool,
        typer.Option("--keep-names", help="Name vectors as the source does, so that its readers go on."),
    ] = False,
    workers: Annotated[int, typer.Option(min=1, help="Number of concurrent requests.")] = 4,
    finish: Annotated[bool, typer.Option("--finish", help="Finish a migration without an alias.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Measure on a sample and write nothing.")
    ] = False,
    roll_back: Annotated[
        bool, typer.Option("--rollback", help="Point the alias back at the source.")
    ] = False,
    in_place: Annotated[
        bool, typer.Option("--in-place", help="Add the compressed vectors to the source itself.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Copy a live collection into a compressed one, verify the copy, and switch an alias.

    The same command continues after an interruption, and catches up with later writes.
    """
    from embplug.lifecycle.migration import migrate as run_migration
    from embplug.lifecycle.migration import rollback
    from embplug.recipe import Recipe

    with reporting(as_json), open_engine(at, api_key) as engine, naming_others(source, at, engine):
        if roll_back:
            if alias is None:
                raise InvalidArgumentError("--alias", "the alias to point back", None)
            switched = rollback(source, target, alias, engine=engine)
            state = "points at the source again" if switched else "points at the source already"
            show({"alias": alias, "switched": switched}, as_json, f"{alias}: {state}")
            return
        if recipe is None:
            raise InvalidArgumentError("--recipe", "a recipe file", None)
        target_recipe = Recipe.from_file(recipe)
        sharding = {"shard_number": shards, "replication_factor": replicas}
        report = run_migration(
            source,
            target or None,
            target_recipe.replaced(
                **{field: number for field, number in sharding.items() if number is not None}
            ),
            engine=engine,
            alias=alias,
            recall=recall,
            queries=None if queries is None else _read_queries(queries),
            vector=_vectors(vector or []),
            updated_at=updated_at,
            finish=finish,
            dry_run=dry_run,
            in_place=in_place,
            keep_names=keep_names,
            workers=workers,
        )
        show(report.to_dict(), as_json, Group(_table(report), *_next_steps(report, at)))


def _vectors(options: list[str]) -> str | dict[str, str] | None:
    if len(options) == 1 and "=" not in options[0]:
        return options[0]
    named = {}
    for option in options:
        own, equals, source = option.partition("=")
        if not equals:
            raise InvalidArgumentError("--vector", "RECIPE=SOURCE, if there are several", repr(option))
        named[own] = source
    return named or None


def _read_queries(path: Path) -> list[Query]:
    """Read vectors of shape (n, dim) or token matrices of shape (n, n_tokens, dim), or JSON objects."""
    from embplug.common.files import read_array, read_lines
    from embplug.common.json_types import parse_json
    from embplug.search.types import Query

    if path.suffix == ".npy":
        array = read_array(path)
        return [Query(dense=row) if array.ndim == 2 else Query(tokens=row) for row in array]
    queries = []
    for place, line in read_lines(path, "a readable file of queries"):
        query = parse_json(line, place)
        if not isinstance(query, dict):
            raise InvalidArgumentError(place, "a JSON object", type(query).__name__)
        queries.append(Query(query.get("tokens"), query.get("vector"), query.get("text")))
    return queries


def _table(report: MigrationReport) -> Table:
    """Show what the migration has done or would do."""
    would = "would be " if report.dry_run else ""
    table = Table(show_header=False, box=None)
    vectors = ", ".join(f"{source or 'the vector'} as {own}" for own, source in report.vectors.items())
    table.add_row("from", f"{report.source}, {report.points:,} points: {vectors}")
    table.add_row("to", "the same collection" if report.in_place else report.target)
    table.add_row("copied", f"{would}{report.copied:,} points{' (resumed)' if report.resumed else ''}")
    if not report.dry_run:
        table.add_row("caught up", f"{report.changed:,} points written, {report.deleted:,} deleted meanwhile")
    if report.recall is not None:
        recall = report.recall
        whose = "queries of the caller" if recall.user_queries else "points of the source as queries"
        against = "exact search" if recall.exact else "the source's own answers"
        table.add_row(
            f"recall@{recall.limit}", f"{recall.value:.3f} ({recall.queries} {whose}, against {against})"
        )
    if report.checked_payloads:
        table.add_row("payloads", f"{report.checked_payloads:,} compared, all equal")
    for side, size in report.point_bytes.items():
        whole = f"{readable_size(size.whole * report.points)} in all"
        table.add_row(
            f"bytes, {side}",
            f"{size.stored:,.0f} a point for vectors and codes ({size.searched:,.0f} searched), "
            f"{size.graph:,.0f} for the graph, {size.payload:,.0f} for the payload: {whole}",
        )
    if report.search_ms:
        before, after = report.search_ms["source"], report.search_ms["target"]
        table.add_row("a search", f"{before:.2f} ms before, {after:.2f} ms after (median, one at a time)")
    if report.alias is not None:
        state = (
            "switched" if report.switched else "points at the target" if report.finished else "not switched"
        )
        table.add_row("alias", f"{report.alias}: {'would be switched' if report.dry_run else state}")
    elif not report.dry_run and not report.in_place:
        table.add_row("state", "finished" if report.finished else "open: the same command again catches up")
    for note in report.readers:
        table.add_row("readers", note)
    for note in report.notes:
        table.add_row("note", note)
    return table


def _next_steps(report: MigrationReport, at: str) -> list[Text]:
    """Say which commands come next: to switch, to open, to go back, and to drop the source."""
    if report.in_place:
        return []
    source, target = report.source, report.target
    alias = report.alias or "ALIAS"
    steps = []
    if report.dry_run:
        steps += [("Nothing was written. The same command without --dry-run copies.", "")]
    elif not report.finished:
        steps += [("To switch readers to the copy, add to the same command:", f"--alias {alias}")]
    if report.dry_run or report.finished:
        name = report.alias or target
        steps += [
            ("To search afterwards:", f"embplug search {name} TEXT --encoder NAME --at {at}"),
            ("From Python:", f'Collection.open("{name}", "{at}", encoder="NAME")'),
        ]
        if report.alias is not None:
            command = f"embplug migrate {source} {target} --alias {alias} --rollback --at {at}"
            steps += [("To go back, which switches the alias in one step:", command)]
        steps += [
            (
                f"Drop {source} when nobody reads it any more and you will not go back.",
                "",
            )
        ]
    return [Text(f"{said}\n  {command}" if command else said) for said, command in steps]
