"""A migration that is killed at random moments, each time in a process of its own; run as ``python -m``.

Each child is forked from a process that has imported everything and opened nothing, so that a kill hits the
work and not the start of Python. Prints one JSON object: the moments, what became of each child, and the
report of the last run, which nobody kills.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import time
from typing import Any

import numpy as np

from embplug import connect, migrate
from embplug.lifecycle.migration import reader, record, verify
from tests.engines_real.sources import RECIPE

SHARE = 0.3
"""Of an undisturbed run: enough to get somewhere, and too short for ten of them to get to the end."""


def main() -> None:
    url, grpc_port, kills, seed = sys.argv[1], *map(int, sys.argv[2:])
    started = time.monotonic()
    os.waitpid(_forked(url, grpc_port, "undisturbed", None), 0)
    undisturbed = time.monotonic() - started
    moments = np.random.default_rng(seed).uniform(0.0, SHARE * undisturbed, kills).tolist()
    killed = []
    for moment in moments:
        child = _forked(url, grpc_port, "target", "live")
        time.sleep(moment)
        os.kill(child, signal.SIGKILL)
        killed.append(os.WIFSIGNALED(os.waitpid(child, 0)[1]))
    report = _migrate(url, grpc_port, "target", "live")
    print(json.dumps({"undisturbed": undisturbed, "moments": moments, "killed": killed, "report": report}))


def _forked(url: str, grpc_port: int, target: str, alias: str | None) -> int:
    child = os.fork()
    if child == 0:
        _migrate(url, grpc_port, target, alias)
        os._exit(0)
    return child


def _migrate(url: str, grpc_port: int, target: str, alias: str | None) -> dict[str, Any]:
    reader.PAGE_POINTS = 25
    record.SHORTEST_INTERVAL_S, record.SHARE_OF_TIME = 0.05, 0.3
    verify.SAMPLED_QUERIES = 20
    client = connect(url, grpc_port=grpc_port)
    return migrate("source", target, RECIPE, engine=client, alias=alias, progress=False).to_dict()


if __name__ == "__main__":
    main()
