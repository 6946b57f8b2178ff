"""Power-exponent quantization: even steps after a power function, whose exponent is searched."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from typing_extensions import Self

from embplug.methods.numeric.arrays import (
    Codes,
    Float32,
    State,
    as_sample,
    as_vectors,
    check_state,
    not_fitted,
)
from embplug.methods.numeric.levels import Levels, common_length
from embplug.methods.numeric.tables import nearest_level
from embplug.methods.quantizers.base import Description

SEARCH_SAMPLE = 500
EXPONENTS = np.linspace(0.2, 1.0, 17)
SHARES_IN_RANGE = (0.95, 0.99, 0.999, 1.0)


@dataclass(config=ConfigDict(extra="forbid"))
class PowerQuantizer(Levels):
    """Quantize ``sign(x) |x| ** a`` in even steps (NUPES), with the exponent and range that fit the sample.

    Exponents below one give small values, of which there are most, the finer steps.

    Parameters
    ----------
    bits
        Of a coordinate.
    exponent
        ``None`` searches it in (0, 1].
    rotate
        Even out the coordinates first, by a random rotation.
    seed
        Of the rotation.
    """

    bits: int = Field(default=4, ge=1, le=8)
    exponent: float | None = Field(default=None, gt=0, le=1)
    rotate: bool = True
    seed: int = Field(default=0, ge=0)
    kind: Literal["power"] = "power"

    def __post_init__(self) -> None:
        self.exponent_ = 1.0
        self.levels_: Float32 | None = None
        """(2 ** bits,): the values that the codes of a coordinate stand for, rising."""
        self.length_ = 0.0
        self._dim = 0

    def fit(self, X: ArrayLike, queries: ArrayLike | None = None) -> Self:
        """Search exponent and range on documents (n, d); queries are not used."""
        sample = as_sample(X)
        self._dim = sample.shape[1]
        self.length_ = common_length(sample)
        values = np.abs(self._rotated(sample[:: -(-len(sample) // SEARCH_SAMPLE)])).astype(np.float64)
        exponents = EXPONENTS if self.exponent is None else np.array([self.exponent])
        ranges = np.maximum(np.quantile(values, SHARES_IN_RANGE), np.finfo(np.float32).tiny)
        best = np.inf
        for exponent in exponents:
            for largest in ranges:
                levels = _levels(float(exponent), float(largest), self.bits)
                error = np.square(levels[nearest_level(levels, values)] - values).mean()
                if error < best:
                    best, self.exponent_, self.levels_ = error, float(exponent), levels.astype(np.float32)
        return self

    def encode(self, X: ArrayLike) -> Codes:
        """Codes uint8 (n, code_bytes) of ``X`` (n, d)."""
        vectors = as_vectors(X, self.dim)
        assert self.levels_ is not None
        numbers = nearest_level(self.levels_, self._rotated(vectors)).astype(np.uint8)
        return self._coded(numbers, vectors)

    def get_state(self) -> State:
        """What was searched; empty before :meth:`fit`."""
        if self.levels_ is None:
            return {}
        return {
            "dim": np.array(self._dim, dtype=np.int64),
            "exponent": np.array(self.exponent_),
            "levels": self.levels_,
            "length": np.array(self.length_, dtype=np.float32),
        }

    def set_state(self, state: State) -> None:
        """Restore what :meth:`get_state` returned."""
        self._dim, self.levels_ = 0, None
        if state:
            check_state(state, {"dim", "exponent", "levels", "length"}, self)
            self._dim, self.exponent_ = int(state["dim"]), float(state["exponent"])
            self.levels_, self.length_ = state["levels"], float(state["length"])

    def describe(self) -> Description:
        """Say what a vector costs and how it is scored."""
        cost = f"{len(EXPONENTS) * len(SHARES_IN_RANGE)} trials on at most {SEARCH_SAMPLE} vectors"
        return self._described(self.get_state(), cost)

    def _directions(self, codes: Codes) -> Float32:
        if self.levels_ is None:
            raise not_fitted(self)
        values: Float32 = self.levels_[self._numbers(codes)]
        return values


def _levels(exponent: float, largest: float, bits: int) -> NDArray[np.float64]:
    """Middles of ``2 ** bits`` even steps of the powers up to ``largest``, and back."""
    count = 1 << bits
    middles = (np.arange(count) - (count - 1) / 2) / (count / 2)
    levels: NDArray[np.float64] = np.sign(middles) * np.abs(middles) ** (1 / exponent) * largest
    return levels
