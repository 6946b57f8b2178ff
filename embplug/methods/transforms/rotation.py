"""Rotations: nothing is lost, and what a quantizer loses afterwards is less."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
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
    """Randomised Hadamard rotation of vectors of any dimension, which learns nothing.

    Dot products stay. The coordinates become similar in size, which helps scalar and binary quantization.
    Each round flips random signs and mixes the first ``2 ** k`` coordinates, then flips signs again and mixes
    the last ``2 ** k``, where ``2 ** k`` is the largest power of two that fits.

    Parameters
    ----------
    rounds : int, default=2
        Number of rounds.
    seed : int, default=0
        Seed of the signs. The same seed gives the same rotation on every machine.
    kind : str, default="rotation"
        Name of the method in a recipe; leave it as it is.

    References
    ----------
    .. [1] Ailon and Chazelle, "The Fast Johnson-Lindenstrauss Transform", SIAM Journal on Computing, 2009.
    """

    rounds: int = Field(default=2, ge=1, le=8)
    seed: int = Field(default=0, ge=0)
    kind: Literal["rotation"] = "rotation"

    _order: ClassVar[str] = KEPT

    trial_storage: ClassVar[Literal["float16", "binary", "product"]] = "binary"

    @classmethod
    @override
    def trials_of_size(cls, dim: int, size: int) -> dict[str, Transform]:
        return {"rotation": cls()}

    @override
    def output_dim(self, dim: int) -> int:
        return dim

    def _transform(self, vectors: Float32) -> Float32:
        from scipy.linalg import hadamard

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
        return {
            "rotation": StoredArray(np.float32, ("dim", "dim"), orthonormal="rows"),
            "sampled": StoredArray(np.int64),
        }

    def _transform(self, vectors: Float32) -> Float32:
        assert self.rotation_ is not None
        rotated: Float32 = vectors @ self.rotation_.T
        return rotated


@register("opq_rotation", roles=("transform",))
@dataclass(config=ConfigDict(extra="forbid"))
class OPQRotation(_LearnedRotation):
    """Rotation of optimized product quantization, to be put in front of a product quantizer.

    Parameters
    ----------
    subspaces : int
        Number of subspaces of the product quantizer that follows.
    bits : int, default=8
        Bits for each subspace of that quantizer.
    iterations : int, default=10
        Number of training rounds.
    seed : int, default=0
        Seed of the training.
        A fit on another processor may give slightly different results, because sums are rounded
        differently. Copy the fitted state instead of fitting again.
    kind : str, default="opq_rotation"
        Name of the method in a recipe; leave it as it is.

    Attributes
    ----------
    rotation_ : ndarray of shape (d, d), float32
        The rotation.
    sampled_ : int
        Number of vectors that were learned from.

    References
    ----------
    .. [1] Ge et al., "Optimized Product Quantization for Approximate Nearest Neighbor Search", CVPR 2013.
    """

    subspaces: int = Field(ge=1)
    bits: int = Field(default=8, ge=1, le=8)
    iterations: int = Field(default=10, ge=1)
    seed: int = Field(default=0, ge=0)
    kind: Literal["opq_rotation"] = "opq_rotation"

    trial_storage: ClassVar[Literal["float16", "binary", "product"]] = "product"

    @classmethod
    @override
    def trials_of_size(cls, dim: int, size: int) -> dict[str, Transform]:
        return {"OPQ": cls(subspaces=size, iterations=4)}

    @override
    def output_dim(self, dim: int) -> int:
        check_output_dim("subspaces", self.subspaces, dim)
        return dim

    def fit(self, X: ArrayLike, queries: ArrayLike | None = None) -> Self:
        """Learn the rotation with faiss.

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
    """Rotation after which the signs of coordinates represent vectors best (iterative quantization).

    It is to be put in front of Qdrant's binary quantization. Put :class:`PCA` in front of it to store fewer
    bits than dimensions.

    Parameters
    ----------
    iterations : int, default=50
        Number of training rounds.
    seed : int, default=0
        Seed of the rotation at the start.
        A fit on another processor may give slightly different results, because sums are rounded
        differently. Copy the fitted state instead of fitting again.
    kind : str, default="itq_rotation"
        Name of the method in a recipe; leave it as it is.

    Attributes
    ----------
    rotation_ : ndarray of shape (d, d), float32
        The rotation.
    sampled_ : int
        Number of vectors that were learned from.

    References
    ----------
    .. [1] Gong et al., "Iterative Quantization: A Procrustean Approach to Learning Binary Codes for
           Large-Scale Image Retrieval", TPAMI 2013.
    """

    iterations: int = Field(default=50, ge=1)
    seed: int = Field(default=0, ge=0)
    kind: Literal["itq_rotation"] = "itq_rotation"

    trial_storage: ClassVar[Literal["float16", "binary", "product"]] = "binary"

    @classmethod
    @override
    def trials_of_size(cls, dim: int, size: int) -> dict[str, Transform]:
        return {"ITQ": cls()}

    def fit(self, X: ArrayLike, queries: ArrayLike | None = None) -> Self:
        """Learn the rotation.

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
        """
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
