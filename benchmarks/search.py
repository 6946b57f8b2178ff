"""Two-stage search beside exact multivector search, on a real server and on Edge, on the same collection.

Exact search is Qdrant's own MaxSim over every document. Both are timed one query at a time, in turns.
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager

import numpy as np
from _corpora import corpus, queries_with_best
from _harness import environment, parser, percentiles_ms, report

from embplug import Collection, Documents, Recipe, Sample, TokenBatch, Tokens, connect
from embplug.engines import Engine
from embplug.evaluation.exact import overlap
from embplug.methods import FDE
from tests.servers import qdrant_server

K = 10
BATCH = 128
ENCODINGS = {
    "published": FDE(fill=True),
    "fde": FDE(repetitions=20, simhash_bits=4, projection_dim=16),
    "default": "auto",
}


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument(
        "--data", nargs="+", default=[], help="BEIR folders; default: the standard library's docstrings"
    )
    options.add_argument("--documents", type=int, default=5000)
    options.add_argument("--tokens", type=int, default=None, help="of a document; default: as they are")
    options.add_argument("--queries", type=int, default=100)
    options.add_argument("--exact-queries", type=int, default=20, help="of them, timed exactly too")
    options.add_argument("--candidates", type=int, nargs="+", default=[100])
    options.add_argument("--encodings", nargs="+", choices=ENCODINGS, default=["fde", "default"])
    options.add_argument("--engines", nargs="+", choices=("server", "edge"), default=["server", "edge"])
    arguments = options.parse_args()
    tokens = arguments.tokens or (None if arguments.data else 80)
    data = corpus(arguments.data, arguments.documents, tokens)
    queries, truth = queries_with_best(data, arguments.queries, K)
    rows = [
        row
        for name in arguments.engines
        for row in on_engine(name, arguments, data.documents, queries, truth)
    ]
    default = next(row for row in rows if row["encoding"] == arguments.encodings[-1])
    result = {
        **{
            key: default[key]
            for key in ("two_stage_p50_ms", "exact_p50_ms", "speedup", "recall_at_10_vs_exact")
        },
        "encoding": default["encoding"],
        "rows": rows,
        "corpus": data.origin,
        "environment": environment(
            documents=len(data.documents), tokens=len(data.documents.values), queries=len(queries)
        ),
    }
    report(result, rows, arguments.json)


def on_engine(
    name: str, options: argparse.Namespace, documents: TokenBatch, queries: TokenBatch, truth: np.ndarray
) -> Iterator[dict[str, object]]:
    """One row per encoding and number of candidates."""
    for encoding in options.encodings:
        recipe = Recipe(tokens=Tokens(dim=documents.dim, encoding=ENCODINGS[encoding], codes=None))
        with engine_of(name) as engine:
            started = time.perf_counter()
            collection = Collection.create("docs", recipe, engine, sample=Sample(tokens=sample(documents)))
            fitted = time.perf_counter() - started
            started = time.perf_counter()
            collection.add_batches(
                Documents(range(i, min(i + BATCH, len(documents))), tokens=documents[i : i + BATCH])
                for i in range(0, len(documents), BATCH)
            )
            added = time.perf_counter() - started
            collection.optimize()
            ready = time.perf_counter() - started
            two_stage: dict[int, list[float]] = {candidates: [] for candidates in options.candidates}
            found: dict[int, list[list[int | str]]] = {candidates: [] for candidates in options.candidates}
            exactly = []
            collection.search(tokens=queries[0])
            for i, query in enumerate(queries):
                for candidates in options.candidates:
                    started = time.perf_counter()
                    hits = collection.search(tokens=query, limit=K, candidates=candidates)
                    two_stage[candidates].append(time.perf_counter() - started)
                    found[candidates].append([hit.id for hit in hits])
                if i < options.exact_queries:
                    started = time.perf_counter()
                    collection.search(tokens=query, limit=K, exact=True)
                    exactly.append(time.perf_counter() - started)
            slow = percentiles_ms(exactly)
            for candidates in options.candidates:
                fast = percentiles_ms(two_stage[candidates])
                yield {
                    "engine": name,
                    "encoding": encoding,
                    "candidates": candidates,
                    "two_stage_p50_ms": fast["p50_ms"],
                    "two_stage_p95_ms": fast["p95_ms"],
                    "exact_p50_ms": slow["p50_ms"],
                    "speedup": slow["p50_ms"] / fast["p50_ms"],
                    "recall_at_10_vs_exact": float(overlap(found[candidates], truth).mean()),
                    "fit_s": fitted,
                    "points_per_s": len(documents) / added,
                    "ready_s": ready,
                }


def sample(documents: TokenBatch) -> TokenBatch:
    """Documents to learn from; the queries are none of them."""
    chosen = np.random.default_rng(0).permutation(len(documents))[: Recipe.model_fields["fit_sample"].default]
    return documents.take(np.sort(chosen))


@contextmanager
def engine_of(name: str) -> Iterator[Engine]:
    """A fresh server, or Edge in a fresh folder."""
    if name == "server":
        with qdrant_server() as (url, grpc_port):
            engine = connect(url, grpc_port=grpc_port)
            yield engine
            engine.close()
    else:
        with tempfile.TemporaryDirectory() as folder:
            engine = connect(folder)
            yield engine
            engine.close()


if __name__ == "__main__":
    main()
