"""Fixed dimensional encodings: one vector per token matrix whose dot product estimates MaxSim."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping
from functools import cache
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from typing_extensions import Self, override

from embplug.common.threads import in_threads, single_blas_thread, worker_count
from embplug.errors import EmptyTokensError, InvalidArgumentError, StateError
from embplug.methods.encodings.fde_torch import DEVICE_WORKSPACE_BYTES, TorchEncoder
from embplug.methods.numeric.arrays import State
from embplug.methods.numeric.balanced import BalancedBytes
from embplug.methods.numeric.partition import (
    NOBODY,
    Cells,
    CrossPolytopeCells,
    Float32,
    SimHashCells,
    half_squares,
    kmeans,
)
from embplug.methods.registry import register
from embplug.methods.roles import Encoding
from embplug.methods.stored import MOST_DIMS, StoredArray
from embplug.methods.token_batch import TokenBatch, check_token_batch
from embplug.methods.token_checks import checked_weights

Sketch = Literal["count_sketch", "dense"]

HNSW_EF = 400
"""Default of hnsw_ef: queries lie far from documents, where a graph search is less precise."""

WORKSPACE_BYTES = 4 << 20
"""Bytes of all intermediate arrays of a chunk. Arrays that fit in the cache are fastest."""

FINAL_DENSE_ENTRIES = 1 << 28
"""Largest dense final projection: 1 GiB of float32."""

SCALE_SAMPLE = 1000
"""Number of documents from which the scale of uint8 encodings is learned."""

# The streams of the seed: what is drawn for one purpose does not depend on the other parameters.
NORMALS, PROJECTION, FINAL, CLUSTERS = range(4)


class _Maps(NamedTuple):
    """The linear maps for tokens of one dimension."""

    cells: Cells
    projections: Any
    """(repetitions * width, dim), dense or sparse; None is the identity."""
    final: Any
    """(encoded, final_dim), dense or sparse; None is the identity."""


@register("fde", roles=("encoding",))
@dataclass(config=ConfigDict(extra="forbid"))
class FDE(Encoding):
    """Fixed dimensional encoding of token matrices (MUVERA).

    Token space is cut into ``2 ** simhash_bits`` cells, ``repetitions`` times. For each cell, a query has the
    sum of its tokens and a document the mean of its tokens, both projected to ``projection_dim`` dimensions.
    The encoding is the concatenation over all cells. Its dot product estimates ``repetitions`` times the
    MaxSim score.

    ``FDE(fill=True)`` is the published method, with the semantics of its reference code
    (google/graph-mining). On token vectors that share a large common direction, as those of most contextual
    models, more of the true neighbours are found without the fill, and more again with
    ``partitioner="kmeans"``.

    Parameters
    ----------
    repetitions : int, default=20
        Number of independent partitions.
    simhash_bits : int, default=5
        Binary logarithm of the number of cells of a partition, for every partitioner.
    projection_dim : int, default=16
        Dimension of a cell. None keeps the dimension of the tokens.
    projection : {"count_sketch", "dense"}, default="count_sketch"
        ``"count_sketch"`` has one entry of +-1 for each token dimension, as the reference code. ``"dense"``
        has entries of +-1/sqrt(projection_dim), as the paper.
    partitioner : {"simhash", "kmeans", "cross_polytope"}, default="simhash"
        ``"simhash"`` takes the signs of random projections. ``"kmeans"`` takes the nearest of centroids that
        are learned from a sample, other ones in each repetition. ``"cross_polytope"`` takes the axis of a
        random rotation, or its opposite, that is closest to the token.
    center : bool, default=False
        Whether the mean of the sample is subtracted from tokens before they are assigned to cells.
    fill : bool, default=False
        Whether an empty cell of a document gets the token that is nearest to the cell. Ties go to the first
        token.
    indexing : {"gray", "plain"}, default="gray"
        Whether SimHash cells are numbered by Gray code, as the reference code, or by plain binary numbers.
    final_dim : int, default=None
        Dimension to which the whole encoding is projected. None does not project.
    final_projection : {"count_sketch", "dense"}, default="count_sketch"
        Kind of this projection; see ``projection``.
    dtype : {"float32", "float16", "uint8"}, default="float32"
        Type of the encodings and of the vectors in Qdrant. ``"uint8"`` stores one byte for each dimension,
        and a few more dimensions that keep the order of dot products.
    seed : int, default=0
        Seed of all random choices. The same seed gives the same partitions and projections on every machine.
        A fit on another processor may give slightly different results, because sums are rounded
        differently. Copy the fitted state instead of fitting again. Between machines, a float of an encoding
        may then differ in its last bits, and a byte by 1.
    kind : str, default="fde"
        Name of the method in a recipe; leave it as it is.

    Attributes
    ----------
    dim_ : int
        Dimension of the tokens, if anything was learned.
    mean_ : ndarray of shape (dim,), float32
        Mean of the sample, if ``center``.
    centroids_ : ndarray of shape (repetitions, 2 ** simhash_bits, dim), float32
        Centroids, if ``partitioner="kmeans"``.
    bytes_ : BalancedBytes
        Scale of the encodings, if ``dtype="uint8"``.

    References
    ----------
    .. [1] Dhulipala et al., "MUVERA: Multi-Vector Retrieval via Fixed Dimensional Encodings", NeurIPS 2024,
           arXiv:2405.19504.
    """

    repetitions: int = Field(default=20, ge=1)
    simhash_bits: int = Field(default=5, ge=0, le=12)
    projection_dim: int | None = Field(default=16, ge=1)
    projection: Sketch = "count_sketch"
    partitioner: Literal["simhash", "kmeans", "cross_polytope"] = "simhash"
    center: bool = False
    fill: bool = False
    indexing: Literal["gray", "plain"] = "gray"
    final_dim: int | None = Field(default=None, ge=1)
    final_projection: Sketch = "count_sketch"
    dtype: Literal["float32", "float16", "uint8"] = "float32"
    seed: int = Field(default=0, ge=0)
    kind: Literal["fde"] = "fde"

    def __post_init__(self) -> None:
        if self.center and self.partitioner == "kmeans":
            raise ValueError("center: k-means cells do not move with the mean; leave center off")
        if self.partitioner == "cross_polytope" and self.simhash_bits == 0:
            raise ValueError("simhash_bits: a cross-polytope has at least two cells, so at least 1")
        self.dim_: int | None = None
        self.mean_: Float32 | None = None
        self.centroids_: Float32 | None = None
        self.bytes_: BalancedBytes | None = None
        self._maps: dict[int, _Maps] = {}

    @classmethod
    @override
    def trials(cls, dim: int) -> dict[str, Self]:
        return {"FDE 5120": cls(repetitions=20, simhash_bits=4, projection_dim=16, dtype="uint8")}

    @property
    @override
    def hnsw_ef(self) -> int:
        return HNSW_EF

    @property
    @override
    def fitted_dim(self) -> int | None:
        return self.dim_

    @override
    def output_dim(self, dim: int) -> int:
        encoded = self._encoded_dim(dim)
        return encoded + (BalancedBytes.balancing_dims(encoded) if self.dtype == "uint8" else 0)

    def fit(
        self, tokens: TokenBatch, queries: TokenBatch | None = None, *, device: str | None = None
    ) -> Self:
        """Learn the mean, the centroids and the scale, if the parameters need them.

        Parameters
        ----------
        tokens : TokenBatch
            Documents, or a random sample of them.
        queries : TokenBatch, default=None
            Not used.
        device : str, default=None
            Not used.

        Returns
        -------
        self

        Raises
        ------
        EmptyTokensError
            There is something to learn and no token to learn from.
        """
        check_token_batch(tokens)
        if not self._learns:
            return self
        if len(tokens.values) == 0:
            raise EmptyTokensError("tokens", "tokens to learn from", "none")
        self._maps.clear()
        self.dim_ = tokens.dim
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
                sample = self._encode(tokens[::step], None, documents=True, n_jobs=1, coded=False)
                self.bytes_ = BalancedBytes.fit(sample)
        return self

    def encode_documents(
        self, tokens: TokenBatch, *, n_jobs: int = 1, device: str | None = None
    ) -> NDArray[Any]:
        """Encode documents.

        Parameters
        ----------
        tokens : TokenBatch
            Tokens of float32 or float16.
        n_jobs : int, default=1
            Number of threads. -1 uses all cores.
        device : str, default=None
            Torch device, such as ``"cuda"``. None computes with numpy. Results differ by rounding.

        Returns
        -------
        ndarray of shape (n, output_dim), of the type ``dtype``
            The encoding of a document without tokens is zero.

        Raises
        ------
        NotFittedError
            The encoding learns from data, and :meth:`fit` was not called.
        DimensionError
            The tokens have another dimension than those passed to :meth:`fit`.
        MissingExtraError
            ``device`` is set, and torch is not installed.
        """
        check_token_batch(tokens)
        if device is None:
            return self._encode(tokens, None, documents=True, n_jobs=n_jobs)
        self._check_tokens(tokens)
        encoder = TorchEncoder(*self._maps_of(tokens.dim), fill=self.fill, device=device)
        out = np.empty((len(tokens), self.output_dim(tokens.dim)), dtype=self.dtype)
        for chunk in self._chunks(tokens, DEVICE_WORKSPACE_BYTES):
            part = tokens[chunk]
            out[chunk] = self._coded(encoder.encode_chunk(part.values, part.offsets), documents=True)
        return out

    def encode_queries(self, tokens: TokenBatch, token_weights: ArrayLike | None = None) -> NDArray[Any]:
        """Encode queries.

        Parameters
        ----------
        tokens : TokenBatch
            Tokens of float32 or float16.
        token_weights : array-like of shape (sum_tokens,), default=None
            Weight of each token in its query, such as its inverse document frequency. None weighs all alike.

        Returns
        -------
        ndarray of shape (n, output_dim), of the type ``dtype``
            The encoding of a query without tokens is zero.

        Raises
        ------
        NotFittedError
            The encoding learns from data, and :meth:`fit` was not called.
        DimensionError
            The tokens have another dimension than those passed to :meth:`fit`.
        LengthMismatchError
            There are not as many weights as tokens.
        InvalidArgumentError
            A weight is not a finite number.
        """
        check_token_batch(tokens)
        weights = None if token_weights is None else checked_weights(token_weights, len(tokens.values))
        return self._encode(tokens, weights, documents=False, n_jobs=1)

    @property
    def _learns(self) -> bool:
        return self.center or self.partitioner == "kmeans" or self.dtype == "uint8"

    def _arrays(self, state: Mapping[str, NDArray[Any]]) -> dict[str, StoredArray]:
        if not self._learns:
            return {}
        arrays = {"dim": StoredArray(np.int64, low=1, high=MOST_DIMS)}
        if self.center:
            arrays["mean"] = StoredArray(np.float32, ("dim",))
        if self.partitioner == "kmeans":
            shape = (self.repetitions, 1 << self.simhash_bits, "dim")
            arrays["centroids"] = StoredArray(np.float32, shape)
        if self.dtype == "uint8":
            arrays["scale"] = StoredArray(np.float64, low=0)
        return arrays

    def _to_arrays(self) -> State:
        arrays: State = {"dim": np.array(self.dim_, dtype=np.int64)}
        if self.mean_ is not None:
            arrays["mean"] = self.mean_
        if self.centroids_ is not None:
            arrays["centroids"] = self.centroids_
        if self.bytes_ is not None:
            arrays["scale"] = np.array(self.bytes_.scale, dtype=np.float64)
        return arrays

    def _from_arrays(self, arrays: State) -> None:
        dim = int(arrays["dim"])
        for name in {"mean", "centroids"} & arrays.keys():
            if arrays[name].shape[-1] != dim:
                raise StateError(f"state {name!r}: expected {dim} columns, got shape {arrays[name].shape}")
        self.dim_, self.mean_, self.centroids_ = dim, arrays.get("mean"), arrays.get("centroids")
        if "scale" in arrays:
            self.bytes_ = BalancedBytes(self._encoded_dim(dim), float(arrays["scale"]))

    def _fit_cost(self) -> str:
        parts = []
        if self.center:
            parts.append("one mean")
        if self.partitioner == "kmeans":
            cells = 1 << self.simhash_bits
            parts.append(f"k-means of {cells} cells in each of {self.repetitions} repetitions")
        if self.dtype == "uint8":
            parts.append(f"encodings of at most {SCALE_SAMPLE:,} documents")
        return ", ".join(parts) or "none"

    def _cells_dim(self, dim: int) -> int:
        """Dimension of all cells of all repetitions."""
        return self.repetitions * (1 << self.simhash_bits) * (self.projection_dim or dim)

    def _encoded_dim(self, dim: int) -> int:
        return self.final_dim or self._cells_dim(dim)

    def _generator(self, stream: int, *key: int) -> np.random.Generator:
        return np.random.default_rng(np.random.SeedSequence(self.seed, spawn_key=(stream, *key)))

    def _maps_of(self, dim: int) -> _Maps:
        if dim not in self._maps:
            self._maps[dim] = _Maps(self._cells(dim), self._projections(dim), self._final(dim))
        return self._maps[dim]

    def _cells(self, dim: int) -> Cells:
        cells = 1 << self.simhash_bits
        if self.centroids_ is not None:
            return Cells(self.centroids_, half_squares(self.centroids_), cells)
        scores = cells // 2 if self.partitioner == "cross_polytope" else self.simhash_bits
        normals = self._generator(NORMALS, dim).standard_normal((self.repetitions, scores, dim))
        if self.partitioner == "cross_polytope":
            normals = _orthonormal(normals)
        bias = None if self.mean_ is None else (normals @ self.mean_).astype(np.float32)
        drawn = normals.astype(np.float32), bias
        if self.partitioner == "cross_polytope":
            return CrossPolytopeCells(*drawn, cells)
        return SimHashCells.draw(*drawn, gray=self.indexing == "gray")

    def _projections(self, dim: int) -> Any:
        if self.projection_dim is None:
            return None
        generator = self._generator(PROJECTION, dim)
        width = self.projection_dim
        if self.projection == "dense":
            drawn = 2 * generator.integers(0, 2, (self.repetitions, dim, width)) - 1
            side_by_side = drawn.transpose(0, 2, 1).reshape(-1, dim) / math.sqrt(width)
            return side_by_side.astype(np.float32)
        import scipy.sparse as sp

        drawn, signs = _count_sketch(generator, (self.repetitions, dim), width)
        targets = (drawn + np.arange(self.repetitions)[:, None] * width).reshape(-1)
        sources = np.tile(np.arange(dim), self.repetitions)
        return sp.csr_array((signs.reshape(-1), (targets, sources)), shape=(self.repetitions * width, dim))

    def _final(self, dim: int) -> Any:
        if self.final_dim is None:
            return None
        encoded = self._cells_dim(dim)
        generator = self._generator(FINAL, dim)
        if self.final_projection == "count_sketch":
            import scipy.sparse as sp

            columns, signs = _count_sketch(generator, (encoded,), self.final_dim)
            return sp.csr_array((signs, columns, np.arange(encoded + 1)), shape=(encoded, self.final_dim))
        if encoded * self.final_dim > FINAL_DENSE_ENTRIES:
            raise InvalidArgumentError(
                "final_projection",
                f"count_sketch, because a dense one of {encoded} x {self.final_dim} is too large",
                "dense",
            )
        scale = np.float32(1 / math.sqrt(self.final_dim))
        return (2 * generator.integers(0, 2, (encoded, self.final_dim), dtype=np.int8) - 1) * scale

    def _encode(
        self,
        tokens: TokenBatch,
        weights: Float32 | None,
        *,
        documents: bool,
        n_jobs: int,
        coded: bool = True,
    ) -> NDArray[Any]:
        """Encode chunk by chunk; float32, whatever ``dtype`` is, when not ``coded``."""
        self._check_tokens(tokens)
        workers = worker_count(n_jobs)
        maps = self._maps_of(tokens.dim)

        def encode(chunk: slice) -> NDArray[Any]:
            first, last = int(tokens.offsets[chunk.start]), int(tokens.offsets[chunk.stop])
            vectors = self._encode_chunk(
                maps,
                tokens.values[first:last],
                tokens.offsets[chunk.start : chunk.stop + 1] - first,
                None if weights is None else weights[first:last],
                documents,
            )
            return self._coded(vectors, documents) if coded else vectors

        chunks = list(self._chunks(tokens, WORKSPACE_BYTES))
        with single_blas_thread():
            if len(chunks) == 1:
                return encode(chunks[0])
            width = self.output_dim(tokens.dim) if coded else self._encoded_dim(tokens.dim)
            out = np.empty((len(tokens), width), dtype=self.dtype if coded else np.float32)

            def write(chunk: slice) -> None:
                out[chunk] = encode(chunk)

            in_threads(write, chunks, workers)
        return out

    def _chunks(self, tokens: TokenBatch, workspace_bytes: int) -> Iterator[slice]:
        """Runs of documents whose workspace is bounded; a document that exceeds the bound stands alone."""
        scores = self.simhash_bits if self.partitioner == "simhash" else 1 << self.simhash_bits
        per_token = tokens.dim + 2 * self.repetitions * (scores + 1 + (self.projection_dim or 0))
        per_document = self._cells_dim(tokens.dim) + self._encoded_dim(tokens.dim)
        count, bound = len(tokens), workspace_bytes // 4
        if count > 0 and count * per_document + len(tokens.values) * per_token <= bound:
            yield slice(0, count)
            return
        cost = np.arange(count + 1) * per_document + tokens.offsets * per_token
        start = 0
        while start < count:
            stop = int(np.searchsorted(cost, cost[start] + bound, side="right")) - 1
            stop = max(stop, start + 1)
            yield slice(start, stop)
            start = stop

    def _encode_chunk(
        self,
        maps: _Maps,
        values: Float32,
        offsets: NDArray[np.int64],
        weights: Float32 | None,
        documents: bool,
    ) -> Float32:
        """Encodings (n, encoded) of token matrices that stand one below the other."""
        count, repetitions, cells = len(offsets) - 1, self.repetitions, 1 << self.simhash_bits
        rows = count * repetitions * cells
        columns = np.array(values.T, dtype=np.float32, order="C")
        scores = maps.cells.scores(columns.T)
        places = np.add(
            maps.cells.assign(scores).T, np.arange(repetitions) * cells, dtype=np.int32, order="C"
        )
        if count > 1:
            owner = np.repeat(np.arange(count, dtype=np.int32), np.diff(offsets))
            places += owner[:, None] * (repetitions * cells)
        if maps.projections is None:
            projected = columns.T.reshape(-1, 1, len(columns))
        else:
            width = maps.projections.shape[0] // repetitions
            projected = (maps.projections @ columns).T.reshape(-1, repetitions, width)
        shares = np.ones(places.shape, np.float32) if weights is None else np.repeat(weights, repetitions)
        if documents:
            sizes = np.bincount(places.reshape(-1), minlength=rows)
            shares = (1 / np.maximum(sizes, 1, dtype=np.float32)).take(places)
        encoded = _sums(places, shares, projected, rows)
        if documents and self.fill:
            empty = np.flatnonzero(sizes == 0)
            nearest = maps.cells.nearest(empty, scores, places.reshape(-1), offsets)
            empty, nearest = empty[nearest != NOBODY], nearest[nearest != NOBODY]
            # Where tokens are not projected, all repetitions share the one that they have.
            encoded[empty] = projected[nearest, empty // cells % projected.shape[1]]
        encoded = encoded.reshape(count, -1)
        return encoded if maps.final is None else encoded @ maps.final

    def _coded(self, vectors: Float32, documents: bool) -> NDArray[Any]:
        """Vectors as ``dtype``."""
        if self.bytes_ is not None:
            return self.bytes_.documents(vectors) if documents else self.bytes_.queries(vectors)
        if self.dtype == "float32":
            return vectors
        try:
            with np.errstate(over="raise"):
                return vectors.astype(self.dtype)
        except FloatingPointError:
            got = np.abs(vectors).max()
            raise InvalidArgumentError("tokens", f"encodings in the range of {self.dtype}", got) from None


def _sums(places: NDArray[np.int32], shares: Float32, values: Float32, rows: int) -> Float32:
    """Row i of the result (rows, width): the sum of ``shares * values`` over the places that are i.

    ``places`` and ``shares`` are (tokens, repetitions), ``values`` is (tokens, repetitions or 1, width).
    """
    tokens, columns, width = values.shape
    # A sparse matrix whose columns have equally many entries, so that nothing is to be sorted.
    starts = np.arange(0, places.size + 1, places.shape[1] // columns, dtype=np.int32)
    matrix = starts, places.reshape(-1), shares.reshape(-1)
    sums: Float32
    csc_matvecs = _csc_matvecs()
    if csc_matvecs is None:
        import scipy.sparse as sp

        sums = sp.csc_array(matrix[::-1], shape=(rows, tokens * columns)) @ values.reshape(-1, width)
    else:
        sums = np.zeros((rows, width), dtype=np.float32)
        csc_matvecs(rows, tokens * columns, width, *matrix, values.reshape(-1), sums.reshape(-1))
    return sums


@cache
def _csc_matvecs() -> Any:
    """What csc_array @ dense calls; to construct and check the array takes longer than a whole query."""
    try:
        from scipy.sparse._sparsetools import csc_matvecs
    except ImportError:
        return None
    return csc_matvecs


def _count_sketch(
    generator: np.random.Generator, shape: tuple[int, ...], width: int
) -> tuple[NDArray[np.int64], Float32]:
    """For each input dimension, the output dimension that it adds to, and its sign."""
    drawn = generator.integers(0, 2 * width, shape)
    return drawn % width, np.where(drawn < width, np.float32(1), np.float32(-1))


def _orthonormal(normals: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rows (repetitions, n, dim) of unit length, every ``dim`` of them at right angles to one another."""
    parts = [normals[:, i : i + normals.shape[2]] for i in range(0, normals.shape[1], normals.shape[2])]
    turned = [np.linalg.qr(part.transpose(0, 2, 1))[0].transpose(0, 2, 1) for part in parts]
    return np.concatenate(turned, axis=1)
