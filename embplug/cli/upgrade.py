"""A new embedding model for a collection that is there."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer
from rich.console import Group
from rich.table import Table
from rich.text import Text

from embplug.cli.shared import ApiKey, AsJson, At, Name, app, open_engine, reporting, show
from embplug.collection.collection import Collection
from embplug.common.jsonl import read_jsonl
from embplug.errors import InvalidArgumentError, UpgradeError
from embplug.lifecycle.upgrade import LEAST_PAIRS, UpgradeReport
from embplug.lifecycle.upgrade import reembed as run_reembed
from embplug.lifecycle.upgrade import upgrade as run_upgrade
from embplug.methods.registry import registered


@app.command()
def upgrade(
    name: Name,
    encoder: Annotated[str, typer.Option(help="The new model, named as in a recipe.")],
    at: At = "./data",
    api_key: ApiKey = None,
    adapter: Annotated[
        str, typer.Option(help="Kind of the adapter that maps queries, or best: all are measured.")
    ] = "procrustes",
    pairs: Annotated[int, typer.Option(min=LEAST_PAIRS, help="Documents to learn and measure from.")] = 2000,
    queries: Annotated[
        Path | None, typer.Option(help="Real queries to measure with, one JSON object with text a line.")
    ] = None,
    recall: Annotated[
        float, typer.Option(min=0, max=1, help="Do not begin below this recall@10 of the new model's search.")
    ] = 0.9,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Measure only, change nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Search with a new model today: measure what an adapter keeps, then take it. `reembed` does the rest."""
    with reporting(as_json):
        kinds = ["best", *registered("adapter")]
        if adapter not in kinds:
            raise InvalidArgumentError("--adapter", f"one of {kinds}", repr(adapter))
        asked = None if queries is None else [text for _, text, _ in read_jsonl(queries, None, "text")]
        if asked == []:
            raise InvalidArgumentError("--queries", "a file with at least one text", str(queries))
        with open_engine(at, api_key) as engine:
            try:
                report = run_upgrade(
                    Collection.open(name, engine),
                    encoder,
                    adapter=adapter,
                    pairs=pairs,
                    queries=asked,
                    min_recall=recall,
                    dry_run=dry_run,
                )
            except UpgradeError as error:
                if error.report is not None and not as_json:
                    show({}, as_json, _shown(error.report))
                raise
        show(report.to_dict(), as_json, _shown(report))


@app.command()
def reembed(
    name: Name,
    at: At = "./data",
    api_key: ApiKey = None,
    rate: Annotated[float | None, typer.Option(help="At most so many documents a second.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Documents in one call of the encoder.")] = 64,
    limit: Annotated[int | None, typer.Option(min=1, help="At most so many documents in this call.")] = None,
    as_json: AsJson = False,
) -> None:
    """Embed with the new model what has a vector of the old one. Break it off at will; again goes on."""
    with reporting(as_json):
        if rate is not None and not rate > 0:
            raise InvalidArgumentError("--rate", "more than 0", rate)
        with open_engine(at, api_key) as engine:
            report = run_reembed(Collection.open(name, engine), rate=rate, batch=batch, limit=limit)
        rest = "the old model is gone" if report.finished else f"{report.left} left"
        show(report.to_dict(), as_json, f"{name}: {report.embedded} documents embedded anew, {rest}")


def _shown(report: UpgradeReport) -> Group:
    done = "taken" if report.installed else "not taken"
    learned = (
        f"{report.queries} searches among {report.held_out} documents, learned from {report.pairs} others"
    )
    title = f"{report.collection}, model {report.model}: {report.chosen} {done}"
    table = Table(title=title, caption=learned)
    table.add_column("adapter")
    table.add_column(f"recall@{report.k} of the new model's search", justify="right")
    table.add_column("half embedded anew", justify="right")
    for row in report.adapters:
        mixed = "" if row.mixed is None else f"{row.mixed:.3f}"
        table.add_row(row.adapter, f"{row.recall:.3f}", mixed)
    # As a text, because the name of an extra in brackets would be taken for a style.
    return Group(table, *(Text(f"{kind} not measured: {why}") for kind, why in report.skipped.items()))
