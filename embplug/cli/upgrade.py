"""The commands ``upgrade`` and ``reembed``, which change the embedding model of a collection."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.console import Group
from rich.table import Table
from rich.text import Text

from embplug.cli.shared import CHANGES, ApiKey, AsJson, At, Name, app, open_collection, reporting, show
from embplug.errors import InvalidArgumentError, UpgradeError

if TYPE_CHECKING:
    from embplug.lifecycle.upgrade import UpgradeReport

LEAST_PAIRS = 50
"""As in :mod:`embplug.lifecycle.upgrade`, which takes seconds to import."""


@app.command(rich_help_panel=CHANGES)
def upgrade(
    name: Name,
    encoder: Annotated[str, typer.Option(help="New model, named as in a recipe.")],
    at: At = "./data",
    api_key: ApiKey = None,
    adapter: Annotated[
        str,
        typer.Option(help="Kind of the adapter of queries, or best to measure all and take the best."),
    ] = "procrustes",
    pairs: Annotated[int, typer.Option(min=LEAST_PAIRS, help="Documents to fit and to measure with.")] = 2000,
    queries: Annotated[
        Path | None,
        typer.Option(help="File of queries to measure with: a JSON object with text on each line."),
    ] = None,
    recall: Annotated[
        float,
        typer.Option(
            min=0, max=1, help="Smallest recall@10 against the new model with which the upgrade begins."
        ),
    ] = 0.9,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Measure, and change nothing.")] = False,
    as_json: AsJson = False,
) -> None:
    """Search with a new model through an adapter, if its measured recall is high enough.

    `embplug reembed` embeds the documents with the new model afterwards.
    """
    from embplug.lifecycle.upgrade import upgrade as run_upgrade
    from embplug.methods.registry import registered

    with reporting(as_json):
        kinds = ["best", *registered("adapter")]
        if adapter not in kinds:
            raise InvalidArgumentError("--adapter", f"one of {kinds}", repr(adapter))
        texts = None if queries is None else _read_texts(queries)
        if texts == []:
            raise InvalidArgumentError("--queries", "a file with at least one text", str(queries))
        with open_collection(name, at, api_key) as collection:
            try:
                report = run_upgrade(
                    collection,
                    encoder,
                    adapter=adapter,
                    pairs=pairs,
                    queries=texts,
                    min_recall=recall,
                    dry_run=dry_run,
                )
            except UpgradeError as error:
                if error.report is not None and not as_json:
                    show({}, as_json, _shown(error.report))
                raise
        show(report.to_dict(), as_json, _shown(report))


@app.command(rich_help_panel=CHANGES)
def reembed(
    name: Name,
    at: At = "./data",
    api_key: ApiKey = None,
    rate: Annotated[float | None, typer.Option(help="Largest number of documents a second.")] = None,
    batch: Annotated[int, typer.Option(min=1, help="Number of documents in a call of the encoder.")] = 64,
    limit: Annotated[
        int | None, typer.Option(min=1, help="Largest number of documents in this call.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Embed documents with the new model after an upgrade.

    The command can be interrupted at any time. The next call continues.
    """
    from embplug.lifecycle.reembed import reembed as run_reembed

    with reporting(as_json):
        if rate is not None and not rate > 0:
            raise InvalidArgumentError("--rate", "more than 0", rate)
        with open_collection(name, at, api_key) as collection:
            report = run_reembed(collection, rate=rate, batch=batch, limit=limit)
        rest = "no vector of the old model remains" if report.finished else f"{report.left} documents remain"
        show(report.to_dict(), as_json, f"{name}: {report.embedded} documents embedded, {rest}")


def _read_texts(file: Path) -> list[str]:
    """Read the text of a JSON object on each line."""
    from embplug.common.files import read_lines
    from embplug.common.json_types import parse_json
    from embplug.common.unicode_text import check_text

    texts = []
    for place, line in read_lines(file, "a readable file of JSON lines"):
        row = parse_json(line, place)
        text = row.get("text") if isinstance(row, dict) else None
        if not isinstance(text, str) or not text.strip():
            raise InvalidArgumentError(place, 'a JSON object with a "text"', line[:80])
        check_text(text, place)
        texts.append(text)
    return texts


def _shown(report: UpgradeReport) -> Group:
    state = "installed" if report.installed else "not installed"
    caption = f"{report.queries} searches among {report.held_out} documents, fitted to {report.pairs} others"
    title = f"{report.collection}, model {report.model}: {report.chosen} {state}"
    table = Table(title=title, caption=caption)
    table.add_column("adapter")
    table.add_column(f"recall@{report.k} against the new model", justify="right")
    table.add_column("with half of the documents embedded", justify="right")
    for row in report.adapters:
        mixed = "" if row.mixed is None else f"{row.mixed:.3f}"
        table.add_row(row.adapter, f"{row.recall:.3f}", mixed)
    # Text is used because rich takes the name of an extra in brackets for a style.
    return Group(table, *(Text(f"{kind} not measured: {why}") for kind, why in report.skipped.items()))
