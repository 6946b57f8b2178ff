"""What a collection tells of itself."""

from __future__ import annotations

import json
from importlib.metadata import version
from typing import Any

import numpy as np
import pytest
from qdrant_client import QdrantClient

from embplug import Collection, Dense, Multivector, Recipe, Sparse, Tokens
from embplug.branches.documents import CheckedSample
from embplug.branches.pipeline import Pipeline
from embplug.branches.vector_version import VectorVersion
from embplug.collection.fitting import save_manifest_steps
from embplug.collection.info import existing_steps, info_steps
from embplug.collection.opening import create_steps
from embplug.engines.calls import run
from embplug.errors import CollectionNotFoundError, NotAnEmbplugCollectionError
from embplug.methods import PCA, Rotation
from embplug.methods.kernels import in_use
from tests.branches.parts import DIM, SMALL_FDE, vectors

RECIPE = Recipe(dense={"a": Dense(dim=DIM, transforms=[PCA(4)])}, sparse=Sparse())
SAMPLE = CheckedSample(None, {"a": vectors(30)}, texts=["words"])


def described(engine: Any, recipe: Recipe = RECIPE, sample: CheckedSample | None = None) -> Any:
    run(engine, create_steps(engine, "docs", recipe, sample=sample))
    return run(engine, info_steps(engine, "docs"))


def test_a_collection_that_does_not_exist_is_named(memory_client: QdrantClient) -> None:
    for steps in (existing_steps("docs"), info_steps(memory_client, "docs")):
        with pytest.raises(CollectionNotFoundError, match="'docs'"):
            run(memory_client, steps)
    memory_client.create_collection("plain", vectors_config={})
    assert run(memory_client, existing_steps("plain")).points_count == 0
    with pytest.raises(NotAnEmbplugCollectionError):
        run(memory_client, info_steps(memory_client, "plain"))


def test_it_tells_vectors_recipe_and_versions(memory_client: QdrantClient) -> None:
    info = described(memory_client)
    assert (info.name, info.points, info.status, info.recipe) == ("docs", 0, "green", RECIPE)
    assert info.created_with == version("embplug") and info.versions == {}
    assert {name: params.get("size") for name, params in info.vectors.items()} == {"a": 4, "sparse": None}
    assert info.vectors["sparse"]["modifier"] == "idf"
    upgraded = Pipeline(RECIPE, versions={"a": VectorVersion(model=2)})
    run(memory_client, save_manifest_steps(memory_client, "docs", upgraded))
    assert run(memory_client, info_steps(memory_client, "docs")).versions == {"a": VectorVersion(model=2)}


def test_it_tells_whether_everything_has_learned(memory_client: QdrantClient) -> None:
    before = described(memory_client)
    assert (before.fitted, before.state_bytes) == (False, 0)
    pipeline = Pipeline(RECIPE)
    pipeline.branches["a"].fit(SAMPLE)
    run(memory_client, save_manifest_steps(memory_client, "docs", pipeline))
    part = run(memory_client, info_steps(memory_client, "docs"))
    assert not part.fitted and part.state_bytes > 0
    pipeline.fit(SAMPLE)
    run(memory_client, save_manifest_steps(memory_client, "docs", pipeline))
    whole = run(memory_client, info_steps(memory_client, "docs"))
    assert whole.fitted and whole.state_bytes > part.state_bytes


def test_what_has_nothing_to_learn_is_fitted(memory_client: QdrantClient) -> None:
    recipe = Recipe(dense=Dense(dim=DIM, transforms=[Rotation()]))
    info = described(memory_client, recipe)
    assert (info.fitted, info.state_bytes) == (True, 0)


def test_edge_tells_its_bytes_on_disk(edge_client: Any) -> None:
    info = described(edge_client, sample=SAMPLE)
    assert info.fitted and info.disk_bytes > info.state_bytes > 0


def test_the_simulation_tells_no_bytes_on_disk(memory_client: QdrantClient) -> None:
    assert described(memory_client).disk_bytes is None


def test_it_tells_what_scores_codes(memory_client: QdrantClient, monkeypatch: pytest.MonkeyPatch) -> None:
    assert described(memory_client).codes_scored_by == in_use()
    monkeypatch.setattr("embplug.collection.info.in_use", lambda: "avx1024")
    assert run(memory_client, info_steps(memory_client, "docs")).codes_scored_by == "avx1024"


def test_the_fields_are_json(memory_client: QdrantClient) -> None:
    run(memory_client, create_steps(memory_client, "docs", RECIPE))
    upgraded = Pipeline(RECIPE, versions={"a": VectorVersion(model=2)})
    run(memory_client, save_manifest_steps(memory_client, "docs", upgraded))
    info = run(memory_client, info_steps(memory_client, "docs"))
    fields = json.loads(json.dumps(info.to_dict()))
    assert fields.keys() == vars(info).keys()
    assert Recipe.from_dict(fields["recipe"]) == RECIPE
    assert VectorVersion(**fields["versions"]["a"]) == VectorVersion(model=2)


@pytest.mark.parametrize("preset", ["small", "balanced", "exact"])
def test_bytes_of_a_document_count_what_was_learned(engine: Any, preset: Any) -> None:
    dim, tokens = 48, 30
    recipe = Recipe(tokens=Tokens(dim=dim, preset=preset), dense=Dense(dim=dim))
    collection = Collection.create("docs", recipe, engine)
    assert collection.info().document_bytes is None
    rng = np.random.default_rng(0)
    matrices = rng.standard_normal((300, tokens, dim)).astype(np.float32)
    collection.add(range(300), tokens=[*matrices], dense=matrices.mean(axis=1))
    info = collection.info()
    size = info.document_bytes
    assert size.float32 == pytest.approx(4 * dim * (tokens + 1), rel=0.02)
    assert size.learned == info.state_bytes / 300 > 0
    coded = {"small": 3 * tokens, "balanced": 12 * tokens, "exact": 0}[preset]
    encoding = recipe.decided().tokens.encoding.stored_dim
    assert size.memory > size.learned + encoding + 4 * dim
    assert size.disk > size.learned + encoding + 4 * dim + 1.25 * coded
    assert size.disk < 1.5 * size.float32 + size.learned + 3000
    assert json.loads(json.dumps(info.to_dict()))["document_bytes"]["disk"] == size.disk


def test_of_large_multivectors_few_are_read(
    memory_client: QdrantClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    dim, rows = 64, 1000
    tokens = Tokens(dim=dim, encoding=SMALL_FDE, multivector=Multivector(), codes=None)
    collection = Collection.create("docs", Recipe(tokens=tokens), memory_client)
    collection.add(range(60), tokens=list(np.ones((60, rows, dim), np.float32)))
    numbers: list[int] = []
    original = memory_client.scroll

    def counted(**arguments: Any) -> Any:
        page = original(**arguments)
        numbers.extend(np.size(record.vector["tokens"]) for record in page[0] if record.vector)
        return page

    monkeypatch.setattr(memory_client, "scroll", counted)
    size = collection.info().document_bytes
    assert size.float32 == 4 * dim * rows
    assert 16 <= len(numbers) < 40
