"""Product quantization, plain and optimized: one codebook for each group of dimensions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from typing_extensions import Self, override

from embplug.errors import InvalidArgumentError
from embplug.methods.numeric.arrays import Codes, Float32, as_sample
from embplug.methods.numeric.codebooks import nearest, pieces, rebuilt, train_codebooks, train_opq
from embplug.methods.numeric.packing import pack, packed_bytes, unpack
from embplug.methods.quantizers.levels import common_length
from embplug.methods.registry import register
from embplug.methods.roles import Quantizer
from embplug.methods.stored import StoredArray


@register("product", roles=("dense_codes", "token_codes"))
@dataclass(config=ConfigDict(extra="forbid"))
class ProductQuantizer(Quantizer):
    """Cut vectors into ``subspaces`` pieces and keep, of each, the number of its nearest centroid.

    Queries stay exact: a query makes one table of dot products a subspace, and a score is a sum of
    looked-up entries.

    Parameters
    ----------
    subspaces
        Pieces; they differ by one dimension where the dimension cannot be divided.
    bits
        Binary logarithm of the number of centroids of a piece. With fewer samples than centroids
        there are as many centroids as samples.
    rescale
        Where all vectors of the sample have one length, as those of most models do, bring what the
        codes stand for to that length. Averages are shorter than what they average, and not all
        alike, which disturbs the ranking.
    iterations
        Rounds of k-means.
    seed
        Seed of the training. A fit on another processor rounds otherwise
        and may differ: share the fitted state between machines.
    """

    subspaces: int = Field(ge=1)
    bits: int = Field(default=8, ge=1, le=8)
    rescale: bool = True
    iterations: int = Field(default=25, ge=1)
    seed: int = Field(default=0, ge=0)
    kind: Literal["product"] = "product"

    def __post_init__(self) -> None:
        self.centroids_: Float32 | None = None
        """(centroids, width): those of all pieces side by side."""
        self.rotation_: Float32 | None = None
        self.length_: float = 0.0

    @property
    @override
    def fitted_dim(self) -> int | None:
        return None if self.centroids_ is None else int(self.centroids_.shape[1])

    @override
    def bytes_per_vector(self, dim: int, *, unit_length: bool = False) -> float:
        return packed_bytes([self.bits] * self.subspaces)

    def fit(self, X: ArrayLike, queries: ArrayLike | None = None) -> Self:
        """Learn centroids from documents (n, d) by faiss; queries are not used.

        Raises
        ------
        InvalidArgumentError
            More subspaces than dimensions.
        MissingExtraError
            faiss is not installed.
        """
        sample = as_sample(X)
        if self.subspaces > sample.shape[1]:
            raise InvalidArgumentError(
                "subspaces", f"at most the {sample.shape[1]} dimensions", self.subspaces
            )
        self.length_ = common_length(sample) if self.rescale else 0.0
        self.rotation_ = self._learn_rotation(sample)
        self.centroids_ = self._learn_centroids(self._rotated(sample))
        return self

    def _arrays(self, state: Mapping[str, NDArray[Any]]) -> dict[str, StoredArray]:
        return {
            "centroids": StoredArray(np.float32, ("centroids", "dim")),
            "length": StoredArray(np.float32),
        }

    def _encode(self, vectors: Float32) -> Codes:
        assert self.centroids_ is not None
        numbers = nearest(self._rotated(vectors), self.centroids_, self._pieces())
        return pack(numbers, [self.bits] * self.subspaces)

    def _decode(self, codes: Codes) -> Float32:
        assert self.centroids_ is not None
        vectors = rebuilt(self._numbers(codes), self.centroids_, self._pieces())
        if self.length_:
            lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
            vectors *= np.divide(self.length_, lengths, out=np.zeros_like(lengths), where=lengths > 0)
        return vectors if self.rotation_ is None else vectors @ self.rotation_

    def _prepare(self, query: Float32) -> Float32:
        """Products (subspaces, centroids, t) with all centroids; if results are rescaled, a last column
        holds the squared lengths of the centroids."""
        assert self.centroids_ is not None
        rotated = self._rotated(query)
        tables = []
        for piece in self._pieces():
            centroids = self.centroids_[:, piece]
            table = centroids @ rotated[:, piece].T
            if self.length_:
                table = np.column_stack([table, np.einsum("cd,cd->c", centroids, centroids)])
            tables.append(table)
        return np.ascontiguousarray(np.stack(tables))

    def _score(self, parts: Float32, codes: Codes) -> Float32:
        numbers = self._numbers(codes)
        sums = np.zeros((len(numbers), parts.shape[2]), dtype=np.float32)
        for table, column in zip(parts, np.ascontiguousarray(numbers.T), strict=True):
            sums += table[column]
        if not self.length_:
            return sums
        lengths = np.sqrt(sums[:, -1:])
        factors = np.divide(self.length_, lengths, out=np.zeros_like(lengths), where=lengths > 0)
        scores: Float32 = sums[:, :-1] * factors
        return scores

    def _bits(self, dim: int, size: float) -> float:
        return float(self.subspaces * self.bits)

    def _notes(self) -> list[str]:
        assert self.centroids_ is not None
        notes = []
        count = len(self.centroids_)
        if count < 1 << self.bits:
            notes.append(f"{count} centroids instead of {1 << self.bits}: the sample had no more vectors")
        if self.rescale and not self.length_:
            notes.append("not rescaled: the lengths of the sample differ")
        return notes

    def _fit_cost(self) -> str:
        return f"{self.iterations} rounds of k-means in each piece: samples x {1 << self.bits} x dimensions"

    def _learn_rotation(self, sample: Float32) -> Float32 | None:
        return None

    def _rotated(self, vectors: Float32) -> Float32:
        return vectors if self.rotation_ is None else vectors @ self.rotation_.T

    def _learn_centroids(self, sample: Float32) -> Float32:
        return train_codebooks(
            sample, pieces(sample.shape[1], self.subspaces), 1 << self.bits, self.iterations, self.seed
        )

    def _pieces(self) -> list[slice]:
        return pieces(self.dim, self.subspaces)

    def _numbers(self, codes: Codes) -> NDArray[np.uint8]:
        return unpack(codes, [self.bits] * self.subspaces)


@register("optimized_product", roles=("dense_codes", "token_codes"))
@dataclass(config=ConfigDict(extra="forbid"))
class OptimizedProductQuantizer(ProductQuantizer):
    """:class:`ProductQuantizer` after the rotation that serves it best (OPQ), trained by faiss.

    Parameters
    ----------
    subspaces, bits, rescale, iterations, seed
        As there.
    rotation_iterations
        Rounds of training of the rotation.
    """

    rotation_iterations: int = Field(default=10, ge=1)
    kind: Literal["optimized_product"] = "optimized_product"  # type: ignore[assignment]

    def _arrays(self, state: Mapping[str, NDArray[Any]]) -> dict[str, StoredArray]:
        return {**super()._arrays(state), "rotation": StoredArray(np.float32, ("dim", "dim"))}

    def _fit_cost(self) -> str:
        rounds = f"{self.rotation_iterations} rounds of product quantization and of a (d, d) decomposition"
        return f"{rounds}, then {super()._fit_cost()}"

    def _learn_rotation(self, sample: Float32) -> Float32 | None:
        return train_opq(sample, self.subspaces, self.bits, self.rotation_iterations, self.seed)
