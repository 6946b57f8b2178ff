from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embplug.methods.numeric.partition import Cells, CrossPolytopeCells, SimHashCells, half_squares, kmeans


def gaussian(*shape: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal(shape).astype(np.float32)


@given(st.integers(1, 12))
def test_neighbours_in_gray_code_differ_in_one_sign(bits):
    signs = (np.arange(1 << bits)[:, None] >> np.arange(bits)) & 1
    normals = np.eye(bits, dtype=np.float32)[None]
    cells = SimHashCells.draw(normals, None, gray=True)
    numbers = cells.assign(cells.scores(signs.astype(np.float32)))[0]
    assert sorted(numbers) == list(range(1 << bits))
    in_order = signs[np.argsort(numbers)]
    assert (np.abs(np.diff(in_order, axis=0)).sum(axis=1) == 1).all()


def test_plain_indexing_reads_the_signs_as_a_binary_number():
    cells = SimHashCells.draw(np.eye(3, dtype=np.float32)[None], None, gray=False)
    tokens = np.array([[1, -1, -1], [-1, 1, 1], [0, 0, 1]], dtype=np.float32)
    assert cells.assign(cells.scores(tokens)).tolist() == [[0b100, 0b011, 0b001]]


def test_k_means_cells_are_those_of_the_nearest_centroid():
    centroids, tokens = gaussian(2, 8, 5), gaussian(50, 5, seed=1)
    cells = Cells(centroids, half_squares(centroids), 8)
    distances = np.linalg.norm(centroids[:, :, None] - tokens, axis=3)
    np.testing.assert_array_equal(cells.assign(cells.scores(tokens)), distances.argmin(axis=1))


def test_cross_polytope_cells_are_axes_and_their_opposites():
    cells = CrossPolytopeCells(np.eye(3, dtype=np.float32)[None], None, 6)
    tokens = np.array([[0, 2, 1], [-3, 2, 1], [0, 0, -1]], dtype=np.float32)
    assert cells.assign(cells.scores(tokens)).tolist() == [[1, 3, 5]]


def test_k_means_finds_clusters_that_are_apart():
    centers = 20 * np.eye(4, 6, dtype=np.float32)
    owner = np.random.default_rng(0).integers(0, 4, 400)
    tokens = centers[owner] + gaussian(400, 6) / 10
    best = min(
        (kmeans(tokens, 4, np.random.default_rng(seed)) for seed in range(10)),
        key=lambda found: np.linalg.norm(tokens[:, None] - found, axis=2).min(axis=1).sum(),
    )
    distances = np.linalg.norm(centers[:, None] - best, axis=2)
    assert distances.min(axis=1).max() < 0.1


@pytest.mark.parametrize("count", [1, 3, 8, 9])
def test_k_means_takes_few_tokens_and_halves(count):
    tokens = gaussian(count, 4)
    found = kmeans(tokens.astype(np.float16), 8, np.random.default_rng(0))
    assert found.shape == (8, 4)
    assert found.dtype == np.float32
    assert np.isfinite(found).all()
    if count == 1:
        np.testing.assert_array_equal(found, np.repeat(tokens.astype(np.float16).astype(np.float32), 8, 0))


def test_k_means_is_drawn_from_its_generator():
    tokens = gaussian(2000, 4)
    first, again = (kmeans(tokens, 8, np.random.default_rng(3)) for _ in range(2))
    assert first.tobytes() == again.tobytes()
    assert first.tobytes() != kmeans(tokens, 8, np.random.default_rng(4)).tobytes()
