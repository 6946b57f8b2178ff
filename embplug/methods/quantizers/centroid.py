"""Centroid quantization: a code is the number of the nearest centroid."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from typing_extensions import Self, override

from embplug.common.extras import import_extra
from embplug.errors import InvalidArgumentError
from embplug.methods.kernels import Kernel
from embplug.methods.kernels.arguments import CodedDocuments
from embplug.methods.kernels.bases import Bases, RoundedRows, rounded_rows
from embplug.methods.kernels.lookups import TokenTerms
from embplug.methods.kernels.tables import Table, no_table
from embplug.methods.numeric.arrays import Codes, Float32, as_sample
from embplug.methods.numeric.packing import pack, unpack
from embplug.methods.numeric.partition import kmeans
from embplug.methods.quantizers.byte_tables import blocks, nearest, nearest_block
from embplug.methods.registry import register
from embplug.methods.roles import Quantizer
from embplug.methods.stored import StoredArray

FLAT = 512
"""Largest number of centroids for one k-means. More centroids are learned inside coarse clusters."""
VECTORS_PER_CENTROID = 32
LEAST_SAMPLE = 65536
HAMMING_COUNTS = tuple(1 << bits for bits in range(1, 12))
ORDER_ROUNDS = 200_000
"""Rounds of the simulated annealing that orders the centroids. More change little for 256 centroids."""
SEARCH_DIMS = 96
"""Number of principal directions in which the nearest of many centroids is searched."""


@register("centroids", roles=("token_codes",))
@dataclass(config=ConfigDict(extra="forbid"))
class CentroidQuantizer(Quantizer):
    """Quantizer that stores the number of the nearest k-means centroid, in one or two bytes.

    A query is multiplied with all centroids once, and the score of a code is one lookup.

    Parameters
    ----------
    count : int, default=256
        Number of centroids. A code has one byte up to 256 centroids, two bytes up to 65,536.
    compare : {"products", "hamming"}, default="products"
        ``"products"`` multiplies exact queries with centroids. ``"hamming"`` codes queries too, and compares
        the bits of the numbers, which are ordered so that close centroids differ in few bits. It is less
        precise, and needs faiss.
    seed : int, default=0
        Seed of the k-means initialisation and of the order.
        A fit on another processor may give slightly different results, because sums are rounded
        differently. Copy the fitted state instead of fitting again.
    kind : str, default="centroids"
        Name of the method in a recipe; leave it as it is.

    Attributes
    ----------
    centroids_ : ndarray of shape (count, dim), float32
        Centroids, in the precision of float16.
    sampled_ : int
        Number of vectors that were learned from.

    References
    ----------
    .. [1] Bach, "Hierarchical Patch Compression for ColPali: Efficient Multi-Vector Document Retrieval with
           Dynamic Pruning and Quantization" (HPC-ColPali), 2025, arXiv:2506.21601.
    .. [2] Douze, Jégou and Perronnin, "Polysemous codes", ECCV 2016, arXiv:1609.01882, for ``"hamming"``.
    """

    count: int = Field(default=256, ge=1, le=65536)
    compare: Literal["products", "hamming"] = "products"
    seed: int = Field(default=0, ge=0)
    kind: Literal["centroids"] = "centroids"

    def __post_init__(self) -> None:
        if self.compare == "hamming" and self.count not in HAMMING_COUNTS:
            raise ValueError(
                f"count: one of {HAMMING_COUNTS}, all ids of some bits, to compare them by hamming"
            )
        self.centroids_: Float32 | None = None
        self._search: CentroidSearch | None = None
        self._rows: RoundedRows | None = None
        self.sampled_ = 0

    @classmethod
    def sharing(cls, search: CentroidSearch, rows: RoundedRows, sampled: int) -> Self:
        """Return a fitted quantizer with the centroids of other codes, which are not copied.

        Parameters
        ----------
        search : CentroidSearch
            Finds the nearest of the centroids.
        rows : RoundedRows
            The centroids, as they are multiplied with queries.
        sampled : int
            Number of vectors that they were learned from.

        Returns
        -------
        CentroidQuantizer
        """
        own = cls(count=len(rows.exact))
        own.centroids_, own._search, own._rows, own.sampled_ = rows.exact, search, rows, sampled
        return own

    @classmethod
    @override
    def trials(cls, dim: int) -> dict[str, Self]:
        return {"centroids 256": cls(count=256)}

    @property
    @override
    def fitted_dim(self) -> int | None:
        return None if self.centroids_ is None else int(self.centroids_.shape[1])

    @override
    def bytes_per_vector(self, dim: int, *, unit_length: bool = False) -> float:
        return 1 if self.count <= 256 else 2

    def fit(self, X: ArrayLike, queries: ArrayLike | None = None) -> Self:
        """Learn the centroids.

        Parameters
        ----------
        X : array-like of shape (n, dim)
            Vectors of documents.
        queries : array-like of shape (m, dim), default=None
            Not used.

        Returns
        -------
        self

        Raises
        ------
        LengthMismatchError
            ``X`` is empty.
        InvalidArgumentError
            A centroid is too large for float16.
        MissingExtraError
            ``compare="hamming"``, and faiss is not installed.
        """
        sample = as_sample(X)
        self.centroids_ = find_centroids(sample, self.count, np.random.default_rng(self.seed))
        if self.compare == "hamming":
            self.centroids_ = ordered_by_bits(self.centroids_, self.seed)
        self.sampled_ = len(sample)
        self._search = None
        return self

    def _arrays(self, state: Mapping[str, NDArray[Any]]) -> dict[str, StoredArray]:
        return {
            "centroids": StoredArray(np.float16, (self.count, "dim"), memory=np.float32),
            "sampled": StoredArray(np.int64),
        }

    def _encode(self, vectors: Float32) -> Codes:
        return pack(self._searching(vectors)[:, None], [8 * self.code_bytes])

    def _decode(self, codes: Codes) -> Float32:
        return self._fitted()[self._ids(codes)]

    def _prepare(self, query: Float32) -> Float32:
        """Products (centroids, t) of the query, or of what the bits of its ids say, with every centroid."""
        centroids = self._fitted()
        if self.compare == "products":
            products: Float32 = centroids @ query.T
            return products
        differing = differing_bits(np.arange(self.count)[:, None], self._searching(query))
        return product_of_bits(centroids)[differing]

    def _score(self, parts: Float32, codes: Codes) -> Float32:
        return np.take(parts, self._ids(codes), axis=0)

    def _token_terms(self, kernel: Kernel, documents: CodedDocuments) -> TokenTerms:
        return TokenTerms(documents, self.code_bytes, first=self.code_bytes, id_bytes=self.code_bytes)

    def _lookups(self, kernel: Kernel, query: Float32) -> tuple[Table, Bases]:
        if self.compare == "hamming":
            return no_table(len(query)), self._prepare(query)
        self._rows = rounded_rows(self._fitted(), self._rows)
        return no_table(len(query)), self._rows.products(kernel, query)

    @property
    def _exact_queries(self) -> bool:
        return self.compare == "products"

    def _bits(self, dim: int, size: float) -> float:
        return float(np.log2(self.count))

    def _fit_cost(self) -> str:
        levels = "; in two levels" if self.count > FLAT else ""
        return f"k-means on at most {most_vectors(self.count):,} vectors{levels}"

    @override
    def least_sample(self, dim: int) -> int:
        return self.count

    def _notes(self) -> list[str]:
        few = self.sampled_ < self.count
        return [f"{self.sampled_} vectors to learn from: centroids coincide"] if few else []

    def _fitted(self) -> Float32:
        assert self.centroids_ is not None
        return self.centroids_

    def _searching(self, vectors: Float32) -> NDArray[np.int64]:
        if self._search is None:
            self._search = CentroidSearch(self._fitted())
        return self._search(vectors)

    def _ids(self, codes: Codes) -> NDArray[np.intp]:
        return np.asarray(unpack(codes, [8 * self.code_bytes])[:, 0], dtype=np.intp)


def ordered_by_bits(centroids: Float32, seed: int) -> Float32:
    """The same centroids, numbered so that close ones have ids that differ in few bits."""
    faiss = import_extra("faiss", "ids that compare by Hamming distance")
    count, dim = centroids.shape
    table = faiss.ProductQuantizer(dim, 1, (count - 1).bit_length())
    faiss.copy_array_to_vector(np.ascontiguousarray(centroids).ravel(), table.centroids)
    training = faiss.PolysemousTraining()
    training.seed, training.n_iter = seed, ORDER_ROUNDS
    training.optimize_pq_for_hamming(table, count, faiss.swig_ptr(np.ascontiguousarray(centroids)))
    ordered: Float32 = faiss.vector_to_array(table.centroids).reshape(count, dim)
    return ordered


def differing_bits(first: NDArray[Any], second: NDArray[Any]) -> NDArray[np.int64]:
    """Hamming distances of ids."""
    bits = np.unpackbits((first ^ second).astype(">u2")[..., None].view(np.uint8), axis=-1)
    return np.asarray(bits.sum(axis=-1, dtype=np.int64))


def product_of_bits(centroids: Float32) -> Float32:
    """Mean product of two centroids whose ids differ in 0, 1, … bits."""
    ids = np.arange(len(centroids))
    differing = differing_bits(ids[:, None], ids)
    products = centroids @ centroids.T
    sums = np.bincount(differing.ravel(), products.ravel())
    return np.asarray(sums / np.bincount(differing.ravel()), dtype=np.float32)


class CentroidSearch:
    """Nearest centroid of vectors; among more than ``FLAT``, the nearest in their principal directions.

    On token vectors that is the nearest of all for nine in ten, at a third of the cost.
    """

    def __init__(self, centroids: Float32) -> None:
        self._mean: Float32 = np.asarray(centroids.mean(axis=0), dtype=np.float32)
        self._directions: Float32 | None = None
        self._places = centroids
        if len(centroids) > FLAT and centroids.shape[1] > SEARCH_DIMS:
            centered = (centroids - self._mean).astype(np.float64)
            directions = np.linalg.eigh(centered.T @ centered)[1][:, : -SEARCH_DIMS - 1 : -1]
            self._directions = np.ascontiguousarray(directions, dtype=np.float32)
            self._places = np.asarray((centroids - self._mean) @ self._directions, dtype=np.float32)

    def __call__(self, vectors: Float32) -> NDArray[np.int64]:
        """Ids (n,) for vectors (n, dim)."""
        if self._directions is None:
            return nearest(vectors, self._places)
        ids = np.empty(len(vectors), dtype=np.int64)
        for rows in blocks(len(vectors)):
            turned = np.asarray((vectors[rows] - self._mean) @ self._directions, dtype=np.float32)
            ids[rows] = nearest_block(turned, self._places)
        return ids


def most_vectors(count: int) -> int:
    """From how many vectors at most so many centroids are learned."""
    return max(count * VECTORS_PER_CENTROID, LEAST_SAMPLE)


def find_centroids(
    sample: Float32, count: int, generator: np.random.Generator, argument: str = "X"
) -> Float32:
    """Centroids (count, dim) with the precision of float16, in which they are stored.

    More than ``FLAT`` are found in two levels: coarse clusters share them by their squared error, and
    a round of Lloyd's algorithm over all centroids settles the borders. With fewer vectors than
    centroids some coincide.
    """
    most = most_vectors(count)
    if len(sample) > most:
        sample = sample[np.sort(generator.choice(len(sample), most, replace=False))]
    if count <= FLAT:
        return _stored(kmeans(sample, count, generator), argument)
    coarse = kmeans(sample, round(count**0.5), generator)
    owner = nearest(sample, coarse)
    errors = np.zeros(len(coarse))
    for rows in blocks(len(sample)):
        squares = np.square(sample[rows] - coarse[owner[rows]]).sum(axis=1)
        errors += np.bincount(owner[rows], squares, len(coarse))
    parts = []
    for cluster, share in enumerate(_shares(errors, np.bincount(owner, minlength=len(coarse)), count)):
        if share:
            parts.append(kmeans(sample[owner == cluster], share, generator))
    return _stored(_lloyd_round(sample, np.concatenate(parts)), argument)


def _shares(errors: NDArray[Any], members: NDArray[Any], count: int) -> list[int]:
    """Split ``count`` in proportion to ``errors``; at least one for each cluster that has members."""
    inhabited = members > 0
    weights = np.where(inhabited, errors + errors.sum() * 1e-9 + 1e-30, 0.0)
    exact = weights / weights.sum() * (count - inhabited.sum())
    shares = inhabited + np.floor(exact).astype(np.int64)
    rest = np.argsort(np.floor(exact) - exact, kind="stable")[: count - int(shares.sum())]
    shares[rest] += 1
    lost = int(shares[~inhabited].sum())
    shares[~inhabited] = 0
    shares[int(weights.argmax())] += lost
    return [int(share) for share in shares]


def _lloyd_round(sample: Float32, centroids: Float32) -> Float32:
    owner = CentroidSearch(centroids)(sample)
    order = np.argsort(owner, kind="stable")
    members = np.bincount(owner, minlength=len(centroids))
    starts = np.concatenate([[0], np.cumsum(members)[:-1]])
    moved = centroids.copy()
    used = members > 0
    moved[used] = np.add.reduceat(sample[order], starts[used], axis=0) / members[used, None]
    return np.asarray(moved)


def _stored(centroids: Float32, argument: str) -> Float32:
    most = float(np.abs(centroids).max(initial=0))
    if most > float(np.finfo(np.float16).max):
        expected = "numbers of at most 65,504, as centroids are kept as float16"
        raise InvalidArgumentError(argument, expected, most)
    stored: Float32 = centroids.astype(np.float16).astype(np.float32)
    return stored
