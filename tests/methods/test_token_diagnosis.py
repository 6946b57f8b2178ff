"""How tokens lie is measured as it is, and the sentence follows from the measurements."""

from __future__ import annotations

import numpy as np
import pytest

from embplug.errors import EmptyTokensError, InvalidArgumentError
from embplug.methods import TokenDiagnosis, diagnose
from embplug.methods.reductions.reduced import unit
from embplug.methods.token_batch import TokenBatch

DIM = 64


def tokens(
    *, clusters: int = 0, shared: float = 0.0, count: int = 120, each: int = 12, noise: float = 0.02
) -> TokenBatch:
    """Documents of tokens of their own, or near the centres of two clusters of their own."""
    rng = np.random.default_rng(0)
    if clusters:
        centres = unit(rng.standard_normal((clusters, DIM)).astype(np.float32))
        own = rng.integers(clusters, size=(count, 2)).repeat(each // 2, axis=1).ravel()
        values = centres[own] + noise * rng.standard_normal((count * each, DIM)).astype(np.float32)
    else:
        values = unit(rng.standard_normal((count * each, DIM)).astype(np.float32))
    direction = unit(rng.standard_normal((1, DIM)).astype(np.float32))
    return TokenBatch(unit(values + shared * direction), np.arange(count + 1) * each)


def test_random_tokens_lie_alike_in_all_directions() -> None:
    own = diagnose(tokens())
    assert own.mean_cosine == pytest.approx(0, abs=0.02) and own.effective_dim > 55
    assert own.leading_share == pytest.approx(8 / DIM, abs=0.05)
    assert own.lie == "isotropic" and own.encoding == "learned"
    assert own.documents == 120 and own.tokens == 1440 and own.dim == DIM
    assert "more candidates" in own.sentence and f"of {DIM} dimensions" in own.sentence


def test_tokens_of_clusters_are_separable_until_the_clusters_overlap() -> None:
    own = diagnose(tokens(clusters=16))
    assert own.effective_dim < 20 and own.maxsim_spread > 0.3
    assert own.lie == "separable" and own.encoding == "fde" and "FDE" in own.sentence
    assert own.cell_share > 0.9
    shared = diagnose(tokens(clusters=16, shared=2.0))
    assert shared.mean_cosine > 0.7 and shared.maxsim_spread < own.maxsim_spread / 2
    assert shared.lie == "separable"
    near = diagnose(tokens(clusters=16, noise=0.15))
    assert near.cell_share < 0.6 and near.effective_dim < 48
    assert near.lie == "overlapping" and near.encoding == "learned" and "learned" in near.sentence


def test_the_mean_cosine_is_that_of_all_pairs_of_documents() -> None:
    batch = tokens(clusters=4, shared=1.0, count=5)
    pairs = [(a @ b.T).mean() for i, a in enumerate(batch) for j, b in enumerate(batch) if i != j]
    assert diagnose(batch).mean_cosine == pytest.approx(np.mean(pairs), abs=1e-4)


@pytest.mark.parametrize("count", [1, 2])
def test_few_documents_and_equal_tokens_give_finite_figures(count: int) -> None:
    batch = TokenBatch(np.ones((2 * count, DIM), np.float32), np.arange(count + 1) * 2)
    for own in (diagnose(batch), diagnose(TokenBatch(batch.values[:count], np.arange(count + 1)))):
        assert np.isfinite([own.mean_cosine, own.effective_dim, own.leading_share, own.maxsim_spread]).all()
        assert own.mean_cosine == pytest.approx(1, abs=1e-5)


def test_many_documents_are_looked_at_in_part_and_empty_ones_not_at_all() -> None:
    many = tokens(count=2000, each=6)
    offsets = np.repeat(many.offsets, 2)
    assert diagnose(many).documents == diagnose(TokenBatch(many.values, offsets)).documents == 256
    with pytest.raises(EmptyTokensError):
        diagnose(TokenBatch(many.values[:0], np.zeros(3, np.int64)))
    with pytest.raises(InvalidArgumentError, match="TokenBatch"):
        diagnose([[1.0]])  # type: ignore[arg-type]


def test_it_is_the_same_from_json() -> None:
    own = diagnose(tokens(clusters=16))
    assert TokenDiagnosis.from_dict(own.to_dict()) == own
    for broken in (None, {}, {**own.to_dict(), "dim": "x"}):
        with pytest.raises((TypeError, KeyError, ValueError)):
            TokenDiagnosis.from_dict(broken)
