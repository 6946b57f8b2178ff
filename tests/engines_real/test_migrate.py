"""Migrations on Qdrant Edge and on a real server."""

from __future__ import annotations

import hashlib
import json
from itertools import count
from typing import Any

import numpy as np
import pytest
from qdrant_client import models
from typer.testing import CliRunner

from embplug import Collection, Dense, Documents, Query, Recipe, Sparse, Tokens, migrate
from embplug.branches.vector_version import PreviousModel, VectorVersion
from embplug.cli import app
from embplug.collection.fitting import save_manifest_steps
from embplug.engines import Engine, calls
from embplug.engines.calls import Call
from embplug.errors import (
    CollectionNotFoundError,
    InvalidArgumentError,
    MigrationError,
    RecipeMismatchError,
    VerificationError,
)
from embplug.lifecycle.migration import alias as alias_module
from embplug.lifecycle.migration import passes as passes_module
from embplug.lifecycle.migration import reader, record, rollback, run, verify
from embplug.methods import FDE, PCA, PowerQuantizer, Procrustes, ResidualQuantizer
from tests.collection.watched import killed_before_last_note
from tests.engines_real.sources import (
    COSINE,
    DIM,
    RECIPE,
    alias_of,
    assert_same,
    at_once,
    make_source,
    point_id,
    points,
    shown,
    stored,
    vectors,
)


def on(*names: str) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("engine_name", names, scope="session", indirect=True)


@pytest.fixture(autouse=True)
def small_pages(monkeypatch):
    monkeypatch.setattr(reader, "PAGE_POINTS", 50)
    monkeypatch.setattr(record, "SHORTEST_INTERVAL_S", 0.0)
    monkeypatch.setattr(record, "SHARE_OF_TIME", 1.0)
    monkeypatch.setattr(verify, "SAMPLED_QUERIES", 30)


def go(engine: Engine, target: str = "target", recipe: Recipe = RECIPE, **options: Any) -> Any:
    return migrate("source", target, recipe, engine=engine, progress=False, **options)


@on("edge", "server")
def test_ids_payloads_indexes_and_vectors_are_kept(engine):
    make_source(engine, 300)
    engine.create_payload_index("source", "tags", models.PayloadSchemaType.KEYWORD, wait=True)
    done = go(engine, alias="live", recall=0.9)
    assert (done.points, done.target_points, done.copied, done.changed, done.deleted) == (300, 300, 300, 0, 0)
    assert (done.switched, done.finished, done.resumed, done.checked_payloads) == (True, True, False, 300)
    assert done.recall.value > 0.95 and not done.recall.user_queries and done.recall.exact
    assert done.point_bytes["target"].stored == done.point_bytes["source"].stored / 2 == DIM * 2
    assert alias_of(engine) == "target"
    # The marks are gone: also what embplug does not hide is as it was.
    assert stored(engine, "target") == stored(engine, "source")
    assert_same(engine, "source", "live")
    schema = engine.get_collection("target").payload_schema
    assert {field: index.data_type for field, index in schema.items()} == {
        "number": models.PayloadSchemaType.INTEGER,
        "tags": models.PayloadSchemaType.KEYWORD,
    }
    assert Collection.open("live", engine).recipe.payload_indexes == {
        "number": "integer",
        "tags": "keyword",
    }
    again = go(engine, alias="live", recall=0.9)
    assert (again.copied, again.changed, again.switched, again.finished) == (0, 0, False, True)


@pytest.mark.parametrize(
    ("engine_name", "datatype"),
    [("edge", models.Datatype.UINT8), ("server", models.Datatype.UINT8), ("server", models.Datatype.FLOAT16)],
    scope="session",
    indirect=["engine_name"],
)
def test_named_vectors_of_other_datatypes(engine, datatype):
    params = models.VectorParams(size=DIM, distance=models.Distance.DOT, datatype=datatype)
    engine.create_collection("source", vectors_config={"text": params})
    rows = np.abs(vectors(200) * 30).round()
    engine.upsert(
        "source",
        [models.PointStruct(id=i, vector={"text": row.tolist()}, payload={}) for i, row in enumerate(rows)],
    )
    recipe = Recipe(dense=Dense(dim=DIM, distance=models.Distance.DOT, transforms=[PCA(12)]))
    done = go(engine, recipe=recipe)
    assert done.vectors == {"dense": "text"} and done.recall.value > 0.8
    assert done.target_points == 200 and not done.finished


@on("edge", "server")
def test_the_source_vector_is_chosen_by_name(engine):
    both = {"a": COSINE, "b": models.VectorParams(size=8, distance=models.Distance.COSINE)}
    engine.create_collection("source", vectors_config=both)
    rows, short = vectors(100), vectors(100, 1, 8)
    source_points = [
        models.PointStruct(id=i, vector={"a": rows[i].tolist(), "b": short[i].tolist()}, payload={})
        for i in range(100)
    ]
    # A point without one of them, and one without any.
    source_points += [models.PointStruct(id=100, vector={"b": short[0].tolist()}, payload={"n": 1})]
    source_points += [models.PointStruct(id=101, vector={}, payload={"n": 2})]
    engine.upsert("source", source_points, wait=True)
    with pytest.raises(InvalidArgumentError, match=r"vector: .*\['a', 'b'\].*got None"):
        go(engine)
    with pytest.raises(InvalidArgumentError, match="got 'c'"):
        go(engine, vector="c")
    with pytest.raises(InvalidArgumentError, match=r"dense\.dense\.dim: expected 8"):
        go(engine, vector="b")
    done = go(engine, vector="a")
    assert (done.vectors, done.target_points) == ({"dense": "a"}, 102)
    assert any("'b'" in note for note in done.notes)
    assert shown(stored(engine, "target")) == stored(engine, "source")
    two = Recipe(dense={"first": Dense(dim=DIM), "b": Dense(dim=8)})
    done = go(engine, "both", two, vector={"first": "a"})
    assert done.vectors == {"first": "a", "b": "b"} and done.recall.by_vector.keys() == {"first", "b"}


@on("server")
def test_matrices_become_codes_and_an_encoding(engine):
    multi = models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)
    params = models.VectorParams(size=DIM, distance=models.Distance.COSINE, multivector_config=multi)
    engine.create_collection("source", vectors_config={"colbert": params})
    rng = np.random.default_rng(0)
    matrices = [vectors(int(length), i) for i, length in enumerate(rng.integers(1, 12, 150))]
    engine.upsert(
        "source",
        [
            models.PointStruct(id=point_id(i), vector={"colbert": matrix.tolist()}, payload={"number": i})
            for i, matrix in enumerate(matrices)
        ],
    )
    tokens = Tokens(
        dim=DIM,
        encoding=FDE(repetitions=8, simhash_bits=3, projection_dim=8),
        multivector=None,
        codes=ResidualQuantizer(bits=4),
    )
    done = go(engine, recipe=Recipe(tokens=tokens), alias="live")
    assert done.vectors == {"tokens": "colbert"} and done.recall.value > 0.8
    payloads = stored(engine, "target")
    assert shown(payloads) == stored(engine, "source")
    assert all(payload.keys() >= {"_embplug_codes"} for payload in payloads.values())
    assert done.point_bytes["source"].stored == pytest.approx(
        4 * DIM * np.mean([len(m) for m in matrices]), rel=0.5
    )
    queries = [Query(tokens=matrices[3]), Query(tokens=matrices[4])]
    assert Collection.open("live", engine).batch_search(queries)[0][0].id == point_id(3)
    report = go(engine, "other", Recipe(tokens=tokens), queries=queries)
    assert (report.recall.user_queries, report.recall.queries) == (True, 2)


@on("edge")
def test_queries_that_cannot_be_asked_are_refused_before_anything_is_copied(engine):
    multi = models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)
    params = models.VectorParams(size=DIM, distance=models.Distance.DOT, multivector_config=multi)
    engine.create_collection("source", vectors_config=params)
    engine.upsert("source", [models.PointStruct(id=1, vector=vectors(3).tolist())])
    recipe = Recipe(tokens=Tokens(dim=DIM, codes=None))
    right = Query(tokens=vectors(2))
    for queries, argument in [
        ([right, Query(tokens=vectors(2), token_weights=[1.0, 2.0])], "queries[1].token_weights"),
        ([], "queries"),
        ([Query(tokens=vectors(2, dim=3))], "queries[0].tokens"),
        ([Query(dense=vectors(1)[0])], "queries[0].dense"),
    ]:
        for options in ({}, {"dry_run": True}, {"target": None, "in_place": True}):
            with pytest.raises(InvalidArgumentError) as raised:
                go(engine, recipe=recipe, queries=queries, **options)
            assert raised.value.argument == argument
    for recall in (-0.1, 95, float("nan")):
        with pytest.raises(InvalidArgumentError, match=r"^recall"):
            go(engine, recipe=recipe, recall=recall)
    assert [collection.name for collection in engine.get_collections().collections] == ["source"]


@on("edge")
def test_texts_of_the_payload_are_found_by_words(engine):
    make_source(engine, 60)
    done = go(engine, recipe=Recipe(dense=Dense(dim=DIM), sparse=Sparse()))
    assert done.target_points == 60 and done.recall.value > 0.95
    hits = Collection.open("target", engine).search(text="naïve", branches=["sparse"])
    assert hits and all("naïve" in hit.payload["text"] for hit in hits)


@on("server")
def test_a_collection_of_embplug_into_another(engine):
    first = Recipe(dense=Dense(dim=DIM, transforms=[PCA(8)], keep_original="disk"))
    collection = Collection.create("source", first, engine)
    rows = vectors(120)
    ids = [f"doc/{i}" for i in range(120)]
    collection.add_batches([Documents(ids, dense=rows, payloads=[{"n": i} for i in range(120)])])
    go(engine, vector="dense_original", alias="live")
    hit = Collection.open("live", engine).search(dense=rows[7], limit=1)[0]
    assert (hit.id, hit.payload) == ("doc/7", {"n": 7})


@on("edge", "server")
def test_what_is_written_meanwhile_is_caught_up_with(engine):
    make_source(engine, 300)
    first = go(engine)
    assert (first.copied, first.finished) == (300, False)
    engine.upsert("source", points(330)[300:], wait=True)
    engine.set_payload("source", {"version": 1}, [point_id(1), point_id(2)])
    engine.update_vectors("source", [models.PointVectors(id=point_id(3), vector=[1.0] * DIM)])
    engine.delete("source", models.PointIdsList(points=[point_id(i) for i in (0, 50, 298, 299)]))
    second = go(engine)
    assert (second.copied, second.changed, second.deleted, second.resumed) == (0, 33, 4, True)
    assert_same(engine, "source", "target")
    third = go(engine)
    assert (third.changed, third.deleted) == (0, 0)


@pytest.mark.parametrize(
    ("engine_name", "dates"), [("edge", False), ("server", True)], scope="session", indirect=["engine_name"]
)
def test_a_time_of_the_last_change_makes_catching_up_cheap(engine, dates):
    def moment(second: int) -> Any:
        return f"2024-05-01T10:00:{second:02}Z" if dates else second

    kind = models.PayloadSchemaType.DATETIME if dates else models.PayloadSchemaType.INTEGER
    make_source(engine, 200)
    engine.set_payload("source", {"at": {"changed": moment(0)}}, models.Filter())
    engine.set_payload("source", {"at": {"changed": moment(1)}}, [point_id(9)])
    engine.create_payload_index("source", "at.changed", kind, wait=True)
    go(engine, updated_at="at.changed")
    engine.set_payload("source", {"at": {"changed": moment(2)}, "version": 1}, [point_id(5)])
    engine.update_vectors("source", [models.PointVectors(id=point_id(6), vector=[1.0] * DIM)])
    engine.upsert("source", points(201)[200:], wait=True)
    engine.set_payload("source", {"at": {"changed": moment(3)}}, [point_id(200)])
    engine.delete("source", models.PointIdsList(points=[point_id(7)]))
    done = go(engine, updated_at="at.changed")
    assert (done.changed, done.deleted) == (2, 1)
    # What changed without saying so is not seen; a call without the field sees it.
    assert go(engine).changed == 1
    assert_same(engine, "source", "target")


@on("edge", "server")
def test_writes_up_to_the_switch_are_caught_and_those_after_it_stay(engine, monkeypatch):
    make_source(engine, 200)

    def at_the_last_moment(client: Engine, alias: str, source: str, target: str) -> bool:
        engine.set_payload("source", {"version": 1}, [point_id(1)])
        engine.delete("source", models.PointIdsList(points=[point_id(2)]))
        engine.upsert("source", points(201)[200:], wait=True)
        switched = switch(client, alias, source, target)
        opened = Collection.open("live", engine)
        opened.add([point_id(3), "new"], dense=vectors(2), payloads=[{"mine": 1}, {"mine": 2}])
        opened.set_payload({"mine": 3}, [point_id(4)])
        return switched

    switch = run.switch
    monkeypatch.setattr(run, "switch", at_the_last_moment)
    done = go(engine, alias="live")
    assert (done.changed, done.deleted, done.finished) == (2, 1, True)
    expected = stored(engine, "source")
    expected[point_id(3)] = {"mine": 1}
    expected[point_id(4)]["mine"] = 3
    found = {hit.id: hit.payload for hit in Collection.open("live", engine).scroll(limit=500)[0]}
    assert found.pop("new") == {"mine": 2}
    assert found == expected


@on("edge")
def test_a_recall_below_what_was_asked_for_switches_nothing(engine):
    make_source(engine, 300)
    engine.update_collection_aliases(
        [
            models.CreateAliasOperation(
                create_alias=models.CreateAlias(collection_name="source", alias_name="live")
            )
        ]
    )
    recipe = Recipe(dense=Dense(dim=DIM, transforms=[PCA(2)]))
    with pytest.raises(VerificationError, match="'live' was not switched") as caught:
        go(engine, recipe=recipe, alias="live", recall=0.9)
    assert caught.value.report.recall.value < 0.9 and not caught.value.report.switched
    assert (caught.value.report.target_points, alias_of(engine)) == (300, "source")
    # Nothing is lost: the same call with another demand goes on.
    done = go(engine, recipe=recipe, alias="live", recall=0.1)
    assert (done.copied, done.switched, alias_of(engine)) == (0, True, "target")


@on("edge", "server")
def test_back_and_forth(engine):
    make_source(engine, 100)
    go(engine, alias="live")
    assert rollback("source", "target", "live", engine=engine) and alias_of(engine) == "source"
    assert not rollback("source", "target", "live", engine=engine)
    engine.upsert("source", points(101)[100:], wait=True)
    Collection.open("target", engine).add([5000], dense=vectors(1))
    # Called by the alias, which points at the source again.
    done = migrate("live", "target", RECIPE, engine=engine, alias="live", progress=False)
    assert (done.switched, done.deleted, alias_of(engine)) == (True, 1, "target")
    assert_same(engine, "source", "live")
    # And once more, though the alias is switched.
    again = migrate("live", "target", RECIPE, engine=engine, alias="live", progress=False)
    assert (again.source, again.changed, again.finished) == ("source", 0, True)
    assert rollback("live", "target", "live", engine=engine) and alias_of(engine) == "source"
    engine.create_collection("third", vectors_config=COSINE)
    engine.update_collection_aliases(
        [
            models.CreateAliasOperation(
                create_alias=models.CreateAlias(collection_name="third", alias_name="x")
            )
        ]
    )
    with pytest.raises(InvalidArgumentError, match=r"alias: .*one of 'third'"):
        rollback("source", "target", "x", engine=engine)


@on("server")
def test_a_rehearsal_writes_nothing(engine):
    make_source(engine, 300)
    before = {collection.name for collection in engine.get_collections().collections}
    done = go(engine, dry_run=True, alias="live", recipe=Recipe(dense=Dense(dim=DIM, transforms=[PCA(8)])))
    assert {collection.name for collection in engine.get_collections().collections} == before
    assert alias_of(engine) is None
    assert done.dry_run and (done.points, done.copied, done.recall.queries) == (300, 300, 30)
    assert 0.2 < done.recall.value < 1.0
    assert done.point_bytes["target"].stored == 8 * 4
    with pytest.raises(VerificationError, match="was asked for"):
        go(engine, dry_run=True, recall=0.99, recipe=Recipe(dense=Dense(dim=DIM, transforms=[PCA(2)])))


class _Killed(BaseException):
    pass


@on("server")
def test_broken_off_before_and_after_every_single_call(engine, monkeypatch):
    make_source(engine, 110)
    answer = calls._answer
    calls_left, written = 0, 0

    def fragile(client: Engine, call: Call) -> Any:
        nonlocal calls_left, written
        calls_left -= 1
        if calls_left == 0 and attempt % 2:
            raise _Killed
        if call.method in ("upsert", "grpc_points.Upsert"):
            written += len(call.arguments.get("points") or call.arguments["request"].points)
        result = answer(client, call)
        if calls_left == 0:
            raise _Killed
        return result

    monkeypatch.setattr(calls, "_answer", fragile)
    recipe = Recipe(dense=Dense(dim=DIM, transforms=[PCA(14)]))
    for attempt in count(2):
        # Each time one call more is answered, but for the last one every other time.
        calls_left = attempt // 2
        try:
            done = go(engine, recipe=recipe, alias="live", workers=2)
            break
        except _Killed:
            assert alias_of(engine) in (None, "target")
    monkeypatch.undo()
    assert done.finished and attempt > 30
    assert stored(engine, "target") == stored(engine, "source")
    assert alias_of(engine) == "target"
    assert Collection.open("live", engine).search(dense=vectors(110)[9], limit=1)[0].id == point_id(9)
    # Each attempt repeats no more than what was under way.
    assert written < 110 + attempt * 150


@on("edge")
def test_what_cannot_be_is_refused_before_anything_is_written(engine):
    make_source(engine, 30)
    engine.create_collection("taken", vectors_config=COSINE)
    before = {collection.name for collection in engine.get_collections().collections}
    euclid = Recipe(dense=Dense(dim=DIM, distance=models.Distance.EUCLID))
    for options, error, said in [
        ({"target": "taken"}, MigrationError, "'taken' exists"),
        ({"target": "source"}, MigrationError, "'source' exists"),
        (
            {"recipe": Recipe(tokens=Tokens(dim=DIM, codes=None))},
            InvalidArgumentError,
            "multivectors, which 'source' lacks",
        ),
        ({"recipe": Recipe(dense=Dense(dim=8))}, InvalidArgumentError, "dense.dense.dim: expected 16"),
        ({"recipe": euclid}, InvalidArgumentError, "dense.dense.distance: expected Cosine"),
        ({"alias": "taken"}, InvalidArgumentError, "alias: .*'taken'"),
        ({"updated_at": "version"}, InvalidArgumentError, "updated_at: .*no index"),
        ({"vector": {"nope": ""}}, InvalidArgumentError, "vector: .*'nope'"),
        ({"workers": 0}, InvalidArgumentError, "workers"),
    ]:
        with pytest.raises(error, match=said):
            go(engine, **options)
    with pytest.raises(CollectionNotFoundError, match="'absent'"):
        migrate("absent", "target", RECIPE, engine=engine)
    assert {collection.name for collection in engine.get_collections().collections} == before
    go(engine)
    with pytest.raises(RecipeMismatchError, match="datatype"):
        go(engine, recipe=Recipe(dense=Dense(dim=DIM)))
    engine.create_collection("elsewhere", vectors_config=COSINE)
    with pytest.raises(MigrationError, match="a migration of 'source'"):
        migrate("elsewhere", "target", RECIPE, engine=engine)
    engine.update_collection_aliases(
        [
            models.CreateAliasOperation(
                create_alias=models.CreateAlias(collection_name="elsewhere", alias_name="e")
            )
        ]
    )
    with pytest.raises(InvalidArgumentError, match=r"alias: .*'elsewhere'"):
        go(engine, alias="e")


@on("edge")
def test_an_empty_source(engine):
    make_source(engine, 0)
    recipe = Recipe(dense=Dense(dim=DIM, transforms=[PCA(8)]))
    done = go(engine, recipe=recipe, recall=0.9)
    assert (done.points, done.target_points, done.recall) == (0, 0, None)
    engine.upsert("source", points(50), wait=True)
    assert go(engine, recipe=recipe).target_points == 50


@on("server")
def test_the_command(engine, qdrant_address, monkeypatch, tmp_path):
    make_source(engine, 200)
    monkeypatch.chdir(tmp_path)
    (tmp_path / "recipe.yaml").write_text(RECIPE.to_yaml())
    (tmp_path / "small.yaml").write_text(Recipe(dense=Dense(dim=DIM, transforms=[PCA(2)])).to_yaml())
    np.save(tmp_path / "queries.npy", vectors(5, 9))
    at, _ = qdrant_address

    def embplug(*arguments: object) -> Any:
        return CliRunner().invoke(app, ["migrate", *map(str, arguments), "--at", at], env={"COLUMNS": "200"})

    dry = embplug("source", "target", "--recipe", "recipe.yaml", "--dry-run", "--alias", "live")
    assert "would be switched" in dry.stdout and "200 points" in dry.stdout, dry.stderr
    low = embplug("source", "low", "--recipe", "small.yaml", "--recall", "0.99", "--alias", "live", "--json")
    assert low.exit_code == 5 and json.loads(low.stdout)["report"]["recall"]["value"] < 0.99
    done = embplug(
        "source", "target", "--recipe", "recipe.yaml", "--alias", "live", "--recall", "0.9",
        "--queries", "queries.npy", "--vector", "dense=", "--json",
    )  # fmt: skip
    report = json.loads(done.stdout)
    assert (done.exit_code, report["switched"], report["recall"]["queries"]) == (0, True, 5), done.stderr
    back = embplug("source", "target", "--alias", "live", "--rollback", "--json")
    assert json.loads(back.stdout) == {"alias": "live", "switched": True}
    for arguments, code, said in [
        (("source", "target"), 2, "--recipe"),
        (("source", "target", "--recipe", "small.yaml"), 3, "another recipe"),
        (("source", "new", "--recipe", "recipe.yaml", "--queries", "absent.npy"), 2, "absent.npy"),
        (("source", "new", "--recipe", "recipe.yaml", "--vector", "x", "--vector", "y"), 2, "RECIPE=SOURCE"),
    ]:
        failed = embplug(*arguments)
        assert (failed.exit_code, said in failed.stderr) == (code, True), (arguments, failed.stderr)


@on("edge", "server")
def test_dense_vectors_become_codes(engine):
    engine.create_collection("source", vectors_config=COSINE)
    rows = vectors(100)
    source_points = [models.PointStruct(id=i, vector=rows[i].tolist(), payload={"n": i}) for i in range(100)]
    # A point without the vector has no codes, and is not found.
    source_points.append(models.PointStruct(id=100, vector={}, payload={"n": 100}))
    engine.upsert("source", source_points, wait=True)
    coded = Recipe(dense=Dense(dim=DIM, transforms=[PCA(6)], codes=PowerQuantizer(bits=8)))
    done = go(engine, recipe=coded)
    assert done.recall.value > 0.95 and done.target_points == 101
    payload_bytes = -(-DIM * 5 // 4)
    assert done.point_bytes["target"].stored == pytest.approx(4 * 6 + payload_bytes, abs=2)
    hits = Collection.open("target", engine).search(dense=rows[4], limit=1, with_stages=True)
    assert (hits[0].id, hits[0].payload) == (4, {"n": 4})
    assert set(hits[0].stages or ()) == {"dense", "dense_codes"}
    with pytest.raises(InvalidArgumentError, match="uint8"):
        go(engine, "bytes", Recipe(dense=Dense(dim=DIM, datatype="uint8")))


@on("edge", "memory", "server")
def test_documents_without_vectors_are_copied_too(engine):
    source = Collection.create("source", Recipe(dense=Dense(dim=DIM)), engine)
    source.add(range(40), dense=vectors(40), payloads=[{"n": i} for i in range(40)])
    source.add(["blank"], texts=[""], payloads=[{"n": -1}], on_empty="store")
    learned = Recipe(dense=Dense(dim=DIM, transforms=[PCA(6)]))
    done = go(engine, recipe=learned, finish=True)
    assert done.finished and done.target_points == 41
    target = Collection.open("target", engine)
    (blank,) = target.retrieve(["blank"], with_vectors=True)
    assert (blank.payload, blank.vector or {}) == ({"n": -1, "text": ""}, {})
    assert {hit.id for hit in target.search(dense=vectors(40)[0], limit=50)} == {*range(40)}


def changing_target(monkeypatch, change):
    """Let another process change the target of a migration when the first points are about to be written."""
    write, changes = passes_module.Passes._write, iter([change])

    def after_a_change(self, *arguments, **options):
        for change in changes:
            change(Collection.open("target", self.engine))
        return write(self, *arguments, **options)

    monkeypatch.setattr(passes_module.Passes, "_write", after_a_change)


@on("edge", "server")
def test_a_migration_follows_a_target_that_gets_an_index(engine, monkeypatch):
    make_source(engine, 200)
    changing_target(monkeypatch, lambda target: target.create_payload_index("version", "integer"))
    done = go(engine, finish=True)
    assert done.finished and done.copied == 200 and done.recall.value > 0.9
    assert stored(engine, "target") == stored(engine, "source")
    target = Collection.open("target", engine)
    assert target.recipe.payload_indexes == {"number": "integer", "version": "integer"}
    assert target.search(dense=vectors(200)[7], limit=1)[0].id == point_id(7)


@on("edge")
def test_a_migration_goes_on_where_the_index_of_a_target_was_not_noted_down(engine, monkeypatch):
    make_source(engine, 50)
    go(engine)
    target = Collection.open("target", engine)
    killed_before_last_note(monkeypatch, lambda: target.create_payload_index("version", "integer"))
    recipe = RECIPE.replaced(payload_indexes={**RECIPE.payload_indexes, "version": "integer"})
    assert go(engine, recipe=recipe, finish=True).finished


@on("edge", "server")
def test_a_migration_into_a_target_that_stores_something_else_by_now_says_so(engine, monkeypatch):
    make_source(engine, 50)

    def upgraded(target):
        version = {"dense": VectorVersion(model=2)}
        pipeline = target._pipeline.changed(target.recipe, version)
        pipeline.set_state(target._pipeline.get_state())
        assert calls.run(engine, save_manifest_steps(engine, "target", pipeline))

    changing_target(monkeypatch, upgraded)
    with pytest.raises(MigrationError, match=r"'target'.* was changed while points were copied"):
        go(engine)


@on("edge", "server")
def test_of_two_migrations_into_one_target_one_begins_and_the_other_is_told(engine):
    make_source(engine, 100)
    outcomes = at_once(lambda: go(engine), lambda: go(engine))
    reports = [outcome for outcome in outcomes if not isinstance(outcome, Exception)]
    told = [outcome for outcome in outcomes if isinstance(outcome, Exception)]
    # The second may come so late that it goes on with what the first has begun.
    assert reports and all(isinstance(error, MigrationError) for error in told)
    assert go(engine, finish=True).finished
    assert stored(engine, "target") == stored(engine, "source")


@on("edge", "server")
def test_a_migration_that_another_call_has_taken_over_changes_nothing_any_more(engine, monkeypatch):
    make_source(engine, 200)
    copy, calls_under_way = passes_module.Passes.copy, iter([None])

    def copy_late(self):
        for _ in calls_under_way:
            # Meanwhile another process runs the same call to its end, and users write through the alias.
            assert go(engine, alias="live").finished
            live = Collection.open("live", engine)
            live.add([point_id(3), 10**6], dense=vectors(2), payloads=[{"by": "user"}] * 2)
            live.delete([point_id(4)])
        return copy(self)

    monkeypatch.setattr(passes_module.Passes, "copy", copy_late)
    with pytest.raises(MigrationError, match="a later call has taken over the migration of 'source'"):
        go(engine, alias="live")
    there = shown(stored(engine, "target"))
    assert there[point_id(3)] == there[10**6] == {"by": "user"}
    assert point_id(4) not in there and len(there) == 200
    again = go(engine, alias="live")
    assert again.finished and (again.copied, again.changed, again.deleted) == (0, 0, 0)


@on("edge", "server")
@pytest.mark.parametrize("updated_at", [None, "number"])
def test_what_users_write_while_the_pass_after_the_switch_runs_stays(engine, monkeypatch, updated_at):
    make_source(engine, 200)
    switch, differs = run.switch, passes_module._differs

    def at_the_last_moment(client, *names):
        client.delete("source", models.PointIdsList(points=[point_id(5)]), wait=True)
        client.set_payload("source", {"number": 10**6}, points=[point_id(7)], wait=True)
        return switch(client, *names)

    def when_marks_are_read(point, copy, late):
        differ = differs(point, copy, late)
        if late and differ and point.id == point_id(7):
            live = Collection.open("live", engine)
            ids = [point_id(5), point_id(7)]
            live.add(ids, dense=vectors(2), payloads=[{"by": "user"}] * 2)
        return differ

    monkeypatch.setattr(run, "switch", at_the_last_moment)
    monkeypatch.setattr(passes_module, "_differs", when_marks_are_read)
    done = go(engine, alias="live", updated_at=updated_at)
    assert done.finished and done.changed == 1
    there = shown(stored(engine, "target"))
    assert there[point_id(5)] == there[point_id(7)] == {"by": "user"} and len(there) == 200


@on("edge", "server")
def test_a_pass_that_goes_on_after_a_kill_is_followed_by_a_whole_one(engine):
    make_source(engine, 200)
    go(engine)
    kept = record.read_record("target", engine.get_collection("target"))
    last = max(map(str, stored(engine, "source")), key=lambda text: (not text.isdecimal(), text))
    record.Checkpoint(engine, "target", kept).claim(phase=record.CATCH_UP, cursor=last)
    engine.set_payload("source", {"changed": True}, points=[point_id(0)], wait=True)
    done = go(engine, finish=True)
    assert done.finished and done.changed == 1 and done.passes == 2
    assert stored(engine, "target") == stored(engine, "source")


@on("edge", "memory", "server")
def test_a_collection_that_is_being_upgraded_is_not_copied(engine):
    recipe = Recipe(dense={"a": Dense(dim=DIM), "b": Dense(dim=DIM)})
    source = Collection.create("source", recipe, engine)
    source.add([*range(20)], dense={"a": vectors(20), "b": vectors(20)})
    adapter = Procrustes().fit(vectors(20), vectors(20))
    previous = PreviousModel(dim=DIM, stored_as="a", adapter=adapter)
    pipeline = source._pipeline.changed(recipe, {"a": VectorVersion(model=2, previous=previous)})
    pipeline.set_state(source._pipeline.get_state())
    assert calls.run(engine, save_manifest_steps(engine, "source", pipeline))
    with pytest.raises(MigrationError, match=r"'source' is being upgraded.* 'a' of the earlier .*reembed"):
        go(engine, recipe=recipe)
    assert not engine.collection_exists("target")
    # The vector of the other model is copied.
    assert go(engine, recipe=Recipe(dense={"b": Dense(dim=DIM)}), finish=True).finished


@on("edge", "memory", "server")
def test_of_two_targets_one_gets_the_alias(engine):
    engine.create_collection("source", vectors_config=COSINE)
    for name in ("first", "second"):
        engine.create_collection(name, vectors_config=COSINE)
    for before in (None, "source"):
        if before is not None:
            create = models.CreateAlias(collection_name=before, alias_name="live")
            engine.update_collection_aliases([models.CreateAliasOperation(create_alias=create)])
        outcomes = at_once(
            *(
                lambda name=name: alias_module.switch(engine, "live", "source", name)
                for name in ("first", "second")
            )
        )
        assert sorted(isinstance(outcome, MigrationError) for outcome in outcomes) == [False, True]
        won = ("first", "second")[outcomes.index(True)]
        # Nothing is left of their announcements.
        assert {own.alias_name: own.collection_name for own in engine.get_aliases().aliases} == {"live": won}
        engine.update_collection_aliases(
            [models.DeleteAliasOperation(delete_alias=models.DeleteAlias(alias_name="live"))]
        )


def test_the_announcement_of_a_process_that_was_killed_is_passed_over(memory_client, monkeypatch):
    monkeypatch.setattr(alias_module, "PAUSE_S", 0.001)
    for name in ("source", "target"):
        memory_client.create_collection(name, vectors_config=COSINE)
    digest = hashlib.sha256(b"live").hexdigest()[:16]
    create = models.CreateAlias(collection_name="target", alias_name=f"embplug_switch_{digest}_dead")
    memory_client.update_collection_aliases([models.CreateAliasOperation(create_alias=create)])
    assert alias_module.switch(memory_client, "live", "source", "target")
    assert {own.alias_name for own in memory_client.get_aliases().aliases} == {"live"}
