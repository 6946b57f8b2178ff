"""The nearest centroid, and what is left of the vector in a few bytes more."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from typing_extensions import Self

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
from embplug.methods.numeric.tables import (
    ByteTables,
    blocks,
    fit_scalar,
    length_factors,
    lloyd_max,
    nearest_level,
    sum_of_entries,
)
from embplug.methods.quantizers.base import Description
from embplug.methods.quantizers.bit_allocation import fit_tables, table_cost
from embplug.methods.quantizers.centroid import CentroidSearch, find_centroids, most_vectors

HEADER_BYTES = 2
HEADER_BITS = 8 * HEADER_BYTES


class PreparedQuery(NamedTuple):
    """A query as :meth:`ResidualQuantizer.score` reads it."""

    of_centroids: Float32
    """(centroids, t)"""
    of_entries: Float32
    """(bytes * 256, t)"""
    single: bool


@dataclass(config=ConfigDict(extra="forbid"))
class ResidualQuantizer:
    """A centroid and the residual to it, in bytes that are spent where the residuals vary.

    Token vectors of one word lie close together, so that a few thousand centroids hold more of them
    than the first ten bytes of any other code. The two first bytes are the centroid and, in the bits
    that its number leaves free, the factor that gives the decoded vector its true length.

    Parameters
    ----------
    size
        Bytes of a vector; those after the first two are spent on the residual by reverse
        water-filling, as in :class:`~embplug.methods.quantizers.bit_allocation.BitAllocationQuantizer`.
    centroids
        At most 8,192, so that the factor has three bits. With 1, ``bits=1`` is a binary code.
    bits
        Instead of ``size``: this many bits for every dimension of the residual (ColBERTv2, PLAID).
    levels
        As in ``BitAllocationQuantizer``; with ``bits`` always per dimension.
    seed
        Of the k-means.
    """

    size: int = Field(default=16, ge=3)
    centroids: int = Field(default=4096, ge=1, le=8192)
    bits: Literal[1, 2, 4] | None = None
    levels: Literal["joint", "scalar"] = "joint"
    seed: int = Field(default=0, ge=0)
    kind: Literal["residual"] = "residual"

    def __post_init__(self) -> None:
        self.centroids_: Float32 | None = None
        self.tables_: ByteTables | None = None
        self.factors_: Float32 | None = None
        self._search: CentroidSearch | None = None
        self.sampled_ = 0

    @property
    def dim(self) -> int:
        """Dimension of the vectors it was fitted on."""
        return int(self._fitted()[0].shape[1])

    @property
    def code_bytes(self) -> int:
        """Bytes of one vector."""
        return self.size if self.bits is None else HEADER_BYTES + len(self._fitted()[1].widths)

    def fit(self, X: ArrayLike, queries: ArrayLike | None = None) -> Self:
        """Learn centroids, directions, entries and factors from ``X`` (n, d); ``queries`` are not used."""
        sample = as_sample(X)
        generator = np.random.default_rng(self.seed)
        centroids = find_centroids(sample, self.centroids, generator)
        if len(sample) > 1 << 16:
            sample = sample[np.sort(generator.choice(len(sample), 1 << 16, replace=False))]
        search = CentroidSearch(centroids)
        ids = search(sample)
        residuals = sample - centroids[ids]
        if self.bits is None:
            tables = fit_tables(residuals, self.size - HEADER_BYTES, self.levels, generator)
        else:
            per_byte = 8 // self.bits
            dims = range(0, sample.shape[1], per_byte)
            widths = [min(per_byte, sample.shape[1] - first) for first in dims]
            levels = fit_scalar(residuals, [[self.bits] * width for width in widths])
            tables = ByteTables(None, levels, np.array(widths))
        decoded = centroids[ids] + tables.decode(tables.encode(residuals))
        self.centroids_, self.tables_, self._search = centroids, tables, search
        self.factors_ = lloyd_max(length_factors(sample, decoded), 1 << self._factor_bits)
        self.sampled_ = len(sample)
        return self

    def encode(self, X: ArrayLike) -> Codes:
        """Codes (n, code_bytes)."""
        centroids, tables, factors = self._fitted()
        if self._search is None:
            self._search = CentroidSearch(centroids)
        vectors = as_vectors(X, centroids.shape[1])
        codes = np.empty((len(vectors), self.code_bytes), dtype=np.uint8)
        for rows in blocks(len(vectors)):
            ids = self._search(vectors[rows])
            rest = tables.encode(vectors[rows] - centroids[ids])
            decoded = centroids[ids] + tables.decode(rest)
            factor = nearest_level(factors, length_factors(vectors[rows], decoded))
            codes[rows, :HEADER_BYTES] = pack(np.stack([ids, factor], axis=1), self._header)
            codes[rows, HEADER_BYTES:] = rest
        return codes

    def decode(self, codes: Codes) -> Float32:
        """Vectors (n, dim)."""
        centroids, tables, factors = self._fitted()
        codes = check_codes(codes, self.code_bytes)
        ids, factor = self._read_header(codes)
        decoded = centroids[ids] + tables.decode(codes[:, HEADER_BYTES:])
        decoded *= factors[factor][:, None]
        return decoded

    def encode_query(self, q: ArrayLike) -> PreparedQuery:
        """Products of the query, exact as it is, with every centroid and every entry of every byte."""
        centroids, tables, _ = self._fitted()
        query, single = as_query(q, centroids.shape[1])
        return PreparedQuery(centroids @ query.T, tables.products(query), single)

    def score(self, query: PreparedQuery, codes: Codes) -> Float32:
        """Dot products (n,) or (n, t): one lookup for the centroid and one a byte."""
        _, _, factors = self._fitted()
        codes = check_codes(codes, self.code_bytes)
        ids, factor = self._read_header(codes)
        scores = sum_of_entries(query.of_entries, codes[:, HEADER_BYTES:])
        scores += np.take(query.of_centroids, ids, axis=0)
        scores *= factors[factor][:, None]
        return scores[:, 0] if query.single else scores

    def get_state(self) -> State:
        """Learned arrays; empty before :meth:`fit`."""
        if self.centroids_ is None or self.tables_ is None or self.factors_ is None:
            return {}
        return {
            "centroids": self.centroids_.astype(np.float16),
            "factors": self.factors_,
            "sampled": np.array(self.sampled_),
            **self.tables_.get_state(),
        }

    def set_state(self, state: State) -> None:
        """Restore what :meth:`get_state` returned."""
        self.__post_init__()
        if not state:
            return
        rotation = {"rotation"} if self.bits is None else set()
        check_state(state, {"centroids", "factors", "sampled", "tables", "widths"} | rotation, self)
        self.centroids_ = state["centroids"].astype(np.float32)
        self.factors_ = np.asarray(state["factors"], dtype=np.float32)
        self.tables_ = ByteTables.from_state(state)
        self.sampled_ = int(state["sampled"])

    def describe(self) -> Description:
        """Say what a vector costs."""
        few = self.sampled_ < self.centroids
        return Description(
            method=self.kind,
            dim=self.dim,
            code_bytes=self.code_bytes,
            bits=8.0 * self.code_bytes,
            state_bytes=state_bytes(self.get_state()),
            exact_queries=True,
            fit_cost=f"k-means on at most {most_vectors(self.centroids):,} vectors, {self._table_cost()}",
            notes=(f"{self.sampled_} vectors to learn from: centroids coincide",) if few else (),
        )

    def _table_cost(self) -> str:
        if self.bits is not None:
            return table_cost("scalar")
        return f"one eigendecomposition (d^3), {table_cost(self.levels)}"

    @property
    def _factor_bits(self) -> int:
        return min(8, HEADER_BITS - (self.centroids - 1).bit_length())

    @property
    def _header(self) -> list[int]:
        return [HEADER_BITS - self._factor_bits, self._factor_bits]

    def _read_header(self, codes: Codes) -> tuple[NDArray[np.intp], NDArray[np.intp]]:
        header = unpack(codes[:, :HEADER_BYTES], self._header).astype(np.intp)
        return header[:, 0], header[:, 1]

    def _fitted(self) -> tuple[Float32, ByteTables, Float32]:
        if self.centroids_ is None or self.tables_ is None or self.factors_ is None:
            raise not_fitted(self)
        return self.centroids_, self.tables_, self.factors_
