"""Migrations in processes of their own that are killed at given moments; run as ``python -m``.

Each child is forked from a process that has imported everything and opened nothing, so that a kill hits the
work and not the start of Python. Prints one JSON object: what became of each, and the report of the last run.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from typing import Any

from embplug import connect, migrate
from embplug.migration import reader, record, verify
from tests.integration.sources import RECIPE


def main() -> None:
    url, grpc_port, target, alias, *moments = sys.argv[1:]
    killed = []
    for moment in map(float, moments):
        child = os.fork()
        if child == 0:
            _migrate(url, int(grpc_port), target, alias or None)
            os._exit(0)
        time.sleep(moment)
        os.kill(child, signal.SIGKILL)
        _, status = os.waitpid(child, 0)
        killed.append(os.WIFSIGNALED(status))
    started = time.monotonic()
    report = _migrate(url, int(grpc_port), target, alias or None)
    print(json.dumps({"killed": killed, "seconds": time.monotonic() - started, "report": report}))


def _migrate(url: str, grpc_port: int, target: str, alias: str | None) -> dict[str, Any]:
    reader.PAGE_POINTS = 100
    record.SHORTEST_INTERVAL_S, record.SHARE_OF_TIME = 0.05, 0.3
    verify.SAMPLED_QUERIES = 20
    client = connect(url, grpc_port=grpc_port)
    return migrate("source", target, RECIPE, client, alias=alias, progress=False).to_dict()


if __name__ == "__main__":
    main()
