"""Points a second of a migration, beside the bare rates at which the same engine takes upserts.

Synthetic vectors in clusters, 768 dimensions, in a plain collection without a graph on a real server. The
peers write points encoded beforehand, with as many requests under way, and do nothing else: no reading,
encoding, looking for changes, checking and switching.

- ``bare upserts of the source``: its own points, 768 float32 numbers each, without a graph.
- ``bare upserts``: the very points that the migration writes, 256 float16 numbers each. Indexes that the
  server builds meanwhile, it builds for both.
- ``bare upserts, indexed``: the same, until the collection can be searched fast.
- ``plain copy``: what one writes without embplug: qdrant-client's scroll and upload, 768 numbers a point.

A migration reads each vector three times (to copy it, to find what changed since, and once more after the
switch), so that its passes cannot be as fast as writing alone where reading and writing share the cores.
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
from qdrant_client import QdrantClient, grpc, models
from qdrant_client.conversions.conversion import json_to_value

from embplug import Collection, Dense, Documents, Recipe, connect
from embplug.branches.documents import check_documents
from embplug.collection.chunks import chunked
from embplug.collection.opening import create_steps, open_steps
from embplug.collection.writing import IN_FLIGHT, upsert_call
from embplug.engines import PointForm
from embplug.engines.calls import Call, run
from embplug.lifecycle.migration import migrate
from embplug.methods import PCA
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
    options.add_argument(
        "--updated-at", action="store_true", help="find what changed by a field, not by reading all again"
    )
    # What runs in a process of its own, so that its memory can be told.
    options.add_argument("--worker", nargs=3, help=argparse.SUPPRESS)
    arguments = options.parse_args()
    if arguments.worker:
        name, url, grpc_port = arguments.worker
        client = connect(url, grpc_port=int(grpc_port))
        assert isinstance(client, QdrantClient)
        work = {"fill": run_fill, "migrate": run_migration, "bare": run_bare, "plain": run_plain}[name]
        print(json.dumps(work(client, arguments)))
        return
    with qdrant_server() as (url, grpc_port):
        client = connect(url, grpc_port=grpc_port)
        assert isinstance(client, QdrantClient)
        create_source(client)
        filled, ours, bare, plain = (
            worker(name, url, grpc_port, arguments) for name in ("fill", "migrate", "bare", "plain")
        )
        client.close()
    seconds = ours["report"]["seconds"]
    rates = {
        "bare upserts of the source": arguments.points / filled["seconds"],
        "plain copy": arguments.points / plain["seconds"],
        "bare upserts": arguments.points / bare["seconds"],
        "first pass": arguments.points / seconds["copy"],
        "all passes": arguments.points / sum(seconds[stage] for stage in WORK),
        "bare upserts, indexed": arguments.points / bare["indexed_seconds"],
        "whole migration, indexed and verified": arguments.points / sum(seconds.values()),
    }
    ratios = {
        "ratio_to_upserts_of_the_source": rates["first pass"] / rates["bare upserts of the source"],
        "ratio_of_first_pass": rates["first pass"] / rates["bare upserts"],
        "ratio": rates["all passes"] / rates["bare upserts"],
        "ratio_indexed": rates["whole migration, indexed and verified"] / rates["bare upserts, indexed"],
    }
    result = {
        "points_per_s": rates,
        **ratios,
        "peak_rss_mib": ours["peak_rss_mib"],
        "report": ours["report"],
        "environment": environment(points=arguments.points, dim=DIM, stored_dim=256, clusters=CLUSTERS),
    }
    rows = [{"what": what, "points/s": rate} for what, rate in rates.items()]
    rows += [{"what": name, "points/s": ratio} for name, ratio in ratios.items()]
    report(result, [*rows, {"what": "peak RSS, MiB", "points/s": ours["peak_rss_mib"]}], arguments.json)


def worker(name: str, url: str, grpc_port: int, arguments: argparse.Namespace) -> dict[str, Any]:
    """Run one contestant in a fresh process."""
    flags = ["--points", str(arguments.points)] + ["--updated-at"] * arguments.updated_at
    command = [sys.executable, __file__, *flags, "--worker", name, url, str(grpc_port)]
    done = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True)
    result: dict[str, Any] = json.loads(done.stdout)
    return result


def run_migration(client: QdrantClient, arguments: argparse.Namespace) -> dict[str, Any]:
    """Migrate and switch an alias."""
    field = "number" if arguments.updated_at else None
    done = migrate("source", "target", RECIPE, engine=client, alias="live", progress=False, updated_at=field)
    assert (done.target_points, done.switched, done.finished) == (arguments.points, True, True)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return {"report": done.to_dict(), "peak_rss_mib": peak}


def run_bare(client: QdrantClient, arguments: argparse.Namespace) -> dict[str, Any]:
    """Write the same points into a collection like the target, and wait until they are indexed."""
    migrated = run(client, open_steps(client, "target"))
    run(client, create_steps(client, "bare", migrated.recipe))
    chunks = []
    for ids, vectors, payloads in batches(arguments.points):
        documents = check_documents(Documents(ids, dense=vectors, payloads=payloads), migrated.recipe, False)
        chunks += chunked(documents, migrated, PointForm.MESSAGES, None)
    calls: list[Call] = [upsert_call(client, "bare", chunk, PointForm.MESSAGES) for chunk in chunks]
    started = time.perf_counter()
    seconds = send(client, [call.arguments["request"] for call in calls])
    bare = Collection("bare", client, migrated)
    bare.optimize(timeout=3600)
    assert bare.count() == arguments.points
    return {"seconds": seconds, "indexed_seconds": time.perf_counter() - started}


def run_fill(client: QdrantClient, arguments: argparse.Namespace) -> dict[str, Any]:
    """Write the source."""
    requests = []
    for ids, vectors, payloads in batches(arguments.points):
        rows = zip(ids, vectors, payloads, strict=True)
        messages = [
            grpc.PointStruct(
                id=grpc.PointId(num=i),
                payload={key: json_to_value(value) for key, value in payload.items()},
                vectors=grpc.Vectors(vector=grpc.Vector(dense=grpc.DenseVector(data=vector))),
            )
            for i, vector, payload in rows
        ]
        requests.append(grpc.UpsertPoints(collection_name="source", wait=True, points=messages))
    return {"seconds": send(client, requests)}


def run_plain(client: QdrantClient, arguments: argparse.Namespace) -> dict[str, Any]:
    """Copy the source by qdrant-client's own means."""
    create_source(client, "plain")
    started, offset = time.perf_counter(), None
    while True:
        records, offset = client.scroll("source", limit=BATCH, offset=offset, with_vectors=True)
        copies = [models.PointStruct(id=r.id, vector=r.vector, payload=r.payload) for r in records]
        client.upload_points("plain", copies, batch_size=BATCH, wait=True)
        if offset is None:
            return {"seconds": time.perf_counter() - started}


def send(client: QdrantClient, requests: list[Any]) -> float:
    """Seconds for requests that are encoded already."""
    started = time.perf_counter()
    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        deque(pool.map(lambda request: client.grpc_points.Upsert(request), requests), maxlen=0)
    return time.perf_counter() - started


def create_source(client: QdrantClient, name: str = "source") -> None:
    """Unnamed vectors and an index of the payload, as most collections have them; no graph."""
    client.create_collection(
        name,
        vectors_config=models.VectorParams(size=DIM, distance=models.Distance.COSINE),
        hnsw_config=models.HnswConfigDiff(m=0),
        optimizers_config=models.OptimizersConfigDiff(indexing_threshold=0),
    )
    client.create_payload_index(name, "number", models.PayloadSchemaType.INTEGER, wait=True)


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
