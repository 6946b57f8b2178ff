"""Centroids of token codes from the vocabulary ids of tokens, beside those of two-level k-means.

Clusters by vocabulary id (TACHIOM, SIGIR 2026) take the place of the coarse level. Each row tells the
processor seconds of the search for centroids, the squared error that is left, and the overlap of the ten best
documents by centroid ids alone with exact MaxSim; the last row tells the processor seconds of a whole fit.

    python benchmarks/token_ids.py cranfield --json
"""

from __future__ import annotations

import argparse
import json
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from _beir import EncodedBeir, load
from _exact import exact_ranking

from embplug.methods.maxsim import maxsim
from embplug.methods.numeric.partition import kmeans
from embplug.methods.quantizers.centroid import (
    CentroidSearch,
    _lloyd_round,
    _shares,
    _stored,
    find_centroids,
    most_vectors,
)
from embplug.methods.token_batch import TokenBatch
from embplug.methods.token_codes.predictive import PredictiveQuantizer


def token_ids(data: EncodedBeir) -> Any:
    """Vocabulary ids of all tokens, in the order of their vectors."""
    from tokenizers import BertWordPieceTokenizer

    from embplug.encoders.minilm_int8 import MAX_WORDPIECES, SPECIAL, VOCABULARY

    tokenizer = BertWordPieceTokenizer(str(VOCABULARY), lowercase=True)
    tokenizer.enable_truncation(MAX_WORDPIECES)
    special = [tokenizer.token_to_id(piece) for piece in SPECIAL]
    rows = [np.asarray(piece.ids) for piece in tokenizer.encode_batch(list(data.beir.documents))]
    rows = [row[~np.isin(row, special)] for row in rows]
    assert [len(row) for row in rows] == data.documents.lengths.tolist()
    return np.concatenate(rows)


def centroids_by_id(sample: Any, ids: Any, count: int, generator: np.random.Generator) -> Any:
    """Centroids whose coarse clusters are the vocabulary ids; one round of Lloyd's settles the borders."""
    most = most_vectors(count)
    if len(sample) > most:
        rows = np.sort(generator.choice(len(sample), most, replace=False))
        sample, ids = sample[rows], ids[rows]
    order = np.argsort(ids, kind="stable")
    sample, ids = sample[order], ids[order]
    starts = np.flatnonzero(np.concatenate([[True], ids[1:] != ids[:-1]]))
    members = np.diff(np.append(starts, len(ids)))
    means = np.add.reduceat(sample, starts, axis=0) / members[:, None]
    squares = np.square(sample - np.repeat(means, members, axis=0)).sum(axis=1)
    errors = np.add.reduceat(squares, starts) + 1e-9
    chosen = np.sort(np.argsort(-errors, kind="stable")[: count // 2])
    shares = _shares(errors[chosen], members[chosen], count)
    parts = [
        means[[i]] if share == 1 else kmeans(sample[starts[i] : starts[i] + members[i]], share, generator)
        for i, share in zip(chosen.tolist(), shares, strict=True)
        if share
    ]
    return _stored(_lloyd_round(sample, np.concatenate(parts).astype(np.float32)))


def rows(data: EncodedBeir, counts: list[int], tokens: int, queries: int) -> Iterator[dict[str, Any]]:
    """Figures of both searches, for each number of centroids; then the seconds of a whole fit."""
    ids, values = token_ids(data), data.documents.values.astype(np.float32)
    generator = np.random.default_rng(0)
    chosen = np.sort(generator.choice(len(values), min(tokens, len(values)), replace=False))
    some = np.sort(generator.choice(len(data.queries), min(queries, len(data.queries)), replace=False))
    truth = exact_ranking(data)[some, :10]
    searches: dict[str, Callable[[int], Any]] = {
        "k-means": lambda count: find_centroids(values[chosen], count, np.random.default_rng(1)),
        "vocabulary ids": lambda count: centroids_by_id(
            values[chosen], ids[chosen], count, np.random.default_rng(1)
        ),
    }
    for count in counts:
        for name, search in searches.items():
            seconds = []
            for _ in range(2):
                before = time.process_time()
                centroids = search(count)
                seconds.append(time.process_time() - before)
            owner = CentroidSearch(centroids)(values)
            error = float(np.square(values - centroids[owner]).sum(axis=1).mean())
            decoded = TokenBatch(centroids[owner], data.documents.offsets)
            overlap = []
            for row, query in enumerate(some):
                best = np.argsort(-maxsim(data.queries[int(query)].astype(np.float32), decoded))[:10]
                overlap.append(len(set(best.tolist()) & set(truth[row].tolist())) / 10)
            yield {
                "centroids": count,
                "start": name,
                "processor seconds": round(min(seconds), 2),
                "squared error": round(error, 4),
                "overlap@10": round(float(np.mean(overlap)), 3),
            }
    before = time.process_time()
    PredictiveQuantizer().fit(data.documents[:200])
    yield {
        "start": "whole fit of predictive codes, 200 documents",
        "processor seconds": round(time.process_time() - before, 2),
    }


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("folder", type=Path)
    parser.add_argument("--centroids", type=int, nargs="+", default=[256, 1024, 4096])
    parser.add_argument("--tokens", type=int, default=100_000)
    parser.add_argument("--queries", type=int, default=60)
    parser.add_argument("--json", action="store_true", help="one object a row")
    arguments = parser.parse_args()
    for row in rows(load(arguments.folder), arguments.centroids, arguments.tokens, arguments.queries):
        print(
            json.dumps(row) if arguments.json else "  ".join(f"{key} {value}" for key, value in row.items()),
            flush=True,
        )


if __name__ == "__main__":
    main()
