"""Binary quantization: one bit for each dimension."""

from __future__ import annotations

from collections.abc import Mapping
from functools import lru_cache
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from typing_extensions import Self, override

from embplug.errors import DimensionError
from embplug.methods.kernels import Kernel
from embplug.methods.kernels.arguments import CodedDocuments
from embplug.methods.kernels.bits import maxsim_of_bits, scores_bits
from embplug.methods.kernels.lookups import TokenTerms, token_sums
from embplug.methods.kernels.tables import Table, table_of_entries
from embplug.methods.numeric.arrays import Codes, Float32, as_sample
from embplug.methods.numeric.packing import pack, packed_bytes, unpack
from embplug.methods.numeric.rows import inverse_lengths, unit_rows
from embplug.methods.quantizers.byte_tables import ENTRIES, sum_of_entries
from embplug.methods.quantizers.levels import unrotate
from embplug.methods.registry import register
from embplug.methods.roles import Quantizer
from embplug.methods.stored import StoredArray
from embplug.methods.transforms.rotation import Rotation

BITS_OF_BYTE = 8
LARGEST = 127
LARGEST_SUM = 32_767
"""Sums of entries stay within 16 bits, which are sums twice as fast as floats."""
LARGEST_DIM = 16_384

SIGNS: Float32 = 2 * np.unpackbits(np.arange(ENTRIES, dtype=np.uint8)[:, None], axis=1).astype(np.float32) - 1
"""(256, 8): the signs that the bits of each byte stand for."""


class _Parts(NamedTuple):
    """Parts of a prepared query."""

    products: NDArray[Any]
    """(bytes * 256, t + 1), float32 or int16; the last column gives the squared lengths."""
    steps: Float32
    """(t + 1,): what one unit of each column stands for."""
    of_mean: Float32
    """(t,)"""


@register("binary", roles=("token_codes",))
@dataclass(config=ConfigDict(extra="forbid"))
class BinaryQuantizer(Quantizer):
    """Quantizer that stores one bit for each dimension: on which side of the mean the coordinate lies.

    A decoded vector has the mean plus or minus the mean deviation in each coordinate, scaled to length 1.

    Parameters
    ----------
    center : bool, default=True
        Whether the sides are those of the sample's mean. If False, they are those of zero.
    rotate : bool, default=False
        Whether vectors are rotated at random first. It helps if a few coordinates hold most of the variance.
    queries : {"float", "int8"}, default="float"
        ``"float"`` compares exact queries. ``"int8"`` rounds the coordinates of queries to whole numbers up
        to 127. Without the compiled kernel it sums in 16 bits, in about half the time.
    seed : int, default=0
        Seed of the rotation.
    kind : str, default="binary"
        Name of the method in a recipe; leave it as it is.

    Attributes
    ----------
    mean_ : ndarray of shape (dim,), float32
        Mean of the rotated sample, or zeros.
    deviations_ : ndarray of shape (dim,), float32
        Mean distance of each coordinate from its mean.
    """

    center: bool = True
    rotate: bool = False
    queries: Literal["float", "int8"] = "float"
    seed: int = Field(default=0, ge=0)
    kind: Literal["binary"] = "binary"

    def __post_init__(self) -> None:
        self.mean_: Float32 | None = None
        """(dim,), rotated"""
        self.deviations_: Float32 | None = None
        """(dim,): mean distance of each rotated coordinate from its mean"""
        self._squares_of: tuple[Float32, Float32] | None = None

    @property
    @override
    def fitted_dim(self) -> int | None:
        return None if self.mean_ is None else len(self.mean_)

    @override
    def bytes_per_vector(self, dim: int, *, unit_length: bool = False) -> float:
        return packed_bytes([1] * dim)

    def fit(self, X: ArrayLike, queries: ArrayLike | None = None) -> Self:
        """Learn the mean and the mean deviations.

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
        DimensionError
            ``queries="int8"``, and the vectors have more than 16,384 dimensions.
        """
        sample = as_sample(X)
        if self.queries == "int8" and sample.shape[1] > LARGEST_DIM:
            raise DimensionError("X", f"at most {LARGEST_DIM} dimensions for int8 queries", sample.shape[1])
        rotated = self._rotated(sample)
        mean = rotated.mean(axis=0, dtype=np.float64) if self.center else np.zeros(rotated.shape[1])
        self.mean_ = mean.astype(np.float32)
        self.deviations_ = np.abs(rotated - self.mean_).mean(axis=0, dtype=np.float64).astype(np.float32)
        return self

    def _arrays(self, state: Mapping[str, NDArray[Any]]) -> dict[str, StoredArray]:
        return {
            "mean": StoredArray(np.float32, ("dim",)),
            "deviations": StoredArray(np.float32, ("dim",), low=0),
        }

    def _encode(self, vectors: Float32) -> Codes:
        assert self.mean_ is not None
        return pack(self._rotated(vectors) > self.mean_, self._widths())

    def _decode(self, codes: Codes) -> Float32:
        assert self.mean_ is not None and self.deviations_ is not None
        bits = unpack(codes, self._widths())
        decoded = unit_rows(self.mean_ + np.where(bits, self.deviations_, -self.deviations_))
        return unrotate(decoded, self.seed) if self.rotate else decoded

    def _prepare(self, query: Float32) -> _Parts:
        assert self.mean_ is not None and self.deviations_ is not None
        rotated = self._rotated(query)
        vectors, steps = self._weighted(np.concatenate([rotated, self.mean_[None]]))
        products = SIGNS @ in_bytes(vectors).transpose(1, 2, 0)
        dtype = np.int16 if self.queries == "int8" else np.float32
        products = products.reshape(-1, len(vectors)).astype(dtype)
        return _Parts(products, steps, rotated @ self.mean_)

    def _score(self, parts: _Parts, codes: Codes) -> Float32:
        assert self.mean_ is not None and self.deviations_ is not None
        sums = sum_of_entries(parts.products, codes) * parts.steps
        squares = self._square() + 2 * sums[:, -1:]
        scores = sums[:, :-1] + parts.of_mean
        scores /= np.sqrt(squares.clip(np.finfo(np.float32).tiny))
        return scores

    def _weighted(self, vectors: Float32) -> tuple[Float32, Float32]:
        """Rotated vectors (n, dim) times the deviations, rounded for int8, and the steps (n,) of rounding."""
        assert self.deviations_ is not None
        vectors = vectors * self.deviations_
        steps = np.ones(len(vectors), dtype=np.float32)
        if self.queries == "float":
            return vectors, steps
        largest = np.abs(vectors).max(axis=1) / LARGEST
        steps = np.maximum(largest, np.abs(vectors).sum(axis=1) / (LARGEST_SUM - vectors.shape[1] / 2))
        steps = np.where(steps > 0, steps, 1).astype(np.float32)
        rounded = np.rint(vectors / steps[:, None])
        # The step that brings the rounded vector closest to the exact one.
        products, squares = ((factor * rounded).sum(axis=1) for factor in (vectors, rounded))
        return rounded, np.divide(products, squares, out=steps, where=squares > 0)

    def _square(self) -> float:
        """What all tokens share of their squared lengths: the rest is twice the product of signs and mean."""
        assert self.mean_ is not None and self.deviations_ is not None
        return float(self.mean_ @ self.mean_ + self.deviations_ @ self.deviations_)

    def _token_terms(self, kernel: Kernel, documents: CodedDocuments) -> TokenTerms:
        assert self.mean_ is not None and self.deviations_ is not None
        if self._squares_of is None or self._squares_of[0] is not self.mean_:
            vectors, steps = self._weighted(self.mean_[None])
            self._squares_of = self.mean_, 2 * steps * (in_bytes(vectors) @ SIGNS.T)[0]
        squares = token_sums(kernel, self._squares_of[1], documents, self.code_bytes)
        squares += self._square()
        return TokenTerms(documents, self.code_bytes, scales=inverse_lengths(squares))

    @override
    def _maxsim(self, kernel: Kernel, query: Float32, documents: CodedDocuments) -> Float32 | None:
        if not scores_bits(kernel, self.code_bytes):
            return super()._maxsim(kernel, query, documents)
        assert self.mean_ is not None and self.deviations_ is not None
        rotated = self._rotated(query)
        vectors, steps = self._weighted(np.concatenate([rotated, self.mean_[None]]))
        steps[-1] *= 2
        parts = in_bytes(vectors * steps[:, None]).reshape(len(vectors), -1)
        return maxsim_of_bits(kernel, parts, np.append(rotated @ self.mean_, self._square()), documents)

    def _lookups(self, kernel: Kernel, query: Float32) -> tuple[Table, Float32]:
        assert self.mean_ is not None
        rotated = self._rotated(query)
        vectors, steps = self._weighted(rotated)
        parts = in_bytes(vectors * steps[:, None])
        count = parts.shape[1]
        widths, columns = np.full(count, BITS_OF_BYTE), parts.reshape(len(parts), -1)
        table = table_of_entries(kernel, signs_of_bytes(count), widths, columns)
        return table, (rotated @ self.mean_)[None]

    @property
    def _exact_queries(self) -> bool:
        return self.queries == "float"

    def _bits(self, dim: int, size: float) -> float:
        return float(dim)

    def _fit_cost(self) -> str:
        return "two means"

    def _notes(self) -> list[str]:
        return ["lengths are not kept: all vectors count as unit vectors"]

    def _widths(self) -> list[int]:
        return [1] * self.dim

    def _rotated(self, vectors: Float32) -> Float32:
        return Rotation(seed=self.seed).transform(vectors) if self.rotate else vectors


def in_bytes(vectors: Float32) -> Float32:
    """Vectors (n, dim), filled up with zeros, as the eight coordinates of each byte (n, bytes, 8)."""
    missing = -vectors.shape[1] % BITS_OF_BYTE
    padded = np.pad(vectors, ((0, 0), (0, missing))) if missing else vectors
    return padded.reshape(len(vectors), -1, BITS_OF_BYTE)


@lru_cache(maxsize=4)
def signs_of_bytes(count: int) -> Float32:
    """The signs (8 * count, 256) of that many bytes."""
    return np.tile(SIGNS.T, (count, 1))
