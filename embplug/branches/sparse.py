"""The sparse branch: full-text search with BM25 over a sparse vector."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qdrant_client import models

from embplug.branches.base import Branch, EncodedDocuments
from embplug.branches.bm25 import CHARACTERS_PER_NUMBER, BM25Encoder
from embplug.branches.documents import CheckedDocuments, CheckedSample
from embplug.branches.queries import CheckedQuery
from embplug.errors import InvalidArgumentError
from embplug.methods.numeric.arrays import Float32
from embplug.recipe import Sparse
from embplug.recipe.names import SPARSE_VECTOR
from embplug.search.stages import Stage
from embplug.search.types import SearchOptions


class SparseBranch(Branch):
    """The sparse vector of a recipe.

    Parameters
    ----------
    recipe : Sparse
        Language and parameters of BM25.
    """

    name = SPARSE_VECTOR

    def __init__(self, recipe: Sparse) -> None:
        self._bm25 = BM25Encoder(recipe)

    def methods(self) -> dict[str, Any]:
        """The BM25 encoder, by the key of its state."""
        return {SPARSE_VECTOR: self._bm25}

    def places(self) -> dict[str, Any]:
        """The BM25 encoder, by its place in the recipe."""
        return {"sparse": self._bm25}

    def fit(self, sample: CheckedSample) -> None:
        """Learn the average length of documents from the sample's texts."""
        if sample.texts is None:
            raise InvalidArgumentError("sample.texts", "texts to learn their average length from", None)
        self._bm25.fit(sample.texts)

    def sparse_vectors_config(self) -> dict[str, models.SparseVectorParams]:
        """Qdrant's parameters of the sparse vector."""
        return {SPARSE_VECTOR: self._bm25.vector_params()}

    def has_query(self, query: CheckedQuery) -> bool:
        """Whether the query has a text."""
        return query.text is not None

    def lacks_query(self) -> InvalidArgumentError:
        """The error for a query without a text."""
        return InvalidArgumentError("text", f"a text, which branch {self.name!r} searches for", None)

    def count_numbers(self, documents: CheckedDocuments) -> NDArray[np.int64] | int:
        """An estimate of the numbers of each document's sparse vector."""
        if documents.texts is None:
            return 0
        lengths = np.array([len(text) for text in documents.texts], dtype=np.int64)
        return lengths // CHARACTERS_PER_NUMBER

    def encode(self, documents: CheckedDocuments) -> EncodedDocuments:
        """The sparse vectors of documents that have texts."""
        if documents.texts is None:
            return EncodedDocuments()
        return EncodedDocuments({SPARSE_VECTOR: self._bm25.encode(documents.texts)})

    def find(self, query: CheckedQuery, options: SearchOptions, *, final: bool) -> Stage | None:
        """The stage that finds documents by the terms of the query."""
        if query.text is None:
            return None
        nearest = models.NearestQuery(nearest=self._bm25.encode_query(query.text))
        return Stage(SPARSE_VECTOR, SPARSE_VECTOR, nearest, models.SearchParams(exact=options.exact or None))

    def compared(self) -> str:
        """Raise, because documents are not compared by their sparse vectors."""
        expected = "tokens or a dense vector, by which documents are compared"
        raise InvalidArgumentError("text", expected, "a text alone")

    def similarities(self, query: CheckedQuery, records: Sequence[models.Record]) -> tuple[Float32, Float32]:
        """Raise as :meth:`compared` does."""
        raise AssertionError(self.compared())
