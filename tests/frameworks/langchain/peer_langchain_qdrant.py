"""The same suites on langchain-qdrant: run by ``benchmarks/langchain_suite.py``, not as tests."""

from __future__ import annotations

from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_core.vectorstores import VectorStoreRetriever
from langchain_qdrant import QdrantVectorStore
from langchain_tests.integration_tests import RetrieversIntegrationTests, VectorStoreIntegrationTests
from qdrant_client import QdrantClient, models

from tests.frameworks.conftest import EMBEDDINGS

pytestmark = pytest.mark.parametrize(
    "engine_path", ["memory", "rest", "grpc"], scope="session", indirect=True
)


@pytest.fixture
def store(client: QdrantClient) -> QdrantVectorStore:
    client.create_collection(
        "docs", vectors_config=models.VectorParams(size=6, distance=models.Distance.COSINE)
    )
    return QdrantVectorStore(client, "docs", EMBEDDINGS)


class TestVectorStore(VectorStoreIntegrationTests):
    @pytest.fixture(autouse=True)
    def vectorstore(self, store: QdrantVectorStore) -> QdrantVectorStore:
        return store


class TestRetriever(RetrieversIntegrationTests):
    @pytest.fixture(autouse=True)
    def _filled(self, store: QdrantVectorStore) -> None:
        self.store = store
        store.add_documents([Document(page_content=f"document number {i}") for i in range(5)])

    @property
    def retriever_constructor(self) -> type[BaseRetriever]:
        return VectorStoreRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return {"vectorstore": self.store}

    @property
    def retriever_query_example(self) -> str:
        return "document number 3"
