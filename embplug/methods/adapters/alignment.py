"""From one model's space to another's: what a query of a new model would have been in the old one's."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from typing_extensions import Self, override

from embplug.common.extras import import_extra
from embplug.common.threads import single_torch_thread
from embplug.errors import LengthMismatchError
from embplug.methods.numeric.arrays import Float32, State, as_sample, as_vectors
from embplug.methods.registry import register
from embplug.methods.roles import Adapter
from embplug.methods.stored import StoredArray

Float64 = Any
"""float64 arrays, in which maps are solved for."""

LEAST_RIDGE = 1e-6
"""Without any, fewer pairs than dimensions could not be solved for."""
CANDIDATES = 1024
"""Documents that a step of training ranks."""
_NETWORK = ("w1", "b1", "w2", "b2")


class _AffineAdapter(Adapter):
    """Base of adapters that are a matrix and an offset.

    A subclass gives ``_solve``: from paired vectors, the matrix and the offset.
    """

    def __post_init__(self) -> None:
        self.matrix_: Float32 | None = None
        """(new dim, old dim)"""
        self.offset_: Float32 | None = None
        self.new_mean_: Float32 | None = None
        self.old_mean_: Float32 | None = None

    @property
    def fitted_dim(self) -> int | None:
        return None if self.matrix_ is None else int(self.matrix_.shape[0])

    @override
    def fit(self, new: ArrayLike, old: ArrayLike) -> Self:
        sources, targets = as_sample(new), as_sample(old)
        if len(sources) != len(targets):
            raise LengthMismatchError("old", f"{len(sources)} vectors, one for each new one", len(targets))
        x, y = sources.astype(np.float64), targets.astype(np.float64)
        matrix, offset = self._solve(x, y)
        self.matrix_, self.offset_ = matrix.astype(np.float32), offset.astype(np.float32)
        self.new_mean_, self.old_mean_ = x.mean(0).astype(np.float32), y.mean(0).astype(np.float32)
        return self

    @override
    def transform(self, X: ArrayLike) -> Float32:
        vectors = as_vectors(X, self.new_dim)
        assert self.matrix_ is not None and self.offset_ is not None
        mapped: Float32 = vectors @ self.matrix_ + self.offset_
        return mapped

    @override
    def missing(self, X: ArrayLike) -> Float32:
        self._check_fitted()
        assert self.new_mean_ is not None and self.old_mean_ is not None
        missing: Float32 = as_vectors(X) @ self.new_mean_ - self.transform(X) @ self.old_mean_
        return missing

    def bytes_per_vector(self, dim: int, *, unit_length: bool = False) -> float:
        return 4 * (dim if self.old_mean_ is None else len(self.old_mean_))

    def _arrays(self, state: Mapping[str, NDArray[Any]]) -> dict[str, StoredArray]:
        return {
            "matrix": StoredArray(np.float32, ("new", "old")),
            "offset": StoredArray(np.float32, ("old",)),
            "new_mean": StoredArray(np.float32, ("new",)),
            "old_mean": StoredArray(np.float32, ("old",)),
        }

    def _described_dim(self, dim: int | None) -> int | None:
        return None if self.old_mean_ is None else len(self.old_mean_)

    def _fit_cost(self) -> str:
        return "one decomposition of a (d, d) matrix"

    def _solve(self, x: Float64, y: Float64) -> tuple[Float64, Float64]:
        raise NotImplementedError


@register("procrustes", roles=("adapter",))
@dataclass(config=ConfigDict(extra="forbid"))
class Procrustes(_AffineAdapter):
    """Rotation that brings the new vectors closest to the old ones.

    A few hundred pairs are enough to learn it.

    Parameters
    ----------
    center : bool, default=True
        Whether the mean of the new vectors is moved to that of the old vectors.
    scale : bool, default=False
        Whether each dimension is also scaled.
    kind : str, default="procrustes"
        Name of the method in a recipe; leave it as it is.

    Attributes
    ----------
    matrix_ : ndarray of shape (new_dim, old_dim), float32
        Linear map of new vectors to old vectors.
    offset_ : ndarray of shape (old_dim,), float32
        Offset that is added after the map.
    new_mean_ : ndarray of shape (new_dim,), float32
        Mean of the new vectors.
    old_mean_ : ndarray of shape (old_dim,), float32
        Mean of the old vectors.

    References
    ----------
    .. [1] Schönemann, "A generalized solution of the orthogonal Procrustes problem", Psychometrika, 1966.
    """

    center: bool = True
    scale: bool = False
    kind: Literal["procrustes"] = "procrustes"

    def _solve(self, x: Float64, y: Float64) -> tuple[Float64, Float64]:
        middle = x.mean(0) if self.center else np.zeros(x.shape[1])
        target = y.mean(0) if self.center else np.zeros(y.shape[1])
        left, _, right = np.linalg.svd((x - middle).T @ (y - target), full_matrices=False)
        matrix = left @ right
        offset = target - middle @ matrix
        if self.scale:
            estimate = x @ matrix + offset
            factors = (estimate * y).sum(0) / np.maximum(np.square(estimate).sum(0), 1e-12)
            matrix, offset = matrix * factors, offset * factors
        return matrix, offset


@register("affine", roles=("adapter",))
@dataclass(config=ConfigDict(extra="forbid"))
class LowRankAffine(_AffineAdapter):
    """Linear map of old documents to new ones with the least squared error, applied to the query.

    The dot product of a new query with the prediction of a new document from the old one is a dot product
    with the old document. It needs more pairs than dimensions.

    Parameters
    ----------
    rank : int, default=256
        Number of directions of the new space that are predicted. None predicts all.
    ridge : float, default=0.03
        Regularisation, as a share of the mean variance.
    kind : str, default="affine"
        Name of the method in a recipe; leave it as it is.

    Attributes
    ----------
    matrix_ : ndarray of shape (new_dim, old_dim), float32
        Linear map of new vectors to old vectors.
    offset_ : ndarray of shape (old_dim,), float32
        Offset that is added after the map.
    new_mean_ : ndarray of shape (new_dim,), float32
        Mean of the new vectors.
    old_mean_ : ndarray of shape (old_dim,), float32
        Mean of the old vectors.
    """

    rank: Annotated[int, Field(ge=1)] | None = 256
    ridge: float = Field(default=0.03, ge=0)
    kind: Literal["affine"] = "affine"

    def _solve(self, x: Float64, y: Float64) -> tuple[Float64, Float64]:
        centered, targets = y - y.mean(0), x - x.mean(0)
        gram = centered.T @ centered
        variance = max(np.trace(gram) / len(gram), 1e-12)
        gram[np.diag_indices_from(gram)] += max(self.ridge, LEAST_RIDGE) * variance
        guess = np.linalg.solve(gram, centered.T @ targets)
        if self.rank is not None and self.rank < min(guess.shape):
            directions = np.linalg.svd(centered @ guess, full_matrices=False)[2][: self.rank]
            guess = guess @ directions.T @ directions
        return guess.T, np.zeros(y.shape[1])


@register("dimension_scale", roles=("adapter",))
@dataclass(config=ConfigDict(extra="forbid"))
class DimensionScale(_AffineAdapter):
    """Scale and offset for each dimension, for two versions of one model with equal dimensions.

    Parameters
    ----------
    kind : str, default="dimension_scale"
        Name of the method in a recipe; leave it as it is.

    Attributes
    ----------
    matrix_ : ndarray of shape (new_dim, old_dim), float32
        Linear map of new vectors to old vectors.
    offset_ : ndarray of shape (old_dim,), float32
        Offset that is added after the map.
    new_mean_ : ndarray of shape (new_dim,), float32
        Mean of the new vectors.
    old_mean_ : ndarray of shape (old_dim,), float32
        Mean of the old vectors.
    """

    kind: Literal["dimension_scale"] = "dimension_scale"

    def _solve(self, x: Float64, y: Float64) -> tuple[Float64, Float64]:
        if x.shape[1] != y.shape[1]:
            raise LengthMismatchError("old", f"{x.shape[1]} dimensions, as the new vectors", y.shape[1])
        middle, target = x.mean(0), y.mean(0)
        spread = np.square(x - middle).sum(0)
        factors = ((x - middle) * (y - target)).sum(0) / np.maximum(spread, 1e-12)
        return np.diag(factors), target - middle * factors


@register("relative", roles=("adapter",))
@dataclass(config=ConfigDict(extra="forbid"))
class RelativeAnchors(_AffineAdapter):
    """Relative representations: vectors are compared by their similarities to shared anchors.

    The dot product of two such representations is that of the old document with a map of the query, so that
    documents stay as they are. The length of the document's representation is left out.

    Parameters
    ----------
    anchors : int, default=1000
        Largest number of pairs that serve as anchors.
    seed : int, default=0
        Seed of the choice of anchors.
    kind : str, default="relative"
        Name of the method in a recipe; leave it as it is.

    Attributes
    ----------
    matrix_ : ndarray of shape (new_dim, old_dim), float32
        Linear map of new vectors to old vectors.
    offset_ : ndarray of shape (old_dim,), float32
        Offset that is added after the map.
    new_mean_ : ndarray of shape (new_dim,), float32
        Mean of the new vectors.
    old_mean_ : ndarray of shape (old_dim,), float32
        Mean of the old vectors.

    References
    ----------
    .. [1] Moschella et al., "Relative representations enable zero-shot latent space communication",
           ICLR 2023.
    """

    anchors: int = Field(default=1000, ge=1)
    seed: int = Field(default=0, ge=0)
    kind: Literal["relative"] = "relative"

    def _solve(self, x: Float64, y: Float64) -> tuple[Float64, Float64]:
        count = min(self.anchors, len(x))
        rows = np.sort(np.random.default_rng(self.seed).choice(len(x), count, replace=False))
        # What all vectors of a model have in common says nothing about which are alike.
        new_rows, old_rows = x[rows] - x.mean(0), y[rows] - y.mean(0)
        lengths = np.linalg.norm(new_rows, axis=1, keepdims=True) * np.linalg.norm(
            old_rows, axis=1, keepdims=True
        )
        matrix = (new_rows / np.maximum(lengths, 1e-12)).T @ old_rows
        return matrix, -x.mean(0) @ matrix


@register("ranked", roles=("adapter",))
@dataclass(config=ConfigDict(extra="forbid"))
class RankedAffine(_AffineAdapter):
    """Linear map that is trained until old documents rank as the new model ranks them.

    It starts at :class:`LowRankAffine`. Documents stand for queries. The loss is the cross-entropy between
    the softmax of the new model's scores and of the scores of mapped queries.

    Parameters
    ----------
    ridge : float, default=0.03
        Regularisation of the map at the start.
    temperature : float, default=0.05
        Temperature of the softmax, as a share of the mean squared length.
    steps : int, default=200
        Number of training steps.
    batch : int, default=256
        Number of queries in a step.
    learning_rate : float, default=1e-3
        Learning rate of Adam, which falls to zero.
    seed : int, default=0
        Seed of the batches.
        A fit on another processor may give slightly different results, because sums are rounded
        differently. Copy the fitted state instead of fitting again.
    kind : str, default="ranked"
        Name of the method in a recipe; leave it as it is.

    Attributes
    ----------
    matrix_ : ndarray of shape (new_dim, old_dim), float32
        Linear map of new vectors to old vectors.
    offset_ : ndarray of shape (old_dim,), float32
        Offset that is added after the map.
    new_mean_ : ndarray of shape (new_dim,), float32
        Mean of the new vectors.
    old_mean_ : ndarray of shape (old_dim,), float32
        Mean of the old vectors.
    """

    ridge: float = Field(default=0.03, ge=0)
    temperature: float = Field(default=0.05, gt=0)
    steps: int = Field(default=200, ge=0)
    batch: int = Field(default=256, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    seed: int = Field(default=0, ge=0)
    kind: Literal["ranked"] = "ranked"

    def _solve(self, x: Float64, y: Float64) -> tuple[Float64, Float64]:
        start, offset = LowRankAffine(None, self.ridge)._solve(x, y)
        new, old, ratio = _of_unit_length(x, y)
        matrix = (start / ratio).astype(np.float32)
        first, second = np.zeros_like(matrix), np.zeros_like(matrix)
        generator = np.random.default_rng(self.seed)
        # One document alone has nothing to rank.
        for step in range(1, self.steps + 1) if len(new) > 1 else ():
            rows = generator.choice(len(new), min(CANDIDATES, len(new)), replace=False)
            new_rows, old_rows = new[rows], old[rows]
            queries = new_rows[: self.batch]
            targets = _shares(queries @ new_rows.T / self.temperature)
            estimate = _shares(queries @ matrix @ old_rows.T / self.temperature)
            gradient = queries.T @ ((estimate - targets) @ old_rows) / (len(queries) * self.temperature)
            # Adam, with a rate that falls to zero.
            first += 0.1 * (gradient - first)
            second += 0.001 * (np.square(gradient) - second)
            direction = first / (1 - 0.9**step) / (np.sqrt(second / (1 - 0.999**step)) + 1e-8)
            matrix -= np.float32(self.learning_rate * (1 - (step - 1) / self.steps)) * direction
        return matrix.astype(np.float64) * ratio, offset

    def _fit_cost(self) -> str:
        return _training_cost(self.steps, self.batch)


@register("mlp", roles=("adapter",))
@dataclass(config=ConfigDict(extra="forbid"))
class ResidualMLP(_AffineAdapter):
    """Linear map and a small network beside it, trained to rank like the new model.

    The training needs PyTorch, and the use does not. It starts at :class:`LowRankAffine`; see
    :class:`RankedAffine` for the loss.

    Parameters
    ----------
    hidden : int, default=256
        Width of the network.
    ridge : float, default=0.03
        Regularisation of the map at the start.
    temperature : float, default=0.05
        Temperature of the softmax, as a share of the mean squared length.
    steps : int, default=200
        Number of training steps.
    batch : int, default=256
        Number of queries in a step.
    learning_rate : float, default=1e-3
        Learning rate of Adam, which falls to zero.
    seed : int, default=0
        Seed of the initial weights and the batches.
        A fit on another processor may give slightly different results, because sums are rounded
        differently. Copy the fitted state instead of fitting again.
    kind : str, default="mlp"
        Name of the method in a recipe; leave it as it is.

    Attributes
    ----------
    matrix_ : ndarray of shape (new_dim, old_dim), float32
        Linear map of new vectors to old vectors.
    offset_ : ndarray of shape (old_dim,), float32
        Offset that is added after the map.
    new_mean_ : ndarray of shape (new_dim,), float32
        Mean of the new vectors.
    old_mean_ : ndarray of shape (old_dim,), float32
        Mean of the old vectors.
    network_ : dict of str to ndarray of float32
        Layers of the network: ``w1`` (new_dim, hidden), ``b1`` (hidden,), ``w2`` (hidden, old_dim) and ``b2``
        (old_dim,).
    """

    hidden: int = Field(default=256, ge=1)
    ridge: float = Field(default=0.03, ge=0)
    temperature: float = Field(default=0.05, gt=0)
    steps: int = Field(default=200, ge=0)
    batch: int = Field(default=256, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    seed: int = Field(default=0, ge=0)
    kind: Literal["mlp"] = "mlp"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.network_: State = {}
        """``w1`` (new dim, hidden), ``b1``, ``w2`` (hidden, old dim), ``b2``."""

    def _solve(self, x: Float64, y: Float64) -> tuple[Float64, Float64]:
        torch = import_extra("torch", "ResidualMLP")
        start, offset = LowRankAffine(None, self.ridge)._solve(x, y)
        new, old, ratio = _of_unit_length(x, y)
        length = ratio * np.sqrt(np.square(y).sum(1).mean())
        generator = np.random.default_rng(self.seed)
        parts = {
            "matrix": start / ratio,
            "w1": generator.standard_normal((x.shape[1], self.hidden)) / x.shape[1] ** 0.5,
            "b1": np.zeros(self.hidden),
            # The network begins by adding nothing.
            "w2": np.zeros((self.hidden, y.shape[1])),
            "b2": np.zeros(y.shape[1]),
        }
        weights = {
            name: torch.tensor(part.astype(np.float32), requires_grad=True) for name, part in parts.items()
        }
        optimizer = torch.optim.Adam(weights.values(), lr=self.learning_rate)
        plan = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, max(self.steps, 1))
        with single_torch_thread(torch):
            for _ in range(self.steps):
                rows = generator.choice(len(new), min(CANDIDATES, len(new)), replace=False)
                new_rows, old_rows = torch.from_numpy(new[rows]), torch.from_numpy(old[rows])
                queries = new_rows[: self.batch]
                inner = torch.nn.functional.gelu(queries @ weights["w1"] + weights["b1"], approximate="tanh")
                mapped = queries @ weights["matrix"] + inner @ weights["w2"] + weights["b2"]
                # A document that stands for a query does not rank itself.
                itself = torch.eye(len(queries), len(rows), dtype=torch.bool)
                exact, estimate = (
                    (scores / self.temperature).masked_fill(itself, -1e9)
                    for scores in (queries @ new_rows.T, mapped @ old_rows.T)
                )
                loss = -(exact.softmax(1) * estimate.log_softmax(1)).sum(1).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                plan.step()
        learned = {name: weight.detach().numpy().copy() for name, weight in weights.items()}
        matrix = learned.pop("matrix").astype(np.float64) * ratio
        for name, factor in (("w1", 1 / length), ("w2", length * ratio), ("b2", length * ratio)):
            learned[name] *= np.float32(factor)
        self.network_ = learned
        return matrix, offset

    @override
    def transform(self, X: ArrayLike) -> Float32:
        rotated = super().transform(X)
        if not self.network_:
            return rotated
        weights = self.network_
        inner = as_vectors(X) @ weights["w1"] + weights["b1"]
        inner *= 0.5 * (1 + np.tanh(np.sqrt(2 / np.pi) * (inner + 0.044715 * inner**3)))
        estimate: Float32 = rotated + (inner @ weights["w2"] + weights["b2"]).astype(np.float32)
        return estimate

    def _arrays(self, state: Mapping[str, NDArray[Any]]) -> dict[str, StoredArray]:
        return {
            **super()._arrays(state),
            "w1": StoredArray(np.float32, ("new", "hidden")),
            "b1": StoredArray(np.float32, ("hidden",)),
            "w2": StoredArray(np.float32, ("hidden", "old")),
            "b2": StoredArray(np.float32, ("old",)),
        }

    def _to_arrays(self) -> State:
        assert self.matrix_ is not None and self.offset_ is not None
        assert self.new_mean_ is not None and self.old_mean_ is not None
        affine = {"matrix": self.matrix_, "offset": self.offset_}
        return {**affine, "new_mean": self.new_mean_, "old_mean": self.old_mean_, **self.network_}

    def _from_arrays(self, arrays: State) -> None:
        self.network_ = {name: arrays[name] for name in _NETWORK}
        for name in arrays.keys() - self.network_.keys():
            setattr(self, f"{name}_", arrays[name])

    def _fit_cost(self) -> str:
        return _training_cost(self.steps, self.batch)


def _of_unit_length(x: Float64, y: Float64) -> tuple[Float32, Float32, float]:
    """Both with a mean squared length of one, and what a matrix between them is multiplied by afterwards."""
    new, old = (np.sqrt(np.square(part).sum(1).mean()) for part in (x, y))
    return (x / new).astype(np.float32), (y / old).astype(np.float32), float(new / old)


def _shares(scores: Float32) -> Float32:
    """Softmax of each row, in place; a document that stands for a query does not rank itself."""
    np.fill_diagonal(scores, -np.inf)
    scores -= scores.max(1, keepdims=True)
    np.exp(scores, out=scores)
    scores /= scores.sum(1, keepdims=True)
    return scores


def _training_cost(steps: int, batch: int) -> str:
    return f"one decomposition of a (d, d) matrix, then {steps} steps on batches of {batch}"
