"""Inverse document frequency of tokens, by the cell of token space that they fall in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from typing_extensions import Self, override

from embplug.errors import DimensionError, EmptyTokensError
from embplug.methods.numeric.arrays import Float32
from embplug.methods.quantizers.centroid import CentroidSearch, find_centroids, most_vectors
from embplug.methods.registry import register
from embplug.methods.roles import QueryWeights
from embplug.methods.stored import StoredArray
from embplug.methods.token_batch import TokenBatch, check_token_batch
from embplug.methods.token_checks import check_finite


@register("idf", roles=("query_weights",))
@dataclass(config=ConfigDict(extra="forbid"))
class TokenIDF(QueryWeights):
    """Weights of query tokens: the inverse document frequency of similar tokens.

    Tokens of one word and meaning lie together, so that k-means centroids stand for words. A document
    contains the centroids that are nearest to its tokens. The weight of a token is the inverse document
    frequency of its centroid, as in BM25: ``log(1 + (n - df + 0.5) / (df + 0.5))``.

    In a recipe, ``Tokens(query_weights=TokenIDF())`` learns the weights with the collection and applies them
    to every query.

    Parameters
    ----------
    cells : int, default=4096
        Number of centroids.
    seed : int, default=0
        Seed of the k-means initialisation.
        A fit on another processor may give slightly different results, because sums are rounded
        differently. Copy the fitted state instead of fitting again.
    kind : str, default="idf"
        Name of the method in a recipe; leave it as it is.

    Attributes
    ----------
    centroids_ : ndarray of shape (cells, dim), float32
        Centroids, in the precision of float16.
    idf_ : ndarray of shape (cells,), float32
        Weight of each centroid.

    References
    ----------
    .. [1] Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009.
    """

    cells: int = Field(default=4096, ge=1, le=65536)
    seed: int = Field(default=0, ge=0)
    kind: Literal["idf"] = "idf"

    def __post_init__(self) -> None:
        self.centroids_: Float32 | None = None
        self.idf_: Float32 | None = None
        self._search: CentroidSearch | None = None

    @property
    @override
    def fitted_dim(self) -> int | None:
        return None if self.centroids_ is None else int(self.centroids_.shape[1])

    @override
    def least_sample(self, dim: int) -> int:
        return self.cells

    def fit(self, documents: TokenBatch) -> Self:
        """Learn from documents, or a random sample of them.

        Parameters
        ----------
        documents : TokenBatch
            Token vectors of documents.

        Returns
        -------
        self

        Raises
        ------
        EmptyTokensError
            There is no token.
        NonFiniteError
            A token is not finite.
        """
        check_token_batch(documents, "documents")
        if len(documents.values) == 0:
            raise EmptyTokensError("documents", "tokens to learn from", "none")
        check_finite(documents.values, "documents")
        values = documents.values.astype(np.float32, copy=False)
        centroids = find_centroids(values, self.cells, np.random.default_rng(self.seed), "documents")
        self.centroids_, self._search = centroids, CentroidSearch(centroids)
        owner = np.repeat(np.arange(len(documents)), documents.lengths)
        pairs = np.unique(owner * len(centroids) + self._search(values))
        having = np.bincount(pairs % len(centroids), minlength=len(centroids))
        count = np.count_nonzero(documents.lengths)
        self.idf_ = np.log1p((count - having + 0.5) / (having + 0.5)).astype(np.float32)
        return self

    def weights(self, queries: TokenBatch) -> Float32:
        """Compute the weight of every token.

        Parameters
        ----------
        queries : TokenBatch
            Token vectors of queries.

        Returns
        -------
        ndarray of shape (sum_tokens,), float32
            All weights are positive.

        Raises
        ------
        NotFittedError
            :meth:`fit` was not called.
        DimensionError
            The tokens have another dimension than those passed to :meth:`fit`.
        NonFiniteError
            A token is not finite.
        """
        check_token_batch(queries, "queries")
        self._check_fitted()
        centroids, idf = self.centroids_, self.idf_
        assert centroids is not None and idf is not None
        if queries.dim != centroids.shape[1]:
            raise DimensionError("queries", f"dim {centroids.shape[1]}, as the documents", queries.dim)
        if len(queries.values) == 0:
            return np.zeros(0, dtype=np.float32)
        check_finite(queries.values, "queries")
        if self._search is None:
            self._search = CentroidSearch(centroids)
        weights: Float32 = idf[self._search(queries.values.astype(np.float32, copy=False))]
        return weights

    def _arrays(self, state: Mapping[str, NDArray[Any]]) -> dict[str, StoredArray]:
        return {
            "centroids": StoredArray(np.float16, (self.cells, "dim"), memory=np.float32),
            "idf": StoredArray(np.float32, (self.cells,), low=0),
        }

    def _fit_cost(self) -> str:
        return f"k-means on at most {most_vectors(self.cells):,} tokens"
