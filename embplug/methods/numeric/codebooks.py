"""Codebooks of product quantization, and the rotation before them, trained with the k-means of faiss."""

from __future__ import annotations

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray

from embplug.common.extras import import_extra
from embplug.methods.numeric.arrays import Float32

BLOCK_ROWS = 4096
ROUNDS_BETWEEN_ROTATIONS = 4


def pieces(width: int, count: int) -> list[slice]:
    """Cut ``width`` dimensions into ``count`` pieces that differ by one dimension at most."""
    bounds = [j * width // count for j in range(count + 1)]
    return [slice(start, stop) for start, stop in pairwise(bounds)]


def train_codebooks(
    sample: Float32, parts: list[slice], count: int, iterations: int, seed: int, start: Float32 | None = None
) -> Float32:
    """Centroids (centroids, width) of each piece, side by side; as many as samples where those are fewer.

    Raises
    ------
    MissingExtraError
        faiss is not installed.
    """
    faiss = import_extra("faiss", "product quantization")
    count = min(count, len(sample))
    centroids = np.empty((count, sample.shape[1]), dtype=np.float32)
    for j, piece in enumerate(parts):
        part = np.ascontiguousarray(sample[:, piece])
        kmeans = faiss.Kmeans(
            part.shape[1], count, niter=iterations, seed=seed + j + 1, min_points_per_centroid=1
        )
        kmeans.train(part, init_centroids=None if start is None else np.ascontiguousarray(start[:, piece]))
        centroids[:, piece] = kmeans.centroids
    return centroids


def nearest(vectors: Float32, centroids: Float32, parts: list[slice]) -> NDArray[np.uint8]:
    """Number (n, pieces) of the nearest centroid of each piece."""
    numbers = np.empty((len(vectors), len(parts)), dtype=np.uint8)
    halves = [np.einsum("cd,cd->c", centroids[:, p], centroids[:, p]) / 2 for p in parts]
    for start in range(0, len(vectors), BLOCK_ROWS):
        rows = slice(start, start + BLOCK_ROWS)
        for j, piece in enumerate(parts):
            numbers[rows, j] = (vectors[rows, piece] @ centroids[:, piece].T - halves[j]).argmax(axis=1)
    return numbers


def rebuilt(numbers: NDArray[np.uint8], centroids: Float32, parts: list[slice]) -> Float32:
    """Vectors (n, width) that the numbers stand for."""
    vectors = np.empty((len(numbers), centroids.shape[1]), dtype=np.float32)
    for j, piece in enumerate(parts):
        vectors[:, piece] = centroids[:, piece][numbers[:, j]]
    return vectors


def train_opq(sample: Float32, subspaces: int, bits: int, iterations: int, seed: int) -> Float32:
    """Rotation (dim, dim) after which product quantization loses least (OPQ, non-parametric).

    It starts from the principal components, dealt out so that the pieces have variance alike, and
    takes turns: codebooks for the rotation, the rotation for what the codebooks rebuild.

    Raises
    ------
    MissingExtraError
        faiss is not installed.
    """
    parts = pieces(sample.shape[1], subspaces)
    rotation = _balanced_components(sample, parts)
    centroids: Float32 | None = None
    for _ in range(iterations):
        rotated = sample @ rotation.T
        centroids = train_codebooks(rotated, parts, 1 << bits, ROUNDS_BETWEEN_ROTATIONS, seed, centroids)
        target = rebuilt(nearest(rotated, centroids, parts), centroids, parts)
        left, _, right = np.linalg.svd((target.T @ sample).astype(np.float64))
        rotation = (left @ right).astype(np.float32)
    return np.ascontiguousarray(rotation)


def _balanced_components(sample: Float32, parts: list[slice]) -> Float32:
    centred = sample - sample.mean(axis=0)
    variances, vectors = np.linalg.eigh((centred.T @ centred).astype(np.float64))
    logs = np.log(np.maximum(variances, 1e-7 * max(variances[-1], 1e-30)))
    logs -= logs.min()
    members: list[list[int]] = [[] for _ in parts]
    loads = np.zeros(len(parts))
    sizes = np.array([piece.stop - piece.start for piece in parts])
    for component in np.argsort(-variances):
        free = np.array([len(group) for group in members]) < sizes
        group = int(np.where(free, loads, np.inf).argmin())
        members[group].append(int(component))
        loads[group] += logs[component]
    order = [component for group in members for component in group]
    components: Float32 = vectors[:, order].T.astype(np.float32)
    return components
