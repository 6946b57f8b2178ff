"""Features of the learned encoding that gradient descent has moved."""

from __future__ import annotations

import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embplug import Collection, Recipe, TokenBatch, Tokens, connect
from embplug.errors import InvalidArgumentError, MissingExtraError, StateError
from embplug.methods.encodings import learned as module
from embplug.methods.encodings.feature_training import train_features
from embplug.methods.encodings.learned import LearnedEncoding

DIM = 12
SMALL: dict[str, Any] = {
    "stored_dim": 64,
    "features": 32,
    "landmarks": 1500,
    "compared": 600,
    "activity": 0.1,
}


def batch(count: int, length: int, seed: int) -> TokenBatch:
    """Documents of unit tokens around four of 40 topics each."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(7).standard_normal((40, DIM))
    matrices = []
    for _ in range(count):
        own = centres[rng.choice(40, 4)]
        tokens = own[rng.integers(0, 4, length)] + 0.5 * rng.standard_normal((length, DIM))
        matrices.append((tokens / np.linalg.norm(tokens, axis=1, keepdims=True)).astype(np.float32))
    return TokenBatch.from_list(matrices)


SAMPLE = batch(150, 12, 0)


@pytest.fixture(scope="module")
def trained() -> LearnedEncoding:
    return LearnedEncoding(**SMALL, steps=150).fit(SAMPLE)


def unexplained(encoding: LearnedEncoding, documents: TokenBatch) -> float:
    return encoding._unexplained(documents, None)


def test_training_lowers_the_error_on_documents_that_were_not_learned_from(trained: LearnedEncoding) -> None:
    plain, new = LearnedEncoding(**SMALL, steps=0).fit(SAMPLE), batch(300, 12, 1)
    assert unexplained(trained, new) < 0.9 * unexplained(plain, new)


def test_the_gradient_goes_downhill_by_the_closed_form() -> None:
    """The error of the best linear map of the features, which no step has seen as such, falls."""
    rng = np.random.default_rng(3)
    points = rng.standard_normal((800, 6)).astype(np.float32)
    targets = np.maximum(points @ rng.standard_normal((6, 20)).astype(np.float32), 0.3).T.copy()
    start = points[:10].copy(), np.zeros(10, np.float32)

    def error(directions: Any, thresholds: Any) -> float:
        features = np.concatenate([np.maximum(points @ directions.T - thresholds, 0), points], axis=1)
        best = np.linalg.lstsq(features, targets.T, rcond=None)[0]
        return float(np.square(targets.T - features @ best).mean())

    errors = [error(*start)]
    for steps in (20, 200):
        moved = train_features(
            points, targets, *start, ridge=0.01, steps=steps, generator=np.random.default_rng(0), device=None
        )
        assert moved[0].dtype == moved[1].dtype == np.float32
        errors.append(error(*moved))
    assert errors[2] < errors[1] < errors[0]


def test_a_state_restores_the_same_bytes_and_names_what_is_damaged(trained: LearnedEncoding) -> None:
    restored, state = LearnedEncoding(**SMALL, steps=150), trained.get_state()
    restored.set_state(state)
    np.testing.assert_array_equal(restored.encode_queries(SAMPLE), trained.encode_queries(SAMPLE))
    np.testing.assert_array_equal(restored.encode_documents(SAMPLE), trained.encode_documents(SAMPLE))
    for name, array in restored.get_state().items():
        np.testing.assert_array_equal(array, state[name])
    without = {name: array for name, array in state.items() if name != "directions"}
    for damaged in (without, {**state, "directions": state["directions"][:-1]}):
        with pytest.raises(StateError, match="directions"):
            LearnedEncoding(**SMALL, steps=150).set_state(damaged)


def test_the_same_seed_trains_the_same(trained: LearnedEncoding) -> None:
    again = LearnedEncoding(**SMALL, steps=150).fit(SAMPLE)
    np.testing.assert_array_equal(again.get_state()["directions"], trained.get_state()["directions"])
    other = LearnedEncoding(**SMALL, steps=150, seed=1).fit(SAMPLE)
    assert (other.get_state()["directions"] != trained.get_state()["directions"]).any()


def test_a_torch_device_trains_the_same() -> None:
    pytest.importorskip("torch")
    rng = np.random.default_rng(3)
    points = rng.standard_normal((800, 6)).astype(np.float32)
    targets = np.maximum(points @ rng.standard_normal((6, 20)).astype(np.float32), 0.3).T.copy()
    moved = [
        train_features(
            points,
            targets,
            points[:10].copy(),
            np.zeros(10, np.float32),
            ridge=0.01,
            steps=20,
            generator=np.random.default_rng(0),
            device=device,
        )
        for device in (None, "cpu")
    ]
    for by_numpy, by_torch in zip(*moved, strict=True):
        np.testing.assert_allclose(by_numpy, by_torch, atol=1e-3)


def test_a_device_without_torch_names_the_extra_before_anything_is_compared(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(sys.modules, "torch", None)
    monkeypatch.setattr(module, "highest_products", lambda *_: pytest.fail("compared"))
    with pytest.raises(MissingExtraError, match=r"embplug\[torch\]"):
        LearnedEncoding(**SMALL, steps=1).fit(SAMPLE, device="cpu")


def test_a_collection_trains_and_reopens(tmp_path: Path) -> None:
    encoding = LearnedEncoding(**SMALL, steps=30)
    recipe = Recipe(tokens=Tokens(dim=DIM, encoding=encoding, multivector=None, codes=None))
    assert Recipe.from_yaml(recipe.to_yaml()) == recipe
    with closing(connect(tmp_path)) as engine:
        collection = Collection.create("trained", recipe, engine)
        collection.add(range(len(SAMPLE)), tokens=SAMPLE)
        before = collection.search(tokens=SAMPLE[7], limit=5)
    with closing(connect(tmp_path)) as engine:
        assert Collection.open("trained", engine).search(tokens=SAMPLE[7], limit=5) == before
    assert len({hit.score for hit in before}) > 1


@pytest.mark.parametrize("steps", [1, 2, 9, 10, 11])
def test_few_steps_train_too(steps: int) -> None:
    fitted, untrained = (LearnedEncoding(**SMALL, steps=count).fit(SAMPLE).fitted_ for count in (steps, 0))
    assert fitted is not None and untrained is not None
    moved = np.abs(fitted.directions.values - untrained.directions.values).max()
    assert 1e-4 < moved < 0.1


def test_features_are_at_most_a_quarter_of_the_landmarks() -> None:
    for parameters, sample in (({"landmarks": 600}, SAMPLE), ({}, SAMPLE.take(np.arange(50)))):
        encoding = LearnedEncoding(**{**SMALL, "features": 400, **parameters}, steps=1).fit(sample)
        assert len(encoding.get_state()["directions"]) == 150
        untrained = LearnedEncoding(**{**SMALL, "features": 400, **parameters}, steps=0).fit(sample)
        assert len(untrained.get_state()["directions"]) == 400


@pytest.mark.parametrize("length", [0.1, 20.0, 1e3])
def test_tokens_of_any_length_are_trained_on(length: float) -> None:
    sample = TokenBatch(SAMPLE.values * np.float32(length), SAMPLE.offsets)
    scaled, plain = (LearnedEncoding(**SMALL, steps=steps).fit(sample) for steps in (150, 0))
    assert unexplained(scaled, sample) < 0.9 * unexplained(plain, sample)


def test_what_cannot_be_trained_on_names_the_argument() -> None:
    zeros = TokenBatch(np.zeros_like(SAMPLE.values), SAMPLE.offsets)
    with pytest.raises(InvalidArgumentError, match=r"^tokens: .*not all zero"):
        LearnedEncoding(**SMALL).fit(zeros)
    with pytest.raises(InvalidArgumentError, match=r"^device: "):
        LearnedEncoding(**SMALL).fit(SAMPLE, device="nowhere")
    with pytest.raises(InvalidArgumentError, match=r"^device: "):
        LearnedEncoding(**SMALL).fit(SAMPLE).encode_documents(SAMPLE, device="nowhere")
