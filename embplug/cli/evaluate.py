"""The commands ``evaluate`` and ``report``."""

from __future__ import annotations

import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group
from rich.table import Table

from embplug.cli.shared import (
    RECIPES,
    ApiKey,
    AsJson,
    app,
    check_output,
    open_engine,
    reporting,
    show,
    write_output,
)
from embplug.errors import InvalidArgumentError

if TYPE_CHECKING:
    from embplug.evaluation.results import Evaluation
    from embplug.evaluation.statistics import Figure
    from embplug.recipe import Recipe


@app.command("evaluate", rich_help_panel=RECIPES)
def evaluate_command(
    beir: Annotated[Path, typer.Option(help="Folder in BEIR format.")],
    recipe: Annotated[
        list[Path], typer.Option(help="Recipe file. Repeat the option to compare several recipes.")
    ],
    at: Annotated[
        str,
        typer.Option(
            envvar="EMBPLUG_AT",
            help="A directory for Qdrant Edge, or http(s)://host:port of a server. "
            "Default: Edge in a temporary directory.",
        ),
    ] = "",
    api_key: ApiKey = None,
    encoder: Annotated[str, typer.Option(help="Encoder of recipes that do not name an encoder.")] = "",
    cache: Annotated[Path | None, typer.Option(help="Folder in which encoded texts are kept.")] = None,
    limit: Annotated[int, typer.Option(help="Number of hits of a search, at least 10.")] = 10,
    filtered: Annotated[
        bool, typer.Option("--filtered", help="Search also under filters that match 50, 10, 1 and 0.1 %.")
    ] = False,
    queries: Annotated[int | None, typer.Option(help="Number of queries. Default: all.")] = None,
    output: Annotated[
        Path | None,
        typer.Option("--output", "-o", help="File to which the result is written, for embplug report."),
    ] = None,
    fail_under: Annotated[
        list[str] | None,
        typer.Option(
            metavar="MEASURE=VALUE",
            help="Exit with code 5 if a recipe has a lower mean, as in nDCG@10=0.65. Repeatable.",
        ),
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Measure the quality, latency and bytes of recipes on a judged collection."""
    from embplug.evaluation.evaluate import SELECTIVITIES, evaluate
    from embplug.recipe import Recipe

    with reporting(as_json):
        check_output(output)
        bars = dict(map(_bar, fail_under or ()))
        for measure in bars.keys() - _measures(limit):
            raise InvalidArgumentError("--fail-under", f"one of {_measures(limit)}", repr(measure))
        recipes = _named([(path, Recipe.from_file(path)) for path in recipe])
        options = {
            "encoder": encoder or None,
            "cache": cache,
            "limit": limit,
            "selectivities": SELECTIVITIES if filtered else (),
            "queries": queries,
        }
        if at:
            with open_engine(at, api_key, creates=True) as engine:
                result = evaluate(beir, recipes, engine=engine, **options)  # type: ignore[arg-type]
        else:
            result = evaluate(beir, recipes, **options)  # type: ignore[arg-type]
        contents = result.to_dict()
        if output is not None:
            write_output(output, json.dumps(contents))
        show(contents, as_json, Group(*_tables(result)))
        below = [
            f"{measure} of {figures.name} is {figures.figures[measure].mean:.4f}, below {bar:g}"
            for measure, bar in bars.items()
            for figures in result.recipes
            if figures.figures[measure].mean < bar
        ]
        for line in below:
            typer.echo(line, err=True)
        if below:
            raise typer.Exit(5)


@app.command(rich_help_panel=RECIPES)
def report(
    result: Annotated[Path, typer.Argument(help="Result that embplug evaluate wrote.")],
    output: Annotated[Path, typer.Option("--output", "-o", help="File to which the page is written.")] = Path(
        "report.html"
    ),
    as_json: AsJson = False,
) -> None:
    """Make a self-contained HTML page of an evaluation."""
    from embplug.common.files import read_text
    from embplug.common.json_types import parse_json
    from embplug.evaluation.report import report_html

    with reporting(as_json):
        contents = parse_json(read_text(result, "a result of embplug evaluate"), "path")
        page = report_html(contents)
        write_output(output, page)
        show({"report": str(output), "bytes": len(page.encode())}, as_json, f"{output} written")


def _measures(limit: int) -> list[str]:
    from embplug.evaluation.evaluate import measure_names

    return measure_names(limit)


def _bar(text: str) -> tuple[str, float]:
    """Read a measure and the value that it must have, as in ``nDCG@10=0.65``."""
    measure, _, value = text.partition("=")
    try:
        number = float(value)
    except ValueError:
        number = math.nan
    if not math.isfinite(number):
        raise InvalidArgumentError("--fail-under", "a measure and a number, such as nDCG@10=0.65", repr(text))
    return measure, number


def _named(recipes: list[tuple[Path, Recipe]]) -> dict[str, Recipe]:
    """Name recipes by their files, or by their paths if two files have the same name."""
    stems = [path.stem for path, _ in recipes]
    ambiguous = len(set(stems)) < len(stems)
    named = {str(path) if ambiguous else path.stem: recipe for path, recipe in recipes}
    if len(named) < len(recipes):
        raise InvalidArgumentError("path", "recipe files that differ", [str(path) for path, _ in recipes])
    return named


def _tables(result: Evaluation) -> list[Table]:
    title = f"{result.data}: {result.documents} documents, {result.queries} queries, on {result.engine}"
    measures = [*result.recipes[0].figures]
    table = Table(title=title, caption="± is half of the 95 % confidence interval")
    table.add_column("recipe")
    costs = Table()
    costs.add_column("recipe")
    for column in measures:
        table.add_column(column, justify="right")
    for column in ("bytes/document", "p50 ms", "p95 ms", "p99 ms"):
        costs.add_column(column, justify="right")
    for recipe in result.recipes:
        size = "-" if recipe.bytes_per_document is None else f"{recipe.bytes_per_document:,.0f}"
        table.add_row(recipe.name, *(_figure(recipe.figures[measure]) for measure in measures))
        costs.add_row(recipe.name, size, *(f"{ms:.2f}" for ms in recipe.latency_ms.values()))
    tables = [table, costs]
    if result.comparisons:
        pairs = Table(title="pairs of recipes")
        for column in ("measure", "from", "to", "difference", "p", "p (Holm)"):
            pairs.add_column(column, justify="left" if column in ("measure", "from", "to") else "right")
        for pair in result.comparisons:
            change = _figure(pair.difference, "+")
            pairs.add_row(
                pair.measure, pair.first, pair.second, change, f"{pair.p:.4f}", f"{pair.p_holm:.4f}"
            )
        tables.append(pairs)
    if result.recipes[0].filtered:
        under = Table(title="under filters: overlap with exact filtered search, and median ms")
        under.add_column("recipe")
        for shares in result.recipes[0].filtered:
            under.add_column(f"{100 * shares.share:g} % ({shares.documents})", justify="right")
        for recipe in result.recipes:
            cells = [f"{_figure(f.overlap)}  {f.latency_ms['p50']:.2f}" for f in recipe.filtered]
            under.add_row(recipe.name, *cells)
        tables.append(under)
    return tables


def _figure(figure: Figure, sign: str = "") -> str:
    return f"{figure.mean:{sign}.3f} ±{(figure.high - figure.low) / 2:.3f}"
