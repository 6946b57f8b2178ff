"""LangChain's own suites, whole, on every engine and with both kinds of recipe."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.retrievers import BaseRetriever
from langchain_embplug import EmbplugRetriever, EmbplugVectorStore
from langchain_tests.integration_tests import RetrieversIntegrationTests, VectorStoreIntegrationTests


class TestVectorStore(VectorStoreIntegrationTests):
    @pytest.fixture(autouse=True)
    def vectorstore(self, make_store: Callable[[], EmbplugVectorStore]) -> EmbplugVectorStore:
        return make_store()


class TestRetriever(RetrieversIntegrationTests):
    @pytest.fixture(autouse=True)
    def _filled(self, make_store: Callable[[], EmbplugVectorStore]) -> None:
        self.store = make_store()
        self.store.add_documents([Document(f"document number {i}") for i in range(5)])

    @property
    def retriever_constructor(self) -> type[BaseRetriever]:
        return EmbplugRetriever

    @property
    def retriever_constructor_params(self) -> dict[str, Any]:
        return {"vectorstore": self.store}

    @property
    def retriever_query_example(self) -> str:
        return "document number 3"
