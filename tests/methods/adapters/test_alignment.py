"""From a new model's space to the old one's: what is recovered where it can be."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from embplug.errors import DimensionError, LengthMismatchError, NotFittedError, StateError
from embplug.methods.adapters.alignment import (
    DimensionScale,
    LowRankAffine,
    Procrustes,
    RankedAffine,
    RelativeAnchors,
    ResidualMLP,
)
from embplug.methods.numeric.rows import unit_rows
from embplug.methods.registry import registered

generator = np.random.default_rng(0)
OLD = unit_rows(generator.standard_normal((600, 24)).astype(np.float32))
TURN = np.linalg.qr(generator.standard_normal((24, 24)))[0].astype(np.float32)
NEW = OLD @ TURN
QUICK: list[Any] = [
    Procrustes(),
    Procrustes(center=False, scale=True),
    LowRankAffine(rank=24, ridge=0.001),
    RelativeAnchors(anchors=400),
    RankedAffine(steps=20),
    ResidualMLP(hidden=8, steps=5),
]


def blurred() -> np.ndarray:
    """As an old model sees it that is all but blind to half of the dimensions."""
    noise = np.random.default_rng(1).standard_normal((600, 12)).astype(np.float32)
    return np.concatenate([OLD[:, :12], 0.2 * OLD[:, 12:] + 0.05 * noise], axis=1)


def recall(adapter: Any, new: np.ndarray, old: np.ndarray) -> float:
    """Of the ten nearest by the new model, those that are found by old vectors; 500 are learned from."""
    adapter.fit(new[:500], old[:500])
    nearest = np.argsort(-(new[500:] @ new.T), axis=1)[:, 1:11]
    found = np.argsort(-(adapter.transform(new[500:]) @ old.T), axis=1)[:, :11]
    return float(np.mean([np.isin(want, find).mean() for want, find in zip(nearest, found, strict=True)]))


@pytest.mark.parametrize("adapter", QUICK, ids=lambda adapter: adapter.kind)
def test_a_rotation_is_undone(adapter: Any) -> None:
    assert recall(adapter, NEW, OLD) > (0.6 if adapter.kind == "relative" else 0.97)


def test_dimensions_that_were_stretched_are_found_again() -> None:
    stretched = OLD * np.linspace(0.5, 2, 24, dtype=np.float32) + 0.1
    scale = DimensionScale().fit(stretched, OLD)
    np.testing.assert_allclose(scale.transform(stretched), OLD, atol=1e-4)
    with pytest.raises(LengthMismatchError, match="dimensions"):
        DimensionScale().fit(OLD[:, :5], OLD)


@pytest.mark.parametrize("adapter", [Procrustes(), LowRankAffine(ridge=0.001), RelativeAnchors()])
def test_dimensions_may_differ(adapter: Any) -> None:
    longer = np.concatenate([NEW, 0.1 * generator.standard_normal((600, 8)).astype(np.float32)], axis=1)
    assert recall(adapter, longer, OLD) > 0.55
    assert adapter.transform(longer[:3]).shape == (3, 24)
    assert adapter.new_dim == 32


def test_the_map_of_documents_serves_where_the_old_model_sees_less() -> None:
    assert recall(LowRankAffine(ridge=0.001), NEW, blurred()) > recall(Procrustes(), NEW, blurred())


@pytest.mark.parametrize(
    "adapter", [RankedAffine(ridge=2), ResidualMLP(hidden=16, ridge=2)], ids=lambda adapter: adapter.kind
)
def test_what_is_trained_to_rank_finds_more(adapter: Any) -> None:
    start = LowRankAffine(rank=None, ridge=adapter.ridge)
    assert recall(adapter, NEW, blurred()) > recall(start, NEW, blurred()) + 0.02


def test_one_pair_is_no_error() -> None:
    for adapter in (*QUICK, DimensionScale()):
        assert np.isfinite(adapter.fit(NEW[:1], OLD[:1]).transform(NEW[:3])).all()


@pytest.mark.parametrize(
    "adapter", [LowRankAffine(), RankedAffine(), ResidualMLP()], ids=lambda adapter: adapter.kind
)
def test_scores_are_on_the_scale_of_the_new_model_whatever_its_length(adapter: Any) -> None:
    new = 5 * NEW + 2
    adapter.fit(new, OLD + 0.1)
    queries = new[:20]
    scores = adapter.transform(queries) @ (OLD + 0.1).T + adapter.missing(queries)[:, None]
    exact = queries @ new.T
    np.testing.assert_allclose(scores.mean(1), exact.mean(1), rtol=1e-4)
    assert np.corrcoef(scores.ravel(), exact.ravel())[0, 1] > 0.98
    assert np.std(scores - exact) < 0.3 * np.std(exact)


@pytest.mark.parametrize("adapter", [*QUICK, DimensionScale()], ids=lambda adapter: adapter.kind)
def test_what_was_learned_is_kept_and_restored(adapter: Any) -> None:
    assert registered("adapter")[adapter.kind] is type(adapter)
    adapter.fit(NEW, OLD)
    restored = type(adapter)()
    restored.set_state(adapter.get_state())
    np.testing.assert_array_equal(restored.transform(NEW[:5]), adapter.transform(NEW[:5]))
    with pytest.raises(StateError):
        type(adapter)().set_state({"matrix": TURN, "more": TURN})
    with pytest.raises(NotFittedError):
        type(adapter)().transform(NEW)
    with pytest.raises(DimensionError):
        adapter.transform(NEW[:, :3])
    with pytest.raises(LengthMismatchError, match="old"):
        type(adapter)().fit(NEW, OLD[:-1])
