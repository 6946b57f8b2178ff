"""Commands that change payloads and their indexes."""

from __future__ import annotations

from typing import Annotated, Any

import typer

from embplug.cli.shared import (
    DOCUMENTS,
    ApiKey,
    AsJson,
    At,
    Filter,
    Ids,
    Name,
    app,
    open_collection,
    parse_filter,
    parse_ids,
    reporting,
    show,
)
from embplug.errors import InvalidArgumentError


@app.command(rich_help_panel=DOCUMENTS)
def set_payload(
    name: Name,
    payload: Annotated[str, typer.Argument(help="Fields as a JSON object, such as '{\"year\": 2024}'.")],
    ids: Ids = None,
    at: At = "./data",
    api_key: ApiKey = None,
    filter_json: Filter = None,
    key: Annotated[
        str | None, typer.Option(help="Path of the object whose fields are set. Default: the payload.")
    ] = None,
    overwrite: Annotated[bool, typer.Option("--overwrite", help="Remove all other fields.")] = False,
    as_json: AsJson = False,
) -> None:
    """Set fields of the payload of documents, by ids or by a filter, without embedding them again."""
    from embplug.common.json_types import parse_json

    with reporting(as_json), open_collection(name, at, api_key) as collection:
        fields, points, condition = parse_json(payload, "PAYLOAD"), parse_ids(ids), parse_filter(filter_json)
        if overwrite and key is not None:
            raise InvalidArgumentError("--key", "no key with --overwrite", repr(key))
        if overwrite:
            collection.overwrite_payload(fields, points, filter=condition)
        else:
            collection.set_payload(fields, points, filter=condition, key=key)
        show({"collection": name, "state": "updated"}, as_json, f"{name}: updated")


@app.command(rich_help_panel=DOCUMENTS)
def delete_payload(
    name: Name,
    ids: Ids = None,
    at: At = "./data",
    api_key: ApiKey = None,
    key: Annotated[
        list[str] | None, typer.Option(help="Path of a field; may be repeated. Default: the whole payload.")
    ] = None,
    filter_json: Filter = None,
    as_json: AsJson = False,
) -> None:
    """Remove fields of the payload of documents, by ids or by a filter."""
    with reporting(as_json), open_collection(name, at, api_key) as collection:
        points, condition = parse_ids(ids), parse_filter(filter_json)
        if key:
            collection.delete_payload(key, points, filter=condition)
        else:
            collection.clear_payload(points, filter=condition)
        show({"collection": name, "state": "updated"}, as_json, f"{name}: updated")


@app.command(rich_help_panel=DOCUMENTS)
def create_payload_index(
    name: Name,
    field: Annotated[str, typer.Argument(help="Path of the payload field.")],
    schema: Annotated[
        str, typer.Argument(help="Type of the index, such as keyword, or its parameters as a JSON object.")
    ],
    at: At = "./data",
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Index a payload field, so that filters on it are fast."""
    from embplug.common.json_types import parse_json

    with reporting(as_json), open_collection(name, at, api_key) as collection:
        kind: Any = parse_json(schema, "SCHEMA") if schema.lstrip().startswith("{") else schema
        collection.create_payload_index(field, kind)
        _show_indexes(name, collection, as_json)


@app.command(rich_help_panel=DOCUMENTS)
def delete_payload_index(
    name: Name,
    field: Annotated[str, typer.Argument(help="Path of the payload field.")],
    at: At = "./data",
    api_key: ApiKey = None,
    as_json: AsJson = False,
) -> None:
    """Delete the index of a payload field; the field stays."""
    with reporting(as_json), open_collection(name, at, api_key) as collection:
        collection.delete_payload_index(field)
        _show_indexes(name, collection, as_json)


def _show_indexes(name: str, collection: Any, as_json: bool) -> None:
    indexes = collection.recipe.to_dict()["payload_indexes"]
    shown = ", ".join(f"{field} ({_kind(schema)})" for field, schema in indexes.items()) or "none"
    show({"collection": name, "payload_indexes": indexes}, as_json, f"{name}: payload indexes: {shown}")


def _kind(schema: Any) -> str:
    return str(schema["type"] if isinstance(schema, dict) else schema)
