"""The command ``explain``, which shows why documents are hits."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.console import Group
from rich.table import Table
from rich.text import Text

from embplug.cli.shared import (
    DOCUMENTS,
    ApiKey,
    AsJson,
    At,
    EncoderName,
    Filter,
    Ids,
    Name,
    app,
    open_collection,
    parse_filter,
    parse_ids,
    reporting,
    show,
    write_output,
)

if TYPE_CHECKING:
    from embplug.collection.collection import Collection
    from embplug.search.explain import Explanation, TokenOrigins

HOTTEST = (240, 120, 20)
"""Colour of the background of the part that brings most of the score."""

MATCHES = 8
"""Number of matches that are shown of each document."""


@app.command(rich_help_panel=DOCUMENTS)
def explain(
    name: Name,
    query: Annotated[str, typer.Argument(help="Text to search for.")],
    ids: Ids = None,
    at: At = "./data",
    api_key: ApiKey = None,
    limit: Annotated[int, typer.Option(help="Without ids: number of hits.")] = 3,
    filter_json: Filter = None,
    encoder: EncoderName = None,
    html: Annotated[Path | None, typer.Option(help="Write heat maps as an HTML page to this file.")] = None,
    as_json: AsJson = False,
) -> None:
    """Show which parts of the best hits, or of some documents, bring their score."""
    with reporting(as_json), open_collection(name, at, api_key, encoder=encoder) as collection:
        chosen = parse_ids(ids)
        if chosen:
            explained = [collection.explain(document, text=query) for document in chosen]
        else:
            hits = collection.search(text=query, limit=limit, filter=parse_filter(filter_json), explain=True)
            explained = [hit.explanation for hit in hits if hit.explanation is not None]
        if html is not None:
            from embplug.evaluation.report.heat import heat_html

            write_output(html, heat_html(query, explained, _thumbnails(collection, explained)))
        found = [{"id": explanation.id, **explanation.to_dict()} for explanation in explained]
        written = [] if html is None else [f"heat maps: {html}"]
        shown = [part for explanation in explained for part in explanation_parts(explanation)]
        show({"query": query, "explained": found}, as_json, Group(*(shown or ["no hit"]), *written))


def explanation_parts(explanation: Explanation) -> list[Any]:
    """What a terminal shows of an explanation: the heated text, and which token met which."""
    origins = explanation.document
    head = Text(f"{explanation.id}  {explanation.stage} {explanation.score:.4g}", style="bold")
    parts: list[Any] = [head]
    if origins.text is not None:
        parts.append(heated_text(origins.text, origins, explanation.heat.tolist()))
    elif origins.reason is not None:
        parts.append(Text(origins.reason, style="dim"))
    table = Table("query", "document", "score", "share", box=None, pad_edge=False)
    best = sorted(explanation.matches, key=lambda match: -match.share)
    for match in best[:MATCHES]:
        patches = ", ".join(f"{row}/{column}" for row, column in match.patches[:4])
        place = match.document_text or (patches and f"patch {patches}") or f"token {match.document_token}"
        query_part = match.query_text or f"token {match.query_token}"
        table.add_row(Text(query_part), Text(place), f"{match.score:.3f}", f"{match.share:.1%}")
    if len(best) > MATCHES:
        table.add_row(Text(f"{len(best) - MATCHES} more", style="dim"), "", "", "")
    return [*parts, table, ""]


def heated_text(text: str, origins: TokenOrigins, heat: Sequence[float]) -> Text:
    """A text whose parts have the warmer a background the more they bring; pruned parts are dim."""
    from embplug.search.explain import heated_parts

    parts = heated_parts(text, origins, heat)
    most = max((value or 0.0 for _, value in parts), default=0.0)
    shown = Text()
    for part, value in parts:
        if value is None:
            shown.append(part, style="dim strike")
        elif value <= 0 or most <= 0:
            shown.append(part)
        else:
            red, green, blue = (round(255 - (255 - own) * value / most) for own in HOTTEST)
            shown.append(part, style=f"black on rgb({red},{green},{blue})")
    return shown


def _thumbnails(collection: Collection, explained: Sequence[Explanation]) -> dict[Any, bytes]:
    """Images of pages that are stored in payloads."""
    pages = [explanation.id for explanation in explained if explanation.document.grid is not None]
    images = {}
    for record in collection.retrieve(pages) if pages else []:
        thumbnail = (record.payload or {}).get("thumbnail")
        # As read_pages makes it; a field of users may hold something else under this name.
        if isinstance(thumbnail, str) and thumbnail.startswith("data:image/"):
            with suppress(ValueError):
                images[record.id] = base64.b64decode(thumbnail.partition(",")[2], validate=True)
    return images
