"""PCA-RAG: vectors of 3,072 dimensions searched in 110.

The vectors are real: eight statistics of the offline encoder's token vectors (384-d), each brought to
unit length, one after the other, for every passage of a collection: mean, maximum, minimum, standard
deviation, mean weighted by saliency, and the means of the first, middle and last third. Passages are
windows of a few sentences' length, so that there are enough vectors for timings to mean something.

    python benchmarks/pca_rag.py --data path/to/scifact [--passages 10000] [--window 64] [--json]
"""

from __future__ import annotations

import time
from typing import Any

import numpy as np
from _beir import load
from _dense import EngineRun, engine_search, int8
from _harness import environment, parser, percentiles_ms, report
from _metrics import overlap, top
from numpy.typing import NDArray
from qdrant_client import models
from scipy.stats import spearmanr

from embplug.methods import PCA
from embplug.methods.numeric.rows import unit_rows
from embplug.methods.token_batch import TokenBatch

COMPONENTS = 110


def statistics(tokens: TokenBatch, saliency: NDArray[np.float32]) -> NDArray[np.float32]:
    """Unit vectors (n, 8 * dim) of token matrices, none of them empty."""
    combined = np.empty((len(tokens), 8 * tokens.dim), dtype=np.float32)
    for i, matrix in enumerate(tokens):
        rows = matrix.astype(np.float32)
        weights = saliency[tokens.offsets[i] : tokens.offsets[i + 1]]
        thirds = [part if len(part) else rows for part in np.array_split(rows, 3)]
        parts = [
            rows.mean(axis=0),
            rows.max(axis=0),
            rows.min(axis=0),
            rows.std(axis=0),
            weights @ rows,
            *(part.mean(axis=0) for part in thirds),
        ]
        combined[i] = unit_rows(np.stack(parts)).reshape(-1)
    return unit_rows(combined)


def passages(
    tokens: TokenBatch, saliency: NDArray[np.float32], window: int, count: int
) -> tuple[TokenBatch, NDArray[np.float32]]:
    """Consecutive windows of all documents, the first ``count`` of them."""
    bounds = [
        np.append(np.arange(start, stop, window), stop)
        for start, stop in zip(tokens.offsets[:-1], tokens.offsets[1:], strict=True)
        if stop > start
    ]
    offsets = np.concatenate([bounds[0], *(b[1:] for b in bounds[1:])])[: count + 1]
    return TokenBatch(tokens.values[: offsets[-1]], offsets), saliency[: offsets[-1]]


def rank_correlation(full: NDArray[np.float32], small: NDArray[np.float32]) -> float:
    """Spearman's correlation of a query's scores, mean over queries."""
    return float(np.mean([spearmanr(a, b).statistic for a, b in zip(full, small, strict=True)]))


def main() -> None:
    arguments = parser(__doc__.splitlines()[0])
    arguments.add_argument("--data", required=True, help="folder of a collection in BEIR format")
    arguments.add_argument("--passages", type=int, default=10_000)
    arguments.add_argument("--window", type=int, default=64, help="tokens of a passage")
    arguments.add_argument("--queries", type=int, default=200)
    settings = arguments.parse_args()
    data = load(settings.data)
    batch, saliency = passages(data.documents, data.document_saliency, settings.window, settings.passages)
    documents = statistics(batch, saliency)
    kept = data.queries[: settings.queries]
    queries = statistics(kept, data.query_saliency[: kept.offsets[-1]])
    full = queries @ documents.T
    exact = top(full, 10)

    start = time.perf_counter()
    pca = PCA(COMPONENTS).fit(documents)
    fit_s = time.perf_counter() - start
    start = time.perf_counter()
    small = pca.transform(documents)
    transform_s = time.perf_counter() - start
    small_queries = pca.transform_query(queries)

    contestants: dict[str, tuple[Any, Any, dict[str, Any]]] = {
        "3072 float32": (documents, queries, {}),
        "110 float32": (small, small_queries, {}),
        "110 float16": (small, small_queries, {"datatype": models.Datatype.FLOAT16}),
        "110 int8 codes": (small, small_queries, {"quantization": int8()}),
    }
    rows = []
    runs: dict[tuple[str, bool], EngineRun] = {}
    for name, (stored, queried, options) in contestants.items():
        for graph in (False, True):
            run = runs[name, graph] = engine_search(stored, queried, graph=graph, **options)
            whole = runs["3072 float32", graph]
            row = {
                "vectors": name,
                "search": "hnsw" if graph else "flat",
                "vector_bytes": run.bytes_per_vector,
                "vector_ratio": whole.bytes_per_vector / run.bytes_per_vector,
                "segment_bytes": run.segment_bytes,
                "segment_ratio": whole.segment_bytes / run.segment_bytes,
                "recall_at_10": overlap(run.ranking, exact),
                **percentiles_ms(run.query_s),
            }
            row["speedup"] = percentiles_ms(whole.query_s)["p50_ms"] / row["p50_ms"]
            rows.append(row)
    result = {
        "collection": data.beir.name,
        "vectors": " ".join(__doc__.split("\n\n")[1].split()),
        "fit_s": fit_s,
        "transform_s": transform_s,
        "variance_kept": float(pca.variances_.sum() / (documents - documents.mean(axis=0)).var(axis=0).sum()),
        "rank_correlation": rank_correlation(full, small_queries @ small.T),
        "recall_at_10_exact": overlap(top(small_queries @ small.T, 10), exact),
        "recall_of_10_in_100_exact": overlap(top(small_queries @ small.T, 100), exact),
        "rows": rows,
        "environment": environment(documents=len(documents), queries=len(queries), dim=documents.shape[1]),
    }
    if not settings.json:
        named = ("fit_s", "transform_s", "variance_kept", "rank_correlation", "recall_of_10_in_100_exact")
        print("  ".join(f"{name}={result[name]:.4f}" for name in named) + "\n")
    report(result, rows, settings.json)


if __name__ == "__main__":
    main()
