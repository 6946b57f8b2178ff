"""How telling a token is: the inverse document frequency of the cell of token space that it falls in."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from typing_extensions import Self

from embplug.errors import DimensionError, EmptyTokensError, NotFittedError, StateError
from embplug.methods.quantizers.centroid import CentroidSearch, find_centroids
from embplug.methods.token_batch import TokenBatch
from embplug.methods.token_checks import check_finite, state_array

Float32 = NDArray[np.float32]


@dataclass(config=ConfigDict(extra="forbid"))
class TokenIDF:
    """Weights of query tokens, learned from documents' tokens alone.

    Encoders give vectors, not words. Tokens of one word and one meaning lie together, so the centroids of
    a k-means stand for words, and a document has those that are nearest to one of its tokens. The
    weight of a token is the inverse document frequency of its centroid, as BM25 has it (Robertson and
    Zaragoza, 2009): ``log(1 + (n - df + 0.5) / (df + 0.5))``.

    In a recipe, ``Tokens(query_weights=TokenIDF())`` learns them with the collection and weighs every
    query. By hand, give the weights to ``Collection.search(token_weights=…)``, or to ``encode_queries`` of
    an encoding.

    Parameters
    ----------
    cells
        Centroids.
    seed
        Of the k-means.
    """

    cells: int = Field(default=4096, ge=1, le=65536)
    seed: int = Field(default=0, ge=0)
    kind: Literal["idf"] = "idf"

    def __post_init__(self) -> None:
        self.centroids_: Float32 | None = None
        self.idf_: Float32 | None = None
        self._search: CentroidSearch | None = None

    @property
    def fitted_dim(self) -> int | None:
        """Dimension of the tokens from which it has learned, if it has."""
        return None if self.centroids_ is None else int(self.centroids_.shape[1])

    def fit(self, documents: TokenBatch) -> Self:
        """Learn from documents, or a random sample of them.

        Raises
        ------
        EmptyTokensError
            There is no token.
        NonFiniteError
            A token is not finite.
        """
        if len(documents.values) == 0:
            raise EmptyTokensError("documents", "tokens to learn from", "none")
        check_finite(documents.values, "documents")
        values = documents.values.astype(np.float32, copy=False)
        centroids = find_centroids(values, self.cells, np.random.default_rng(self.seed))
        self.centroids_, self._search = centroids, CentroidSearch(centroids)
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
        NonFiniteError
            A token is not finite.
        """
        centroids, idf, search = self._fitted()
        if queries.dim != centroids.shape[1]:
            raise DimensionError("queries", f"dim {centroids.shape[1]}, as the documents", queries.dim)
        if len(queries.values) == 0:
            return np.zeros(0, dtype=np.float32)
        check_finite(queries.values, "queries")
        weights: Float32 = idf[search(queries.values.astype(np.float32, copy=False))]
        return weights

    def get_state(self) -> dict[str, NDArray[Any]]:
        """What :meth:`fit` learned, by name, to keep beside the collection; empty before."""
        if self.fitted_dim is None:
            return {}
        centroids, idf, _ = self._fitted()
        return {"centroids": centroids.astype(np.float16), "idf": idf}

    def set_state(self, state: Mapping[str, NDArray[Any]]) -> None:
        """Restore what :meth:`get_state` returned.

        Raises
        ------
        StateError
            Naming the first array that is missing, or of another shape or type.
        """
        centroids = np.asarray(state.get("centroids"))
        if centroids.ndim != 2 or centroids.dtype != np.float16:
            got = "none" if "centroids" not in state else f"{centroids.dtype} {centroids.shape}"
            raise StateError(f"state 'centroids': expected a matrix of float16, got {got}")
        self.idf_ = state_array(state, "idf", np.float32, (len(centroids),))
        self.centroids_ = centroids.astype(np.float32)
        self._search = CentroidSearch(self.centroids_)

    def _fitted(self) -> tuple[Float32, Float32, CentroidSearch]:
        if self.centroids_ is None or self.idf_ is None or self._search is None:
            raise NotFittedError("weights are learned from documents: call fit before")
        return self.centroids_, self.idf_, self._search
