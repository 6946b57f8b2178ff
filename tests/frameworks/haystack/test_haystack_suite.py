"""Haystack's own tests of document stores, all of them, on every engine."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from haystack import Document
from haystack.document_stores.errors import DuplicateDocumentError
from haystack.document_stores.types import DuplicatePolicy
from haystack.testing.document_store import (
    CountDocumentsByFilterTest,
    CountUniqueMetadataByFilterTest,
    DocumentStoreBaseExtendedTests,
    GetMetadataFieldMinMaxTest,
    GetMetadataFieldsInfoTest,
    GetMetadataFieldUniqueValuesTest,
)
from haystack.testing.document_store_async import (
    CountDocumentsAsyncTest,
    CountDocumentsByFilterAsyncTest,
    CountUniqueMetadataByFilterAsyncTest,
    DeleteAllAsyncTest,
    DeleteByFilterAsyncTest,
    DeleteDocumentsAsyncTest,
    FilterDocumentsAsyncTest,
    GetMetadataFieldMinMaxAsyncTest,
    GetMetadataFieldsInfoAsyncTest,
    GetMetadataFieldUniqueValuesAsyncTest,
    UpdateByFilterAsyncTest,
    WriteDocumentsAsyncTest,
)
from haystack_embplug import EmbplugDocumentStore

from embplug.engines import Engine
from tests.frameworks.conftest import ENCODER, TOKENS_RECIPE

# Each protocol of the server with one recipe: all four take minutes, and Haystack is the same above them.
STORES = [
    *((engine, recipe) for engine in ("edge", "memory") for recipe in ("dense", "tokens")),
    ("rest", "tokens"),
    ("grpc", "dense"),
]
pytestmark = pytest.mark.parametrize(("engine_path", "recipe_name"), STORES, indirect=True)


@pytest.fixture
def document_store(recipe_name: str, client: Engine) -> Iterator[EmbplugDocumentStore]:
    """A store of embeddings of 768 dimensions, and one of tokens."""
    if recipe_name == "dense":
        yield EmbplugDocumentStore(client=client, index="docs", progress_bar=False)
    else:
        yield EmbplugDocumentStore(client=client, index="docs", encoder=ENCODER, recipe=TOKENS_RECIPE)


def assert_documents_are_equal(received: list[Document], expected: list[Document]) -> None:
    """Stores order documents by their points, and embeddings stay compressed."""
    without = [
        Document(id=document.id, content=document.content, blob=document.blob, meta=document.meta)
        for document in expected
    ]
    assert sorted(received, key=_id) == sorted(without, key=_id)


def _id(document: Document) -> str:
    return document.id


class TestHaystackSuite(
    CountDocumentsByFilterTest,
    CountUniqueMetadataByFilterTest,
    DocumentStoreBaseExtendedTests,
    GetMetadataFieldMinMaxTest,
    GetMetadataFieldsInfoTest,
    GetMetadataFieldUniqueValuesTest,
):
    assert_documents_are_equal = staticmethod(assert_documents_are_equal)

    @pytest.fixture
    def document_store(self, document_store: EmbplugDocumentStore) -> EmbplugDocumentStore:
        return document_store

    def test_write_documents(self, document_store: EmbplugDocumentStore) -> None:
        """Without a policy, a document that exists is an error."""
        document = Document(content="test doc")
        assert document_store.write_documents([document]) == 1
        with pytest.raises(DuplicateDocumentError):
            document_store.write_documents([document])
        assert document_store.count_documents() == 1


class TestHaystackAsyncSuite(
    CountDocumentsAsyncTest,
    CountDocumentsByFilterAsyncTest,
    CountUniqueMetadataByFilterAsyncTest,
    DeleteAllAsyncTest,
    DeleteByFilterAsyncTest,
    DeleteDocumentsAsyncTest,
    FilterDocumentsAsyncTest,
    GetMetadataFieldMinMaxAsyncTest,
    GetMetadataFieldsInfoAsyncTest,
    GetMetadataFieldUniqueValuesAsyncTest,
    UpdateByFilterAsyncTest,
    WriteDocumentsAsyncTest,
):
    assert_documents_are_equal = staticmethod(assert_documents_are_equal)

    async def test_write_documents_async(self, document_store: EmbplugDocumentStore) -> None:
        """Without a policy, a document that exists is an error."""
        document = Document(content="test doc")
        assert await document_store.write_documents_async([document]) == 1
        with pytest.raises(DuplicateDocumentError):
            await document_store.write_documents_async([document], DuplicatePolicy.NONE)
        assert await document_store.count_documents_async() == 1
