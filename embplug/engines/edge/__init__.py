"""Qdrant Edge behind the names of ``QdrantClient``."""
