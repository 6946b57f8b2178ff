"""Codes of tokens: bytes against how much of exact MaxSim's ranking they keep, codes alone.

Codes learn from at most 2,000 documents, and from no more than half of the collection. All figures are those
of the other documents: exact MaxSim, rankings and judgements among documents that no codes have learned from.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from _beir import load
from _harness import environment, parser, report
from _metrics import ndcg, overlap, top
from _multivectors import engine_codes, engine_ranking

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
    options = arguments.parse_args()
    data = load(options.data)
    order = np.random.default_rng(0).permutation(np.flatnonzero(data.documents.lengths))
    learned, rest = np.split(order, [min(FIT_DOCUMENTS, len(order) // 2)])
    sample, documents = data.documents.take(np.sort(learned)).to_float32(), data.documents.take(rest)
    document_ids = [data.beir.document_ids[row] for row in rest]
    present = set(document_ids)
    qrels = {
        query: {document: gain for document, gain in gains.items() if document in present}
        for query, gains in data.beir.qrels.items()
    }
    # A query whose relevant documents were all learned from has nothing to find.
    judged = [i for i, query in enumerate(data.beir.query_ids) if any(qrels[query].values())]
    count = min(options.queries or len(judged), len(judged))
    chosen = np.array(judged)[np.linspace(0, len(judged) - 1, count).astype(np.int64)]
    queries = data.queries.take(chosen).to_float32()
    query_ids = [data.beir.query_ids[i] for i in chosen]
    exact = maxsim_scores(queries, documents)
    best = top(exact, 10)
    pool = top(exact, options.pool) if options.pool else None

    def quality(ranking: Any) -> dict[str, float]:
        return {
            "overlap_at_10": overlap(ranking, best),
            "ndcg_at_10": ndcg(ranking, query_ids, document_ids, qrels),
        }

    rows: list[dict[str, Any]] = []

    def add(row: dict[str, Any]) -> None:
        rows.append(row)
        print(json.dumps(row), file=sys.stderr, flush=True)

    add({"method": "exact float32", "bytes_per_token": 4.0 * documents.dim, **quality(best)})
    for name, codes in engine_codes():
        if options.only is None or options.only in name:
            ranking, code_bytes = engine_ranking(codes, documents, queries, 10)
            add({"method": name, "ours": False, "bytes_per_token": code_bytes, **quality(ranking)})
    for name, ours, quantizer, document_bytes in methods():
        if options.only and options.only not in name:
            continue
        coder = TokenCoder(quantizer, document_bytes)
        started = time.perf_counter()
        coder.fit(sample)
        fitted = time.perf_counter()
        strings = [
            string
            for start in range(0, len(documents), CHUNK_DOCUMENTS)
            for string in coder.encode(documents[start : start + CHUNK_DOCUMENTS].to_float32())
        ]
        encoded = time.perf_counter()
        add(
            {
                "method": name,
                "ours": ours,
                "bytes_per_token": sum(map(len, strings)) / len(documents.values),
                **quality(top(_scores(coder, queries, strings, pool), 10)),
                "ms": _milliseconds(coder, queries, strings),
                "fit_s": fitted - started,
                "encode_ms_per_document": 1e3 * (encoded - fitted) / len(strings),
                "state_mb": sum(array.nbytes for array in coder.get_state().values()) / 1e6,
            }
        )
    sizes = {
        "documents": len(documents),
        "tokens": len(documents.values),
        "learned_documents": len(sample),
        "queries": count,
    }
    result = {
        "ours": {row["method"]: row for row in rows if row.get("ours")},
        "peers": {row["method"]: row for row in rows if not row.get("ours")},
        "environment": environment(**sizes, data=data.beir.name, pool=options.pool),
    }
    report(result, rows, options.json)


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
        # Centroids keep the products of the last query.
        query = query[::-1].copy()
        started = time.perf_counter()
        coder.score(query, strings[:TIMED_DOCUMENTS])
        best = min(best, time.perf_counter() - started)
    return 1e3 * best


if __name__ == "__main__":
    main()
