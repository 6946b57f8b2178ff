"""Residual quantization: the nearest centroid, and the residual in a few more bytes."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from typing_extensions import Self, override

from embplug.methods.kernels.bases import RoundedRows
from embplug.methods.kernels.bytewise import HEADER_BYTES, BytewiseCodes, Headers
from embplug.methods.numeric.arrays import Codes, Float32, State, as_sample
from embplug.methods.numeric.packing import pack, unpack
from embplug.methods.quantizers.bit_allocation import fit_tables, table_cost
from embplug.methods.quantizers.byte_tables import (
    ByteTables,
    blocks,
    fit_scalar,
    length_factors,
    lloyd_max,
    nearest_level,
    sum_of_entries,
)
from embplug.methods.quantizers.centroid import CentroidSearch, find_centroids, most_vectors
from embplug.methods.registry import register
from embplug.methods.roles import Quantizer
from embplug.methods.stored import StoredArray

HEADER_BITS = 8 * HEADER_BYTES


class _Parts(NamedTuple):
    """Parts of a prepared query."""

    of_centroids: Float32
    """(centroids, t)"""
    of_entries: Float32
    """(bytes * 256, t)"""


@register("residual", roles=("token_codes",))
@dataclass(config=ConfigDict(extra="forbid"))
class ResidualQuantizer(Quantizer):
    """Quantizer that stores the number of the nearest centroid, and the residual in the remaining bytes.

    Token vectors of one word lie close together, so that a few thousand centroids describe them well. The
    first two bytes are the number of the centroid and, in the free bits, the factor that restores the length.

    Parameters
    ----------
    size : int, default=16
        Bytes of a code. The bytes after the first two describe the residual; see
        :class:`BitAllocationQuantizer`.
    centroids : int, default=4096
        Number of centroids, at most 8,192.
    bits : {1, 2, 4}, default=None
        Bits for every dimension of the residual, as in ColBERTv2. It replaces ``size``.
    levels : {"joint", "scalar"}, default="joint"
        See :class:`BitAllocationQuantizer`. With ``bits`` the levels are always those of single dimensions.
    seed : int, default=0
        Seed of the k-means initialisation.
        A fit on another processor may give slightly different results, because sums are rounded
        differently. Copy the fitted state instead of fitting again.
    kind : str, default="residual"
        Name of the method in a recipe; leave it as it is.

    Attributes
    ----------
    centroids_ : ndarray of shape (centroids, dim), float32
        Centroids, in the precision of float16.
    tables_ : ByteTables
        Directions of residuals, and the entries of each byte.
    factors_ : ndarray, float32
        Factors that restore the length.
    sampled_ : int
        Number of vectors that were learned from.

    References
    ----------
    .. [1] Santhanam et al., "ColBERTv2: Effective and Efficient Retrieval via Lightweight Late Interaction",
           NAACL 2022.
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
        self._bytewise_of: tuple[ByteTables, BytewiseCodes] | None = None
        self.sampled_ = 0

    @classmethod
    @override
    def trials(cls, dim: int) -> dict[str, Self]:
        return {f"residual {size}": cls(size=size) for size in (32, 16, 8)}

    @property
    @override
    def fitted_dim(self) -> int | None:
        return None if self.centroids_ is None else int(self.centroids_.shape[1])

    @override
    def bytes_per_vector(self, dim: int, *, unit_length: bool = False) -> float:
        return self.size if self.bits is None else HEADER_BYTES + -(-dim // (8 // self.bits))

    def fit(self, X: ArrayLike, queries: ArrayLike | None = None) -> Self:
        """Learn centroids, directions of residuals, entries and factors.

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
        """
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
            tables = ByteTables.of(None, levels, np.array(widths))
        decoded = centroids[ids] + tables.decode(tables.encode(residuals))
        self.centroids_, self.tables_, self._search = centroids, tables, search
        self.factors_ = lloyd_max(length_factors(sample, decoded), 1 << self._factor_bits)
        self.sampled_ = len(sample)
        return self

    def _arrays(self, state: Mapping[str, NDArray[Any]]) -> dict[str, StoredArray]:
        size = "size" if self.bits is not None else self.size - HEADER_BYTES
        return {
            "centroids": StoredArray(np.float16, (self.centroids, "dim")),
            "factors": StoredArray(np.float32, (1 << self._factor_bits,), low=0, ascending=True),
            "sampled": StoredArray(np.int64),
            **ByteTables.arrays(state, "dim", size, rotated=self.bits is None),
        }

    def _check_arrays(self, arrays: State) -> None:
        ByteTables.check_arrays(type(self).__name__, arrays)

    def _to_arrays(self) -> State:
        centroids, tables, factors = self._fitted()
        return {
            "centroids": centroids.astype(np.float16),
            "factors": factors,
            "sampled": np.array(self.sampled_),
            **tables.get_state(),
        }

    def _from_arrays(self, arrays: State) -> None:
        self.centroids_ = arrays["centroids"].astype(np.float32)
        self.factors_, self.sampled_ = arrays["factors"], int(arrays["sampled"])
        self.tables_ = ByteTables.from_state(arrays)

    def _encode(self, vectors: Float32) -> Codes:
        centroids, tables, factors = self._fitted()
        if self._search is None:
            self._search = CentroidSearch(centroids)
        codes = np.empty((len(vectors), self.code_bytes), dtype=np.uint8)
        for rows in blocks(len(vectors)):
            ids = self._search(vectors[rows])
            rest = tables.encode(vectors[rows] - centroids[ids])
            decoded = centroids[ids] + tables.decode(rest)
            factor = nearest_level(factors, length_factors(vectors[rows], decoded))
            codes[rows, :HEADER_BYTES] = pack(np.stack([ids, factor], axis=1), self._header)
            codes[rows, HEADER_BYTES:] = rest
        return codes

    def _decode(self, codes: Codes) -> Float32:
        centroids, tables, factors = self._fitted()
        ids, factor = self._read_header(codes)
        decoded = centroids[ids] + tables.decode(codes[:, HEADER_BYTES:])
        decoded *= factors[factor][:, None]
        return decoded

    def _prepare(self, query: Float32) -> _Parts:
        centroids, tables, _ = self._fitted()
        return _Parts(centroids @ query.T, tables.products(query))

    def _score(self, parts: _Parts, codes: Codes) -> Float32:
        _, _, factors = self._fitted()
        ids, factor = self._read_header(codes)
        scores = sum_of_entries(parts.of_entries, codes[:, HEADER_BYTES:])
        scores += np.take(parts.of_centroids, ids, axis=0)
        scores *= factors[factor][:, None]
        return scores

    @override
    def _bytewise(self) -> BytewiseCodes:
        centroids, tables, factors = self._fitted()
        if self._bytewise_of is None or self._bytewise_of[0] is not tables:
            headers = Headers(RoundedRows(centroids), factors)
            codes = BytewiseCodes(tables.rotation, headers, tables.columns, tables.widths)
            self._bytewise_of = tables, codes
        return self._bytewise_of[1]

    def _fit_cost(self) -> str:
        return f"k-means on at most {most_vectors(self.centroids):,} vectors, {self._table_cost()}"

    @override
    def least_sample(self, dim: int) -> int:
        return max(dim, self.centroids)

    def _notes(self) -> list[str]:
        few = self.sampled_ < self.centroids
        return [f"{self.sampled_} vectors to learn from: centroids coincide"] if few else []

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
        assert self.centroids_ is not None and self.tables_ is not None and self.factors_ is not None
        return self.centroids_, self.tables_, self.factors_
