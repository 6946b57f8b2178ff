"""Commands that bring documents in and out: ``add``, ``get`` and ``export``."""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.table import Table

from embplug.cli.adding import add_from, has_all, same_command
from embplug.cli.pages import add_pages, are_pages
from embplug.cli.shared import (
    DOCUMENTS,
    ApiKey,
    AsJson,
    At,
    EncoderName,
    Filter,
    Name,
    app,
    open_collection,
    parse_filter,
    parse_ids,
    reporting,
    show,
)
from embplug.errors import InvalidArgumentError

if TYPE_CHECKING:
    from embplug.branches.documents import Documents
    from embplug.branches.empty import OnEmpty
    from embplug.collection.collection import Collection
    from embplug.files.documents import FileDocuments
    from embplug.files.progress import AddProgress
    from embplug.recipe import Recipe

PASSAGE = 1000
"""As in :mod:`embplug.files.texts`, which is imported on first use."""

FORMATS = ("jsonl", "csv", "tsv", "parquet", "arrow", "npy", "text")
"""As in :mod:`embplug.files.choose`."""

PAGES = "pages"
"""Format of PDFs and scans for an encoder of images."""

DPI = 150
"""As in :mod:`embplug.pages.pdf`."""


@app.command(rich_help_panel=DOCUMENTS)
def add(
    name: Name,
    files: Annotated[
        list[Path],
        typer.Argument(
            metavar="FILE...",
            help="JSON lines, CSV, TSV, Parquet, Arrow or .npy; text, Markdown or PDF; a folder of such "
            "files; a Hugging Face dataset on disk; - for JSON lines on standard input. For an encoder of "
            "images: PDFs, images and folders with them, as many as you like.",
        ),
    ],
    at: At = "./data",
    api_key: ApiKey = None,
    id_key: Annotated[
        str | None, typer.Option(help="Field of the id. Default: id or _id, or made from the text.")
    ] = None,
    text_key: Annotated[
        str | None, typer.Option(help="Field of the text. Default: that of the recipe, or text.")
    ] = None,
    vector: Annotated[
        list[str] | None,
        typer.Option(
            help="Field with vectors or token matrices, or a .npy file of them; VECTOR=FIELD for each vector "
            "of the recipe, sparse=FIELD for learned weights. Default: a field with the vector's name, "
            "vector or embedding.",
        ),
    ] = None,
    file_format: Annotated[
        str | None,
        typer.Option("--format", help=f"One of {', '.join((*FORMATS, PAGES))}. Default: by the file's name."),
    ] = None,
    passage: Annotated[
        int, typer.Option(min=0, help="Characters of a passage of text, Markdown or PDF; 0 for whole texts.")
    ] = PASSAGE,
    encoder: EncoderName = None,
    skip_empty: Annotated[
        bool, typer.Option("--skip-empty", help="Leave out documents without a text, in place of an error.")
    ] = False,
    store_empty: Annotated[
        bool, typer.Option("--store-empty", help="Store documents without a text without vectors.")
    ] = False,
    dpi: Annotated[int, typer.Option(min=1, help="Dots per inch of pages of PDF.")] = DPI,
    thumbnail: Annotated[
        int | None, typer.Option(min=1, help="Keep a small image of each page, of so many pixels.")
    ] = None,
    restart: Annotated[
        bool, typer.Option("--restart", help="Begin anew where an earlier call was interrupted.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Encode and add documents.

    The fields other than id, text and vectors are the payload. A document replaces the earlier one with its
    id. The same command goes on after an interruption.
    """
    from embplug.files.choose import open_source
    from embplug.files.documents import FileDocuments
    from embplug.files.progress import AddProgress
    from embplug.pages import page_files

    with reporting(as_json), open_collection(name, at, api_key, encoder=encoder) as collection:
        if file_format is not None and file_format not in (*FORMATS, PAGES):
            expected = f"one of {', '.join((*FORMATS, PAGES))}"
            raise InvalidArgumentError("--format", expected, repr(file_format))
        if skip_empty and store_empty:
            raise InvalidArgumentError("--store-empty", "no such option beside --skip-empty", "both")
        on_empty: OnEmpty = "skip" if skip_empty else "store" if store_empty else "raise"
        if file_format == PAGES or (not (file_format or vector) and are_pages(collection, files)):
            # Manuals have blank pages, which nobody searches for.
            blank: OnEmpty = "store" if store_empty else "skip"
            command = same_command(collection, at, encoder, files, [PAGES, dpi, thumbnail, blank])
            progress = AddProgress(command, [file for file in page_files(files) if file.is_file()])
            if restart:
                progress.rows = 0
            add_pages(
                collection,
                files,
                progress,
                dpi=dpi,
                thumbnail=thumbnail,
                on_empty=blank,
                as_json=as_json,
            )
            return
        if len(files) > 1:
            raise InvalidArgumentError("path", "one file or folder, unless its pages are images", len(files))
        file = files[0]
        recipe = collection.recipe
        vectors = _named_vectors(vector or [], recipe)
        source = open_source(
            file,
            kind=file_format,
            passage=passage,
            texts=_text_columns(recipe, text_key),
            vector_key=next((vector for vector in vectors if vector != "sparse"), None)
            or next(iter(recipe.dense), "tokens"),
        )
        documents = FileDocuments(
            source,
            recipe,
            id_key=id_key,
            text_key=text_key,
            vectors=vectors,
            on_empty=on_empty,
            has_encoder=collection.has_encoder,
            folder=file.parent,
        )
        options = [id_key, text_key, vectors, file_format, passage, on_empty]
        command = same_command(collection, at, encoder, files, options)
        progress = AddProgress(command, [*source.files, *documents.vector_files])
        if restart or not source.files:
            progress.rows = 0
        result = _add(collection, documents, progress, on_empty)
        left_out = f", {len(result['skipped'])} left out without text" if result["skipped"] else ""
        if result["without_vectors"]:
            left_out = f", {len(result['without_vectors'])} of them without text and vectors"
        resumed = f"; {result['resumed']:,} were stored before" if result["resumed"] else ""
        if source.left_out:
            left_out += f", nothing to read in {len(source.left_out)}: {', '.join(source.left_out[:3])}"
        show(
            {"collection": name, **result, "left_out": source.left_out},
            as_json,
            f"{name}: {result['added']:,} documents added{left_out}{resumed}",
        )


def _add(
    collection: Collection, documents: FileDocuments, progress: AddProgress, on_empty: OnEmpty
) -> dict[str, Any]:
    """Add documents from where an earlier call was interrupted."""
    earlier, resumed = progress.rows, 0

    def batches() -> Iterator[tuple[int, Documents]]:
        nonlocal resumed
        for start, batch in documents.batches():
            if start + len(batch.ids) <= earlier and has_all(collection, batch.ids):
                resumed += len(batch.ids)
                continue
            yield start, batch

    total = documents.source.total
    report = add_from(collection, batches(), progress, on_empty, total=total, naming=documents.naming())
    return {
        "added": report.added,
        "retries": report.retries,
        "skipped": report.skipped,
        "without_vectors": report.without_vectors,
        "resumed": resumed,
    }


def _named_vectors(options: list[str], recipe: Recipe) -> dict[str, str]:
    names = [*recipe.dense, *([] if recipe.tokens is None else ["tokens"])]
    if not names and recipe.sparse is not None and recipe.sparse.is_learned:
        names = ["sparse"]
    if len(options) == 1 and "=" not in options[0]:
        if len(names) != 1:
            expected = f"VECTOR=FIELD, with a vector of {names}" if names else "no vectors, as in the recipe"
            raise InvalidArgumentError("--vector", expected, repr(options[0]))
        return {names[0]: options[0]}
    named = {}
    for option in options:
        vector, equals, field = option.partition("=")
        if not equals:
            raise InvalidArgumentError("--vector", "VECTOR=FIELD, if there are several", repr(option))
        named[vector] = field
    return named


def _text_columns(recipe: Recipe, text_key: str | None) -> frozenset[str]:
    """Columns of CSV whose values stay texts, whatever they look like."""
    kinds = {
        field: schema if isinstance(schema, str) else schema.type
        for field, schema in recipe.payload_indexes.items()
    }
    kept = {field for field, kind in kinds.items() if str(kind) in ("keyword", "text", "uuid", "datetime")}
    return frozenset(kept | {text_key or "text", recipe.text_key})


@app.command(rich_help_panel=DOCUMENTS)
def get(
    name: Name,
    ids: Annotated[list[str], typer.Argument(help="Ids of documents. A number is an integer id.")],
    at: At = "./data",
    api_key: ApiKey = None,
    with_vectors: Annotated[
        bool, typer.Option("--with-vectors", help="Show the vectors too, as they are stored.")
    ] = False,
    as_json: AsJson = False,
) -> None:
    """Show documents by their ids. The exit code is 1 if one is missing."""
    with reporting(as_json), open_collection(name, at, api_key) as collection:
        checked = parse_ids(ids) or []
        records = collection.retrieve(checked, with_vectors=with_vectors)
        missing = [id_ for id_ in checked if id_ not in {record.id for record in records}]
        table = Table(show_header=False, box=None)
        for record in records:
            table.add_row("id", str(record.id), style="bold")
            for field, value in {**(record.payload or {}), **(record.vector or {})}.items():
                table.add_row(field, value if isinstance(value, str) else json.dumps(_jsonable(value)))
        shown = [asdict(record) for record in records]
        for record_dict in shown:
            record_dict["vector"] = _jsonable(record_dict["vector"])
        show({"documents": shown, "missing": missing}, as_json, table)
        if missing:
            if not as_json:
                typer.secho(f"{name} has no {', '.join(map(repr, missing))}", err=True, fg="red")
            raise typer.Exit(1)


def _jsonable(value: Any) -> Any:
    from pydantic_core import to_jsonable_python

    return to_jsonable_python(
        value, fallback=lambda array: array.tolist() if hasattr(array, "tolist") else str(array)
    )


@app.command(rich_help_panel=DOCUMENTS)
def export(
    name: Name,
    file: Annotated[Path, typer.Argument(help="File to write, .jsonl or .parquet; - for standard output.")],
    at: At = "./data",
    api_key: ApiKey = None,
    filter_json: Filter = None,
    with_vectors: Annotated[
        bool, typer.Option("--with-vectors", help="Write the vectors too, as they are stored.")
    ] = False,
    id_key: Annotated[str, typer.Option(help="Field of the id.")] = "id",
    as_json: AsJson = False,
) -> None:
    """Write all documents, or those that match a filter, to a file that embplug add reads."""
    from embplug.files.export import export_documents

    with reporting(as_json), open_collection(name, at, api_key) as collection:
        report = export_documents(
            collection, file, filter=parse_filter(filter_json), with_vectors=with_vectors, id_key=id_key
        )
        if str(file) == "-":
            return
        notes = "".join(f"\n{note}" for note in report.notes)
        show(
            {"collection": name, "file": str(file), **asdict(report)},
            as_json,
            f"{name}: {report.documents:,} documents written to {file}{notes}",
        )
