"""MaxSim in this process on one core: 32 query tokens against documents of 175 tokens of 384 dimensions.

Each kind of code is a share of the time of exact float32 MaxSim in the same run. ``--float32`` adds rows that
look up exact products (``EMBPLUG_KERNEL_TABLES=float32``), ``--numpy`` rows without the compiled kernel, and
``--only`` leaves out all kinds of codes whose name does not contain a text.

Beside it Qdrant's own MaxSim over the same float32 matrices, in memory, on all its threads: on a server, and
in this process by Edge; ``--engines`` adds them.
"""

from __future__ import annotations

import itertools
import os
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import Any
from unittest.mock import patch

import numpy as np
from _harness import best_seconds, environment, on_one_core, parser, report
from qdrant_client import models
from threadpoolctl import threadpool_limits

from embplug import Collection, Multivector, Recipe, Tokens, connect
from embplug.engines import EdgeClient, Engine
from embplug.methods import (
    BinaryQuantizer,
    BitAllocationQuantizer,
    CentroidQuantizer,
    PredictiveQuantizer,
    ResidualQuantizer,
)
from embplug.methods.kernels import in_use
from embplug.methods.maxsim import maxsim
from embplug.methods.token_batch import TokenBatch
from embplug.methods.token_codes.token_coder import TokenCoder
from tests.servers import qdrant_server

QUERY_TOKENS, TOKENS, DIM = 32, 175, 384
ROUNDS = 7


def main() -> None:
    arguments = parser(__doc__ or "")
    arguments.add_argument("--documents", type=int, nargs="+", default=[200, 1000])
    arguments.add_argument("--engines", action="store_true", help="add rows of Qdrant's own MaxSim")
    arguments.add_argument("--numpy", action="store_true", help="add rows without the compiled kernel")
    arguments.add_argument("--float32", action="store_true", help="add rows that look up exact products")
    arguments.add_argument("--only", help="only codes whose name contains this")
    options = arguments.parse_args()
    settings: dict[str, dict[str, str]] = {"": {}}
    if options.float32:
        settings["float32"] = {"EMBPLUG_KERNEL_TABLES": "float32"}
    if options.numpy:
        settings["numpy"] = {"EMBPLUG_KERNEL": "0"}
    generator = np.random.default_rng(0)
    query = _unit(generator.normal(size=(QUERY_TOKENS, DIM)))
    sample = TokenBatch.from_list([_unit(generator.normal(size=(TOKENS, DIM))) for _ in range(60)])
    coders = {
        "centroid ids, 256": TokenCoder(CentroidQuantizer(count=256), 0),
        "binary, 48 B": TokenCoder(BinaryQuantizer(), 0),
        "binary, 48 B, int8 queries": TokenCoder(BinaryQuantizer(queries="int8"), 0),
        "bits by variance, 16 B": TokenCoder(BitAllocationQuantizer(size=16, levels="scalar"), 0),
        "bits by variance, 48 B": TokenCoder(BitAllocationQuantizer(size=48, levels="scalar"), 0),
        "residual 16 B, corrected": TokenCoder(ResidualQuantizer(size=16, levels="scalar"), 48),
        "residual 48 B, corrected": TokenCoder(ResidualQuantizer(size=48, levels="scalar"), 48),
        "residual 96 B, corrected": TokenCoder(ResidualQuantizer(size=96, levels="scalar"), 48),
        "predictive 16 B, corrected": TokenCoder(PredictiveQuantizer(size=16, levels="scalar"), 48),
        "predictive 48 B, corrected": TokenCoder(PredictiveQuantizer(size=48, levels="scalar"), 48),
        "predictive 96 B, corrected": TokenCoder(PredictiveQuantizer(size=96, levels="scalar"), 48),
    }
    coders = {name: coder for name, coder in coders.items() if (options.only or "") in name}
    for coder in coders.values():
        coder.fit(sample)
    rows = []
    result: dict[str, dict[str, float]] = {}
    with threadpool_limits(1), on_one_core(), ExitStack() as stack:
        started = _engines().items() if options.engines else ()
        engines = {name: stack.enter_context(engine) for name, engine in started}
        for count in options.documents:
            values = np.tile(sample.values, (-(-count // len(sample)), 1))[: count * TOKENS]
            documents = TokenBatch(values, np.arange(count + 1) * TOKENS)
            contestants = {
                "bare GEMM": lambda values=values: values @ query.T,
                "exact float32": lambda documents=documents: maxsim(query, documents),
            }
            for name, coder in coders.items():
                strings = (coder.encode(sample) * (-(-count // len(sample))))[:count]
                for setting, variables in settings.items():
                    contestants[f"{name}; {setting}" if setting else name] = _scores(
                        coder, query, strings, variables
                    )
            contestants |= {
                f"{name}, float32": _in_engine(engine, documents, query) for name, engine in engines.items()
            }
            seconds = best_seconds(contestants, ROUNDS)
            result[str(count)] = {name: 1e3 * best for name, best in seconds.items()}
            rows += [
                {
                    "documents": count,
                    "method": name,
                    "ms": 1e3 * best,
                    "share of exact": best / seconds["exact float32"],
                }
                for name, best in seconds.items()
            ]
    report(
        {
            "milliseconds": result,
            "share of exact": {
                count: {name: ms / times["exact float32"] for name, ms in times.items()}
                for count, times in result.items()
            },
            "kernel": in_use(),
            "environment": environment(rounds=ROUNDS, dim=DIM),
        },
        rows,
        options.json,
    )


def _scores(
    coder: TokenCoder, query: np.ndarray, strings: list[bytes], variables: dict[str, str]
) -> Callable[[], object]:
    """Scores of all strings, with environment variables set."""
    # Centroids keep the products of the last query: no call has the query of the call before.
    queries = itertools.cycle([query, query[::-1].copy()])
    if not variables:
        return lambda: coder.score(next(queries), strings)

    def run() -> object:
        with patch.dict(os.environ, variables):
            return coder.score(next(queries), strings)

    return run


def _engines() -> dict[str, Any]:
    return {"Qdrant server": _server(), "Qdrant Edge": _edge()}


@contextmanager
def _server() -> Iterator[Engine]:
    with qdrant_server() as (url, grpc_port):
        client = connect(url, grpc_port=grpc_port)
        yield client
        client.close()


@contextmanager
def _edge() -> Iterator[Engine]:
    with tempfile.TemporaryDirectory() as folder, EdgeClient(folder) as client:
        yield client


def _in_engine(engine: Engine, documents: TokenBatch, query: np.ndarray) -> Callable[[], object]:
    """A search that compares the query with every document in the engine."""
    matrix = Multivector(datatype=models.Datatype.FLOAT32, on_disk=False)
    recipe = Recipe(tokens=Tokens(dim=DIM, encoding=None, multivector=matrix, codes=None))
    collection = Collection.create(f"documents-{len(documents)}", recipe, engine)
    collection.add(range(len(documents)), tokens=documents)
    collection.optimize()
    return lambda: collection.search(tokens=query, limit=10, exact=True, with_payload=False)


def _unit(vectors: np.ndarray) -> np.ndarray:
    return (vectors / np.linalg.norm(vectors, axis=1, keepdims=True)).astype(np.float32)


if __name__ == "__main__":
    main()
