"""Workers that create, learn, add, search, upgrade and drop at once lose no document; see ``races.py``."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

ROOT = Path(__file__).parents[2]
ROUNDS = 2
SEED = 7


def raced(*addresses: str) -> dict[str, Any]:
    command = [sys.executable, "-m", "tests.engines_real.races", str(ROUNDS), str(SEED), *addresses]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=False, timeout=300)
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def assert_nothing_lost(result: dict[str, Any]) -> None:
    assert result["failures"] == [] and result["missing"] == [], result
    # Every document was added at least once after the last drop.
    assert result["outcomes"]["add"] >= 8 * ROUNDS and result["outcomes"]["drop"] >= 1, result


def test_threads_on_edge(tmp_path):
    assert_nothing_lost(raced(str(tmp_path / "edge")))


def test_processes_on_a_server(server_client, qdrant_address):
    url, grpc_port = qdrant_address
    assert_nothing_lost(raced(f"{url},{grpc_port}"))


def test_processes_on_the_nodes_of_a_cluster(qdrant_cluster):
    assert_nothing_lost(raced(*(f"{url},{grpc_port}" for url, grpc_port in qdrant_cluster)))
