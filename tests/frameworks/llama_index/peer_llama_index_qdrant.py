"""The suite on LlamaIndex's store for Qdrant: run by ``benchmarks/llama_index_suite.py``, not as tests."""

from __future__ import annotations

import pytest
from llama_index.vector_stores.qdrant import QdrantVectorStore
from qdrant_client import AsyncQdrantClient, QdrantClient

from tests.frameworks.llama_index.llama_index_suite import VectorStoreSuite

pytestmark = pytest.mark.parametrize(
    "engine_path", ["memory", "rest", "grpc"], scope="session", indirect=True
)


class TestVectorStore(VectorStoreSuite):
    @pytest.fixture
    def store(self, engine_path: str, client: QdrantClient) -> QdrantVectorStore:
        if engine_path == "memory":
            aclient = AsyncQdrantClient(":memory:")
        else:
            aclient = AsyncQdrantClient(**client.init_options)
        index = {"field_name": "title", "field_schema": "text"}
        return QdrantVectorStore("docs", client, aclient, payload_indexes=[index])
