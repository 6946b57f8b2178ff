"""Base of quantizers that keep one small number for each dimension."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray
from typing_extensions import override

from embplug.methods.kernels import Kernel, in_use
from embplug.methods.kernels.arguments import CodedDocuments
from embplug.methods.kernels.lookups import TokenTerms, token_sums
from embplug.methods.kernels.tables import Table, VectorTable, table_of_entries, vector_table
from embplug.methods.numeric.arrays import Codes, Float32
from embplug.methods.numeric.packing import pack, packed_bytes, unpack
from embplug.methods.quantizers.byte_tables import ENTRIES, ByteTables
from embplug.methods.roles import Quantizer
from embplug.methods.transforms.rotation import Rotation

SAME_LENGTH = 1e-3
BLOCK_BYTES = 4 << 20
LENGTH_BYTES = 2
BITS_OF_BYTE = 8


class Levels(Quantizer):
    """Base of quantizers that keep one small number for each coordinate, after a rotation or without.

    A subclass gives ``bits``, ``rotate``, ``seed`` and ``_level_values``, and sets ``dim_`` and ``length_``
    when it is fitted. If ``length_`` is zero, the last two bytes of a code hold the length.
    """

    bits: int
    rotate: bool
    seed: int
    dim_: int | None
    length_: float
    _tables_of: tuple[Float32, int, ByteTables] | None = None

    @property
    @override
    def fitted_dim(self) -> int | None:
        return self.dim_

    @override
    def bytes_per_vector(self, dim: int, *, unit_length: bool = False) -> float:
        one_length = unit_length if self.dim_ is None else self.length_ > 0
        return packed_bytes([self.bits] * dim) + (0 if one_length else LENGTH_BYTES)

    def _decode(self, codes: Codes) -> Float32:
        values = self._directions(codes)
        values *= self._scales(values, codes)[:, None]
        return unrotate(values, self.seed) if self.rotate else values

    def _prepare(self, query: Float32) -> Float32:
        return self._rotated(query)

    def _score(self, parts: Float32, codes: Codes) -> Float32:
        scores = np.empty((len(codes), len(parts)), dtype=np.float32)
        step = max(1, BLOCK_BYTES // (4 * self.dim))
        for start in range(0, len(codes), step):
            block = codes[start : start + step]
            values = self._directions(block)
            products = values @ parts.T
            scores[start : start + step] = products * self._scales(values, block)[:, None]
        return scores

    def _token_terms(self, kernel: Kernel, documents: CodedDocuments) -> TokenTerms | None:
        tables = self._tables()
        if tables is None:
            return None
        stride = self.code_bytes
        squares = token_sums(kernel, tables.squares().reshape(-1, ENTRIES), documents, stride)
        codes = documents.rows(stride)
        return TokenTerms(documents, stride, scales=self._scales_of_squares(squares, codes))

    def _lookups(self, kernel: Kernel, query: Float32) -> tuple[Table, Float32]:
        tables = self._tables()
        assert tables is not None
        table = table_of_entries(kernel, tables.columns, tables.widths, self._rotated(query))
        return table, np.zeros((1, table.tile), dtype=np.float32)

    @override
    def _vector_table(self, kernel: Kernel, query: Float32) -> VectorTable | None:
        tables = self._tables()
        if tables is None:
            return None
        return vector_table(kernel, tables.columns, tables.widths, self._rotated(query))

    def _scored_by(self) -> str:
        return "numpy" if BITS_OF_BYTE % self.bits else in_use()

    def _tables(self) -> ByteTables | None:
        """What the bytes of a code stand for, where no number lies in two bytes."""
        if BITS_OF_BYTE % self.bits:
            return None
        values = self._level_values()
        if (
            self._tables_of is None
            or not np.array_equal(self._tables_of[0], values)
            or (self._tables_of[1] != self.dim)
        ):
            per_byte = BITS_OF_BYTE // self.bits
            numbers = unpack(np.arange(ENTRIES, dtype=np.uint8)[:, None], [self.bits] * per_byte)
            count = packed_bytes([self.bits] * self.dim)
            entries = np.tile(values[numbers], (1, count))[:, : self.dim]
            widths = np.full(count, per_byte)
            widths[-1] = self.dim - per_byte * (count - 1)
            self._tables_of = values, self.dim, ByteTables(None, np.ascontiguousarray(entries), widths)
        return self._tables_of[2]

    def _level_values(self) -> Float32:
        """Values (2 ** bits,) that the numbers of a coordinate stand for, up to a common factor."""
        raise NotImplementedError

    def _directions(self, codes: Codes) -> Float32:
        """Vectors (n, d) in the direction that the codes stand for, of any length, in a new array."""
        values: Float32 = self._level_values()[self._numbers(codes)]
        return values

    def _scales(self, values: Float32, codes: Codes) -> Float32:
        return self._scales_of_squares(np.einsum("nd,nd->n", values, values), codes)

    def _scales_of_squares(self, squares: Float32, codes: Codes) -> Float32:
        lengths: Float32 = np.sqrt(squares)
        target_lengths: float | Float32 = self.length_
        if not self.length_:
            target_lengths = codes[:, -LENGTH_BYTES:].copy().view("<f2")[:, 0].astype(np.float32)
        scales: Float32 = np.divide(target_lengths, lengths, out=np.zeros_like(lengths), where=lengths > 0)
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

    def _bits(self, dim: int, size: float) -> float:
        return self.bits * dim + (0.0 if self.length_ else 8.0 * LENGTH_BYTES)

    def _notes(self) -> list[str]:
        return [] if self.length_ else [f"{LENGTH_BYTES} bytes hold the length: those of the sample differ"]

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
