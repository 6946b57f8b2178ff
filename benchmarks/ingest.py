"""Points per second into a real server: ours, FDE encoding included, beside list upserts and the ceiling.

The peer is what most code does: ``QdrantClient.upsert`` of lists over REST. The ceiling is what the server
takes: requests of the same points over gRPC that are built beforehand, as many at a time as ours. The FDE of
both is computed beforehand and not counted. All collections have the same configuration.
"""

from __future__ import annotations

import time
from concurrent.futures import ThreadPoolExecutor

import numpy as np
from _harness import environment, parser, report
from numpy.typing import NDArray
from qdrant_client import QdrantClient, grpc, models

from embplug import Collection, Documents, Recipe, TokenBatch, Tokens, connect
from embplug.collection.writing import IN_FLIGHT
from embplug.methods import FDE
from tests.servers import qdrant_server

DIM = 128
TOKENS = 80
BATCH = 128
REST_BATCH = 64
ROUNDS = 2
RECIPE = Recipe(
    tokens=Tokens(dim=DIM, encoding=FDE(repetitions=20, simhash_bits=4, projection_dim=16), codes=None)
)


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--points", type=int, default=2000)
    options.add_argument("--rest-points", type=int, default=600)
    arguments = options.parse_args()
    tokens = np.random.default_rng(0).standard_normal((arguments.points, TOKENS, DIM)).astype(np.float32)
    tokens /= np.linalg.norm(tokens, axis=2, keepdims=True)
    ours, theirs, ceiling = [], [], []
    with qdrant_server() as (url, grpc_port):
        engine = connect(url, grpc_port=grpc_port)
        assert isinstance(engine, QdrantClient)
        rest = QdrantClient(url, prefer_grpc=False, check_compatibility=False)
        for _ in range(ROUNDS):
            ours.append(add_ours(engine, tokens))
            theirs.append(upsert_lists(engine, rest, tokens[: arguments.rest_points]))
            ceiling.append(upload_messages(engine, tokens))
        engine.close()
        rest.close()
    result = {
        "ours_points_per_s": max(ours),
        "upsert_lists_rest_points_per_s": max(theirs),
        "ceiling_points_per_s": max(ceiling),
        "ratio": max(ours) / max(theirs),
        "share_of_ceiling": max(ours) / max(ceiling),
        "environment": environment(
            points=arguments.points,
            rest_points=arguments.rest_points,
            tokens=TOKENS,
            dim=DIM,
            fde=20 * 16 * 16,
        ),
    }
    rows = [
        {"path": "embplug, FDE included", "points/s": max(ours)},
        {"path": "upsert of lists, REST", "points/s": max(theirs)},
        {"path": "gRPC requests built beforehand", "points/s": max(ceiling)},
    ]
    report(result, rows, arguments.json)


def add_ours(engine: QdrantClient, tokens: np.ndarray) -> float:
    """Points per second of ``Collection.add_batches``."""
    collection = Collection.create("ours", RECIPE, engine)
    batches = (
        Documents(
            range(start, min(start + BATCH, len(tokens))),
            tokens=list(tokens[start : start + BATCH]),
            payloads=[{"number": start + i} for i in range(len(tokens[start : start + BATCH]))],
        )
        for start in range(0, len(tokens), BATCH)
    )
    started = time.perf_counter()
    added = collection.add_batches(batches, progress=False).added
    seconds = time.perf_counter() - started
    assert added == len(tokens) == collection.count()
    collection.drop()
    return added / seconds


def upsert_lists(engine: QdrantClient, rest: QdrantClient, tokens: np.ndarray) -> float:
    """Points per second of list upserts over REST, into a collection of the same configuration."""
    collection = Collection.create("theirs", RECIPE, engine)
    encoded = encodings(tokens)
    started = time.perf_counter()
    for start in range(0, len(tokens), REST_BATCH):
        rest.upsert(
            "theirs",
            points=[
                models.PointStruct(
                    id=i,
                    vector={"fde": encoded[i].tolist(), "tokens": tokens[i].tolist()},
                    payload={"number": i},
                )
                for i in range(start, min(start + REST_BATCH, len(tokens)))
            ],
            wait=True,
        )
    seconds = time.perf_counter() - started
    assert collection.count() == len(tokens)
    collection.drop()
    return len(tokens) / seconds


def upload_messages(engine: QdrantClient, tokens: np.ndarray) -> float:
    """Points per second of requests over gRPC that are built beforehand."""
    collection = Collection.create("ceiling", RECIPE, engine)
    encoded = encodings(tokens)
    points = [
        grpc.PointStruct(
            id=grpc.PointId(num=i),
            vectors=grpc.Vectors(
                vectors=grpc.NamedVectors(
                    vectors={
                        "fde": grpc.Vector(dense=grpc.DenseVector(data=encoded[i].tolist())),
                        "tokens": grpc.Vector(
                            multi_dense=grpc.MultiDenseVector(
                                vectors=[grpc.DenseVector(data=row) for row in tokens[i].tolist()]
                            )
                        ),
                    }
                )
            ),
            payload={"number": grpc.Value(integer_value=i)},
        )
        for i in range(len(tokens))
    ]
    requests = [
        grpc.UpsertPoints(collection_name="ceiling", wait=True, points=points[start : start + BATCH])
        for start in range(0, len(points), BATCH)
    ]
    started = time.perf_counter()
    with ThreadPoolExecutor(IN_FLIGHT) as pool:
        list(pool.map(engine.grpc_points.Upsert, requests))
    seconds = time.perf_counter() - started
    assert collection.count() == len(tokens)
    collection.drop()
    return len(tokens) / seconds


def encodings(tokens: np.ndarray) -> NDArray[np.float32]:
    """FDE of each document, as the recipe computes it."""
    fde = FDE(repetitions=20, simhash_bits=4, projection_dim=16)
    return fde.encode_documents(TokenBatch.from_list(list(tokens)))


if __name__ == "__main__":
    main()
