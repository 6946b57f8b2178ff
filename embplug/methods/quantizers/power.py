"""Power-exponent quantization: even steps after a power function, whose exponent is searched."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from typing_extensions import Self

from embplug.methods.numeric.arrays import Codes, Float32, as_sample
from embplug.methods.quantizers.byte_tables import nearest_level
from embplug.methods.quantizers.levels import Levels, common_length
from embplug.methods.registry import register
from embplug.methods.stored import MOST_DIMS, StoredArray

SEARCH_SAMPLE = 500
EXPONENTS = np.linspace(0.2, 1.0, 17)
SHARES_IN_RANGE = (0.95, 0.99, 0.999, 1.0)


@register("power", roles=("dense_codes",))
@dataclass(config=ConfigDict(extra="forbid"))
class PowerQuantizer(Levels):
    """Quantizer that rounds to even steps after a power function, whose exponent fits the sample.

    It quantizes ``sign(x) |x| ** a``. Exponents below 1 give small values, which are the most frequent, finer
    steps.

    Parameters
    ----------
    bits : int, default=4
        Bits of a coordinate, from 1 to 8.
    exponent : float, default=None
        Exponent of the power function, in (0, 1]. None searches it.
    rotate : bool, default=True
        Whether vectors are rotated at random first, which makes their coordinates similar in size.
    seed : int, default=0
        Seed of the rotation.
    kind : str, default="power"
        Name of the method in a recipe; leave it as it is.

    Attributes
    ----------
    exponent_ : float
        The exponent.
    levels_ : ndarray of shape (2 ** bits,), float32
        Values of the steps, in rising order.
    length_ : float
        Length of all vectors of the sample. 0 if they differ, and then two bytes of a code hold the length.
    dim_ : int
        Dimension of the vectors.

    References
    ----------
    .. [1] Yvinec et al., "NUPES: Non-Uniform Post-Training Quantization via Power Exponent Search", 2023.
    """

    bits: int = Field(default=4, ge=1, le=8)
    exponent: float | None = Field(default=None, gt=0, le=1)
    rotate: bool = True
    seed: int = Field(default=0, ge=0)
    kind: Literal["power"] = "power"

    def __post_init__(self) -> None:
        self.exponent_ = 0.0
        self.levels_: Float32 | None = None
        """(2 ** bits,): the values that the codes of a coordinate stand for, rising."""
        self.length_ = 0.0
        self.dim_: int | None = None

    def fit(self, X: ArrayLike, queries: ArrayLike | None = None) -> Self:
        """Search the exponent and the range.

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
        self.dim_ = sample.shape[1]
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

    def _arrays(self, state: Mapping[str, NDArray[Any]]) -> dict[str, StoredArray]:
        return {
            "dim": StoredArray(np.int64, low=1, high=MOST_DIMS),
            "exponent": StoredArray(np.float64, low=0),
            "levels": StoredArray(np.float32, (1 << self.bits,), ascending=True),
            "length": StoredArray(np.float32, low=0),
        }

    def _encode(self, vectors: Float32) -> Codes:
        assert self.levels_ is not None
        numbers = nearest_level(self.levels_, self._rotated(vectors)).astype(np.uint8)
        return self._coded(numbers, vectors)

    def _fit_cost(self) -> str:
        return f"{len(EXPONENTS) * len(SHARES_IN_RANGE)} trials on at most {SEARCH_SAMPLE} vectors"

    def _level_values(self) -> Float32:
        assert self.levels_ is not None
        return self.levels_


def _levels(exponent: float, largest: float, bits: int) -> NDArray[np.float64]:
    """Middles of ``2 ** bits`` even steps of the powers up to ``largest``, and back."""
    count = 1 << bits
    middles = (np.arange(count) - (count - 1) / 2) / (count / 2)
    levels: NDArray[np.float64] = np.sign(middles) * np.abs(middles) ** (1 / exponent) * largest
    return levels
