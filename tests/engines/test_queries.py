"""Requests of a search in the form that each engine takes."""

from __future__ import annotations

import warnings

import numpy as np
import pytest

from embplug import Collection, Recipe, Tokens, connect
from embplug.methods import FDE


@pytest.mark.parametrize("encoding", [None, FDE(repetitions=1, k_sim=1)])
def test_a_search_in_memory_warns_of_nothing(encoding: FDE | None) -> None:
    engine = connect(":memory:")
    collection = Collection.create(
        "docs", Recipe(tokens=Tokens(dim=4, encoding=encoding, codes=None)), engine
    )
    collection.add([1, 2], tokens=[np.eye(2, 4), np.eye(3, 4)])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for exact in (False, True):
            assert len(collection.search(tokens=np.eye(4), limit=2, exact=exact)) == 2
