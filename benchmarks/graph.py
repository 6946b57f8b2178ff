"""How well a graph (HNSW) of encodings finds candidates, by the breadth of its search.

The same encodings of passages are compared one by one, and in a graph on Edge with several `hnsw_ef`:
the share of exact MaxSim's ten best that is among the first 100, and the median milliseconds of one query.

    python benchmarks/graph.py --data path/to/scifact [...] --documents 50000 --tokens 36 [--json]
"""

from __future__ import annotations

import tempfile
import time
from collections.abc import Iterator
from typing import Any

import numpy as np
from _corpora import corpus, queries_with_best
from _dense import NAME, VECTOR, fill_indexed
from _harness import environment, parser, percentiles_ms, report
from numpy.typing import NDArray
from qdrant_client import models

from embplug.engines import EdgeClient
from embplug.evaluation.exact import overlap
from embplug.methods import FDE, LearnedEncoding

BREADTHS = (100, 200, 400, 800, 1600)
CANDIDATES = 100
SAMPLE = 8000
ENCODINGS: dict[str, FDE | LearnedEncoding] = {
    "learned": LearnedEncoding(),
    "fde": FDE(partitioner="kmeans", dtype="uint8", final_dim=2000),
}


def main() -> None:
    arguments = parser((__doc__ or "").splitlines()[0])
    arguments.add_argument("--data", nargs="+", default=[], help="BEIR folders; default: docstrings")
    arguments.add_argument("--documents", type=int, default=50_000)
    arguments.add_argument("--tokens", type=int, default=36, help="of a document")
    arguments.add_argument("--queries", type=int, default=100)
    arguments.add_argument("--encodings", nargs="+", choices=ENCODINGS, default=list(ENCODINGS))
    options = arguments.parse_args()
    data = corpus(options.data, options.documents, options.tokens)
    queries, truth = queries_with_best(data, options.queries, 10)
    rows: list[dict[str, Any]] = []
    for name in options.encodings:
        encoding = ENCODINGS[name]
        encoding.fit(data.documents[:SAMPLE])
        documents = encoding.encode_documents(data.documents, n_jobs=-1)
        rows += [
            {"encoding": name, **row}
            for row in searched(documents, encoding.encode_queries(queries), truth, encoding.datatype)
        ]
    report(
        {"rows": rows, "corpus": data.origin, "environment": environment(queries=len(queries))},
        rows,
        options.json,
    )


def searched(
    documents: NDArray[Any], queries: NDArray[Any], truth: NDArray[np.int64], datatype: models.Datatype
) -> Iterator[dict[str, Any]]:
    """One row for each breadth, and one without the graph."""
    parameters = models.VectorParams(
        size=documents.shape[1],
        distance=models.Distance.DOT,
        datatype=datatype,
        hnsw_config=models.HnswConfigDiff(full_scan_threshold=10),
    )
    with tempfile.TemporaryDirectory() as folder, EdgeClient(folder) as client:
        fill_indexed(client, parameters, documents)
        for breadth in (*BREADTHS, None):
            params = models.SearchParams(hnsw_ef=breadth, exact=breadth is None)
            found, seconds = [], []
            for query in queries.astype(np.float32).tolist():
                started = time.perf_counter()
                answer = client.query_points(
                    NAME,
                    query=query,
                    using=VECTOR,
                    limit=CANDIDATES,
                    with_payload=False,
                    search_params=params,
                )
                seconds.append(time.perf_counter() - started)
                found.append([int(point.id) for point in answer.points])
            yield {
                "hnsw_ef": breadth or "one by one",
                "found": float(overlap(found, truth).mean()),
                "p50_ms": percentiles_ms(seconds)["p50_ms"],
            }


if __name__ == "__main__":
    main()
