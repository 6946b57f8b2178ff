"""How telling a token is: the inverse document frequency of the cell of token space that it falls in."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from typing_extensions import Self

from embplug.errors import DimensionError, EmptyTokensError, NotFittedError
from embplug.multivector.token_batch import TokenBatch
from embplug.quantizers.centroid import CentroidSearch, find_centroids

Float32 = NDArray[np.float32]


@dataclass(config=ConfigDict(extra="forbid"))
class TokenIDF:
    """Weights of query tokens, learned from documents' tokens alone.

    Encoders give vectors, not words. Tokens of one word and one meaning lie together, so the centroids of
    a k-means stand for words, and a document has those that are nearest to one of its tokens. The
    weight of a token is the inverse document frequency of its centroid, as BM25 has it (Robertson and
    Zaragoza, 2009): ``log(1 + (n - df + 0.5) / (df + 0.5))``.

    Give the weights to ``Collection.search(token_weights=…)``, or to ``encode_queries`` of an encoding.

    Parameters
    ----------
    cells
        Centroids.
    seed
        Of the k-means.
    """

    cells: int = Field(default=4096, ge=1, le=65536)
    seed: int = Field(default=0, ge=0)

    def __post_init__(self) -> None:
        self.idf_: Float32 | None = None
        self._search: CentroidSearch | None = None
        self._dim = 0

    def fit(self, documents: TokenBatch) -> Self:
        """Learn from documents, or a random sample of them.

        Raises
        ------
        EmptyTokensError
            There is no token.
        """
        if len(documents.values) == 0:
            raise EmptyTokensError("documents", "tokens to learn from", "none")
        values = documents.values.astype(np.float32, copy=False)
        centroids = find_centroids(values, self.cells, np.random.default_rng(self.seed))
        self._search, self._dim = CentroidSearch(centroids), documents.dim
        owner = np.repeat(np.arange(len(documents)), documents.lengths)
        pairs = np.unique(owner * len(centroids) + self._search(values))
        having = np.bincount(pairs % len(centroids), minlength=len(centroids))
        count = np.count_nonzero(documents.lengths)
        self.idf_ = np.log1p((count - having + 0.5) / (having + 0.5)).astype(np.float32)
        return self

    def weights(self, queries: TokenBatch) -> Float32:
        """Weight of every token.

        Returns
        -------
        float32 (sum_tokens,)
            All positive.

        Raises
        ------
        NotFittedError
            :meth:`fit` was not called.
        DimensionError
            The tokens have not the dimension of the documents.
        """
        if self.idf_ is None or self._search is None:
            raise NotFittedError("weights are learned from documents: call fit before")
        if queries.dim != self._dim:
            raise DimensionError("queries", f"dim {self._dim}, as the documents", queries.dim)
        if len(queries.values) == 0:
            return np.zeros(0, dtype=np.float32)
        cells = self._search(queries.values.astype(np.float32, copy=False))
        weights: Float32 = self.idf_[cells]
        return weights
