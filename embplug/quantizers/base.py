"""What every quantizer is: vectors in, bytes out, and scores of exact queries against those bytes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Protocol, TypeAlias, runtime_checkable

import numpy as np
from numpy.typing import ArrayLike, NDArray
from typing_extensions import Self

from embplug.errors import DimensionError, LengthMismatchError, NonFiniteError, NotFittedError, StateError

Float32: TypeAlias = NDArray[np.float32]
Codes: TypeAlias = NDArray[np.uint8]
State: TypeAlias = dict[str, NDArray[Any]]


@dataclass(frozen=True)
class Description:
    """What a fitted quantizer costs and does.

    Attributes
    ----------
    method
        The ``kind`` of the quantizer.
    dim
        Dimension of the vectors.
    code_bytes
        Bytes of one vector.
    bits
        Bits of one vector that carry information; the rest of the bytes is padding.
    state_bytes
        Size of what was learned; stored once for all vectors.
    exact_queries
        Whether queries are used as they are (asymmetric) rather than quantized too.
    fit_cost
        In words: what fitting does, and what it grows with.
    notes
        What differs from what was asked for, such as fewer centroids than samples allow.
    """

    method: str
    dim: int
    code_bytes: int
    bits: float
    state_bytes: int
    exact_queries: bool
    fit_cost: str
    notes: tuple[str, ...] = ()

    @property
    def ratio(self) -> float:
        """How many times smaller than float32."""
        return 4 * self.dim / self.code_bytes

    def to_dict(self) -> dict[str, Any]:
        """As JSON types."""
        return {**asdict(self), "notes": list(self.notes), "ratio": self.ratio}


@runtime_checkable
class Quantizer(Protocol):
    """Interface of all quantizers; each is a pydantic dataclass whose fields are its parameters.

    ``kind`` names the method in a recipe. The constructor only keeps parameters, :meth:`fit` learns,
    nothing else changes state.
    """

    kind: Any

    @property
    def dim(self) -> int:
        """Dimension of the vectors it was fitted on."""
        ...

    @property
    def code_bytes(self) -> int:
        """Bytes of one vector, once fitted."""
        ...

    def fit(self, X: ArrayLike, queries: ArrayLike | None = None) -> Self:
        """Learn from ``X`` (n, d) and, where the method can use them, from a sample of queries (m, d)."""
        ...

    def encode(self, X: ArrayLike) -> Codes:
        """Codes uint8 (n, code_bytes) of ``X`` (n, d)."""
        ...

    def decode(self, codes: Codes) -> Float32:
        """Vectors (n, d) that the codes stand for."""
        ...

    def encode_query(self, q: ArrayLike) -> Any:
        """Prepare one query (d,) or the tokens of one query (t, d) for :meth:`score`."""
        ...

    def score(self, query: Any, codes: Codes) -> Float32:
        """Dot products of a prepared query with coded vectors.

        Returns
        -------
        float32 (n,) for a query (d,); float32 (n, t), C-contiguous, for a query (t, d)
        """
        ...

    def get_state(self) -> State:
        """Learned arrays; empty before :meth:`fit`."""
        ...

    def set_state(self, state: State) -> None:
        """Restore what :meth:`get_state` returned; an empty state is that before :meth:`fit`."""
        ...

    def describe(self) -> Description:
        """Say what a vector costs and how it is scored."""
        ...


def as_vectors(given: ArrayLike, dim: int | None = None, argument: str = "X") -> Float32:
    """Vectors as C-contiguous float32 (n, d).

    Raises
    ------
    DimensionError
        Not a matrix, or not of ``dim`` columns.
    NonFiniteError
        Naming the first row that holds NaN or infinity.
    """
    try:
        vectors = np.ascontiguousarray(given, dtype=np.float32)
    except (TypeError, ValueError) as error:
        raise DimensionError(argument, "numbers of shape (n, dim)", str(error)) from None
    if vectors.ndim != 2 or vectors.shape[1] == 0 or (dim is not None and vectors.shape[1] != dim):
        raise DimensionError(argument, f"shape (n, {dim or 'dim'})", f"shape {vectors.shape}")
    finite = np.isfinite(vectors).all(axis=1)
    if not finite.all():
        raise NonFiniteError(f"{argument}[{int(finite.argmin())}]", "finite numbers", "NaN or infinity")
    return vectors


def as_sample(given: ArrayLike) -> Float32:
    """Vectors to learn from: as :func:`as_vectors`, and at least one."""
    vectors = as_vectors(given)
    if len(vectors) == 0:
        raise LengthMismatchError("X", "at least one vector to learn from", 0)
    return vectors


def as_query(given: ArrayLike, dim: int) -> tuple[Float32, bool]:
    """A query as float32 (t, dim), and whether it was given as a single vector (dim,)."""
    single = np.ndim(given) == 1
    return as_vectors(np.asarray(given)[None] if single else given, dim, "q"), single


def check_codes(codes: Codes, code_bytes: int) -> Codes:
    """Codes as C-contiguous uint8 (n, code_bytes).

    Raises
    ------
    DimensionError
        They have another type or another number of bytes.
    """
    codes = np.asarray(codes)
    if codes.ndim != 2 or codes.shape[1] != code_bytes or codes.dtype != np.uint8:
        raise DimensionError(
            "codes", f"uint8 of shape (n, {code_bytes})", f"{codes.dtype} of shape {codes.shape}"
        )
    return np.ascontiguousarray(codes)


def not_fitted(quantizer: Any) -> NotFittedError:
    """The error for a quantizer that is used before ``fit``."""
    return NotFittedError(f"{type(quantizer).__name__} learns from data: call fit first")


def state_part(state: State, prefix: str) -> State:
    """Arrays whose names begin with ``prefix``, by the rest of their names."""
    return {name.removeprefix(prefix): array for name, array in state.items() if name.startswith(prefix)}


def check_state(state: State, names: set[str], quantizer: Any) -> None:
    """Refuse a state that is not one of this quantizer.

    Raises
    ------
    StateError
        Arrays are missing or too many.
    """
    if set(state) != names:
        raise StateError(
            f"state of {type(quantizer).__name__}: expected {sorted(names)}, got {sorted(state)}"
        )


def state_bytes(state: State) -> int:
    """Size of learned arrays."""
    return sum(array.nbytes for array in state.values())
