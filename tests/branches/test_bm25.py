"""Texts as sparse vectors: their scores are those of BM25."""

from __future__ import annotations

import builtins

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embplug import Recipe, Sparse
from embplug.branches.bm25 import BM25Encoder, split, term_id
from embplug.errors import MissingExtraError, NotFittedError, RecipeError

TEXTS = [
    "The cat sat on the mat, and the cat slept.",
    "Dogs chase cats.",
    "A parser reads a date from a string.",
    "the of and",
    "x",
]
words = st.lists(st.sampled_from(["cat", "dog", "parser", "the", "7", "running", "ran"]), max_size=9)


def weights(encoder: BM25Encoder, text: str) -> dict[int, float]:
    batch = encoder.encode([text])
    return dict(zip(batch.indices.tolist(), batch.values.tolist(), strict=True))


@settings(max_examples=40, deadline=None)
@given(st.lists(words.map(" ".join), min_size=1, max_size=5), st.floats(0, 2), st.floats(0, 1))
def test_weights_are_those_of_bm25_term_by_term(texts, k1, b):
    encoder = BM25Encoder(Sparse(k1=k1, b=b)).fit(texts)
    terms = split(texts, "english")
    average = max(np.mean([len(document) for document in terms]), 1.0)
    batch = encoder.encode(texts)
    for document, (indices, values) in zip(terms, batch.lists(), strict=True):
        expected = {
            term_id(term): document.count(term)
            * (k1 + 1)
            / (document.count(term) + k1 * (1 - b + b * len(document) / average))
            for term in document
        }
        assert indices == sorted(expected)
        np.testing.assert_allclose(values, [expected[index] for index in indices], rtol=1e-5)


def test_words_are_lowered_stemmed_and_stripped_of_those_that_say_nothing():
    assert split(TEXTS, "english") == [
        ["cat", "sat", "mat", "cat", "slept"],
        ["dog", "chase", "cat"],
        ["parser", "read", "date", "from", "string"],
        [],
        ["x"],
    ]
    assert split(["The cats"], None) == [["the", "cats"]]
    assert split(["Die Häuser und die Katzen"], "german") == [["haus", "katz"]]


def test_a_query_counts_its_words_and_may_have_none():
    vector = BM25Encoder(Sparse()).encode_query("cat cats dog")
    assert dict(zip(vector.indices, vector.values, strict=True)) == {term_id("cat"): 2.0, term_id("dog"): 1.0}
    assert BM25Encoder(Sparse()).encode_query("the of").indices == []


def test_ids_of_terms_are_the_same_everywhere():
    assert [term_id("cat"), term_id("naïve")] == [3138554730, 3067847107]


def test_the_average_length_is_learned_kept_and_needed():
    encoder = BM25Encoder(Sparse())
    with pytest.raises(NotFittedError):
        encoder.encode(["cat"])
    encoder.fit(TEXTS)
    restored = BM25Encoder(Sparse())
    restored.set_state(encoder.get_state())
    assert weights(restored, TEXTS[0]) == weights(encoder, TEXTS[0])
    fixed = BM25Encoder(Sparse(average_length=14 / 5))
    assert not fixed.requires_fit and fixed.get_state() == {}
    assert weights(fixed, TEXTS[0]) == weights(encoder, TEXTS[0])


def test_without_the_extra_its_name_is_told(monkeypatch):
    original = builtins.__import__

    def refusing(name, *args, **kwargs):
        if name == "Stemmer":
            raise ImportError(name)
        return original(name, *args, **kwargs)

    monkeypatch.setattr(builtins, "__import__", refusing)
    with pytest.raises(MissingExtraError, match=r"embplug\[sparse\]"):
        split(["cat"], "english")


def test_the_recipe_refuses_what_contradicts():
    with pytest.raises(RecipeError, match=r"sparse\.b"):
        Recipe(sparse={"b": 2})
    with pytest.raises(RecipeError, match=r"sparse\.language"):
        Recipe(sparse={"language": "klingon"})
    with pytest.raises(RecipeError, match=r"fusion\.weights\.dense"):
        Recipe(sparse=Sparse(), fusion={"weights": {"dense": 1}})
    with pytest.raises(RecipeError, match="sparse"):
        Recipe(sparse=Sparse(), dense={"sparse": {"dim": 3}})
    recipe = Recipe.from_yaml("sparse: {language: german}\ndense: {dim: 3}\nfusion: {weights: {sparse: 0.3}}")
    assert Recipe.from_yaml(recipe.to_yaml()) == recipe
    assert recipe.branches == ["dense", "sparse"]
