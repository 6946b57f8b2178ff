"""A migration that is killed at ten random moments, from a source that is written to meanwhile."""

from __future__ import annotations

import json
import subprocess
import sys
import threading
from pathlib import Path

import numpy as np
from qdrant_client import models

from tests.engines_real.sources import alias_of, assert_same, make_source, point_id, stored, vectors

POINTS = 1000
KILLS = 10
SEED = 20240501
ROOT = Path(__file__).parent.parent.parent


def test_killed_at_ten_random_moments(server_client, qdrant_address):
    make_source(server_client, POINTS)
    live = models.CreateAlias(collection_name="source", alias_name="live")
    server_client.update_collection_aliases([models.CreateAliasOperation(create_alias=live)])
    rows = vectors(POINTS, seed=1).tolist()
    stop, written, deleted = threading.Event(), [0], [0]

    def write_meanwhile() -> None:
        """As an application does, through the alias, until it is a collection of other vectors."""
        for number in np.random.default_rng(SEED).integers(0, POINTS, 1 << 20).tolist():
            payload = {"number": number, "version": written[0] + 1}
            changed = [
                models.PointStruct(id=changed_id, vector=rows[number], payload=payload)
                for changed_id in (point_id(number), 10**6 + written[0])
            ]
            try:
                server_client.upsert("live", changed, wait=True)
            except Exception:
                assert alias_of(server_client) == "target"
                return
            written[0] += 1
            if written[0] % 5 == 0 and alias_of(server_client) == "source":
                server_client.delete("source", models.PointIdsList(points=[point_id(number - 1)]))
                deleted[0] += 1
            if stop.wait(0.03):
                return

    writer = threading.Thread(target=write_meanwhile)
    writer.start()
    try:
        url, grpc_port = qdrant_address
        done = subprocess.run(
            [sys.executable, "-m", "tests.engines_real.killed", url, *map(str, (grpc_port, KILLS, SEED))],
            cwd=ROOT,
            capture_output=True,
            text=True,
            check=False,
        )
    finally:
        stop.set()
        writer.join()
    told = f"seed {SEED}: {done.stdout} {done.stderr}"
    assert done.returncode == 0, told
    result = json.loads(done.stdout)
    assert sum(result["killed"]) == KILLS, told
    report = result["report"]
    assert report["resumed"] and report["finished"] and report["switched"], told
    assert report["checked_payloads"] > 0 and report["recall"]["value"] > 0.9, told
    assert written[0] > KILLS and deleted[0] > 0, told
    # The alias is switched, every id there once, with its payload as in the source, and its vector.
    assert alias_of(server_client) == "target", told
    assert stored(server_client, "target") == stored(server_client, "source"), told
    assert_same(server_client, "source", "live")
