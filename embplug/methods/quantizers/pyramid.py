"""Quantizer that stores integers whose magnitudes sum to a constant (pyramid vector quantization)."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from typing_extensions import Self

from embplug.errors import StateError
from embplug.methods.numeric.arrays import Codes, Float32, State, as_sample, check_codes
from embplug.methods.quantizers.levels import Levels, common_length
from embplug.methods.registry import register
from embplug.methods.stored import MOST_DIMS, StoredArray

SEARCH_SAMPLE = 500
PULSES_PER_DIMENSION = (0.3, 0.45, 0.6, 0.8, 1.0, 1.3, 1.7, 2.2, 3, 4, 6, 8, 12, 18, 26, 38)
ROWS = 1024


@register("pyramid", roles=("dense_codes",))
@dataclass(config=ConfigDict(extra="forbid"))
class PyramidQuantizer(Levels):
    """Quantizer that stores integers whose magnitudes sum to a constant (pyramid vector quantization).

    A vector is scaled so that its magnitudes sum to ``pulses``, rounded, and repaired by one pulse at a time
    where that costs least. The length is kept apart: once for all vectors if they have the same length,
    otherwise in two bytes of each code.

    Parameters
    ----------
    bits : int, default=4
        Bits of a coordinate, from 2 to 8. It holds magnitudes below ``2 ** (bits - 1)``.
    pulses : int, default=None
        Sum of the magnitudes. None takes the multiple of the dimension that keeps the directions of the
        sample best.
    rotate : bool, default=True
        Whether vectors are rotated at random first, which makes their coordinates similar in size.
    seed : int, default=0
        Seed of the rotation.
    kind : str, default="pyramid"
        Name of the method in a recipe; leave it as it is.

    Attributes
    ----------
    pulses_ : int
        Sum of the magnitudes.
    length_ : float
        Length of all vectors of the sample. 0 if they differ.
    dim_ : int
        Dimension of the vectors.

    References
    ----------
    .. [1] Fischer, "A Pyramid Vector Quantizer", IEEE Transactions on Information Theory, 1986.
    """

    bits: int = Field(default=4, ge=2, le=8)
    pulses: int | None = Field(default=None, ge=1)
    rotate: bool = True
    seed: int = Field(default=0, ge=0)
    kind: Literal["pyramid"] = "pyramid"

    def __post_init__(self) -> None:
        self.pulses_ = 0
        self.length_ = 0.0
        self.dim_: int | None = None

    def fit(self, X: ArrayLike, queries: ArrayLike | None = None) -> Self:
        """Choose the number of pulses.

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
        # More pulses than all coordinates can hold together would never be placed.
        most = self.dim_ * self._largest
        if self.pulses is not None:
            self.pulses_ = min(self.pulses, most)
            return self
        rotated = self._rotated(sample[:: -(-len(sample) // SEARCH_SAMPLE)])
        choices = sorted({min(max(1, round(r * self.dim_)), most) for r in PULSES_PER_DIMENSION})
        kept = [_cosines(rotated, on_pyramid(rotated, pulses, self._largest)).mean() for pulses in choices]
        self.pulses_ = choices[int(np.argmax(kept))]
        return self

    def integers(self, codes: Codes) -> NDArray[np.int8]:
        """Read the integer vectors from codes.

        Parameters
        ----------
        codes : ndarray of shape (n, code_bytes), uint8
            Results of :meth:`encode`.

        Returns
        -------
        ndarray of shape (n, dim), int8
            Integers whose magnitudes sum to ``pulses_``.
        """
        codes = check_codes(codes, self.code_bytes)
        numbers = self._numbers(codes).astype(np.int16) - self._largest
        return numbers.astype(np.int8)

    def _arrays(self, state: Mapping[str, NDArray[Any]]) -> dict[str, StoredArray]:
        return {
            "dim": StoredArray(np.int64, low=1, high=MOST_DIMS),
            "pulses": StoredArray(np.int64, low=1),
            "length": StoredArray(np.float32, low=0),
        }

    def _check_arrays(self, arrays: State) -> None:
        most = int(arrays["dim"]) * self._largest
        if arrays["pulses"] > most:
            raise StateError(f"state 'pulses' of PyramidQuantizer: expected at most {most}, got more")

    def _encode(self, vectors: Float32) -> Codes:
        numbers = on_pyramid(self._rotated(vectors), self.pulses_, self._largest) + self._largest
        return self._coded(numbers.astype(np.uint8), vectors)

    def _fit_cost(self) -> str:
        return f"{len(PULSES_PER_DIMENSION)} trial encodings of at most {SEARCH_SAMPLE} vectors"

    @property
    def _largest(self) -> int:
        return int((1 << (self.bits - 1)) - 1)

    def _level_values(self) -> Float32:
        values: Float32 = np.arange(1 << self.bits, dtype=np.float32) - np.float32(self._largest)
        return values


def on_pyramid(vectors: Float32, pulses: int, largest: int) -> NDArray[np.int32]:
    """Integers (n, d) with magnitudes of at most ``largest`` that sum to ``pulses``; zero vectors stay zero.

    Where coordinates are full, a row may hold fewer.
    """
    placed = np.empty(vectors.shape, dtype=np.int32)
    for start in range(0, len(vectors), ROWS):
        rows = slice(start, start + ROWS)
        magnitudes = np.abs(vectors[rows]).astype(np.float64)
        sums = magnitudes.sum(axis=1, keepdims=True)
        alive = sums[:, 0] > 0
        scaled = magnitudes * (pulses / np.where(sums > 0, sums, 1))
        integers = np.clip(np.rint(scaled), 0, largest)
        for _ in range(64):
            missing = np.where(alive, pulses - integers.sum(axis=1), 0).astype(np.int64)
            if not missing.any():
                break
            # The coordinate whose rounding error grows least takes, or gives, a pulse first.
            gains = (scaled - integers) * np.sign(missing)[:, None]
            closed = np.where(missing[:, None] > 0, integers >= largest, integers <= 0)
            gains[closed] = -np.inf
            order = np.argsort(-gains, axis=1, kind="stable")
            open_count = (~closed).sum(axis=1)
            if not np.minimum(open_count, np.abs(missing)).any():
                break
            chosen = np.arange(vectors.shape[1]) < np.minimum(np.abs(missing), open_count)[:, None]
            steps = np.zeros_like(integers)
            np.put_along_axis(steps, order, chosen * np.sign(missing)[:, None].astype(np.float64), axis=1)
            integers += steps
        placed[rows] = np.where(vectors[rows] < 0, -integers, integers).astype(np.int32)
    return placed


def _cosines(vectors: Float32, others: NDArray[np.int32]) -> NDArray[np.float64]:
    products = np.einsum("nd,nd->n", vectors, others).astype(np.float64)
    lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(others.astype(np.float64), axis=1)
    cosines: NDArray[np.float64] = np.divide(
        products, lengths, out=np.zeros_like(products), where=lengths > 0
    )
    return cosines
