"""What an engine's kind tells without a request."""

from __future__ import annotations

import asyncio
import re
from contextlib import closing
from pathlib import Path

from qdrant_client import AsyncQdrantClient, QdrantClient

from embplug.engines import AsyncEdgeClient, PointForm, traits_of

ROOT = Path(__file__).resolve().parents[2]


def test_edge_keeps_files_and_is_told_to_optimize(edge_client):
    for engine in (edge_client, AsyncEdgeClient(edge_client)):
        traits = traits_of(engine)
        assert traits.kind == "edge" and traits.point_form is PointForm.ARRAYS
        assert traits.keeps_state_in_files and traits.optimizes_on_call and traits.tells_disk_bytes
        assert traits.takes_parallel_calls and traits.indexes_payloads
        assert not (traits.is_remote or traits.uses_grpc or traits.draws_samples)


def test_the_simulation_takes_arrays_and_one_call_at_a_time(tmp_path):
    with (
        closing(QdrantClient(":memory:")) as memory,
        closing(QdrantClient(path=str(tmp_path))) as local,
    ):
        for engine in (memory, local):
            traits = traits_of(engine)
            assert traits.kind == "memory" and traits.point_form is PointForm.ARRAYS
            assert not (traits.takes_parallel_calls or traits.indexes_payloads or traits.is_remote)
            assert not (traits.keeps_state_in_files or traits.optimizes_on_call or traits.tells_disk_bytes)


def test_a_server_takes_messages_over_grpc_and_lists_over_rest():
    options = {"url": "http://localhost:1", "check_compatibility": False, "timeout": 7}
    with closing(QdrantClient(**options, prefer_grpc=True)) as grpc, closing(QdrantClient(**options)) as rest:
        assert traits_of(grpc).point_form is PointForm.MESSAGES and traits_of(grpc).uses_grpc
        assert traits_of(rest).point_form is PointForm.LISTS and not traits_of(rest).uses_grpc
        for engine in (grpc, rest):
            traits = traits_of(engine)
            assert traits.kind == "server" and traits.is_remote and traits.draws_samples
            assert traits.timeout == 7 and traits.indexes_payloads and traits.takes_parallel_calls

    async def asynchronous() -> None:
        engine = AsyncQdrantClient(**options, prefer_grpc=True)
        assert traits_of(engine) == traits_of(grpc)
        await engine.close()

    asyncio.run(asynchronous())


def test_nobody_outside_of_engines_asks_for_the_class_of_an_engine():
    asks = re.compile(r"isinstance\(.*EdgeClient|is_server\(")
    sources = [*(ROOT / "embplug").rglob("*.py"), *(ROOT / "integrations").rglob("*.py")]
    outside = [path for path in sources if ROOT / "embplug" / "engines" not in path.parents]
    assert outside and [path for path in outside if asks.search(path.read_text(encoding="utf-8"))] == []
