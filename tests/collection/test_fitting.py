"""What a collection learns is kept beside it, and taken over from other processes."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from qdrant_client import QdrantClient

from embplug import Dense, Multivector, Recipe, Sparse, Tokens
from embplug.branches.documents import CheckedSample
from embplug.branches.pipeline import Pipeline
from embplug.branches.vector_version import VectorVersion
from embplug.collection.fitting import (
    fit,
    learn_steps,
    save_manifest_steps,
    take_over_steps,
)
from embplug.collection.manifest import read_manifest
from embplug.collection.opening import create_steps
from embplug.collection.state import load
from embplug.engines.calls import run
from embplug.methods import PCA, CentroidQuantizer, Rotation
from tests.branches.parts import DIM, batch, vectors

RECIPE = Recipe(dense={"a": Dense(dim=DIM, transforms=[PCA(4)]), "b": Dense(dim=DIM)}, sparse=Sparse())
SAMPLE = CheckedSample(None, {"a": vectors(30)}, texts=["a few words", "more"])
OTHER = CheckedSample(None, {"a": vectors(30, seed=9)}, texts=["one"])


@pytest.fixture
def docs(memory_client: QdrantClient) -> QdrantClient:
    run(memory_client, create_steps(memory_client, "docs", RECIPE))
    return memory_client


def manifest(engine: QdrantClient) -> Any:
    return read_manifest("docs", engine.get_collection("docs"))


def assert_same_state(first: Pipeline, second: Pipeline) -> None:
    mine, others = first.get_state(), second.get_state()
    assert mine.keys() == others.keys() and mine
    for key, array in mine.items():
        np.testing.assert_array_equal(array, others[key])


def fitted(sample: CheckedSample = SAMPLE) -> Pipeline:
    pipeline = Pipeline(RECIPE)
    pipeline.fit(sample)
    return pipeline


def test_who_comes_first_decides_what_is_learned(docs: QdrantClient) -> None:
    first = run(docs, learn_steps(docs, "docs", Pipeline(RECIPE), SAMPLE))
    second = run(docs, learn_steps(docs, "docs", Pipeline(RECIPE), OTHER))
    assert first.fitted
    assert_same_state(first, fitted(SAMPLE))
    assert_same_state(second, first)


def test_without_a_sample_nothing_is_learned(docs: QdrantClient) -> None:
    pipeline = run(docs, learn_steps(docs, "docs", Pipeline(RECIPE), None))
    assert not pipeline.fitted and manifest(docs).state is None


def test_what_was_learned_is_found_by_the_reference_in_the_manifest(docs: QdrantClient) -> None:
    pipeline = fitted()
    run(docs, save_manifest_steps(docs, "docs", pipeline))
    state = run(docs, load(docs, "docs", manifest(docs).state))
    assert state.keys() == pipeline.get_state().keys()
    assert "partial" not in manifest(docs).state


def test_a_state_that_lacks_something_is_marked(docs: QdrantClient) -> None:
    pipeline = Pipeline(RECIPE)
    pipeline.branches["a"].fit(SAMPLE)
    run(docs, save_manifest_steps(docs, "docs", pipeline))
    assert manifest(docs).state["partial"] is True
    # Another process learns only what is missing.
    other = run(docs, learn_steps(docs, "docs", Pipeline(RECIPE), OTHER))
    assert other.fitted and "partial" not in manifest(docs).state
    mixed = {**fitted(OTHER).get_state(), **pipeline.get_state()}
    for key, array in other.get_state().items():
        np.testing.assert_array_equal(array, mixed[key])


def test_the_recipe_of_the_creation_stays_through_all_upgrades(docs: QdrantClient) -> None:
    run(docs, save_manifest_steps(docs, "docs", Pipeline(RECIPE)))
    assert manifest(docs).created_from is None
    versions = {"a": VectorVersion(model=2)}
    for text_key in ("second", "third"):
        changed = Pipeline(RECIPE.model_copy(update={"text_key": text_key}), versions=versions)
        run(docs, save_manifest_steps(docs, "docs", changed))
        assert manifest(docs).recipe.text_key == text_key
        assert manifest(docs).created_from == RECIPE
        assert manifest(docs).versions == versions


def test_the_recipe_is_stored_without_what_it_learned(docs: QdrantClient) -> None:
    run(docs, save_manifest_steps(docs, "docs", fitted()))
    assert manifest(docs).recipe == RECIPE


def test_what_a_recipe_brings_is_given_to_a_collection_that_lacks_it(docs: QdrantClient) -> None:
    unfitted = Pipeline(RECIPE)
    pca = PCA(4).fit(vectors(30, seed=3))
    learned = RECIPE.model_copy(update={"dense": {**RECIPE.dense, "a": Dense(dim=DIM, transforms=[pca])}})
    existing = run(docs, take_over_steps(docs, "docs", unfitted, learned))
    assert not unfitted.branches["a"].fitted
    assert existing.branches["a"].fitted and not existing.branches["sparse"].fitted
    assert manifest(docs).state["partial"] is True
    # What has learned already stays as it is.
    other_pca = PCA(4).fit(vectors(30, seed=4))
    other = RECIPE.model_copy(update={"dense": {**RECIPE.dense, "a": Dense(dim=DIM, transforms=[other_pca])}})
    before = existing.get_state()
    assert [*take_over_steps(docs, "docs", existing, other)] == []
    assert all((array == before[key]).all() for key, array in existing.get_state().items())
    assert [*take_over_steps(docs, "docs", existing, RECIPE)] == []


def test_what_a_collection_has_learned_is_not_replaced_by_what_a_recipe_brings(
    memory_client: QdrantClient,
) -> None:
    def recipe(*seeds: int | None) -> Recipe:
        fits = [PCA(4) if seed is None else PCA(4).fit(vectors(30, seed)) for seed in seeds]
        named = zip("ab", fits, strict=True)
        return Recipe(dense={name: Dense(dim=DIM, transforms=[pca]) for name, pca in named})

    run(memory_client, create_steps(memory_client, "docs", recipe(None, None)))
    existing = Pipeline(recipe(3, None))
    existing = run(memory_client, take_over_steps(memory_client, "docs", existing, recipe(4, 5)))
    assert existing.fitted
    assert_same_state(existing, Pipeline(recipe(3, 5)))


def test_the_state_of_tokens_is_kept_too(memory_client: QdrantClient) -> None:
    recipe = Recipe(
        tokens=Tokens(
            dim=DIM,
            encoding={"kind": "fde", "repetitions": 1, "partitioner": "kmeans"},
            multivector=Multivector(),
            codes=None,
        )
    )
    sample = CheckedSample(batch(40, 0), {})
    first = run(memory_client, create_steps(memory_client, "docs", recipe, sample=sample))
    second = run(memory_client, learn_steps(memory_client, "docs", Pipeline(recipe), None))
    assert_same_state(second, first)


@pytest.mark.parametrize(
    ("recipe", "sample", "told"),
    [
        (
            Recipe(dense=Dense(dim=DIM, transforms=[PCA(4)])),
            CheckedSample(None, {"dense": vectors(1)}),
            r"dense\.dense\.transforms\.0 \(PCA\) from 1 of at least 8 vectors",
        ),
        (
            Recipe(tokens=Tokens(dim=DIM, codes=CentroidQuantizer(count=64))),
            CheckedSample(batch(2, 0), {}),
            r"tokens\.codes \(CentroidQuantizer\) from 20 of at least 64 tokens",
        ),
    ],
)
def test_methods_that_learn_from_few_documents_are_named(
    recipe: Recipe, sample: CheckedSample, told: str
) -> None:
    with pytest.warns(
        UserWarning, match=rf"^collection 'docs' .*: {told}\. .*sample=embplug\.Sample"
    ) as record:
        fit("docs", Pipeline(recipe), sample)
    assert len(record) == 1


def test_enough_documents_and_methods_that_learn_nothing_are_no_warning() -> None:
    rotated = Recipe(dense=Dense(dim=DIM, transforms=[Rotation()]))
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        fit("docs", Pipeline(RECIPE), SAMPLE)
        fit("docs", Pipeline(rotated), CheckedSample(None, {"dense": vectors(1)}))
