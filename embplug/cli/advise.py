"""The command ``advise``, which recommends a recipe for a collection."""

from __future__ import annotations

import re
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group
from rich.table import Table

from embplug.cli.shared import (
    RECIPES,
    ApiKey,
    AsJson,
    At,
    Name,
    app,
    check_output,
    naming_others,
    open_engine,
    readable_size,
    reporting,
    show,
    write_output,
)
from embplug.errors import InvalidArgumentError

if TYPE_CHECKING:
    from embplug.evaluation.advisor import Advice, TriedRecipe

FEWEST = 300
"""As in :mod:`embplug.evaluation.advisor`, which takes seconds to import."""

FAR = 0.1
"""By how much the recall of a recipe may be lower than that of the recommended one, to be shown."""

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_UNITS |= {f"{unit}i": 1024**power for power, unit in enumerate("kmgt", start=1)}


@app.command("advise", rich_help_panel=RECIPES)
def advise_command(
    name: Name,
    at: At = "./data",
    api_key: ApiKey = None,
    budget: Annotated[
        str, typer.Option(help="Largest size of the whole collection with all replicas: 2GB, 500MiB.")
    ] = "",
    bytes_per_vector: Annotated[
        float | None, typer.Option(help="Largest number of bytes of one vector.")
    ] = None,
    recall: Annotated[
        float | None, typer.Option(min=0, max=1, help="Recall to reach at the fewest bytes.")
    ] = None,
    vector: Annotated[str | None, typer.Option(help="Name of the vector, if there are several.")] = None,
    queries: Annotated[
        Path | None,
        typer.Option(
            help="Queries: a .npy file, or a text or a JSON object (text or vector) on each line of a file. "
            "Default: points of the collection."
        ),
    ] = None,
    encoder: Annotated[str, typer.Option(help="Encoder of queries that are texts.")] = "",
    k: Annotated[
        int, typer.Option("--k", min=1, help="Number of best points to which the recall refers.")
    ] = 10,
    sample: Annotated[
        int | None,
        typer.Option(
            min=FEWEST,
            help="Points in the largest sample. Default: 10000 dense vectors or 2000 token matrices.",
        ),
    ] = None,
    stratify: Annotated[
        str | None, typer.Option(help="Payload field whose values keep their proportions in the sample.")
    ] = None,
    shards: Annotated[
        int | None, typer.Option(min=1, help="Shards for the costs. Default: one for each node.")
    ] = None,
    replicas: Annotated[
        int | None,
        typer.Option(min=1, help="Replicas for the costs and the budget. Default: as in the collection."),
    ] = None,
    nodes: Annotated[
        int | None, typer.Option(min=1, help="Nodes for the costs. Default: the smallest sufficient number.")
    ] = None,
    node_memory: Annotated[str, typer.Option(help="Memory of a node for data.")] = "16GB",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="File to which the recommended recipe is written.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Try recipes on a sample of a collection and recommend one of them.

    The exit code is 5 if no recipe meets the target. The closest recipe is shown then.
    """
    from embplug.evaluation.advisor import advise

    with reporting(as_json):
        check_output(output)
        with open_engine(at, api_key) as engine, naming_others(name, at, engine):
            advice = advise(
                name,
                engine=engine,
                budget=_bytes(budget, "--budget") if budget else None,
                bytes_per_vector=bytes_per_vector,
                recall=recall,
                vector=vector,
                queries=None if queries is None else _read_queries(queries),
                encoder=encoder or None,
                k=k,
                sample=sample,
                stratify=stratify,
                shards=shards,
                replicas=replicas,
                nodes=nodes,
                node_memory=_bytes(node_memory, "--node-memory"),
            )
        if output is not None:
            write_output(output, advice.to_yaml())
        show({**advice.to_dict(), "yaml": advice.to_yaml()}, as_json, Group(*_shown(advice)))
        if not as_json:
            # Not by the console, which would break a long command into lines.
            typer.echo(_next_command(advice, at, output))
    if not advice.met:
        raise typer.Exit(5)


def _bytes(text: str, argument: str) -> float:
    """Read a number of bytes such as ``2GB``, ``500 MiB`` or a plain number."""
    match = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*(?:([kmgt]i?)?b?)\s*", text.lower())
    if match is None:
        raise InvalidArgumentError(argument, "bytes, such as 2GB or 500MiB", repr(text))
    return float(match[1]) * _UNITS[match[2] or ""]


def _read_queries(file: Path) -> Any:
    """Read vectors from a .npy file, or a text or a vector from each line."""
    from embplug.common.files import read_array, read_lines
    from embplug.common.json_types import parse_json

    if file.suffix == ".npy":
        return read_array(file)
    read = []
    for place, line in read_lines(file, "a readable file of queries"):
        text = line.strip()
        read.append(parse_json(text, place) if text.startswith("{") else {"text": text})
    for key in ("vector", "text"):
        if read and all(isinstance(query, dict) and key in query for query in read):
            return [query[key] for query in read]
    raise InvalidArgumentError("path", "a text or a vector on every line", str(file))


def _shown(advice: Advice) -> list[Any]:
    from rich.syntax import Syntax

    where = f"{advice.collection}{f' / {advice.vector}' if advice.vector else ''}: {advice.points:,} points"
    queries = "held-out points as queries" if advice.held_out else f"{advice.queries} queries"
    rows = _worth_showing(advice)
    hidden = len(advice.tried) + len(advice.dropped) - len(rows)
    left_out = f" {hidden} tried on fewer points, or too far off, are left out." if hidden else ""
    table = Table(
        title=f"{where}, sample of {advice.sampled:,}, {queries}",
        caption="Bytes of a document and recall are of the whole collection. "
        f"* No other recipe is at least as good in bytes, recall and latency.{left_out}",
    )
    table.add_column("recipe")
    for column in ("", "memory", "disk", f"recall@{advice.k}", "p50 ms"):
        table.add_column(column, justify="right", no_wrap=True)
    for trial in rows:
        half = (trial.recall.high - trial.recall.low) / 2
        table.add_row(
            trial.name,
            "*" if trial.front else "",
            f"{trial.memory_bytes:,.0f}",
            f"{trial.disk_bytes:,.0f}",
            f"{trial.expected_recall:.3f} ±{half:.3f}",
            f"{trial.latency_ms['p50']:.2f}",
            style="bold" if trial.name == advice.recommended else None,
        )
    costs = Table(title=f"{advice.recommended}: the whole collection")
    for column in ("points", "memory", "disk", "nodes", "shards", "replicas", "a node"):
        costs.add_column(column, justify="right")
    for cost in advice.costs:
        costs.add_row(
            f"{cost.points:,}",
            readable_size(cost.memory),
            readable_size(cost.disk),
            str(cost.nodes),
            str(cost.shards),
            str(cost.replicas),
            f"{readable_size(cost.memory_per_node)} + {readable_size(cost.disk_per_node)}",
        )
    verdict = f"Recommended, for {advice.target}: {advice.recommended}"
    if not advice.met:
        sure = "" if advice.chance is None else " with enough certainty"
        verdict = f"No recipe reaches {advice.target}{sure}. The closest is {advice.recommended}"
    if advice.chance is not None:
        verdict += f". It reaches the recall with a chance of {advice.chance:.0%}"
    for reason in dict.fromkeys(advice.untried.values()):
        names = ", ".join(name for name, other in advice.untried.items() if other == reason)
        verdict += f".\nNot tried: {names}. {reason[0].upper()}{reason[1:]}"
    if advice.diagnosis is not None:
        verdict += f".\n{advice.diagnosis.sentence}"
    yaml = Syntax(advice.to_yaml(), "yaml", background_color="default")
    return [table, costs, verdict, "", yaml]


def _worth_showing(advice: Advice) -> list[TriedRecipe]:
    """Recipes near the target, those that no other beats, and the collection as it is."""
    from embplug.evaluation.advisor.advice import AS_IT_IS

    best = max(trial.expected_recall for trial in advice.tried)
    always = (AS_IT_IS, advice.recommended)
    return [
        trial
        for trial in advice.tried
        if trial.name in always or trial.expected_recall >= min(best, advice.best.expected_recall) - FAR
    ]


def _next_command(advice: Advice, at: str, output: Path | None) -> str:
    from embplug.evaluation.advisor.advice import AS_IT_IS

    if advice.recommended == AS_IT_IS:
        return "The collection is stored like this already."
    name = advice.collection
    migrate = f"  embplug migrate {name} {name}-small --recipe {output or 'recipe.yaml'} --at {at} --dry-run"
    written = f"{output} is written." if output is not None else "Write it to a file with -o recipe.yaml."
    return f"{written} Then see what a copy by it would do, without writing anything:\n{migrate}"
