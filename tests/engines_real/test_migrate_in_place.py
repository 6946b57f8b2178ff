"""Compressed vectors beside the old ones."""

from __future__ import annotations

import threading

import pytest
from qdrant_client import models

from embplug import Collection, Dense, Recipe, Tokens, migrate
from embplug.branches.vector_version import VectorVersion
from embplug.collection.fitting import save_manifest_steps
from embplug.engines.calls import run
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
from tests.engines_real.sources import (
    COSINE,
    DIM,
    at_once,
    make_source,
    point_id,
    points,
    stored,
    vectors,
)

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


def test_points_that_are_deleted_meanwhile_do_not_stop_it(edge_client, monkeypatch):
    make_source(edge_client, 200)
    update, gone = edge_client.update_vectors, []

    def after_a_deletion(**arguments):
        if len(gone) < 2:
            gone.append(arguments["points"][0].id)
            edge_client.delete("source", models.PointIdsList(points=gone[-1:]))
        return update(**arguments)

    monkeypatch.setattr(edge_client, "update_vectors", after_a_deletion)
    done = go(edge_client, workers=1)
    assert (done.copied, done.points, done.finished) == (198, 198, True)


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
    update = edge_client.update_vectors
    calls = 0

    def fragile(**arguments):
        nonlocal calls
        calls += 1
        if calls == 3:
            raise KeyboardInterrupt
        return update(**arguments)

    monkeypatch.setattr(edge_client, "update_vectors", fragile)
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


def test_of_several_that_begin_at_once_one_wins_and_the_others_are_told(edge_client, monkeypatch):
    make_source(edge_client, 120)
    count = 4
    barrier, begin = threading.Barrier(count), in_place.begin_once

    def together(*arguments):
        barrier.wait(60)
        return begin(*arguments)

    monkeypatch.setattr(in_place, "begin_once", together)
    outcomes = at_once(*[lambda: go(edge_client)] * count)
    told = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    (done,) = (outcome for outcome in outcomes if not isinstance(outcome, Exception))
    assert all(isinstance(error, MigrationError) and "in place" in str(error) for error in told)
    assert done.finished and done.copied == 120
    collection = Collection.open("source", edge_client)
    assert collection.search(dense=vectors(120)[7], limit=1)[0].id == point_id(7)
    assert not [own.alias_name for own in edge_client.get_aliases().aliases if "switch" in own.alias_name]
    metadata = edge_client.get_collection("source").config.metadata
    assert not [key for key, value in metadata.items() if "switch" in key and value is not None]
    monkeypatch.undo()
    assert go(edge_client).copied == 0


@pytest.mark.parametrize("done", [False, True])
def test_killed_when_it_has_just_begun_it_goes_on(edge_client, monkeypatch, done):
    make_source(edge_client, 60)
    begin = in_place.begin_once

    def killed(*arguments):
        if done:
            assert begin(*arguments)
        raise KeyboardInterrupt

    monkeypatch.setattr(in_place, "begin_once", killed)
    with pytest.raises(KeyboardInterrupt):
        go(edge_client)
    monkeypatch.undo()
    report = go(edge_client)
    assert (report.resumed, report.copied, report.finished) == (done, 60, True)
    assert not [own for own in edge_client.get_aliases().aliases if "switch" in own.alias_name]


def test_a_collection_that_is_upgraded_since_is_not_filled_with_vectors_of_before(edge_client):
    make_source(edge_client, 60)
    go(edge_client)
    collection = Collection.open("source", edge_client)
    collection.create_payload_index("number", "integer")
    assert go(edge_client).finished
    assert collection.recipe == Collection.open("source", edge_client).recipe
    pipeline = collection._pipeline.changed(collection.recipe, {"small": VectorVersion(model=2)})
    pipeline.set_state(collection._pipeline.get_state())
    collection.reload()
    pipeline.revision = collection._pipeline.revision
    assert run(edge_client, save_manifest_steps(edge_client, "source", pipeline))
    with pytest.raises(MigrationError, match="another recipe, model or state"):
        go(edge_client)
