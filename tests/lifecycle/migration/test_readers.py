"""What a migration means for readers without embplug."""

from __future__ import annotations

import numpy as np
import pytest
from qdrant_client import models

from embplug import Collection, Dense, Recipe, Sparse, Tokens, migrate
from embplug.engines import EdgeClient
from embplug.errors import InvalidArgumentError
from embplug.lifecycle.migration.readers import keeping_names, reader_notes, why_readers_change
from embplug.methods import PCA, PowerQuantizer, Truncation

DIM = 32
SCALAR = models.ScalarQuantization(scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8))


@pytest.mark.parametrize(
    ("recipe", "reason"),
    [
        (Recipe(dense=Dense(dim=DIM, datatype="float16", quantization=SCALAR)), None),
        (Recipe(dense=Dense(dim=DIM, transforms=[Truncation(8)])), None),
        (Recipe(dense=Dense(dim=DIM, preset="small"), sparse=Sparse()), None),
        (Recipe(dense=Dense(dim=DIM, transforms=[PCA(8)])), "transforms the vectors of 'dense' by pca"),
        (Recipe(dense=Dense(dim=DIM, codes=PowerQuantizer())), "codes rank"),
        (Recipe(tokens=Tokens(dim=DIM)), "encodes tokens"),
        (Recipe(sparse=Sparse()), "no dense vector"),
    ],
)
def test_what_a_recipe_changes_for_readers(recipe, reason):
    found = why_readers_change(recipe)
    assert found is None if reason is None else reason in found
    names = {name: "v" for name in recipe.dense}
    if reason is None:
        assert [*keeping_names(recipe, names).dense] == ["v"]
        with pytest.raises(InvalidArgumentError, match="without a name"):
            keeping_names(recipe, {name: "" for name in recipe.dense})
    else:
        with pytest.raises(InvalidArgumentError, match="keep_names"):
            keeping_names(recipe, names)


def test_readers_are_told_what_to_change():
    plain = Recipe(dense=Dense(dim=DIM, transforms=[Truncation(8)]))
    renamed, first, read = reader_notes(plain, {"dense": "v"}, ["live", "other"], "live")
    assert "'v' becomes 'dense'" in renamed and "--keep-names" in renamed
    assert "the first 8 dimensions" in first
    assert "by 'live', 'other'" in read and "'other' stays at the source" in read
    unnamed = reader_notes(plain, {"dense": ""}, [], "live")[0]
    assert "--keep-names" not in unnamed
    weighted = Recipe(dense=Dense(dim=DIM), sparse=Sparse(kind="learned"))
    words = reader_notes(weighted, {"dense": "v", "sparse": "words"}, [], "live")[0]
    assert "'words' becomes 'sparse'" in words and "--keep-names" not in words
    turned = Recipe(dense=Dense(dim=DIM, transforms=[PCA(8)]))
    (note,) = reader_notes(turned, {"dense": "v"}, [], None)
    assert note.startswith("Readers of the target need embplug from the switch on")


def test_readers_of_the_alias_go_on_with_the_name_that_they_know(tmp_path):
    rng = np.random.default_rng(0)
    vectors = rng.standard_normal((300, DIM)).astype(np.float32)
    recipe = Recipe(dense=Dense(dim=DIM, quantization=SCALAR, on_disk=True))
    with EdgeClient(tmp_path / "edge") as engine:
        params = models.VectorParams(size=DIM, distance=models.Distance.COSINE)
        engine.create_collection("source", vectors_config={"v": params})
        payloads = [{"text": f"text {i}"} for i in range(300)]
        engine.upsert(
            "source", models.Batch(ids=list(range(300)), vectors={"v": vectors.tolist()}, payloads=payloads)
        )
        options = {"engine": engine, "alias": "live", "keep_names": True, "progress": False}
        dry = migrate("source", "target", recipe, dry_run=True, **options)
        assert dry.search_ms.keys() == {"source", "target"} and min(dry.search_ms.values()) > 0
        done = migrate("source", "target", recipe, recall=0.9, **options)
        assert done.vectors == {"v": "v"} and done.switched
        assert "the vectors keep their names" in done.readers[0]
        found = engine.query_points("live", query=vectors[7].tolist(), using="v", limit=1)
        assert found.points[0].id == 7
        assert Collection.open("live", engine).search(dense=vectors[7], limit=1)[0].id == 7
        # The same call goes on, and catches up.
        assert migrate("source", "target", recipe, **options).resumed
        source, target = (done.point_bytes[side] for side in ("source", "target"))
        assert source.graph == target.graph > 0
        for side in (source, target):
            assert side.payload == pytest.approx(len('{"text":"text 100"}'), abs=1)
        assert target.whole == target.stored + target.graph + target.payload


def test_names_of_a_source_whose_sparse_vector_has_another_one_are_not_kept(memory_client):
    memory_client.create_collection(
        "source",
        vectors_config={"v": models.VectorParams(size=2, distance=models.Distance.COSINE)},
        sparse_vectors_config={name: models.SparseVectorParams() for name in ("words", "sparse")},
    )
    weights = models.SparseVector(indices=[3], values=[1.0])
    vector = {"v": [0.6, 0.8], "words": weights, "sparse": weights}
    memory_client.upsert("source", [models.PointStruct(id=i, vector=vector) for i in range(20)])
    recipe = Recipe(dense=Dense(dim=2), sparse=Sparse(kind="learned"))
    options = {"engine": memory_client, "keep_names": True, "progress": False}
    with pytest.raises(InvalidArgumentError, match=r"^keep_names: .* named 'sparse', .* got 'words'$"):
        migrate("source", "target", recipe, vector={"dense": "v", "sparse": "words"}, **options)
    assert not memory_client.collection_exists("target")
    migrate("source", "target", recipe, vector={"dense": "v", "sparse": "sparse"}, **options)
    (record,) = memory_client.retrieve("target", [7], with_vectors=True)
    assert record.vector.keys() == {"v", "sparse"}


@pytest.mark.parametrize(
    ("options", "named"),
    [
        ({"recall": "high"}, r"recall: expected a number from 0 to 1, got 'high'"),
        ({"recall": True}, r"recall: expected a number from 0 to 1, got True"),
    ],
)
def test_what_a_migration_cannot_do_is_named_before_it_begins(memory_client, options, named):
    params = models.MultiVectorConfig(comparator=models.MultiVectorComparator.MAX_SIM)
    matrix = models.VectorParams(size=2, distance=models.Distance.DOT, multivector_config=params)
    memory_client.create_collection("source", vectors_config={"m": matrix})
    recipe = Recipe(tokens=Tokens(dim=2))
    for dry_run in (True, False):
        with pytest.raises(InvalidArgumentError, match=f"^{named}"):
            migrate("source", "target", recipe, engine=memory_client, dry_run=dry_run, **options)
    assert not memory_client.collection_exists("target")
