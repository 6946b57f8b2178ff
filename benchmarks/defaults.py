"""The presets beside Qdrant's own datatypes and quantization: bytes, recall, nDCG@10 and latency.

Every row is a collection of its own, on Edge or on a local server, and is written to stderr as soon as it is
measured. Bytes count what was learned, divided by the documents of the run. ``recall_at_10`` is the share of
the ten best documents by exact MaxSim, or by exact dot products, among the ten hits.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import ExitStack, closing
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from _beir import encoded_texts, load
from _harness import environment, parser, percentiles_ms, report
from _metrics import ndcg, overlap, top
from numpy.typing import NDArray
from qdrant_client import models

from embplug import Collection, Dense, Multivector, Recipe, Rerank, Tokens, connect
from embplug.cli.demo.corpus import stdlib_docstrings
from embplug.common.threads import single_blas_thread
from embplug.engines import Engine
from embplug.engines.calls import run
from embplug.engines.capabilities import capabilities_steps
from embplug.engines.check_recipe import check_recipe
from embplug.errors import CapabilityError
from embplug.evaluation.exact import maxsim_scores
from embplug.methods.token_batch import TokenBatch
from embplug.recipe.presets import PRESETS
from tests.servers import server_in

K = 10
ROUNDS = 3
KINDS = ("texts", "dense")
ENGINES = ("edge", "server")
SIZES = {"1k": 1_000, "100k": 100_000, "10m": 10_000_000}
"""Numbers of documents among which what was learned once is divided."""


@dataclass(frozen=True, eq=False)
class Data:
    """Documents and queries of a collection, with their judgements where there are some."""

    name: str
    documents: TokenBatch
    queries: TokenBatch
    document_sentences: NDArray[np.float32] | None = None
    query_sentences: NDArray[np.float32] | None = None
    judged: tuple[list[str], list[str], Any] | None = None

    def vectors(self, kind: str) -> tuple[Any, Any]:
        """Documents and queries of a kind."""
        if kind == "texts":
            return self.documents, self.queries
        return self.document_sentences, self.query_sentences


def main() -> None:
    options = parser((__doc__ or "").splitlines()[0])
    options.add_argument("--data", nargs="*", default=[], help="folders in BEIR format; else docstrings")
    options.add_argument("--documents", type=int, default=2000, help="at most so many, evenly spread")
    options.add_argument("--queries", type=int, default=200, help="at most so many, evenly spread")
    options.add_argument("--kinds", nargs="+", choices=KINDS, default=[*KINDS])
    options.add_argument("--engines", nargs="+", choices=ENGINES, default=[*ENGINES])
    options.add_argument("--only", help="only rows whose name contains this")
    arguments = options.parse_args()
    rows = list(measured(arguments))
    result = {"rows": rows, "environment": environment(**vars(arguments))}
    report(result, rows, arguments.json)


def recipes(kind: str, dim: int) -> dict[str, Recipe]:
    """The presets, and what Qdrant has of its own."""
    if kind == "texts":
        presets = {name: Recipe(tokens=Tokens(dim=dim, preset=name)) for name in PRESETS}
        return {
            "float32": Recipe(tokens=_matrix(dim, models.Datatype.FLOAT32)),
            "float16": Recipe(tokens=_matrix(dim, models.Datatype.FLOAT16)),
            "turbo4": Recipe(tokens=_matrix(dim, models.Datatype.TURBO4)),
            **presets,
        }
    scalar = models.ScalarQuantization(scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8))
    binary = models.BinaryQuantization(binary=models.BinaryQuantizationConfig(always_ram=True))
    presets = {name: Recipe(dense=Dense(dim=dim, preset=name)) for name in PRESETS}
    return {
        "float32": Recipe(dense=Dense(dim=dim)),
        "float16": Recipe(dense=Dense(dim=dim, datatype=models.Datatype.FLOAT16)),
        "int8": Recipe(dense=Dense(dim=dim, quantization=scalar, on_disk=True)),
        "binary, rescored": Recipe(
            dense=Dense(dim=dim, quantization=binary, on_disk=True), rerank=Rerank(oversampling=4.0)
        ),
        **presets,
    }


def _matrix(dim: int, datatype: models.Datatype) -> Tokens:
    return Tokens(
        dim=dim, encoding=None, codes=None, multivector=Multivector(datatype=datatype, on_disk=None)
    )


def measured(options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    for data in collections(options):
        for kind in options.kinds:
            documents, queries = data.vectors(kind)
            if documents is None:
                continue
            exact = top(_exact_scores(kind, documents, queries), K)
            for name, recipe in recipes(kind, data.documents.dim).items():
                if options.only and options.only not in name:
                    continue
                for engine_name in options.engines:
                    with ExitStack() as stack:
                        row = _row(_engine(engine_name, stack), recipe, documents, queries, exact, data)
                    if row is not None:
                        row = {
                            "data": data.name,
                            "kind": kind,
                            "row": name,
                            "ours": name in PRESETS,
                            "engine": engine_name,
                            **row,
                        }
                        print(json.dumps(row), file=sys.stderr, flush=True)
                        yield row


def _row(
    engine: Engine, recipe: Recipe, documents: Any, queries: Any, exact: NDArray[np.int64], data: Data
) -> dict[str, Any] | None:
    """Figures of a recipe; None where the engine cannot serve it."""
    try:
        check_recipe(recipe, run(engine, capabilities_steps(engine)))
    except CapabilityError:
        return None
    argument = "dense" if recipe.tokens is None else "tokens"
    collection = Collection.create("benchmark", recipe, engine)
    started = time.perf_counter()
    collection.add(range(len(documents)), **{argument: documents})
    collection.optimize()
    added = time.perf_counter() - started
    found = np.full((len(queries), K), -1, dtype=np.int64)
    seconds = np.full(len(queries), np.inf)
    with single_blas_thread():
        for _ in range(ROUNDS):
            for i in range(len(queries)):
                begun = time.perf_counter()
                hits = collection.search(**{argument: queries[i]}, limit=K, with_payload=False)
                seconds[i] = min(seconds[i], time.perf_counter() - begun)
                found[i, : len(hits)] = [hit.id for hit in hits]
    info = collection.info()
    size = info.document_bytes
    assert size is not None
    # ``size.float32`` follows from a sample of documents; here all are at hand.
    values = documents.values if isinstance(documents, TokenBatch) else documents
    plain = values.nbytes / len(documents)
    return {
        "memory_bytes": size.memory,
        "disk_bytes": size.disk,
        "learned_mb": info.state_bytes / 1e6,
        **{
            f"disk_bytes_{name}": size.disk - size.learned + info.state_bytes / points
            for name, points in SIZES.items()
        },
        "share_of_float32": size.disk / plain,
        "recall_at_10": overlap(found, exact),
        "ndcg_at_10": None if data.judged is None else ndcg(found, *data.judged),
        **percentiles_ms(seconds.tolist()),
        "add_s": added,
    }


def collections(options: argparse.Namespace) -> Iterator[Data]:
    """The collections at ``--data``, or the docstrings of the standard library."""
    if not options.data:
        texts = stdlib_docstrings()
        documents = encoded_texts("docstrings", [text.text for text in texts])
        queries = encoded_texts("docstring-queries", [text.query for text in texts[::5]])
        chosen = queries.take(_spread(len(queries), options.queries)).to_float32()
        kept = documents.take(_spread(len(documents), options.documents)).to_float32()
        yield Data("docstrings", kept, chosen)
    for folder in options.data:
        data = load(folder)
        inhabited = np.flatnonzero(data.documents.lengths)
        rows = inhabited[_spread(len(inhabited), options.documents)]
        ids = [data.beir.document_ids[row] for row in rows]
        # A query without a relevant document in the part that is stored has no nDCG.
        answered = [
            row
            for row, query in enumerate(data.beir.query_ids)
            if not {*ids}.isdisjoint(data.beir.qrels[query])
        ]
        chosen_rows = np.asarray(answered)[_spread(len(answered), options.queries)]
        yield Data(
            data.beir.name,
            data.documents.take(rows).to_float32(),
            data.queries.take(chosen_rows).to_float32(),
            data.document_sentences[rows],
            data.query_sentences[chosen_rows],
            ([data.beir.query_ids[row] for row in chosen_rows], ids, data.beir.qrels),
        )


def _exact_scores(kind: str, documents: Any, queries: Any) -> NDArray[Any]:
    return maxsim_scores(queries, documents) if kind == "texts" else np.asarray(queries @ documents.T)


def _spread(count: int, most: int) -> NDArray[np.int64]:
    return np.linspace(0, count - 1, min(count, most)).astype(np.int64)


def _engine(name: str, stack: ExitStack) -> Engine:
    folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="embplug-defaults-")))
    if name == "edge":
        return stack.enter_context(closing(connect(folder)))
    url, grpc_port, _ = stack.enter_context(server_in(folder))
    return stack.enter_context(closing(connect(url, grpc_port=grpc_port, timeout=600)))


if __name__ == "__main__":
    main()
