"""Searches a second of several clients at once, and the processor time of one: one vector beside codes.

Clients are threads of one process that share a collection, as in an application. ``--processes`` adds rows
of a process for each client, as web workers are, on servers. A row is written to stderr as soon as it is
measured.
"""

from __future__ import annotations

import argparse
import json
import multiprocessing
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from dataclasses import replace
from multiprocessing.synchronize import Barrier
from pathlib import Path
from typing import Any

from _beir import EncodedBeir, load
from _contestants import OURS, SINGLE, Contestant, contestants, filled, options_of, sizes
from _harness import environment, report
from qdrant_client import QdrantClient

from embplug import Collection, connect

WARM_QUERIES = 20
STARTED_WITHIN_S = 300


def main() -> None:
    options = options_of((__doc__ or "").splitlines()[0], [OURS])
    options.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16])
    options.add_argument("--processes", action="store_true", help="add rows of a process for each client")
    options.add_argument("--seconds", type=float, default=3.0, help="of each turn")
    options.add_argument("--turns", type=int, default=3, help="the best one counts")
    arguments = options.parse_args()
    data = load(arguments.data)
    rows = list(measured(data, arguments))
    result = {"rows": rows, "environment": environment(**sizes(data, arguments))}
    report(result, rows, arguments.json)


def measured(data: EncodedBeir, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Rows of each contestant and engine: those of a single vector, then those that are compared with it."""
    named = contestants(data.documents.dim, options)
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="embplug-throughput-")))
        beside = stack.enter_context(filled(named[SINGLE], data, options.engines, folder / SINGLE))
        for key in [row for row in options.rows if row != SINGLE]:
            with ExitStack() as own, tempfile.TemporaryDirectory(prefix="embplug-throughput-") as place:
                collections = own.enter_context(filled(named[key], data, options.engines, Path(place)))
                for engine, (collection, _, server) in collections.items():
                    pair = {
                        SINGLE: (beside[engine][0], beside[engine][2]),
                        key: (collection, server),
                    }
                    for clients in options.clients:
                        for row in _compared(pair, named, data, clients, options):
                            row = {"engine": engine, **row}
                            print(json.dumps(row), file=sys.stderr, flush=True)
                            yield row


def _compared(
    pair: dict[str, tuple[Collection, int | None]],
    named: dict[str, Contestant],
    data: EncodedBeir,
    clients: int,
    options: argparse.Namespace,
) -> Iterator[dict[str, Any]]:
    """The best turn of both; turns alternate, so that a busy machine slows both."""
    best: dict[tuple[str, str], dict[str, float]] = {}
    for _ in range(options.turns):
        for key, (collection, server) in pair.items():
            turns = {"threads": loaded(named[key], collection, data, clients, options.seconds, server)}
            if options.processes and server is not None:
                turns["processes"] = _in_processes(key, collection, data, clients, options, server)
            for kind, turn in turns.items():
                before = best.get((kind, key))
                if before is None or turn["searches_per_s"] > before["searches_per_s"]:
                    best[kind, key] = turn
    for (kind, key), turn in best.items():
        yield {
            "row": key,
            "method": named[key].name,
            "clients": clients,
            "clients_are": kind,
            **turn,
            "share_of_single": turn["searches_per_s"] / best[kind, SINGLE]["searches_per_s"],
        }


def loaded(
    contestant: Contestant,
    collection: Collection,
    data: EncodedBeir,
    clients: int,
    seconds: float,
    server: int | None,
) -> dict[str, float]:
    """Searches a second of all clients together, and seconds of the processor for one search."""
    _warm(contestant, collection, data)
    counts = [0] * clients
    start = threading.Barrier(clients + 1)
    deadline = [0.0]

    def client(number: int) -> None:
        start.wait()
        first = number * len(data.queries) // clients
        counts[number] = _searched(contestant, collection, data, first, deadline[0])

    threads = [threading.Thread(target=client, args=(number,)) for number in range(clients)]
    for thread in threads:
        thread.start()
    own, served, started = time.process_time(), _processor_seconds(server), time.perf_counter()
    deadline[0] = started + seconds
    start.wait()
    for thread in threads:
        thread.join()
    elapsed, searches = time.perf_counter() - started, sum(counts)
    return {
        "searches_per_s": searches / elapsed,
        "client_ms_per_search": 1e3 * (time.process_time() - own) / searches,
        "server_ms_per_search": 1e3 * (_processor_seconds(server) - served) / searches,
    }


def _in_processes(
    key: str,
    collection: Collection,
    data: EncodedBeir,
    clients: int,
    options: argparse.Namespace,
    server: int,
) -> dict[str, float]:
    """As :func:`loaded`, by a process for each client."""
    spawned = multiprocessing.get_context("spawn")
    # A process that fails would be waited for without end.
    start, results = spawned.Barrier(clients + 1, timeout=STARTED_WITHIN_S), spawned.Queue()
    assert isinstance(collection.engine, QdrantClient)
    connection = dict(collection.engine.init_options)
    # A client knows the queries alone.
    queries = replace(data, documents=data.documents[:1], document_sentences=data.document_sentences[:1])
    common = key, connection, queries, options, clients
    processes = [
        spawned.Process(target=_process, args=(*common, number, start, results)) for number in range(clients)
    ]
    for process in processes:
        process.start()
    start.wait()
    served = _processor_seconds(server)
    turns = [results.get(timeout=STARTED_WITHIN_S) for _ in processes]
    served = _processor_seconds(server) - served
    for process in processes:
        process.join()
    searches = sum(count for count, _, _ in turns)
    return {
        "searches_per_s": sum(count / elapsed for count, elapsed, _ in turns),
        "client_ms_per_search": 1e3 * sum(own for _, _, own in turns) / searches,
        "server_ms_per_search": 1e3 * served / searches,
    }


def _process(
    key: str,
    connection: dict[str, Any],
    data: EncodedBeir,
    options: argparse.Namespace,
    clients: int,
    number: int,
    start: Barrier,
    results: Any,
) -> None:
    """One client: its searches, the seconds that they took, and those of the processor."""
    contestant = contestants(data.documents.dim, options)[key]
    # A client keeps an address without a keyword as its location.
    url = connection["url"] or connection["location"]
    if connection["prefer_grpc"]:
        engine = connect(url, grpc_port=connection["grpc_port"])
    else:
        engine = QdrantClient(url, prefer_grpc=False, check_compatibility=False)
    collection = Collection.open("docs", engine)
    _warm(contestant, collection, data)
    first = number * len(data.queries) // clients
    start.wait()
    own, began = time.process_time(), time.perf_counter()
    searches = _searched(contestant, collection, data, first, began + options.seconds)
    results.put((searches, time.perf_counter() - began, time.process_time() - own))


def _warm(contestant: Contestant, collection: Collection, data: EncodedBeir) -> None:
    """The first searches, which also load files and open connections."""
    for row in range(WARM_QUERIES):
        contestant.search(collection, data, row % len(data.queries))


def _searched(
    contestant: Contestant, collection: Collection, data: EncodedBeir, first: int, deadline: float
) -> int:
    """How many searches a client makes until ``deadline``, from the query ``first`` on."""
    searches = 0
    while time.perf_counter() < deadline:
        contestant.search(collection, data, (first + searches) % len(data.queries))
        searches += 1
    return searches


def _processor_seconds(process: int | None) -> float:
    """Processor time of a process so far; 0 without one."""
    if process is None:
        return 0.0
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
