"""Product quantization, plain and optimized: one codebook for each group of dimensions."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from typing_extensions import Self, override

from embplug.common.byte_strings import ByteStrings
from embplug.errors import InvalidArgumentError, StateError
from embplug.methods.kernels import Kernel
from embplug.methods.kernels.arguments import CodedDocuments
from embplug.methods.kernels.lookups import TokenTerms, token_sums
from embplug.methods.kernels.tables import Table, VectorTable, table_of_entries, vector_table
from embplug.methods.numeric.arrays import Codes, Float32, State, as_sample
from embplug.methods.numeric.codebooks import nearest, pieces, rebuilt, train_codebooks, train_opq
from embplug.methods.numeric.packing import pack, packed_bytes, unpack
from embplug.methods.quantizers.byte_tables import ENTRIES, ByteTables
from embplug.methods.quantizers.levels import common_length
from embplug.methods.registry import register
from embplug.methods.roles import Quantizer
from embplug.methods.stored import StoredArray

BITS_OF_BYTE = 8


@register("product", roles=("dense_codes", "token_codes"))
@dataclass(config=ConfigDict(extra="forbid"))
class ProductQuantizer(Quantizer):
    """Quantizer that stores the number of the nearest centroid for each group of dimensions (PQ).

    A query becomes one table of dot products for each group, and the score of a code is a sum of lookups.

    Parameters
    ----------
    subspaces : int
        Number of groups. Their sizes differ by one if the dimension cannot be divided.
    bits : int, default=8
        Binary logarithm of the number of centroids of a group. With fewer vectors to learn from than
        centroids, there are as many centroids as vectors.
    rescale : bool, default=True
        Whether decoded vectors are scaled to the length of the sample, if all its vectors have the same
        length.
    iterations : int, default=25
        Number of rounds of k-means.
    seed : int, default=0
        Seed of the training.
        A fit on another processor may give slightly different results, because sums are rounded
        differently. Copy the fitted state instead of fitting again.
    kind : str, default="product"
        Name of the method in a recipe; leave it as it is.

    Attributes
    ----------
    centroids_ : ndarray of shape (n_centroids, dim), float32
        Centroids of all groups side by side.
    length_ : float
        Length of decoded vectors. 0 does not rescale.
    rotation_ : ndarray of shape (dim, dim), float32, or None
        Rotation before the quantization. None, except in an :class:`OptimizedProductQuantizer`.

    References
    ----------
    .. [1] Jégou, Douze and Schmid, "Product Quantization for Nearest Neighbor Search", TPAMI 2011.
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
        self._tables_of: tuple[Float32, ByteTables] | None = None

    @property
    @override
    def fitted_dim(self) -> int | None:
        return None if self.centroids_ is None else int(self.centroids_.shape[1])

    @override
    def bytes_per_vector(self, dim: int, *, unit_length: bool = False) -> float:
        return packed_bytes([self.bits] * self.subspaces)

    @override
    def check_vectors(self, dim: int, *, unit_length: bool) -> None:
        if self.subspaces > dim:
            raise InvalidArgumentError("subspaces", f"at most the {dim} dimensions", self.subspaces)

    def fit(self, X: ArrayLike, queries: ArrayLike | None = None) -> Self:
        """Learn the centroids with faiss.

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
            There are more subspaces than dimensions.
        MissingExtraError
            faiss is not installed.
        """
        sample = as_sample(X)
        self.check_vectors(sample.shape[1], unit_length=False)
        self.length_ = common_length(sample) if self.rescale else 0.0
        self.rotation_ = self._learn_rotation(sample)
        self.centroids_ = self._learn_centroids(self._rotated(sample))
        return self

    def _arrays(self, state: Mapping[str, NDArray[Any]]) -> dict[str, StoredArray]:
        return {
            "centroids": StoredArray(np.float32, ("centroids", "dim")),
            "length": StoredArray(np.float32, low=0),
        }

    def _check_arrays(self, arrays: State) -> None:
        count, most = len(arrays["centroids"]), 1 << self.bits
        if count > most:
            owner = type(self).__name__
            raise StateError(f"state 'centroids' of {owner}: expected at most {most} rows, got {count}")

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

    def _token_terms(self, kernel: Kernel, documents: CodedDocuments) -> TokenTerms | None:
        assert self.centroids_ is not None
        stride = self.code_bytes
        if self.bits != BITS_OF_BYTE:
            numbers = self._numbers(documents.rows(stride))
            stride = self.subspaces
            documents = CodedDocuments.of(ByteStrings.of_rows(numbers, documents.offsets), documents.offsets)
        count = len(self.centroids_)
        if count < 1 << self.bits and documents.rows(stride).max(initial=0) >= count:
            return None
        if not self.length_:
            return TokenTerms(documents, stride)
        squares = self._tables().squares().reshape(-1, ENTRIES)
        lengths = np.sqrt(token_sums(kernel, squares, documents, stride))
        factors = np.divide(self.length_, lengths, out=np.zeros_like(lengths), where=lengths > 0)
        return TokenTerms(documents, stride, scales=factors)

    def _lookups(self, kernel: Kernel, query: Float32) -> tuple[Table, Float32]:
        tables = self._tables()
        table = table_of_entries(kernel, tables.columns, tables.widths, self._rotated(query))
        return table, np.zeros((1, table.tile), dtype=np.float32)

    @override
    def _vector_table(self, kernel: Kernel, query: Float32) -> VectorTable | None:
        assert self.centroids_ is not None
        if len(self.centroids_) < 1 << self.bits:
            # Numbers without a centroid are refused by numpy.
            return None
        tables = self._tables()
        return vector_table(kernel, tables.columns, tables.widths, self._rotated(query))

    def _tables(self) -> ByteTables:
        """The centroids as entries of bytes, filled up with zeros."""
        assert self.centroids_ is not None
        if self._tables_of is None or self._tables_of[0] is not self.centroids_:
            entries = np.pad(self.centroids_, ((0, ENTRIES - len(self.centroids_)), (0, 0)))
            widths = np.array([piece.stop - piece.start for piece in self._pieces()])
            self._tables_of = self.centroids_, ByteTables(None, entries, widths)
        return self._tables_of[1]

    def _bits(self, dim: int, size: float) -> float:
        return float(self.subspaces * self.bits)

    @override
    def least_sample(self, dim: int) -> int:
        return max(dim, 1 << self.bits)

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
    """Quantizer that rotates vectors before product quantization, as fits it best (OPQ).

    Parameters
    ----------
    subspaces : int
        Number of groups. Their sizes differ by one if the dimension cannot be divided.
    bits : int, default=8
        Binary logarithm of the number of centroids of a group.
    rescale : bool, default=True
        Whether decoded vectors are scaled to the length of the sample, if all its vectors have the same
        length.
    iterations : int, default=25
        Number of rounds of k-means.
    seed : int, default=0
        Seed of the training.
        A fit on another processor may give slightly different results, because sums are rounded
        differently. Copy the fitted state instead of fitting again.
    rotation_iterations : int, default=10
        Number of training rounds of the rotation.
    kind : str, default="optimized_product"
        Name of the method in a recipe; leave it as it is.

    Attributes
    ----------
    centroids_ : ndarray of shape (n_centroids, dim), float32
        Centroids of all groups side by side.
    rotation_ : ndarray of shape (dim, dim), float32
        The rotation.
    length_ : float
        Length of decoded vectors. 0 does not rescale.

    References
    ----------
    .. [1] Ge et al., "Optimized Product Quantization for Approximate Nearest Neighbor Search", CVPR 2013.
    """

    rotation_iterations: int = Field(default=10, ge=1)
    kind: Literal["optimized_product"] = "optimized_product"  # type: ignore[assignment]

    def _arrays(self, state: Mapping[str, NDArray[Any]]) -> dict[str, StoredArray]:
        rotation = StoredArray(np.float32, ("dim", "dim"), orthonormal="rows")
        return {**super()._arrays(state), "rotation": rotation}

    def _fit_cost(self) -> str:
        rounds = f"{self.rotation_iterations} rounds of product quantization and of a (d, d) decomposition"
        return f"{rounds}, then {super()._fit_cost()}"

    def _learn_rotation(self, sample: Float32) -> Float32 | None:
        return train_opq(sample, self.subspaces, self.bits, self.rotation_iterations, self.seed)
