"""A migration that is killed at ten random moments, from a source that is written to meanwhile."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import numpy as np
from qdrant_client import models

from tests.integration.sources import (
    DIM,
    alias_of,
    assert_same,
    make_source,
    point_id,
    stored,
    vectors,
)

POINTS = 5000
KILLS = 10
SEED = 20240501
ROOT = Path(__file__).parent.parent.parent


def run_killed(address: tuple[str, int], target: str, alias: str, moments: list[float]) -> dict[str, Any]:
    url, grpc_port = address
    command = [sys.executable, "-m", "tests.integration.killed", url, str(grpc_port), target, alias]
    done = subprocess.run(
        [*command, *map(str, moments)], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def test_killed_at_ten_random_moments(server_client, qdrant_address):
    make_source(server_client, POINTS)
    undisturbed = run_killed(qdrant_address, "undisturbed", "", [])["seconds"]
    server_client.update_collection_aliases(
        [
            models.CreateAliasOperation(
                create_alias=models.CreateAlias(collection_name="source", alias_name="live")
            )
        ]
    )
    # Long enough to get somewhere, and too short for ten of them to get to the end.
    moments = np.random.default_rng(SEED).uniform(0.0, 0.3 * undisturbed, KILLS).round(3).tolist()
    rows = vectors(POINTS, seed=1).tolist()
    stop, written, deleted = threading.Event(), [0], [0]

    def write_meanwhile() -> None:
        """As an application does, through the alias: until it is another collection."""
        for number in np.random.default_rng(SEED).integers(0, POINTS, 1 << 20).tolist():
            changed = {"number": number, "version": written[0] + 1}
            made = [
                models.PointStruct(id=point_id(number), vector=rows[number], payload=changed),
                models.PointStruct(id=10**6 + written[0], vector=rows[number], payload=changed),
            ]
            try:
                server_client.upsert("live", made, wait=True)
                written[0] += 1
                if written[0] % 5 == 0 and alias_of(server_client) == "source":
                    server_client.delete("source", models.PointIdsList(points=[point_id(number - 1)]))
                    deleted[0] += 1
            except Exception:
                assert alias_of(server_client) == "target"
                return
            if stop.wait(0.02):
                return

    writer = threading.Thread(target=write_meanwhile)
    writer.start()
    try:
        result = run_killed(qdrant_address, "target", "live", moments)
    finally:
        stop.set()
        writer.join()
    print(result)
    told = f"seed {SEED}, moments {moments} of {undisturbed:.2f} s, outcomes {result}"
    assert sum(result["killed"]) == KILLS, told
    report = result["report"]
    assert report["resumed"] and report["finished"] and report["switched"], told
    assert report["checked_payloads"] > 0 and report["recall"]["value"] > 0.9, told
    assert written[0] > KILLS and deleted[0] > 0, told
    assert alias_of(server_client) == "target", told
    # Every id once, its payload as in the source, and its vector.
    assert_same(server_client, "source", "live")
    assert stored(server_client, "target") == stored(server_client, "source"), told
    assert server_client.get_collection("target").config.params.vectors["dense"].size == DIM
