from __future__ import annotations

import json

import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from qdrant_client import models

from embplug import CrossEncoderStage, Dense, Fusion, Multivector, Recipe, Rerank, Sparse, Storage, Tokens
from embplug.errors import RecipeError, RecipeVersionError
from embplug.methods import FDE, PCA
from embplug.recipe.recipe import RECIPE_VERSION, digest

FULL = Recipe(
    tokens=Tokens(
        dim=128,
        encoding=FDE(repetitions=10, simhash_bits=4, projection_dim=None, fill=False, final_dim=512, seed=7),
        encoding_storage=Storage(
            quantization=models.ScalarQuantization(
                scalar=models.ScalarQuantizationConfig(type="int8", quantile=0.99, always_ram=True)
            ),
            on_disk=True,
            hnsw=models.HnswConfigDiff(m=32, ef_construct=200),
        ),
        multivector=Multivector(
            quantization=models.BinaryQuantization(
                binary=models.BinaryQuantizationConfig(encoding="two_bits", query_encoding="scalar8bits")
            ),
            datatype=models.Datatype.FLOAT32,
        ),
        codes=None,
    ),
    dense={
        "small": Dense(dim=8, datatype="uint8", distance="Dot"),
        "large": Dense(
            dim=3072,
            quantization=models.TurboQuantization(turbo=models.TurboQuantQuantizationConfig(bits="bits2")),
        ),
    },
    sparse=Sparse(language="german", k1=0.9, b=0.4, average_length=80, datatype="float16", on_disk=True),
    fusion=Fusion(k=20, weights={"large": 0.5, "tokens": 2}, after_rerank=True),
    rerank=Rerank(
        candidates=200,
        hnsw_ef=300,
        oversampling=2.5,
        quantized_tokens=True,
        cross_encoder=CrossEncoderStage(name="sentence-transformers:m", candidates=30, on_failure="keep"),
    ),
    payload_indexes={
        "year": "integer",
        "words": models.TextIndexParams(type="text", tokenizer="word", stopwords="english"),
        "tenant": models.KeywordIndexParams(type="keyword", is_tenant=True),
    },
    shard_number=3,
    replication_factor=2,
    write_consistency_factor=1,
    on_disk_payload=True,
    encoder="minilm",
    text_key="body",
    fit_sample=500,
)

quantizations = st.sampled_from(
    [
        None,
        models.ScalarQuantization(scalar=models.ScalarQuantizationConfig(type="int8")),
        models.ProductQuantization(product=models.ProductQuantizationConfig(compression="x8")),
        models.BinaryQuantization(binary=models.BinaryQuantizationConfig(always_ram=True)),
        models.TurboQuantization(turbo=models.TurboQuantQuantizationConfig(bits="bits1_5")),
    ]
)
maybe = st.none() | st.booleans()
hnsws = st.none() | st.builds(models.HnswConfigDiff, m=st.integers(0, 64), on_disk=maybe)
storages = st.builds(Storage, quantization=quantizations, on_disk=maybe, hnsw=hnsws)
fdes = st.builds(
    FDE,
    repetitions=st.integers(1, 40),
    simhash_bits=st.integers(1, 6),
    projection_dim=st.none() | st.integers(1, 24),
    projection=st.sampled_from(["count_sketch", "dense"]),
    partitioner=st.sampled_from(["simhash", "kmeans", "cross_polytope"]),
    fill=st.booleans(),
    indexing=st.sampled_from(["gray", "plain"]),
    dtype=st.sampled_from(["float32", "float16"]),
    seed=st.integers(0, 2**32 - 1),
)
dims_and_fdes = st.tuples(st.integers(1, 4096), fdes).filter(
    lambda pair: pair[1].output_dim(pair[0]) <= 65536
)
token_parts = st.builds(
    lambda pair, **fields: Tokens(dim=pair[0], encoding=pair[1], **fields),
    dims_and_fdes,
    encoding_storage=storages,
    multivector=st.none() | st.builds(Multivector, on_disk=maybe, hnsw=hnsws),
)
denses = st.builds(
    Dense,
    dim=st.integers(1, 65536),
    distance=st.sampled_from(models.Distance),
    datatype=st.none() | st.sampled_from(models.Datatype),
    quantization=quantizations,
)
recipes = st.builds(
    Recipe,
    tokens=token_parts,
    dense=st.dictionaries(st.text("abcäß .", min_size=1, max_size=5), denses, max_size=2),
    rerank=st.builds(Rerank, candidates=st.integers(1, 1000), oversampling=st.none() | st.floats(1.1, 10)),
    payload_indexes=st.dictionaries(st.text("xyz", min_size=1), st.sampled_from(models.PayloadSchemaType)),
    encoder=st.none() | st.text("abc:/-.", min_size=1),
    # YAML reads several of these as something else than text.
    text_key=st.sampled_from(["text", "yes", "null", "1", "a: b", "ü", "#", "2024-01-01"]),
)


@settings(max_examples=50, deadline=None)
@given(recipes)
def test_a_recipe_comes_back_from_yaml_and_json(recipe):
    assert Recipe.from_yaml(recipe.to_yaml()) == recipe
    assert Recipe.from_yaml(json.dumps(recipe.to_dict())) == recipe
    assert Recipe.from_dict(json.loads(json.dumps(recipe.to_dict()))) == recipe
    assert recipe.differences(Recipe.from_yaml(recipe.to_yaml())) == {}
    assert digest(recipe.to_dict()) == digest(Recipe.from_yaml(recipe.to_yaml()).to_dict())


def test_every_field_comes_back(tmp_path):
    for name, text in (("r.yaml", FULL.to_yaml()), ("r.json", json.dumps(FULL.to_dict()))):
        (tmp_path / name).write_text(text, encoding="utf-8")
        read = Recipe.from_file(tmp_path / name)
        assert read == FULL
        assert read.tokens.encoding == FULL.tokens.encoding
        assert read.tokens.multivector.quantization == FULL.tokens.multivector.quantization
        assert read.payload_indexes == FULL.payload_indexes


def test_a_recipe_as_a_person_writes_it():
    recipe = Recipe.from_yaml(
        """
        tokens: {dim: 384, encoding: {repetitions: 10, fill: false}}
        payload_indexes: {year: integer}
        encoder: minilm
        """
    )
    expected = Recipe(
        tokens=Tokens(dim=384, encoding=FDE(repetitions=10, fill=False)),
        payload_indexes={"year": models.PayloadSchemaType.INTEGER},
        encoder="minilm",
    )
    assert recipe == expected
    assert recipe.version == RECIPE_VERSION
    assert recipe.tokens.multivector == recipe.tokens.codes == "auto"
    stored = recipe.replaced(tokens=Tokens(dim=384, codes=None)).decided().tokens.multivector
    assert (stored.datatype, stored.hnsw.m) == (models.Datatype.FLOAT16, 0)


def test_one_dense_vector_needs_no_name():
    assert Recipe(dense=Dense(dim=3)) == Recipe(dense={"dense": Dense(dim=3)})
    assert Recipe.from_yaml("dense: {dim: 3}") == Recipe(dense=Dense(dim=3))
    named = Recipe.from_yaml("dense: {dim: {dim: 3}, title: {dim: 4}}")
    assert {name: dense.dim for name, dense in named.dense.items()} == {"dim": 3, "title": 4}


def test_recipes_do_not_change():
    with pytest.raises(ValueError, match="frozen"):
        FULL.text_key = "other"


def test_differences_are_named_by_their_path():
    other = Recipe.from_dict(FULL.to_dict() | {"text_key": "text", "shard_number": None})
    assert FULL.differences(other) == {"shard_number": (3, None), "text_key": ("body", "text")}
    changed = FULL.to_dict()
    changed["tokens"]["encoding"]["seed"] = 8
    del changed["dense"]["small"]
    differences = FULL.differences(Recipe.from_dict(changed))
    assert differences["tokens.encoding.seed"] == (7, 8)
    assert differences["dense.small.dim"] == (8, None)


def test_the_digest_is_that_of_the_contents():
    assert digest({"a": 1, "b": [1, 2]}) == digest({"b": [1, 2], "a": 1})
    assert digest({"a": 1}) != digest({"a": 2})


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("nonsense: 1\ndense: {dim: 8}", "nonsense"),
        ("1: 2", "1"),
        ("tokens: {dim: 8, nonsense: 1}", "tokens.nonsense"),
        ("tokens: {dim: 8, multivector: {nonsense: 1}}", "tokens.multivector.nonsense"),
        ("tokens: {dim: 8, encoding: {nonsense: 1}}", "tokens.encoding.nonsense"),
        ("dense: {dim: 8, nonsense: 1}", "dense.dense.nonsense"),
        ("dense: {a: {dim: 8, hnsw: {nonsense: 1}}}", "dense.a.hnsw.nonsense"),
        ("dense: {dim: 8}\nrerank: {nonsense: 1}", "rerank.nonsense"),
    ],
)
def test_an_unknown_field_is_named(text, field):
    with pytest.raises(RecipeError, match="expected the name of a field") as raised:
        Recipe.from_yaml(text)
    assert raised.value.argument == field


@pytest.mark.parametrize(
    ("text", "field"),
    [
        ("", "recipe"),
        ("[1]", "recipe"),
        ("a: [", "recipe"),
        ("encoder: minilm", "tokens"),
        ("tokens: {}", "tokens.dim"),
        ("tokens: 5", "tokens"),
        ("tokens: {dim: x}", "tokens.dim"),
        ("tokens: {dim: 0}", "tokens.dim"),
        ("tokens: {dim: 8, encoding: {simhash_bits: 99}}", "tokens.encoding.simhash_bits"),
        ("tokens: {dim: 8, encoding: {partitioner: nonsense}}", "tokens.encoding.partitioner"),
        ("dense: {a: {dim: 99999999}}", "dense.a.dim"),
        ("dense: {dim: 8, distance: Kosine}", "dense.dense.distance"),
        ("dense: {dim: 8, datatype: int7}", "dense.dense.datatype"),
        ("dense: {dim: 8, quantization: {scalar: {type: int4}}}", "dense.dense.quantization.scalar.type"),
        ("dense: {dim: 8, hnsw: {m: x}}", "dense.dense.hnsw.m"),
        ("dense: [1]", "dense"),
        ("dense: {Filter: {dim: 0}}", "dense.Filter.dim"),
        ("dense: {Dense: {dim: 8, hnsw: {m: x}}}", "dense.Dense.hnsw.m"),
        (
            "dense: {Filter: {dim: 8, quantization: {scalar: {type: x}}}}",
            "dense.Filter.quantization.scalar.type",
        ),
        ("dense: {dim: 8}\npayload_indexes: {Record: nonsense}", "payload_indexes.Record"),
        ("dense: {dim: 8}\nversion: x", "version"),
        ("dense: {dim: 8}\nversion: 0", "version"),
        ("dense: {dim: 8}\npayload_indexes: {a: nonsense}", "payload_indexes.a"),
        ("dense: {dim: 8}\nrerank: {candidates: 0}", "rerank.candidates"),
        ("dense: {dim: 8}\nrerank: {oversampling: 1.0}", "rerank.oversampling"),
        ("dense: {dim: 8}\nshard_number: 0", "shard_number"),
        ("dense: {dim: 8}\nfit_sample: 0", "fit_sample"),
        ("dense: {dim: 8}\nencoder: 7", "encoder"),
        ("dense: {dim: 8}\ntext_key: ''", "text_key"),
    ],
)
def test_a_wrong_value_is_named(text, field):
    with pytest.raises(RecipeError) as raised:
        Recipe.from_yaml(text)
    assert raised.value.argument == field


@pytest.mark.parametrize(
    ("text", "field", "expected"),
    [
        (
            "tokens: {dim: 8, encoding: null, multivector: null, codes: null}",
            "tokens.encoding",
            "without them nothing can be searched",
        ),
        (
            "tokens: {dim: 8, encoding: null, encoding_storage: {on_disk: true}}",
            "tokens.encoding_storage",
            "encoding is null",
        ),
        ("tokens: {dim: 8, multivector: {datatype: uint8}}", "tokens.multivector.datatype", "cut tokens off"),
        ("dense: {fde: {dim: 3}}", "dense", "which embplug uses"),
        ("dense: {tokens: {dim: 3}}", "dense", "which embplug uses"),
        ("sparse: {}\ntext_key: _embplug_id", "text_key", "of embplug itself"),
        ("dense: {dim: 8}\npayload_indexes: {_embplug_id: keyword}", "payload_indexes", "of embplug itself"),
        (
            "dense: {dim: 8}\npayload_indexes: {text: integer}",
            "payload_indexes.text",
            "because it is text_key",
        ),
    ],
)
def test_a_contradiction_is_named(text, field, expected):
    with pytest.raises(RecipeError, match=expected) as raised:
        Recipe.from_yaml(text)
    assert raised.value.argument == field


def test_python_sees_the_same_errors():
    with pytest.raises(RecipeError, match=r"^dim: "):
        Dense(dim=0)
    with pytest.raises(RecipeError, match=r"^candidates: "):
        Rerank(candidates=0)
    with pytest.raises(RecipeError, match=r"^tokens: expected at least one of tokens, dense and sparse"):
        Recipe()


def test_a_newer_recipe_is_refused_before_its_unknown_fields():
    newer = yaml.safe_dump(FULL.to_dict() | {"version": RECIPE_VERSION + 1, "invention": {"of": "tomorrow"}})
    with pytest.raises(RecipeVersionError, match=f"version {RECIPE_VERSION + 1}, .* up to {RECIPE_VERSION}"):
        Recipe.from_yaml(newer)


def test_a_file_that_cannot_be_read_is_named(tmp_path):
    (tmp_path / "binary").write_bytes(b"\xff\xfe\x00")
    for path in (tmp_path / "nowhere.yaml", tmp_path, tmp_path / "binary"):
        with pytest.raises(RecipeError, match=r"^path: "):
            Recipe.from_file(path)


@pytest.mark.parametrize(
    ("make", "told"),
    [
        (
            lambda: Dense(dims=3),
            "dims: expected the name of a field, got an unknown field; did you mean 'dim'?",
        ),
        (
            lambda: Recipe.from_yaml("dense: {a: {dims: 3}}"),
            "dense.a.dims: expected the name of a field, got an unknown field; did you mean 'dim'?",
        ),
        (lambda: Dense(16), "Dense: expected keyword arguments only, such as Dense(dim=...), got 16"),
        (
            lambda: Recipe.from_yaml("tokens: {dim: 8, codes: residual}"),
            "tokens.codes: expected a mapping such as {kind: residual}, got 'residual'",
        ),
    ],
)
def test_what_is_meant_is_said(make, told):
    with pytest.raises(RecipeError) as raised:
        make()
    assert str(raised.value) == told


def test_a_class_in_place_of_a_method_is_named():
    with pytest.raises(RecipeError, match=r"^transforms\.0: expected .*, got the class PCA; write PCA\(\)$"):
        Dense(dim=8, transforms=[PCA])
