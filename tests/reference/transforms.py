"""Transforms, adapters and weights of tokens in plain loops over learned arrays, one vector at a time."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from tests.reference.scores import State, length, product, scaled

Vector = list[float]


def pca(method: Any, state: State, vector: Vector, query: bool) -> Vector:
    """Products with the components, scaled by deviations where the parameters say."""
    centered = method.center == "both" or (method.center == "documents" and not query)
    if centered:
        vector = [x - float(m) for x, m in zip(vector, state["mean"], strict=True)]
    power = {"none": 0, "both": -1, "documents": 1 if query else -1}[method.whiten]
    results = [
        product(component, vector) * float(variance) ** (power / 2)
        for component, variance in zip(state["components"], state["variances"], strict=True)
    ]
    return scaled(results, 1.0) if method.normalize else results


def truncation(method: Any, state: State, vector: Vector, query: bool) -> Vector:
    """The first dimensions."""
    return scaled(vector[: method.dim], 1.0) if method.normalize else vector[: method.dim]


def learned_truncation(method: Any, state: State, vector: Vector, query: bool) -> Vector:
    """The map of the vector at unit length, at unit length."""
    vector = scaled(vector, 1.0)
    if not query:
        vector = [x - float(m) for x, m in zip(vector, state["mean"], strict=True)]
    return scaled([product(row, vector) for row in state["map"]], 1.0)


def matrix(method: Any, state: State, vector: Vector, query: bool) -> Vector:
    """The product with a learned rotation."""
    return [product(row, vector) for row in state["rotation"]]


def rotation(method: Any, state: State, vector: Vector, query: bool) -> Vector:
    """Random signs, and a Hadamard matrix by its definition, on the first and the last coordinates."""
    dim = len(vector)
    size = 2 ** int(math.log2(dim))
    generator = np.random.default_rng([method.seed, dim])
    for _ in range(method.rounds):
        for start in (0, dim - size):
            signs = [-1 if number < 0.5 else 1 for number in generator.random(dim)]
            vector = [x * sign for x, sign in zip(vector, signs, strict=True)]
            mixed = [
                math.fsum((-1) ** bin(i & j).count("1") * vector[start + j] for j in range(size))
                / math.sqrt(size)
                for i in range(size)
            ]
            vector = [*vector[:start], *mixed, *vector[start + size :]]
    return vector


def random_projection(method: Any, state: State, vector: Vector, query: bool) -> Vector:
    """The product with a matrix of few entries of one size."""
    dim = len(vector)
    density = method.density or 1 / math.sqrt(dim)
    uniform = np.random.default_rng([method.seed, dim]).random((method.dim, dim))
    entry = 1 / math.sqrt(density * method.dim)
    rows = [
        [entry if u < density / 2 else -entry if u > 1 - density / 2 else 0.0 for u in row] for row in uniform
    ]
    return [product(row, vector) for row in rows]


def affine(method: Any, state: State, vector: Vector) -> Vector:
    """A matrix, an offset, and the network beside them where there is one."""
    columns = zip(state["matrix"].T, state["offset"], strict=True)
    results = [product(column, vector) + float(offset) for column, offset in columns]
    if "w1" not in state:
        return results
    sums = [product(c, vector) + float(b) for c, b in zip(state["w1"].T, state["b1"], strict=True)]
    inner = [0.5 * x * (1 + math.tanh(math.sqrt(2 / math.pi) * (x + 0.044715 * x**3))) for x in sums]
    outer = [product(c, inner) + float(b) for c, b in zip(state["w2"].T, state["b2"], strict=True)]
    return [x + y for x, y in zip(results, outer, strict=True)]


def idf(method: Any, state: State, token: Vector) -> float:
    """The weight of the nearest centroid."""
    distances = [
        length([x - float(c) for x, c in zip(token, centroid, strict=True)])
        for centroid in state["centroids"]
    ]
    return float(state["idf"][distances.index(min(distances))])
