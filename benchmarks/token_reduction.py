"""What ranking is worth when documents keep a half or a quarter of their tokens, by pooling or by pruning.

Against exact MaxSim over all tokens: the share of its top 10 that is found, and nDCG@10 against the
judgements. Pruning at random is what any other method has to beat. Ball carving reduces the queries,
not the documents.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from typing import Any

from _beir import EncodedBeir, load
from _harness import environment, parser, report
from _metrics import ndcg, overlap, top

from embplug.evaluation.exact import maxsim_scores
from embplug.methods.reductions.pooling import HierarchicalPooling, KMeansPooling
from embplug.methods.reductions.pruning import BallCarving, RandomPruning, SaliencyPruning
from embplug.methods.reductions.reduced import Reduced
from embplug.methods.token_batch import TokenBatch

BEST = 10
SHARES = (0.5, 0.25)


def main() -> None:
    arguments = parser(__doc__.splitlines()[0])
    arguments.add_argument("--data", required=True, help="folder of a collection in BEIR format")
    options = arguments.parse_args()
    data = load(options.data)

    full = top(maxsim_scores(data.queries, data.documents), BEST)
    rows = [_row("all tokens", data, full, full, 1.0)]
    for share in SHARES:
        for name, method in methods(data, share).items():
            reduced, seconds = _timed(lambda method=method: method(data.documents))
            found = top(maxsim_scores(data.queries, reduced.tokens), BEST)
            left = len(reduced.tokens.values) / len(data.documents.values)
            rows.append(_row(name, data, found, full, left, len(data.documents) / seconds))
    carved, seconds = _timed(lambda: BallCarving().reduce(data.queries))
    found = top(maxsim_scores(carved.tokens, data.documents), BEST)
    left = len(carved.tokens.values) / len(data.queries.values)
    rows.append(_row("ball carving of queries", data, found, full, left, len(data.queries) / seconds))

    result = {
        "collection": data.beir.name,
        "rows": rows,
        "environment": environment(
            documents=len(data.documents), tokens=len(data.documents.values), queries=len(data.queries)
        ),
    }
    report(result, rows, options.json)


def methods(data: EncodedBeir, share: float) -> Mapping[str, Callable[[TokenBatch], Reduced]]:
    """Name -> what leaves this share of the tokens."""
    return {
        "hierarchical pooling": HierarchicalPooling(factor=1 / share).reduce,
        "hierarchical pooling, plain mean": HierarchicalPooling(factor=1 / share, keep_length=False).reduce,
        "k-means pooling": KMeansPooling(factor=1 / share).reduce,
        "saliency pruning": lambda tokens: SaliencyPruning(share).reduce(tokens, data.document_saliency),
        "random pruning": RandomPruning(share).reduce,
    }


def _timed(run: Callable[[], Reduced]) -> tuple[Reduced, float]:
    start = time.perf_counter()
    outcome = run()
    return outcome, time.perf_counter() - start


def _row(
    name: str, data: EncodedBeir, found: Any, full: Any, left: float, per_second: float | None = None
) -> dict[str, Any]:
    return {
        "method": name,
        "tokens_left": left,
        "overlap_at_10": overlap(found, full),
        "ndcg_at_10": ndcg(found, data.beir.query_ids, data.beir.document_ids, data.beir.qrels),
        "matrices_per_s": per_second,
    }


if __name__ == "__main__":
    main()
