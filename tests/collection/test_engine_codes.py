"""The engine's own codes of dense vectors in RAM, alone and behind transforms, with the originals on disk."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from embplug import Collection, Dense, Recipe, Rerank, models
from embplug.branches.pipeline import Pipeline
from embplug.collection.manifest import MANIFEST_KEY, Manifest
from embplug.engines import Engine
from embplug.engines.calls import run
from embplug.engines.capabilities import capabilities_steps
from embplug.engines.check_recipe import check_recipe
from embplug.errors import CapabilityError
from embplug.methods import PCA, ITQRotation, LearnedTruncation, OPQRotation, SparseRandomProjection
from embplug.methods.numeric.rows import unit_rows

DIM, COUNT, CANDIDATES = 64, 400, 60
BINARY = models.BinaryQuantizationEncoding
BITS = models.TurboQuantBitSize
engines = pytest.mark.parametrize("engine_name", ["edge", "server"], indirect=True, scope="session")


def vectors(count: int, seed: int) -> NDArray[np.float32]:
    rng = np.random.default_rng(seed)
    return unit_rows((rng.standard_normal((count, DIM)) * np.geomspace(1, 0.1, DIM)).astype(np.float32))


DOCUMENTS, QUERIES = vectors(COUNT, 0), vectors(8, 1)
COSINES = QUERIES @ DOCUMENTS.T


def binary(encoding: BINARY = BINARY.ONE_BIT) -> models.BinaryQuantization:
    eight = models.BinaryQuantizationQueryEncoding.SCALAR8BITS
    config = models.BinaryQuantizationConfig(encoding=encoding, query_encoding=eight, always_ram=True)
    return models.BinaryQuantization(binary=config)


def product(compression: models.CompressionRatio) -> models.ProductQuantization:
    config = models.ProductQuantizationConfig(compression=compression, always_ram=True)
    return models.ProductQuantization(product=config)


def turbo(bits: BITS) -> models.TurboQuantization:
    return models.TurboQuantization(turbo=models.TurboQuantQuantizationConfig(bits=bits, always_ram=True))


INT8 = models.ScalarQuantization(
    scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8, always_ram=True)
)
QUANTIZED: dict[str, Any] = {
    "int8": INT8,
    "binary 1": binary(),
    "binary 1.5": binary(BINARY.ONE_AND_HALF_BITS),
    "binary 2": binary(BINARY.TWO_BITS),
    "product x16": product(models.CompressionRatio.X16),
    **{f"turbo {bits.value.removeprefix('bits')}": turbo(bits) for bits in BITS},
}
TRANSFORMED: dict[str, dict[str, Any]] = {
    "OPQ, product": {
        "transforms": [OPQRotation(16, bits=4, iterations=2)],
        "quantization": product(models.CompressionRatio.X16),
    },
    "PCA, ITQ, binary": {"transforms": [PCA(32), ITQRotation(iterations=10)], "quantization": binary()},
    "projection": {"transforms": [SparseRandomProjection(56)]},
    "contrast, binary": {
        "transforms": [LearnedTruncation(32, target="binary", steps=20, batch=64)],
        "quantization": binary(),
    },
    "normalized": {"transforms": [PCA(32, normalize=True)], "datatype": models.Datatype.FLOAT16},
}
EXHAUSTIVE = models.SearchParams(quantization=models.QuantizationSearchParams(ignore=True))
CODES_ALONE = models.SearchParams(quantization=models.QuantizationSearchParams(rescore=False))


def served(engine: Engine, dense: dict[str, Dense]) -> dict[str, Dense]:
    """Those that the engine can serve."""
    capabilities = run(engine, capabilities_steps(engine))
    kept = {}
    for name, branch in dense.items():
        try:
            check_recipe(Recipe(dense={name: branch}), capabilities)
        except CapabilityError:
            continue
        kept[name] = branch
    return kept


def indexed(engine: Engine, name: str, dense: dict[str, Dense], rerank: Rerank) -> Collection:
    """All vectors in one collection, which makes its codes however few documents there are."""
    if not engine.collection_exists(name):
        recipe = Recipe(dense=served(engine, dense), rerank=rerank)
        engine.create_collection(
            name,
            vectors_config=Pipeline(recipe).vectors_config(),
            optimizers_config=models.OptimizersConfigDiff(indexing_threshold=1, default_segment_number=1),
            metadata={MANIFEST_KEY: Manifest(recipe).to_dict()},
        )
        collection = Collection.open(name, engine)
        collection.add(range(COUNT), dense={vector_name: DOCUMENTS for vector_name in recipe.dense})
        collection.optimize()
    return Collection.open(name, engine)


def of(collection: Collection, name: str) -> str:
    if name not in collection.recipe.dense:
        pytest.skip(f"this engine has no {name}")
    return name


def found(collection: Collection, name: str, **options: Any) -> list[Any]:
    return [collection.search(dense={name: query}, limit=5, **options) for query in QUERIES]


def recall(hits: list[Any]) -> float:
    best = np.argsort(-COSINES, axis=1)[:, :5]
    return float(
        np.mean([len({hit.id for hit in own} & {*row}) / 5 for own, row in zip(hits, best, strict=True)])
    )


def error(hits: list[Any]) -> float:
    """Of the scores, beside the cosines."""
    return max(abs(hit.score - COSINES[i, hit.id]) for i, own in enumerate(hits) for hit in own)


@engines
@pytest.mark.parametrize("name", QUANTIZED)
def test_codes_in_memory_find_what_originals_on_disk_rank(shared_engine: Engine, name: str) -> None:
    dense = {
        vector_name: Dense(dim=DIM, quantization=codes, on_disk=True)
        for vector_name, codes in QUANTIZED.items()
    }
    collection = indexed(shared_engine, "quantized", dense, Rerank(oversampling=CANDIDATES / 5))
    stored = collection.info().vectors[of(collection, name)]
    assert stored["on_disk"]
    assert next(iter(stored["quantization_config"].values()))["always_ram"]
    rescored, alone = found(collection, name), found(collection, name, search_params=CODES_ALONE)
    assert error(rescored) < 1e-5 < 1e-4 < error(alone)
    assert recall(rescored) > 0.8
    assert recall(rescored) >= recall(alone) > 0.2
    assert recall(found(collection, name, exact=True, search_params=EXHAUSTIVE)) == 1


@engines
@pytest.mark.parametrize("name", TRANSFORMED)
def test_what_transforms_make_finds_what_originals_on_disk_rank(shared_engine: Engine, name: str) -> None:
    dense = {
        vector_name: Dense(dim=DIM, keep_original="disk", **fields)
        for vector_name, fields in TRANSFORMED.items()
    }
    collection = indexed(shared_engine, "transformed", dense, Rerank(candidates=CANDIDATES))
    original = collection.info().vectors[f"{of(collection, name)}_original"]
    assert original["on_disk"]
    hits = found(collection, name, with_stages=True)
    assert error(hits) < 1e-5
    assert recall(hits) > 0.8
    assert all(set(hit.stages) == {name, f"{name}_original"} for own in hits for hit in own)
    few = found(collection, name, candidates=5)
    assert recall(hits) > recall(few) > 0.2


@engines
@pytest.mark.parametrize("name", TRANSFORMED)
def test_transforms_alone_score_as_on_numpy_arrays(shared_engine: Engine, name: str) -> None:
    dense = {vector_name: Dense(dim=DIM, **fields) for vector_name, fields in TRANSFORMED.items()}
    collection = indexed(shared_engine, "alone", dense, Rerank())
    documents, queries = DOCUMENTS, QUERIES
    for transform in dense[of(collection, name)].transforms:
        transform.fit(documents)
        documents, queries = transform.transform(documents), transform.transform_query(queries)
    expected = np.sort(queries @ documents.T, axis=1)[:, :-6:-1]
    exact = found(collection, name, exact=True, search_params=EXHAUSTIVE)
    np.testing.assert_allclose([[hit.score for hit in own] for own in exact], expected, atol=2e-3)
