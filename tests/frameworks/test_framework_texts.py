"""Whether the text of a document or query goes along."""

from __future__ import annotations

import pytest

from embplug import CrossEncoderStage, Dense, Recipe, Rerank, Sparse, Tokens
from embplug.frameworks.texts import documents_need_text, query_needs_text

DENSE, TOKENS = Dense(dim=4), Tokens(dim=4, codes=None)
VECTOR = {"dense": [0.0] * 4}


@pytest.mark.parametrize(
    ("recipe", "has_tokens", "dense", "expected"),
    [
        (Recipe(dense=DENSE), False, VECTOR, False),
        (Recipe(dense=DENSE), False, None, True),
        (Recipe(dense={"dense": DENSE, "title": DENSE}), False, VECTOR, True),
        (Recipe(tokens=TOKENS), True, None, False),
        (Recipe(tokens=TOKENS), False, None, True),
        (Recipe(tokens=TOKENS, dense=DENSE), True, None, True),
        (Recipe(tokens=TOKENS, dense=DENSE), True, VECTOR, False),
        (Recipe(dense=DENSE, sparse=Sparse()), False, VECTOR, True),
    ],
)
def test_a_document_takes_its_text_along_if_something_is_made_of_it(recipe, has_tokens, dense, expected):
    assert documents_need_text(recipe, has_tokens=has_tokens, dense=dense) is expected


CROSS = Rerank(cross_encoder=CrossEncoderStage(name="any"))


@pytest.mark.parametrize(
    ("recipe", "has_tokens", "dense", "searches_sparse", "expected"),
    [
        (Recipe(dense=DENSE), False, VECTOR, False, False),
        (Recipe(dense=DENSE), False, None, False, True),
        (Recipe(dense=DENSE, rerank=CROSS), False, VECTOR, False, True),
        (Recipe(dense=DENSE, sparse=Sparse()), False, VECTOR, True, True),
        (Recipe(dense=DENSE, sparse=Sparse()), False, VECTOR, False, False),
        (Recipe(tokens=TOKENS, dense=DENSE), False, VECTOR, False, True),
        (Recipe(tokens=TOKENS, dense=DENSE), True, None, False, False),
    ],
)
def test_a_query_takes_its_text_along_if_something_reads_it(
    recipe, has_tokens, dense, searches_sparse, expected
):
    needs = query_needs_text(recipe, has_tokens=has_tokens, dense=dense, searches_sparse=searches_sparse)
    assert needs is expected
