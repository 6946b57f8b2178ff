"""Models are loaded when they are first needed, unless the user passes them."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import pytest

from embplug import CrossEncoderStage, Dense, Multivector, Recipe, Rerank, Sparse, Tokens, register_encoder
from embplug.branches import loaded_models
from embplug.branches.loaded_models import LoadedModels
from embplug.encoders import registry
from embplug.errors import InvalidArgumentError, UntrustedModelError
from embplug.methods import SaliencyPruning
from embplug.search import cross_encoder
from tests.branches.parts import DIM, RecordingEncoder

NAMED = Recipe(dense=Dense(dim=DIM), encoder="recording")
NAMELESS = Recipe(dense=Dense(dim=DIM))


def scorer(query: str, texts: Any) -> list[float]:
    return [float(len(text)) for text in texts]


def with_stage(**fields: Any) -> Recipe:
    return Recipe(
        dense=Dense(dim=DIM), text_key="body", rerank=Rerank(cross_encoder=CrossEncoderStage(**fields))
    )


@pytest.fixture
def loaded() -> Iterator[list[RecordingEncoder]]:
    """The encoders of the name ``recording`` that were loaded."""
    encoders: list[RecordingEncoder] = []

    def make() -> RecordingEncoder:
        encoders.append(RecordingEncoder())
        return encoders[-1]

    register_encoder("recording", make)
    yield encoders
    del registry._registered["recording"]


def test_the_encoder_of_the_recipe_is_loaded_once_when_it_is_needed(loaded: list[RecordingEncoder]) -> None:
    models = LoadedModels(NAMED, None, None)
    assert models.has_encoder and models.passed_encoder is None and loaded == []
    assert models.encoder is models.encoder is models.passed_encoder
    assert len(loaded) == 1


def test_a_passed_encoder_takes_the_place_of_the_recipes(loaded: list[RecordingEncoder]) -> None:
    own = RecordingEncoder()
    models = LoadedModels(NAMED, own, None)
    assert models.encoder is own and models.passed_encoder is own and loaded == []
    assert LoadedModels(NAMELESS, own, None).has_encoder


def test_without_any_encoder_the_error_names_it() -> None:
    models = LoadedModels(NAMELESS, None, None)
    assert not models.has_encoder
    with pytest.raises(InvalidArgumentError) as raised:
        _ = models.encoder
    assert raised.value.argument == "encoder" and "sparse" not in raised.value.expected
    with pytest.raises(InvalidArgumentError, match=r"branches=\['sparse'\]"):
        _ = LoadedModels(Recipe(dense=Dense(dim=DIM), sparse=Sparse()), None, None).encoder


@pytest.mark.parametrize("prunes", [True, False])
def test_saliency_is_asked_for_where_the_recipe_prunes(monkeypatch: pytest.MonkeyPatch, prunes: bool) -> None:
    calls = []

    def load(spec: str, *, with_saliency: bool) -> RecordingEncoder:
        calls.append((spec, with_saliency))
        return RecordingEncoder()

    monkeypatch.setattr("embplug.branches.loaded_models.load_encoder", load)
    tokens = Tokens(
        dim=DIM, reduction=SaliencyPruning() if prunes else None, multivector=Multivector(), codes=None
    )
    recipe = Recipe(tokens=tokens, encoder="any")
    models = LoadedModels(recipe, None, None)
    models.allow(recipe)
    _ = models.encoder
    assert calls == [("any", prunes)]


def test_the_encoder_of_another_recipe_is_adopted(loaded: list[RecordingEncoder]) -> None:
    first, second = LoadedModels(NAMED, None, None), LoadedModels(NAMED, None, None)
    encoder = first.encoder
    second.adopt_encoder(first)
    assert second.encoder is encoder and len(loaded) == 1


def test_the_cross_encoder_has_what_the_recipe_says() -> None:
    recipe = with_stage(batch_size=3, timeout=2.0, on_failure="keep")
    stage = LoadedModels(recipe, None, scorer).cross_encoder()
    assert stage is not None and stage.scorer is scorer
    assert (stage.text_key, stage.batch_size, stage.timeout, stage.on_failure) == ("body", 3, 2.0, "keep")
    assert LoadedModels(NAMELESS, None, scorer).cross_encoder() is None


def test_the_cross_encoder_of_the_recipe_is_loaded_once(monkeypatch: pytest.MonkeyPatch) -> None:
    names = []

    def load(name: str) -> Any:
        names.append(name)
        return scorer

    monkeypatch.setattr("embplug.branches.loaded_models.load_cross_encoder", load)
    models = LoadedModels(with_stage(name="some"), None, None)
    models.allow(with_stage(name="some"))
    assert models.passed_scorer is None
    stages = [models.cross_encoder() for _ in range(2)]
    assert names == ["some"] and models.passed_scorer is scorer
    assert [stage.scorer for stage in stages if stage is not None] == [scorer, scorer]


def test_a_cross_encoder_without_name_and_function_is_named() -> None:
    with pytest.raises(InvalidArgumentError) as raised:
        LoadedModels(with_stage(), None, None).cross_encoder()
    assert raised.value.argument == "cross_encoder"


def test_a_name_that_is_passed_is_loaded_when_it_is_needed(loaded: list[RecordingEncoder]) -> None:
    models = LoadedModels(NAMELESS, "recording", None)
    assert models.has_encoder and models.passed_encoder == "recording" and loaded == []
    assert models.encoder is models.passed_encoder is loaded[0]


def test_a_scorer_that_is_passed_by_its_name_is_loaded(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(cross_encoder, "_registered", {"some": lambda: scorer})
    stage = LoadedModels(with_stage(name="other"), None, "some").cross_encoder()
    assert stage is not None and stage.scorer is scorer


@pytest.mark.parametrize(
    ("encoder", "scorer", "told"),
    [
        ("minlm", None, "encoder: expected one of .*'minilm'.*, got 'minlm'"),
        (RecordingEncoder, None, "encoder: expected an Encoder, .*, got the class RecordingEncoder"),
        (3, None, "encoder: expected an Encoder, .* or the name of one, got int"),
        (None, "x", "cross_encoder: expected one of .*, got 'x'"),
        (None, 3, "cross_encoder: expected a function .*, got int"),
    ],
)
def test_what_is_no_model_is_refused_at_once(encoder: Any, scorer: Any, told: str) -> None:
    with pytest.raises(InvalidArgumentError, match=f"^{told}$"):
        LoadedModels(NAMELESS, encoder, scorer)


@pytest.mark.parametrize(
    ("recipe", "argument"),
    [
        (Recipe(dense=Dense(dim=DIM), encoder="minlm"), "encoder"),
        (Recipe(dense=Dense(dim=DIM), encoder="fastembed:"), "encoder"),
        (with_stage(name="x"), "cross_encoder"),
    ],
)
def test_names_in_a_recipe_are_checked_without_loading(recipe: Recipe, argument: str) -> None:
    with pytest.raises(InvalidArgumentError) as raised:
        LoadedModels(recipe, None, None).check_names()
    assert raised.value.argument == argument
    LoadedModels(recipe, RecordingEncoder(), scorer).check_names()
    LoadedModels(with_stage(name="rerankers:any"), None, None).check_names()


FOREIGN = Recipe(
    dense=Dense(dim=DIM),
    encoder="fastembed:somebody/model",
    rerank=Rerank(cross_encoder=CrossEncoderStage(name="rerankers:somebody/model")),
)


@pytest.fixture
def loads(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the models that were loaded; none of them is really loaded."""
    names: list[str] = []

    def load(name: str, **options: Any) -> Any:
        names.append(name)
        return RecordingEncoder() if name.startswith("fastembed") else scorer

    monkeypatch.setattr("embplug.branches.loaded_models.load_encoder", load)
    monkeypatch.setattr("embplug.branches.loaded_models.load_cross_encoder", load)
    return names


def test_a_model_that_only_the_stored_recipe_names_is_not_loaded(loads: list[str]) -> None:
    models = LoadedModels(FOREIGN, None, None)
    with pytest.raises(UntrustedModelError, match=r"^encoder: .*'fastembed:somebody/model'") as raised:
        _ = models.encoder
    assert (raised.value.name, raised.value.argument) == ("fastembed:somebody/model", "encoder")
    with pytest.raises(UntrustedModelError, match=r"^cross_encoder: .*EMBPLUG_TRUSTED_MODELS=rerankers:"):
        models.cross_encoder()
    assert models.has_encoder and loads == []


@pytest.mark.parametrize("allowed", ["*", "x, fastembed:*,rerankers:somebody/model", "recipe", "pass"])
def test_a_model_that_the_reader_allows_is_loaded(
    loads: list[str], monkeypatch: pytest.MonkeyPatch, allowed: str
) -> None:
    models = LoadedModels(FOREIGN, None, None)
    if allowed == "recipe":
        models.allow(FOREIGN)
    elif allowed == "pass":
        models = LoadedModels(FOREIGN, "fastembed:somebody/model", "rerankers:somebody/model")
    else:
        monkeypatch.setenv("EMBPLUG_TRUSTED_MODELS", allowed)
    _ = models.encoder, models.cross_encoder()
    assert loads == ["fastembed:somebody/model", "rerankers:somebody/model"]


@pytest.mark.parametrize("allowed", ["", "fastembed:*x", "fastembed", "somebody/model", "minilm"])
def test_other_names_allow_nothing(loads: list[str], monkeypatch: pytest.MonkeyPatch, allowed: str) -> None:
    monkeypatch.setenv("EMBPLUG_TRUSTED_MODELS", allowed)
    with pytest.raises(UntrustedModelError):
        _ = LoadedModels(FOREIGN, None, None).encoder
    assert loads == []


@pytest.mark.parametrize("main", [None, "recording"])
@pytest.mark.parametrize("by_name", [True, False])
def test_the_encoder_of_the_sparse_vector_is_passed_as_the_error_says(
    loaded: list[RecordingEncoder], monkeypatch: pytest.MonkeyPatch, main: str | None, by_name: bool
) -> None:
    name = "fastembed:words"
    recipe = Recipe(dense=Dense(dim=8), encoder=main, sparse=Sparse(kind="learned", encoder=name))
    with pytest.raises(UntrustedModelError, match=f"encoder='{name}'"):
        LoadedModels(recipe, None, None).encoder_named(name)
    words = RecordingEncoder()
    words.spec = name
    monkeypatch.setattr(loaded_models, "load_encoder", lambda spec, **_: words if spec == name else None)
    passed: Any = name if by_name else words
    models = LoadedModels(recipe, passed, None)
    assert models.encoder_named(name) is words
    assert models.passed_encoder is (None if main else passed)
    assert models.to_pass_again()[0] is passed
    later = LoadedModels(recipe, None, None)
    later.allow_as(models)
    assert later.encoder_named(name) is words
