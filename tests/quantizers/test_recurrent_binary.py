from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embplug.errors import DimensionError, LengthMismatchError, NotFittedError
from embplug.quantizers.recurrent_binary import RecurrentBinarizer
from embplug.transforms.base import unit_rows
from tests.quantizers.checks import check_contract, sample_of

pytest.importorskip("torch")


def small(**given) -> RecurrentBinarizer:
    return RecurrentBinarizer(**{"hidden": 8, "steps": 3, "batch": 16, **given})


@settings(max_examples=8, deadline=None)
@given(
    dim=st.integers(2, 13),
    width=st.none() | st.integers(1, 20),
    levels=st.integers(0, 3),
    count=st.integers(1, 40),
    queries=st.sampled_from(["exact", "codes"]),
)
def test_contract(dim: int, width: int | None, levels: int, count: int, queries: str) -> None:
    check_contract(small(dim_out=width, levels=levels, queries=queries), sample_of(count, dim))


def test_coding_with_numpy_is_what_was_trained_with_torch() -> None:
    import torch

    from embplug.quantizers.recurrent_binary import _recur

    sample = unit_rows(sample_of(50, 12))
    made = small(levels=2, steps=10).fit(sample)
    networks = {
        name: {layer: torch.from_numpy(array) for layer, array in network.items()}
        for name, network in made.networks_.items()
    }
    trained = _recur(torch, torch.from_numpy(sample), networks, 2).numpy()
    np.testing.assert_allclose(made._values(made._numbers(sample)), trained, atol=1e-6)


def test_levels_hold_the_signs_in_their_highest_bit() -> None:
    sample = sample_of(30, 12)
    made = small(levels=2).fit(sample)
    levels, signs = made.levels_of(sample), made.signs(sample)
    assert levels.max() < 8
    np.testing.assert_array_equal(levels >= 4, signs > 0)


def test_more_levels_rebuild_better() -> None:
    sample = unit_rows(sample_of(300, 16))
    losses = []
    for levels in (0, 1, 2):
        made = small(levels=levels, steps=60).fit(sample)
        losses.append(np.square(made.decode(made.encode(sample)) - sample).mean())
    assert losses == sorted(losses, reverse=True)


def test_codes_of_a_newer_version_search_those_of_an_older_one() -> None:
    old_vectors = unit_rows(sample_of(200, 16))
    turn = np.linalg.qr(np.random.default_rng(5).standard_normal((16, 16)))[0].astype(np.float32)
    new_vectors = old_vectors @ turn
    older = small(levels=1, queries="codes", steps=30).fit(old_vectors)
    old_codes = older.encode(old_vectors)
    alone = small(levels=1, queries="codes", steps=30, seed=1).fit(new_vectors)
    compatible = small(levels=1, queries="codes", steps=30, seed=1)
    compatible.fit(new_vectors, older=older, older_X=old_vectors)

    def found(newer: RecurrentBinarizer) -> float:
        best = newer.score(newer.encode_query(new_vectors), old_codes).argmax(axis=0)
        return float((best == np.arange(200)).mean())

    assert found(alone) < 0.1
    assert found(compatible) > 0.4


def test_an_older_version_that_does_not_fit_is_named() -> None:
    older = small(dim_out=4).fit(sample_of(20, 8))
    with pytest.raises(DimensionError, match=r"^older"):
        small().fit(sample_of(20, 8), older=older)
    with pytest.raises(LengthMismatchError, match=r"^older_X"):
        small(dim_out=4).fit(sample_of(20, 8), older=older, older_X=sample_of(19, 8))


def test_use_before_fit_is_an_error() -> None:
    for use in (lambda q: q.encode(np.zeros((1, 4))), lambda q: q.describe(), lambda q: q.dim):
        with pytest.raises(NotFittedError):
            use(RecurrentBinarizer())
