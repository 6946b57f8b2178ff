"""What BM25, learned sparse vectors, sentence vectors and tokens find alone, and what their fusions find.

The learned weights are computed from MiniLM's tokens, because no trained model of them comes in a package: a
text has a term for each of 2,048 tokens drawn at random that is nearest to one of its own. Their cosine is
its weight, and Qdrant multiplies it by the inverse document frequency. On collections of at most 500
documents, a tiny model of the class of SPLADE also makes weights of the texts, as an encoder of the recipe.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from _beir import EncodedBeir, load
from _bm25 import bm25
from _harness import environment, parser, percentiles_ms, report
from _metrics import ndcg, top
from _splade import save_model
from numpy.typing import NDArray
from qdrant_client import models

from embplug import Collection, Dense, Documents, Fusion, Recipe, Rerank, Sample, Sparse, TokenBatch, Tokens
from embplug.branches.bm25 import BM25Encoder, split
from embplug.engines import EdgeClient
from embplug.recipe.presets import PRESETS, Preset

DEPTH = 100
BATCH_DOCUMENTS = 250
SAMPLE = 500
NAME = "hybrid"
CELLS = 2048
"""Terms of learned sparse vectors."""

ENCODED_DOCUMENTS = 500
"""Largest collection of which the tiny model encodes all texts."""

FUSIONS = {
    "z-scores": Fusion(method="z_score"),
    "z-scores, BM25 twice": Fusion(method="z_score", weights={"sparse": 2.0}),
    "RRF": Fusion(method="rrf"),
    "RRF, k = 1": Fusion(method="rrf", k=1),
    "DBSF": Fusion(method="dbsf"),
    "DBSF, BM25 twice": Fusion(method="dbsf", weights={"sparse": 2.0}),
    "0..1": Fusion(method="min_max"),
    "0..1, BM25 twice": Fusion(method="min_max", weights={"sparse": 2.0}),
}
Search = Callable[[int], Sequence[int]]


def main() -> None:
    arguments = parser(__doc__ or "")
    arguments.add_argument("--data", nargs="+", required=True, help="folders of collections in BEIR format")
    arguments.add_argument("--preset", choices=PRESETS, default="balanced", help="what tokens are stored as")
    arguments.add_argument("--candidates", type=int, default=200)
    arguments.add_argument("--queries", type=int, help="so many queries, evenly spread; default: all")
    arguments.add_argument("--learned", action="store_true", help="only BM25 and learned sparse vectors")
    options = arguments.parse_args()
    rows, sizes = [], {}
    for folder in options.data:
        data = _thinned(load(folder), options.queries)
        sizes[data.beir.name] = {"documents": len(data.documents), "queries": len(data.queries)}
        chosen = (
            _learned_rows(data) if options.learned else _all_rows(data, options.preset, options.candidates)
        )
        for row in chosen:
            rows.append(row)
            print(json.dumps(row), file=sys.stderr, flush=True)
    ours = [row for row in rows if row["side"] == "embplug"]
    peers = [row for row in rows if row["side"] != "embplug"]
    result = {
        "ours": ours,
        "peers": peers,
        "default_below_best": _default_below_best(rows),
        "environment": environment(**sizes, preset=options.preset, candidates=options.candidates),
    }
    report(result, rows, options.json)


def _thinned(data: EncodedBeir, count: int | None) -> EncodedBeir:
    """Keep ``count`` queries, evenly spread."""
    if count is None or count >= len(data.queries):
        return data
    rows = np.linspace(0, len(data.queries) - 1, count).astype(np.int64)
    beir = replace(
        data.beir,
        query_ids=[data.beir.query_ids[i] for i in rows],
        queries=[data.beir.queries[i] for i in rows],
    )
    return replace(
        data, beir=beir, queries=data.queries.take(rows), query_sentences=data.query_sentences[rows]
    )


def _default_below_best(rows: Sequence[dict[str, Any]]) -> dict[str, float]:
    """For each collection: how much nDCG@10 the default fusion lacks to the best row."""
    best: dict[str, float] = {}
    for row in rows:
        best[row["data"]] = max(row["ndcg_at_10"], best.get(row["data"], 0.0))
    return {
        row["data"]: best[row["data"]] - row["ndcg_at_10"]
        for row in rows
        if row["method"] == "all, by default"
    }


def _all_rows(data: EncodedBeir, preset: Preset, candidates: int) -> Iterator[dict[str, Any]]:
    yield from _rows(data, preset, candidates)
    yield from _learned_rows(data)


def _learned_rows(data: EncodedBeir) -> Iterator[dict[str, Any]]:
    """Learned weights beside BM25, each alone and fused with sentence vectors."""
    yield _row(data, "peer", "BM25 of bm25s", *_bm25s(data))
    kept, cells = np.flatnonzero(data.documents.lengths), _drawn_cells(data.documents)
    kinds: dict[str, tuple[Sparse, Any, Any]] = {
        "BM25": (Sparse(), None, None),
        "learned sparse": (
            Sparse(kind="learned", modifier=models.Modifier.IDF),
            _weights(data.documents, cells),
            _weights(data.queries, cells),
        ),
    }
    with tempfile.TemporaryDirectory() as folder:
        if len(kept) <= ENCODED_DOCUMENTS:
            encoder = save_model(Path(folder))
            sparse = Sparse(kind="learned", encoder=encoder, modifier=models.Modifier.IDF)
            kinds["tiny SPLADE, untrained"] = (sparse, None, None)
        yield from _sparse_rows(data, kept, kinds)


def _sparse_rows(
    data: EncodedBeir, kept: NDArray[np.int64], kinds: dict[str, tuple[Sparse, Any, Any]]
) -> Iterator[dict[str, Any]]:
    """Sparse vectors of several kinds: of texts, or with weights of documents and of queries."""
    for name, (sparse, documents, queries) in kinds.items():
        with tempfile.TemporaryDirectory() as folder, EdgeClient(folder) as engine:
            recipe = Recipe(dense=Dense(dim=data.document_sentences.shape[1]), sparse=sparse)
            collection = Collection.create(NAME, recipe, engine)
            collection.add(
                kept.tolist(),
                dense=data.document_sentences[kept],
                texts=[data.beir.documents[i] for i in kept],
                sparse=None if documents is None else [documents[i] for i in kept],
            )
            for label, branches in ((name, ["sparse"]), (f"{name} + vectors", ["dense", "sparse"])):
                search = partial(_with_sparse, collection, data, queries, branches)
                found, seconds = _search_all(data, search)
                yield _row(data, "embplug", label, found, seconds)


def _with_sparse(
    collection: Collection,
    data: EncodedBeir,
    weights: Sequence[dict[int, float]] | None,
    branches: list[str],
    i: int,
) -> list[int]:
    words: dict[str, Any] = {"text": data.beir.queries[i]} if weights is None else {"sparse": weights[i]}
    hits = collection.search(
        dense=data.query_sentences[i], branches=branches, limit=DEPTH, with_payload=False, **words
    )
    return [int(hit.id) for hit in hits]


def _drawn_cells(tokens: TokenBatch) -> NDArray[np.float32]:
    drawn = np.random.default_rng(0).choice(len(tokens.values), min(CELLS, len(tokens.values)), replace=False)
    return tokens.values[np.sort(drawn)].astype(np.float32)


def _weights(tokens: TokenBatch, cells: NDArray[np.float32]) -> list[dict[int, float]]:
    """For each text: the highest cosine with each cell that is nearest to one of its tokens."""
    weights = []
    for matrix in tokens:
        cosines = matrix.astype(np.float32) @ cells.T
        own: dict[int, float] = {}
        nearest = zip(cosines.argmax(axis=1).tolist(), cosines.max(axis=1).tolist(), strict=True)
        for cell, cosine in nearest if len(matrix) else ():
            own[cell] = max(own.get(cell, 0.0), cosine)
        weights.append(own)
    return weights


def _rows(data: EncodedBeir, preset: Preset, candidates: int) -> Iterator[dict[str, Any]]:
    # A document without a token cannot be stored as a matrix, and is found by nobody.
    kept = np.flatnonzero(data.documents.lengths)
    yield _row(data, "peer", "BM25, no stems", top(bm25(data.beir.documents, data.beir.queries), DEPTH), [])
    yield _row(data, "peer", "BM25 of bm25s", *_bm25s(data))
    exact = top(data.query_sentences @ data.document_sentences.T, DEPTH)
    yield _row(data, "peer", "sentence vectors, exact", exact, [])
    with tempfile.TemporaryDirectory() as folder, EdgeClient(folder) as engine:
        yield from _plain_qdrant(data, engine)
        recipe = Recipe(
            tokens=Tokens(dim=data.documents.dim, preset=preset),
            dense=Dense(dim=data.document_sentences.shape[1]),
            sparse=Sparse(),
            rerank=Rerank(candidates=candidates),
        )
        collection = _filled(engine, recipe, data, kept)

        def run(name: str, fusion: Fusion, branches: list[str]) -> dict[str, Any]:
            found, seconds = _search_all(data, lambda i: _ours(collection, data, i, branches, fusion))
            return _row(data, "embplug", name, found, seconds)

        yield run("BM25", Fusion(), ["sparse"])
        yield run("sentence vectors", Fusion(), ["dense"])
        yield run("tokens", Fusion(), ["tokens"])
        for name, fusion in FUSIONS.items():
            yield run(f"BM25 + vectors: {name}", fusion, ["dense", "sparse"])
        every = ["tokens", "dense", "sparse"]
        yield run("all, by default", Fusion(), every)
        yield run("all, tokens rank", Fusion(after_rerank=False), every)
        for name, fusion in FUSIONS.items():
            after = fusion.model_copy(update={"after_rerank": True})
            yield run(f"all, fused after tokens ranked: {name}", after, every)


def _filled(engine: EdgeClient, recipe: Recipe, data: EncodedBeir, kept: NDArray[np.int64]) -> Collection:
    some = kept[:: max(1, len(kept) // SAMPLE)]
    sample = Sample(
        tokens=data.documents.take(some).to_float32(), texts=[data.beir.documents[i] for i in kept]
    )
    collection = Collection.create(NAME, recipe, engine, sample=sample)

    def batches() -> Iterator[Documents]:
        for start in range(0, len(kept), BATCH_DOCUMENTS):
            rows = kept[start : start + BATCH_DOCUMENTS]
            yield Documents(
                rows.tolist(),
                tokens=data.documents.take(rows).to_float32(),
                dense=data.document_sentences[rows],
                texts=[data.beir.documents[i] for i in rows],
            )

    collection.add_batches(batches())
    return collection


def _ours(
    collection: Collection, data: EncodedBeir, i: int, branches: list[str], fusion: Fusion
) -> list[int]:
    hits = collection.search(
        tokens=data.queries[i],
        dense=data.query_sentences[i],
        text=data.beir.queries[i],
        branches=branches,
        fusion=fusion,
        limit=DEPTH,
        with_payload=False,
    )
    return [int(hit.id) for hit in hits]


def _plain_qdrant(data: EncodedBeir, engine: EdgeClient) -> Iterator[dict[str, Any]]:
    """Qdrant by itself: vectors and the same sparse vectors, its own fusion queries."""
    name = "plain"
    engine.create_collection(
        name,
        vectors_config={
            "dense": models.VectorParams(
                size=data.document_sentences.shape[1], distance=models.Distance.COSINE
            )
        },
        sparse_vectors_config={"sparse": models.SparseVectorParams(modifier=models.Modifier.IDF)},
    )
    encoder = BM25Encoder(Sparse()).fit(data.beir.documents)
    points = [
        models.PointStruct(
            id=i,
            vector={
                "dense": vector.tolist(),
                "sparse": models.SparseVector(indices=indices, values=values),
            },
        )
        for i, (vector, (indices, values)) in enumerate(
            zip(data.document_sentences, encoder.encode(data.beir.documents).lists(), strict=True)
        )
    ]
    for start in range(0, len(points), BATCH_DOCUMENTS):
        engine.upsert(name, points=points[start : start + BATCH_DOCUMENTS])
    engine.optimize(name)
    for label, fusion in (("RRF", models.Fusion.RRF), ("DBSF", models.Fusion.DBSF)):

        def search(i: int, fusion: models.Fusion = fusion) -> list[int]:
            found = engine.query_points(
                name,
                prefetch=[
                    models.Prefetch(query=data.query_sentences[i].tolist(), using="dense", limit=2 * DEPTH),
                    models.Prefetch(
                        query=encoder.encode_query(data.beir.queries[i]), using="sparse", limit=2 * DEPTH
                    ),
                ],
                query=models.FusionQuery(fusion=fusion),
                limit=DEPTH,
                with_payload=False,
            )
            return [int(point.id) for point in found.points]

        found, seconds = _search_all(data, search)
        yield _row(data, "peer", f"plain Qdrant, BM25 + vectors: {label}", found, seconds)
    engine.delete_collection(name)


def _bm25s(data: EncodedBeir) -> tuple[NDArray[np.int64], list[float]]:
    import bm25s

    documents = split(data.beir.documents, "english")
    index = bm25s.BM25(k1=1.2, b=0.75)
    index.index(documents, show_progress=False)
    count = min(DEPTH, len(documents))

    def search(i: int) -> list[int]:
        terms = split([data.beir.queries[i]], "english")
        found, _ = index.retrieve(terms, k=count, show_progress=False, n_threads=0)
        return [int(row) for row in found[0]]

    return _search_all(data, search)


def _search_all(data: EncodedBeir, search: Search) -> tuple[NDArray[np.int64], list[float]]:
    """Rankings (queries, DEPTH), filled with -1 where fewer were found."""
    ranking = np.full((len(data.queries), DEPTH), -1, dtype=np.int64)
    seconds = []
    for i in range(len(data.queries)):
        start = time.perf_counter()
        found = search(i)
        seconds.append(time.perf_counter() - start)
        ranking[i, : len(found)] = found
    return ranking, seconds


def _row(
    data: EncodedBeir, side: str, method: str, ranking: NDArray[np.int64], seconds: list[float]
) -> dict[str, Any]:
    beir = data.beir
    # Column -1 is no document, and relevant to no query.
    ids = [*beir.document_ids, ""]
    return {
        "data": beir.name,
        "side": side,
        "method": method,
        "ndcg_at_10": ndcg(ranking[:, :10], beir.query_ids, ids, beir.qrels),
        "recall_at_10": _recall(ranking[:, :10], data),
        "recall_at_100": _recall(ranking, data) if len(beir.documents) > DEPTH else None,
        "p50_ms": percentiles_ms(seconds)["p50_ms"] if seconds else None,
    }


def _recall(ranking: NDArray[np.int64], data: EncodedBeir) -> float:
    """Mean share of a query's relevant documents that were found."""
    shares = []
    for query, row in zip(data.beir.query_ids, ranking, strict=True):
        relevant = {document for document, gain in data.beir.qrels[query].items() if gain > 0}
        found = {data.beir.document_ids[column] for column in row if column >= 0}
        shares.append(len(relevant & found) / max(len(relevant), 1))
    return float(np.mean(shares))


if __name__ == "__main__":
    main()
