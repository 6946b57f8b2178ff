"""Codes of tokens in Qdrant Edge beside fast-plaid, on the same token vectors, one thread each.

fast-plaid runs in an interpreter of its own, which needs ``pip install fast-plaid``, because it pins its own
version of torch. Every row is printed as soon as it is measured, and ``--only`` measures some of them.

    python benchmarks/peers.py --python path/to/venv/bin/python --data path/to/cranfield [--json]
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
from _corpora import Corpus, corpus, queries_with_best
from _harness import environment, on_one_core, parser, percentiles_ms, report
from _metrics import overlap
from numpy.typing import NDArray

from embplug import Collection, Documents, Recipe, Rerank, Sample, Tokens
from embplug.common.threads import single_blas_thread
from embplug.engines import EdgeClient
from embplug.methods import BitAllocationQuantizer, LearnedEncoding, PredictiveQuantizer, ResidualQuantizer
from embplug.methods.roles import Quantizer, TokenCodes
from embplug.methods.token_batch import TokenBatch

LIMIT = 10
BATCH_DOCUMENTS = 250
THREADS = {"OMP_NUM_THREADS": "1", "OPENBLAS_NUM_THREADS": "1", "RAYON_NUM_THREADS": "1"}


def stored(dim: int) -> dict[str, Tokens]:
    """What our rows store, by their names."""

    def tokens(codes: Quantizer | TokenCodes, **options: Any) -> Tokens:
        options = {"encoding": LearnedEncoding(stored_dim=1024), "document_bytes": 96, **options}
        return Tokens(dim=dim, multivector=None, codes=codes, **options)

    return {
        "predictive 31 B": tokens(PredictiveQuantizer(size=31)),
        "predictive 47 B": tokens(PredictiveQuantizer(size=47)),
        "predictive 60 B, weighted": tokens(
            # Errors weigh more where queries vary, and the ids in the codes are short codes enough.
            PredictiveQuantizer(size=60, emphasis=1.5),
            encoding=LearnedEncoding(stored_dim=256),
            shortlist_bytes=0,
        ),
        "bits by variance 48 B": tokens(BitAllocationQuantizer(size=48)),
        "residual 31 B": tokens(ResidualQuantizer(size=31)),
    }


def main() -> None:
    arguments = parser(__doc__.splitlines()[0])
    arguments.add_argument("--python", help="interpreter with fast-plaid; default: ours alone is measured")
    arguments.add_argument("--data", nargs="*", default=[], help="BEIR folders; default: docstrings")
    arguments.add_argument("--documents", type=int, default=1400)
    arguments.add_argument("--queries", type=int, default=50)
    arguments.add_argument("--candidates", type=int, default=200, help="documents that our codes rank")
    arguments.add_argument("--bits", type=int, nargs="*", default=[4, 2], help="of fast-plaid's residuals")
    arguments.add_argument(
        "--full-scores", type=int, nargs="*", default=[400, 4096], help="fast-plaid's default is 4,096"
    )
    arguments.add_argument("--only", help="only rows whose name contains this")
    options = arguments.parse_args()
    data = corpus(options.data, options.documents, None)
    queries, exact = queries_with_best(data, options.queries, LIMIT)
    rows: list[dict[str, Any]] = []
    with single_blas_thread():
        for row in _rows(data, queries, exact, options):
            rows.append(row)
            print(json.dumps(row), file=sys.stderr, flush=True)
    result = {
        "ours": [row for row in rows if row["side"] == "embplug"],
        "peers": [row for row in rows if row["side"] != "embplug"],
        "environment": environment(
            corpus=data.origin, queries=len(queries), candidates=options.candidates, threads=1
        ),
    }
    report(result, rows, options.json)


def _rows(
    data: Corpus, queries: TokenBatch, exact: NDArray[np.int64], options: Any
) -> Iterator[dict[str, Any]]:
    for name, tokens in stored(data.documents.dim).items():
        if options.only is None or options.only in name:
            recipe = Recipe(tokens=tokens, rerank=Rerank(candidates=options.candidates))
            yield _ours(name, recipe, data.documents, queries, exact)
    for bits in options.bits if options.python else ():
        if options.only is None or options.only in f"fast-plaid {bits} bits":
            yield from _fast_plaid(options.python, bits, options.full_scores, data.documents, queries, exact)


def _ours(
    name: str, recipe: Recipe, documents: TokenBatch, queries: TokenBatch, exact: NDArray[np.int64]
) -> dict[str, Any]:
    with tempfile.TemporaryDirectory() as folder, EdgeClient(folder) as engine:
        started = time.perf_counter()
        collection = Collection.create("peers", recipe, engine, sample=Sample(tokens=documents))
        collection.add_batches(
            Documents(range(start, min(start + BATCH_DOCUMENTS, len(documents))), tokens=documents[rows])
            for start in range(0, len(documents), BATCH_DOCUMENTS)
            for rows in [slice(start, start + BATCH_DOCUMENTS)]
        )
        collection.optimize()
        build_s = time.perf_counter() - started
        info = collection.info()
        rankings, seconds = [], []
        with on_one_core():
            # The first query runs twice, because the very first search also loads files.
            for query in [queries[0], *queries]:
                started = time.perf_counter()
                hits = collection.search(tokens=query, limit=LIMIT, with_payload=False)
                seconds.append(time.perf_counter() - started)
                rankings.append([int(hit.id) for hit in hits])
    return {
        "side": "embplug",
        "method": name,
        **_measures(rankings[1:], seconds[1:], exact, build_s),
        "bytes_per_document": (info.disk_bytes or 0) / len(documents),
        "bytes_with_state": ((info.disk_bytes or 0) + info.state_bytes) / len(documents),
    }


def _fast_plaid(
    python: str,
    bits: int,
    full_scores: list[int],
    documents: TokenBatch,
    queries: TokenBatch,
    exact: NDArray[np.int64],
) -> Iterator[dict[str, Any]]:
    with tempfile.TemporaryDirectory() as path:
        folder = Path(path)
        np.save(folder / "documents.npy", documents.values.astype(np.float16))
        np.save(folder / "document_lengths.npy", documents.lengths)
        np.save(folder / "queries.npy", queries.values)
        np.save(folder / "query_lengths.npy", queries.lengths)
        script = Path(__file__).with_name("_fast_plaid.py")
        command = [python, str(script), path, str(bits), "1", *map(str, full_scores)]
        with subprocess.Popen(
            command, stdout=subprocess.PIPE, text=True, env={**os.environ, **THREADS}
        ) as peer:
            assert peer.stdout is not None
            for line in peer.stdout:
                if line.startswith("{"):
                    measured = json.loads(line)
                    stored = measured["stored_bytes"] / len(documents)
                    yield {
                        "side": f"fast-plaid {measured['version']}",
                        "method": f"{bits} bits, {measured['full_scores']} full scores",
                        **_measures(measured["rankings"], measured["seconds"], exact, measured["build_s"]),
                        "bytes_per_document": stored,
                        "bytes_with_state": stored,
                    }
        if peer.returncode:
            raise SystemExit(f"{python} {script.name} ended with {peer.returncode}; see its errors above")


def _measures(
    rankings: list[list[int]], seconds: list[float], exact: NDArray[np.int64], build_s: float
) -> dict[str, Any]:
    ranked = np.full(exact.shape, -1, dtype=np.int64)
    for row, ranking in zip(ranked, rankings, strict=True):
        row[: len(ranking)] = ranking
    return {"overlap_at_10": overlap(ranked, exact), **percentiles_ms(seconds), "build_s": build_s}


if __name__ == "__main__":
    main()
