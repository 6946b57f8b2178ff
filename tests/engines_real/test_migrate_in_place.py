"""Compressed vectors beside the old ones."""

from __future__ import annotations

import pytest
from qdrant_client import models

from embplug import Collection, Dense, Recipe, Tokens, migrate
from embplug.errors import (
    CapabilityError,
    InvalidArgumentError,
    MigrationError,
    NotAnEmbplugCollectionError,
    RecipeMismatchError,
    VerificationError,
)
from embplug.lifecycle.migration import in_place, verify
from embplug.methods import PCA, PowerQuantizer, Rotation
from tests.engines_real.sources import COSINE, DIM, make_source, point_id, points, stored, vectors

SMALL = Recipe(
    dense={"small": Dense(dim=DIM, transforms=[PCA(12)], datatype=models.Datatype.FLOAT16)},
    payload_indexes={"version": "integer"},
)


@pytest.fixture(autouse=True)
def small(monkeypatch):
    monkeypatch.setattr(in_place, "PAGE", 50)
    monkeypatch.setattr(verify, "SAMPLED_QUERIES", 30)


def go(engine, recipe=SMALL, **options):
    return migrate("source", None, recipe, engine=engine, in_place=True, progress=False, **options)


def test_added_filled_and_opened(edge_client):
    make_source(edge_client, 300)
    before = stored(edge_client, "source")
    done = go(edge_client, recall=0.7)
    assert (done.copied, done.points, done.finished, done.in_place) == (300, 300, True, True)
    assert done.vectors == {"small": ""} and done.recall.value > 0.7
    assert done.point_bytes["target"].stored - done.point_bytes["source"].stored == 24
    assert stored(edge_client, "source") == before
    collection = Collection.open("source", edge_client)
    assert collection.search(dense=vectors(300)[7], limit=1)[0].id == point_id(7)
    assert collection.info().fitted
    # What applications write afterwards gets its compressed vector from the next call.
    edge_client.upsert("source", points(310)[298:])
    assert go(edge_client).copied == 12
    assert collection.search(dense=vectors(310)[309], limit=1)[0].id == point_id(309)
    with pytest.raises(RecipeMismatchError, match="dim"):
        go(edge_client, Recipe(dense={"small": Dense(dim=DIM, transforms=[PCA(10)])}))


def test_what_changed_is_compressed_again(edge_client):
    make_source(edge_client, 60)
    edge_client.set_payload("source", {"at": 1}, models.Filter())
    edge_client.create_payload_index("source", "at", models.PayloadSchemaType.INTEGER)
    go(edge_client, updated_at="at")
    edge_client.update_vectors(
        "source", [models.PointVectors(id=point_id(3), vector=(-vectors(60)[4]).tolist())]
    )
    edge_client.set_payload("source", {"at": 2}, [point_id(3)])
    assert go(edge_client, updated_at="at").changed >= 1
    found = Collection.open("source", edge_client).search(dense=-vectors(60)[4], limit=1)
    assert found[0].id == point_id(3)


def test_a_call_that_was_broken_off_goes_on(edge_client, monkeypatch):
    make_source(edge_client, 200)
    ask = in_place._InPlace._ask
    calls = 0

    def fragile(self, method, **arguments):
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        ask(self, method, **arguments)

    monkeypatch.setattr(in_place._InPlace, "_ask", fragile)
    with pytest.raises(KeyboardInterrupt):
        go(edge_client, workers=1)
    monkeypatch.undo()
    with pytest.raises(NotAnEmbplugCollectionError):
        Collection.open("source", edge_client)
    done = go(edge_client)
    assert done.resumed and 0 < done.copied < 200 and done.finished
    assert Collection.open("source", edge_client).search(dense=vectors(200)[7], limit=1)[0].id == point_id(7)


def test_a_recall_below_what_was_asked_for_installs_nothing(edge_client):
    make_source(edge_client, 200)
    poor = Recipe(dense={"small": Dense(dim=DIM, transforms=[PCA(2)])})
    with pytest.raises(VerificationError, match="opens as before"):
        go(edge_client, poor, recall=0.9)
    with pytest.raises(NotAnEmbplugCollectionError):
        Collection.open("source", edge_client)


def test_a_server_that_cannot_is_told_which_could(server_client):
    make_source(server_client, 3)
    with pytest.raises(CapabilityError, match=r"in_place: .*version 1\.18 or later or Qdrant Edge"):
        go(server_client)


def test_what_cannot_be_in_place_is_refused(edge_client):
    make_source(edge_client, 20)
    edge_client.create_collection("named", vectors_config={"dense": COSINE})
    Collection.create("ours", Recipe(dense=Dense(dim=DIM)), edge_client)
    dense = Dense(dim=DIM, transforms=[Rotation()])
    quantized = models.ScalarQuantization(scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8))
    for options, error, said in [
        ({"alias": "live"}, InvalidArgumentError, "alias: expected none"),
        ({"target": "other"}, InvalidArgumentError, "target: expected none"),
        ({"source": "named"}, InvalidArgumentError, r"recipe\.dense: .*'dense'"),
        ({"source": "ours"}, MigrationError, "collection of embplug already"),
        (
            {"recipe": Recipe(dense=Dense(dim=DIM, codes=PowerQuantizer()))},
            InvalidArgumentError,
            r"dense\.dense\.codes",
        ),
        ({"recipe": Recipe(tokens=Tokens(dim=DIM, codes=None))}, InvalidArgumentError, "multivectors"),
        ({"recipe": Recipe(dense=Dense(dim=DIM, quantization=quantized))}, CapabilityError, "quantization"),
    ]:
        arguments = {"source": "source", "target": None, "recipe": Recipe(dense=dense), **options}
        with pytest.raises(error, match=said):
            migrate(engine=edge_client, in_place=True, **arguments)
