"""Trial recipes for a collection, by names that say what they store."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from qdrant_client import models

from embplug.engines.capabilities import Capabilities
from embplug.engines.check_recipe import check_recipe
from embplug.errors import CapabilityError, RecipeError
from embplug.evaluation.bits import turbo_bytes
from embplug.methods import (
    PCA,
    BitAllocationQuantizer,
    CentroidQuantizer,
    ITQRotation,
    OPQRotation,
    PredictiveQuantizer,
    ResidualQuantizer,
    Rotation,
    SparseRandomProjection,
    Truncation,
)
from embplug.methods.encodings.fde import FDE
from embplug.methods.encodings.learned import LearnedEncoding
from embplug.methods.reductions.pooling import HierarchicalPooling
from embplug.recipe import Dense, Multivector, Recipe, Rerank, Tokens

RATIOS = (2, 4, 8, 16, 32, 64)
PRODUCT_RATIOS = (16, 32, 64)
"""Of product quantization, whose codebooks take the longest: at larger sizes other codes keep more."""

CANDIDATES = 100
"""Documents that original vectors rank anew."""

POOLED = 2
"""Tokens of a document that become one."""

POOLED_RANKERS = ("float16 matrix", "residual 32", "residual 16", "predictive 32", "predictive 16")

ON_DISK = ", original on disk"
SMALLEST = 8
_TURBO_BITS = (8, 4, 2, 1)


def dense_recipes(dim: int, distance: models.Distance, capabilities: Capabilities) -> dict[str, Recipe]:
    """Recipes of one dense vector that an engine can serve: each alone, and with the original on disk.

    At every size from half to a 64th of float32: the engine's own datatypes and codes, transforms before
    them, and shorter vectors.
    """
    made: dict[str, Recipe] = {"float32": Recipe(dense=Dense(dim=dim, distance=distance))}
    for name, fields in [*_engine(dim), *_transformed(dim)]:
        transformed = "transforms" in fields
        if transformed and distance not in (models.Distance.COSINE, models.Distance.DOT):
            continue
        quantized = "quantization" in fields
        try:
            alone = Dense(dim=dim, distance=distance, on_disk=True if quantized else None, **fields)
            made[name] = Recipe(dense=alone)
            if transformed:
                made[name + ON_DISK] = Recipe(
                    dense=Dense(**_set(alone), keep_original="disk"), rerank=Rerank(candidates=CANDIDATES)
                )
            elif quantized:
                # Ten hits, and ten times as many ranked anew: as many as by a transform's original.
                made[name + ON_DISK] = Recipe(dense=alone, rerank=Rerank(oversampling=CANDIDATES / 10))
        except RecipeError:
            continue  # a transform that cannot make so few dimensions of these
    return {name: recipe for name, recipe in made.items() if _is_served(recipe, capabilities)}


def token_recipes(dim: int, capabilities: Capabilities) -> dict[str, Recipe]:
    """Recipes of token matrices that an engine can serve: what finds candidates, and what ranks them."""
    finders: dict[str, Any] = {
        "FDE 5120": FDE(repetitions=20, simhash_bits=4, projection_dim=16, dtype="uint8"),
        "learned 512": LearnedEncoding(stored_dim=512),
        "learned 1024": LearnedEncoding(stored_dim=1024),
    }
    rankers: dict[str, dict[str, Any]] = {
        "float32 matrix": {"multivector": Multivector(datatype=models.Datatype.FLOAT32)},
        "float16 matrix": {"multivector": Multivector()},
        "residual 32": {"codes": ResidualQuantizer(size=32), "multivector": None},
        "residual 16": {"codes": ResidualQuantizer(size=16), "multivector": None},
        "residual 8": {"codes": ResidualQuantizer(size=8), "multivector": None},
        # Learns from few tokens what the others need many for.
        "bit allocation 32": {"codes": BitAllocationQuantizer(size=32), "multivector": None},
        "predictive 32": {"codes": PredictiveQuantizer(size=32), "multivector": None},
        "predictive 16": {"codes": PredictiveQuantizer(size=16), "multivector": None},
        "centroids 256": {"codes": CentroidQuantizer(count=256), "multivector": None},
    }
    tried: list[tuple[str, str, str, dict[str, Any]]] = [
        (finder, ranker, "", {}) for ranker in rankers for finder in finders
    ]
    # Fewer tokens before codes of the same size compete with all tokens in codes of half of it.
    pooled = {"reduction": HierarchicalPooling(factor=POOLED)}
    tried += [("learned 1024", ranker, ", pooled", pooled) for ranker in POOLED_RANKERS]
    made = {
        f"{finder}, {ranker}{label}": Recipe(
            tokens=Tokens(dim=dim, encoding=finders[finder], **rankers[ranker], **more),
            rerank=Rerank(candidates=2 * CANDIDATES),
        )
        for finder, ranker, label, more in tried
    }
    return {name: recipe for name, recipe in made.items() if _is_served(recipe, capabilities)}


def _engine(dim: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """What the engine does by itself."""
    yield "float16", {"datatype": models.Datatype.FLOAT16}
    yield "int8", {"quantization": _int8()}
    for bits in _TURBO_BITS:
        yield f"turbo {bits}", {"quantization": _turbo(bits)}
    for label, encoding in (("2", "two_bits"), ("1.5", "one_and_half_bits"), ("1", "one_bit")):
        yield f"binary {label}", {"quantization": _binary(encoding)}
    for ratio in PRODUCT_RATIOS:
        if dim >= ratio:
            yield f"product x{ratio}", {"quantization": _product(ratio)}


def _transformed(dim: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Transforms at each size, before what the engine does."""
    half = {"datatype": models.Datatype.FLOAT16}
    for size in (4 * dim // ratio for ratio in RATIOS if ratio <= 4 * dim):
        if SMALLEST <= size // 2 < dim:
            for label, transform in (
                ("PCA", PCA(size // 2)),
                ("truncation", Truncation(dim=size // 2)),
                ("random projection", SparseRandomProjection(dim=size // 2)),
            ):
                yield f"{label} {size // 2} float16", {"transforms": [transform], **half}
        if SMALLEST <= size - 4 < dim:
            yield f"PCA {size - 4} int8", {"transforms": [PCA(size - 4)], "quantization": _int8()}
        for bits in _TURBO_BITS:
            components = 8 * (size - turbo_bytes(bits)) // bits
            if SMALLEST <= components < dim:
                yield (
                    f"PCA {components} turbo {bits}",
                    {"transforms": [PCA(components)], "quantization": _turbo(bits)},
                )
        if 64 <= 8 * size <= dim:
            for label, rotation in (("ITQ", ITQRotation()), ("rotation", Rotation())):
                transforms = [PCA(8 * size), rotation] if 8 * size < dim else [rotation]
                yield (
                    f"{label} {8 * size} binary",
                    {"transforms": transforms, "quantization": _binary("one_bit")},
                )
        if 4 * dim // size in PRODUCT_RATIOS and dim % size == 0:
            yield (
                f"OPQ product x{4 * dim // size}",
                {
                    "transforms": [OPQRotation(subspaces=size, iterations=4)],
                    "quantization": _product(4 * dim // size),
                },
            )


def _set(dense: Dense) -> dict[str, Any]:
    return {name: getattr(dense, name) for name in dense.model_fields_set}


def _is_served(recipe: Recipe, capabilities: Capabilities) -> bool:
    try:
        check_recipe(recipe, capabilities)
    except CapabilityError:
        return False
    return True


def _int8() -> models.ScalarQuantization:
    return models.ScalarQuantization(
        scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8, quantile=0.99, always_ram=True)
    )


def _turbo(bits: int) -> models.TurboQuantization:
    size = models.TurboQuantBitSize(f"bits{bits}")
    return models.TurboQuantization(turbo=models.TurboQuantQuantizationConfig(bits=size, always_ram=True))


def _binary(encoding: str) -> models.BinaryQuantization:
    return models.BinaryQuantization(
        binary=models.BinaryQuantizationConfig(
            encoding=models.BinaryQuantizationEncoding(encoding),
            query_encoding=models.BinaryQuantizationQueryEncoding.SCALAR8BITS,
            always_ram=True,
        )
    )


def _product(ratio: int) -> models.ProductQuantization:
    compression = models.CompressionRatio(f"x{ratio}")
    return models.ProductQuantization(
        product=models.ProductQuantizationConfig(compression=compression, always_ram=True)
    )
