"""Eight workers that create, open, learn, add, search, upgrade and drop one collection at once.

``python -m tests.engines_real.races ROUNDS SEED ADDRESS...`` prints one JSON object. An address is the folder
of a Qdrant Edge, whose workers are threads, or URL and gRPC port of a node: ``http://127.0.0.1:6333,6334``.
Processes are forked from one that has imported everything and opened nothing.
"""

from __future__ import annotations

import json
import multiprocessing
import sys
import threading
import time
import traceback
import warnings
from collections import Counter
from typing import Any

import numpy as np

from embplug import Collection, Dense, Query, Recipe, connect, upgrade
from embplug.errors import (
    CollectionNotFoundError,
    EmbplugError,
    InvalidArgumentError,
    NotFittedError,
    UpgradeError,
)
from embplug.methods import PCA
from tests.lifecycle.test_upgrade import DIM, TEXTS

WORKERS = 8
DOCUMENTS = 160
BATCH = 5
# A document is its own best hit, whatever the state was learned from.
RECIPE = Recipe(
    dense=Dense(dim=DIM, transforms=[PCA(DIM, center="both", normalize=True)]),
    encoder="tests-old",
    fit_sample=20,
)
EXPECTED = {
    "create": (),
    "add": (CollectionNotFoundError,),
    "search": (CollectionNotFoundError, NotFittedError),
    "upgrade": (CollectionNotFoundError, UpgradeError, InvalidArgumentError),
    "drop": (CollectionNotFoundError,),
}
"""Errors that one operation may meet because of another; all else is a failure."""


def main() -> None:
    """Run as many rounds as the command line says, and print what became of them."""
    rounds, seed, addresses = int(sys.argv[1]), int(sys.argv[2]), sys.argv[3:]
    print(json.dumps(race(rounds, seed, addresses)))


def race(rounds: int, seed: int, addresses: list[str]) -> dict[str, Any]:
    """Run the rounds; returns errors by operation, failures, and the documents that were not found."""
    edge = not addresses[0].startswith("http")
    context: Any = threading if edge else multiprocessing.get_context("fork")
    barrier = context.Barrier(WORKERS + 1)
    results: Any = _Queue() if edge else context.Queue()
    shared = connect(addresses[0]) if edge else None
    make = context.Thread if edge else context.Process
    workers = [
        make(target=_work, args=(i, rounds, seed, addresses, shared, barrier, results), daemon=True)
        for i in range(WORKERS)
    ]
    for worker in workers:
        worker.start()
    missing: list[str] = []
    seconds: list[float] = []
    for _ in range(rounds):
        barrier.wait(600)
        started = time.monotonic()
        barrier.wait(600)
        barrier.wait(600)
        seconds.append(round(time.monotonic() - started, 2))
        barrier.wait(600)
        print(f"round {len(seconds)} of {rounds}: {seconds[-1]} s", file=sys.stderr)
    outcomes: Counter[str] = Counter()
    failures = []
    for _ in workers:
        own = results.get(timeout=600)
        outcomes.update(own["outcomes"])
        failures += own["failures"]
        missing += own["missing"]
    for worker in workers:
        worker.join(60)
    if shared is not None:
        shared.close()
    return {
        "rounds": rounds,
        "seconds": seconds,
        "outcomes": dict(sorted(outcomes.items())),
        "failures": failures[:10],
        "missing": missing[:10],
    }


class _Queue:
    def __init__(self) -> None:
        self._items: list[Any] = []

    def put(self, item: Any) -> None:
        self._items.append(item)

    def get(self, timeout: float) -> Any:
        deadline = time.monotonic() + timeout
        while not self._items and time.monotonic() < deadline:
            time.sleep(0.01)
        return self._items.pop()


class _Worker:
    def __init__(self, number: int, seed: int, client: Any) -> None:
        self.number = number
        self.random = np.random.default_rng((seed, number))
        self.client = client
        self.outcomes: Counter[str] = Counter()
        self.failures: list[str] = []
        self.missing: list[str] = []
        self.rows = [*range(number, DOCUMENTS, WORKERS)]
        self.name = ""
        self.collection: Any = None

    def do(self, operation: str, work: Any) -> Any:
        """Result of an operation, or None after an error that another operation explains."""
        try:
            result = work()
        except EXPECTED[operation] as error:
            self.outcomes[f"{operation}: {type(error).__name__}"] += 1
            return None
        except Exception as error:
            kind = "typed" if isinstance(error, EmbplugError) else "untyped"
            self.failures.append(f"{operation}: {kind} {traceback.format_exc()[-700:]}")
            return None
        self.outcomes[operation] += 1
        return result

    def create(self) -> None:
        """Create or open the collection."""
        created = self.do("create", lambda: Collection.create(self.name, RECIPE, self.client))
        self.collection = created or self.collection

    def add(self, rows: list[int]) -> None:
        """Add documents, and create the collection once more if it was dropped meanwhile."""
        for _ in range(20):
            if self.do("add", lambda: self.collection.add(rows, texts=[TEXTS[i] for i in rows])):
                return
            self.create()

    def compete(self, upgrades: bool, drops: bool) -> None:
        """One part of a round, in which everything happens at once."""
        self.create()
        batches = [self.rows[i : i + BATCH] for i in range(0, len(self.rows), BATCH)]
        turn = int(self.random.integers(len(batches)))
        for i, rows in enumerate(batches):
            self.add(rows)
            self.do("search", lambda rows=rows: self.collection.search(text=TEXTS[rows[0]]))
            # An upgrade needs some documents.
            if i == len(batches) - 1 and upgrades:
                options = {"pairs": 50, "k": 3, "min_recall": 0.0, "progress": False}
                self.do("upgrade", lambda options=options: upgrade(self.collection, "tests-new", **options))
            if i == turn and drops:
                self.do("drop", self.collection.drop)

    def check(self) -> None:
        """All documents are found by the object that was open all the while, and by a new one."""
        for collection in (self.collection, Collection.open(self.name, self.client)):
            queries = [Query(text=text) for text in TEXTS[:DOCUMENTS]]
            for row, best in enumerate(collection.batch_search(queries, limit=1)):
                if [hit.id for hit in best] != [row]:
                    self.missing.append(f"{self.name}: {row} for worker {self.number}: {best}")


def _work(
    number: int, rounds: int, seed: int, addresses: list[str], shared: Any, barrier: Any, results: Any
) -> None:
    warnings.simplefilter("ignore")
    client = shared
    if client is None:
        url, port = addresses[number % len(addresses)].split(",")
        client = connect(url, grpc_port=int(port))
    worker = _Worker(number, seed, client)
    for i in range(rounds):
        worker.name = f"race-{i}"
        barrier.wait(600)
        worker.compete(upgrades=number in (3, 4), drops=number == i % WORKERS)
        barrier.wait(600)
        # What was added before the collection was dropped is added once more, and nobody drops it now.
        worker.add(worker.rows)
        barrier.wait(600)
        try:
            worker.check()
        except Exception:
            worker.failures.append(f"check: {traceback.format_exc()[-700:]}")
        barrier.wait(600)
    results.put({"outcomes": worker.outcomes, "failures": worker.failures, "missing": worker.missing})


if __name__ == "__main__":
    main()
