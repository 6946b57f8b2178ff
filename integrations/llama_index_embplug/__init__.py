"""embplug for LlamaIndex: a vector store, a retriever, a reranker and an embedding model."""

from __future__ import annotations

from embplug.common.extras import import_extra

import_extra("llama_index.core", "llama_index_embplug", extra="llama-index")

from llama_index_embplug.embeddings import EmbplugEmbedding  # noqa: E402
from llama_index_embplug.filters import to_filter  # noqa: E402
from llama_index_embplug.ingestion import EmbplugIngestionPipeline  # noqa: E402
from llama_index_embplug.reranker import EmbplugReranker  # noqa: E402
from llama_index_embplug.retriever import EmbplugRetriever  # noqa: E402
from llama_index_embplug.vectorstore import EmbplugVectorStore  # noqa: E402

__all__ = [
    "EmbplugEmbedding",
    "EmbplugIngestionPipeline",
    "EmbplugReranker",
    "EmbplugRetriever",
    "EmbplugVectorStore",
    "to_filter",
]
