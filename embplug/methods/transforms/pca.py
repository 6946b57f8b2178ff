"""Principal components: the directions in which vectors differ most."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from typing_extensions import Self, override

from embplug.errors import InvalidArgumentError
from embplug.methods.numeric.arrays import Float32, State, as_sample, as_vectors
from embplug.methods.numeric.rows import second_moments, unit_rows
from embplug.methods.registry import register
from embplug.methods.roles import Transform
from embplug.methods.stored import LARGEST_VARIANCE, StoredArray
from embplug.methods.transforms.base import check_output_dim

RANDOMIZED_FROM_DIM = 2048
OVERSAMPLES = 16
POWER_ROUNDS = 4

ROUNDING = 1e-7
"""Components with less than this share of the largest variance are rounding errors of float32."""


class _Solution(NamedTuple):
    """Learned arrays: ``mean`` (d,), ``components`` (output_dim, d) and ``variances`` (output_dim,)."""

    mean: Float32
    components: Float32
    variances: Float32


@register("pca", roles=("transform",))
@dataclass(config=ConfigDict(extra="forbid"))
class PCA(Transform):
    """Principal component analysis: keeps the directions in which vectors differ most.

    With the default parameters, dot products of queries and documents rank as before, except for what the
    dropped components held.

    Parameters
    ----------
    dim : int, default=None
        Number of components to keep. None keeps all of them, which is a rotation.
    center : {"documents", "both", "none"}, default="documents"
        Vectors from which the mean of the sample is subtracted. ``"documents"`` shifts all scores of a query
        by the same number. ``"both"`` also centres queries, as in PCA-RAG. ``"none"`` takes the components of
        the second moments without centring.
    whiten : {"none", "documents", "both"}, default="none"
        Vectors whose components are divided by their standard deviation. ``"documents"`` multiplies the
        components of queries instead, so that dot products stay. ``"both"`` divides on both sides, which
        changes the ranking.
    normalize : bool, default=False
        Whether results are scaled to length 1, so that dot products are cosines.
    solver : {"auto", "exact", "randomized"}, default="auto"
        ``"exact"`` computes the eigenvectors of the covariance. ``"randomized"`` is a subspace iteration
        whose cost grows with ``dim`` instead of all dimensions. ``"auto"`` takes the randomized solver for
        2,048 dimensions or more if at most a quarter of them is kept.
    seed : int, default=0
        Seed of the randomized solver.
        A fit on another processor may give slightly different results, because sums are rounded
        differently. Copy the fitted state instead of fitting again.
    kind : str, default="pca"
        Name of the method in a recipe; leave it as it is.

    Attributes
    ----------
    mean_ : ndarray of shape (d,), float32
        Mean of the sample, or zeros if ``center="none"``.
    components_ : ndarray of shape (output_dim, d), float32
        Directions, as rows.
    variances_ : ndarray of shape (output_dim,), float32
        Variance of the sample along each direction, in falling order.

    References
    ----------
    .. [1] Khaledian et al., "PCA-RAG: Principal Component Analysis for Efficient Retrieval-Augmented
           Generation", 2025.
    """

    dim: int | None = Field(default=None, ge=1)
    center: Literal["none", "documents", "both"] = "documents"
    whiten: Literal["none", "documents", "both"] = "none"
    normalize: bool = False
    solver: Literal["auto", "exact", "randomized"] = "auto"
    seed: int = Field(default=0, ge=0)
    kind: Literal["pca"] = "pca"

    def __post_init__(self) -> None:
        self._solution: _Solution | None = None
        self._count = 0
        self._sum: NDArray[np.float64] | None = None
        self._moments: NDArray[np.float64] | None = None

    @property
    def mean_(self) -> Float32 | None:
        """Mean that is subtracted, (d,). None before anything was learned."""
        learned = self._learned()
        return None if learned is None else learned.mean

    @property
    def components_(self) -> Float32 | None:
        """Directions as rows, (output_dim, d). None before anything was learned."""
        learned = self._learned()
        return None if learned is None else learned.components

    @property
    def variances_(self) -> Float32 | None:
        """Variance of the sample along each direction, (output_dim,), in falling order."""
        learned = self._learned()
        return None if learned is None else learned.variances

    @classmethod
    @override
    def trials_of_size(cls, dim: int, size: int) -> dict[str, Transform]:
        return {"PCA": cls(size)}

    @property
    @override
    def fitted_dim(self) -> int | None:
        learned = self._learned()
        return None if learned is None else int(learned.components.shape[1])

    @property
    @override
    def unit_length(self) -> bool:
        return self.normalize

    @override
    def output_dim(self, dim: int) -> int:
        return dim if self.dim is None else check_output_dim("dim", self.dim, dim)

    def fit(self, X: ArrayLike, queries: ArrayLike | None = None) -> Self:
        """Learn the components.

        With fewer vectors than components, the components that the sample does not determine are any
        orthogonal directions. :meth:`describe` notes it.

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
            ``dim`` is larger than the dimension of the vectors.
        """
        sample = as_sample(X)
        kept = self.output_dim(sample.shape[1])
        self.__post_init__()
        self._count = len(sample)
        self._sum = sample.sum(axis=0, dtype=np.float64)
        if self._randomizes(sample.shape[1], kept) and kept + OVERSAMPLES < len(sample):
            self._solution = self._kept(*self._subspace(sample, kept), sample.shape[1])
        else:
            self._moments = second_moments(sample)
            self._solution = self._solved(kept)
        self._moments = None
        return self

    def partial_fit(self, X: ArrayLike) -> Self:
        """Learn from one more batch. The result is that of :meth:`fit` on all batches together.

        The memory is one matrix (d, d) for any number of batches. A batch is only added to sums. The
        components are computed when they are first needed after it. The sums are not part of the stored
        state.

        Parameters
        ----------
        X : array-like of shape (n, d)
            Vectors of documents.

        Returns
        -------
        self

        Raises
        ------
        InvalidArgumentError
            The object was fitted by :meth:`fit` or restored, so that its sums are not known.
        DimensionError
            The batch has another dimension than the batches before.
        """
        if self._solution is not None and self._moments is None:
            raise InvalidArgumentError("X", "batches from the beginning", "one after fit or set_state")
        sample = as_sample(X) if self._sum is None else as_vectors(X, len(self._sum))
        self.output_dim(sample.shape[1])
        if self._sum is None or self._moments is None:
            self._sum = np.zeros(sample.shape[1])
            self._moments = np.zeros((sample.shape[1], sample.shape[1]))
        self._count += len(sample)
        self._sum += sample.sum(axis=0, dtype=np.float64)
        self._moments += second_moments(sample)
        self._solution = None
        return self

    def _arrays(self, state: Mapping[str, NDArray[Any]]) -> dict[str, StoredArray]:
        kept: int | str = self.dim or "dim"
        return {
            "mean": StoredArray(np.float32, ("dim",)),
            "components": StoredArray(np.float32, (kept, "dim"), orthonormal="rows"),
            "variances": StoredArray(np.float32, (kept,), low=0, high=LARGEST_VARIANCE),
            "samples": StoredArray(np.int64),
        }

    def _to_arrays(self) -> State:
        learned = self._learned()
        assert learned is not None
        return {**learned._asdict(), "samples": np.array(self._count, dtype=np.int64)}

    def _from_arrays(self, arrays: State) -> None:
        self._solution = _Solution(arrays["mean"], arrays["components"], arrays["variances"])
        self._count = int(arrays["samples"])

    def _transform(self, vectors: Float32) -> Float32:
        return self._project(vectors, self.center != "none", -1 if self.whiten != "none" else 0)

    def _transform_query(self, vectors: Float32) -> Float32:
        power = {"none": 0, "both": -1, "documents": 1}[self.whiten]
        return self._project(vectors, self.center == "both", power)

    @property
    def _order(self) -> str:  # type: ignore[override]
        if self.center == "both" or self.whiten == "both" or self.normalize:
            return "changed on purpose by centred queries, whitening or normalizing"
        return "that of the input, but for what the dropped components held"

    def _fit_cost(self) -> str:
        learned = self._learned()
        assert learned is not None
        kept, dim = learned.components.shape
        # Sums of batches, and samples too small for it, are solved exactly.
        if self._moments is None and self._randomizes(dim, kept) and kept + OVERSAMPLES < self._count:
            return f"{POWER_ROUNDS + 2} passes over the sample, each (n, d) x (d, {kept + OVERSAMPLES})"
        return "one product (d, n) x (n, d) and the eigenvectors of a (d, d) matrix"

    def _notes(self) -> list[str]:
        learned = self._learned()
        assert learned is not None
        empty = int((learned.variances <= 0).sum())
        if not empty:
            return []
        return [f"{empty} of {len(learned.variances)} components hold nothing in a sample of {self._count}"]

    def _learned(self) -> _Solution | None:
        """Learned arrays, which are computed now if batches came since the last use."""
        if self._solution is None and self._moments is not None:
            self._solution = self._solved(self.output_dim(len(self._moments)))
        return self._solution

    def _randomizes(self, dim: int, kept: int) -> bool:
        large = dim >= RANDOMIZED_FROM_DIM and 4 * kept <= dim
        return self.solver == "randomized" or (self.solver == "auto" and large)

    def _solved(self, kept: int) -> _Solution:
        """Eigenvectors of the covariance, from the sums."""
        from scipy.linalg import eigh

        assert self._sum is not None and self._moments is not None
        covariance = self._moments / max(self._count, 1)
        if self.center != "none":
            mean = self._sum / max(self._count, 1)
            covariance -= np.outer(mean, mean)
        dim = len(covariance)
        width = kept + OVERSAMPLES
        if self._randomizes(dim, kept) and width < min(dim, self._count):
            return self._kept(*self._principal(covariance, kept), dim)
        variances, vectors = eigh(covariance, subset_by_index=[dim - kept, dim - 1])
        return self._kept(variances[::-1], vectors[:, ::-1].T, dim)

    def _principal(
        self, covariance: NDArray[np.float64], kept: int
    ) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """Variances and components by subspace iteration on the covariance itself."""
        generator = np.random.default_rng(self.seed)
        basis = generator.standard_normal((len(covariance), kept + OVERSAMPLES))
        for _ in range(POWER_ROUNDS):
            basis = covariance @ np.linalg.qr(basis)[0]
        basis = np.linalg.qr(basis)[0]
        return _leading(basis, basis.T @ covariance @ basis, kept)

    def _subspace(self, sample: Float32, kept: int) -> tuple[NDArray[Any], NDArray[Any]]:
        """Variances and components by subspace iteration; centring is done without a centred copy."""
        assert self._sum is not None
        mean = self._sum / len(sample) if self.center != "none" else np.zeros(sample.shape[1])
        mean = mean.astype(np.float32)
        generator = np.random.default_rng(self.seed)
        width = min(kept + OVERSAMPLES, *sample.shape)
        basis = generator.standard_normal((sample.shape[1], width)).astype(np.float32)
        for _ in range(POWER_ROUNDS):
            basis = np.linalg.qr(basis)[0]
            scores = sample @ basis - mean @ basis
            basis = sample.T @ scores - np.outer(mean, scores.sum(axis=0))
        basis = np.linalg.qr(basis)[0]
        scores = (sample @ basis - mean @ basis).astype(np.float64)
        return _leading(basis, scores.T @ scores / len(sample), kept)

    def _kept(self, variances: NDArray[Any], components: NDArray[Any], dim: int) -> _Solution:
        assert self._sum is not None
        # Solvers choose the sign of an eigenvector. A fixed one makes results repeatable.
        largest = components[np.arange(len(components)), np.abs(components).argmax(axis=1)]
        components = components * np.where(largest < 0, -1.0, 1.0)[:, None]
        variances = np.where(variances > ROUNDING * variances[0], variances, 0.0)
        mean = self._sum / max(self._count, 1) if self.center != "none" else np.zeros(dim)
        return _Solution(
            mean.astype(np.float32),
            np.ascontiguousarray(components, dtype=np.float32),
            variances.astype(np.float32),
        )

    def _project(self, vectors: Float32, center: bool, power: int) -> Float32:
        learned = self._learned()
        assert learned is not None
        projected = vectors @ learned.components.T
        if center:
            projected -= learned.components @ learned.mean
        if power:
            # A component without variance has nothing to compare: it becomes zero on either side.
            deviations = np.sqrt(learned.variances)
            scales = np.divide(1, deviations, out=np.zeros_like(deviations), where=deviations > 0)
            projected *= scales if power < 0 else deviations
        return unit_rows(projected) if self.normalize else projected


def _leading(
    basis: NDArray[Any], projected: NDArray[np.float64], kept: int
) -> tuple[NDArray[np.float64], NDArray[Any]]:
    """Variances and components within a basis (d, m), from the covariance (m, m) in its coordinates."""
    variances, rotation = np.linalg.eigh(projected)
    order = np.argsort(-variances)[:kept]
    return variances[order], (basis @ rotation[:, order]).T
