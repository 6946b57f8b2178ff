"""Filtered search: recall and latency when a filter lets 50, 10, 1 and 0.1 % of the documents through.

Plain Qdrant (float32, HNSW) and compressed recipes, each held to exact search among the documents that
match. The documents are passages: windows of token vectors, averaged, so that a graph matters.

    python benchmarks/filtered.py --data path/to/scifact [--passages 50000] [--window 32] [--json]
"""

from __future__ import annotations

import sys
import tempfile
from typing import Any

import numpy as np
from _beir import EncodedBeir, load
from _harness import environment, parser, percentiles_ms, report
from numpy.typing import NDArray
from qdrant_client import models

from embplug import Dense, Recipe, Rerank
from embplug.encoders import Encoded
from embplug.engines import EdgeClient
from embplug.evaluation.evaluate import SELECTIVITIES
from embplug.evaluation.exact import overlap
from embplug.evaluation.trial import TrialData, exact_rankings, try_recipe
from embplug.methods import PCA, ITQRotation
from embplug.methods.numeric.rows import unit_rows

INT8 = models.ScalarQuantization(scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8))
BINARY = models.BinaryQuantization(
    binary=models.BinaryQuantizationConfig(query_encoding=models.BinaryQuantizationQueryEncoding.SCALAR8BITS)
)
TURBO = models.TurboQuantization(
    turbo=models.TurboQuantQuantizationConfig(bits=models.TurboQuantBitSize.BITS4)
)


def recipes(dim: int) -> dict[str, Recipe]:
    """The peer, then ours from large to small."""
    half = dim // 2
    return {
        "Qdrant float32": Recipe(dense=Dense(dim=dim)),
        f"PCA {half}, turbo 4 bits": Recipe(
            dense=Dense(dim=dim, transforms=[PCA(half)], quantization=TURBO, on_disk=True)
        ),
        f"PCA {half}, turbo 4 bits, original on disk": Recipe(
            dense=Dense(
                dim=dim, transforms=[PCA(half)], quantization=TURBO, on_disk=True, keep_original="disk"
            ),
            rerank=Rerank(candidates=100),
        ),
        f"PCA {half}, turbo 4 bits, original on disk, hnsw_ef 256": Recipe(
            dense=Dense(
                dim=dim, transforms=[PCA(half)], quantization=TURBO, on_disk=True, keep_original="disk"
            ),
            rerank=Rerank(candidates=100, hnsw_ef=256),
        ),
        # More links for filters: Qdrant adds them for groups of documents larger than this.
        f"PCA {half}, turbo 4 bits, original on disk, full_scan_threshold 3000": Recipe(
            dense=Dense(
                dim=dim,
                transforms=[PCA(half)],
                quantization=TURBO,
                on_disk=True,
                keep_original="disk",
                hnsw=models.HnswConfigDiff(full_scan_threshold=3000),
            ),
            rerank=Rerank(candidates=100),
        ),
        f"PCA {dim // 4}, int8": Recipe(
            dense=Dense(dim=dim, transforms=[PCA(dim // 4)], quantization=INT8, on_disk=True)
        ),
        f"PCA {dim}, ITQ, binary, original on disk": Recipe(
            dense=Dense(
                dim=dim,
                transforms=[PCA(dim), ITQRotation()],
                quantization=BINARY,
                on_disk=True,
                keep_original="disk",
            ),
            rerank=Rerank(candidates=100),
        ),
    }


def passages(data: EncodedBeir, window: int, count: int) -> NDArray[np.float32]:
    """Unit means of windows of tokens, at most ``count`` of them, evenly spread over the collection."""
    starts = np.concatenate(
        [
            np.arange(start, stop - window // 2, window)
            for start, stop in zip(data.documents.offsets[:-1], data.documents.offsets[1:], strict=True)
        ]
    )
    if len(starts) > count:
        starts = starts[np.linspace(0, len(starts) - 1, count).astype(np.int64)]
    ends = data.documents.offsets[np.searchsorted(data.documents.offsets, starts, side="right")]
    means = np.empty((len(starts), data.documents.dim), dtype=np.float32)
    for row, (start, end) in enumerate(zip(starts, ends, strict=True)):
        means[row] = data.documents.values[start : min(start + window, end)].astype(np.float32).mean(axis=0)
    return unit_rows(means)


def main() -> None:
    arguments = parser(__doc__.splitlines()[0])
    arguments.add_argument("--data", required=True, help="folder of a collection in BEIR format")
    arguments.add_argument("--passages", type=int, default=50_000)
    arguments.add_argument("--window", type=int, default=32, help="tokens of a passage")
    options = arguments.parse_args()
    data = load(options.data)
    documents = passages(data, options.window, options.passages)
    material = TrialData(Encoded(dense=documents), Encoded(dense=data.query_sentences))
    rows: list[dict[str, Any]] = []
    exact = exact_rankings(Recipe(dense=Dense(dim=documents.shape[1])), material, 10, SELECTIVITIES)
    for name, recipe in recipes(documents.shape[1]).items():
        with tempfile.TemporaryDirectory() as folder, EdgeClient(folder) as engine:
            trial = try_recipe(engine, recipe, material, shares=SELECTIVITIES)
        for search, best in zip(trial.searches, exact, strict=True):
            share = 1.0 if search.share is None else search.share
            rows.append(
                {
                    "method": name,
                    "matching": share,
                    "recall_at_10": float(overlap(search.rankings, best).mean()),
                    **percentiles_ms(search.seconds),
                    "disk_bytes_per_document": (trial.disk_bytes or 0) / len(documents),
                }
            )
            print(rows[-1], file=sys.stderr, flush=True)
    peer = next(iter(recipes(documents.shape[1])))
    result = {
        "collection": data.beir.name,
        "ours": [row for row in rows if row["method"] != peer],
        "peer": [row for row in rows if row["method"] == peer],
        "environment": environment(
            documents=len(documents), queries=material.query_count, dim=documents.shape[1]
        ),
    }
    report(result, rows, options.json)


if __name__ == "__main__":
    main()
