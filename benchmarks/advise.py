"""What the advisor predicts from a sample, beside what the whole collection then shows.

Sentence vectors and token matrices of the offline encoder; the whole collection is stored as the
recommended recipe says, on Edge with graph and codes built, and searched by all queries.

    python benchmarks/advise.py --data path/to/scifact [...] [--recall 0.95] [--only dense] [--json]
"""

from __future__ import annotations

import math
import sys
import time
from typing import Any

import numpy as np
from _beir import EncodedBeir, load
from _harness import environment, parser, report
from qdrant_client import models

from embplug.branches.sizing import disk_bytes, memory_bytes
from embplug.encoders import Encoded
from embplug.engines.capabilities import Capabilities
from embplug.evaluation.advisor import (
    MATRIX_QUERIES,
    QUERIES,
    CollectionSample,
    Target,
    advise_on,
    learned_state,
    try_indexed,
)
from embplug.evaluation.exact import overlap
from embplug.evaluation.trial import TrialData, exact_rankings


def source_of(data: EncodedBeir, kind: str, rows: Any) -> CollectionSample:
    """Documents in random order, as the advisor reads them from a collection."""
    tokens = data.documents.take(rows) if kind == "tokens" else None
    dense = data.document_sentences[rows] if kind == "dense" else None
    return CollectionSample(
        name=data.beir.name,
        vector=kind,
        points=len(rows),
        documents=Encoded(tokens, dense),
        payloads=[{"id": data.beir.document_ids[i]} for i in rows.tolist()],
        distance=models.Distance.COSINE,
        payload_indexes={},
        shards=1,
        replicas=1,
        capabilities=Capabilities.of("edge", "0.9"),
    )


def main() -> None:
    arguments = parser(__doc__.splitlines()[0])
    arguments.add_argument("--data", required=True, nargs="+", help="folders of collections in BEIR format")
    arguments.add_argument("--recall", type=float, default=0.95)
    arguments.add_argument("--bytes-per-vector", type=float, help="instead of a recall")
    arguments.add_argument("--only", choices=("dense", "tokens"))
    arguments.add_argument("--share", type=float, default=0.4, help="of the documents that are the sample")
    given = arguments.parse_args()
    target = Target(recall=given.recall)
    if given.bytes_per_vector is not None:
        target = Target(bytes_per_vector=given.bytes_per_vector)
    rows: list[dict[str, Any]] = []
    for folder in given.data:
        data = load(folder)
        for kind in (given.only,) if given.only else ("dense", "tokens"):
            rows.append(_row(data, kind, target, given.share))
            print(rows[-1], file=sys.stderr, flush=True)
    result = {"rows": rows, "environment": environment(share=given.share, target=str(target))}
    report(result, rows, given.json)


def _row(data: EncodedBeir, kind: str, target: Target, share: float) -> dict[str, Any]:
    kept = np.flatnonzero(data.documents.lengths)
    order = np.random.default_rng(0).permutation(kept)
    whole = source_of(data, kind, order)
    most = MATRIX_QUERIES if kind == "tokens" else QUERIES
    asked = np.linspace(0, len(data.queries) - 1, min(most, len(data.queries))).astype(int)
    queries = (
        Encoded(tokens=data.queries.take(asked).to_float32())
        if kind == "tokens"
        else Encoded(dense=data.query_sentences[asked])
    )
    sample = math.ceil(share * len(order))
    started = time.perf_counter()
    # The advisor sees no more than the sample.
    read = source_of(data, kind, order[:sample])
    source = CollectionSample(**{**vars(read), "points": len(order)})
    advice = advise_on(source, queries, target, sample=sample)
    advised_s = time.perf_counter() - started
    best = advice.best
    everything = TrialData(whole.documents, queries, payloads=whole.payloads)
    state = learned_state(best.recipe, whole.documents)
    searches, parts = try_indexed(best.recipe, state, everything, advice.k)
    exact = exact_rankings(best.recipe, everything, advice.k)[0]
    recall = float(overlap(searches[advice.k].rankings, exact).mean())
    measured = disk_bytes(parts) if kind == "tokens" else memory_bytes(parts)
    return {
        "collection": data.beir.name,
        "kind": kind,
        "documents": len(order),
        "sample": advice.sampled,
        "recommended": best.name,
        "met": advice.met,
        "recall_predicted": best.expected_recall,
        "recall_measured": recall,
        "bytes_predicted": best.bytes,
        "bytes_measured": measured,
        "bytes_off_percent": 100 * (best.bytes / measured - 1),
        "tried": len(advice.tried) + len(advice.dropped),
        "advised_s": advised_s,
    }


if __name__ == "__main__":
    main()
