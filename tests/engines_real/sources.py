"""Collections to migrate, and what has to hold of their copies."""

from __future__ import annotations

import uuid
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qdrant_client import models

from embplug import Collection, Dense, Query, Recipe
from embplug.engines import Engine
from embplug.methods import Rotation

DIM = 16
RECIPE = Recipe(dense=Dense(dim=DIM, transforms=[Rotation()], datatype=models.Datatype.FLOAT16))
COSINE = models.VectorParams(size=DIM, distance=models.Distance.COSINE)
ODD_PAYLOADS: list[dict[str, Any]] = [
    {},
    {"text": "naïve 漢字", "nothing": None, "on": True, "half": 0.5, "big": 2**53 + 1, "minus": -7},
    {"nested": {"list": [1, "a", None, {"deep": []}], "empty": {}}, "tags": ["x", "y"]},
]


def vectors(count: int, seed: int = 0, dim: int = DIM) -> NDArray[np.float32]:
    """Vectors around a few centres."""
    rng = np.random.default_rng(seed)
    centres = rng.standard_normal((20, dim))
    structs = centres[rng.integers(0, 20, count)] + 0.6 * rng.standard_normal((count, dim))
    return structs.astype(np.float32)


def point_id(number: int) -> int | str:
    """Integers and UUIDs by turns, some of them larger than any signed integer."""
    if number % 3 == 0:
        return str(uuid.UUID(int=(number * 0x9E3779B97F4A7C15F39CC0605CEDC835) % (1 << 128)))
    return number if number % 3 == 1 else (1 << 63) + number


def points(count: int, seed: int = 0, name: str = "") -> list[models.PointStruct]:
    """Points with all kinds of ids and payloads."""
    structs = []
    for number, vector in enumerate(vectors(count, seed).tolist()):
        payload = {**ODD_PAYLOADS[number % len(ODD_PAYLOADS)], "number": number, "version": 0}
        named: Any = {name: vector} if name else vector
        structs.append(models.PointStruct(id=point_id(number), vector=named, payload=payload))
    return structs


def make_source(engine: Engine, count: int, name: str = "source") -> None:
    """A plain collection with an index."""
    engine.create_collection(name, vectors_config=COSINE)
    engine.create_payload_index(name, "number", models.PayloadSchemaType.INTEGER, wait=True)
    if count:
        engine.upsert(name, points(count), wait=True)


def stored(engine: Engine, name: str) -> dict[Any, dict[str, Any]]:
    """Payload of every point by id; each id once."""
    seen: dict[Any, dict[str, Any]] = {}
    offset = None
    while True:
        records, offset = engine.scroll(name, limit=1000, offset=offset)
        for record in records:
            assert record.id not in seen
            seen[record.id] = record.payload or {}
        if offset is None:
            return seen


def shown(payloads: dict[Any, dict[str, Any]]) -> dict[Any, dict[str, Any]]:
    """Payloads without embplug's own fields."""
    return {
        key: {field: value for field, value in payload.items() if not field.startswith("_embplug")}
        for key, payload in payloads.items()
    }


def alias_of(engine: Engine, alias: str = "live") -> str | None:
    seen = {entry.alias_name: entry.collection_name for entry in engine.get_aliases().aliases}
    return seen.get(alias)


def assert_same(engine: Engine, source: str, target: str) -> None:
    """Every id once, the same payloads, and the vectors of a sample in the target are those of the source."""
    there = stored(engine, source)
    assert shown(stored(engine, target)) == there
    collection = Collection.open(target, engine)
    ids = list(there)[:: max(1, len(there) // 200)]
    records = engine.retrieve(source, ids, with_payload=False, with_vectors=True)
    hits = collection.batch_search([Query(dense=record.vector) for record in records], limit=1, exact=True)
    for record, seen in zip(records, hits, strict=True):
        # The best of all is the point itself, or one with the same vector.
        assert seen[0].score > 0.999, record.id


def at_once(*tasks: Callable[[], Any]) -> list[Any]:
    """What each of several tasks returns that run at the same time, or the error that it raises."""

    def outcome(task: Callable[[], Any]) -> Any:
        try:
            return task()
        except Exception as error:
            return error

    with ThreadPoolExecutor(len(tasks)) as pool:
        return list(pool.map(outcome, tasks))
