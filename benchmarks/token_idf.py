"""Whether `TokenIDF` as weights of query tokens helps: nDCG@10 and recall of candidates, with and without.

nDCG@10 is of exact MaxSim over all documents, and of MaxSim over the first 100 candidates of the default
learned encoding; recall is of exact MaxSim's ten best, by the same weights, among the candidates.

    python benchmarks/token_idf.py --data path/to/scifact [...] [--json]
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from _beir import load
from _harness import environment, parser, report
from _metrics import ndcg, overlap, top
from numpy.typing import NDArray

from embplug.evaluation.exact import maxsim_scores
from embplug.methods import LearnedEncoding
from embplug.methods.encodings.token_idf import TokenIDF
from embplug.methods.token_batch import TokenBatch

BEST = 10
DEPTHS = (50, 100)


def main() -> None:
    arguments = parser((__doc__ or "").splitlines()[0])
    arguments.add_argument("--data", nargs="+", required=True, help="folders in BEIR format")
    options = arguments.parse_args()
    rows = [row for folder in options.data for row in measured(folder)]
    report({"rows": rows, "environment": environment()}, rows, options.json)


def measured(folder: str) -> Iterator[dict[str, Any]]:
    """One row without weights, one with them."""
    data = load(folder)
    encoding = LearnedEncoding().fit(data.documents)
    documents = encoding.encode_documents(data.documents, n_jobs=-1).astype(np.float64)
    idf = TokenIDF().fit(data.documents)
    for name, weights in (
        ("all alike", np.ones(len(data.queries.values), dtype=np.float32)),
        ("TokenIDF", idf.weights(data.queries)),
    ):
        # The weight of a token is positive, so that MaxSim of the longer token is the weighted one.
        weighted = TokenBatch(data.queries.values * weights[:, None], data.queries.offsets)
        exact = maxsim_scores(weighted, data.documents)
        queries = encoding.encode_queries(data.queries, weights).astype(np.float64)
        found = top(queries @ documents.T, DEPTHS[-1])
        best = top(exact, BEST)

        def gain(ranked: NDArray[np.int64]) -> float:
            return ndcg(ranked, data.beir.query_ids, data.beir.document_ids, data.beir.qrels)

        order = top(np.take_along_axis(exact, found, axis=1), BEST)
        yield {
            "collection": data.beir.name,
            "weights": name,
            "ndcg_at_10_exact": gain(best),
            "ndcg_at_10_of_100": gain(np.take_along_axis(found, order, axis=1)),
            **{f"recall_at_10_in_{depth}": overlap(found[:, :depth], best) for depth in DEPTHS},
        }


if __name__ == "__main__":
    main()
