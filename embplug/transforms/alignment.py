"""From one model's space to another's: what a query of a new model would have been in the old one's."""

from __future__ import annotations

from typing import Annotated, Any, Literal

import numpy as np
from numpy.typing import ArrayLike
from pydantic import ConfigDict, Discriminator, Field, Tag
from pydantic.dataclasses import dataclass
from typing_extensions import Self

from embplug.errors import LengthMismatchError
from embplug.extras import import_extra
from embplug.kinds import kind_tag
from embplug.quantizers.base import Float32, State, as_sample, as_vectors, check_state, not_fitted
from embplug.transforms.contrast import one_thread

Float64 = Any
"""float64 arrays, in which maps are solved for."""

LEAST_RIDGE = 1e-6
"""Without any, fewer pairs than dimensions could not be solved for."""


class _Adapter:
    """What adapters share: most are a matrix and an offset.

    A subclass gives ``_solve``: from paired vectors, the matrix and the offset.
    """

    kind: str
    scale: bool

    def __post_init__(self) -> None:
        self.matrix_: Float32 | None = None
        """(new dim, old dim)"""
        self.offset_: Float32 | None = None

    @property
    def new_dim(self) -> int:
        """Dimension of what is mapped."""
        if self.matrix_ is None:
            raise not_fitted(self)
        return int(self.matrix_.shape[0])

    def fit(self, new: ArrayLike, old: ArrayLike) -> Self:
        """Learn from the same texts as the new model (n, new dim) and the old one (n, old dim) sees them.

        Raises
        ------
        LengthMismatchError
            The two differ in length.
        MissingExtraError
            The method trains with PyTorch, and it is not installed.
        """
        given, wanted = as_sample(new), as_sample(old)
        if len(given) != len(wanted):
            raise LengthMismatchError("old", f"{len(given)} vectors, one for each new one", len(wanted))
        x, y = given.astype(np.float64), wanted.astype(np.float64)
        matrix, offset = self._solve(x, y)
        if self.scale:
            made = x @ matrix + offset
            factors = (made * y).sum(0) / np.maximum(np.square(made).sum(0), 1e-12)
            matrix, offset = matrix * factors, offset * factors
        self.matrix_, self.offset_ = matrix.astype(np.float32), offset.astype(np.float32)
        return self

    def transform(self, X: ArrayLike) -> Float32:
        """Map vectors of the new model (n, new dim) to where the old model would have put them."""
        if self.matrix_ is None or self.offset_ is None:
            raise not_fitted(self)
        made: Float32 = as_vectors(X, self.matrix_.shape[0]) @ self.matrix_ + self.offset_
        return made

    def get_state(self) -> State:
        """Learned arrays; empty before :meth:`fit`."""
        if self.matrix_ is None or self.offset_ is None:
            return {}
        return {"matrix": self.matrix_, "offset": self.offset_}

    def set_state(self, state: State) -> None:
        """Restore what :meth:`get_state` returned."""
        if state:
            check_state(state, {"matrix", "offset"}, self)
        self.matrix_, self.offset_ = state.get("matrix"), state.get("offset")

    def _solve(self, x: Float64, y: Float64) -> tuple[Float64, Float64]:
        raise NotImplementedError


@dataclass(config=ConfigDict(extra="forbid"))
class Procrustes(_Adapter):
    """The rotation that brings the new vectors closest to the old ones.

    It has so little freedom that a few hundred pairs suffice, and it cannot do much harm.

    Parameters
    ----------
    center
        Also move the middle of the new vectors to that of the old.
    scale
        Also stretch each dimension.
    """

    center: bool = True
    scale: bool = False
    kind: Literal["procrustes"] = "procrustes"

    def _solve(self, x: Float64, y: Float64) -> tuple[Float64, Float64]:
        return _procrustes(x, y, self.center)


@dataclass(config=ConfigDict(extra="forbid"))
class LowRankAffine(_Adapter):
    """The map of old documents to new ones that errs least, carried over to the query.

    What is wanted is the dot product of a query with what the new model would make of a document. The
    best linear guess at that from the old vector is a matrix, and a matrix may as well stand on the
    side of the query, so that documents stay as they are. Needs more pairs than dimensions.

    Parameters
    ----------
    rank
        Directions of the new space that are guessed; ``None`` guesses all.
    ridge
        The higher, the more careful the guess, as a share of the mean variance.
    scale
        Also stretch each dimension.
    """

    rank: Annotated[int, Field(ge=1)] | None = 256
    ridge: float = Field(default=0.03, ge=0)
    scale: bool = False
    kind: Literal["affine"] = "affine"

    def _solve(self, x: Float64, y: Float64) -> tuple[Float64, Float64]:
        centered, wanted = y - y.mean(0), x - x.mean(0)
        gram = centered.T @ centered
        gram[np.diag_indices_from(gram)] += max(self.ridge, LEAST_RIDGE) * np.trace(gram) / len(gram)
        guess = np.linalg.solve(gram, centered.T @ wanted)
        if self.rank is not None and self.rank < min(guess.shape):
            directions = np.linalg.svd(centered @ guess, full_matrices=False)[2][: self.rank]
            guess = guess @ directions.T @ directions
        return guess.T, np.zeros(y.shape[1])


@dataclass(config=ConfigDict(extra="forbid"))
class DimensionScale(_Adapter):
    """Each dimension stretched and moved by itself, for two versions of one model. Dimensions are equal.

    Parameters
    ----------
    scale
        Has to be true.
    """

    scale: Literal[True] = True
    kind: Literal["dimension_scale"] = "dimension_scale"

    def _solve(self, x: Float64, y: Float64) -> tuple[Float64, Float64]:
        if x.shape[1] != y.shape[1]:
            raise LengthMismatchError("old", f"{x.shape[1]} dimensions, as the new vectors", y.shape[1])
        middle, target = x.mean(0), y.mean(0)
        spread = np.square(x - middle).sum(0)
        factors = ((x - middle) * (y - target)).sum(0) / np.maximum(spread, 1e-12)
        return np.diag(factors), target - middle * factors


@dataclass(config=ConfigDict(extra="forbid"))
class RelativeAnchors(_Adapter):
    """Relative representations: vectors are compared by their similarities to anchors both models know.

    Documents stay as they are stored: the dot product of two such representations is that of the
    document with a map of the query. Only the length of the document's own representation is left
    out. No more than anchors are needed, and any dimensions.

    Parameters
    ----------
    anchors
        Number of pairs that serve as anchors; all where there are fewer.
    scale
        Also stretch each dimension.
    seed
        The same seed draws the same anchors.
    """

    anchors: int = Field(default=1000, ge=1)
    scale: bool = False
    seed: int = Field(default=0, ge=0)
    kind: Literal["relative"] = "relative"

    def _solve(self, x: Float64, y: Float64) -> tuple[Float64, Float64]:
        count = min(self.anchors, len(x))
        rows = np.sort(np.random.default_rng(self.seed).choice(len(x), count, replace=False))
        # What all vectors of a model have in common says nothing about which are alike.
        there, here = x[rows] - x.mean(0), y[rows] - y.mean(0)
        lengths = np.linalg.norm(there, axis=1, keepdims=True) * np.linalg.norm(here, axis=1, keepdims=True)
        matrix = (there / np.maximum(lengths, 1e-12)).T @ here
        return matrix, -x.mean(0) @ matrix


@dataclass(config=ConfigDict(extra="forbid"))
class ResidualMLP(_Adapter):
    """A rotation and a small network for what it misses. Trained with PyTorch, used without.

    Parameters
    ----------
    hidden
        Width of the network.
    steps, batch, learning_rate
        Of the training.
    scale
        Also stretch each dimension of the rotation.
    seed
        Of the initial weights and the batches.
    """

    hidden: int = Field(default=256, ge=1)
    steps: int = Field(default=300, ge=0)
    batch: int = Field(default=256, ge=1)
    learning_rate: float = Field(default=1e-3, gt=0)
    scale: bool = False
    seed: int = Field(default=0, ge=0)
    kind: Literal["mlp"] = "mlp"

    def __post_init__(self) -> None:
        super().__post_init__()
        self.network_: State = {}
        """``w1`` (new dim, hidden), ``b1``, ``w2`` (hidden, old dim), ``b2``."""

    def fit(self, new: ArrayLike, old: ArrayLike) -> Self:
        """Rotate, then train the network on what is left; see the other adapters."""
        torch = import_extra("torch", "ResidualMLP")
        self.network_ = {}
        super().fit(new, old)
        given, wanted = as_sample(new), as_sample(old)
        left = wanted - super().transform(given)
        generator = np.random.default_rng(self.seed)
        shapes = {"w1": (given.shape[1], self.hidden), "w2": (self.hidden, wanted.shape[1])}
        first = {name: generator.standard_normal(shape) / shape[0] ** 0.5 for name, shape in shapes.items()}
        # The network begins by adding nothing.
        parts = {"w1": first["w1"], "b1": np.zeros(self.hidden), "w2": 0 * first["w2"]}
        parts["b2"] = np.zeros(wanted.shape[1])
        weights = {
            name: torch.tensor(part.astype(np.float32), requires_grad=True) for name, part in parts.items()
        }
        optimizer = torch.optim.AdamW(weights.values(), lr=self.learning_rate, weight_decay=0.05)
        plan = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, max(self.steps, 1))
        with one_thread(torch):
            for _ in range(self.steps):
                rows = generator.choice(len(given), min(self.batch, len(given)), replace=False)
                x, y = torch.from_numpy(given[rows]), torch.from_numpy(left[rows])
                inner = torch.nn.functional.gelu(x @ weights["w1"] + weights["b1"], approximate="tanh")
                made = inner @ weights["w2"] + weights["b2"]
                loss = (made - y).square().sum(1).mean()
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
                plan.step()
        self.network_ = {name: weight.detach().numpy().copy() for name, weight in weights.items()}
        return self

    def transform(self, X: ArrayLike) -> Float32:
        """Map vectors of the new model (n, new dim) to where the old model would have put them."""
        rotated = super().transform(X)
        if not self.network_:
            return rotated
        weights = self.network_
        inner = as_vectors(X) @ weights["w1"] + weights["b1"]
        inner *= 0.5 * (1 + np.tanh(np.sqrt(2 / np.pi) * (inner + 0.044715 * inner**3)))
        made: Float32 = rotated + (inner @ weights["w2"] + weights["b2"]).astype(np.float32)
        return made

    def get_state(self) -> State:
        """Learned arrays; empty before :meth:`fit`."""
        state = super().get_state()
        return {**state, **self.network_} if state else {}

    def set_state(self, state: State) -> None:
        """Restore what :meth:`get_state` returned."""
        if state:
            check_state(state, {"matrix", "offset", "w1", "b1", "w2", "b2"}, self)
        self.network_ = {name: state[name] for name in ("w1", "b1", "w2", "b2") if name in state}
        super().set_state({name: state[name] for name in ("matrix", "offset") if name in state})

    def _solve(self, x: Float64, y: Float64) -> tuple[Float64, Float64]:
        return _procrustes(x, y, center=True)


def _procrustes(x: Float64, y: Float64, center: bool) -> tuple[Float64, Float64]:
    middle, target = (x.mean(0), y.mean(0)) if center else (np.zeros(x.shape[1]), np.zeros(y.shape[1]))
    left, _, right = np.linalg.svd((x - middle).T @ (y - target), full_matrices=False)
    matrix = left @ right
    return matrix, target - middle @ matrix


Adapter = Annotated[
    Annotated[Procrustes, Tag("[procrustes]")]
    | Annotated[LowRankAffine, Tag("[affine]")]
    | Annotated[ResidualMLP, Tag("[mlp]")]
    | Annotated[DimensionScale, Tag("[dimension_scale]")]
    | Annotated[RelativeAnchors, Tag("[relative]")],
    Discriminator(
        kind_tag,
        custom_error_type="adapter_kind",
        custom_error_message="an adapter: procrustes, affine, mlp, dimension_scale or relative as its kind",
    ),
]

ADAPTERS: dict[str, Any] = {
    "procrustes": Procrustes,
    "affine": LowRankAffine,
    "mlp": ResidualMLP,
    "dimension_scale": DimensionScale,
    "relative": RelativeAnchors,
}
