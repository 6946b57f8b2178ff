"""embplug for LlamaIndex: a vector store, a retriever and a reranker."""

from __future__ import annotations

from llama_index_embplug.filters import to_filter
from llama_index_embplug.reranker import EmbplugReranker
from llama_index_embplug.retriever import EmbplugRetriever
from llama_index_embplug.vectorstore import EmbplugVectorStore

__all__ = ["EmbplugReranker", "EmbplugRetriever", "EmbplugVectorStore", "to_filter"]
