"""Collections that are created without a recipe, and those that begin with few documents."""

from __future__ import annotations

import asyncio
import hashlib
import warnings
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest

from embplug import AsyncCollection, Collection, Recipe, Tokens
from embplug.encoders import Encoded
from embplug.errors import InvalidArgumentError, RecipeError, RecipeMismatchError
from embplug.methods.token_batch import TokenBatch

DIM = 32


class Words:
    """An encoder without a model: a word is the unit vector that its hash seeds."""

    spec = "words"

    def __init__(self, *, tokens: bool = True, dense: bool = True) -> None:
        self.makes = tokens, dense

    def encode_documents(self, texts: Sequence[str]) -> Encoded:
        matrices = [np.stack([self._vector(word) for word in text.split()]) for text in texts]
        tokens, dense = self.makes
        means = np.stack([matrix.mean(axis=0) for matrix in matrices])
        return Encoded(TokenBatch.from_list(matrices) if tokens else None, means if dense else None)

    encode_queries = encode_documents

    @staticmethod
    def _vector(word: str) -> np.ndarray:
        seed = int.from_bytes(hashlib.sha256(word.encode()).digest()[:8], "big")
        vector = np.random.default_rng(seed).standard_normal(DIM).astype(np.float32)
        return vector / np.linalg.norm(vector)


def texts(count: int) -> list[str]:
    """Texts of eight of a hundred words."""
    rng = np.random.default_rng(0)
    return [" ".join(f"word{i}" for i in row) for row in rng.integers(0, 100, (count, 8))]


@pytest.fixture(autouse=True)
def no_warnings() -> Any:
    with warnings.catch_warnings():
        warnings.filterwarnings("error", category=UserWarning, message=".*has learned from few.*")
        yield


def test_an_encoder_is_enough(engine: Any) -> None:
    for _ in range(2):  # The second call opens what the first one has made.
        collection = Collection.create("docs", engine=engine, encoder=Words())
    assert collection.recipe == Recipe(tokens=Tokens(dim=DIM)).decided_like(collection.recipe)
    documents = texts(40)
    collection.add(range(40), texts=documents)
    assert [collection.search(text=documents[i], limit=1)[0].id for i in (0, 7, 39)] == [0, 7, 39]
    with pytest.raises(RecipeMismatchError, match=r"tokens\.preset"):
        Collection.create("docs", "small", engine, encoder=Words())


def test_an_encoder_without_tokens_gets_a_dense_vector(engine: Any) -> None:
    collection = Collection.create("docs", "exact", engine, encoder=Words(tokens=False))
    assert collection.recipe.tokens is None and collection.recipe.dense["dense"].preset == "exact"
    collection.add(range(20), texts=texts(20))
    assert collection.search(text=texts(20)[3], limit=1)[0].id == 3


def test_it_can_be_awaited(engine: Any) -> None:
    async def created() -> AsyncCollection:
        return await AsyncCollection.create("docs", engine=":memory:", encoder=Words())

    assert asyncio.run(created()).recipe.tokens is not None


@pytest.mark.parametrize("first", [1, 2, 30])
def test_a_collection_may_begin_with_few_documents(edge_client: Any, first: int) -> None:
    collection = Collection.create("docs", engine=edge_client, encoder=Words())
    documents = texts(80)
    collection.add(range(first), texts=documents[:first])
    collection.add(range(first, 80), texts=documents[first:])
    hits = [collection.search(text=documents[i], limit=1)[0].id for i in range(0, 80, 4)]
    # What was learned from one document also holds for others.
    assert np.mean([hit == i for hit, i in zip(hits, range(0, 80, 4), strict=True)]) >= 0.9


@pytest.mark.parametrize(
    ("arguments", "argument"),
    [
        ({"engine": ":memory:"}, "recipe"),
        ({"recipe": "small", "engine": ":memory:"}, "recipe"),
        ({"encoder": Words()}, "engine"),
        ({"engine": ":memory:", "encoder": Words(tokens=False, dense=False)}, "encoder"),
    ],
)
def test_what_is_missing_is_named(arguments: dict[str, Any], argument: str) -> None:
    with pytest.raises(InvalidArgumentError) as raised:
        Collection.create("docs", **arguments)
    assert raised.value.argument == argument


def test_an_unknown_preset_is_named() -> None:
    with pytest.raises(RecipeError, match="'tiny'"):
        Collection.create("docs", "tiny", ":memory:", encoder=Words())  # type: ignore[arg-type]
