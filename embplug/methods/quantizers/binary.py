"""One bit a dimension: on which side of the mean a vector lies."""

from __future__ import annotations

from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from typing_extensions import Self

from embplug.errors import DimensionError
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
from embplug.methods.numeric.levels import unrotate
from embplug.methods.numeric.packing import pack, packed_bytes, unpack
from embplug.methods.numeric.rows import unit_rows
from embplug.methods.numeric.tables import ENTRIES, sum_of_entries
from embplug.methods.quantizers.base import Description
from embplug.methods.transforms.rotation import Rotation

LARGEST = 127
LARGEST_SUM = 32_767
"""Sums of entries stay within 16 bits, which are added twice as fast as floats."""
LARGEST_DIM = 16_384

SIGNS: Float32 = 2 * np.unpackbits(np.arange(ENTRIES, dtype=np.uint8)[:, None], axis=1).astype(np.float32) - 1
"""(256, 8): the signs that the bits of each byte stand for."""


class PreparedQuery(NamedTuple):
    """A query as :meth:`BinaryQuantizer.score` reads it."""

    products: NDArray[Any]
    """(bytes * 256, t + 1), float32 or int16; the last column gives the squared lengths."""
    steps: Float32
    """(t + 1,): what one unit of each column stands for."""
    of_mean: Float32
    """(t,)"""
    single: bool


@dataclass(config=ConfigDict(extra="forbid"))
class BinaryQuantizer:
    """The signs of coordinates; a decoded vector has, in each, the sample's mean deviation and length 1.

    Parameters
    ----------
    center
        Take the signs about the mean of the sample, which is added again when codes are compared.
    rotate
        Even out the coordinates first, by a random rotation: for vectors of which a few coordinates hold
        most, which tokens of language models are not once they are centred.
    queries
        ``float``: exact as they are. ``int8``: a query's coordinates become whole numbers up to 127, and
        scores are summed up in 16 bits, in about half the time.
    seed
        Of the rotation.
    """

    center: bool = True
    rotate: bool = False
    queries: Literal["float", "int8"] = "float"
    seed: int = Field(default=0, ge=0)
    kind: Literal["binary"] = "binary"

    def __post_init__(self) -> None:
        self.mean_: Float32 | None = None
        """(dim,), rotated"""
        self.deviations_: Float32 | None = None
        """(dim,): mean distance of each rotated coordinate from its mean"""

    @property
    def dim(self) -> int:
        """Dimension of the vectors it was fitted on."""
        return len(self._fitted()[0])

    @property
    def code_bytes(self) -> int:
        """Bytes of one vector."""
        return packed_bytes(self._widths())

    def fit(self, X: ArrayLike, queries: ArrayLike | None = None) -> Self:
        """Learn mean and deviations from ``X`` (n, d); ``queries`` are not used.

        Raises
        ------
        DimensionError
            More than 16,384 dimensions, whose products do not fit into 16 bits, for int8 queries.
        """
        sample = as_sample(X)
        if self.queries == "int8" and sample.shape[1] > LARGEST_DIM:
            raise DimensionError("X", f"at most {LARGEST_DIM} dimensions for int8 queries", sample.shape[1])
        rotated = self._rotated(sample)
        mean = rotated.mean(axis=0, dtype=np.float64) if self.center else np.zeros(rotated.shape[1])
        self.mean_ = mean.astype(np.float32)
        self.deviations_ = np.abs(rotated - self.mean_).mean(axis=0, dtype=np.float64).astype(np.float32)
        return self

    def encode(self, X: ArrayLike) -> Codes:
        """Codes (n, dim / 8)."""
        mean, _ = self._fitted()
        return pack(self._rotated(as_vectors(X, len(mean))) > mean, self._widths())

    def decode(self, codes: Codes) -> Float32:
        """Unit vectors (n, dim)."""
        mean, deviations = self._fitted()
        bits = unpack(check_codes(codes, self.code_bytes), self._widths())
        decoded = unit_rows(mean + np.where(bits, deviations, -deviations))
        return unrotate(decoded, self.seed) if self.rotate else decoded

    def encode_query(self, q: ArrayLike) -> PreparedQuery:
        """Products of the query with the signs of every byte."""
        mean, deviations = self._fitted()
        query, single = as_query(q, len(mean))
        rotated = self._rotated(query)
        vectors = np.concatenate([rotated, mean[None]]) * deviations
        steps = np.ones(len(vectors), dtype=np.float32)
        if self.queries == "int8":
            largest = np.abs(vectors).max(axis=1) / LARGEST
            steps = np.maximum(largest, np.abs(vectors).sum(axis=1) / (LARGEST_SUM - len(mean) / 2))
            steps = np.where(steps > 0, steps, 1).astype(np.float32)
            rounded = np.rint(vectors / steps[:, None])
            # The step that brings the rounded vector closest to the given one.
            products, squares = ((one * rounded).sum(axis=1) for one in (vectors, rounded))
            steps = np.divide(products, squares, out=steps, where=squares > 0)
            vectors = rounded
        padded = np.pad(vectors, ((0, 0), (0, -len(mean) % 8)))
        products = SIGNS @ padded.reshape(len(vectors), -1, 8).transpose(1, 2, 0)
        dtype = np.int16 if self.queries == "int8" else np.float32
        products = products.reshape(-1, len(vectors)).astype(dtype)
        return PreparedQuery(products, steps, rotated @ mean, single)

    def score(self, query: PreparedQuery, codes: Codes) -> Float32:
        """Dot products (n,) or (n, t): one lookup a byte."""
        mean, deviations = self._fitted()
        sums = sum_of_entries(query.products, check_codes(codes, self.code_bytes)) * query.steps
        squares = mean @ mean + deviations @ deviations + 2 * sums[:, -1:]
        scores = sums[:, :-1] + query.of_mean
        scores /= np.sqrt(squares.clip(np.finfo(np.float32).tiny))
        return scores[:, 0] if query.single else scores

    def get_state(self) -> State:
        """Learned arrays; empty before :meth:`fit`."""
        if self.mean_ is None or self.deviations_ is None:
            return {}
        return {"mean": self.mean_, "deviations": self.deviations_}

    def set_state(self, state: State) -> None:
        """Restore what :meth:`get_state` returned."""
        if state:
            check_state(state, {"mean", "deviations"}, self)
        self.mean_, self.deviations_ = state.get("mean"), state.get("deviations")

    def describe(self) -> Description:
        """Say what a vector costs."""
        return Description(
            method=self.kind,
            dim=self.dim,
            code_bytes=self.code_bytes,
            bits=float(self.dim),
            state_bytes=state_bytes(self.get_state()),
            exact_queries=self.queries == "float",
            fit_cost="two means",
            notes=("lengths are not kept: all vectors count as unit vectors",),
        )

    def _fitted(self) -> tuple[Float32, Float32]:
        if self.mean_ is None or self.deviations_ is None:
            raise not_fitted(self)
        return self.mean_, self.deviations_

    def _widths(self) -> list[int]:
        return [1] * self.dim

    def _rotated(self, vectors: Float32) -> Float32:
        return Rotation(seed=self.seed).transform(vectors) if self.rotate else vectors
