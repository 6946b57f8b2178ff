"""Searches a second of several clients at once, and the processor time of one: one vector beside codes.

Clients are threads of one process that share a collection, as in an application. A row is written to
stderr as soon as it is measured.
"""

from __future__ import annotations

import argparse
import json
import os
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from _beir import EncodedBeir, load
from _contestants import ENGINES, OURS, SINGLE, Contestant, contestants, filled
from _harness import environment, parser, report

from embplug import Collection
from embplug.methods.kernels import in_use

WARM_QUERIES = 20


def main() -> None:
    names = [*contestants(dim=1, candidates=1, code_bytes=8, document_bytes=2)]
    options = parser((__doc__ or "").splitlines()[0])
    options.add_argument("--data", required=True, help="folder of a collection in BEIR format")
    options.add_argument("--rows", nargs="+", choices=names, default=[OURS], help=f"beside {SINGLE}")
    options.add_argument("--engines", nargs="+", choices=ENGINES, default=[*ENGINES])
    options.add_argument("--clients", type=int, nargs="+", default=[1, 4, 16])
    options.add_argument("--seconds", type=float, default=3.0, help="of each turn")
    options.add_argument("--turns", type=int, default=3, help="the best one counts")
    options.add_argument("--candidates", type=int, default=100, help="documents that are ranked again")
    options.add_argument("--code-bytes", type=int, default=13, help="of a token")
    options.add_argument("--document-bytes", type=int, default=96, help="of the correction of a document")
    arguments = options.parse_args()
    data = load(arguments.data)
    rows = list(measured(data, arguments))
    result = {
        "rows": rows,
        "scored_by": in_use(),
        "environment": environment(
            data=data.beir.name,
            documents=len(data.documents),
            tokens=len(data.documents.values),
            candidates=arguments.candidates,
            code_bytes=arguments.code_bytes,
            document_bytes=arguments.document_bytes,
        ),
    }
    report(result, rows, arguments.json)


def measured(data: EncodedBeir, options: argparse.Namespace) -> Iterator[dict[str, Any]]:
    """Rows of each contestant and engine: those of a single vector, then those that are compared with it."""
    named = contestants(data.documents.dim, options.candidates, options.code_bytes, options.document_bytes)
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
    best: dict[str, dict[str, float]] = {}
    for _ in range(options.turns):
        for key, (collection, server) in pair.items():
            turn = loaded(named[key], collection, data, clients, options.seconds, server)
            if key not in best or turn["searches_per_s"] > best[key]["searches_per_s"]:
                best[key] = turn
    for key, turn in best.items():
        yield {
            "row": key,
            "method": named[key].name,
            "clients": clients,
            **turn,
            "share_of_single": turn["searches_per_s"] / best[SINGLE]["searches_per_s"],
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
    for row in range(WARM_QUERIES):
        contestant.search(collection, data, row % len(data.queries))
    counts = [0] * clients
    start = threading.Barrier(clients + 1)
    deadline = [0.0]

    def client(number: int) -> None:
        start.wait()
        row = number * len(data.queries) // clients
        while time.perf_counter() < deadline[0]:
            contestant.search(collection, data, row % len(data.queries))
            counts[number] += 1
            row += 1

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


def _processor_seconds(process: int | None) -> float:
    """Processor time of a process so far; 0 without one."""
    if process is None:
        return 0.0
    fields = Path(f"/proc/{process}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


if __name__ == "__main__":
    main()
