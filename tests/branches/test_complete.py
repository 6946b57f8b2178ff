"""Checked documents are made complete: the encoder makes what they lack, and tokens are reduced."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from embplug import Dense, Multivector, Query, Recipe, Tokens
from embplug.branches.complete import complete_documents, reduce_tokens
from embplug.branches.documents import CheckedSample
from embplug.branches.pipeline import Pipeline
from embplug.errors import InvalidArgumentError
from embplug.methods import FirstTokens, SaliencyPruning
from tests.branches.parts import DIM, SMALL_FDE, RecordingEncoder, batch, documents, vectors

DENSE = vectors(2)
BOTH = Recipe(
    tokens=Tokens(dim=DIM, encoding=SMALL_FDE, multivector=Multivector(), codes=None), dense=Dense(dim=DIM)
)
TEXTS = ["text 5", "text 6"]


def test_the_encoder_makes_only_what_documents_lack() -> None:
    encoder = RecordingEncoder()
    pipeline = Pipeline(BOTH, encoder)
    complete = complete_documents(documents(2, dense={"dense": DENSE}, texts=TEXTS), pipeline)
    assert encoder.calls == [TEXTS]
    np.testing.assert_array_equal(complete.dense["dense"], DENSE)
    assert complete.tokens is not None and complete.tokens.values[:, 0].tolist() == [5, 5, 6, 6]
    complete_documents(complete, pipeline)
    assert len(encoder.calls) == 1


def test_complete_documents_need_no_encoder() -> None:
    whole = documents(2, tokens=batch(2, 0), dense={"dense": DENSE}, texts=TEXTS)
    complete = complete_documents(whole, Pipeline(BOTH))
    assert complete.tokens is not None and complete.tokens.values.tolist() == batch(2, 0).values.tolist()
    np.testing.assert_array_equal(complete.dense["dense"], DENSE)


def test_two_missing_dense_vectors_are_refused() -> None:
    recipe = Recipe(dense={"a": Dense(dim=DIM), "b": Dense(dim=DIM)})
    with pytest.raises(InvalidArgumentError) as raised:
        complete_documents(documents(2, texts=TEXTS), Pipeline(recipe, RecordingEncoder()))
    assert raised.value.argument == "dense['a']"


def test_tokens_of_the_encoder_are_reduced_by_its_saliency() -> None:
    tokens = Tokens(
        dim=DIM,
        encoding=SMALL_FDE,
        reduction=(SaliencyPruning(keep=1.0), FirstTokens(count=1)),
        multivector=Multivector(),
        codes=None,
    )
    pipeline = Pipeline(Recipe(tokens=tokens), RecordingEncoder(saliency=True))
    complete = complete_documents(documents(2, texts=TEXTS), pipeline)
    assert complete.tokens is not None and complete.tokens.values[:, 0].tolist() == [5, 6]


def test_a_sample_is_reduced_as_documents_are() -> None:
    tokens = Tokens(
        dim=DIM, encoding=SMALL_FDE, reduction=FirstTokens(count=3), multivector=Multivector(), codes=None
    )
    pipeline = Pipeline(Recipe(tokens=tokens))
    sample = reduce_tokens(CheckedSample(batch(2, 0), {}), pipeline)
    whole = reduce_tokens(documents(2, tokens=batch(2, 0)), pipeline)
    assert sample.tokens is not None and whole.tokens is not None
    assert sample.tokens.values.tolist() == whole.tokens.values.tolist()
    assert sample.tokens.lengths.tolist() == [3, 3]


@pytest.mark.parametrize("returned", [None, (batch(1, 0), DENSE[:1])], ids=["nothing", "tuple"])
def test_what_an_encoder_returns_is_checked(returned: Any) -> None:
    encoder = RecordingEncoder()
    encoder.encode_documents = encoder.encode_queries = lambda texts: returned  # type: ignore[method-assign]
    pipeline = Pipeline(BOTH, encoder)
    with pytest.raises(InvalidArgumentError, match=r"^encoder: .* return embplug\.Encoded, got "):
        complete_documents(documents(1, texts=TEXTS[:1]), pipeline)
    with pytest.raises(InvalidArgumentError, match=r"^encoder: .* return embplug\.Encoded, got "):
        pipeline.with_query_vectors([Query(text="text 5")])
