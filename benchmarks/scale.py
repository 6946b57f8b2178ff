"""What a collection costs as it grows: bytes, ingest, latency and recall at 10,000 to 1,000,000 documents.

``score_share`` is the exact MaxSim of what was found as a share of that of the best: many passages hold the
same run of real tokens, so that the noise decides which ids are best.

Documents are streamed: short passages of real token vectors with a little noise, made block by block, so that
the script never holds more than one block. What was measured stays in ``--folder``: a run that was stopped
goes on where it stopped. Ten and a hundred million documents are computed by the formulas of
``embplug.branches.sizing``.
"""

from __future__ import annotations

import argparse
import json
import shutil
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
from _beir import load
from _harness import environment, parser, report
from _metrics import overlap
from numpy.typing import NDArray
from qdrant_client import models
from sizing import resident

from embplug import Collection, Dense, Documents, Fusion, Recipe, Rerank, Sample, Tokens, connect
from embplug.branches.sizing import cost, expected_parts
from embplug.engines import Engine
from embplug.engines.edge.store import bytes_on_disk
from embplug.evaluation.exact import maxsim_scores
from embplug.methods import BitAllocationQuantizer
from embplug.methods.numeric.rows import unit_rows
from embplug.methods.token_batch import TokenBatch
from tests.servers import server_in

K = 10
NOISE = 0.1
RUN = 8
"""Consecutive tokens of one real document: a passage is several such runs."""
BLOCK = 1000
BLOCKS_A_CALL = 50
"""Blocks that are added before progress is written down."""
FIT_DOCUMENTS = 2000
WARM_SEARCHES = 20
NAME = "scale"
INT8 = models.ScalarQuantization(
    scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8, always_ram=True)
)


def main() -> None:
    options = parser((__doc__ or "").splitlines()[0])
    options.add_argument(
        "--data", nargs="+", required=True, help="BEIR folders whose token vectors are taken"
    )
    options.add_argument("--documents", type=int, nargs="+", default=[10_000, 100_000, 1_000_000])
    options.add_argument("--predicted", type=int, nargs="*", default=[10_000_000, 100_000_000])
    options.add_argument("--tokens", type=int, default=24, help="of a document")
    options.add_argument("--code-bytes", type=int, default=16, help="of a token")
    options.add_argument("--candidates", type=int, default=200)
    options.add_argument("--searches", type=int, default=300, help="that are timed")
    options.add_argument("--queries", type=int, default=50, help="that are compared with exact MaxSim")
    options.add_argument("--node-gb", type=float, default=16, help="memory of a node of the cluster")
    options.add_argument("--folder", type=Path, default=Path(".cache/scale"))
    options.add_argument("--again", action="store_true", help="forget what an earlier run has measured")
    arguments = options.parse_args()
    if arguments.again:
        shutil.rmtree(arguments.folder, ignore_errors=True)
    arguments.folder.mkdir(parents=True, exist_ok=True)
    source = Source.read(arguments.data, arguments.tokens)
    rows = [measured(size, source, arguments) for size in sorted(arguments.documents)]
    last = rows[-1]
    rows += [
        predicted(size, arguments, last["state_mb"], source.dim)
        for size in (*arguments.documents, *arguments.predicted)
    ]
    result = {
        "rows": rows,
        "environment": environment(
            data=source.name, tokens=arguments.tokens, candidates=arguments.candidates, noise=NOISE
        ),
    }
    report(result, rows, arguments.json)


@dataclass(frozen=True, eq=False)
class Source:
    """Real token matrices, of which passages are made.

    Attributes
    ----------
    name : str
        Names of the collections.
    real : TokenBatch
        Matrices of at least ``RUN`` tokens.
    queries : list of float32 (t, dim)
        Real queries.
    tokens : int
        Tokens of a passage.
    """

    name: str
    real: TokenBatch
    queries: list[NDArray[np.float32]]
    tokens: int

    @classmethod
    def read(cls, folders: list[str], tokens: int) -> Source:
        """Documents and queries of all folders, the queries in random order."""
        collections = [load(folder) for folder in folders]
        real = TokenBatch.concat([collection.documents for collection in collections])
        queries = TokenBatch.concat([collection.queries for collection in collections])
        inhabited = np.random.default_rng(0).permutation(np.flatnonzero(queries.lengths))
        return cls(
            " and ".join(collection.beir.name for collection in collections),
            real.take(np.flatnonzero(real.lengths >= RUN)),
            [queries[int(row)].astype(np.float32) for row in inhabited],
            tokens,
        )

    @property
    def dim(self) -> int:
        """Dimension of a token."""
        return self.real.dim

    def block(self, number: int) -> TokenBatch:
        """The passages of one block, which are the same in every run."""
        rng = np.random.default_rng(np.random.SeedSequence(0, spawn_key=(number,)))
        runs = -(-self.tokens // RUN)
        documents = rng.integers(len(self.real), size=(BLOCK, runs))
        lengths = self.real.lengths[documents]
        starts = self.real.offsets[documents] + (rng.random((BLOCK, runs)) * (lengths - RUN + 1)).astype(
            np.int64
        )
        rows = (starts[:, :, None] + np.arange(RUN)).reshape(BLOCK, -1)[:, : self.tokens].ravel()
        values = self.real.values[rows].astype(np.float32)
        values += rng.standard_normal(values.shape, dtype=np.float32) * np.float32(NOISE / np.sqrt(self.dim))
        return TokenBatch(unit_rows(values), np.arange(BLOCK + 1) * self.tokens)


@dataclass(eq=False)
class Progress:
    """What was added so far, and the best documents of some queries among it by exact MaxSim.

    Attributes
    ----------
    blocks : int
        Number of blocks that are in the collection.
    seconds : float
        Time that adding them took, without making them.
    scores, best : ndarray of shape (queries, K)
        Exact MaxSim and ids of the best documents.
    """

    file: Path
    queries: TokenBatch
    blocks: int = 0
    seconds: float = 0.0
    scores: NDArray[np.float32] = field(init=False)
    best: NDArray[np.int64] = field(init=False)

    def __post_init__(self) -> None:
        self.scores = np.full((len(self.queries), K), -np.inf, dtype=np.float32)
        self.best = np.full((len(self.queries), K), -1, dtype=np.int64)
        if self.file.exists():
            with np.load(self.file) as kept:
                self.blocks, self.seconds = int(kept["blocks"]), float(kept["seconds"])
                self.scores, self.best = kept["scores"], kept["best"]

    def compare(self, block: int, tokens: TokenBatch) -> None:
        """Keep the best documents of this block and those before."""
        scores = np.concatenate([self.scores, maxsim_scores(self.queries, tokens)], axis=1)
        ids = np.concatenate([self.best, np.tile(block * BLOCK + np.arange(BLOCK), (len(scores), 1))], axis=1)
        order = np.argsort(-scores, axis=1, kind="stable")[:, :K]
        self.scores = np.take_along_axis(scores, order, axis=1)
        self.best = np.take_along_axis(ids, order, axis=1)

    def save(self) -> None:
        """Write down what was done; a run that is stopped meanwhile keeps what was there before."""
        unfinished = self.file.with_suffix(".new.npz")
        np.savez(unfinished, blocks=self.blocks, seconds=self.seconds, scores=self.scores, best=self.best)
        unfinished.replace(self.file)


def measured(size: int, source: Source, options: argparse.Namespace) -> dict[str, Any]:
    """Row of one size, from the file of an earlier run if it is there."""
    file = options.folder / f"{size}.json"
    if file.exists():
        return json.loads(file.read_text())
    queries = TokenBatch.from_list(source.queries[: options.queries])
    progress = Progress(options.folder / "progress.npz", queries)
    if progress.blocks * BLOCK > size:
        raise SystemExit(f"{options.folder} has more than {size} documents already: pass --again")
    with serving(options.folder) as (engine, _):
        collection = Collection.create(NAME, recipe_of(source.dim, options), engine, sample=sample(source))
        fill(collection, source, progress, size // BLOCK)
        started = time.perf_counter()
        collection.optimize(timeout=6 * 3600)
        indexed = time.perf_counter() - started
        state_bytes = collection.info().state_bytes
    with serving(options.folder) as (engine, pid):
        collection = Collection.open(NAME, engine)
        collection.optimize(timeout=3600)
        seconds, best = searched(collection, source, options)
        memory = resident(pid, options.folder / "server")
        assert collection.count() == size
    stored = options.folder / "server" / "storage" / "collections" / NAME
    log = sum(bytes_on_disk(shard) for shard in stored.glob("*/wal"))
    disk = bytes_on_disk(stored) - log
    seconds.sort()
    row = {
        "documents": size,
        "kind": "measured",
        "added_per_s": size / progress.seconds,
        "index_s": indexed,
        **{
            f"p{percent}_ms": 1e3 * seconds[min(len(seconds) - 1, len(seconds) * percent // 100)]
            for percent in (50, 95, 99)
        },
        "recall_at_10": overlap(best, progress.best),
        "score_share": float(exact_scores(source, queries, best).sum() / progress.scores.sum()),
        "memory_mb": memory["anonymous"] / 1e6,
        "file_pages_mb": memory["files"] / 1e6,
        "disk_mb": disk / 1e6,
        "log_mb": log / 1e6,
        "disk_bytes_per_document": disk / size,
        "state_mb": state_bytes / 1e6,
        "nodes": 1,
    }
    file.write_text(json.dumps(row))
    print(json.dumps(row), file=sys.stderr, flush=True)
    return row


def predicted(size: int, options: argparse.Namespace, state_mb: float, dim: int) -> dict[str, Any]:
    """Row of a size by the formulas: memory and disk over all nodes."""
    recipe = recipe_of(dim, options)
    assert recipe.tokens is not None
    code_bytes = recipe.tokens.document_bytes + options.tokens * options.code_bytes
    parts = expected_parts(recipe, size, tokens_per_document=options.tokens, code_bytes=code_bytes)
    total = cost(parts, size, node_memory=1e9 * options.node_gb, state_bytes=int(1e6 * state_mb))
    return {
        "documents": size,
        "kind": "by formula",
        "memory_mb": total.memory / 1e6,
        "disk_mb": total.disk / 1e6,
        "disk_bytes_per_document": total.disk / size,
        "state_mb": state_mb,
        "nodes": total.nodes,
    }


def recipe_of(dim: int, options: argparse.Namespace) -> Recipe:
    """The mean of the tokens finds candidates, int8 in memory and float16 on disk; codes rank them."""
    return Recipe(
        dense=Dense(dim=dim, datatype=models.Datatype.FLOAT16, on_disk=True, quantization=INT8),
        tokens=Tokens(
            dim=dim, encoding=None, multivector=None, codes=BitAllocationQuantizer(size=options.code_bytes)
        ),
        fusion=Fusion(method="rrf"),
        rerank=Rerank(candidates=options.candidates),
    )


def sample(source: Source) -> Sample:
    """Passages to learn codes from, which are not those of the collection."""
    blocks = [source.block(1 << 40 | i) for i in range(FIT_DOCUMENTS // BLOCK)]
    tokens = TokenBatch.concat(blocks)
    return Sample(tokens=tokens, dense=means(tokens))


def means(tokens: TokenBatch) -> NDArray[np.float32]:
    """Means (n, dim) of the tokens of passages that are equally long."""
    return tokens.values.reshape(len(tokens), -1, tokens.dim).mean(axis=1)


def fill(collection: Collection, source: Source, progress: Progress, blocks: int) -> None:
    """Add the blocks that are missing, and write down how far it is every now and then."""
    while progress.blocks < blocks:
        last = min(progress.blocks + BLOCKS_A_CALL, blocks)
        making = 0.0

        def batches(first: int = progress.blocks, last: int = last) -> Iterator[Documents]:
            nonlocal making
            for block in range(first, last):
                started = time.perf_counter()
                tokens = source.block(block)
                progress.compare(block, tokens)
                ids = range(block * BLOCK, (block + 1) * BLOCK)
                documents = Documents(ids, tokens=tokens, dense=means(tokens))
                making += time.perf_counter() - started
                yield documents

        started = time.perf_counter()
        collection.add_batches(batches(), progress=False)
        progress.seconds += time.perf_counter() - started - making
        progress.blocks = last
        progress.save()
        rate = last * BLOCK / progress.seconds
        print(f"{last * BLOCK:,} documents, {rate:,.0f} a second", file=sys.stderr, flush=True)


def searched(
    collection: Collection, source: Source, options: argparse.Namespace
) -> tuple[list[float], NDArray[np.int64]]:
    """Seconds of each search, and what the first queries find."""
    queries = source.queries[: max(options.searches, options.queries)]
    best = np.full((options.queries, K), -2, dtype=np.int64)
    seconds = []
    for i, query in enumerate([*queries[:WARM_SEARCHES], *queries]):
        started = time.perf_counter()
        hits = collection.search(
            tokens=query, dense=query.mean(axis=0), branches=["tokens", "dense"], limit=K, with_payload=False
        )
        if i >= WARM_SEARCHES:
            seconds.append(time.perf_counter() - started)
            if i - WARM_SEARCHES < options.queries:
                best[i - WARM_SEARCHES, : len(hits)] = [hit.id for hit in hits]
    return seconds, best


def exact_scores(source: Source, queries: TokenBatch, ids: NDArray[np.int64]) -> NDArray[np.float32]:
    """Exact MaxSim (queries, K) of each query with the documents that were found for it; 0 where none was.

    Many passages share the run of tokens that a query looks for: which of them is best the noise decides, and
    the share of the best scores tells more than how many of the same ids were found.
    """
    scores = np.zeros(ids.shape, dtype=np.float32)
    for block in np.unique(ids[ids >= 0] // BLOCK):
        rows, columns = np.nonzero((ids >= 0) & (ids // BLOCK == block))
        documents, places = np.unique(ids[rows, columns] % BLOCK, return_inverse=True)
        some = source.block(int(block)).take(documents)
        scores[rows, columns] = maxsim_scores(queries, some)[rows, places]
    return scores


@contextmanager
def serving(folder: Path) -> Iterator[tuple[Engine, int]]:
    """A server that keeps its data in the folder, and its process id."""
    with (
        server_in(folder.resolve() / "server") as (url, grpc_port, pid),
        closing(connect(url, grpc_port=grpc_port, timeout=600)) as engine,
    ):
        yield engine, pid


if __name__ == "__main__":
    main()
