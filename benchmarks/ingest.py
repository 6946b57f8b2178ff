"""Points per second into a real server: ours, FDE encoding included, beside list upserts over REST.

The peer is what most code does: ``QdrantClient.upsert`` of lists over REST, its FDE computed beforehand and
not counted. Both collections have the same configuration.
"""

from __future__ import annotations

import time

import numpy as np
from _harness import environment, parser, report
from qdrant_client import QdrantClient, models

from embplug import Collection, Documents, Recipe, TokenBatch, Tokens, connect
from embplug.methods import FDE
from tests.servers import qdrant_server

DIM = 128
TOKENS = 80
BATCH = 128
REST_BATCH = 64
ROUNDS = 2
RECIPE = Recipe(tokens=Tokens(dim=DIM, encoding=FDE(repetitions=20, simhash_bits=4, projection_dim=16)))


def main() -> None:
    options = parser(__doc__ or "")
    options.add_argument("--points", type=int, default=2000)
    options.add_argument("--rest-points", type=int, default=600)
    arguments = options.parse_args()
    tokens = np.random.default_rng(0).standard_normal((arguments.points, TOKENS, DIM)).astype(np.float32)
    tokens /= np.linalg.norm(tokens, axis=2, keepdims=True)
    ours, theirs = [], []
    with qdrant_server() as (url, grpc_port):
        engine = connect(url, grpc_port=grpc_port)
        assert isinstance(engine, QdrantClient)
        rest = QdrantClient(url, prefer_grpc=False, check_compatibility=False)
        for _ in range(ROUNDS):
            ours.append(add_ours(engine, tokens))
            theirs.append(upsert_lists(engine, rest, tokens[: arguments.rest_points]))
        engine.close()
        rest.close()
    result = {
        "ours_points_per_s": max(ours),
        "upsert_lists_rest_points_per_s": max(theirs),
        "ratio": max(ours) / max(theirs),
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
    fde = FDE(repetitions=20, simhash_bits=4, projection_dim=16)
    encoded = fde.encode_documents(TokenBatch.from_list(list(tokens)))
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


if __name__ == "__main__":
    main()
