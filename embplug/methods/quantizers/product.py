"""Product quantization, plain and optimized: one codebook for each group of dimensions."""

from __future__ import annotations

from typing import Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from typing_extensions import Self

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
from embplug.methods.numeric.codebooks import nearest, pieces, rebuilt, train_codebooks, train_opq
from embplug.methods.numeric.levels import common_length
from embplug.methods.numeric.packing import pack, packed_bytes, unpack
from embplug.methods.quantizers.base import Description


class Tables(NamedTuple):
    """A prepared query.

    Attributes
    ----------
    entries : float32 (subspaces, centroids, columns)
        Dot products with all centroids; where results are rescaled, a last column holds the squared
        lengths of the centroids.
    single
        Whether the query was a single vector.
    """

    entries: Float32
    single: bool


@dataclass(config=ConfigDict(extra="forbid"))
class ProductQuantizer:
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
        Of the training.
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
    def dim(self) -> int:
        """Dimension of the vectors it was fitted on."""
        if self.centroids_ is None:
            raise not_fitted(self)
        return int(self.centroids_.shape[1])

    @property
    def code_bytes(self) -> int:
        """Bytes of one vector."""
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

    def encode(self, X: ArrayLike) -> Codes:
        """Codes uint8 (n, code_bytes) of ``X`` (n, d)."""
        vectors = self._rotated(as_vectors(X, self.dim))
        assert self.centroids_ is not None
        return pack(nearest(vectors, self.centroids_, self._pieces()), [self.bits] * self.subspaces)

    def decode(self, codes: Codes) -> Float32:
        """Vectors (n, d) that the codes stand for."""
        numbers = self._numbers(codes)
        assert self.centroids_ is not None
        vectors = rebuilt(numbers, self.centroids_, self._pieces())
        if self.length_:
            lengths = np.linalg.norm(vectors, axis=1, keepdims=True)
            vectors *= np.divide(self.length_, lengths, out=np.zeros_like(lengths), where=lengths > 0)
        return vectors if self.rotation_ is None else vectors @ self.rotation_

    def encode_query(self, q: ArrayLike) -> Tables:
        """Tables of one query (d,) or of the tokens of one query (t, d)."""
        query, single = as_query(q, self.dim)
        assert self.centroids_ is not None
        rotated = self._rotated(query)
        tables = []
        for piece in self._pieces():
            centroids = self.centroids_[:, piece]
            table = centroids @ rotated[:, piece].T
            if self.length_:
                table = np.column_stack([table, np.einsum("cd,cd->c", centroids, centroids)])
            tables.append(table)
        return Tables(np.ascontiguousarray(np.stack(tables)), single)

    def score(self, query: Tables, codes: Codes) -> Float32:
        """Dot products (n,) or (n, t) of a prepared query with coded vectors."""
        numbers = self._numbers(codes)
        sums = np.zeros((len(numbers), query.entries.shape[2]), dtype=np.float32)
        for table, column in zip(query.entries, np.ascontiguousarray(numbers.T), strict=True):
            sums += table[column]
        scores = sums
        if self.length_:
            lengths = np.sqrt(sums[:, -1:])
            scores = sums[:, :-1] * np.divide(
                self.length_, lengths, out=np.zeros_like(lengths), where=lengths > 0
            )
        return np.ascontiguousarray(scores[:, 0] if query.single else scores)

    def get_state(self) -> State:
        """Learned arrays; empty before :meth:`fit`."""
        if self.centroids_ is None:
            return {}
        state: State = {
            "centroids": self.centroids_,
            "length": np.array(self.length_, dtype=np.float32),
        }
        return state if self.rotation_ is None else {**state, "rotation": self.rotation_}

    def set_state(self, state: State) -> None:
        """Restore what :meth:`get_state` returned."""
        self.centroids_ = self.rotation_ = None
        if state:
            check_state(state, {"centroids", "length"} | self._learned_first, self)
            self.centroids_, self.rotation_ = state["centroids"], state.get("rotation")
            self.length_ = float(state["length"])

    def describe(self) -> Description:
        """Say what a vector costs and how it is scored."""
        dim = self.dim
        assert self.centroids_ is not None
        notes = []
        count = len(self.centroids_)
        if count < 1 << self.bits:
            notes.append(f"{count} centroids instead of {1 << self.bits}: the sample had no more vectors")
        if self.rescale and not self.length_:
            notes.append("not rescaled: the lengths of the sample differ")
        return Description(
            method=self.kind,
            dim=dim,
            code_bytes=self.code_bytes,
            bits=float(self.subspaces * self.bits),
            state_bytes=state_bytes(self.get_state()),
            exact_queries=True,
            fit_cost=self._fit_cost(),
            notes=tuple(notes),
        )

    @property
    def _learned_first(self) -> set[str]:
        """Names in the state of what is learned before the centroids."""
        return set()

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
        if self.centroids_ is None:
            raise not_fitted(self)
        return unpack(check_codes(codes, self.code_bytes), [self.bits] * self.subspaces)


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

    @property
    def _learned_first(self) -> set[str]:
        return {"rotation"}

    def _fit_cost(self) -> str:
        rounds = f"{self.rotation_iterations} rounds of product quantization and of a (d, d) decomposition"
        return f"{rounds}, then {super()._fit_cost()}"

    def _learn_rotation(self, sample: Float32) -> Float32 | None:
        return train_opq(sample, self.subspaces, self.bits, self.rotation_iterations, self.seed)
