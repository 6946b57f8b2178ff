"""Pooling and pruning of one token matrix the slow way: loops over tokens, in float64."""

from __future__ import annotations

import math

import numpy as np


def kept_by(values: np.ndarray, share: float) -> list[int]:
    """Indices of the highest values, the first of equal ones, in rising order."""
    count = math.ceil(round(share * len(values), 9))
    best = sorted(range(len(values)), key=lambda i: (-values[i], i))[:count]
    return sorted(best)


def balls(tokens: np.ndarray, threshold: float) -> list[list[int]]:
    left = list(range(len(tokens)))
    parts = []
    while left:
        ball = [i for i in left if i == left[0] or cosine(tokens[left[0]], tokens[i]) >= threshold]
        parts.append(ball)
        left = [i for i in left if i not in ball]
    return parts


def ward(tokens: np.ndarray, most: int) -> list[list[int]]:
    """Merge the two groups whose union raises the sum of squared distances to the mean least."""
    directions = np.array([direction(x) for x in tokens])
    groups = [[i] for i in range(len(tokens))]
    while len(groups) > most:
        pairs = [(a, b) for a in range(len(groups)) for b in range(a + 1, len(groups))]

        def rise(pair: tuple[int, int]) -> float:
            first, second = groups[pair[0]], groups[pair[1]]
            gap = directions[first].mean(axis=0) - directions[second].mean(axis=0)
            return len(first) * len(second) / (len(first) + len(second)) * float(gap @ gap)

        a, b = min(pairs, key=rise)
        groups[a] = sorted(groups[a] + groups.pop(b))
    return sorted(groups)


def k_means(tokens: np.ndarray, most: int, rounds: int) -> list[list[int]]:
    directions = np.array([direction(x) for x in tokens])
    centroids = [directions[i * len(tokens) // most] for i in range(most)]
    for _ in range(rounds):
        members = _nearest(directions, centroids)
        centroids = [
            directions[mine].mean(axis=0) if mine else centroid
            for mine, centroid in zip(members, centroids, strict=True)
        ]
    return [mine for mine in _nearest(directions, centroids) if mine]


def _nearest(directions: np.ndarray, centroids: list[np.ndarray]) -> list[list[int]]:
    owner = [int(np.argmin([np.sum((x - c) ** 2) for c in centroids])) for x in directions]
    return [[i for i, mine in enumerate(owner) if mine == c] for c in range(len(centroids))]


def tiles(count: int, rows: int, columns: int, tile_rows: int, tile_columns: int) -> list[list[int]]:
    parts = []
    for top in range(0, rows, tile_rows):
        for left in range(0, columns, tile_columns):
            inside_rows = range(top, min(top + tile_rows, rows))
            inside_columns = range(left, min(left + tile_columns, columns))
            parts.append([row * columns + column for row in inside_rows for column in inside_columns])
    return parts + [[i] for i in range(rows * columns, count)]


def pooled(tokens: np.ndarray, groups: list[list[int]], keep_length: bool) -> np.ndarray:
    parts = []
    for group in groups:
        mean = tokens[group].mean(axis=0)
        if keep_length and np.linalg.norm(mean) > 0:
            mean *= np.mean([np.linalg.norm(tokens[i]) for i in group]) / np.linalg.norm(mean)
        parts.append(mean)
    return np.array(parts).reshape(-1, tokens.shape[1])


def carved(tokens: np.ndarray, threshold: float) -> np.ndarray:
    """The sum of each ball."""
    sums = [tokens[ball].sum(axis=0) for ball in balls(tokens, threshold)]
    return np.array(sums).reshape(-1, tokens.shape[1])


def direction(x: np.ndarray) -> np.ndarray:
    length = np.linalg.norm(x)
    return x / length if length > 0 else x


def cosine(x: np.ndarray, y: np.ndarray) -> float:
    return float(direction(x) @ direction(y))
