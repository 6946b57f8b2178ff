"""What quantizers share that keep one small number a dimension."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embplug.methods.numeric.arrays import (
    Codes,
    Float32,
    State,
    as_query,
    check_codes,
    not_fitted,
    state_bytes,
)
from embplug.methods.numeric.packing import pack, packed_bytes, unpack
from embplug.methods.transforms.rotation import Rotation

if TYPE_CHECKING:
    from embplug.methods.quantizers.base import Description

SAME_LENGTH = 1e-3
BLOCK_BYTES = 4 << 20
LENGTH_BYTES = 2


class LevelQuery(NamedTuple):
    """A prepared query.

    Attributes
    ----------
    vectors : float32 (t, d)
        Rotated as the coded vectors are.
    single
        Whether the query was a single vector.
    """

    vectors: Float32
    single: bool


class Levels:
    """Rotates vectors, or not, and scores what stands for them by one matrix product a block of rows.

    A subclass gives ``bits``, ``rotate``, ``seed`` and ``_directions``; ``_dim`` and ``length_`` are set
    when it is fitted. Where ``length_`` is zero the last two bytes of a code hold the length.
    """

    kind: str
    bits: int
    rotate: bool
    seed: int
    length_: float
    _dim: int

    @property
    def dim(self) -> int:
        """Dimension of the vectors it was fitted on."""
        if not self._dim:
            raise not_fitted(self)
        return self._dim

    @property
    def code_bytes(self) -> int:
        """Bytes of one vector, once fitted."""
        return packed_bytes([self.bits] * self.dim) + (0 if self.length_ else LENGTH_BYTES)

    def decode(self, codes: Codes) -> Float32:
        """Vectors (n, d) that the codes stand for."""
        codes = check_codes(codes, self.code_bytes)
        values = self._directions(codes)
        values *= self._scales(values, codes)[:, None]
        return unrotate(values, self.seed) if self.rotate else values

    def encode_query(self, q: ArrayLike) -> LevelQuery:
        """One query (d,) or the tokens of one query (t, d), exact as they are."""
        query, single = as_query(q, self.dim)
        return LevelQuery(self._rotated(query), single)

    def score(self, query: LevelQuery, codes: Codes) -> Float32:
        """Dot products (n,) or (n, t) of a prepared query with coded vectors."""
        codes = check_codes(codes, self.code_bytes)
        scores = np.empty((len(codes), len(query.vectors)), dtype=np.float32)
        step = max(1, BLOCK_BYTES // (4 * self.dim))
        for start in range(0, len(codes), step):
            block = codes[start : start + step]
            values = self._directions(block)
            products = values @ query.vectors.T
            scores[start : start + step] = products * self._scales(values, block)[:, None]
        return np.ascontiguousarray(scores[:, 0]) if query.single else scores

    def _directions(self, codes: Codes) -> Float32:
        """Vectors (n, d) in the direction that the codes stand for, of any length, in a new array."""
        raise NotImplementedError

    def _scales(self, values: Float32, codes: Codes) -> Float32:
        lengths: Float32 = np.sqrt(np.einsum("nd,nd->n", values, values))
        wanted: float | Float32 = self.length_
        if not self.length_:
            wanted = codes[:, -LENGTH_BYTES:].copy().view("<f2")[:, 0].astype(np.float32)
        scales: Float32 = np.divide(wanted, lengths, out=np.zeros_like(lengths), where=lengths > 0)
        return scales

    def _coded(self, numbers: Codes, vectors: Float32) -> Codes:
        """One number (n, d) a coordinate as bytes, with the lengths of ``vectors`` where they differ."""
        packed = pack(numbers, [self.bits] * self.dim)
        if self.length_:
            return packed
        lengths = np.linalg.norm(vectors, axis=1).clip(0, 65504).astype("<f2")
        return np.concatenate([packed, lengths[:, None].view(np.uint8)], axis=1)

    def _numbers(self, codes: Codes) -> NDArray[Any]:
        """Numbers (n, d) of the coordinates."""
        packed = codes if self.length_ else codes[:, :-LENGTH_BYTES]
        return unpack(packed, [self.bits] * self.dim)

    def _described(self, state: State, fit_cost: str) -> Description:
        differ = f"{LENGTH_BYTES} bytes hold the length: those of the sample differ"
        from embplug.methods.quantizers.base import Description

        return Description(
            method=self.kind,
            dim=self.dim,
            code_bytes=self.code_bytes,
            bits=self.bits * self.dim + (0.0 if self.length_ else 8.0 * LENGTH_BYTES),
            state_bytes=state_bytes(state),
            exact_queries=True,
            fit_cost=fit_cost,
            notes=() if self.length_ else (differ,),
        )

    def _rotated(self, vectors: Float32) -> Float32:
        return Rotation(seed=self.seed).transform(vectors) if self.rotate else vectors


def common_length(sample: Float32) -> float:
    """The length of all vectors as float32 holds it, or 0 where they differ."""
    lengths = np.linalg.norm(sample, axis=1)
    mean = float(np.float32(lengths.mean()))
    return mean if np.abs(lengths - mean).max() <= SAME_LENGTH * mean else 0.0


def unrotate(vectors: Float32, seed: int) -> Float32:
    """Undo ``Rotation(seed=seed)``, whose matrix is the rotated identity."""
    matrix = Rotation(seed=seed).transform(np.eye(vectors.shape[1], dtype=np.float32))
    original: Float32 = vectors @ matrix.T
    return original
