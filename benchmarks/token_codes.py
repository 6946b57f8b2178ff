"""Codes of tokens: bytes against how much of exact MaxSim's ranking they keep, codes alone."""

from __future__ import annotations

import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from _beir import load
from _harness import environment, parser, report
from _metrics import ndcg, overlap, top

from embplug.evaluation.exact import maxsim_scores
from embplug.methods import (
    BinaryQuantizer,
    BitAllocationQuantizer,
    CentroidQuantizer,
    PredictiveQuantizer,
    Quantizer,
    ResidualQuantizer,
)
from embplug.methods.quantizers.product import OptimizedProductQuantizer, ProductQuantizer
from embplug.methods.token_batch import TokenBatch
from embplug.methods.token_codes.token_coder import TokenCoder

CHUNK_DOCUMENTS = 200
TIMED_DOCUMENTS = 200
FIT_DOCUMENTS = 2000


def methods() -> Iterator[tuple[str, bool, Quantizer | PredictiveQuantizer, int]]:
    """Name, whether it is ours, codes of a token, bytes of a document's correction."""
    yield "k-means 256", False, CentroidQuantizer(count=256), 0
    yield "k-means 4096", False, CentroidQuantizer(count=4096), 0
    for size in (16, 32, 48, 96):
        yield f"PQ {size}x8", False, ProductQuantizer(subspaces=size, rescale=False), 0
    for size in (16, 48):
        yield f"PQ {size}x8, rescaled", False, ProductQuantizer(subspaces=size), 0
    for size in (16, 32):
        yield f"OPQ {size}x8", False, OptimizedProductQuantizer(subspaces=size, rescale=False), 0
    yield "binary", True, BinaryQuantizer(), 0
    yield "binary, rotated", True, BinaryQuantizer(rotate=True), 0
    yield "binary, int8 queries", True, BinaryQuantizer(queries="int8"), 0
    for bits in (1, 2, 4):
        yield f"256 centroids + {bits} bit", False, ResidualQuantizer(centroids=256, bits=bits), 0
    for size in (16, 32, 48):
        yield (
            f"bits by variance, scalar, {size} B",
            False,
            BitAllocationQuantizer(size=size, levels="scalar"),
            0,
        )
    for size in (16, 32, 48):
        yield f"bits by variance, joint, {size} B", True, BitAllocationQuantizer(size=size), 0
    for size in (8, 12, 16, 32, 48, 96):
        yield f"residual {size} B", True, ResidualQuantizer(size=size), 0
    for size in (16, 32, 48, 96):
        yield f"predictive {size} B", True, PredictiveQuantizer(size=size), 0
    for size in (8, 12, 16, 31, 47, 95):
        correction = 48 if size < 20 else 96
        yield f"residual {size} B, corrected", True, ResidualQuantizer(size=size), correction
        yield f"joint {size} B, corrected", True, BitAllocationQuantizer(size=size), correction
        yield f"predictive {size} B, corrected", True, PredictiveQuantizer(size=size), correction


def main() -> None:
    arguments = parser(__doc__ or "")
    arguments.add_argument("--data", required=True, help="folder of a collection in BEIR format")
    arguments.add_argument("--queries", type=int, help="so many queries, evenly spread; default all")
    arguments.add_argument("--only", help="only methods whose name contains this")
    arguments.add_argument(
        "--pool", type=int, help="score only so many documents, the best by exact MaxSim; default all"
    )
    given = arguments.parse_args()
    data = load(given.data)
    count = min(given.queries or len(data.queries), len(data.queries))
    chosen = np.linspace(0, len(data.queries) - 1, count).astype(np.int64)
    queries = data.queries.take(chosen).to_float32()
    query_ids = [data.beir.query_ids[i] for i in chosen]
    exact = maxsim_scores(queries, data.documents)
    wanted = top(exact, 10)
    pool = top(exact, given.pool) if given.pool else None
    sample = data.documents[:: -(-len(data.documents) // FIT_DOCUMENTS)].to_float32()

    def quality(scores: Any) -> dict[str, float]:
        found = top(scores, 10)
        return {
            "overlap_at_10": overlap(found, wanted),
            "ndcg_at_10": ndcg(found, query_ids, data.beir.document_ids, data.beir.qrels),
        }

    rows: list[dict[str, Any]] = [
        {"method": "exact float32", "bytes_per_token": 4.0 * data.documents.dim, **quality(exact)}
    ]
    for name, ours, quantizer, document_bytes in methods():
        if given.only and given.only not in name:
            continue
        coder = TokenCoder(quantizer, document_bytes)
        started = time.perf_counter()
        coder.fit(sample)
        fitted = time.perf_counter()
        strings = [
            one
            for start in range(0, len(data.documents), CHUNK_DOCUMENTS)
            for one in coder.encode(data.documents[start : start + CHUNK_DOCUMENTS].to_float32())
        ]
        encoded = time.perf_counter()
        rows.append(
            {
                "method": name,
                "ours": ours,
                "bytes_per_token": sum(map(len, strings)) / len(data.documents.values),
                **quality(_scores(coder, queries, strings, pool)),
                "ms": _milliseconds(coder, queries, strings),
                "fit_s": fitted - started,
                "encode_ms_per_document": 1e3 * (encoded - fitted) / len(strings),
                "state_mb": sum(array.nbytes for array in coder.get_state().values()) / 1e6,
            }
        )
        print(name, f"{rows[-1]['overlap_at_10']:.4f}", file=sys.stderr, flush=True)
    sizes = {"documents": len(data.documents), "tokens": len(data.documents.values), "queries": count}
    result = {
        "ours": {row["method"]: row for row in rows if row.get("ours")},
        "peers": {row["method"]: row for row in rows if not row.get("ours")},
        "environment": environment(**sizes, data=data.beir.name, pool=given.pool),
    }
    report(result, rows, given.json)


def _scores(coder: TokenCoder, queries: TokenBatch, strings: list[bytes], pool: Any) -> Any:
    """Scores (queries, documents) by the codes; -inf outside of each query's pool."""
    if pool is not None:
        scores = np.full((len(queries), len(strings)), -np.inf, dtype=np.float32)
        for i, columns in enumerate(pool):
            scores[i, columns] = coder.score(queries[i], [strings[j] for j in columns])
        return scores
    if not coder.quantizer.describe().exact_queries:
        return np.stack([coder.score(query, strings) for query in queries])
    # Of many queries the products with decoded tokens are cheaper than lookups, and the same.
    parts = [
        maxsim_scores(queries, coder.decode(strings[start : start + CHUNK_DOCUMENTS]))
        for start in range(0, len(strings), CHUNK_DOCUMENTS)
    ]
    return np.concatenate(parts, axis=1)


def _milliseconds(coder: TokenCoder, queries: TokenBatch, strings: list[bytes]) -> float:
    """Fastest of a few queries of about 32 tokens over some documents, in milliseconds."""
    query = np.resize(queries.values[:32], (32, queries.dim))
    best = float("inf")
    for _ in range(5):
        started = time.perf_counter()
        coder.score(query, strings[:TIMED_DOCUMENTS])
        best = min(best, time.perf_counter() - started)
    return 1e3 * best


if __name__ == "__main__":
    main()
