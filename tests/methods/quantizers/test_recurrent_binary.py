from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qdrant_client import models

from embplug.errors import DimensionError, LengthMismatchError, NotFittedError
from embplug.methods.numeric.rows import unit_rows
from embplug.methods.quantizers.recurrent_binary import RecurrentBinaryQuantizer
from tests.methods.quantizers.checks import check_contract, sample_of

pytest.importorskip("torch")


def small(**parameters) -> RecurrentBinaryQuantizer:
    return RecurrentBinaryQuantizer(**{"hidden": 8, "steps": 3, "batch": 16, **parameters})


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

    from embplug.methods.quantizers.recurrent_binary import _recur

    sample = unit_rows(sample_of(50, 12))
    quantizer = small(levels=2, steps=10).fit(sample)
    networks = {
        name: {layer: torch.from_numpy(array) for layer, array in network.items()}
        for name, network in quantizer.networks_.items()
    }
    trained = _recur(torch, torch.from_numpy(sample), networks, 2).numpy()
    np.testing.assert_allclose(quantizer._values(quantizer._numbers(sample)), trained, atol=1e-6)


def test_levels_hold_the_signs_in_their_highest_bit() -> None:
    sample = sample_of(30, 12)
    quantizer = small(levels=2).fit(sample)
    levels, signs = quantizer.levels_of(sample), quantizer.signs(sample)
    assert levels.max() < 8
    np.testing.assert_array_equal(levels >= 4, signs > 0)


@pytest.mark.parametrize("queries", ["exact", "codes"])
@pytest.mark.parametrize("levels", [0, 1, 3])
def test_dot_products_of_balanced_levels_rank_as_signed_ones(levels: int, queries: str) -> None:
    sample, query_vectors = sample_of(60, 40), sample_of(5, 40, seed=2)
    quantizer = small(levels=levels, queries=queries).fit(sample)
    stored = quantizer.balanced_levels(sample).astype(np.int64)
    scores = quantizer.balanced_queries(query_vectors).astype(np.int64) @ stored.T
    values = quantizer._values(quantizer.levels_of(sample))
    query = (
        quantizer._values(quantizer.levels_of(query_vectors))
        if queries == "codes"
        else query_vectors @ quantizer.decoder_[:-1].T
    )
    largest = np.abs(query).max(axis=1, keepdims=True)
    expected = np.rint(query * (127 / largest)) @ (2**levels * values).T
    np.testing.assert_array_equal(scores - scores[:, :1], (expected - expected[:, :1]).round())


def test_the_engine_finds_by_signs_and_ranks_by_levels(edge_client) -> None:
    sample, queries = unit_rows(sample_of(200, 32)), unit_rows(sample_of(6, 32, seed=2))
    quantizer = small(levels=1, queries="codes").fit(sample)
    one_bit = models.BinaryQuantization(binary=models.BinaryQuantizationConfig())
    stored = quantizer.balanced_levels(sample)
    edge_client.create_collection(
        "codes",
        vectors_config={
            "signs": models.VectorParams(size=32, distance=models.Distance.DOT, quantization_config=one_bit),
            "levels": models.VectorParams(
                size=stored.shape[1], distance=models.Distance.DOT, datatype=models.Datatype.UINT8
            ),
        },
    )
    vectors = {"signs": quantizer.signs(sample).tolist(), "levels": stored.tolist()}
    edge_client.upsert("codes", points=models.Batch(ids=list(range(200)), vectors=vectors))
    by_signs = quantizer.signs(queries) @ quantizer.signs(sample).T
    by_levels = quantizer.balanced_queries(queries).astype(np.int64) @ stored.T.astype(np.int64)
    codes_alone = models.SearchParams(quantization=models.QuantizationSearchParams(rescore=False))
    for i in range(len(queries)):
        candidates = models.Prefetch(
            query=quantizer.signs(queries)[i].tolist(), using="signs", params=codes_alone, limit=50
        )
        found = edge_client.query_points(
            "codes",
            query=quantizer.balanced_queries(queries)[i].astype(float).tolist(),
            using="levels",
            prefetch=candidates,
            limit=5,
        ).points
        reachable = np.flatnonzero(by_signs[i] >= np.sort(by_signs[i])[-50])
        certain = np.flatnonzero(by_signs[i] > np.sort(by_signs[i])[-51])
        best = by_levels[i, certain].max()
        assert {point.id for point in found} <= set(reachable.tolist())
        assert found[0].score >= best


def test_more_levels_rebuild_better() -> None:
    sample = unit_rows(sample_of(300, 16))
    losses = []
    for levels in (0, 1, 2):
        quantizer = small(levels=levels, steps=60).fit(sample)
        losses.append(np.square(quantizer.decode(quantizer.encode(sample)) - sample).mean())
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

    def found(newer: RecurrentBinaryQuantizer) -> float:
        best = newer.score(newer.encode_query(new_vectors), old_codes).argmax(axis=0)
        return float((best == np.arange(200)).mean())

    assert "30 steps" in compatible.describe().fit_cost
    untrained = RecurrentBinaryQuantizer(hidden=8, batch=16).fit(old_vectors)
    assert untrained.describe().fit_cost.startswith("0 steps")
    trained = RecurrentBinaryQuantizer(hidden=8, batch=16).fit(old_vectors, older=older)
    assert trained.describe().fit_cost.startswith("200 steps")
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
            use(RecurrentBinaryQuantizer())
