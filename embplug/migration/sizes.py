"""Bytes of a point's vectors, from how a collection keeps them and what a sample of its points has."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from qdrant_client import models

from embplug.engines import Engine
from embplug.ids import CODES
from embplug.migration.reader import Reader
from embplug.migration.source import stored_vectors

SAMPLED = 100
SAMPLE_BYTES = 16 << 20

_DATATYPE_BITS = {
    models.Datatype.FLOAT32: 32,
    models.Datatype.FLOAT16: 16,
    models.Datatype.UINT8: 8,
    models.Datatype.TURBO4: 4,
    models.Datatype.TURBO8: 8,
    models.Datatype.TURBO16: 16,
}
_BINARY_BITS = {
    models.BinaryQuantizationEncoding.ONE_BIT: 1.0,
    models.BinaryQuantizationEncoding.ONE_AND_HALF_BITS: 1.5,
    models.BinaryQuantizationEncoding.TWO_BITS: 2.0,
}


@dataclass(frozen=True)
class VectorBytes:
    """Bytes of a point's vectors.

    Attributes
    ----------
    stored
        Of all that is kept: vectors, codes of Qdrant's quantization, codes of tokens in the payload.
    searched
        Of what is compared to find candidates: the codes where vectors have some, and no vector without
        a graph.
    """

    stored: float
    searched: float


def vector_bytes(engine: Engine, name: str, info: models.CollectionInfo) -> VectorBytes:
    """Bytes of a point's vectors in a collection; matrices and codes of tokens as in a sample of it."""
    config = stored_vectors(info)
    matrices = [vector for vector, params in config.items() if params.multivector_config]
    sample = Reader(engine, name, matrices, payload=[CODES]).sample(SAMPLED, SAMPLE_BYTES)
    stored = searched = 0.0
    for vector, params in config.items():
        rows = float(np.mean([len(p.vectors[vector]) for p in sample] or [0])) if vector in matrices else 1.0
        codes = _code_bits(params.quantization_config or info.config.quantization_config)
        bits = _DATATYPE_BITS[params.datatype or models.Datatype.FLOAT32]
        stored += rows * params.size * (bits + codes) / 8
        if params.hnsw_config is None or params.hnsw_config.m != 0:
            searched += rows * params.size * (codes or bits) / 8
    stored += float(np.mean([len(point.payload.get(CODES, "")) for point in sample] or [0]))
    return VectorBytes(stored, searched)


def _code_bits(quantization: object) -> float:
    """Bits of a number's code."""
    if isinstance(quantization, models.ScalarQuantization):
        return 8.0
    if isinstance(quantization, models.ProductQuantization):
        return 32.0 / int(quantization.product.compression.value.removeprefix("x"))
    if isinstance(quantization, models.BinaryQuantization):
        return _BINARY_BITS[quantization.binary.encoding or models.BinaryQuantizationEncoding.ONE_BIT]
    if isinstance(quantization, models.TurboQuantization):
        bits = quantization.turbo.bits or models.TurboQuantBitSize.BITS4
        return float(bits.value.removeprefix("bits").replace("_", "."))
    return 0.0
