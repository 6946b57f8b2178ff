"""What the advisor predicts from samples, beside what whole collections then show, over several draws.

Sentence vectors and token matrices of the offline encoder. Each draw takes other documents as the sample
and other queries. The whole collection is then stored as the recommended recipe says, on Edge with graph and
codes built, and searched by the queries that the advisor has not seen as well as by those that it has.

    python benchmarks/advise.py --data path/to/scifact [...] [--draws 20] [--only dense] [--json]
"""

from __future__ import annotations

import json
import math
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any

import numpy as np
from _beir import EncodedBeir, load
from _harness import environment, parser, report
from numpy.typing import NDArray
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
from embplug.evaluation.advisor.advice import PRICE_OF_DISK
from embplug.evaluation.exact import overlap
from embplug.evaluation.trial import TrialData, exact_rankings


def main() -> None:
    arguments = parser(__doc__.splitlines()[0])
    arguments.add_argument("--data", required=True, nargs="+", help="folders of collections in BEIR format")
    arguments.add_argument("--recall", type=float, default=0.95)
    arguments.add_argument("--bytes-per-vector", type=float, help="instead of a recall")
    arguments.add_argument("--only", choices=("dense", "tokens"))
    arguments.add_argument("--share", type=float, default=0.4, help="of the documents that are the sample")
    arguments.add_argument("--draws", type=int, default=1, help="of documents and queries")
    arguments.add_argument("--first-draw", type=int, default=0, help="number of the first draw")
    arguments.add_argument("--documents", type=int, help="of the whole collection, drawn too; default: all")
    options = arguments.parse_args()
    target = Target(recall=options.recall)
    if options.bytes_per_vector is not None:
        target = Target(bytes_per_vector=options.bytes_per_vector)
    rows: list[dict[str, Any]] = []
    for folder in options.data:
        data = load(folder)
        for kind in (options.only,) if options.only else ("dense", "tokens"):
            for draw in range(options.first_draw, options.first_draw + options.draws):
                rows.append(_row(data, kind, target, options.share, draw, options.documents))
                print(json.dumps(rows[-1]), file=sys.stderr, flush=True)
    result = {
        "rows": rows,
        "summary": [*_summary(rows, target.recall)],
        "environment": environment(share=options.share, target=str(target)),
    }
    report(result, rows if options.json else [*rows, *_summary(rows, target.recall)], options.json)


def source_of(data: EncodedBeir, kind: str, rows: NDArray[np.int64], points: int) -> CollectionSample:
    """Documents in random order, as the advisor reads them from a collection of ``points``."""
    return CollectionSample(
        name=data.beir.name,
        vector=kind,
        points=points,
        documents=Encoded(
            data.documents.take(rows) if kind == "tokens" else None,
            data.document_sentences[rows] if kind == "dense" else None,
        ),
        payloads=[{"id": data.beir.document_ids[i]} for i in rows.tolist()],
        distance=models.Distance.COSINE,
        payload_indexes={},
        shards=1,
        replicas=1,
        capabilities=Capabilities.of("edge", "0.9"),
    )


def queries_of(data: EncodedBeir, kind: str, rows: NDArray[np.int64]) -> Encoded:
    """Vectors of these queries."""
    if kind == "tokens":
        return Encoded(tokens=data.queries.take(rows).to_float32())
    return Encoded(dense=data.query_sentences[rows])


def _row(
    data: EncodedBeir, kind: str, target: Target, share: float, draw: int, documents: int | None
) -> dict[str, Any]:
    rng = np.random.default_rng(draw)
    order = rng.permutation(np.flatnonzero(data.documents.lengths))[:documents]
    queries = rng.permutation(len(data.queries))
    seen = min(MATRIX_QUERIES if kind == "tokens" else QUERIES, len(queries) // 2)
    sample = math.ceil(share * len(order))
    started = time.perf_counter()
    # The advisor sees no more than the sample.
    source = source_of(data, kind, order[:sample], len(order))
    advice = advise_on(source, queries_of(data, kind, queries[:seen]), target, sample=sample, progress=False)
    advised_s = time.perf_counter() - started
    best = advice.best
    whole = source_of(data, kind, order, len(order))
    everything = TrialData(whole.documents, queries_of(data, kind, queries), payloads=whole.payloads)
    state = learned_state(best.recipe, whole.documents)
    searches, parts = try_indexed(best.recipe, state, everything, advice.k)
    shares = overlap(
        searches[advice.k].rankings, exact_rankings(best.recipe, everything, advice.k, progress=False)[0]
    )
    measured = memory_bytes(parts) + PRICE_OF_DISK * disk_bytes(parts)
    return {
        "collection": data.beir.name,
        "kind": kind,
        "draw": draw,
        "documents": len(order),
        "sample": advice.sampled,
        "queries": seen,
        "recommended": best.name,
        "met": advice.met,
        "chance": advice.chance,
        "recall_predicted": best.expected_recall,
        "recall_measured": float(shares.mean()),
        "recall_of_unseen": float(shares[seen:].mean()),
        "bytes_predicted": best.bytes,
        "bytes_measured": measured,
        "bytes_off_percent": 100 * (best.bytes / measured - 1),
        "tried": len(advice.tried) + len(advice.dropped),
        "advised_s": advised_s,
    }


def _summary(rows: Sequence[dict[str, Any]], recall: float | None) -> Iterator[dict[str, Any]]:
    """For each collection and kind: mean differences, and how often the target was reached."""
    for name, kind in dict.fromkeys((row["collection"], row["kind"]) for row in rows):
        of_kind = [row for row in rows if (row["collection"], row["kind"]) == (name, kind)]
        differences = np.array([row["recall_predicted"] - row["recall_measured"] for row in of_kind])
        promised = [row for row in of_kind if row["met"]]
        reached = [recall is not None and row["recall_measured"] >= recall for row in promised]
        yield {
            "collection": name,
            "kind": kind,
            "draw": f"mean of {len(of_kind)}",
            "chance": None if recall is None else float(np.mean([row["chance"] for row in of_kind])),
            "predicted_minus_measured": float(differences.mean()),
            "absolute_difference": float(np.abs(differences).mean()),
            "promised": len(promised),
            "reached": None if recall is None else sum(reached),
            "bytes_off_percent": float(np.mean([row["bytes_off_percent"] for row in of_kind])),
            "advised_s": float(np.mean([row["advised_s"] for row in of_kind])),
        }


if __name__ == "__main__":
    main()
