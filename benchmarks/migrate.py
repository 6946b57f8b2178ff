"""Points a second of a migration, beside the bare rate at which the same engine takes the same upserts.

Synthetic vectors in clusters, 768 dimensions, in a plain collection without a graph on a real server. The
peer writes the very same points, encoded beforehand, with as many requests under way, and nothing else: no
reading, encoding, looking for changes, checking and switching. Indexes that the server builds meanwhile, it
builds for both.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from collections import deque
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from _harness import environment, parser, report
from numpy.typing import NDArray
from qdrant_client import QdrantClient, models

from embplug import PCA, Collection, Dense, Documents, Recipe, connect
from embplug.calls import Call, run
from embplug.documents import check_documents
from embplug.ingest import IN_FLIGHT, Form, _chunks, _upsert
from embplug.migration import migrate
from embplug.operations import create_steps, open_steps
from tests.servers import qdrant_server

DIM = 768
CLUSTERS = 500
BATCH = 1000
RECIPE = Recipe(dense=Dense(dim=DIM, transforms=[PCA(256)], datatype=models.Datatype.FLOAT16))
TEXT = (
    "A passage of the length into which texts are cut for retrieval, with what a reader wants to know. " * 4
)
WORK = ("copy", "catching up", "late pass", "removing marks")
"""Stages that read and write points; the others wait for indexes and check."""


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--points", type=int, default=100_000)
    # What runs in a process of its own, so that its memory can be told.
    options.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    arguments = options.parse_args()
    if arguments.worker:
        name, url, grpc_port = arguments.worker
        client = connect(url, grpc_port=int(grpc_port))
        assert isinstance(client, QdrantClient)
        print(json.dumps({"migrate": run_migration, "bare": run_bare}[name](client, arguments.points)))
        return
    with qdrant_server() as (url, grpc_port):
        client = connect(url, grpc_port=grpc_port)
        assert isinstance(client, QdrantClient)
        fill(client, arguments.points)
        ours, bare = (worker(name, url, grpc_port, arguments.points) for name in ("migrate", "bare"))
        client.close()
    seconds = ours["report"]["seconds"]
    rates = {
        "bare upserts": arguments.points / bare["seconds"],
        "first pass": arguments.points / seconds["copy"],
        "all passes": arguments.points / sum(seconds[stage] for stage in WORK),
        "bare upserts, indexed": arguments.points / bare["indexed_seconds"],
        "whole migration, indexed and verified": arguments.points / sum(seconds.values()),
    }
    result = {
        "points_per_s": rates,
        "ratio_of_first_pass": rates["first pass"] / rates["bare upserts"],
        "ratio": rates["all passes"] / rates["bare upserts"],
        "ratio_indexed": rates["whole migration, indexed and verified"] / rates["bare upserts, indexed"],
        "peak_rss_mib": ours["peak_rss_mib"],
        "report": ours["report"],
        "environment": environment(points=arguments.points, dim=DIM, stored_dim=256, clusters=CLUSTERS),
    }
    rows = [{"what": what, "points/s": rate} for what, rate in rates.items()]
    rows += [
        {"what": name, "points/s": result[name]} for name in ("ratio_of_first_pass", "ratio", "ratio_indexed")
    ]
    report(result, [*rows, {"what": "peak RSS, MiB", "points/s": ours["peak_rss_mib"]}], arguments.json)


def worker(name: str, url: str, grpc_port: int, points: int) -> dict[str, Any]:
    """Run one contestant in a fresh process."""
    command = [sys.executable, __file__, "--points", str(points), "--worker", name, url, str(grpc_port)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def run_migration(client: QdrantClient, points: int) -> dict[str, Any]:
    """Migrate and switch an alias."""
    done = migrate("source", "target", RECIPE, client, alias="live", progress=False)
    assert (done.target_points, done.switched, done.finished) == (points, True, True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"report": done.to_dict(), "peak_rss_mib": peak}


def run_bare(client: QdrantClient, points: int) -> dict[str, Any]:
    """Write the same points into a collection like the target, and wait until they are indexed."""
    migrated = run(client, open_steps(client, "target"))
    run(client, create_steps(client, "bare", migrated.recipe, None, None, None))
    chunks = []
    for ids, vectors, payloads in batches(points):
        documents = check_documents(Documents(ids, dense=vectors, payloads=payloads), migrated.recipe, False)
        chunks += _chunks(documents, migrated, Form.MESSAGES, None)
    calls: list[Call] = [_upsert(client, "bare", chunk, Form.MESSAGES) for chunk in chunks]
    started = time.perf_counter()
    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        deque(pool.map(lambda call: call_once(client, call), calls), maxlen=0)
    seconds = time.perf_counter() - started
    bare = Collection("bare", client, migrated)
    bare.optimize(timeout=3600)
    assert bare.count() == points
    return {"seconds": seconds, "indexed_seconds": time.perf_counter() - started}


def call_once(client: QdrantClient, call: Call) -> None:
    client.grpc_points.Upsert(**call.arguments)


def fill(client: QdrantClient, points: int) -> None:
    """The source: unnamed vectors and a payload, as most collections have them."""
    client.create_collection(
        "source",
        vectors_config=models.VectorParams(size=DIM, distance=models.Distance.COSINE),
        hnsw_config=models.HnswConfigDiff(m=0),
        optimizers_config=models.OptimizersConfigDiff(indexing_threshold=0),
    )
    client.create_payload_index("source", "number", models.PayloadSchemaType.INTEGER, wait=True)
    for ids, vectors, payloads in batches(points):
        client.upload_collection("source", vectors, payload=payloads, ids=ids, wait=True)


def batches(points: int) -> Iterator[tuple[range, NDArray[np.float32], list[dict[str, Any]]]]:
    """Vectors around centres whose spectrum falls as that of text embeddings does; unit length."""
    rng = np.random.default_rng(0)
    spectrum = np.arange(1, DIM + 1) ** -0.5
    centres = rng.standard_normal((CLUSTERS, DIM)) * spectrum
    for start in range(0, points, BATCH):
        ids = range(start, min(start + BATCH, points))
        noise = rng.standard_normal((len(ids), DIM)) * spectrum
        vectors = centres[rng.integers(0, CLUSTERS, len(ids))] + 0.7 * noise
        vectors /= np.linalg.norm(vectors, axis=1, keepdims=True)
        yield ids, vectors.astype(np.float32), [{"number": i, "text": TEXT, "tags": ["a", "b"]} for i in ids]


if __name__ == "__main__":
    main()
