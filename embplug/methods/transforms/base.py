"""What every transform is: vectors in, vectors out, whose dot products Qdrant compares."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Protocol, runtime_checkable

from numpy.typing import ArrayLike
from typing_extensions import Self

from embplug.errors import InvalidArgumentError
from embplug.methods.numeric.arrays import Float32, State, as_vectors, check_state


@dataclass(frozen=True)
class TransformDescription:
    """What a fitted transform costs and does.

    Attributes
    ----------
    method
        The ``kind`` of the transform.
    input_dim, output_dim
        Dimensions before and after; ``None`` where a transform learns nothing and so takes any, unless
        its ``describe`` is told.
    state_bytes
        Size of what was learned; stored once for all vectors.
    exact_queries
        Whether a query loses nothing but what the transform itself loses: always, because transforms
        do not quantize.
    order
        In words: when dot products of transformed vectors rank as those of the given ones.
    fit_cost
        In words: what fitting does, and what it grows with.
    notes
        What differs from what was asked for, such as fewer components than samples allow.
    """

    method: str
    input_dim: int | None
    output_dim: int | None
    state_bytes: int
    order: str
    fit_cost: str
    notes: tuple[str, ...] = ()
    exact_queries: bool = True

    @property
    def bits(self) -> int | None:
        """Of a transformed vector as float32, where its dimension is known."""
        return None if self.output_dim is None else 32 * self.output_dim

    @property
    def ratio(self) -> float | None:
        """How many times smaller than what was given, where both dimensions are known."""
        if self.input_dim is None or self.output_dim is None:
            return None
        return self.input_dim / self.output_dim

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {**asdict(self), "notes": list(self.notes), "bits": self.bits, "ratio": self.ratio}


@runtime_checkable
class Transform(Protocol):
    """Interface of all transforms; each is a pydantic dataclass whose fields are its parameters.

    ``kind`` names the method in a recipe. The constructor only keeps parameters, :meth:`fit` learns,
    nothing else changes state.
    """

    kind: Any

    @property
    def requires_fit(self) -> bool:
        """Whether something is learned from data, so that :meth:`fit` must come first."""
        ...

    @property
    def unit_length(self) -> bool:
        """Whether results have unit length by construction, so that their dot products are cosines."""
        ...

    def output_dim(self, dim: int) -> int:
        """Dimension of what becomes of vectors of dimension ``dim``."""
        ...

    def fit(self, X: ArrayLike, queries: ArrayLike | None = None) -> Self:
        """Learn from documents (n, d) and, where the method can use them, from queries (m, d)."""
        ...

    def transform(self, X: ArrayLike) -> Float32:
        """Transform documents (n, d) to (n, output_dim)."""
        ...

    def transform_query(self, Q: ArrayLike) -> Float32:
        """Transform queries (n, d) to (n, output_dim)."""
        ...

    def get_state(self) -> State:
        """Learned arrays; empty before :meth:`fit`, and where all is drawn from the seed."""
        ...

    def set_state(self, state: State) -> None:
        """Restore what :meth:`get_state` returned."""
        ...

    def describe(self) -> TransformDescription:
        """Say what a vector costs and what is kept."""
        ...


class NothingLearned:
    """What transforms share that are drawn from a seed, or take vectors as they come.

    A subclass gives ``_made``, which serves documents and queries alike.
    """

    @property
    def requires_fit(self) -> bool:
        """Never."""
        return False

    def fit(self, X: ArrayLike, queries: ArrayLike | None = None) -> Self:
        """Do nothing: there is nothing to learn."""
        return self

    def transform(self, X: ArrayLike) -> Float32:
        """Transform documents (n, d)."""
        return self._made(as_vectors(X))

    def transform_query(self, Q: ArrayLike) -> Float32:
        """Transform queries (n, d)."""
        return self._made(as_vectors(Q, argument="Q"))

    def get_state(self) -> State:
        """Nothing."""
        return {}

    def set_state(self, state: State) -> None:
        """Check that nothing is given."""
        check_state(state, set(), self)

    def _made(self, vectors: Float32) -> Float32:
        raise NotImplementedError


def too_few(sampled: int, needed: int, of: str) -> tuple[str, ...]:
    """The note of a description where a sample had fewer vectors than there are parts to learn."""
    return (f"{sampled} vectors to learn from, fewer than the {needed} {of}",) if sampled < needed else ()


def check_output_dim(name: str, wanted: int, dim: int) -> int:
    """Refuse to make vectors longer.

    Raises
    ------
    InvalidArgumentError
        More dimensions are wanted than there are.
    """
    if wanted > dim:
        raise InvalidArgumentError(name, f"at most the {dim} dimensions of the vectors", wanted)
    return wanted
