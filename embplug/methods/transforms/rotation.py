"""Rotations: nothing is lost, and what a quantizer loses afterwards is less."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from scipy.linalg import hadamard
from typing_extensions import Self, override

from embplug.methods.numeric.arrays import Float32, as_sample
from embplug.methods.numeric.codebooks import train_opq
from embplug.methods.registry import register
from embplug.methods.roles import Transform
from embplug.methods.stored import StoredArray
from embplug.methods.transforms.base import check_output_dim, too_few

KEPT = "that of the input: a rotation keeps dot products"


@register("rotation", roles=("transform",))
@dataclass(config=ConfigDict(extra="forbid"))
class Rotation(Transform):
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

    _order: ClassVar[str] = KEPT

    @override
    def output_dim(self, dim: int) -> int:
        return dim

    def _transform(self, vectors: Float32) -> Float32:
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


class _LearnedRotation(Transform):
    """Base of rotations that are learned as one matrix."""

    _order: ClassVar[str] = KEPT

    def __post_init__(self) -> None:
        self.rotation_: Float32 | None = None
        """(dim, dim)"""
        self.sampled_ = 0

    @property
    def fitted_dim(self) -> int | None:
        return None if self.rotation_ is None else int(self.rotation_.shape[1])

    def output_dim(self, dim: int) -> int:
        return dim

    def _arrays(self, state: Mapping[str, NDArray[Any]]) -> dict[str, StoredArray]:
        return {"rotation": StoredArray(np.float32, ("dim", "dim")), "sampled": StoredArray(np.int64)}

    def _transform(self, vectors: Float32) -> Float32:
        assert self.rotation_ is not None
        rotated: Float32 = vectors @ self.rotation_.T
        return rotated


@register("opq_rotation", roles=("transform",))
@dataclass(config=ConfigDict(extra="forbid"))
class OPQRotation(_LearnedRotation):
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
        Seed of the training. A fit on another processor rounds otherwise
        and may differ: share the fitted state between machines.
    """

    subspaces: int = Field(ge=1)
    bits: int = Field(default=8, ge=1, le=8)
    iterations: int = Field(default=10, ge=1)
    seed: int = Field(default=0, ge=0)
    kind: Literal["opq_rotation"] = "opq_rotation"

    @override
    def output_dim(self, dim: int) -> int:
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

    def _fit_cost(self) -> str:
        return (
            f"{self.iterations} rounds of product quantization and of a (d, d) singular value decomposition"
        )

    def _notes(self) -> list[str]:
        return too_few(self.sampled_, 1 << self.bits, "centroids of each subspace")


@register("itq_rotation", roles=("transform",))
@dataclass(config=ConfigDict(extra="forbid"))
class ITQRotation(_LearnedRotation):
    """The rotation after which signs of coordinates stand best for vectors (iterative quantization).

    For one bit a dimension: in front of the engine's binary quantization. Put
    :class:`~embplug.methods.transforms.pca.PCA` in front of it to have fewer bits than dimensions.

    Parameters
    ----------
    iterations
        Rounds of training.
    seed
        Seed of the rotation it starts from. A fit on another processor rounds otherwise
        and may differ: share the fitted state between machines.
    """

    iterations: int = Field(default=50, ge=1)
    seed: int = Field(default=0, ge=0)
    kind: Literal["itq_rotation"] = "itq_rotation"

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

    def _fit_cost(self) -> str:
        return f"{self.iterations} rounds of two products (n, d) x (d, d) and a singular value decomposition"

    def _notes(self) -> list[str]:
        return too_few(self.sampled_, self.fitted_dim or 0, "dimensions")
