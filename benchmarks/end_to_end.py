"""Quality, bytes and latency of a whole search: a vector finds candidates, codes of tokens rank them."""

from __future__ import annotations

import argparse
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

import numpy as np
from _beir import EncodedBeir, load
from _bm25 import bm25
from _exact import exact_ranking
from _harness import environment, parser, percentiles_ms, report
from _metrics import ndcg, overlap, top
from _multivectors import EngineCodes, engine_codes
from numpy.typing import NDArray
from qdrant_client import models

from embplug import Collection, Dense, Documents, Fusion, Multivector, Recipe, Rerank, Tokens, connect
from embplug.engines import EdgeClient, Engine
from embplug.methods import LearnedEncoding, PredictiveQuantizer, ResidualQuantizer
from embplug.methods.reductions.pooling import HierarchicalPooling
from embplug.methods.token_batch import TokenBatch

BATCH_DOCUMENTS = 250
DEPTH = 10
FINDERS = {"dense": "float16 sentence vector", "learned": "learned encoding of 1024 B"}
CODES = {"predictive": PredictiveQuantizer, "residual": ResidualQuantizer}
INT8 = models.ScalarQuantization(scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8))
BINARY = models.BinaryQuantization(binary=models.BinaryQuantizationConfig())

Search = Callable[[Collection, int], "list[Any]"]


def main() -> None:
    arguments = parser(__doc__ or "")
    arguments.add_argument("--data", required=True, help="folder of a collection in BEIR format")
    arguments.add_argument(
        "--codes", nargs="*", choices=CODES, default=list(CODES), help="what the codes of tokens are"
    )
    arguments.add_argument("--sizes", type=int, nargs="*", default=[13], help="bytes of a token's code")
    arguments.add_argument(
        "--document-bytes", type=int, nargs="*", default=[96], help="bytes of a document's correction"
    )
    arguments.add_argument(
        "--pooling", type=float, nargs="*", default=[2], help="factors by which pooling lessens tokens"
    )
    arguments.add_argument(
        "--finders",
        nargs="*",
        choices=FINDERS,
        default=list(FINDERS),
        help="what finds the candidates of the codes",
    )
    arguments.add_argument(
        "--dense-weights",
        type=float,
        nargs="*",
        default=[0.1, 0],
        help="of the sentence vector's ranking, fused with that of the codes where it finds the candidates",
    )
    arguments.add_argument("--candidates", type=int, default=200)
    switch = argparse.BooleanOptionalAction
    arguments.add_argument("--server", action=switch, default=True, help="search on a real server too")
    arguments.add_argument(
        "--matrices", action=switch, default=True, help="keep token matrices in the engine, too"
    )
    arguments.add_argument("--only", help="only rows whose name contains this")
    options = arguments.parse_args()
    data = load(options.data)
    # A document without a token cannot be stored as a matrix, and is found by nobody.
    kept = np.flatnonzero(data.documents.lengths)
    truth = exact_ranking(data)[:, :DEPTH]
    rows = [_row("exact MaxSim, in memory", data, truth, truth, 4.0 * data.documents.dim * _tokens(data))]
    lexical = bm25(data.beir.documents, data.beir.queries)
    rows.append(_row("BM25", data, top(lexical, DEPTH), truth, None))

    def tokens_search(collection: Collection, i: int) -> list[Any]:
        return collection.search(
            tokens=data.queries[i], dense=data.query_sentences[i], limit=DEPTH, with_payload=False
        )

    def learned_search(collection: Collection, i: int) -> list[Any]:
        return collection.search(tokens=data.queries[i], limit=DEPTH, with_payload=False)

    def dense_search(collection: Collection, i: int) -> list[Any]:
        return collection.search(dense=data.query_sentences[i], limit=DEPTH, with_payload=False)

    ours: dict[str, Any] = {}
    dense = Dense(dim=data.document_sentences.shape[1], datatype=models.Datatype.FLOAT16)
    contestants: list[tuple[str, bool, Recipe, Search]] = [
        (
            f"{FINDERS[finder]}, then {codes} codes of {size} B a token, {head} B a document"
            + (f", pooled by {factor:g}" if factor > 1 else "")
            + (f", fused with the sentence vector's ranking by {weight:g}" if weight else ""),
            True,
            Recipe(
                tokens=Tokens(
                    dim=data.documents.dim,
                    encoding=LearnedEncoding(stored_dim=1024) if finder == "learned" else None,
                    multivector=None,
                    reduction=HierarchicalPooling(factor=factor) if factor > 1 else None,
                    codes=CODES[codes](size=size),
                    document_bytes=head,
                ),
                dense=dense if finder == "dense" else {},
                fusion=Fusion(method="min_max", weights={"dense": weight}, after_rerank=True)
                if weight
                else Fusion(),
                rerank=Rerank(candidates=options.candidates),
            ),
            tokens_search if finder == "dense" else learned_search,
        )
        for finder in options.finders
        for codes in options.codes
        for size in options.sizes
        for head in options.document_bytes
        for factor in options.pooling
        for weight in (options.dense_weights if finder == "dense" else [0])
    ]
    contestants.append(
        ("sentence vector alone, float32", False, Recipe(dense=Dense(dim=dense.dim)), dense_search)
    )
    if options.matrices:
        stored = {"": EngineCodes(), ", int8": EngineCodes(quantization=INT8)}
        stored |= {", binary": EngineCodes(quantization=BINARY)}
        stored |= {f", {name}": codes for name, codes in engine_codes()}
        for name, codes in stored.items():
            matrix = Multivector(datatype=codes.datatype, quantization=codes.quantization)
            recipe = Recipe(
                tokens=Tokens(dim=data.documents.dim, encoding=None, multivector=matrix, codes=None),
                dense=dense,
                rerank=Rerank(candidates=options.candidates, quantized_tokens=codes.quantization is not None),
            )
            contestants.append((f"token matrices in the engine{name}", False, recipe, tokens_search))
    for name, is_ours, recipe, search in contestants:
        if options.only is not None and options.only not in name:
            continue
        # The server that tests start is older than Turbo.
        served = options.server and "urbo" not in name
        row = _run(name, data, kept, truth, recipe, search, served)
        rows.append(row)
        print({key: value for key, value in row.items() if value is not None}, file=sys.stderr)
        if is_ours:
            ours[name] = row
    peers = {row["method"]: row for row in rows if row["method"] not in ours}
    sizes = {"documents": len(data.documents), "tokens": len(data.documents.values), "queries": len(truth)}
    result = {
        # The first of each option: no row is chosen for what it scored.
        "ours": next(iter(ours.values()), None),
        "ours_by_method": ours,
        "peers": peers,
        "environment": environment(**sizes, data=data.beir.name, candidates=options.candidates),
    }
    report(result, rows, options.json)


def _run(
    name: str,
    data: EncodedBeir,
    kept: NDArray[np.int64],
    truth: NDArray[np.int64],
    recipe: Recipe,
    search: Search,
    with_server: bool,
) -> dict[str, Any]:
    """Fill Edge, and a server where it is asked for, and search all queries."""
    with tempfile.TemporaryDirectory() as folder, EdgeClient(folder) as edge:
        collection = Collection.create("end-to-end", recipe, edge)
        started = time.perf_counter()
        _fill(collection, data, kept)
        filled = time.perf_counter() - started
        info = collection.info()
        found, seconds = _search_all(collection, data, search)
    row = _row(name, data, found, truth, (info.disk_bytes or 0) / len(kept))
    row |= {
        "state_mb": info.state_bytes / 1e6,
        "add_s": filled,
        "p50_ms": percentiles_ms(seconds)["p50_ms"],
    }
    if with_server:
        with _server() as client:
            served = Collection.create("end-to-end", recipe, client)
            _fill(served, data, kept)
            served.optimize()
            found, seconds = _search_all(served, data, search)
        row |= {
            "server_recall_at_10": overlap(found, truth),
            "server_p50_ms": percentiles_ms(seconds)["p50_ms"],
        }
    return row


def _fill(collection: Collection, data: EncodedBeir, kept: NDArray[np.int64]) -> None:
    def batches() -> Iterator[Documents]:
        for start in range(0, len(kept), BATCH_DOCUMENTS):
            rows = kept[start : start + BATCH_DOCUMENTS]
            tokens: TokenBatch | None = None
            if collection.recipe.tokens is not None:
                tokens = data.documents.take(rows).to_float32()
            dense = data.document_sentences[rows] if collection.recipe.dense else None
            yield Documents(rows.tolist(), tokens=tokens, dense=dense)

    collection.add_batches(batches())


def _search_all(
    collection: Collection, data: EncodedBeir, search: Search
) -> tuple[NDArray[np.int64], Sequence[float]]:
    found = np.empty((len(data.queries), DEPTH), dtype=np.int64)
    seconds = []
    for i in range(len(data.queries)):
        started = time.perf_counter()
        hits = search(collection, i)
        seconds.append(time.perf_counter() - started)
        found[i] = [hit.id for hit in hits]
    return found, seconds


def _row(
    name: str, data: EncodedBeir, found: NDArray[Any], truth: NDArray[Any], per_document: float | None
) -> dict[str, Any]:
    return {
        "method": name,
        "bytes_per_document": per_document,
        "ndcg_at_10": ndcg(found, data.beir.query_ids, data.beir.document_ids, data.beir.qrels),
        "recall_at_10": overlap(found, truth),
    }


def _tokens(data: EncodedBeir) -> float:
    return len(data.documents.values) / len(data.documents)


@contextmanager
def _server() -> Iterator[Engine]:
    from tests.servers import qdrant_server

    with qdrant_server() as (url, grpc_port):
        client = connect(url, grpc_port=grpc_port)
        try:
            yield client
        finally:
            client.close()


if __name__ == "__main__":
    main()
