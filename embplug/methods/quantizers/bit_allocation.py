"""Bit allocation: principal directions, each with the number of bits that lowers the error most."""

from __future__ import annotations

import heapq
from collections.abc import Mapping
from typing import Any, Literal, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from typing_extensions import Self, override

from embplug.errors import InvalidArgumentError
from embplug.methods.kernels import Kernel
from embplug.methods.kernels.arguments import CodedDocuments
from embplug.methods.kernels.bytewise import BytewiseCodes
from embplug.methods.kernels.lookups import TokenTerms, token_sums
from embplug.methods.kernels.tables import VectorTable, vector_table
from embplug.methods.numeric.arrays import Codes, Float32, State, as_sample
from embplug.methods.numeric.compact import directions_in_bytes, orthonormal
from embplug.methods.numeric.rows import inverse_lengths, second_moments
from embplug.methods.quantizers.byte_tables import (
    ENTRIES,
    JOINT_SAMPLE,
    SCALAR_SAMPLE,
    ByteTables,
    fit_joint,
    fit_scalar,
    lloyd_max,
    nearest_level,
    sum_of_entries,
)
from embplug.methods.registry import register
from embplug.methods.roles import Quantizer
from embplug.methods.stored import StoredArray

BITS_OF_BYTE = 8
JOINT_LEAST = 32 * 256
"""Smallest number of vectors from which 256 entries are learned together."""
LEAST_WEIGHT = 1e-3
NOTHING = 1e-9
"""Share of the largest variance below which a direction holds rounding errors alone."""


_NO_CODES = np.zeros((0, 1), dtype=np.uint8)


class _Parts(NamedTuple):
    """Parts of a prepared query."""

    products: Float32
    """(bytes * 256, t); one column more gives the squared lengths, where decoded vectors are rescaled."""
    of_mean: Float32
    """(t,)"""


@register("bit_allocation", roles=("dense_codes", "token_codes"))
@dataclass(config=ConfigDict(extra="forbid"))
class BitAllocationQuantizer(Quantizer):
    """Quantizer that gives each principal direction as many bits as its variance is worth.

    Reverse water-filling gives a direction of variance v ``1/2 log2(v / water)`` bits, or none below the
    water level, which spends the budget. Each byte of the code then serves as many consecutive directions as
    are worth eight bits together.

    Parameters
    ----------
    size : int, default=48
        Bytes of a code.
    levels : {"joint", "scalar", "auto"}, default="joint"
        ``"joint"`` learns the 256 entries of a byte by k-means over its directions together. ``"scalar"``
        gives whole bits to each direction and learns Lloyd-Max levels for it. It is worse at equal size, but
        is fitted in a fraction of the time and from fewer vectors. ``"auto"`` is ``"joint"`` from 8,192
        vectors on.
    length : {"unit", "own", "decoded"}, default="unit"
        Length of decoded vectors. ``"unit"`` is 1. ``"own"`` is the length of the vector, which the last byte
        of the code holds. ``"decoded"`` does not rescale, which is closest to the vector itself.
    emphasis : float, default=1.0
        Exponent of the variances that bits are shared out by. Queries vary in the same directions as
        documents, so that errors there weigh more in dot products: 1.5 keeps more of a ranking. 1 makes the
        error of the vectors themselves least.
    prior : int, default=0
        Number of vectors that are enough to learn from. Vectors in random directions around the mean make up
        for those that a smaller sample lacks, so that the codes also hold for vectors unlike the sample.
    seed : int, default=0
        Seed of the k-means initialisation.
        A fit on another processor may give slightly different results, because sums are rounded
        differently. Copy the fitted state instead of fitting again.
    kind : str, default="bit_allocation"
        Name of the method in a recipe; leave it as it is.

    Attributes
    ----------
    mean_ : ndarray of shape (dim,), float32
        Mean of the sample.
    tables_ : ByteTables
        Directions, and the entries of each byte.
    lengths_ : ndarray of shape (256,), float32, or None
        Lengths that the last byte stands for, if ``length="own"``.
    sampled_ : int
        Number of vectors that were learned from.
    """

    size: int = Field(default=48, ge=2)
    levels: Literal["joint", "scalar", "auto"] = "joint"
    length: Literal["unit", "own", "decoded"] = "unit"
    emphasis: float = Field(default=1.0, ge=1, le=2)
    prior: int = Field(default=0, ge=0, le=1 << 16)
    seed: int = Field(default=0, ge=0)
    kind: Literal["bit_allocation"] = "bit_allocation"

    def __post_init__(self) -> None:
        self.mean_: Float32 | None = None
        self.tables_: ByteTables | None = None
        self.lengths_: Float32 | None = None
        self.sampled_ = 0
        self._squares_of: tuple[ByteTables, Float32] | None = None
        self._bytewise_of: tuple[ByteTables, BytewiseCodes] | None = None

    @classmethod
    @override
    def trials(cls, dim: int) -> dict[str, Self]:
        # Learns from few tokens what others need many for.
        return {"bit allocation 32": cls(size=32)}

    @property
    @override
    def fitted_dim(self) -> int | None:
        return None if self.mean_ is None else len(self.mean_)

    @override
    def bytes_per_vector(self, dim: int, *, unit_length: bool = False) -> float:
        return self.size

    @override
    def check_vectors(self, dim: int, *, unit_length: bool) -> None:
        if not unit_length and self.length == "unit":
            expected = "own or decoded, because dot products compare lengths too"
            raise InvalidArgumentError("length", expected, repr(self.length))

    def fit(self, X: ArrayLike, queries: ArrayLike | None = None) -> Self:
        """Learn directions, their bits and their levels.

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
        sample, generator = as_sample(X), np.random.default_rng(self.seed)
        sampled = len(sample)
        levels = self.levels
        if levels == "auto":
            levels = "joint" if sampled >= JOINT_LEAST else "scalar"
        if sampled < self.prior:
            sample = np.concatenate([sample, around_mean(sample, self.prior - sampled, generator)])
        self.mean_ = sample.mean(axis=0, dtype=np.float64).astype(np.float32)
        spent = self.size - (self.length == "own")
        self.tables_ = fit_tables(sample - self.mean_, spent, levels, generator, self.emphasis)
        if self.length == "own":
            logarithms = np.log(np.linalg.norm(sample, axis=1).clip(np.finfo(np.float32).tiny))
            self.lengths_ = np.exp(lloyd_max(logarithms.astype(np.float32), ENTRIES))
        self.sampled_ = sampled
        return self

    def _arrays(self, state: Mapping[str, NDArray[Any]]) -> dict[str, StoredArray]:
        own = self.length == "own"
        return {
            "mean": StoredArray(np.float32, ("dim",)),
            "sampled": StoredArray(np.int64),
            **ByteTables.arrays(state, "dim", self.size - own, weighted=self.emphasis > 1),
            **({"lengths": StoredArray(np.float32, (ENTRIES,), low=0, ascending=True)} if own else {}),
        }

    def _check_arrays(self, arrays: State) -> None:
        ByteTables.check_arrays(type(self).__name__, arrays)

    def _to_arrays(self) -> State:
        mean, tables = self._fitted()
        state: State = {"mean": mean, "sampled": np.array(self.sampled_), **tables.get_state()}
        return state if self.lengths_ is None else {**state, "lengths": self.lengths_}

    def _from_arrays(self, arrays: State) -> None:
        self.mean_, self.lengths_ = arrays["mean"], arrays.get("lengths")
        self.tables_, self.sampled_ = ByteTables.from_state(arrays), int(arrays["sampled"])

    def _encode(self, vectors: Float32) -> Codes:
        mean, tables = self._fitted()
        codes = tables.encode(vectors - mean)
        if self.lengths_ is None:
            return codes
        lengths = nearest_level(self.lengths_, np.linalg.norm(vectors, axis=1)).astype(np.uint8)
        return np.concatenate([codes, lengths[:, None]], axis=1)

    def _decode(self, codes: Codes) -> Float32:
        mean, tables = self._fitted()
        decoded = mean + tables.decode(codes[:, : len(tables.widths)])
        if self.length != "decoded":
            decoded *= self._scale(np.square(decoded).sum(axis=1), codes)[:, None]
        return decoded

    def _prepare(self, query: Float32) -> _Parts:
        mean, tables = self._fitted()
        products = tables.products(query)
        if self.length != "decoded":
            products = np.concatenate([products, self._squares()[:, None]], axis=1)
        return _Parts(products, query @ mean)

    def _score(self, parts: _Parts, codes: Codes) -> Float32:
        mean, tables = self._fitted()
        sums = sum_of_entries(parts.products, codes[:, : len(tables.widths)])
        if self.length == "decoded":
            return sums + parts.of_mean
        scores = sums[:, :-1] + parts.of_mean
        scores *= self._scale(sums[:, -1] + mean @ mean, codes)[:, None]
        return scores

    def _token_terms(self, kernel: Kernel, documents: CodedDocuments) -> TokenTerms:
        mean, _ = self._fitted()
        stride = self.code_bytes
        if self.length == "decoded":
            return TokenTerms(documents, stride)
        squares = token_sums(kernel, self._squares().reshape(-1, ENTRIES), documents, stride)
        squares += mean @ mean
        codes = documents.rows(stride) if self.length == "own" else _NO_CODES
        return TokenTerms(documents, stride, scales=self._scale(squares, codes))

    @override
    def _bytewise(self) -> BytewiseCodes:
        mean, tables = self._fitted()
        if self._bytewise_of is None or self._bytewise_of[0] is not tables:
            squares = None if self.length == "decoded" else self._squares().reshape(-1, ENTRIES)
            arguments = tables.rotation, mean, tables.columns, tables.widths
            codes = BytewiseCodes(*arguments, squares, float(mean @ mean), self.lengths_)
            self._bytewise_of = tables, codes
        return self._bytewise_of[1]

    @override
    def _vector_table(self, kernel: Kernel, query: Float32) -> VectorTable:
        mean, tables = self._fitted()
        turned = tables.turned(query)
        return vector_table(kernel, tables.columns, tables.widths, turned, float(query[0] @ mean))

    def _squares(self) -> Float32:
        """What each entry of each byte (bytes * 256,) adds to the squared length of a decoded vector."""
        mean, tables = self._fitted()
        if self._squares_of is None or self._squares_of[0] is not tables:
            self._squares_of = tables, tables.squares() + 2 * tables.products(mean[None])[:, 0]
        return self._squares_of[1]

    def _fit_cost(self) -> str:
        return f"one eigendecomposition (d^3), {table_cost('scalar' if self.levels == 'scalar' else 'joint')}"

    @override
    def least_sample(self, dim: int) -> int:
        return 0 if self.prior else max(dim, ENTRIES)

    def _notes(self) -> list[str]:
        few = max(self.sampled_, self.prior) < ENTRIES
        return [f"{self.sampled_} vectors to learn from: entries coincide"] if few else []

    def _fitted(self) -> tuple[Float32, ByteTables]:
        assert self.mean_ is not None and self.tables_ is not None
        return self.mean_, self.tables_

    def _scale(self, squares: NDArray[Any], codes: Codes) -> NDArray[Any]:
        """Factors (n,) of scores by squared lengths, which are used up."""
        factors = inverse_lengths(squares)
        return factors if self.lengths_ is None else factors * self.lengths_[codes[:, -1]]


def around_mean(sample: Float32, count: int, generator: np.random.Generator) -> Float32:
    """Vectors (count, dim) as long as those of a sample, in random directions around its mean."""
    n, dim = sample.shape
    mean = sample.mean(axis=0, dtype=np.float64)
    square = float(np.square(sample, dtype=np.float64).sum(axis=1).mean())
    # The mean of a few vectors is longer than that of all: of a single one it is the vector itself.
    common = max((n * float(mean @ mean) - square) / (n - 1), 0.0) if n > 1 else 0.0
    mean *= np.sqrt(common / max(float(mean @ mean), np.finfo(np.float32).tiny))
    spread = np.sqrt(max(square - common, 0.0) / dim)
    drawn = generator.standard_normal((count, dim))
    drawn *= spread
    drawn += mean
    lengths = np.linalg.norm(drawn, axis=1, keepdims=True)
    drawn *= np.sqrt(square)
    drawn /= np.where(lengths > 0, lengths, 1)
    return drawn.astype(np.float32)


def table_cost(levels: Literal["joint", "scalar"]) -> str:
    """Describe in words the cost of learning the entries of the bytes."""
    if levels == "joint":
        return f"256 means a byte on at most {JOINT_SAMPLE:,} vectors"
    return f"levels of each dimension from at most {SCALAR_SAMPLE:,} vectors"


def fit_tables(
    centered: Float32,
    size: int,
    levels: Literal["joint", "scalar"],
    generator: np.random.Generator,
    emphasis: float = 1.0,
) -> ByteTables:
    """Tables of ``size`` bytes in the principal directions of vectors whose mean is zero."""
    variances, directions = principal_directions(centered)
    weights = None if emphasis == 1 else weights_of(variances, emphasis)
    return tables_along(centered, variances, directions, size, levels, generator, weights)[0]


def weights_of(moments: NDArray[np.float64], emphasis: float) -> NDArray[np.float64]:
    """Factors (d,), at most 1, by which errors count along directions in which queries vary so much."""
    moments = np.maximum(moments, 0)
    shares = moments / max(moments.max(initial=0), np.finfo(np.float64).tiny)
    # A direction that hardly varies keeps a weight by which its entries can be divided.
    return np.asarray(np.maximum(shares ** ((emphasis - 1) / 2), LEAST_WEIGHT))


def principal_directions(centered: Float32) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Mean squares (d,) of vectors (n, d), falling, and the directions (d, d) of each, as columns."""
    variances, directions = np.linalg.eigh(second_moments(centered) / len(centered))
    return variances[::-1], directions[:, ::-1]


def tables_along(
    centered: Float32,
    variances: NDArray[np.float64],
    directions: NDArray[Any],
    size: int,
    levels: Literal["joint", "scalar"],
    generator: np.random.Generator,
    weights: NDArray[np.float64] | None = None,
) -> tuple[ByteTables, NDArray[np.int64]]:
    """Tables of ``size`` bytes along directions whose variances fall, and which of them they keep.

    Parameters
    ----------
    centered : float32 (n, d)
    variances : (d,)
        Mean squares along the directions.
    directions : (d, d)
        As columns.
    weights : (d,), default=None
        Factors of errors along the directions; see :func:`weights_of`. None weighs all alike.
    """
    variances = np.maximum(variances, 0)
    worth = variances if weights is None else variances * np.square(weights)
    if levels == "joint":
        bits = water_filling(worth, BITS_OF_BYTE * size)
        widths = byte_widths(bits, size)
        kept = np.arange(sum(widths))
        rotation = directions_in_bytes(directions[:, kept])
        turned = centered @ orthonormal(rotation)
        if weights is not None:
            factors = weights[kept].astype(np.float32)
            tables = fit_joint(turned * factors, widths, generator) / factors
        else:
            factors, tables = None, fit_joint(turned, widths, generator)
        return ByteTables.of(rotation, tables, np.array(widths, dtype=np.int64), factors), kept
    whole = integer_bits(worth, BITS_OF_BYTE * size)
    bins, whole = fill_bytes(whole, size)
    kept = np.array([direction for byte in bins for direction in byte], dtype=np.int64)
    rotation = directions_in_bytes(directions[:, kept])
    of_bytes = [[int(whole[direction]) for direction in byte] for byte in bins]
    sample = centered
    if len(sample) > ENTRIES * 32:
        sample = sample[np.sort(generator.choice(len(sample), ENTRIES * 32, replace=False))]
    widths = [len(byte) for byte in bins]
    tables = fit_scalar(sample @ orthonormal(rotation), of_bytes)
    factors = None if weights is None else weights[kept].astype(np.float32)
    return ByteTables.of(rotation, tables, np.array(widths, dtype=np.int64), factors), kept


def water_filling(
    variances: NDArray[np.float64],
    budget: float,
    highest: float = BITS_OF_BYTE,
    weights: NDArray[np.float64] | float = 1.0,
) -> NDArray[np.float64]:
    """Real numbers of bits that make the error least: reverse water-filling, at most ``highest`` each.

    ``weights`` say how often each of the numbers is written, so what its bits cost.
    """
    real = variances > NOTHING * variances.max(initial=0)
    if not real.any() or variances.max() <= 0:
        return np.zeros(variances.shape)
    halves = np.where(real, np.log2(np.where(real, variances, 1.0)) / 2, -np.inf)
    low, high = halves[real].min() - highest, halves.max()
    for _ in range(60):
        water = (low + high) / 2
        if ((halves - water).clip(0, highest) * weights).sum() > budget:
            low = water
        else:
            high = water
    return np.asarray((halves - high).clip(0, highest))


def integer_bits(variances: NDArray[np.float64], budget: int) -> NDArray[np.int64]:
    """Whole bits: the water-filling rounded down, the rest one by one where the error is largest."""
    bits = np.floor(water_filling(variances, budget)).astype(np.int64)
    real = np.flatnonzero((variances > NOTHING * variances.max(initial=0)) & (bits < BITS_OF_BYTE))
    errors = [(-variances[j] * 0.25 ** bits[j], int(j)) for j in real]
    heapq.heapify(errors)
    for _ in range(budget - int(bits.sum())):
        if not errors:
            break
        error, j = heapq.heappop(errors)
        bits[j] += 1
        if bits[j] < BITS_OF_BYTE:
            heapq.heappush(errors, (error / 4, j))
    return bits


def byte_widths(bits: NDArray[np.float64], size: int) -> list[int]:
    """Number of consecutive directions that each byte serves, none where there are too few."""
    active = int((bits > 0).sum())
    reached = np.cumsum(bits[:active])
    widths: list[int] = []
    start = 0
    for byte in range(size):
        left, others = active - start, size - byte - 1
        if left <= others:
            width = min(left, 1)
        elif others == 0:
            width = left
        else:
            spent = reached[start - 1] if start else 0.0
            share = (reached[-1] - spent) / (others + 1)
            width = int(np.searchsorted(reached, spent + share, side="right")) - start
            width = min(max(width, 1), left - others)
        widths.append(width)
        start += width
    return widths


def fill_bytes(bits: NDArray[np.int64], size: int) -> tuple[list[list[int]], NDArray[np.int64]]:
    """Put directions into bytes of 8 bits, largest first; what fits nowhere gets the largest room left."""
    bits = bits.copy()
    bins: list[list[int]] = [[] for _ in range(size)]
    room = np.full(size, BITS_OF_BYTE)
    for direction in np.argsort(-bits, kind="stable").tolist():
        if bits[direction] == 0:
            break
        fitting = np.flatnonzero(room >= bits[direction])
        byte = int(fitting[room[fitting].argmin()]) if fitting.size else int(room.argmax())
        bits[direction] = min(bits[direction], room[byte])
        if bits[direction]:
            bins[byte].append(direction)
            room[byte] -= bits[direction]
    return bins, bits
