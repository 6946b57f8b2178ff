"""Fixed dimensional encodings: one vector per token matrix whose dot product estimates MaxSim."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import NDArray
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from qdrant_client import models
from typing_extensions import Self

from embplug.errors import (
    EmptyTokensError,
)
from embplug.multivector.balanced import BalancedBytes
from embplug.multivector.partition import (
    Cells,
    Float32,
    kmeans,
)
from embplug.multivector.token_batch import TokenBatch
from embplug.threads import single_blas_thread

Sketch = Literal["count_sketch", "dense"]

WORKSPACE_BYTES = 4 << 20
"""Bound of the largest intermediate array of a chunk; what fits in the cache is fastest."""

FINAL_DENSE_ENTRIES = 1 << 28
"""Largest dense final projection: 1 GiB of float32."""

SCALE_SAMPLE = 1000
"""Documents from which the scale of uint8 output is taken."""

# The streams of the seed: what is drawn for one purpose does not depend on the other parameters.
NORMALS, PROJECTION, FINAL, CLUSTERS = range(4)


class _Maps(NamedTuple):
    """The linear maps for tokens of one dimension."""

    cells: Cells
    projections: Float32 | None
    """(repetitions, dim, width); None is the identity."""
    side_by_side: Float32 | None
    """The same as (dim, repetitions * width)."""
    final: Any
    """(encoded, final_dim), dense or sparse; None is the identity."""


@dataclass(config=ConfigDict(extra="forbid"))
class FDE:
    """Fixed dimensional encoding of token matrices (MUVERA, arXiv 2405.19504).

    Token space is cut into ``2 ** simhash_bits`` cells, ``repetitions`` times over. In every cell a
    query has the sum of its tokens, a document the mean of its tokens, each projected to
    ``projection_dim`` dimensions; all cells of all repetitions, one after the other, are the
    encoding. Its dot product estimates ``repetitions`` times the MaxSim (Chamfer) score.

    ``FDE()`` is the published method with the semantics of its reference code (google/graph-mining).
    ``fill=False``, and more so ``partitioner="kmeans"``, find more of the true neighbours on token
    vectors that share a large common direction, as those of most contextual models do.

    Parameters
    ----------
    repetitions
        Independent partitions.
    simhash_bits
        Binary logarithm of the number of cells of a partition, for every partitioner.
    projection_dim
        Dimensions of a cell; ``None`` keeps the tokens' own.
    projection
        ``count_sketch``: one entry of +-1 for each token dimension (the reference code).
        ``dense``: all entries +-1/sqrt(projection_dim) (the paper).
    partitioner
        ``simhash``: signs of random projections. ``kmeans``: nearest of centroids learned from a
        sample, another one for each repetition. ``cross_polytope``: the random direction along which
        a token lies farthest out.
    center
        Partition by the tokens minus their mean in the sample given to :meth:`fit`.
    fill
        Give an empty cell of a document the token that is nearest to the cell: the fewest differing
        signs, or the highest score of the other partitioners; ties go to the first token.
    indexing
        Number SimHash cells by ``gray`` code (the reference code) or ``plain`` binary.
    final_dim
        Project the whole encoding to this many dimensions; ``None`` does not.
    final_projection
        As ``projection``.
    dtype
        Of the encodings, and of the engine's vectors. ``uint8`` stores one byte a dimension plus a
        few dimensions that keep the order of dot products exact: see
        :class:`~embplug.multivector.balanced.BalancedBytes`.
    seed
        The same seed gives the same bytes everywhere; another dimension, another seed or another
        stream of the seed are independent.
    """

    repetitions: int = Field(20, ge=1)
    simhash_bits: int = Field(5, ge=0, le=12)
    projection_dim: int | None = Field(16, ge=1)
    projection: Sketch = "count_sketch"
    partitioner: Literal["simhash", "kmeans", "cross_polytope"] = "simhash"
    center: bool = False
    fill: bool = True
    indexing: Literal["gray", "plain"] = "gray"
    final_dim: int | None = Field(None, ge=1)
    final_projection: Sketch = "count_sketch"
    dtype: Literal["float32", "float16", "uint8"] = "float32"
    seed: int = Field(0, ge=0)
    kind: Literal["fde"] = "fde"

    def __post_init__(self) -> None:
        if self.center and self.partitioner == "kmeans":
            raise ValueError("center: k-means cells do not move with the mean; leave center off")
        if self.partitioner == "cross_polytope" and self.simhash_bits == 0:
            raise ValueError("simhash_bits: a cross-polytope has at least two cells, so at least 1")
        self.mean_: Float32 | None = None
        self.centroids_: Float32 | None = None
        self.bytes_: BalancedBytes | None = None
        self._maps: dict[int, _Maps] = {}

    @property
    def requires_fit(self) -> bool:
        """Whether something is learned from data, so that :meth:`fit` must come first."""
        return self.center or self.partitioner == "kmeans" or self.dtype == "uint8"

    @property
    def datatype(self) -> models.Datatype:
        """Datatype of the engine's vectors; their distance is the dot product."""
        return models.Datatype(self.dtype)

    def output_dim(self, dim: int) -> int:
        """Dimension of the encodings of tokens of dimension ``dim``."""
        encoded = self.final_dim or self._cells_dim(dim)
        return encoded + (BalancedBytes.balancing_dims(encoded) if self.dtype == "uint8" else 0)

    def fit(self, tokens: TokenBatch, queries: TokenBatch | None = None) -> Self:
        """Learn what depends on the data: mean, centroids, scale. Nothing when all is drawn from the seed.

        Parameters
        ----------
        tokens
            Documents, or a sample of them.
        queries
            Not used.

        Raises
        ------
        EmptyTokensError
            There is something to learn and no token to learn from.
        """
        if not self.requires_fit:
            return self
        if len(tokens.values) == 0:
            raise EmptyTokensError("tokens", "tokens to learn from", "none")
        self._maps.clear()
        if self.center:
            self.mean_ = tokens.values.mean(axis=0, dtype=np.float64).astype(np.float32)
        with single_blas_thread():
            if self.partitioner == "kmeans":
                cells = 1 << self.simhash_bits
                self.centroids_ = np.stack(
                    [
                        kmeans(tokens.values, cells, self._generator(CLUSTERS, r))
                        for r in range(self.repetitions)
                    ]
                )
            if self.dtype == "uint8":
                step = -(-len(tokens) // SCALE_SAMPLE)
                self.bytes_ = None
                self.bytes_ = BalancedBytes.fit(self._encode(tokens[::step], None, documents=True, n_jobs=1))
        return self

    def encode_documents(self, tokens: TokenBatch, *, n_jobs: int = 1) -> NDArray[Any]:
        """Encode documents; one without tokens is the zero vector.

        Parameters
        ----------
        tokens
            float32 or float16.
        n_jobs
            Threads, each with its own chunks; -1 uses all cores.

        Returns
        -------
        array (n, output_dim) of ``dtype``

        Raises
        ------
        NotFittedError
            Something is learned from data and :meth:`fit` was not called.
        DimensionError
            The tokens have not the dimension of those given to :meth:`fit`.
        """
        return self._finish(tokens, None, documents=True, n_jobs=n_jobs)
