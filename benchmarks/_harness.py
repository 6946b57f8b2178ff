"""What every benchmark shares: the environment, fair timing, one JSON object or a table."""

from __future__ import annotations

import argparse
import importlib
import importlib.metadata
import json
import os
import platform
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

from threadpoolctl import threadpool_info

from embplug.evaluation.machine import core_count, processor_name

PACKAGES = ("embplug", "numpy", "scipy", "qdrant-client", "qdrant-edge-py", "fastembed", "torch")


def parser(description: str) -> argparse.ArgumentParser:
    """Argument parser with ``--json``; the benchmark adds its own arguments."""
    arguments = argparse.ArgumentParser(description=description)
    arguments.add_argument("--json", action="store_true", help="print one JSON object instead of a table")
    return arguments


def check_plot(file: str | None) -> None:
    """Miss matplotlib, where a plot is wanted, before hours of measuring."""
    if file:
        importlib.import_module("matplotlib")


def environment(**sizes: Any) -> dict[str, Any]:
    """Versions, processor, BLAS threads and the sizes of the run, ready for JSON."""
    versions = {}
    for package in PACKAGES:
        try:
            versions[package] = importlib.metadata.version(package)
        except importlib.metadata.PackageNotFoundError:
            versions[package] = None
    return {
        "python": platform.python_version(),
        "machine": platform.machine(),
        "processor": processor_name(),
        "cores": core_count(),
        "blas": [
            f"{pool['internal_api']} {pool['version']} threads={pool['num_threads']}"
            for pool in threadpool_info()
            if pool["user_api"] == "blas"
        ],
        "versions": versions,
        "sizes": sizes,
    }


@contextmanager
def on_one_core() -> Iterator[None]:
    """Keep this thread, and threads that it starts, on one core, where the system can.

    The kernel then takes one thread: it shares its work among the cores that a process may use.
    """
    if not hasattr(os, "sched_setaffinity"):
        yield
        return
    before = os.sched_getaffinity(0)
    os.sched_setaffinity(0, {min(before)})
    try:
        yield
    finally:
        os.sched_setaffinity(0, before)


def best_seconds(contestants: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, float]:
    """Fastest of several rounds for each contestant, in turns, so that noise hits all alike.

    Each runs twice in a row: the first time it finds the caches as another contestant has left them.
    """
    best = dict.fromkeys(contestants, float("inf"))
    for _ in range(rounds):
        for name, run in contestants.items():
            for _ in range(2):
                start = time.perf_counter()
                run()
                best[name] = min(best[name], time.perf_counter() - start)
    return best


def percentiles_ms(seconds: Sequence[float]) -> dict[str, float]:
    """Median and 95th percentile in milliseconds."""
    ordered = sorted(seconds)
    return {
        "p50_ms": 1e3 * ordered[len(ordered) // 2],
        "p95_ms": 1e3 * ordered[min(len(ordered) - 1, int(len(ordered) * 0.95))],
    }


def report(result: Mapping[str, Any], rows: Sequence[Mapping[str, Any]], as_json: bool) -> None:
    """Print ``result`` as one JSON object for programs, or ``rows`` as a table for people."""
    if as_json:
        print(json.dumps(result))
        return
    print(table(rows))
    if "environment" in result:
        print("\n" + json.dumps(result["environment"], indent=1))


def table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Align ``rows`` under their keys; numbers to the right."""
    if not rows:
        return "(nothing measured)"
    columns = list(dict.fromkeys(name for row in rows for name in row))
    cells = [columns, *([_cell(row.get(name)) for name in columns] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    numeric = [any(isinstance(row.get(name), (int, float)) for row in rows) for name in columns]
    lines = [
        "  ".join(
            c.rjust(w) if right else c.ljust(w) for c, w, right in zip(line, widths, numeric, strict=True)
        )
        for line in cells
    ]
    lines.insert(1, "  ".join("-" * width for width in widths))
    return "\n".join(line.rstrip() for line in lines)


def _cell(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, float):
        return f"{value:.3f}" if abs(value) < 100 else f"{value:,.0f}"
    return f"{value:,}" if isinstance(value, int) and not isinstance(value, bool) else str(value)
