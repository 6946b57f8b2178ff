"""The number of the nearest centroid, and nothing else: one or two bytes a vector."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from typing_extensions import Self

from embplug.common.extras import import_extra
from embplug.errors import InvalidArgumentError
from embplug.methods.numeric.arrays import (
    Codes,
    Float32,
    State,
    as_query,
    as_sample,
    as_vectors,
    check_codes,
    check_state,
    not_fitted,
    state_bytes,
)
from embplug.methods.numeric.packing import pack, unpack
from embplug.methods.numeric.partition import kmeans
from embplug.methods.numeric.tables import blocks, nearest, nearest_block
from embplug.methods.quantizers.base import Description

FLAT = 512
"""Up to as many centroids k-means runs over all at once; more are found inside of coarse clusters."""
VECTORS_PER_CENTROID = 32
LEAST_SAMPLE = 65536
HAMMING_COUNTS = tuple(1 << bits for bits in range(1, 12))
ORDER_ROUNDS = 200_000
"""Of the simulated annealing: more change little with 256 centroids."""
SEARCH_DIMS = 96
"""Principal directions of the centroids in which the nearest of many is looked for."""


class PreparedQuery(NamedTuple):
    """A query as :meth:`CentroidQuantizer.score` reads it."""

    products: Float32
    """(centroids, t); by Hamming distance those of the ids of the query's own centroids."""
    single: bool


@dataclass(config=ConfigDict(extra="forbid"))
class CentroidQuantizer:
    """K-means ids (HPC-ColPali): a query is multiplied with the centroids once, a vector is one lookup.

    Parameters
    ----------
    count
        Number of centroids: one byte a vector up to 256, two up to 65,536.
    compare
        ``products``: an exact query with the centroids of vectors. ``hamming``: queries are coded too,
        and the bits in which two ids differ stand for their product (HPC-ColPali's binary mode). Ids
        are then ordered so that the fewer bits differ, the closer the centroids are (polysemous codes,
        arXiv 1609.01882; needs faiss). Coarser than products; what it saves is the centroids in the
        comparison, for code that compares bits alone.
    seed
        Of the k-means and of the order.
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
        self.sampled_ = 0

    @property
    def dim(self) -> int:
        """Dimension of the vectors it was fitted on."""
        return int(self._fitted().shape[1])

    @property
    def code_bytes(self) -> int:
        """Bytes of one vector."""
        return 1 if self.count <= 256 else 2

    def fit(self, X: ArrayLike, queries: ArrayLike | None = None) -> Self:
        """Learn centroids from ``X`` (n, d); ``queries`` are not used."""
        sample = as_sample(X)
        self.centroids_ = find_centroids(sample, self.count, np.random.default_rng(self.seed))
        if self.compare == "hamming":
            self.centroids_ = ordered_by_bits(self.centroids_, self.seed)
        self.sampled_ = len(sample)
        self._search = None
        return self

    def encode(self, X: ArrayLike) -> Codes:
        """Codes (n, 1) or (n, 2)."""
        centroids = self._fitted()
        vectors = as_vectors(X, centroids.shape[1])
        ids = self._searching(vectors)
        return pack(ids[:, None], [8 * self.code_bytes])

    def decode(self, codes: Codes) -> Float32:
        """Centroids (n, dim)."""
        return self._fitted()[self._ids(codes)]

    def encode_query(self, q: ArrayLike) -> PreparedQuery:
        """Products of the query, or of what the bits of its ids say, with every centroid."""
        centroids = self._fitted()
        query, single = as_query(q, centroids.shape[1])
        if self.compare == "products":
            return PreparedQuery(centroids @ query.T, single)
        differing = differing_bits(np.arange(self.count)[:, None], self._searching(query))
        return PreparedQuery(product_of_bits(centroids)[differing], single)

    def score(self, query: PreparedQuery, codes: Codes) -> Float32:
        """Dot products (n,) or (n, t): one lookup."""
        scores = np.take(query.products, self._ids(codes), axis=0)
        return scores[:, 0] if query.single else scores

    def get_state(self) -> State:
        """Learned arrays; empty before :meth:`fit`."""
        if self.centroids_ is None:
            return {}
        return {"centroids": self.centroids_.astype(np.float16), "sampled": np.array(self.sampled_)}

    def set_state(self, state: State) -> None:
        """Restore what :meth:`get_state` returned."""
        self.centroids_, self._search, self.sampled_ = None, None, 0
        if state:
            check_state(state, {"centroids", "sampled"}, self)
            self.centroids_ = state["centroids"].astype(np.float32)
            self.sampled_ = int(state["sampled"])

    def describe(self) -> Description:
        """Say what a vector costs."""
        few = self.sampled_ < self.count
        return Description(
            method=self.kind,
            dim=self.dim,
            code_bytes=self.code_bytes,
            bits=float(np.log2(self.count)),
            state_bytes=state_bytes(self.get_state()),
            exact_queries=self.compare == "products",
            fit_cost=f"k-means on at most {most_vectors(self.count):,} vectors"
            + ("; in two levels" if self.count > FLAT else ""),
            notes=(f"{self.sampled_} vectors to learn from: centroids coincide",) if few else (),
        )

    def _fitted(self) -> Float32:
        if self.centroids_ is None:
            raise not_fitted(self)
        return self.centroids_

    def _searching(self, vectors: Float32) -> NDArray[np.int64]:
        if self._search is None:
            self._search = CentroidSearch(self._fitted())
        return self._search(vectors)

    def _ids(self, codes: Codes) -> NDArray[np.intp]:
        checked = check_codes(codes, self.code_bytes)
        return np.asarray(unpack(checked, [8 * self.code_bytes])[:, 0], dtype=np.intp)


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
        found = np.empty(len(vectors), dtype=np.int64)
        for rows in blocks(len(vectors)):
            turned = np.asarray((vectors[rows] - self._mean) @ self._directions, dtype=np.float32)
            found[rows] = nearest_block(turned, self._places)
        return found


def most_vectors(count: int) -> int:
    """From how many vectors at most so many centroids are learned."""
    return max(count * VECTORS_PER_CENTROID, LEAST_SAMPLE)


def find_centroids(sample: Float32, count: int, generator: np.random.Generator) -> Float32:
    """Centroids (count, dim) with the precision of float16, in which they are stored.

    More than ``FLAT`` are found in two levels: coarse clusters share them by their squared error, and
    a round of Lloyd's algorithm over all centroids settles the borders. With fewer vectors than
    centroids some coincide.
    """
    wanted = most_vectors(count)
    if len(sample) > wanted:
        sample = sample[np.sort(generator.choice(len(sample), wanted, replace=False))]
    if count <= FLAT:
        return _stored(kmeans(sample, count, generator))
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
    return _stored(_lloyd_round(sample, np.concatenate(parts)))


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


def _stored(centroids: Float32) -> Float32:
    most = float(np.abs(centroids).max(initial=0))
    if most > np.finfo(np.float16).max:
        raise InvalidArgumentError("X", "numbers of at most 65,504, as centroids are kept as float16", most)
    stored: Float32 = centroids.astype(np.float16).astype(np.float32)
    return stored
