"""Collections are created, opened and read again, and what does not fit is refused."""

from __future__ import annotations

import asyncio
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from qdrant_client import QdrantClient, models

from embplug import AsyncCollection, Collection, Dense, Multivector, Recipe, Sparse, Tokens, migrate
from embplug.branches.documents import CheckedSample
from embplug.branches.pipeline import Pipeline
from embplug.branches.vector_version import VectorVersion
from embplug.collection.fitting import save_manifest_steps
from embplug.collection.manifest import MANIFEST_KEY, Manifest, read_manifest
from embplug.collection.opening import (
    create_steps,
    open_plain_steps,
    open_steps,
)
from embplug.collection.restore import reload_steps
from embplug.collection.state_collection import STATE_COLLECTION
from embplug.encoders import registry
from embplug.engines import EdgeClient, connect
from embplug.engines.calls import Call, run
from embplug.errors import (
    CapabilityError,
    CollectionNotFoundError,
    EmbplugError,
    EngineError,
    InvalidArgumentError,
    NotAnEmbplugCollectionError,
    RecipeMismatchError,
    StateError,
)
from embplug.methods import PCA
from tests.branches.parts import DIM, SMALL_FDE, RecordingEncoder, vectors

LEARNING = Recipe(dense=Dense(dim=DIM, transforms=[PCA(4)]))
SAMPLE = CheckedSample(None, {"dense": vectors(30)})
WHOLE = Recipe(
    tokens=Tokens(dim=DIM, encoding=SMALL_FDE, multivector=Multivector(), codes=None),
    dense=Dense(dim=DIM),
    sparse=Sparse(average_length=3.0),
    payload_indexes={"year": "integer"},
    on_disk_payload=True,
)


def scorer(query: str, texts: Any) -> list[float]:
    return [0.0 for _ in texts]


def calls_of(engine: Any, steps: Any, failing: str | None = None) -> tuple[list[Call], Any]:
    """All calls of steps, with their result or error; the call ``failing`` fails."""
    calls: list[Call] = []

    def watched() -> Any:
        call = next(steps)
        while True:
            calls.append(call)
            try:
                if call.method == failing:
                    call = steps.throw(EngineError("on purpose"))
                else:
                    call = steps.send((yield call))
            except StopIteration as stop:
                return stop.value

    try:
        return calls, run(engine, watched())
    except EngineError as error:
        return calls, error


def test_a_new_collection_is_made_as_the_recipe_says(memory_client: QdrantClient) -> None:
    steps = create_steps(memory_client, "docs", WHOLE, metadata={"mine": 1})
    calls, pipeline = calls_of(memory_client, steps)
    (creation,) = [call.arguments for call in calls if call.method == "create_collection"]
    assert {*creation["vectors_config"]} == {"fde", "tokens", "dense"}
    assert {*creation["sparse_vectors_config"]} == {"sparse"} and creation["on_disk_payload"] is True
    assert creation["metadata"]["mine"] == 1
    assert Manifest.from_dict("docs", creation["metadata"][MANIFEST_KEY]) == Manifest(WHOLE)
    (index,) = [call.arguments for call in calls if call.method == "create_payload_index"]
    assert (index["field_name"], index["field_schema"]) == ("year", "integer")
    assert pipeline.recipe == WHOLE and pipeline.capabilities.kind == "memory"


def test_what_learns_learns_from_the_sample_before_the_collection_is_made(
    memory_client: QdrantClient,
) -> None:
    calls, pipeline = calls_of(memory_client, create_steps(memory_client, "docs", LEARNING, sample=SAMPLE))
    names = [call.method for call in calls]
    created = [call.arguments.get("collection_name") for call in calls if call.method == "create_collection"]
    assert names.index("compute") < names.index("upsert") and created == [STATE_COLLECTION, "docs"]
    assert names.index("upsert") < len(names) - names[::-1].index("create_collection") - 1
    # The collection refers to it from its first moment.
    assert "update_collection" not in names
    assert pipeline.fitted
    assert run(memory_client, open_steps(memory_client, "docs")).fitted


def test_a_collection_whose_recipe_the_engine_refuses_does_not_stay(memory_client: QdrantClient) -> None:
    steps = create_steps(memory_client, "docs", WHOLE)
    _, error = calls_of(memory_client, steps, failing="create_payload_index")
    assert isinstance(error, EngineError) and str(error) == "on purpose"
    assert not memory_client.collection_exists("docs")


def test_what_was_learned_for_a_refused_collection_does_not_stay(memory_client: QdrantClient) -> None:
    memory_client.create_collection(STATE_COLLECTION, vectors_config={})
    steps = create_steps(memory_client, "docs", LEARNING, sample=SAMPLE)
    calls, error = calls_of(memory_client, steps, failing="create_collection")
    assert str(error) == "on purpose" and "upsert" in [call.method for call in calls]
    assert memory_client.count(STATE_COLLECTION).count == 0


def test_a_directory_that_does_not_exist_is_named_and_not_made(tmp_path: Path) -> None:
    place = tmp_path / "dta"
    errors = [
        failed(lambda: Collection.open("docs", place)),
        failed(lambda: Collection.open_plain("docs", str(place))),
        failed(lambda: asyncio.run(AsyncCollection.open("docs", place))),
        failed(lambda: asyncio.run(AsyncCollection.open_plain("docs", str(place)))),
        failed(lambda: migrate("docs", "other", Recipe(dense=Dense(dim=DIM)), engine=place)),
    ]
    expected = (CollectionNotFoundError, f"no directory {place}")
    assert [(type(error), str(error)) for error in errors] == [expected] * len(errors)
    assert not place.exists()


def test_a_directory_is_free_again_after_an_error(tmp_path: Path) -> None:
    with connect(tmp_path) as client:
        client.create_collection("plain", {"a": models.VectorParams(size=2, distance="Dot")})
    recipe = Recipe(dense=Dense(dim=DIM))
    kept = [
        failed(lambda: Collection.open("nowhere", tmp_path)),
        failed(lambda: Collection.open_plain("plain", tmp_path, vector="b")),
        failed(lambda: Collection.create("plain", recipe, tmp_path)),
        failed(lambda: asyncio.run(AsyncCollection.open("nowhere", tmp_path))),
        failed(lambda: asyncio.run(AsyncCollection.open_plain("plain", tmp_path, vector="b"))),
        failed(lambda: asyncio.run(AsyncCollection.create("plain", recipe, tmp_path))),
    ]
    # Whoever keeps an error keeps all that its frames hold.
    assert all(isinstance(error, EmbplugError) for error in kept)
    code = "import sys; from embplug import connect; connect(sys.argv[1]).close()"
    subprocess.run([sys.executable, "-c", code, tmp_path], check=True)


def test_a_client_that_was_passed_stays_open_after_an_error(edge_client: EdgeClient) -> None:
    failed(lambda: Collection.open("nowhere", edge_client))
    failed(lambda: asyncio.run(AsyncCollection.open("nowhere", edge_client)))
    assert edge_client.get_collections().collections == []


def failed(call: Callable[[], Any]) -> Exception | None:
    try:
        call()
    except Exception as error:
        return error
    return None


def test_what_the_engine_cannot_do_is_refused_before_it_is_made(memory_client: QdrantClient) -> None:
    recipe = LEARNING.model_copy(update={"shard_number": 2})
    with pytest.raises(CapabilityError):
        run(memory_client, create_steps(memory_client, "docs", recipe))
    assert not memory_client.collection_exists("docs")


def test_the_same_recipe_opens_what_exists(memory_client: QdrantClient) -> None:
    run(memory_client, create_steps(memory_client, "docs", LEARNING, sample=SAMPLE))
    encoder = RecordingEncoder()
    steps = create_steps(memory_client, "docs", LEARNING, encoder=encoder, cross_encoder=scorer)
    calls, pipeline = calls_of(memory_client, steps)
    assert "create_collection" not in {call.method for call in calls}
    assert pipeline.fitted and pipeline.models.encoder is encoder and pipeline.models.passed_scorer is scorer


def test_another_recipe_is_refused_with_what_differs(memory_client: QdrantClient) -> None:
    run(memory_client, create_steps(memory_client, "docs", LEARNING))
    other = LEARNING.model_copy(update={"text_key": "body"})
    with pytest.raises(RecipeMismatchError) as raised:
        run(memory_client, create_steps(memory_client, "docs", other))
    assert raised.value.differences == {"text_key": ("text", "body")}


def test_an_existing_collection_takes_what_the_recipe_has_learned(memory_client: QdrantClient) -> None:
    run(memory_client, create_steps(memory_client, "docs", LEARNING))
    pca = PCA(4).fit(vectors(30))
    learned = Recipe(dense=Dense(dim=DIM, transforms=[pca]))
    assert run(memory_client, create_steps(memory_client, "docs", learned)).fitted
    assert run(memory_client, open_steps(memory_client, "docs")).fitted


@pytest.mark.parametrize("name", ["", " ", None, 3, STATE_COLLECTION])
def test_names_are_checked(memory_client: QdrantClient, name: Any) -> None:
    for steps in (
        create_steps(memory_client, name, LEARNING),
        open_steps(memory_client, name),
        open_plain_steps(memory_client, name, vector=None, encoder=None, text_key="text"),
    ):
        with pytest.raises(InvalidArgumentError) as raised:
            run(memory_client, steps)
        assert raised.value.argument == "name"


def test_what_a_preset_chooses_stands_in_the_stored_recipe(memory_client: QdrantClient) -> None:
    left_open = Recipe(tokens=Tokens(dim=DIM))
    for _ in range(2):  # The second call opens what the first one has made.
        run(memory_client, create_steps(memory_client, "docs", left_open))
    stored = read_manifest("docs", memory_client.get_collection("docs")).recipe
    assert stored == left_open.decided() != left_open
    other = Recipe(tokens=Tokens(dim=DIM, preset="small"))
    with pytest.raises(RecipeMismatchError, match=r"tokens\.preset"):
        run(memory_client, create_steps(memory_client, "docs", other))


def test_only_what_embplug_made_can_be_opened(memory_client: QdrantClient) -> None:
    with pytest.raises(CollectionNotFoundError):
        run(memory_client, open_steps(memory_client, "docs"))
    memory_client.create_collection("docs", vectors_config={})
    with pytest.raises(NotAnEmbplugCollectionError):
        run(memory_client, open_steps(memory_client, "docs"))


DENSE_PARAMS = models.VectorParams(size=DIM, distance=models.Distance.COSINE)
BY_DOT = DENSE_PARAMS.model_copy(update={"distance": models.Distance.DOT})


@pytest.mark.parametrize(
    ("dense", "sparse", "message"),
    [
        ({}, {"sparse": "idf"}, "vector 'dense'.*is missing"),
        ({"dense": DENSE_PARAMS.model_copy(update={"size": 3})}, {"sparse": "idf"}, "3-dimensional"),
        (
            {"dense": DENSE_PARAMS.model_copy(update={"distance": models.Distance.DOT})},
            {"sparse": "idf"},
            "with Dot",
        ),
        ({"dense": DENSE_PARAMS}, {}, "sparse vector 'sparse'.*is missing"),
        ({"dense": DENSE_PARAMS}, {"sparse": None}, "without IDF"),
        ({"dense": DENSE_PARAMS}, {"sparse": "idf"}, None),
    ],
)
def test_vectors_that_are_not_as_the_recipe_says_are_named(
    memory_client: QdrantClient, dense: Any, sparse: Any, message: str | None
) -> None:
    recipe = Recipe(dense=Dense(dim=DIM), sparse=Sparse(average_length=3.0))
    memory_client.create_collection(
        "docs",
        vectors_config=dense,
        sparse_vectors_config={
            name: models.SparseVectorParams(modifier=modifier) for name, modifier in sparse.items()
        },
        metadata={MANIFEST_KEY: Manifest(recipe).to_dict()},
    )
    if message is None:
        assert run(memory_client, open_steps(memory_client, "docs")).recipe == recipe
        return
    with pytest.raises(StateError, match=message):
        run(memory_client, open_steps(memory_client, "docs"))


def test_points_without_what_was_learned_cannot_be_searched(memory_client: QdrantClient) -> None:
    run(memory_client, create_steps(memory_client, "docs", LEARNING))
    assert not run(memory_client, open_steps(memory_client, "docs")).fitted
    point = models.PointStruct(id=1, vector={"dense": [0.0] * 3 + [1.0]}, payload={})
    memory_client.upsert("docs", points=[point], wait=True)
    with pytest.raises(StateError, match="1 points, but no fitted state"):
        run(memory_client, open_steps(memory_client, "docs"))


def test_versions_of_models_are_those_of_the_manifest(memory_client: QdrantClient) -> None:
    run(memory_client, create_steps(memory_client, "docs", LEARNING, sample=SAMPLE))
    assert run(memory_client, open_steps(memory_client, "docs")).versions == {}
    versions = {"dense": VectorVersion(model=2)}
    upgrade(memory_client, versions)
    assert run(memory_client, open_steps(memory_client, "docs")).versions == versions


def upgrade(engine: QdrantClient, versions: dict[str, VectorVersion]) -> None:
    pipeline = Pipeline(LEARNING, versions=versions)
    pipeline.fit(SAMPLE)
    run(engine, save_manifest_steps(engine, "docs", pipeline))


def test_reading_again_keeps_what_was_passed_as_long_as_the_models_are_the_same(
    memory_client: QdrantClient,
) -> None:
    encoder, other = RecordingEncoder(), RecordingEncoder()
    steps = create_steps(
        memory_client, "docs", LEARNING, sample=SAMPLE, encoder=encoder, cross_encoder=scorer
    )
    pipeline = run(memory_client, steps)
    again = run(memory_client, reload_steps(memory_client, "docs", pipeline, None))
    assert again is not pipeline and again.fitted
    assert again.models.passed_encoder is encoder and again.models.passed_scorer is scorer
    passed = run(memory_client, reload_steps(memory_client, "docs", pipeline, other))
    assert passed.models.passed_encoder is other
    upgrade(memory_client, {"dense": VectorVersion(model=2)})
    upgraded = run(memory_client, reload_steps(memory_client, "docs", pipeline, None))
    assert upgraded.models.passed_encoder is None and upgraded.models.passed_scorer is scorer


def plain(engine: QdrantClient, vectors_config: Any, **options: Any) -> Pipeline:
    engine.create_collection("plain", vectors_config=vectors_config)
    options = {"vector": None, "encoder": None, "text_key": "text", **options}
    return run(engine, open_plain_steps(engine, "plain", **options))


MATRIX_PARAMS = models.VectorParams(
    size=3, distance="Dot", multivector_config=models.MultiVectorConfig(comparator="max_sim")
)


def test_the_only_dense_vector_of_a_plain_collection_is_searched(memory_client: QdrantClient) -> None:
    encoder = RecordingEncoder()
    params = models.VectorParams(size=5, distance="Euclid", datatype="float16")
    configured = {"mine": params, "matrix": MATRIX_PARAMS}
    pipeline = plain(memory_client, configured, encoder=encoder, text_key="body")
    assert pipeline.recipe == Recipe(
        dense=Dense(dim=5, distance="Euclid", datatype="float16"), text_key="body"
    )
    assert [*pipeline.vectors_config()] == ["mine"] and pipeline.models.encoder is encoder
    assert pipeline.capabilities is not None and pipeline.capabilities.kind == "memory"


def test_of_several_dense_vectors_one_is_named(memory_client: QdrantClient) -> None:
    configured = {"a": DENSE_PARAMS, "b": DENSE_PARAMS.model_copy(update={"size": 4})}
    assert plain(memory_client, configured, vector="b").recipe.dense["dense"].dim == 4


@pytest.mark.parametrize(
    ("configured", "vector"),
    [
        ({"a": DENSE_PARAMS, "b": DENSE_PARAMS}, None),
        ({"a": DENSE_PARAMS}, "b"),
        ({"a": DENSE_PARAMS}, ["a"]),
        ({"matrix": MATRIX_PARAMS}, "matrix"),
        ({}, None),
    ],
)
def test_a_vector_that_cannot_be_searched_is_named(
    memory_client: QdrantClient, configured: Any, vector: str | None
) -> None:
    with pytest.raises(InvalidArgumentError) as raised:
        plain(memory_client, configured, vector=vector)
    assert raised.value.argument == "vector"


@pytest.mark.parametrize(
    ("recipe", "engine", "sample", "told"),
    [
        ({"dense": {"dim": 8}}, "url", None, "recipe: expected a Recipe, got dict; use Recipe.from_dict"),
        (
            None,
            "url",
            None,
            "recipe: expected a Recipe, or encoder=, whose vectors a preset stores, got None",
        ),
        (
            "url",
            LEARNING,
            None,
            "engine: expected a client, or what embplug.connect takes, after the recipe, got a Recipe",
        ),
        (
            LEARNING,
            "url",
            vectors(3),
            "sample: expected an embplug.Sample, such as Sample(dense=X), got ndarray",
        ),
        (
            Recipe(dense=Dense(dim=DIM), encoder="minlm"),
            "url",
            None,
            f"encoder: expected one of {[*registry._BUILT_IN]}, then ':' and a model, got 'minlm'",
        ),
    ],
)
async def test_wrong_arguments_of_create_are_named_before_the_engine_is_asked(
    recipe: Any, engine: Any, sample: Any, told: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(registry, "_registered", {})
    with pytest.raises(InvalidArgumentError) as raised:
        Collection.create("docs", recipe, engine, sample=sample)
    assert str(raised.value) == told
    with pytest.raises(InvalidArgumentError) as raised:
        await AsyncCollection.create("docs", recipe, engine, sample=sample)
    assert str(raised.value) == told
