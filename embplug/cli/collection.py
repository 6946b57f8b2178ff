"""Commands on a collection, and the command ``demo``."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group
from rich.table import Table

from embplug.cli.shared import (
    COLLECTIONS,
    DOCUMENTS,
    RECIPES,
    ApiKey,
    AsJson,
    At,
    EncoderName,
    Filter,
    Ids,
    Name,
    app,
    console,
    open_collection,
    open_engine,
    parse_filter,
    parse_formula,
    parse_ids,
    reporting,
    show,
)
from embplug.errors import InvalidArgumentError

if TYPE_CHECKING:
    from embplug.collection.collection import Collection
    from embplug.collection.grouping import HitGroup
    from embplug.collection.info import CollectionInfo
    from embplug.files.weights import Weights
    from embplug.search.types import Hit


@app.command(rich_help_panel=COLLECTIONS)
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
    from embplug.recipe.presets import check_preset

    with reporting(as_json), open_engine(at, api_key, creates=True) as engine:
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


@app.command(rich_help_panel=DOCUMENTS)
def search(
    name: Name,
    query: Annotated[
        str | None, typer.Argument(help="Text to search for. It may be left out with --sparse.")
    ] = None,
    at: At = "./data",
    api_key: ApiKey = None,
    limit: Annotated[int, typer.Option(help="Number of hits.")] = 10,
    filter_json: Filter = None,
    stages: Annotated[bool, typer.Option(help="Show the score of each stage.")] = False,
    explain: Annotated[
        bool, typer.Option("--explain", help="Show which tokens of the query met which of each hit.")
    ] = False,
    encoder: EncoderName = None,
    branch: Annotated[
        list[str] | None,
        typer.Option(
            help="Branch to search in: tokens, sparse, or the name of a dense vector. Default: all."
        ),
    ] = None,
    sparse_json: Annotated[
        str | None,
        typer.Option("--sparse", help='Learned weights of terms as JSON, such as {"12": 0.5}.'),
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
    """Search by text, or by learned weights of terms."""
    with reporting(as_json), open_collection(name, at, api_key, encoder=encoder) as collection:
        if explain and collection.recipe.tokens is None:
            raise InvalidArgumentError("--explain", "a recipe with tokens, which hits are explained by", None)
        sparse = _parsed_sparse(collection, sparse_json)
        if query is None and sparse is None:
            raise InvalidArgumentError("--sparse", "weights of terms, or a text to search for", "neither")
        if query is not None:
            _check_encoder(collection, branch, name, has_weights=sparse is not None)
        options: dict[str, Any] = {
            "text": query,
            "sparse": sparse,
            "limit": limit,
            "filter": parse_filter(filter_json),
            "with_stages": stages,
            "branches": branch or None,
            "formula": parse_formula(formula_json),
            "explain": explain,
        }
        if group_by is not None:
            groups = collection.search_groups(group_by, group_size=group_size, **options)
            result = {"groups": [_group_dict(group) for group in groups]}
            hits = [hit for group in groups for hit in group.hits]
            table = groups_table(groups, collection.recipe.text_key)
        else:
            hits = collection.search(**options)
            result = {"hits": [_hit_dict(hit) for hit in hits]}
            table = hits_table(hits, collection.recipe.text_key)
        show(result, as_json, Group(table, *_explanations(hits)))


@app.command(rich_help_panel=COLLECTIONS)
def info(name: Name, at: At = "./data", api_key: ApiKey = None, as_json: AsJson = False) -> None:
    """Describe a collection: its size, vectors and recipe."""
    with reporting(as_json), open_collection(name, at, api_key) as collection:
        described = collection.info()
        show(described.to_dict(), as_json, _info_table(described))


@app.command("list", rich_help_panel=COLLECTIONS)
def list_command(at: At = "./data", api_key: ApiKey = None, as_json: AsJson = False) -> None:
    """List the collections, those that embplug did not make as well."""
    from embplug.collection.listing import list_collections

    with reporting(as_json), open_engine(at, api_key) as engine:
        collections = list_collections(engine)
        table = Table("collection", "points", "vectors", "stored by", box=None)
        table.columns[1].justify = "right"
        for listed in collections:
            aliases = f" ({', '.join(listed.aliases)})" if listed.aliases else ""
            vectors = ", ".join(vector or "unnamed" for vector in listed.vectors)
            stored_by = "embplug" if listed.is_embplug else "others"
            if listed.error:
                stored_by = f"{'embplug, ' if listed.is_embplug else ''}unreadable: {listed.error}"
            table.add_row(f"{listed.name}{aliases}", f"{listed.points:,}", vectors, stored_by)
        shown: Any = table if collections else f"no collection at {at}"
        show({"collections": [asdict(listed) for listed in collections]}, as_json, shown)


@app.command(rich_help_panel=DOCUMENTS)
def delete(
    name: Name,
    ids: Ids = None,
    at: At = "./data",
    api_key: ApiKey = None,
    filter_json: Filter = None,
    as_json: AsJson = False,
) -> None:
    """Delete documents by ids or by a filter."""

    with reporting(as_json), open_collection(name, at, api_key) as collection:
        collection.delete(parse_ids(ids), filter=parse_filter(filter_json))
        left = collection.count()
        show({"collection": name, "points": left}, as_json, f"{name}: {left} documents remain")


@app.command(rich_help_panel=COLLECTIONS)
def drop(
    name: Name,
    at: At = "./data",
    api_key: ApiKey = None,
    yes: Annotated[bool, typer.Option("--yes", help="Delete without asking.")] = False,
    as_json: AsJson = False,
) -> None:
    """Delete a collection with all its documents."""

    with reporting(as_json), open_collection(name, at, api_key) as collection:
        if not yes:
            typer.confirm(f"Delete {name} with {collection.count()} documents?", abort=True, err=True)
        collection.drop()
        show({"collection": name, "state": "deleted"}, as_json, f"{name}: deleted")


@app.command(rich_help_panel=RECIPES)
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


def _hit_dict(hit: Hit) -> dict[str, Any]:
    explanation = None if hit.explanation is None else hit.explanation.to_dict()
    return {**asdict(replace(hit, explanation=None)), "explanation": explanation}


def _group_dict(group: HitGroup) -> dict[str, Any]:
    return {**asdict(replace(group, hits=[])), "hits": [_hit_dict(hit) for hit in group.hits]}


def _explanations(hits: Sequence[Hit]) -> Iterator[Any]:
    """What a terminal shows of the explanations of hits, below their table."""
    from embplug.cli.explain import explanation_parts

    for hit in hits:
        if hit.explanation is not None:
            yield ""
            yield from explanation_parts(hit.explanation)


def _parsed_sparse(collection: Collection, text: str | None) -> Weights | None:
    """Read the weights of a query from JSON, in the words of the command."""
    if text is None:
        return None
    from embplug.branches.documents import check_takes_sparse
    from embplug.branches.sparse_vectors import check_sparse_query
    from embplug.files.weights import parse_weights

    check_takes_sparse(collection.recipe, "--sparse")
    weights = parse_weights(text, "--sparse")
    check_sparse_query(weights, "--sparse")
    return weights


def _check_encoder(
    collection: Collection, branches: list[str] | None, name: str, *, has_weights: bool
) -> None:
    """Refuse a text that no encoder can make the vectors of, in the words of the command."""
    recipe = collection.recipe
    searched = branches or [*recipe.dense, *([] if recipe.tokens is None else ["tokens"])]
    is_unknown = any(branch not in recipe.branches for branch in searched)  # the search names it
    if is_unknown or collection.has_encoder:
        return
    if [*searched] == ["sparse"] or not searched:
        weights = recipe.sparse
        if weights is not None and weights.is_learned and weights.encoder is None and not has_weights:
            raise InvalidArgumentError("--sparse", "weights of terms, because no encoder makes them", None)
        return
    sparse = ", or --branch sparse" if recipe.sparse is not None else ""
    expected = f"the model that made the vectors of {name!r}, such as minilm{sparse}"
    raise InvalidArgumentError("--encoder", expected, "none, and the recipe names none")


def _info_table(described: CollectionInfo) -> Table:
    table = Table(show_header=False, box=None)
    table.add_column(no_wrap=True)
    table.add_column()
    table.add_row("documents", f"{described.points:,}")
    table.add_row("status", described.status)
    size = described.document_bytes
    if size is not None:
        digits = 0 if size.learned >= 10 else 1
        learned = f", {size.learned:,.{digits}f} of them learned" if size.learned else ""
        table.add_row("a document", f"{size.memory:,.0f} bytes in memory, {size.disk:,.0f} on disk{learned}")
        if size.float32:
            table.add_row("", f"{size.float32:,.0f} bytes as float32 vectors")
    if described.disk_bytes is not None:
        table.add_row("on disk", f"{described.disk_bytes:,} bytes in all")
    if described.state_bytes:
        table.add_row("learned", f"{described.state_bytes:,} bytes")
    if not described.fitted:
        table.add_row("learned", "not yet: the first documents teach it")
    for vector, parameters in described.vectors.items():
        kept = ", ".join(f"{key} {_short(value)}" for key, value in parameters.items())
        sparse = described.recipe.sparse
        table.add_row(f"vector {vector}", kept or (sparse.kind if sparse is not None else ""))
    for vector, version in described.versions.items():
        table.add_row(f"model of {vector}", json.dumps(version.model_dump(mode="json", exclude_none=True)))
    if described.diagnosis is not None:
        table.add_row("tokens", described.diagnosis.sentence)
    table.add_row("made by", f"embplug {described.created_with}; codes scored by {described.codes_scored_by}")
    table.add_row("recipe", described.recipe.to_short_yaml())
    return table


def _short(value: Any) -> str:
    return str(value) if isinstance(value, (str, int, float)) else json.dumps(value)


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
