"""The server of the Model Context Protocol, called by the client of the official SDK, on every engine."""

from __future__ import annotations

import asyncio
import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any

import httpx
import pytest
import uvicorn
from mcp.client.client import Client
from qdrant_client import models

from embplug import Collection, Documents
from embplug.engines import Engine
from embplug.errors import InvalidArgumentError
from embplug.frameworks.mcp.served import open_served
from embplug.frameworks.mcp.server import http_application, make_server
from tests.frameworks.conftest import ENCODER, TOKENS_RECIPE

TEXTS = {"bees/1": "bees dance for flowers", "ants": "ants follow scents", "wasps": "wasps build nests"}


def fill(engine: Engine, name: str = "docs") -> Collection:
    collection = Collection.create(name, TOKENS_RECIPE, engine, encoder=ENCODER)
    payloads = [{"year": 2020 + i, "author": {"name": id_}} for i, id_ in enumerate(TEXTS)]
    collection.add_batches([Documents([*TEXTS], texts=[*TEXTS.values()], payloads=payloads)], progress=False)
    return collection


def called(
    engine: Engine, *calls: tuple[str, dict[str, Any]], names: tuple[str, ...] = ("docs",), **options: Any
) -> list[Any]:
    """Call tools in one session of the SDK's client; a result as data, or the text of its error."""
    server = make_server(open_served(engine, names, encoder=ENCODER, **options))

    async def session() -> list[Any]:
        async with Client(server) as client:
            return [await _result(client, *call) for call in calls]

    return asyncio.run(session())


async def _result(client: Client, tool: str, arguments: dict[str, Any]) -> Any:
    result = await client.call_tool(tool, arguments)
    if result.is_error:
        return result.content[0].text
    content = result.structured_content
    return content["result"] if content.keys() == {"result"} else content


def tools_of(engine: Engine, **options: Any) -> dict[str, Any]:
    server = make_server(open_served(engine, ["docs"], encoder=ENCODER, **options))

    async def session() -> dict[str, Any]:
        async with Client(server) as client:
            return {tool.name: tool for tool in (await client.list_tools()).tools}

    return asyncio.run(session())


READING = {"list_collections", "search", "get_documents", "list_documents", "count_documents", "explain"}


def test_a_client_lists_searches_reads_and_explains(engine: Engine) -> None:
    fill(engine)
    summary, hits, filtered, texts, page, count, explanation = called(
        engine,
        ("list_collections", {}),
        ("search", {"query": "wasps build", "limit": 2}),
        ("search", {"query": "wasps build", "filter": {"year": {"$lt": 2022}}}),
        ("get_documents", {"ids": ["wasps", "absent", "bees/1"]}),
        ("list_documents", {"limit": 2}),
        ("count_documents", {"filter": {"author.name": "ants"}}),
        ("explain", {"query": "wasps build", "id": "wasps"}),
    )
    assert summary == [
        {
            "name": "docs",
            "documents": 3,
            "searched_by": ["tokens"],
            "fields": {"year": "int", "author.name": "str"},
            "may_add": False,
            "may_delete": False,
        }
    ]
    assert hits[0]["id"] == "wasps" and hits[0]["text"] == TEXTS["wasps"] and len(hits) == 2
    assert hits[0]["fields"] == {"year": 2022, "author": {"name": "wasps"}} and hits[0]["stages"]
    assert {hit["id"] for hit in filtered} == {"bees/1", "ants"}
    assert [document["id"] for document in texts] == ["wasps", "bees/1"]
    assert len(page["documents"]) == 2 and page["next_offset"] is not None
    rest = called(engine, ("list_documents", {"limit": 2, "offset": page["next_offset"]}))[0]
    assert {document["id"] for document in [*page["documents"], *rest["documents"]]} == {*TEXTS}
    assert rest["next_offset"] is None and count == 1
    assert explanation["score"] > 0 and len(explanation["matches"]) == 2


def test_what_changes_documents_is_there_only_where_it_is_allowed(memory_client: Engine) -> None:
    fill(memory_client)
    assert {*tools_of(memory_client)} == READING
    assert all(tool.annotations.read_only_hint for tool in tools_of(memory_client).values())
    assert {*tools_of(memory_client, add_to=["docs"])} == {*READING, "add_documents"}
    deleting = tools_of(memory_client, delete_from=["docs"])
    assert {*deleting} == {*READING, "delete_documents"}
    assert deleting["delete_documents"].annotations.destructive_hint


def test_a_permission_is_for_one_collection(memory_client: Engine) -> None:
    fill(memory_client, "open")
    fill(memory_client, "closed")
    document = {"id": "new", "text": "termites"}
    errors = called(
        memory_client,
        ("add_documents", {"documents": [document], "collection": "closed"}),
        ("delete_documents", {"ids": ["ants"], "collection": "closed"}),
        ("count_documents", {"collection": "other"}),
        ("count_documents", {}),
        ("count_documents", {"collection": "closed"}),
        names=("open", "closed"),
        add_to=["open"],
        delete_from=["open"],
    )
    assert "['open']" in errors[0] and "['open']" in errors[1]
    assert "one of ['open', 'closed']" in errors[2] and "one of ['open', 'closed']" in errors[3]
    assert errors[4] == 3
    with pytest.raises(InvalidArgumentError, match=r"add_to\[0\]"):
        open_served(memory_client, ["open"], add_to=["closed"])


def test_a_client_adds_and_deletes(engine: Engine) -> None:
    fill(engine)
    added, hits, deleted, count = called(
        engine,
        (
            "add_documents",
            {"documents": [{"text": "termites eat wood", "fields": {"year": 2030}}, {"id": 7, "text": "x"}]},
        ),
        ("search", {"query": "termites eat wood", "limit": 1}),
        ("delete_documents", {"ids": [7, "ants", "absent"]}),
        ("count_documents", {}),
        add_to=["docs"],
        delete_from=["docs"],
    )
    assert added[1] == 7 and hits[0]["id"] == added[0] and hits[0]["fields"] == {"year": 2030}
    assert deleted == 2 and count == 3


@pytest.mark.parametrize(
    ("tool", "arguments", "message"),
    [
        ("search", {"query": "x", "filter": {"year": {"$near": 1}}}, r"filter['year']"),
        ("search", {"query": "x", "filter": {"must": [{"key": 1}]}}, r"filter['must']"),
        ("search", {"query": ""}, "query"),
        ("search", {"query": "x", "limit": 1000}, "limit"),
        ("explain", {"query": "x", "id": "absent"}, "id: expected the id of a document that exists"),
        ("add_documents", {"documents": [{"id": 1}]}, "documents[0].text"),
        ("add_documents", {"documents": [{"text": "a", "fields": {"text": "b"}}]}, "[0].fields: expected no"),
        (
            "add_documents",
            {"documents": [{"text": "a"}, {"text": " "}]},
            "documents[1].text: expected a text",
        ),
        (
            "add_documents",
            {"documents": [{"text": "a", "fields": {"_embplug_id": 1}}]},
            "documents[0].fields",
        ),
        ("add_documents", {"documents": [{"id": 1, "text": "a"}] * 2}, "documents[1].id: expected"),
    ],
)
def test_an_error_tells_the_client_what_is_wrong(
    memory_client: Engine, tool: str, arguments: dict[str, Any], message: str
) -> None:
    fill(memory_client)
    (error,) = called(memory_client, (tool, arguments), add_to=["docs"])
    assert message in error


def test_long_texts_are_shortened_and_read_whole_by_their_ids(memory_client: Engine) -> None:
    collection = Collection.create("docs", TOKENS_RECIPE, memory_client, encoder=ENCODER)
    collection.add([1], texts=["bees " * 100])
    hits, whole = called(
        memory_client,
        ("search", {"query": "bees", "max_characters": 9}),
        ("get_documents", {"ids": [1]}),
    )
    assert hits[0]["text"] == "bees bees…" and len(whole[0]["text"]) == 500


def test_a_collection_that_embplug_did_not_create_is_served(memory_client: Engine) -> None:
    memory_client.create_collection(
        "docs", vectors_config=models.VectorParams(size=2, distance=models.Distance.COSINE)
    )
    point = models.PointStruct(
        id=3, vector=[1.0, 0.0], payload={"page_content": "bees", "metadata": {"a": 1}}
    )
    memory_client.upsert("docs", [point])
    served = open_served(memory_client, ["docs"], text_key="page_content")

    async def session() -> Any:
        async with Client(make_server(served)) as client:
            return await _result(client, "get_documents", {"ids": ["3"]})

    assert asyncio.run(session()) == [{"id": 3, "text": "bees", "fields": {"metadata": {"a": 1}}}]


@pytest.fixture
def serve() -> Iterator[Callable[[Any], str]]:
    """Serves an application on a free port of this machine, and returns its URL."""
    with contextlib.ExitStack() as stack:

        def start(application: Any) -> str:
            listening = stack.enter_context(socket.socket())
            listening.bind(("127.0.0.1", 0))
            server = uvicorn.Server(uvicorn.Config(application, log_level="warning"))
            thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]})
            thread.start()
            stack.callback(thread.join)
            stack.callback(setattr, server, "should_exit", True)
            deadline = time.monotonic() + 20
            while not server.started and time.monotonic() < deadline:
                time.sleep(0.02)
            return f"http://127.0.0.1:{listening.getsockname()[1]}/mcp"

        yield start


def test_over_http_with_a_token(memory_client: Engine, serve: Callable[[Any], str]) -> None:
    fill(memory_client)
    server = make_server(open_served(memory_client, ["docs"], encoder=ENCODER))
    url = serve(http_application(server, "127.0.0.1", "sesame"))
    for headers in ({}, {"Authorization": "Bearer wrong"}):
        assert httpx.post(url, json={}, headers=headers).status_code == 401
    request = {"jsonrpc": "2.0", "id": 1, "method": "ping"}
    headers = {"Authorization": "Bearer sesame", "Accept": "application/json, text/event-stream"}
    assert httpx.post(url, content=json.dumps(request), headers=headers).status_code != 401


def test_over_http_with_the_client_of_the_sdk(memory_client: Engine, serve: Callable[[Any], str]) -> None:
    fill(memory_client)
    server = make_server(open_served(memory_client, ["docs"], encoder=ENCODER))
    url = serve(http_application(server, "127.0.0.1", None))

    async def session() -> Any:
        async with Client(url) as client:
            return await _result(client, "search", {"query": "ants follow", "limit": 1})

    assert asyncio.run(session())[0]["id"] == "ants"


@pytest.mark.parametrize("host", ["0.0.0.0", "search.example.org", "::"])
def test_an_address_that_others_reach_needs_a_token(memory_client: Engine, host: str) -> None:
    fill(memory_client)
    server = make_server(open_served(memory_client, ["docs"], encoder=ENCODER))
    with pytest.raises(InvalidArgumentError, match="--token"):
        http_application(server, host, None)
    with pytest.raises(InvalidArgumentError, match="--token"):
        http_application(server, host, "")
    assert http_application(server, host, "sesame") is not None
