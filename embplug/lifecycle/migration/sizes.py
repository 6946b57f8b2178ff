"""Bytes of a point's vectors, from how a collection keeps them and what a sample of its points has."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from pydantic_core import to_json
from qdrant_client import models

from embplug.branches.bits import datatype_bits, quantized_bytes
from embplug.branches.sizing import link_bits
from embplug.common.ids import CODE_FIELDS, OWN_FIELDS
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
    graph : float
        Bytes of the links of the graphs, by formula.
    payload : float
        Bytes of the payload as JSON, without codes, of a sample of points.
    """

    stored: float
    searched: float
    graph: float = 0.0
    payload: float = 0.0

    @property
    def whole(self) -> float:
        """All bytes of a point: vectors, codes, graphs and payload."""
        return self.stored + self.graph + self.payload


def point_bytes(engine: Engine, name: str, info: models.CollectionInfo) -> PointBytes:
    """Bytes of a point's vectors in a collection; matrices and codes in the payload as in a sample of it."""
    config = stored_vectors(info)
    matrices = [vector for vector, params in config.items() if params.multivector_config]
    sample = Reader(engine, name, matrices, payload=True).sample(SAMPLED, SAMPLE_BYTES)
    stored = searched = graph = 0.0
    points = max(info.points_count or 0, 1)
    for vector, params in config.items():
        rows = float(np.mean([len(p.vectors[vector]) for p in sample] or [0])) if vector in matrices else 1.0
        codes = quantized_bytes(params.quantization_config or info.config.quantization_config, params.size)
        numbers = params.size * datatype_bits(params.datatype) / 8
        stored += rows * (numbers + codes)
        if params.hnsw_config is None or params.hnsw_config.m != 0:
            searched += rows * (codes or numbers)
            links = (params.hnsw_config and params.hnsw_config.m) or info.config.hnsw_config.m
            graph += rows * 2 * links * link_bits(max(round(points * rows), 2)) / 8
    for field in CODE_FIELDS:
        stored += float(np.mean([len(point.payload.get(field, "")) for point in sample] or [0]))
    plain = [{key: value for key, value in p.payload.items() if key not in OWN_FIELDS} for p in sample]
    payload = float(np.mean([len(to_json(fields)) for fields in plain] or [0]))
    return PointBytes(stored, searched, graph, payload)
