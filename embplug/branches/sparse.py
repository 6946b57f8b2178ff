"""The sparse branch: search by a sparse vector, of BM25 or of weights that a model has learned."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qdrant_client import models

from embplug.branches.base import Branch, EncodedDocuments
from embplug.branches.bm25 import CHARACTERS_PER_NUMBER, BM25Encoder
from embplug.branches.documents import CheckedDocuments, CheckedSample
from embplug.branches.queries import CheckedQuery
from embplug.branches.sparse_vectors import SparseBatch, check_sparse
from embplug.encoders import Encoded
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
        Kind of the weights, and parameters of BM25.
    stored_as : str, default="sparse"
        Name of the sparse vector in Qdrant.
    """

    name = SPARSE_VECTOR

    def __init__(self, recipe: Sparse, stored_as: str = SPARSE_VECTOR) -> None:
        self.recipe = recipe
        self.stored_as = stored_as
        self._bm25: BM25Encoder | None = None
        if recipe.is_learned:
            self.encoder_output = "sparse"
            self.encoder_name = recipe.encoder
        else:
            self._bm25 = BM25Encoder(recipe)

    def methods(self) -> dict[str, Any]:
        """The BM25 encoder, by the key of its state; learned weights are computed elsewhere."""
        return {} if self._bm25 is None else {SPARSE_VECTOR: self._bm25}

    def places(self) -> dict[str, Any]:
        """The BM25 encoder, by its place in the recipe."""
        return self.methods()

    def fit(self, sample: CheckedSample) -> None:
        """Learn the average length of documents from the sample's texts."""
        assert self._bm25 is not None
        if sample.texts is None:
            raise InvalidArgumentError("sample.texts", "texts to learn their average length from", None)
        self._bm25.fit(sample.texts)

    def sparse_vectors_config(self) -> dict[str, models.SparseVectorParams]:
        """Qdrant's parameters of the sparse vector."""
        return {self.stored_as: self.recipe.vector_params()}

    def has_query(self, query: CheckedQuery) -> bool:
        """Whether the query has a text, or learned weights."""
        return (query.text if self._bm25 is not None else query.sparse) is not None

    def lacks_query(self) -> InvalidArgumentError:
        """The error for a query without a text or without weights."""
        if self._bm25 is None:
            return InvalidArgumentError("sparse", "a sparse vector, or a text to make it from", None)
        return InvalidArgumentError("text", f"a text, which branch {self.name!r} searches for", None)

    def has_documents(self, documents: CheckedDocuments) -> bool:
        """Whether the documents have learned weights, where the branch takes them."""
        return self._bm25 is not None or documents.sparse is not None

    def take_documents(self, documents: CheckedDocuments, encoded: Encoded, spec: str) -> CheckedDocuments:
        """Documents with the encoder's weights."""
        if self._bm25 is not None:
            return documents
        argument = f"sparse of encoder {spec!r}"
        weights = check_sparse(_weights_of(encoded, spec), len(documents), argument)
        return replace(documents, sparse=weights)

    def take_query(self, query: CheckedQuery, encoded: Encoded, row: int, spec: str) -> CheckedQuery:
        """A query with the encoder's weights."""
        if self._bm25 is not None:
            return query
        weights = _weights_of(encoded, spec)[row : row + 1]
        return replace(query, sparse=check_sparse(weights, 1, f"sparse of encoder {spec!r}"))

    def count_numbers(self, documents: CheckedDocuments) -> NDArray[np.int64] | int:
        """The numbers of each document's sparse vector; an estimate for BM25."""
        if documents.sparse is not None:
            return 2 * np.diff(documents.sparse.offsets)
        if documents.texts is None or self._bm25 is None:
            return 0
        lengths = np.array([len(text) for text in documents.texts], dtype=np.int64)
        return lengths // CHARACTERS_PER_NUMBER

    def encode(self, documents: CheckedDocuments) -> EncodedDocuments:
        """The sparse vectors of documents that have texts or weights."""
        weights: SparseBatch | None = documents.sparse
        if self._bm25 is not None and documents.texts is not None:
            weights = self._bm25.encode(documents.texts)
        return EncodedDocuments() if weights is None else EncodedDocuments({self.stored_as: weights})

    def find(self, query: CheckedQuery, options: SearchOptions, *, final: bool) -> Stage | None:
        """The stage that finds documents by the terms of the query."""
        if not self.has_query(query):
            return None
        if self._bm25 is not None:
            vector = self._bm25.encode_query(str(query.text))
        else:
            assert query.sparse is not None
            (vector,) = query.sparse.vectors()
        nearest = models.NearestQuery(nearest=vector)
        return Stage(SPARSE_VECTOR, self.stored_as, nearest, models.SearchParams(exact=options.exact or None))

    def compared(self) -> str:
        """Raise, because documents are not compared by their sparse vectors."""
        expected = "tokens or a dense vector, by which documents are compared"
        raise InvalidArgumentError("text", expected, "a text alone")

    def similarities(self, query: CheckedQuery, records: Sequence[models.Record]) -> tuple[Float32, Float32]:
        """Raise as :meth:`compared` does."""
        raise AssertionError(self.compared())


def _weights_of(encoded: Encoded, spec: str) -> Any:
    if encoded.sparse is None:
        raise InvalidArgumentError("encoder", "one that makes sparse vectors", spec)
    return encoded.sparse
