"""Rotations: nothing is lost, and what a quantizer loses afterwards is less."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from scipy.linalg import hadamard
from typing_extensions import Self

from embplug.methods.numeric.arrays import (
    Float32,
    State,
    as_sample,
    as_vectors,
    check_state,
    not_fitted,
    state_bytes,
)
from embplug.methods.numeric.codebooks import train_opq
from embplug.methods.transforms.base import NothingLearned, TransformDescription, check_output_dim, too_few

KEPT = "as given: a rotation keeps dot products"


@dataclass(config=ConfigDict(extra="forbid"))
class Rotation(NothingLearned):
    """Randomised Hadamard rotation of vectors of any dimension.

    Coordinates become alike in size and independent of what the model did with each, which is what
    scalar and binary quantizers work best on. Each round flips random signs and mixes the first
    ``2 ** k`` coordinates, then flips again and mixes the last ``2 ** k``, where ``2 ** k`` is the largest
    power of two that fits.

    Parameters
    ----------
    rounds
        Rounds of mixing.
    seed
        The same seed gives the same rotation everywhere.
    """

    rounds: int = Field(default=2, ge=1, le=8)
    seed: int = Field(default=0, ge=0)
    kind: Literal["rotation"] = "rotation"

    @property
    def unit_length(self) -> bool:
        """Whether results have unit length: only if the vectors have it."""
        return False

    def output_dim(self, dim: int) -> int:
        """Dimension of the results: the same."""
        return dim

    def describe(self, dim: int | None = None) -> TransformDescription:
        """Say what is kept.

        Parameters
        ----------
        dim
            Of the vectors that will be given: it learns nothing, so it cannot know.
        """
        return TransformDescription(self.kind, dim, dim, 0, KEPT, "none")

    def _made(self, vectors: Float32) -> Float32:
        dim = vectors.shape[1]
        size = 1 << (dim.bit_length() - 1)
        outer = 1 << ((dim.bit_length() - 1) // 2)
        # A Hadamard matrix is a Kronecker product of smaller ones, so two small products do.
        left = (hadamard(outer) / np.sqrt(outer)).astype(np.float32)
        right = (hadamard(size // outer) / np.sqrt(size // outer)).astype(np.float32)
        generator = np.random.default_rng([self.seed, dim])
        rotated: Float32 = vectors.copy()
        for _ in range(self.rounds):
            for block in (slice(0, size), slice(dim - size, dim)):
                rotated *= np.where(generator.random(dim) < 0.5, np.float32(-1), np.float32(1))
                mixed = left @ rotated[:, block].reshape(len(rotated), outer, size // outer) @ right
                rotated[:, block] = mixed.reshape(len(rotated), size)
        return rotated


class _Learned:
    """What rotations that are learned as one matrix share."""

    kind: str

    def __post_init__(self) -> None:
        self.rotation_: Float32 | None = None
        self.sampled_ = 0

    @property
    def requires_fit(self) -> bool:
        """Always."""
        return True

    @property
    def unit_length(self) -> bool:
        """Whether results have unit length: only if the vectors have it."""
        return False

    def transform(self, X: ArrayLike) -> Float32:
        """Rotate documents (n, d)."""
        return self._rotate(X, "X")

    def transform_query(self, Q: ArrayLike) -> Float32:
        """Rotate queries (n, d)."""
        return self._rotate(Q, "Q")

    def get_state(self) -> State:
        """The rotation (output_dim, d), and from how many vectors; empty before ``fit``."""
        if self.rotation_ is None:
            return {}
        return {"rotation": self.rotation_, "sampled": np.array(self.sampled_)}

    def set_state(self, state: State) -> None:
        """Restore what :meth:`get_state` returned."""
        if state:
            check_state(state, {"rotation", "sampled"}, self)
        self.rotation_, self.sampled_ = state.get("rotation"), int(state.get("sampled", 0))

    def _rotate(self, given: ArrayLike, argument: str) -> Float32:
        if self.rotation_ is None:
            raise not_fitted(self)
        rotated: Float32 = as_vectors(given, self.rotation_.shape[1], argument) @ self.rotation_.T
        return rotated

    def _described(self, fit_cost: str, needed: int, of: str) -> TransformDescription:
        """``needed`` is the number of ``of`` that fewer vectors do not tell."""
        if self.rotation_ is None:
            raise not_fitted(self)
        rows, dim = self.rotation_.shape
        notes = too_few(self.sampled_, needed, of)
        return TransformDescription(
            self.kind, dim, rows, state_bytes(self.get_state()), KEPT, fit_cost, notes
        )


@dataclass(config=ConfigDict(extra="forbid"))
class OPQRotation(_Learned):
    """The rotation of optimized product quantization, trained by faiss, in front of a product quantizer.

    Parameters
    ----------
    subspaces
        Of the product quantizer that follows.
    bits
        Of that quantizer, for each subspace.
    iterations
        Rounds of training.
    seed
        Of the training.
    """

    subspaces: int = Field(ge=1)
    bits: int = Field(default=8, ge=1, le=8)
    iterations: int = Field(default=10, ge=1)
    seed: int = Field(default=0, ge=0)
    kind: Literal["opq_rotation"] = "opq_rotation"

    def output_dim(self, dim: int) -> int:
        """Dimension of the results: the same."""
        check_output_dim("subspaces", self.subspaces, dim)
        return dim

    def fit(self, X: ArrayLike, queries: ArrayLike | None = None) -> Self:
        """Learn from documents (n, d); queries are not used.

        Raises
        ------
        InvalidArgumentError
            More subspaces than dimensions.
        MissingExtraError
            faiss is not installed.
        """
        sample = as_sample(X)
        self.output_dim(sample.shape[1])
        self.sampled_ = len(sample)
        self.rotation_ = train_opq(sample, self.subspaces, self.bits, self.iterations, self.seed)
        return self

    def describe(self) -> TransformDescription:
        """Say what is kept, and at what cost."""
        cost = (
            f"{self.iterations} rounds of product quantization and of a (d, d) singular value decomposition"
        )
        return self._described(cost, 1 << self.bits, "centroids of each subspace")


@dataclass(config=ConfigDict(extra="forbid"))
class ITQRotation(_Learned):
    """The rotation after which signs of coordinates stand best for vectors (iterative quantization).

    For one bit a dimension: in front of the engine's binary quantization. Put
    :class:`~embplug.methods.transforms.pca.PCA` in front of it to have fewer bits than dimensions.

    Parameters
    ----------
    iterations
        Rounds of training.
    seed
        Of the rotation it starts from.
    """

    iterations: int = Field(default=50, ge=1)
    seed: int = Field(default=0, ge=0)
    kind: Literal["itq_rotation"] = "itq_rotation"

    def output_dim(self, dim: int) -> int:
        """Dimension of the results: the same."""
        return dim

    def fit(self, X: ArrayLike, queries: ArrayLike | None = None) -> Self:
        """Learn from documents (n, d); queries are not used."""
        sample = as_sample(X)
        dim = sample.shape[1]
        generator = np.random.default_rng(self.seed)
        rotation = np.linalg.qr(generator.standard_normal((dim, dim)))[0].astype(np.float32)
        for _ in range(self.iterations):
            signs = np.where(sample @ rotation.T > 0, np.float32(1), np.float32(-1))
            left, _, right = np.linalg.svd((signs.T @ sample).astype(np.float64))
            rotation = (left @ right).astype(np.float32)
        self.rotation_, self.sampled_ = np.ascontiguousarray(rotation), len(sample)
        return self

    def describe(self) -> TransformDescription:
        """Say what is kept, and at what cost."""
        cost = f"{self.iterations} rounds of two products (n, d) x (d, d) and a singular value decomposition"
        dim = 0 if self.rotation_ is None else self.rotation_.shape[1]
        return self._described(cost, dim, "dimensions")
