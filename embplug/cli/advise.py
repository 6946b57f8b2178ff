"""The command that recommends a recipe for a collection."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import typer
from rich.console import Group
from rich.syntax import Syntax
from rich.table import Table

from embplug.cli.shared import ApiKey, AsJson, At, Name, app, open_engine, reporting, show
from embplug.errors import InvalidArgumentError
from embplug.evaluation.advisor import FEWEST, Advice, advise

_UNITS = {"": 1, "k": 10**3, "m": 10**6, "g": 10**9, "t": 10**12}
_UNITS |= {f"{unit}i": 1024**power for power, unit in enumerate("kmgt", start=1)}


@app.command("advise")
def advise_command(
    name: Name,
    at: At = "./data",
    api_key: ApiKey = None,
    budget: Annotated[
        str, typer.Option(help="Bytes of the whole collection, all replicas: 2GB, 500MiB.")
    ] = "",
    bytes_per_vector: Annotated[float | None, typer.Option(help="Bytes of one vector.")] = None,
    recall: Annotated[
        float | None, typer.Option(min=0, max=1, help="Recall wanted, at the fewest bytes.")
    ] = None,
    vector: Annotated[str | None, typer.Option(help="Name of the vector, where there are several.")] = None,
    queries: Annotated[
        Path | None,
        typer.Option(
            help="Queries: .npy, or lines of texts or of JSON with text or vector. Default: points."
        ),
    ] = None,
    encoder: Annotated[str, typer.Option(help="Of queries that are texts.")] = "",
    k: Annotated[int, typer.Option("--k", min=1, help="Recall is that of the best k.")] = 10,
    sample: Annotated[
        int | None,
        typer.Option(
            min=FEWEST, help="Points of the largest sample. Default: 10000, of token matrices 2000."
        ),
    ] = None,
    stratify: Annotated[str | None, typer.Option(help="Payload field to sample in proportion.")] = None,
    shards: Annotated[
        int | None, typer.Option(min=1, help="For the costs. Default: as many as nodes.")
    ] = None,
    replicas: Annotated[
        int | None, typer.Option(min=1, help="For the costs and the budget. Default: the collection's.")
    ] = None,
    nodes: Annotated[
        int | None, typer.Option(min=1, help="For the costs. Default: as few as suffice.")
    ] = None,
    node_memory: Annotated[str, typer.Option(help="Memory of a node that data may take.")] = "16GB",
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Write the recommended recipe.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Try recipes on a sample of a collection: what each keeps and costs, and which to take.

    Exit code 5 when no recipe does what was asked for; the closest is shown.
    """
    with reporting(as_json):
        with open_engine(at, api_key) as engine:
            advice = advise(
                name,
                engine,
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
            try:
                output.write_text(advice.to_yaml(), encoding="utf-8")
            except OSError as error:
                raise InvalidArgumentError("path", "a file that can be written", error) from None
        show({**advice.to_dict(), "yaml": advice.to_yaml()}, as_json, Group(*_shown(advice)))
    if not advice.met:
        raise typer.Exit(5)


def _bytes(text: str, argument: str) -> float:
    """``2GB``, ``500 MiB`` or a plain number, as bytes."""
    found = re.fullmatch(r"\s*([0-9]*\.?[0-9]+)\s*(?:([kmgt]i?)?b?)\s*", text.lower())
    if found is None:
        raise InvalidArgumentError(argument, "bytes, such as 2GB or 500MiB", repr(text))
    return float(found[1]) * _UNITS[found[2] or ""]


def _read_queries(file: Path) -> Any:
    """Vectors of a .npy file, or what stands on each line."""
    try:
        if file.suffix == ".npy":
            return np.load(file, allow_pickle=False)
        lines = [line.strip() for line in file.read_text(encoding="utf-8").splitlines() if line.strip()]
    except (OSError, ValueError) as error:
        raise InvalidArgumentError("path", "a readable file of queries", error) from None
    try:
        read = [json.loads(line) if line.startswith("{") else {"text": line} for line in lines]
    except ValueError as error:
        raise InvalidArgumentError("path", "texts, or JSON objects with text or vector", error) from None
    for key in ("vector", "text"):
        if read and all(isinstance(one, dict) and key in one for one in read):
            return [one[key] for one in read]
    raise InvalidArgumentError("path", "a text or a vector on every line", str(file))


def _shown(advice: Advice) -> list[Any]:
    where = f"{advice.collection}{f' / {advice.vector}' if advice.vector else ''}: {advice.points:,} points"
    asked = "held-out points as queries" if advice.held_out else f"{advice.queries} queries"
    table = Table(
        title=f"{where}, sample of {advice.sampled:,}, {asked}",
        caption="bytes of a document, and recall, of the whole; * nothing tried is better in all three",
    )
    table.add_column("recipe")
    for column in ("", "memory", "disk", f"recall@{advice.k}", "p50 ms", "p95 ms"):
        table.add_column(column, justify="right")
    for trial in advice.tried:
        half = (trial.recall.high - trial.recall.low) / 2
        table.add_row(
            trial.name,
            "*" if trial.front else "",
            f"{trial.memory_bytes:,.0f}",
            f"{trial.disk_bytes:,.0f}",
            f"{trial.expected_recall:.3f} ±{half:.3f}",
            f"{trial.latency_ms['p50']:.2f}",
            f"{trial.latency_ms['p95']:.2f}",
            style="bold" if trial.name == advice.recommended else None,
        )
    costs = Table(title=f"{advice.recommended}: the whole collection")
    for column in ("points", "memory", "disk", "nodes", "shards", "replicas", "memory a node", "disk a node"):
        costs.add_column(column, justify="right")
    for each in advice.costs:
        costs.add_row(
            f"{each.points:,}",
            _size(each.memory),
            _size(each.disk),
            str(each.nodes),
            str(each.shards),
            str(each.replicas),
            _size(each.memory_per_node),
            _size(each.disk_per_node),
        )
    verdict = f"Recommended, for {advice.target}: {advice.recommended}"
    if not advice.met:
        verdict = f"Nothing reaches {advice.target}; closest: {advice.recommended}"
    return [table, costs, verdict, "", Syntax(advice.to_yaml(), "yaml", background_color="default")]


def _size(size: float) -> str:
    for unit, factor in (("TB", 1e12), ("GB", 1e9), ("MB", 1e6)):
        if size >= factor:
            return f"{size / factor:.3g} {unit}"
    return f"{size / 1e3:.3g} kB"
