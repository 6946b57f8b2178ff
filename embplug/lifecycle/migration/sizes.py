"""Bytes of a point's vectors, from how a collection keeps them and what a sample of its points has."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from qdrant_client import models

from embplug.branches.bits import datatype_bits, quantized_bytes
from embplug.common.ids import CODE_FIELDS
from embplug.engines import Engine
from embplug.lifecycle.migration.reader import Reader
from embplug.lifecycle.migration.source import stored_vectors

SAMPLED = 100
SAMPLE_BYTES = 16 << 20


@dataclass(frozen=True)
class PointBytes:
    """Bytes of a point's vectors.

    Attributes
    ----------
    stored : float
        Bytes of all that is kept: vectors, codes of Qdrant's quantization, codes in the payload.
    searched : float
        Bytes of what is compared to find candidates: the codes where vectors have some, and no vector
        without a graph.
    """

    stored: float
    searched: float


def point_bytes(engine: Engine, name: str, info: models.CollectionInfo) -> PointBytes:
    """Bytes of a point's vectors in a collection; matrices and codes in the payload as in a sample of it."""
    config = stored_vectors(info)
    matrices = [vector for vector, params in config.items() if params.multivector_config]
    sample = Reader(engine, name, matrices, payload=[*CODE_FIELDS]).sample(SAMPLED, SAMPLE_BYTES)
    stored = searched = 0.0
    for vector, params in config.items():
        rows = float(np.mean([len(p.vectors[vector]) for p in sample] or [0])) if vector in matrices else 1.0
        codes = quantized_bytes(params.quantization_config or info.config.quantization_config, params.size)
        numbers = params.size * datatype_bits(params.datatype) / 8
        stored += rows * (numbers + codes)
        if params.hnsw_config is None or params.hnsw_config.m != 0:
            searched += rows * (codes or numbers)
    for field in CODE_FIELDS:
        stored += float(np.mean([len(point.payload.get(field, "")) for point in sample] or [0]))
    return PointBytes(stored, searched)
