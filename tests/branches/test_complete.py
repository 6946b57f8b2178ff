"""Checked documents made complete by the encoder and by reductions."""

from __future__ import annotations

import numpy as np

from embplug import Dense, Recipe, Tokens
from embplug.branches.complete import complete_documents
from embplug.branches.pipeline import Pipeline
from embplug.methods import FirstTokens
from tests.branches.parts import DIM, SMALL_FDE, RecordingEncoder, documents, vectors

DENSE = vectors(2, 0)


def test_the_encoder_makes_only_what_documents_lack() -> None:
    encoder = RecordingEncoder()
    recipe = Recipe(tokens=Tokens(dim=DIM, encoding=SMALL_FDE), dense=Dense(dim=DIM))
    pipeline = Pipeline(recipe, encoder)
    given = documents(2, dense={"dense": DENSE}, texts=["text 5", "text 6"])
    taken = complete_documents(given, pipeline)
    assert encoder.calls == [["text 5", "text 6"]]
    np.testing.assert_array_equal(taken.dense["dense"], DENSE)
    assert taken.tokens is not None and taken.tokens.values[:, 0].tolist() == [5, 5, 6, 6]
    complete_documents(taken, pipeline)
    assert len(encoder.calls) == 1


def test_tokens_of_the_encoder_are_reduced() -> None:
    tokens = Tokens(dim=DIM, encoding=SMALL_FDE, reduction=FirstTokens(count=1))
    pipeline = Pipeline(Recipe(tokens=tokens), RecordingEncoder())
    taken = complete_documents(documents(1, texts=["text 5"]), pipeline)
    assert taken.tokens is not None and len(taken.tokens.values) == 1
