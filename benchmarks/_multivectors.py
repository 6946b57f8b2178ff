"""Token matrices that Qdrant Edge itself compresses, all documents compared by their codes."""

from __future__ import annotations

import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from _dense import turbo
from numpy.typing import NDArray
from qdrant_client import models

from embplug.engines import EdgeClient
from embplug.methods.token_batch import TokenBatch

NAME = "multivectors"
VECTOR = "tokens"
UPSERT = 100
TURBO_BITS = {"bits1": "1", "bits1_5": "1.5", "bits2": "2", "bits4": "4"}


@dataclass(frozen=True)
class EngineCodes:
    """How the engine stores tokens: a datatype, and codes beside the vectors."""

    datatype: models.Datatype = models.Datatype.FLOAT32
    quantization: models.QuantizationConfig | None = None


def engine_codes() -> Iterator[tuple[str, EngineCodes]]:
    """Name and configuration of each way in which Edge compresses tokens to few bits."""
    for bits, shown in TURBO_BITS.items():
        codes = turbo(models.TurboQuantBitSize(bits))
        yield f"TurboQuant {shown} bits, originals beside", EngineCodes(quantization=codes)
    yield "datatype turbo4", EngineCodes(models.Datatype.TURBO4)


def engine_ranking(
    codes: EngineCodes, documents: TokenBatch, queries: TokenBatch, limit: int
) -> tuple[NDArray[np.int64], float]:
    """Rows (queries, limit) of the best documents by the engine's codes, and bytes of a token's code."""
    parameters = models.VectorParams(
        size=documents.dim,
        distance=models.Distance.DOT,
        datatype=codes.datatype,
        multivector_config=models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM),
        hnsw_config=models.HnswConfigDiff(m=0),
        quantization_config=codes.quantization,
        on_disk=True,
    )
    with tempfile.TemporaryDirectory() as folder, EdgeClient(folder) as client:
        client.create_collection(
            NAME,
            vectors_config={VECTOR: parameters},
            # Codes are made when a segment is indexed, so all segments are.
            optimizers_config=models.OptimizersConfigDiff(indexing_threshold=1),
        )
        inhabited = np.flatnonzero(documents.lengths)
        for start in range(0, len(inhabited), UPSERT):
            rows = inhabited[start : start + UPSERT].tolist()
            matrices = [documents[row].astype(np.float32).tolist() for row in rows]
            client.upsert(NAME, points=models.Batch(ids=rows, vectors={VECTOR: matrices}))
        client.optimize(NAME)
        rescoring = models.QuantizationSearchParams(rescore=False) if codes.quantization else None
        ranking = np.full((len(queries), limit), -1, dtype=np.int64)
        for i, query in enumerate(queries):
            points = client.query_points(
                NAME,
                query=query.tolist(),
                using=VECTOR,
                limit=limit,
                with_payload=False,
                search_params=models.SearchParams(quantization=rescoring),
            ).points
            ranking[i, : len(points)] = [point.id for point in points]
        return ranking, _code_bytes(Path(folder), codes) / len(documents.values)


def _code_bytes(folder: Path, codes: EngineCodes) -> int:
    """Bytes of the files with codes, or with vectors where those are codes; only blocks that are in use."""
    part = "quantized.data" if codes.quantization else "tq_vectors/chunk"
    files = [file for file in folder.rglob("*") if file.is_file() and f"vector_storage-{VECTOR}" in str(file)]
    return sum(512 * file.stat().st_blocks for file in files if part in str(file))
