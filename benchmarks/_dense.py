"""Dense vectors searched by Qdrant Edge, with what the engine stores of them measured on its disk."""

from __future__ import annotations

import tempfile
import time
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from qdrant_client import models

from embplug.engines import EdgeClient

NAME, VECTOR = "dense", "v"
UPSERT = 500
EXHAUSTIVE_KB = 10_000_000


@dataclass(frozen=True)
class EngineRun:
    """What a search of all queries found, what is on disk, and how long it took.

    Attributes
    ----------
    ranking : int64 (queries, limit)
    bytes_per_vector
        Of the codes where vectors are quantized, of the vectors themselves otherwise.
    state_bytes
        Of codebooks and the like, stored once.
    segment_bytes
        Of everything in the segment: vectors, codes, graph, ids.
    build_s
        Writing, quantizing and indexing.
    query_s
        Of each query.
    """

    ranking: NDArray[np.int64]
    bytes_per_vector: float
    state_bytes: int
    segment_bytes: int
    build_s: float
    query_s: list[float]


def engine_search(
    documents: NDArray[np.float32],
    queries: NDArray[np.float32],
    *,
    quantization: models.QuantizationConfig | None = None,
    datatype: models.Datatype | None = None,
    graph: bool = False,
    limit: int = 10,
) -> EngineRun:
    """Store ``documents`` in one indexed segment and search it, by codes alone where there are codes.

    Without ``graph`` every search compares all documents.
    """
    parameters = models.VectorParams(
        size=documents.shape[1],
        distance=models.Distance.DOT,
        datatype=datatype,
        hnsw_config=models.HnswConfigDiff(
            m=16, ef_construct=100, full_scan_threshold=10 if graph else EXHAUSTIVE_KB
        ),
        quantization_config=quantization,
    )
    with tempfile.TemporaryDirectory() as folder, EdgeClient(folder) as client:
        start = time.perf_counter()
        fill_indexed(client, parameters, documents)
        build_s = time.perf_counter() - start
        codes = models.QuantizationSearchParams(rescore=False) if quantization else None
        ranking = np.zeros((len(queries), limit), dtype=np.int64)
        query_s = []
        for i, query in enumerate(queries.tolist()):
            start = time.perf_counter()
            points = client.query_points(
                NAME,
                query=query,
                using=VECTOR,
                limit=limit,
                with_payload=False,
                search_params=models.SearchParams(hnsw_ef=128, quantization=codes),
            ).points
            query_s.append(time.perf_counter() - start)
            ranking[i] = [point.id for point in points]
        segment_bytes = client.disk_bytes(NAME)
        files = {
            str(file.relative_to(folder)): file.stat().st_size
            if file.name == "quantized.data"
            else 512 * file.stat().st_blocks
            for file in Path(folder, NAME, "shard", "segments").rglob("*")
            if file.is_file() and f"vector_storage-{VECTOR}" in str(file)
        }
        codes_bytes = sum(size for name, size in files.items() if name.endswith("quantized.data"))
        codes_state = sum(size for name, size in files.items() if name.endswith("quantized.meta.json"))
        vectors_bytes = sum(
            size for name, size in files.items() if "/vectors/chunk" in name or "matrix" in name
        )
    stored = codes_bytes if quantization is not None else vectors_bytes
    return EngineRun(
        ranking, stored / len(documents), codes_state if quantization else 0, segment_bytes, build_s, query_s
    )


def fill_indexed(client: EdgeClient, parameters: models.VectorParams, documents: NDArray[np.number]) -> None:
    """Store ``documents`` under the numbers of their rows, all in one indexed segment."""
    client.create_collection(
        NAME,
        vectors_config={VECTOR: parameters},
        # Codes other than binary and turbo are made when a segment is indexed, so all are.
        optimizers_config=models.OptimizersConfigDiff(indexing_threshold=1),
    )
    for first in range(0, len(documents), UPSERT):
        rows = documents[first : first + UPSERT]
        ids: list[int | str] = list(range(first, first + len(rows)))
        client.upsert(NAME, points=models.Batch(ids=ids, vectors={VECTOR: rows.tolist()}))
    client.optimize(NAME)


def binary(
    encoding: models.BinaryQuantizationEncoding = models.BinaryQuantizationEncoding.ONE_BIT,
) -> models.BinaryQuantization:
    """The engine's binary codes, with queries of 8 bits."""
    query = models.BinaryQuantizationQueryEncoding.SCALAR8BITS
    return models.BinaryQuantization(
        binary=models.BinaryQuantizationConfig(encoding=encoding, query_encoding=query)
    )


def turbo(bits: models.TurboQuantBitSize) -> models.TurboQuantization:
    """The engine's Turbo codes."""
    return models.TurboQuantization(turbo=models.TurboQuantQuantizationConfig(bits=bits))


def product(compression: models.CompressionRatio) -> models.ProductQuantization:
    """The engine's product quantization."""
    return models.ProductQuantization(product=models.ProductQuantizationConfig(compression=compression))


def int8() -> models.ScalarQuantization:
    """The engine's int8 codes."""
    return models.ScalarQuantization(
        scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8, quantile=0.99)
    )
