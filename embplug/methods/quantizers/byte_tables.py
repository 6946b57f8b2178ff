"""Codes of which every byte stands for a point in a few dimensions: 256 of them, looked up in a table."""

from __future__ import annotations

import itertools
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any, TypeVar

import numpy as np
from numpy.typing import NDArray

from embplug.errors import StateError
from embplug.methods.kernels import load
from embplug.methods.kernels.entries import Entries
from embplug.methods.numeric.arrays import Codes, Float32, State
from embplug.methods.numeric.compact import (
    compact_state,
    halved,
    orthonormal,
    restored,
    rounded_to_bytes,
    stored_compact,
    stored_directions,
)
from embplug.methods.numeric.partition import Nearest, half_squares, kmeans
from embplug.methods.stored import StoredArray

Number = TypeVar("Number", np.float32, np.int16)

ENTRIES = 256
BLOCK_ROWS = 4096
JOINT_SAMPLE = 16384
SCALAR_SAMPLE = 8192
LLOYD_MAX_ROUNDS = 12
ROUNDED_SAMPLE = 1024
MOST_ADDED = 0.02
"""Largest error of entries in bytes, as a share of that of the codes themselves."""


@dataclass(frozen=True, eq=False)
class ByteTables:
    """Byte ``m`` of a code is an entry of a table for ``widths[m]`` dimensions.

    Attributes
    ----------
    rotation : float32 (dim, active) or None
        Orthonormal directions that the codes describe, in the order of the bytes; ``None`` is the
        identity. What lies outside of them is lost.
    tables : float32 (256, active)
        The entries of all bytes side by side.
    widths : int64 (bytes,)
    stored_rotation : int8 or float32 (dim, active), default=None
        What the state keeps of ``rotation``. None keeps it as it is.
    weights : float32 (active,), default=None
        Factors of the directions for the search of the nearest entry. None weighs all alike.
    """

    rotation: Float32 | None
    tables: Float32
    widths: NDArray[np.int64]
    stored_rotation: NDArray[Any] | None = None
    weights: Float32 | None = None

    @classmethod
    def of(
        cls,
        stored_rotation: NDArray[Any] | None,
        tables: NDArray[Any],
        widths: NDArray[np.int64],
        weights: NDArray[Any] | None = None,
    ) -> ByteTables:
        """Tables with the numbers that a state keeps; see :mod:`embplug.methods.numeric.compact`."""
        return cls(
            None if stored_rotation is None else orthonormal(stored_rotation),
            np.ascontiguousarray(halved(tables), dtype=np.float32),
            np.ascontiguousarray(widths, dtype=np.int64),
            stored_rotation,
            None if weights is None else np.ascontiguousarray(weights, dtype=np.float32),
        )

    def in_bytes(self, vectors: Float32) -> ByteTables:
        """The same with entries of a byte a number, where that adds little to what codes of vectors lose."""
        rounded = rounded_to_bytes(self.tables, axis=0)
        factors = np.ones(1, dtype=np.float32) if self.weights is None else self.weights
        some = vectors[:: max(1, -(-len(vectors) // ROUNDED_SAMPLE))]
        turned = self.turned(some) * factors
        lost = np.square(turned - self._entries(self.encode(some)) * factors).sum(axis=1).mean()
        added = np.square((rounded - self.tables) * factors).mean(axis=0).sum()
        return replace(self, tables=rounded) if added <= MOST_ADDED * lost else self

    def encode(self, vectors: Float32) -> Codes:
        """Nearest entry of every byte, for vectors (n, dim)."""
        codes, kernel = np.zeros((len(vectors), len(self.widths)), dtype=np.uint8), load()
        for rows in blocks(len(vectors)):
            turned = self.turned(vectors[rows])
            if kernel is not None:
                codes[rows] = self._compiled.nearest(kernel, turned)
                continue
            tables = self.tables
            if self.weights is not None:
                turned, tables = turned * self.weights, tables * self.weights
            for byte, columns in self._columns():
                codes[rows, byte] = nearest_block(turned[:, columns], tables[:, columns])
        return codes

    def decode(self, codes: Codes) -> Float32:
        """Vectors (n, dim)."""
        turned = self._entries(codes)
        return turned if self.rotation is None else turned @ self.rotation.T

    def products(self, vectors: Float32, out: Float32 | None = None) -> Float32:
        """Dot products (bytes * 256, n) of every entry with vectors (n, dim); see :func:`sum_of_entries`.

        ``out``, of the same shape and contiguous, takes them where it is given.
        """
        turned = vectors if self.rotation is None else vectors @ self.rotation
        shape = len(self.widths), ENTRIES, len(vectors)
        if len(vectors) == 1 and out is None:
            import scipy.sparse as sp

            # One sparse product of all bytes: one for each byte takes longer to call than to compute.
            ends = np.concatenate([[0], np.cumsum(self.widths)])
            active = np.arange(ends[-1])
            factors = sp.csr_array((turned[0], active, ends), shape=(len(self.widths), len(active)))
            return np.asarray(factors @ self.columns).reshape(-1, 1)
        entries = np.empty(shape, dtype=np.float32) if out is None else out.reshape(shape)
        entries[self.widths == 0] = 0
        for byte, columns in self._columns():
            np.matmul(self.tables[:, columns], turned[:, columns].T, out=entries[byte])
        return entries.reshape(len(self.widths) * ENTRIES, len(vectors))

    def turned(self, vectors: Float32) -> Float32:
        """Vectors (n, dim) in the directions that the codes describe (n, active)."""
        return vectors if self.rotation is None else vectors @ self.rotation

    @cached_property
    def columns(self) -> Float32:
        """The entries (active, 256), as the compiled kernel reads them."""
        return np.ascontiguousarray(self.tables.T)

    @cached_property
    def _compiled(self) -> Entries:
        return Entries(self.tables, self.widths, self.weights)

    def squares(self) -> Float32:
        """Squared length (bytes * 256,) of every entry."""
        entries = np.zeros((len(self.widths), ENTRIES), dtype=np.float32)
        for byte, columns in self._columns():
            entries[byte] = np.square(self.tables[:, columns]).sum(axis=1)
        return entries.reshape(-1)

    def get_state(self) -> State:
        """Arrays that :meth:`from_state` reads."""
        state: State = {**compact_state("tables", self.tables, axis=0), "widths": self.widths}
        if self.rotation is not None:
            state["rotation"] = self.rotation if self.stored_rotation is None else self.stored_rotation
        if self.weights is not None:
            state["weights"] = self.weights
        return state

    @staticmethod
    def arrays(
        state: Mapping[str, NDArray[Any]],
        dim: int | str,
        size: int | str,
        name: str = "active",
        rotated: bool = True,
        weighted: bool = False,
    ) -> dict[str, StoredArray]:
        """Types and shapes of the arrays that :meth:`get_state` returns.

        Parameters
        ----------
        state
            The arrays themselves, which tell their precision.
        dim, size
            Dimension of the vectors and bytes of a code, or names for them.
        name
            Name for the number of directions.
        rotated
            Whether there is a rotation; otherwise there are as many directions as dimensions.
        weighted
            Whether directions have weights.
        """
        active = name if rotated else dim
        rotation = stored_directions(state, "rotation", (dim, active))
        rotation = rotation._replace(may_be_empty=True)
        along = stored_compact(state, "tables", (ENTRIES, active), axis=0)
        if weighted:
            along["weights"] = StoredArray(np.float32, (active,), low=0)
        return {
            # Vectors that are all alike vary in no direction.
            **{name: array._replace(may_be_empty=rotated) for name, array in along.items()},
            "widths": StoredArray(np.int64, (size,)),
            **({"rotation": rotation} if rotated else {}),
        }

    @staticmethod
    def check_arrays(owner: str, state: State) -> None:
        """Check that the bytes have as many dimensions as the tables.

        Raises
        ------
        StateError
            They have not.
        """
        dims = state["tables"].shape[1]
        if (state["widths"] > dims).any() or state["widths"].sum() != dims:
            raise StateError(f"state 'widths' of {owner}: expected widths with the sum {dims}, got others")

    @classmethod
    def from_state(cls, state: State) -> ByteTables:
        """Undo :meth:`get_state`."""
        tables = restored(state, "tables", axis=0)
        of_state = cls.of(state.get("rotation"), tables, state["widths"], state.get("weights"))
        # What an earlier version stored in float32, or what bytes stand for, is not rounded.
        return of_state if state["tables"].dtype == np.float16 else replace(of_state, tables=tables)

    def _entries(self, codes: Codes) -> Float32:
        """Entries (n, active) of codes."""
        kernel = load()
        if kernel is not None:
            return self._compiled.of(kernel, codes)
        turned = np.empty((len(codes), self.tables.shape[1]), dtype=np.float32)
        for byte, columns in self._columns():
            turned[:, columns] = self.tables[codes[:, byte], columns]
        return turned

    def _columns(self) -> Iterator[tuple[int, slice]]:
        stop = 0
        for byte, width in enumerate(self.widths.tolist()):
            start, stop = stop, stop + width
            if width:
                yield byte, slice(start, stop)


def sum_of_entries(products: NDArray[Number], codes: Codes) -> NDArray[Number]:
    """Sum over the bytes of each code of the rows of ``products`` that they name.

    Parameters
    ----------
    products : float32 or int16 (bytes * 256, t)
    codes : uint8 (n, bytes)

    Returns
    -------
    (n, t), of the type of ``products``
    """
    sums = np.empty((len(codes), products.shape[1]), dtype=products.dtype)
    for rows in blocks(len(codes)):
        if products.shape[1] == 1:
            places = codes[rows] + ENTRIES * np.arange(codes.shape[1], dtype=np.int32)
            sums[rows, 0] = products.reshape(-1)[places].sum(axis=1, dtype=products.dtype)
            continue
        sums[rows] = sums_of_entries(products, [codes[rows]])
    return sums


def sums_of_entries(products: NDArray[Number], of_classes: Sequence[Codes]) -> NDArray[Number]:
    """Sum the entries of codes of several widths, each with products of its own, without blocks.

    Parameters
    ----------
    products : float32 or int16 (sum of bytes * 256, t)
        Of each class of codes, one below the other.
    of_classes
        uint8 (n_k, bytes_k) each.

    Returns
    -------
    (sum of n_k, t), of the type of ``products``
    """
    import scipy.sparse as sp

    counts, widths = [len(codes) for codes in of_classes], [codes.shape[1] for codes in of_classes]
    first = np.concatenate([[0], np.cumsum(widths)]).astype(np.int32)
    # A sparse matrix of ones picks the rows and adds them in one compiled loop.
    entries = np.concatenate(
        [
            (codes + ENTRIES * np.arange(start, stop, dtype=np.int32)).reshape(-1)
            for codes, (start, stop) in zip(of_classes, itertools.pairwise(first.tolist()), strict=True)
        ]
    )
    starts = np.concatenate([[0], np.cumsum(np.repeat(widths, counts))]).astype(np.int32)
    ones = np.ones(len(entries), dtype=products.dtype)
    picks = sp.csr_array((ones, entries, starts), shape=(sum(counts), len(products)))
    return np.asarray(picks @ products)


def fit_joint(sample: Float32, widths: Sequence[int], generator: np.random.Generator) -> Float32:
    """Tables (256, active) by k-means over the dimensions of each byte, for a rotated sample (n, active)."""
    if len(sample) > JOINT_SAMPLE:
        sample = sample[np.sort(generator.choice(len(sample), JOINT_SAMPLE, replace=False))]
    tables = np.zeros((ENTRIES, sample.shape[1]), dtype=np.float32)
    stop = 0
    for width in widths:
        start, stop = stop, stop + width
        if width:
            part = np.ascontiguousarray(sample[:, start:stop])
            tables[:, start:stop] = kmeans(part, ENTRIES, generator, _nearest_entries())
    return tables


def _nearest_entries() -> Nearest | None:
    """How the compiled kernel finds the nearest of 256 centroids; None without a kernel."""
    kernel = load()
    if kernel is None:
        return None
    return lambda tokens, centroids: Entries(centroids, np.array([tokens.shape[1]])).nearest(kernel, tokens)[
        :, 0
    ]


def fit_scalar(sample: Float32, bits: Sequence[Sequence[int]]) -> Float32:
    """Tables (256, active) of all combinations of the levels of the dimensions of each byte.

    Parameters
    ----------
    sample : float32 (n, active)
    bits
        For each byte, the bits of each of its dimensions; at most 8 together.
    """
    tables = np.zeros((ENTRIES, sample.shape[1]), dtype=np.float32)
    entry = np.arange(ENTRIES)
    column = 0
    for of_byte in bits:
        shift = 0
        for count in of_byte:
            levels = lloyd_max(sample[:SCALAR_SAMPLE, column], 1 << count)
            tables[:, column] = levels[(entry >> shift) & ((1 << count) - 1)]
            shift += count
            column += 1
    return tables


def lloyd_max(values: Float32, count: int) -> Float32:
    """Rising levels (count,) of least squared error for the distribution of ``values``."""
    ordered = np.sort(values.astype(np.float64))
    levels = np.quantile(ordered, (np.arange(count) + 0.5) / count)
    sums = np.concatenate([[0.0], np.cumsum(ordered)])
    for _ in range(LLOYD_MAX_ROUNDS):
        edges = np.searchsorted(ordered, (levels[1:] + levels[:-1]) / 2)
        edges = np.concatenate([[0], edges, [len(ordered)]])
        members = np.diff(edges)
        means = np.diff(sums[edges]) / np.maximum(members, 1)
        levels = np.sort(np.where(members > 0, means, levels))
    return levels.astype(np.float32)


def nearest_level(levels: NDArray[Any], values: NDArray[Any]) -> NDArray[np.int64]:
    """Index of the level that is nearest to each value, among rising ones."""
    return np.searchsorted((levels[1:] + levels[:-1]) / 2, values)


def length_factors(vectors: Float32, decoded: Float32) -> Float32:
    """Length of each vector over the length of the decoded one."""
    lengths = np.linalg.norm(decoded, axis=1)
    lengths_before = np.linalg.norm(vectors, axis=1)
    return np.where(lengths > 0, lengths_before / np.where(lengths > 0, lengths, 1), 1).astype(np.float32)


def nearest(vectors: Float32, centroids: Float32) -> NDArray[np.int64]:
    """Index of the centroid that is nearest to each vector; ties go to the first."""
    ids = np.empty(len(vectors), dtype=np.int64)
    for rows in blocks(len(vectors)):
        ids[rows] = nearest_block(vectors[rows], centroids)
    return ids


def nearest_block(vectors: Float32, centroids: Float32) -> NDArray[np.intp]:
    """Index of the centroid that is nearest to each vector, without blocks."""
    scores = vectors @ centroids.T
    scores -= half_squares(centroids)
    return np.asarray(scores.argmax(axis=1))


def blocks(rows: int, size: int = BLOCK_ROWS) -> Iterator[slice]:
    """Consecutive runs of at most ``size`` rows."""
    for start in range(0, rows, size):
        yield slice(start, min(start + size, rows))
