"""``embplug mcp`` as a process, called by the client of the official SDK over both transports."""

from __future__ import annotations

import asyncio
import os
import socket
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import httpx
import pytest
from mcp.client.client import Client
from mcp.client.stdio import StdioServerParameters

from embplug import Collection
from embplug.engines import EdgeClient
from tests.frameworks.pages import run_page

COMMAND = ["-m", "embplug.cli", "mcp", "docs"]


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A directory of Edge with a collection that reads texts."""
    with EdgeClient(tmp_path / "data") as client:
        collection = Collection.create("docs", "balanced", client, encoder="minilm")
        collection.add(["bees", "ants"], texts=["Bees make honey.", "Ants follow scents."])
    return tmp_path


async def found(server: Any) -> str:
    async with Client(server) as client:
        names = {tool.name for tool in (await client.list_tools()).tools}
        assert "search" in names and "delete_documents" not in names
        result = await client.call_tool("search", {"query": "Who makes honey?", "limit": 1})
        return str(result.structured_content["result"][0]["id"])


def test_over_standard_input_and_output(folder: Path) -> None:
    arguments = [*COMMAND, "--at", str(folder / "data")]
    parameters = StdioServerParameters(command=sys.executable, args=arguments, env=dict(os.environ))
    assert asyncio.run(found(parameters)) == "bees"


def test_over_http(folder: Path) -> None:
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    arguments = [*COMMAND, "--at", str(folder / "data"), "--http", "--port", str(port)]
    process = subprocess.Popen([sys.executable, *arguments])
    try:
        _wait_for(f"http://127.0.0.1:{port}", process)
        assert asyncio.run(found(f"http://127.0.0.1:{port}/mcp")) == "bees"
    finally:
        process.terminate()
        assert process.wait(timeout=30) is not None


def _wait_for(url: str, process: subprocess.Popen[bytes]) -> None:
    deadline = time.monotonic() + 60
    while time.monotonic() < deadline and process.poll() is None:
        try:
            httpx.get(url)
        except httpx.TransportError:
            time.sleep(0.1)
        else:
            return
    pytest.fail(f"the command did not listen; its exit code is {process.poll()}")


def test_others_are_kept_out_without_a_token(folder: Path) -> None:
    arguments = [*COMMAND, "--at", str(folder / "data"), "--http", "--host", "0.0.0.0"]
    done = subprocess.run(
        [sys.executable, *arguments], capture_output=True, text=True, timeout=60, check=False
    )
    assert done.returncode == 2 and "--token" in done.stderr


def test_the_page_runs() -> None:
    run_page("mcp.md")
