"""Learned sparse vectors beside others: from the user, from an encoder, and what is refused."""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from qdrant_client import AsyncQdrantClient, QdrantClient, models

from embplug import (
    AsyncCollection,
    Collection,
    Dense,
    Documents,
    Encoded,
    Query,
    Recipe,
    Sparse,
    Tokens,
    register_encoder,
)
from embplug.engines import Engine
from embplug.errors import InvalidArgumentError, NonFiniteError, RecipeError, UntrustedModelError
from embplug.methods import FDE, BitAllocationQuantizer
from tests.words import DIM, Words

LEARNED = Sparse(kind="learned")
PAIR = Recipe(dense=Dense(dim=2), sparse=LEARNED)
TEXTS = [f"alpha{i} beta{i % 7} gamma" for i in range(30)]


def weights(text: str) -> dict[int, float]:
    """A weight for each word, by the hash of the word; the longer the word, the more it counts."""
    return {zlib.crc32(word.encode()): float(len(word)) for word in text.split()}


class SparseWords:
    """Weights alone."""

    spec = "sparse-words"

    def __init__(self) -> None:
        self.calls: list[list[str]] = []

    def encode_documents(self, texts: Sequence[str]) -> Encoded:
        self.calls.append([*texts])
        rows = [weights(text) for text in texts]
        indices = [index for row in rows for index in row]
        indptr = np.cumsum([0, *map(len, rows)])
        values = np.array([value for row in rows for value in row.values()], np.float32)
        shape = (len(texts), 1 << 32)
        return Encoded(sparse=sp.csr_array((values, np.array(indices, np.int64), indptr), shape=shape))

    encode_queries = encode_documents


class Both(Words):
    """Tokens, dense vectors and weights."""

    spec = "both"

    def encode_documents(self, texts: Sequence[str]) -> Encoded:
        encoded = super().encode_documents(texts)
        return Encoded(encoded.tokens, encoded.dense, sparse=SparseWords().encode_documents(texts).sparse)

    encode_queries = encode_documents


def angles(count: int) -> np.ndarray:
    angle = np.linspace(0, 1.5, count)
    return np.stack([np.cos(angle), np.sin(angle)], axis=1).astype(np.float32)


def test_weights_of_the_user_find_what_they_meet(engine: Engine) -> None:
    collection = Collection.create("docs", PAIR, engine)
    collection.add([*range(30)], dense=angles(30), sparse=[weights(text) for text in TEXTS])
    again = Collection.open("docs", engine)
    hits = again.search(sparse=weights("alpha17 gamma"), limit=3, branches=["sparse"])
    assert hits[0].id == 17 and hits[0].score == pytest.approx(7 * 7 + 5 * 5)
    fused = again.search(dense=angles(30)[4], sparse=weights("alpha17"), limit=30, with_stages=True)
    stages = {hit.id: hit.stages for hit in fused}
    assert {"dense", "sparse"} <= {name for own in stages.values() for name in own or {}}
    batch = again.batch_search([Query(sparse=weights("alpha3")), Query(sparse=weights("alpha5"))], limit=1)
    assert [hits[0].id for hits in batch] == [3, 5]
    stored = again.retrieve([17], with_vectors=["sparse"])[0].vector
    assert stored is not None
    assert dict(zip(stored["sparse"].indices, stored["sparse"].values, strict=True)) == weights(TEXTS[17])
    again.add([17], dense=angles(1), sparse=[{5: 1.0}])
    assert again.search(sparse={5: 2.0}, branches=["sparse"])[0].id == 17


def test_the_recipes_encoder_makes_all_vectors_in_one_call(memory_client: QdrantClient) -> None:
    encoder = Both()
    recipe = Recipe(dense=Dense(dim=DIM), sparse=LEARNED)
    collection = Collection.create("docs", recipe, memory_client, encoder=encoder)
    collection.add([*range(30)], texts=TEXTS)
    assert encoder.encoded == 30
    hits = collection.search(text="alpha17", limit=3, with_stages=True)
    assert hits[0].id == 17 and hits[0].stages is not None and hits[0].stages.keys() > {"dense", "sparse"}
    assert encoder.encoded == 31
    alone = collection.search(text="alpha17 alpha4", branches=["sparse"], limit=2)
    assert {hit.id for hit in alone} == {17, 4}


def test_a_sparse_encoder_of_its_own_serves_beside_tokens(memory_client: QdrantClient) -> None:
    encoders: list[SparseWords] = []

    def make() -> SparseWords:
        encoders.append(SparseWords())
        return encoders[-1]

    register_encoder("sparse-words", make)
    tokens = Tokens(
        dim=DIM,
        encoding=FDE(repetitions=4, simhash_bits=2, projection_dim=8),
        multivector=None,
        codes=BitAllocationQuantizer(size=16),
    )
    recipe = Recipe(tokens=tokens, sparse=Sparse(kind="learned", encoder="sparse-words"))
    words = Words()
    collection = Collection.create("docs", recipe, memory_client, encoder=words)
    collection.add([*range(30)], texts=TEXTS)
    assert words.encoded == 30 and [len(call) for call in encoders[0].calls] == [30]
    again = Collection.open("docs", memory_client, encoder=words)
    hits = again.search(text="alpha17 gamma", limit=3, with_stages=True)
    assert hits[0].id == 17 and hits[0].stages is not None
    assert hits[0].stages.keys() >= {"sparse", "codes"}
    # Tokens suffice for themselves; the text is for the sparse branch.
    matrix = words.encode_queries(["alpha3"]).tokens
    assert matrix is not None
    before = words.encoded
    hit = again.search(tokens=matrix[0], text="alpha3", limit=1, with_stages=True)[0]
    assert hit.id == 3 and hit.stages is not None and "sparse" in hit.stages and words.encoded == before
    explained = again.search(text="alpha17", limit=1, explain=True)[0]
    assert explained.matches is not None


def test_only_what_the_reader_allows_is_loaded_for_the_sparse_branch(memory_client: QdrantClient) -> None:
    name = "fastembed:prithivida/Splade_PP_en_v1"
    recipe = Recipe(sparse=Sparse(kind="learned", encoder=name))
    Collection.create("docs", recipe, memory_client)
    with pytest.raises(UntrustedModelError, match="Splade"):
        Collection.open("docs", memory_client).search(text="alpha")
    Collection.open("docs", memory_client).add([1], sparse=[{1: 1.0}])
    with pytest.raises(InvalidArgumentError, match="encoder"):
        Collection.create("other", Recipe(sparse=Sparse(kind="learned", encoder="no-such")), memory_client)


def test_the_asynchronous_twin_takes_weights_too() -> None:
    async def scenario() -> None:
        client = AsyncQdrantClient(":memory:")
        collection = await AsyncCollection.create("docs", PAIR, client)
        batches = [
            Documents([i, i + 1], dense=angles(2), sparse=[weights(text) for text in TEXTS[i : i + 2]])
            for i in range(0, 30, 2)
        ]
        await collection.add_batches(batches, progress=False)
        await collection.add([99], dense=angles(1), sparse=sp.csr_array(([2.0], ([0], [9])), shape=(1, 10)))
        hits = await collection.search(sparse={9: 1.0}, branches=["sparse"])
        assert [hit.id for hit in hits] == [99]
        assert (await collection.search(sparse=weights("alpha17"), limit=1))[0].id == 17
        await client.close()

    asyncio.run(scenario())


def test_idf_is_applied_where_the_recipe_says_so(engine: Engine) -> None:
    recipe = Recipe(sparse=Sparse(kind="learned", modifier="idf"))
    collection = Collection.create("docs", recipe, engine)
    collection.add([1, 2, 3], sparse=[{1: 1.0, 2: 1.0}, {1: 1.0}, {1: 1.0}])
    Collection.open("docs", engine)
    scores = {hit.id: hit.score for hit in collection.search(sparse={1: 1.0, 2: 1.0})}
    assert scores[1] > 3 * scores[2]


def test_wrong_weights_name_the_document_and_nothing_is_written(memory_client: QdrantClient) -> None:
    collection = Collection.create("docs", PAIR, memory_client)
    with pytest.raises(NonFiniteError) as raised:
        collection.add([1, 7], dense=angles(2), sparse=[{1: 1.0}, {2: float("nan")}])
    assert raised.value.argument == "sparse[1]" and "(id 7)" in str(raised.value.got)
    with pytest.raises(InvalidArgumentError, match=r"^sparse: "):
        collection.add([1], dense=angles(1))
    with pytest.raises(InvalidArgumentError, match="encoder"):
        collection.add([1], dense=angles(1), texts=["alpha"])
    with pytest.raises(InvalidArgumentError, match=r"^sparse: .* text"):
        collection.search(dense=[0.6, 0.8], branches=["dense", "sparse"])
    assert collection.count() == 0
    bm25 = Collection.create("words", Recipe(sparse=Sparse(average_length=3.0)), memory_client)
    for call in (
        lambda: bm25.add([1], texts=["alpha"], sparse=[{1: 1.0}]),
        lambda: bm25.search(sparse={1: 1.0}),
    ):
        with pytest.raises(InvalidArgumentError, match=r"^sparse: .*BM25"):
            call()
    words = Collection.create("no", Recipe(sparse=LEARNED), memory_client, encoder=Words())
    with pytest.raises(InvalidArgumentError, match=r"^encoder: .* sparse"):
        words.add([1], texts=["alpha"])


@pytest.mark.parametrize(
    ("fields", "argument"),
    [
        ({"kind": "learned", "language": "german"}, "language"),
        ({"kind": "learned", "k1": 2.0}, "k1"),
        ({"encoder": "minilm"}, "encoder"),
        ({"modifier": "none"}, "modifier"),
        ({"kind": "splade"}, "kind"),
    ],
)
def test_fields_of_the_other_kind_are_refused(fields: Any, argument: str) -> None:
    with pytest.raises(RecipeError) as raised:
        Sparse(**fields)
    assert raised.value.argument == argument


def test_a_recipe_of_learned_weights_survives_its_file() -> None:
    recipe = Recipe(sparse=Sparse(kind="learned", encoder="fastembed:x/y", modifier=models.Modifier.IDF))
    assert Recipe.from_yaml(recipe.to_yaml()) == recipe
    assert Recipe.from_dict({"sparse": {"language": "german"}}).sparse == Sparse(language="german")
