"""The suite for LlamaIndex stores, whole, on every engine and with both kinds of recipe."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from llama_index_embplug import EmbplugVectorStore
from qdrant_client import QdrantClient

from embplug import Dense, Recipe
from embplug.engines import EdgeClient
from tests.frameworks.conftest import DIM, ENCODER, TOKENS_RECIPE
from tests.frameworks.llama_index.llama_index_suite import VectorStoreSuite

pytestmark = pytest.mark.asyncio(loop_scope="module")

INDEXES = {"title": "text"}
RECIPES = {
    "dense": Recipe(dense=Dense(dim=DIM), payload_indexes=INDEXES),
    "tokens": Recipe(tokens=TOKENS_RECIPE.tokens, payload_indexes=INDEXES),
}


@pytest.fixture(scope="module")
def shared_client(engine_path: str, request: pytest.FixtureRequest) -> Iterator[QdrantClient | EdgeClient]:
    """One client for all tests on an engine."""
    if engine_path == "edge":
        with EdgeClient(request.getfixturevalue("tmp_path_factory").mktemp("edge")) as edge:
            yield edge
        return
    if engine_path == "memory":
        with contextlib.closing(QdrantClient(":memory:")) as memory:
            yield memory
        return
    url, grpc_port = request.getfixturevalue("qdrant_address")
    options = {"grpc_port": grpc_port, "prefer_grpc": engine_path == "grpc", "timeout": 60}
    with contextlib.closing(QdrantClient(url, **options, check_compatibility=False)) as server:
        yield server
        for collection in server.get_collections().collections:
            server.delete_collection(collection.name)


@pytest.fixture(scope="module", params=[*RECIPES])
def shared_store(
    request: pytest.FixtureRequest, shared_client: QdrantClient | EdgeClient
) -> EmbplugVectorStore:
    """One store of each recipe."""
    recipe = RECIPES[request.param]
    encoder = ENCODER if recipe.tokens else None
    return EmbplugVectorStore(request.param, shared_client, recipe=recipe, encoder=encoder)


class TestVectorStore(VectorStoreSuite):
    @pytest.fixture
    def store(self, shared_store: EmbplugVectorStore) -> EmbplugVectorStore:
        shared_store.clear()
        return shared_store
