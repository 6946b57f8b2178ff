"""Points of a source are checked as documents that a user adds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from embplug import Dense, Multivector, Recipe, Tokens
from embplug.common.json_types import MAX_DEPTH
from embplug.errors import InvalidArgumentError
from embplug.lifecycle.migration.reader import Point
from embplug.lifecycle.migration.source import documents


def nested(depth: int) -> dict[str, Any]:
    value: Any = 1
    for _ in range(depth):
        value = {"k": value}
    return value


def test_a_payload_that_is_too_deep_is_named() -> None:
    recipe = Recipe(dense=Dense(dim=2))
    points = [Point(i, nested(depth), {"v": np.ones(2, np.float32)}) for i, depth in ((7, 1), (8, MAX_DEPTH))]
    assert len(next(documents(points, {"dense": "v"}, recipe, None))) == 2
    points.append(Point(9, nested(MAX_DEPTH + 1), {"v": np.ones(2, np.float32)}))
    with pytest.raises(InvalidArgumentError, match=r"^payload of point 9: expected at most 32 mappings"):
        next(documents(points, {"dense": "v"}, recipe, None))


def test_tokens_of_zeros_are_named() -> None:
    recipe = Recipe(tokens=Tokens(dim=2, multivector=Multivector()))
    rows = [np.ones((2, 2), np.float32), np.array([[1.0, 0.0], [0.0, 0.0]], np.float32)]
    points = [Point(i, {}, {"t": matrix}) for i, matrix in enumerate(rows)]
    with pytest.raises(InvalidArgumentError, match=r"^point 1: .*zeros in token 1 of vector 't'"):
        next(documents(points, {"tokens": "t"}, recipe, None))


@pytest.mark.parametrize(
    ("number", "named"),
    [
        (np.nan, r"^point 'b': expected finite numbers, got NaN or infinity in vector 'v'"),
        (1e20, r"^point 'b': expected numbers of at most 1\.126e\+15, got 1e\+20 in vector 'v'"),
    ],
)
@pytest.mark.parametrize("tokens", [False, True])
def test_vectors_that_cannot_be_stored_name_their_point(number: float, named: str, tokens: bool) -> None:
    good, bad = np.ones((2, 3, 4), dtype=np.float32)
    bad[1, 2] = number
    points = [
        Point("a", {}, {"v": good if tokens else good[1]}),
        Point("b", {}, {"v": bad if tokens else bad[1]}),
    ]
    recipe = Recipe(tokens=Tokens(dim=4)) if tokens else Recipe(dense=Dense(dim=4))
    with pytest.raises(InvalidArgumentError, match=named):
        list(documents(points, {"tokens" if tokens else "dense": "v"}, recipe, None))
