"""Collections that were stored before recipes had their present names open, and find what they found."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from qdrant_client import models

from embplug import Collection
from embplug.collection.archive import unpack
from embplug.collection.state import save
from embplug.engines import EdgeClient, Engine
from embplug.engines.calls import run
from embplug.recipe.names import ENCODING_VECTOR

FOLDER = Path(__file__).parents[1] / "fixtures" / "version_1"
NAMES = sorted(file.stem for file in FOLDER.glob("*.json"))
assert len(NAMES) == 5


def restored(engine: Engine, name: str) -> dict[str, Any]:
    """Write a stored collection point by point, without embplug's own code for that."""
    stored = json.loads((FOLDER / f"{name}.json").read_text())
    config = stored["config"]
    engine.create_collection(
        name,
        vectors_config={
            vector: models.VectorParams.model_validate(parameters)
            for vector, parameters in config["vectors"].items()
        },
        sparse_vectors_config={
            vector: models.SparseVectorParams.model_validate(parameters)
            for vector, parameters in config["sparse"].items()
        },
        metadata=stored["metadata"],
    )
    for field, schema in config["indexes"].items():
        engine.create_payload_index(name, field, field_schema=models.PayloadSchemaType(schema), wait=True)
    arrays = FOLDER / f"{name}.npz"
    if arrays.exists():
        reference = run(engine, save(engine, name, unpack(arrays.read_bytes())))
        assert reference["sha256"] == stored["metadata"]["embplug"]["state"]["sha256"]
    points = [
        models.PointStruct(
            id=point["id"],
            vector={vector: _vector(value) for vector, value in point["vector"].items()},
            payload=point["payload"],
        )
        for point in stored["points"]
    ]
    engine.upsert(name, points=points, wait=True)
    return stored


def _vector(value: Any) -> Any:
    return models.SparseVector(**value) if isinstance(value, dict) else value


@pytest.mark.parametrize("name", NAMES)
def test_it_opens_and_finds_what_it_found(engine: Engine, name: str) -> None:
    stored = restored(engine, name)
    collection = Collection.open(name, engine)
    for search in stored["searches"]:
        hits = collection.search(**search["query"], limit=5)
        if "branches" not in search["query"]:  # many documents share the best score of the sparse branch
            assert [hit.id for hit in hits] == search["ids"]
        np.testing.assert_allclose([hit.score for hit in hits], search["scores"], rtol=2e-3, atol=2e-3)


def test_more_is_added_with_what_was_learned(edge_client: EdgeClient) -> None:
    stored = restored(edge_client, "learned")
    collection = Collection.open("learned", edge_client)
    query = np.array(stored["searches"][0]["query"]["tokens"], dtype=np.float32)
    before = {point["id"]: point["vector"][ENCODING_VECTOR] for point in stored["points"]}
    collection.add(["doc/new"], tokens=[query], texts=["alpha beta"])
    assert collection.search(tokens=query, limit=1)[0].id == "doc/new"
    kept = edge_client.retrieve("learned", [*before], with_vectors=[ENCODING_VECTOR])
    assert {record.id: np.round(record.vector[ENCODING_VECTOR], 7).tolist() for record in kept} == before


def test_the_fixtures_are_those_that_were_stored() -> None:
    """They are not made again by today's code: that would prove nothing."""
    digests = {
        file.name: hashlib.sha256(file.read_bytes()).hexdigest()[:16] for file in sorted(FOLDER.iterdir())
    }
    assert digests == DIGESTS


DIGESTS: dict[str, str] = {
    "dense.json": "06ee4c0776e70d8d",
    "dense.npz": "a5f5cd9540ed67ce",
    "half_upgraded.json": "a7cbcac638e2abc0",
    "half_upgraded.npz": "49527e123301f673",
    "learned.json": "9c0e27ccd1737331",
    "learned.npz": "24ed3c1ceb76f060",
    "matrices.json": "3df7f562050fcf12",
    "matrices.npz": "e5d3e1ba3804d83a",
    "upgraded.json": "c870aab6e9a74f37",
}
