"""Latency of one search after the other: one vector, token matrices in the engine, and codes of tokens.

Every row is timed in turns with the single vector on the same engine, so that a busy machine slows both.
A row is written to stderr as soon as it is measured.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
from _beir import EncodedBeir, load
from _contestants import LIMIT, OURS, SINGLE, Contestant, contestants, filled, options_of, sizes
from _exact import exact_ranking
from _harness import environment, percentiles_ms, report
from _metrics import ndcg, overlap
from numpy.typing import NDArray

from embplug import Collection

WARM_QUERIES = 20
TURN_QUERIES = 25
"""Searches of a turn: enough that each contestant works with caches of its own."""


def main() -> None:
    options = options_of((__doc__ or "").splitlines()[0])
    options.add_argument("--timed", type=int, default=300, help="queries that are timed; all are judged")
    options.add_argument("--rounds", type=int, default=3, help="the fastest search of each query counts")
    arguments = options.parse_args()
    data = load(arguments.data)
    rows = list(measured(data, arguments))
    ours = [row for row in rows if row["row"] == OURS]
    result = {
        "ours": {row["engine"]: row for row in ours},
        "single": {row["engine"]: row for row in rows if row["row"] == SINGLE},
        "rows": rows,
        "environment": environment(**sizes(data, arguments)),
    }
    report(result, rows, arguments.json)


def measured(data: EncodedBeir, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """One row for each contestant and engine."""
    truth = exact_ranking(data)[:, :LIMIT]
    named = contestants(data.documents.dim, options)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="embplug-latency-")))
        single = named[SINGLE]
        beside = stack.enter_context(filled(single, data, options.engines, folder / SINGLE))
        for key in options.rows:
            contestant = named[key]
            with ExitStack() as own, tempfile.TemporaryDirectory(prefix="embplug-latency-") as place:
                collections = beside
                if key != SINGLE:
                    collections = own.enter_context(filled(contestant, data, options.engines, Path(place)))
                for engine, (collection, size, _) in collections.items():
                    seconds, of_single = timed(
                        contestant, collection, single, beside[engine][0], data, options
                    )
                    best = ranked(contestant, collection, data)
                    row = {
                        "row": key,
                        "method": contestant.name,
                        "engine": engine,
                        "bytes_per_document": size,
                        "ndcg_at_10": ndcg(
                            best, data.beir.query_ids, data.beir.document_ids, data.beir.qrels
                        ),
                        "recall_at_10": overlap(best, truth),
                        **percentiles_ms(seconds),
                        "times_single": float(np.median(seconds) / np.median(of_single)),
                    }
                    print(json.dumps(row), file=sys.stderr, flush=True)
                    yield row


def timed(
    contestant: Contestant,
    collection: Collection,
    single: Contestant,
    single_collection: Collection,
    data: EncodedBeir,
    options: argparse.Namespace,
) -> tuple[list[float], list[float]]:
    """Seconds of the fastest search of each query, here and by a single vector."""
    count = min(options.timed, len(data.queries))
    seconds, of_single = np.full(count, np.inf), np.full(count, np.inf)
    for row in range(min(WARM_QUERIES, count)):
        contestant.search(collection, data, row)
        single.search(single_collection, data, row)
    for _ in range(options.rounds):
        for start in range(0, count, TURN_QUERIES):
            rows = range(start, min(start + TURN_QUERIES, count))
            _time(contestant, collection, data, rows, seconds)
            _time(single, single_collection, data, rows, of_single)
    return seconds.tolist(), of_single.tolist()


def _time(
    contestant: Contestant,
    collection: Collection,
    data: EncodedBeir,
    rows: Sequence[int],
    fastest: NDArray[np.float64],
) -> None:
    """Search some queries, and keep the time of those that were faster than before."""
    for row in rows:
        started = time.perf_counter()
        contestant.search(collection, data, row)
        fastest[row] = min(fastest[row], time.perf_counter() - started)


def ranked(contestant: Contestant, collection: Collection, data: EncodedBeir) -> NDArray[np.int64]:
    """The best documents of every query; -1 where there are too few."""
    best = np.full((len(data.queries), LIMIT), -1, dtype=np.int64)
    for row in range(len(data.queries)):
        hits = contestant.search(collection, data, row)
        best[row, : len(hits)] = [hit.id for hit in hits]
    return best


if __name__ == "__main__":
    main()
