"""embplug for Haystack: a document store, retrievers and a ranker."""

from __future__ import annotations

from embplug.common.extras import import_extra

import_extra("haystack", "haystack_embplug")

from haystack_embplug.document_store import EmbplugDocumentStore  # noqa: E402
from haystack_embplug.embedding_retriever import EmbplugEmbeddingRetriever  # noqa: E402
from haystack_embplug.filters import to_filter  # noqa: E402
from haystack_embplug.hybrid_retriever import EmbplugHybridRetriever  # noqa: E402
from haystack_embplug.ranker import EmbplugRanker  # noqa: E402
from haystack_embplug.token_retriever import EmbplugTokenRetriever  # noqa: E402

__all__ = [
    "EmbplugDocumentStore",
    "EmbplugEmbeddingRetriever",
    "EmbplugHybridRetriever",
    "EmbplugRanker",
    "EmbplugTokenRetriever",
    "to_filter",
]
