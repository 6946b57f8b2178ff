"""Numbers beyond what a datatype holds, and padding, are refused with their place."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from qdrant_client import models

from embplug import Collection, Dense, Documents, Multivector, Recipe, Sample, TokenBatch, Tokens
from embplug.branches.datatypes import FLOAT16_MAX
from embplug.branches.documents import check_documents, check_sample
from embplug.branches.queries import check_query
from embplug.encoders import Encoded
from embplug.errors import InvalidArgumentError
from embplug.methods import FDE, Rotation
from embplug.search.types import Query

DIM = 4
FLOAT16 = models.Datatype.FLOAT16
HALF = Recipe(
    tokens=Tokens(dim=DIM, encoding=FDE(repetitions=1, simhash_bits=1), multivector=Multivector(), codes=None)
)
SINGLE = Recipe(
    tokens=Tokens(
        dim=DIM,
        encoding=FDE(repetitions=1, simhash_bits=1),
        multivector=Multivector(datatype="float32"),
        codes=None,
    )
)


def tokens(*components: float) -> list[np.ndarray]:
    """Two documents, the second with these numbers as component 2 of its tokens."""
    second = np.ones((len(components), DIM), dtype=np.float32)
    second[:, 2] = components
    return [np.ones((3, DIM), dtype=np.float32), second]


def dense(distance: str, **parts: Any) -> Recipe:
    return Recipe(dense=Dense(dim=DIM, distance=distance, datatype=FLOAT16, **parts))


def rows(number: float) -> np.ndarray:
    second = np.ones((2, DIM), dtype=np.float32)
    second[1, 3] = number
    return second


class Padding:
    """An encoder that makes what it is told to."""

    spec = "padding"

    def __init__(self, matrices: list[np.ndarray] | None = None, vectors: np.ndarray | None = None) -> None:
        self.matrices, self.vectors = matrices, vectors

    def encode_documents(self, texts: Any) -> Encoded:
        return Encoded(None if self.matrices is None else TokenBatch.from_list(self.matrices), self.vectors)

    encode_queries = encode_documents


def test_tokens_beyond_float16_are_refused_with_their_place() -> None:
    for number in (70_000.0, -65_505.0):
        with pytest.raises(InvalidArgumentError, match=r"float16 .* in component 2 of token 1") as raised:
            check_documents(Documents(["a", "b"], tokens=tokens(1, number)), HALF, False)
        assert raised.value.argument == "tokens[1]"
        check_documents(Documents(["a", "b"], tokens=tokens(1, number)), SINGLE, False)
    check_documents(Documents(["a", "b"], tokens=tokens(FLOAT16_MAX, -FLOAT16_MAX)), HALF, False)
    with pytest.raises(InvalidArgumentError, match=r"^tokens: .* in component 2 of token 0"):
        check_query(Query(tokens=tokens(70_000.0)[1]), HALF)


@pytest.mark.parametrize("distance", ["Dot", "Euclid", "Manhattan"])
def test_dense_numbers_beyond_float16_are_refused_with_their_place(distance: str) -> None:
    recipe = dense(distance)
    with pytest.raises(InvalidArgumentError, match=r"float16 .* got 70000 in component 3$") as raised:
        check_documents(Documents([1, 2], dense=rows(70_000)), recipe, False)
    assert raised.value.argument == "dense[1]"
    with pytest.raises(InvalidArgumentError, match=r"^dense: .*float16"):
        check_query(Query(dense=rows(70_000)[1]), recipe)


def test_the_cosine_stores_no_large_numbers(edge_client: Any) -> None:
    collection = Collection.create("docs", dense("Cosine"), edge_client)
    collection.add([1, 2], dense=rows(1e9))
    hits = collection.search(dense=rows(1e9)[1])
    assert [hit.id for hit in hits] == [2, 1] and hits[0].score == pytest.approx(1, abs=1e-3)


def test_what_a_transform_makes_is_checked_too(edge_client: Any) -> None:
    collection = Collection.create("docs", dense("Dot", transforms=[Rotation()]), edge_client)
    # All of this vector's numbers add up in the first component of what is stored.
    aligned = np.sign(Rotation().transform(np.eye(DIM, dtype=np.float32))[:, 0])
    with pytest.raises(InvalidArgumentError, match=r"^document 'b': .*float16.* in component 0"):
        collection.add(["a", "b"], dense=[np.ones(DIM), 65_000 * aligned])
    assert collection.count() == 0


def test_an_encoding_of_float16_is_checked_too(edge_client: Any) -> None:
    encoding = FDE(repetitions=1, simhash_bits=1, dtype="float16")
    recipe = Recipe(tokens=Tokens(dim=DIM, encoding=encoding, multivector=None, codes=None))
    collection = Collection.create("docs", recipe, edge_client)
    with pytest.raises(InvalidArgumentError, match=r"^document 'b': .*float16"):
        collection.add(["a", "b"], tokens=tokens(1e6, 1e6))
    assert collection.count() == 0


@pytest.mark.parametrize(
    ("recipe", "encoder", "said"),
    [
        (HALF, Padding(tokens(70_000.0)), r"^tokens of encoder 'padding'\[1\]: .*float16"),
        (dense("Dot"), Padding(vectors=rows(70_000)), r"^dense of encoder 'padding'\[1\]: .*float16"),
        (
            HALF,
            Padding([np.ones((2, DIM)), np.eye(2, DIM, k=3)]),
            r"encoder 'padding'\[1\]: .*zeros in token 1",
        ),
    ],
)
def test_what_an_encoder_makes_is_checked_too(
    memory_client: Any, recipe: Recipe, encoder: Padding, said: str
) -> None:
    collection = Collection.create("docs", recipe, memory_client, encoder=encoder)
    with pytest.raises(InvalidArgumentError, match=said):
        collection.add(["a", "b"], texts=["x", "y"])
    assert collection.count() == 0


def test_padding_is_refused_and_the_error_says_how_to_leave_it_out() -> None:
    padded = np.ones((2, 3, DIM), dtype=np.float32)
    padded[1, 2] = 0
    for matrices in (padded, list(padded), TokenBatch.from_list(list(padded))):
        with pytest.raises(InvalidArgumentError, match=r"from_padded.* got zeros in token 2$") as raised:
            check_documents(Documents([1, 2], tokens=matrices), HALF, False)
        assert raised.value.argument == "tokens[1]"
        with pytest.raises(InvalidArgumentError, match=r"^sample\.tokens\[1\]: .*zeros in token 2$"):
            check_sample(Sample(tokens=matrices), HALF)
    without = TokenBatch.from_padded(padded, padded.any(axis=2))
    checked = check_documents(Documents([1, 2], tokens=without), HALF, False)
    assert checked.tokens is not None and checked.tokens.lengths.tolist() == [3, 2]
