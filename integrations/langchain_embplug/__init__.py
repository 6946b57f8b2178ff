"""embplug for LangChain: a vector store, a retriever and a reranker."""

from __future__ import annotations

from langchain_embplug.filters import to_filter
from langchain_embplug.reranker import EmbplugReranker
from langchain_embplug.retriever import EmbplugRetriever
from langchain_embplug.vectorstore import EmbplugVectorStore

__all__ = ["EmbplugReranker", "EmbplugRetriever", "EmbplugVectorStore", "to_filter"]
