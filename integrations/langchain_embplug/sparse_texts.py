"""A sparse embedding model of langchain-qdrant as an encoder of embplug."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from scipy.sparse import csr_array

from embplug import Encoded
from embplug.branches.sparse_vectors import LARGEST_INDEX, check_sparse


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
        return _encoded(self.model.embed_documents([*texts]))

    def encode_queries(self, texts: Sequence[str]) -> Encoded:
        """Encode queries; see :class:`embplug.Encoder`."""
        return _encoded([self.model.embed_query(text) for text in texts])


def _encoded(vectors: Sequence[Any]) -> Encoded:
    batch = check_sparse(vectors, len(vectors), "sparse_embedding")
    shape = (len(batch), LARGEST_INDEX + 1)
    return Encoded(
        sparse=csr_array((batch.values, batch.indices.astype(np.int64), batch.offsets), shape=shape)
    )
