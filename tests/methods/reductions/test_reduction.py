from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from embplug.errors import InvalidArgumentError, LengthMismatchError
from embplug.methods.reductions.cells import patch_cells
from embplug.methods.reductions.pooling import GridPooling, HierarchicalPooling, KMeansPooling
from embplug.methods.reductions.pruning import BallCarving, FirstTokens, RandomPruning, SaliencyPruning
from embplug.methods.reductions.reduced import DROPPED, Reduced
from embplug.methods.token_batch import TokenBatch
from tests.reference import reduction as reference

DIM = 4
LENGTHS = st.lists(st.integers(0, 9), min_size=1, max_size=5)
SEEDS = st.integers(0, 1000)
FACTORS = st.sampled_from([1.0, 1.5, 2.0, 3.0, 20.0])
SHARES = st.sampled_from([0.1, 0.25, 0.5, 0.7, 1.0])


def examples(*strategies: st.SearchStrategy[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Always the same ones: what is equally near within rounding may fall otherwise in the reference."""
    return lambda test: settings(derandomize=True, deadline=None, max_examples=50)(given(*strategies)(test))


def batch(lengths: list[int], seed: int = 0, dtype: Any = np.float32) -> TokenBatch:
    rng = np.random.default_rng(seed)
    common = rng.standard_normal(DIM)
    return TokenBatch.from_list(
        [(rng.standard_normal((length, DIM)) + common).astype(dtype) for length in lengths], dim=DIM
    )


def assert_groups(reduced: Reduced, tokens: TokenBatch, groups: list[list[list[int]]]) -> None:
    """The given groups of every document, in this order."""
    assert reduced.tokens.lengths.tolist() == [len(mine) for mine in groups]
    assert reduced.counts.tolist() == [len(group) for mine in groups for group in mine]
    expected = np.full(len(tokens.values), DROPPED)
    row = 0
    for start, mine in zip(tokens.offsets, groups, strict=False):
        for group in mine:
            expected[start + np.array(group)] = row
            row += 1
    np.testing.assert_array_equal(reduced.owner, expected)


def assert_values(reduced: Reduced, expected: list[np.ndarray]) -> None:
    for got, want in zip(reduced.tokens, expected, strict=True):
        np.testing.assert_allclose(got, want, rtol=1e-5, atol=1e-5)


def wide(tokens: TokenBatch) -> list[np.ndarray]:
    return [matrix.astype(np.float64) for matrix in tokens]


@examples(LENGTHS, SHARES, SEEDS)
def test_the_most_salient_tokens_are_kept_in_order(lengths, share, seed):
    tokens = batch(lengths, seed)
    # Few different values, so that there are ties.
    saliency = np.random.default_rng(seed).integers(0, 4, len(tokens.values))
    reduced = SaliencyPruning(keep=share).reduce(tokens, saliency)
    of_each = np.split(saliency, tokens.offsets[1:-1])
    kept = [reference.kept_by(mine, share) for mine in of_each]
    assert_groups(reduced, tokens, [[[i] for i in mine] for mine in kept])
    for got, matrix, mine in zip(reduced.tokens, tokens, kept, strict=True):
        np.testing.assert_array_equal(got, matrix[mine])
    np.testing.assert_array_equal(reduced.dropped, np.flatnonzero(reduced.owner < 0))


@examples(LENGTHS, SHARES, SEEDS)
def test_random_pruning_keeps_as_many(lengths, share, seed):
    tokens = batch(lengths)
    reduced = RandomPruning(keep=share, seed=seed).reduce(tokens)
    assert reduced.tokens.lengths.tolist() == [math.ceil(round(share * n, 9)) for n in lengths]
    again = RandomPruning(keep=share, seed=seed).reduce(tokens)
    np.testing.assert_array_equal(reduced.owner, again.owner)


def test_random_pruning_takes_all_tokens_equally_often():
    tokens = batch([8])
    kept = sum(RandomPruning(keep=0.25, seed=seed).reduce(tokens).owner >= 0 for seed in range(800))
    assert kept.sum() == 1600
    assert np.abs(kept - 200).max() < 60


@examples(LENGTHS, st.integers(1, 10))
def test_the_first_tokens_are_kept(lengths, count):
    tokens = batch(lengths)
    reduced = FirstTokens(count=count).reduce(tokens)
    assert_groups(reduced, tokens, [[[i] for i in range(min(n, count))] for n in lengths])
    assert_values(reduced, [matrix[:count] for matrix in tokens])


@examples(LENGTHS, SEEDS, st.sampled_from([0.3, 0.7, 0.95]))
def test_balls_are_carved_from_the_first_token_on(lengths, seed, threshold):
    tokens = batch(lengths, seed)
    reduced = BallCarving(threshold=threshold).reduce(tokens)
    groups = [reference.balls(matrix, threshold) for matrix in wide(tokens)]
    assert_groups(reduced, tokens, groups)
    sums = [
        np.array([matrix[ball].sum(axis=0) for ball in mine]).reshape(-1, DIM)
        for matrix, mine in zip(wide(tokens), groups, strict=True)
    ]
    assert_values(reduced, sums)


def test_a_query_that_repeats_a_token_keeps_its_scores_after_carving():
    query, document = batch([3], 1), batch([6], 2).values
    repeated = TokenBatch(query.values[[0, 1, 0, 2, 1, 0]], np.array([0, 6]))
    carved = BallCarving(threshold=0.9999).reduce(repeated)
    assert carved.counts.tolist() == [3, 2, 1]
    scores = [(matrix @ document.T).max(axis=1).sum() for matrix in (repeated.values, carved.tokens.values)]
    assert scores[0] == pytest.approx(scores[1], rel=1e-5)


@examples(LENGTHS, FACTORS, SEEDS, st.booleans())
def test_hierarchical_pooling_is_wards_method(lengths, factor, seed, keep_length):
    tokens = batch(lengths, seed)
    reduced = HierarchicalPooling(factor=factor, keep_length=keep_length).reduce(tokens)
    groups = [
        reference.ward(matrix, math.ceil(len(matrix) / factor)) if len(matrix) else []
        for matrix in wide(tokens)
    ]
    assert_groups(reduced, tokens, groups)
    assert_values(
        reduced, [reference.pooled(m, g, keep_length) for m, g in zip(wide(tokens), groups, strict=True)]
    )


@examples(LENGTHS, FACTORS, SEEDS, st.booleans(), st.integers(1, 3))
def test_k_means_pooling_is_lloyds_algorithm(lengths, factor, seed, keep_length, rounds):
    tokens = batch(lengths, seed)
    reduced = KMeansPooling(factor=factor, keep_length=keep_length, rounds=rounds).reduce(tokens)
    groups = [
        reference.k_means(matrix, math.ceil(len(matrix) / factor), rounds) if len(matrix) else []
        for matrix in wide(tokens)
    ]
    assert_groups(reduced, tokens, groups)
    assert_values(
        reduced, [reference.pooled(m, g, keep_length) for m, g in zip(wide(tokens), groups, strict=True)]
    )


GRID = st.tuples(st.integers(1, 4), st.integers(1, 4))
TILE = st.one_of(st.none(), st.integers(1, 3))


PAGES = st.lists(st.tuples(GRID, st.integers(0, 3), st.integers(0, 3)), min_size=1, max_size=4)


@examples(PAGES, TILE, TILE, st.booleans())
def test_grid_pooling_merges_tiles_and_keeps_what_is_no_patch(pages, tile_rows, tile_columns, keep_length):
    tokens = batch([before + rows * columns + after for (rows, columns), before, after in pages])
    pooling = GridPooling(tile_rows=tile_rows, tile_columns=tile_columns, keep_length=keep_length)
    grids = [(*grid, before) for grid, before, _ in pages]
    reduced = pooling.reduce(tokens, cells=patch_cells(tokens, grids))
    groups = []
    for (rows, columns), before, after in pages:
        count = rows * columns + after
        tiles = reference.tiles(count, rows, columns, tile_rows or rows, tile_columns or columns)
        groups.append([[i] for i in range(before)] + [[i + before for i in tile] for tile in tiles])
    assert_groups(reduced, tokens, groups)
    assert_values(
        reduced, [reference.pooled(m, g, keep_length) for m, g in zip(wide(tokens), groups, strict=True)]
    )


def test_by_default_a_page_keeps_one_token_for_every_row():
    tokens = batch([1024 + 6, 0, 1024])
    cells = patch_cells(tokens, [(32, 32), None, (32, 32)])
    assert GridPooling().reduce(tokens, cells=cells).tokens.lengths.tolist() == [32 + 6, 0, 32]
    alike = GridPooling(rows=32, columns=32).reduce(tokens)
    np.testing.assert_array_equal(
        alike.tokens.values, GridPooling().reduce(tokens, cells=cells).tokens.values
    )


def test_patches_that_are_left_after_pruning_stay_in_their_tiles():
    tokens = batch([1 + 6])
    cells = patch_cells(tokens, [(2, 3, 1)])
    pruned = SaliencyPruning(keep=0.5).reduce(tokens, [9, 1, 2, 7, 8, 3, 0])
    kept = pruned.owner != DROPPED
    assert cells[kept].tolist() == [[-1, -1], [0, 2], [1, 0], [1, 1]]
    left = GridPooling().reduce(pruned.tokens, cells=cells[kept]).tokens[0]
    x = tokens.values
    mean = (x[4] + x[5]) / 2
    mean *= np.linalg.norm(x[4:6], axis=1).mean() / np.linalg.norm(mean)
    np.testing.assert_allclose(left, [x[0], x[3], mean], rtol=1e-5, atol=1e-6)


def test_a_document_without_a_grid_keeps_its_tokens():
    tokens = batch([4, 3])
    cells = patch_cells(tokens, [(2, 2), None])
    np.testing.assert_array_equal(cells[4:], -np.ones((3, 2)))
    reduced = GridPooling(tile_rows=None).reduce(tokens, cells=cells).tokens
    assert reduced.lengths.tolist() == [1, 3]
    np.testing.assert_array_equal(reduced[1], tokens[1])


ALL = [
    SaliencyPruning(),
    RandomPruning(),
    FirstTokens(count=3),
    BallCarving(),
    HierarchicalPooling(),
    KMeansPooling(),
    GridPooling(rows=2, columns=2),
]


def reduce(method: Any, tokens: TokenBatch) -> Reduced:
    if isinstance(method, SaliencyPruning):
        return method.reduce(tokens, np.arange(len(tokens.values)) % 7)
    return method.reduce(tokens)


@pytest.mark.parametrize("method", ALL, ids=lambda method: method.kind)
def test_nothing_in_gives_nothing_out(method):
    for lengths in ([], [0, 0]):
        reduced = reduce(method, batch(lengths))
        assert reduced.tokens.lengths.tolist() == lengths
        assert reduced.tokens.dim == DIM
        assert reduced.counts.size == reduced.dropped.size == 0


@pytest.mark.parametrize("method", ALL, ids=lambda method: method.kind)
def test_float16_stays_float16(method):
    reduced = reduce(method, batch([9, 0, 4], dtype=np.float16))
    assert reduced.tokens.values.dtype == np.float16
    np.testing.assert_allclose(
        reduced.tokens.values,
        reduce(method, batch([9, 0, 4], dtype=np.float16).to_float32()).tokens.values,
        rtol=2e-3,
        atol=2e-3,
    )


@pytest.mark.parametrize(
    "method", [BallCarving(), HierarchicalPooling(), KMeansPooling()], ids=lambda m: m.kind
)
def test_a_document_is_reduced_the_same_in_any_company(method, monkeypatch):
    monkeypatch.setattr("embplug.methods.reductions.pooling.BLOCK_TOKENS", 30)
    monkeypatch.setattr("embplug.methods.reductions.reduced.BLOCK_TOKENS", 30)
    tokens = batch([9, 0, 25, 4, 40, 1] * 3)
    together = method.reduce(tokens).tokens
    for i in range(len(tokens)):
        alone = method.reduce(tokens[i : i + 1]).tokens
        np.testing.assert_allclose(alone[0], together[i], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize("method", ALL[3:6], ids=lambda method: method.kind)
def test_zero_and_equal_tokens_are_no_trouble(method):
    tokens = TokenBatch(np.repeat(batch([2]).values, [4, 4], axis=0) * [[0]] * 4, np.array([0, 8]))
    reduced = method.reduce(tokens)
    assert 1 <= len(reduced.tokens.values) <= 8
    assert reduced.counts.sum() == 8
    assert not reduced.tokens.values.any()


def test_pooling_unit_tokens_gives_unit_tokens():
    tokens = batch([30])
    values = tokens.values / np.linalg.norm(tokens.values, axis=1, keepdims=True)
    for method in (HierarchicalPooling(), KMeansPooling(), GridPooling(rows=5, columns=6)):
        pooled = method.reduce(TokenBatch(values, tokens.offsets)).tokens.values
        np.testing.assert_allclose(np.linalg.norm(pooled, axis=1), 1, rtol=1e-5)


@pytest.mark.parametrize(
    ("saliency", "error", "named"),
    [
        (np.ones(4), LengthMismatchError, "saliency"),
        ([1, 2, np.inf, 0, 0], InvalidArgumentError, r"saliency\[2\]"),
    ],
)
def test_bad_saliency_is_refused(saliency, error, named):
    with pytest.raises(error, match=named):
        SaliencyPruning().reduce(batch([5]), saliency)


@pytest.mark.parametrize(
    ("grids", "named"),
    [
        (7, r"grids: expected a grid for each"),
        ([[2, 2]], r"grids: expected 2 grids"),
        ([[2, 2], [0, 2]], r"grids\[1\]"),
        ([[2, 2], [2, 2, -1]], r"grids\[1\]"),
        ([[2, 2], [4]], r"grids\[1\]"),
        ([[2, 2], [[1], [1, 2]]], r"grids\[1\]"),
        ([[2**32, 2**32], [2, 2]], r"grids\[0\]"),
        ([[2.0, 2.0], [1, 1]], r"grids\[0\]"),
        ([[1, 1], [2, 3]], r"grids\[1\]: expected at most the 5 tokens of the document, got 0 \+ 2 x 3"),
        ([[1, 1], [2, 2, 2]], r"grids\[1\]: expected at most the 5 tokens of the document, got 2 \+ 2 x 2"),
    ],
)
def test_grids_that_do_not_fit_are_refused(grids, named):
    with pytest.raises(InvalidArgumentError, match=named):
        patch_cells(batch([5, 5]), grids)


def test_grid_pooling_refuses_pages_whose_grid_it_does_not_know():
    tokens = batch([5, 5])
    with pytest.raises(InvalidArgumentError, match=r"^cells: expected row and column of each token"):
        GridPooling().reduce(tokens)
    with pytest.raises(LengthMismatchError, match=r"^tokens\[0\]: expected at least the 2 x 3 tokens"):
        GridPooling(rows=2, columns=3).reduce(tokens)
    with pytest.raises(LengthMismatchError, match=r"^cells: expected shape \(10, 2\)"):
        GridPooling().reduce(tokens, cells=np.zeros((5, 2), dtype=int))
    with pytest.raises(InvalidArgumentError, match=r"^GridPooling.columns"):
        GridPooling(rows=2)


@pytest.mark.parametrize(
    ("method", "options"),
    [
        (SaliencyPruning, {"keep": 0}),
        (RandomPruning, {"keep": 1.1}),
        (FirstTokens, {"count": 0}),
        (BallCarving, {"threshold": 2}),
        (HierarchicalPooling, {"factor": 0.5}),
        (KMeansPooling, {"rounds": 0}),
        (GridPooling, {"tile_rows": 0}),
        (KMeansPooling, {"unknown": 1}),
    ],
)
def test_bad_parameters_are_refused(method, options):
    with pytest.raises(InvalidArgumentError, match=next(iter(options))):
        method(**options)


@pytest.mark.parametrize("method", ALL, ids=lambda method: method.kind)
def test_a_method_is_its_parameters(method):
    adapter = TypeAdapter(type(method))
    assert adapter.validate_json(adapter.dump_json(method)) == method
    with pytest.raises(AttributeError):
        method.kind = "other"
