"""A collection remembers how the tokens lie from which it has learned, and info says it."""

from __future__ import annotations

from typing import Any

import pytest

from embplug import Collection, Recipe, Sample, Tokens
from embplug.engines import Engine
from embplug.methods import FDE, BitAllocationQuantizer, diagnose
from tests.tokens import DIM, batch

SMALL = FDE(repetitions=2, simhash_bits=1, projection_dim=4)
CODED = Recipe(tokens=Tokens(dim=DIM, encoding=SMALL, multivector=None, codes=BitAllocationQuantizer(size=4)))


def test_what_was_measured_when_it_learned_is_told_by_info(engine: Engine, caplog: Any) -> None:
    collection = Collection.create("docs", CODED, engine)
    assert collection.info().diagnosis is None
    documents = batch(60, 0)
    with caplog.at_level("INFO", "embplug"):
        collection.add([*range(60)], tokens=documents)
    expected = diagnose(documents)
    told = Collection.open("docs", engine).info()
    assert told.diagnosis is not None
    assert told.diagnosis.mean_cosine == pytest.approx(expected.mean_cosine, abs=1e-6)
    assert told.diagnosis.lie == expected.lie
    assert told.to_dict()["diagnosis"]["sentence"] == expected.sentence
    assert expected.sentence in caplog.text
    Collection.open("docs", engine).add([100], tokens=batch(1, 1))
    assert Collection.open("docs", engine).info().diagnosis == told.diagnosis


def test_a_sample_is_measured_where_nothing_is_learned(engine: Engine) -> None:
    recipe = Recipe(tokens=Tokens(dim=DIM, encoding=SMALL))
    sample = Sample(tokens=batch(60, 0))
    Collection.create("docs", recipe, engine, sample=sample)
    told = Collection.open("docs", engine).info().diagnosis
    assert told is not None and told.documents == 60
