"""Requests of a search in the form that each engine takes."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from embplug import Collection, Recipe, Tokens, connect
from embplug.methods import FDE
from tests.branches.parts import DIM, SMALL_FDE


@pytest.mark.parametrize("encoding", [None, SMALL_FDE])
def test_a_search_in_memory_warns_of_nothing(encoding: FDE | None) -> None:
    recipe = Recipe(tokens=Tokens(dim=DIM, encoding=encoding, codes=None))
    collection = Collection.create("docs", recipe, connect(":memory:"))
    collection.add([1, 2], tokens=[np.eye(2, DIM), np.eye(3, DIM)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for exact in (False, True):
            assert len(collection.search(tokens=np.eye(2, DIM), limit=2, exact=exact)) == 2
