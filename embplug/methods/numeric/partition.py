"""Partitions of token space: the cell of each token, and the nearest token to each empty cell."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

Float32: TypeAlias = NDArray[np.float32]
Integers: TypeAlias = NDArray[np.integer[Any]]
Nearest: TypeAlias = Callable[[Float32, Float32], Integers]
"""Finds the centroid (n,) that is nearest to each token (n, dim), among centroids (cells, dim)."""

NOBODY = -1
"""Stands for the nearest token of a document that has none."""

LLOYD_ROUNDS = 10
LLOYD_TOKENS_PER_CELL = 128


@dataclass(frozen=True, eq=False)
class Cells:
    """Independent partitions of token space, one per repetition; the highest score decides the cell.

    Attributes
    ----------
    normals : float32 (repetitions, scores, dim)
    bias : float32 (repetitions, scores), or None for zeros
        The scores of a token x are ``normals @ x - bias``.
    per_repetition
        Number of cells.
    """

    normals: Float32
    bias: Float32 | None
    per_repetition: int

    def scores(self, tokens: Float32) -> Float32:
        """Scores (repetitions, scores, tokens); tokens last, so that what follows runs along memory."""
        repetitions, scores, dim = self.normals.shape
        flat: Float32 = self.normals.reshape(-1, dim) @ tokens.T
        if self.bias is not None:
            flat -= self.bias.reshape(-1, 1)
        return flat.reshape(repetitions, scores, len(tokens))

    def assign(self, scores: Float32) -> Integers:
        """Cell (repetitions, tokens) of every token."""
        cells: Integers = scores.argmax(axis=1)
        return cells

    def nearest(
        self,
        selected: NDArray[np.intp],
        scores: Float32,
        places: NDArray[np.intp],
        offsets: NDArray[np.int64],
    ) -> NDArray[np.integer[Any]]:
        """Token of its document that is nearest to each selected cell; ties go to the lowest token index.

        Parameters
        ----------
        selected : (m,)
            Indices into the flattened (documents, repetitions, cells).
        scores : float32 (repetitions, scores, tokens)
        places : (tokens * repetitions,)
            Where each token falls in each repetition: such indices too.
        offsets : int64 (documents + 1,)

        Returns
        -------
        integers (m,)
            Token index, ``NOBODY`` where the document has no tokens.
        """
        table = np.full((len(offsets) - 1, *scores.shape[:2]), NOBODY)
        lengths = offsets[1:] - offsets[:-1]
        inhabited = np.flatnonzero(lengths)
        if inhabited.size:
            highest = np.maximum.reduceat(scores, offsets[inhabited], axis=2)
            owner = np.repeat(np.arange(len(inhabited)), lengths[inhabited])
            repetition, cell, token = np.nonzero(scores == highest[:, :, owner])
            # Of repeated assignments the last one stays, so the lowest token is written last.
            table[inhabited[owner[token[::-1]]], repetition[::-1], cell[::-1]] = token[::-1]
        return table.reshape(-1)[selected]


@dataclass(frozen=True, eq=False)
class SimHashCells(Cells):
    """Cells by the signs of the scores.

    Attributes
    ----------
    marks : uint8 or uint16 (scores,)
        The number of a cell is the exclusive or of the marks of its positive scores: powers of two
        read the signs as a binary number, ``2 ** (i + 1) - 1`` as a Gray code.
    """

    marks: NDArray[np.unsignedinteger[Any]]

    @classmethod
    def draw(cls, normals: Float32, bias: Float32 | None, gray: bool) -> SimHashCells:
        """Make the cells of ``scores`` hyperplanes per repetition; the first gives the highest bit."""
        bits = normals.shape[1]
        powers = 1 << np.arange(bits)[::-1]
        marks = (2 * powers - 1 if gray else powers).astype(np.uint8 if bits <= 8 else np.uint16)
        return cls(normals, bias, 1 << bits, marks)

    def assign(self, scores: Float32) -> Integers:
        """Cell (repetitions, tokens) of every token."""
        marks = (scores > 0).view(np.uint8) * self.marks[:, None]
        cells: Integers = np.bitwise_xor.reduce(marks, axis=1)
        return cells

    def nearest(
        self,
        selected: NDArray[np.intp],
        scores: Float32,
        places: NDArray[np.intp],
        offsets: NDArray[np.int64],
    ) -> NDArray[np.integer[Any]]:
        """Token of its document whose signs differ least from each selected cell's: see :class:`Cells`."""
        repetitions, bits, tokens = scores.shape
        # table = Hamming distance * tokens + token, in the smallest type that holds it.
        far = tokens * (bits + 1)
        dtype = np.min_scalar_type(-2 * far - 1)
        table = np.full((len(offsets) - 1) * repetitions * self.per_repetition, far, dtype=dtype)
        # Of repeated assignments the last one stays, so the lowest token is written last.
        table[places[::-1]] = np.repeat(np.arange(tokens, dtype=dtype)[::-1], repetitions)
        by_cell = np.ascontiguousarray(table.reshape(-1, self.per_repetition).T)
        cells = np.arange(self.per_repetition)
        # One step per sign reaches every distance, because the Hamming distance is a sum over signs.
        for mark in self.marks.astype(np.intp):
            np.minimum(by_cell, by_cell[cells ^ mark] + dtype.type(tokens), out=by_cell)
        nearest = by_cell[selected % self.per_repetition, selected // self.per_repetition]
        return np.where(nearest < far, nearest % max(tokens, 1), NOBODY)


@dataclass(frozen=True, eq=False)
class CrossPolytopeCells(Cells):
    """Cells by the random axis along which a token lies farthest out, and the side it lies on."""

    def scores(self, tokens: Float32) -> Float32:
        """Scores (repetitions, 2 * axes, tokens): of the axes, then of their opposites."""
        axes = super().scores(tokens)
        return np.concatenate([axes, -axes], axis=1)


def kmeans(
    tokens: Float32, cells: int, generator: np.random.Generator, nearest: Nearest | None = None
) -> Float32:
    """Find centroids (cells, dim) of a random sample of ``tokens`` (n, dim) by Lloyd's algorithm.

    A centroid that loses all its tokens stays where it is. With fewer tokens than cells some
    centroids coincide, and the first of them gets all their tokens.
    """
    import scipy.sparse as sp

    nearest = _nearest_centroids if nearest is None else nearest
    selected = cells * LLOYD_TOKENS_PER_CELL
    if len(tokens) > selected:
        tokens = tokens[np.sort(generator.choice(len(tokens), selected, replace=False))]
    first = generator.choice(len(tokens), cells, replace=len(tokens) < cells)
    centroids = tokens[first].astype(np.float32)
    tokens = tokens.astype(np.float32, copy=False)
    for _ in range(LLOYD_ROUNDS):
        owner = nearest(tokens, centroids)
        members = sp.csr_array(
            (np.ones(len(tokens), dtype=np.float32), (owner, np.arange(len(tokens)))),
            shape=(cells, len(tokens)),
        )
        counts = np.bincount(owner, minlength=cells)[:, None]
        centroids = np.where(counts > 0, members @ tokens / np.maximum(counts, 1), centroids)
        centroids = centroids.astype(np.float32)
    return centroids


def _nearest_centroids(tokens: Float32, centroids: Float32) -> Integers:
    return np.asarray((tokens @ centroids.T - half_squares(centroids)).argmax(axis=1))


def half_squares(centroids: Float32) -> Float32:
    """Half the squared norms: subtracted from the dot products they make the nearest centroid the highest."""
    halves: Float32 = np.einsum("...d,...d->...", centroids, centroids) / 2
    return halves
