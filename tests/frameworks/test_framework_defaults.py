"""What a store assumes where the user says nothing."""

from __future__ import annotations

import numpy as np
import pytest
from qdrant_client import models

from embplug import Dense, Encoded, Recipe, register_encoder
from embplug.errors import InvalidArgumentError
from embplug.frameworks.defaults import as_encoder, default_recipe, with_text_key
from tests.frameworks.conftest import DIM, ENCODER

COSINE = models.Distance.COSINE


class DenseEncoder:
    spec = "dense"

    def encode_queries(self, texts):
        return Encoded(dense=np.ones((len(texts), 3), np.float32))

    encode_documents = encode_queries


class NoVectors(DenseEncoder):
    def encode_queries(self, texts):
        return Encoded()


def test_an_encoder_may_be_named():
    register_encoder("framework-words", lambda: ENCODER)
    assert as_encoder("framework-words") is ENCODER
    assert as_encoder(ENCODER) is ENCODER and as_encoder(None) is None
    with pytest.raises(InvalidArgumentError, match="encoder"):
        as_encoder(3)


def test_the_balanced_preset_stores_embeddings():
    recipe = default_recipe(5, ENCODER, "", models.Distance.DOT)
    [dense] = recipe.dense.values()
    assert (dense.dim, dense.distance, dense.preset) == (5, models.Distance.DOT, "balanced")
    assert [*default_recipe(5, None, "title", COSINE).dense] == ["title"]


def test_without_embeddings_the_encoder_decides():
    assert default_recipe(None, ENCODER, "", COSINE).tokens.dim == DIM
    assert default_recipe(None, DenseEncoder(), "", COSINE).dense["dense"].dim == 3
    for encoder, argument in ((None, "embedding"), (NoVectors(), "encoder")):
        with pytest.raises(InvalidArgumentError) as raised:
            default_recipe(None, encoder, "", COSINE)
        assert raised.value.argument == argument


def test_the_field_of_the_text_is_the_users_then_the_recipes_then_the_frameworks():
    silent, named = Recipe(dense=Dense(dim=3)), Recipe(dense=Dense(dim=3), text_key="body")
    assert with_text_key(named, "mine", "theirs").text_key == "mine"
    assert with_text_key(named, None, "theirs") is named
    assert with_text_key(silent, None, "theirs").text_key == "theirs"
    assert silent.text_key == "text"
