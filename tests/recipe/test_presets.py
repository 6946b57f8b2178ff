"""Presets decide what a recipe leaves open, by the engine at hand, and say so."""

from __future__ import annotations

import itertools

import pytest
from qdrant_client import models

from embplug import Dense, Multivector, Recipe, Rerank, Storage, Tokens
from embplug.engines.capabilities import Capabilities
from embplug.engines.check_recipe import check_recipe
from embplug.errors import RecipeError
from embplug.methods import FDE, AdaptiveEncoding, AdaptiveQuantizer, BinaryQuantizer
from embplug.recipe.presets import OVERSAMPLING, PRESETS, Preset, check_preset

ENGINES = {
    "memory": Capabilities.of("memory", "1.18.0"),
    "1.16": Capabilities.of("server", "1.16.0"),
    "1.19": Capabilities.of("server", "1.19.0"),
    "newest": Capabilities.of("server", "1.20.0"),
    "edge": Capabilities.of("edge", "0.9.0"),
}
ALL = [*itertools.product(PRESETS, ENGINES)]


@pytest.mark.parametrize(("preset", "engine"), ALL)
def test_an_engine_can_serve_what_is_decided_for_it(preset: Preset, engine: str) -> None:
    recipe = Recipe(tokens=Tokens(dim=96, preset=preset), dense=Dense(dim=96, preset=preset))
    decided = recipe.decided(ENGINES[engine])
    check_recipe(decided, ENGINES[engine])
    assert "auto" not in decided.to_yaml()[: decided.to_yaml().index("dense:")]
    assert decided.decided() == decided == recipe.decided_like(decided)
    assert Recipe.from_yaml(decided.to_yaml()) == decided


def test_a_token_takes_an_eleventh_or_a_25th_of_its_bytes() -> None:
    for dim in (48, 128, 384, 1024, 65536):
        sizes = {}
        for preset in ("small", "balanced"):
            tokens = Tokens(dim=dim, preset=preset).decided()
            assert isinstance(tokens.codes, AdaptiveQuantizer) and tokens.multivector is None
            # Codes are text in payloads: five characters for four bytes.
            sizes[preset] = 1.25 * tokens.codes.size / (4 * dim)
            assert isinstance(tokens.encoding, AdaptiveEncoding) and tokens.encoding.dtype == "uint8"
        assert sizes["balanced"] < 0.085 and sizes["small"] < 0.04


def test_the_exact_preset_stores_tokens_in_what_the_engine_has() -> None:
    tokens = Tokens(dim=96, preset="exact")
    datatypes = {name: tokens.decided(engine).multivector.datatype for name, engine in ENGINES.items()}
    assert datatypes["edge"] == datatypes["newest"] == models.Datatype.TURBO8
    assert datatypes["1.16"] == datatypes["memory"] == tokens.decided().multivector.datatype == "float16"
    assert tokens.decided().codes is None


@pytest.mark.parametrize(
    ("fields", "multivector", "codes"),
    [
        ({"multivector": Multivector(datatype="float32")}, Multivector(datatype="float32"), None),
        ({"codes": BinaryQuantizer()}, None, BinaryQuantizer()),
        ({"codes": BinaryQuantizer(), "preset": "exact"}, None, BinaryQuantizer()),
        ({"codes": None}, Multivector(), None),
        ({"codes": None, "multivector": None}, None, None),
        ({"encoding": None}, Multivector(), None),
    ],
)
def test_what_the_user_says_stays(fields: dict, multivector: object, codes: object) -> None:
    tokens = Recipe(tokens=Tokens(dim=96, **fields)).decided().tokens
    assert (tokens.multivector, tokens.codes) == (multivector, codes)
    encoding = FDE(repetitions=2)
    kept = Recipe(tokens=Tokens(dim=96, **{**fields, "encoding": encoding})).decided()
    assert kept.tokens.encoding == encoding


def test_tokens_alone_without_an_encoding_need_a_finder() -> None:
    coded = Recipe(tokens=Tokens(dim=96, encoding=None), dense=Dense(dim=96)).decided().tokens
    assert coded.codes is not None and coded.multivector is None


def test_hits_that_are_scored_again_need_codes_and_tokens() -> None:
    tokens = Recipe(tokens=Tokens(dim=96), rerank=Rerank(exact=20)).decided().tokens
    assert tokens.codes is not None and tokens.multivector == Multivector()


def test_a_dense_vector_is_quantized_as_the_engine_can() -> None:
    kinds = {}
    for engine, preset in itertools.product(ENGINES, PRESETS):
        recipe = Recipe(dense=Dense(dim=96, preset=preset)).decided(ENGINES[engine])
        dense = recipe.dense["dense"]
        kinds[engine, preset] = (
            None if dense.quantization is None else next(iter(dense.quantization))[0],
            dense.datatype.value,
            dense.on_disk,
            recipe.rerank.oversampling,
        )
    for engine in ENGINES:
        assert kinds[engine, "exact"] == (None, "float16", None, None)
    for preset in ("small", "balanced"):
        assert kinds["memory", preset] == kinds["memory", "exact"]
        assert kinds["1.16", preset] == ("binary", "float16", True, OVERSAMPLING)
    assert kinds["edge", "balanced"] == kinds["1.19", "balanced"] == ("turbo", "float16", True, OVERSAMPLING)
    assert kinds["edge", "small"] == kinds["1.19", "small"] == ("turbo", "turbo4", True, OVERSAMPLING)


def test_a_dense_vector_without_a_preset_is_left_to_qdrant() -> None:
    dense = Dense(dim=96)
    assert dense.decided(ENGINES["edge"]) == dense
    on_disk = Dense(dim=96, preset="balanced", datatype="float32", on_disk=False).decided(ENGINES["edge"])
    assert (on_disk.datatype, on_disk.on_disk) == (models.Datatype.FLOAT32, False)
    said = Recipe(dense=Dense(dim=96, preset="balanced"), rerank=Rerank(oversampling=2.0))
    assert said.decided(ENGINES["edge"]).rerank.oversampling == 2.0


def test_recipes_differ_by_their_presets_and_by_what_the_user_says() -> None:
    stored = Recipe(tokens=Tokens(dim=96, preset="small")).decided()
    for other in (
        Tokens(dim=96),
        Tokens(dim=96, preset="small", codes=BinaryQuantizer()),
        Tokens(dim=96, preset="small", encoding_storage=Storage(on_disk=True)),
    ):
        assert stored.differences(Recipe(tokens=other).decided_like(stored))
    dense = Recipe(dense=Dense(dim=96, preset="balanced")).decided(ENGINES["edge"])
    assert dense.differences(Recipe(dense=Dense(dim=96)).decided_like(dense))


def test_a_default_number_of_candidates_is_that_of_the_collection() -> None:
    own = Tokens(dim=96)
    stored = Recipe(tokens=own, rerank=Rerank(candidates=200)).decided()
    for rerank in (Rerank(), Rerank(hnsw_ef=None), Rerank(candidates=200)):
        assert not stored.differences(Recipe(tokens=own, rerank=rerank).decided_like(stored))
    said = Recipe(tokens=own, rerank=Rerank(candidates=Rerank().candidates))
    assert [*stored.differences(said.decided_like(stored))] == ["rerank.candidates"]


def test_an_unknown_preset_is_named() -> None:
    with pytest.raises(RecipeError, match=r"^tokens\.preset: .*balanced"):
        Recipe.from_yaml("tokens: {dim: 8, preset: tiny}")
    with pytest.raises(RecipeError, match=r"^preset: .*'tiny'"):
        check_preset("tiny")
