"""A sparse embedding model of langchain-qdrant as an encoder of embplug."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from embplug import Encoded
from embplug.frameworks.sparse_texts import encoded_weights


class SparseTexts:
    """Encoder of sparse vectors alone.

    Parameters
    ----------
    model : langchain_qdrant.SparseEmbeddings
        Object with ``embed_documents`` and ``embed_query``, which return vectors with ``indices`` and
        ``values``.
    """

    spec = "langchain-sparse"

    def __init__(self, model: Any) -> None:
        self.model = model

    def encode_documents(self, texts: Sequence[str]) -> Encoded:
        """Encode documents; see :class:`embplug.Encoder`."""
        return encoded_weights(self.model.embed_documents([*texts]), len(texts), "sparse_embedding")

    def encode_queries(self, texts: Sequence[str]) -> Encoded:
        """Encode queries; see :class:`embplug.Encoder`."""
        vectors = [self.model.embed_query(text) for text in texts]
        return encoded_weights(vectors, len(texts), "sparse_embedding")
