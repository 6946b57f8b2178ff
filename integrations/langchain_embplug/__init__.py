"""embplug for LangChain: a vector store, a retriever, a reranker and embeddings."""

from __future__ import annotations

from embplug.common.extras import import_extra

import_extra("langchain_core", "langchain_embplug", extra="langchain")

from langchain_embplug.embeddings import EmbplugEmbeddings  # noqa: E402
from langchain_embplug.filters import to_filter  # noqa: E402
from langchain_embplug.reranker import EmbplugReranker  # noqa: E402
from langchain_embplug.retriever import EmbplugRetriever  # noqa: E402
from langchain_embplug.self_query import EmbplugTranslator  # noqa: E402
from langchain_embplug.vectorstore import EmbplugVectorStore  # noqa: E402

__all__ = [
    "EmbplugEmbeddings",
    "EmbplugReranker",
    "EmbplugRetriever",
    "EmbplugTranslator",
    "EmbplugVectorStore",
    "to_filter",
]
