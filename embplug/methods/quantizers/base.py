"""What every quantizer is: vectors in, bytes out, and scores of exact queries against those bytes."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any, Protocol, runtime_checkable

from numpy.typing import ArrayLike
from typing_extensions import Self

from embplug.methods.numeric.arrays import Codes, Float32, State


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
