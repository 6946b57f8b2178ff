"""Trial recipes for a collection, by names that say what they store."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from qdrant_client import models

from embplug.branches.bits import turbo_bytes
from embplug.engines.capabilities import Capabilities
from embplug.engines.check_recipe import check_recipe
from embplug.errors import CapabilityError, RecipeError
from embplug.methods import PCA
from embplug.methods.registry import Role, registered
from embplug.methods.roles import Transform
from embplug.recipe import Dense, Multivector, Recipe, Rerank, Tokens

RATIOS = (2, 4, 8, 16, 32, 64)
PRODUCT_RATIOS = (16, 32, 64)
"""Compression ratios of product quantization.

Its codebooks take the longest to fit, and at lower ratios other codes keep more.
"""

CANDIDATES = 100
"""Number of documents that original vectors rerank."""

POOLED_ENCODING = "learned 1024"
POOLED_RANKERS = ("float16 matrix", "residual 32", "residual 16", "predictive 32", "predictive 16")

ON_DISK = ", original on disk"
SMALLEST = 8
_TURBO_BITS = (8, 4, 2, 1)


def dense_recipes(dim: int, distance: models.Distance, capabilities: Capabilities) -> dict[str, Recipe]:
    """Make the trial recipes of a dense vector that an engine can serve.

    At each size from half to a 64th of float32, the recipes use the engine's own datatypes and codes,
    transforms before them, and shorter vectors. Each is tried alone, and with the original vector on disk.

    Parameters
    ----------
    dim : int
        Dimension of the vector.
    distance : models.Distance
        Distance by which vectors are compared.
    capabilities : Capabilities
        What the engine can do.

    Returns
    -------
    dict of str to Recipe
        Recipes by names that say what they store.
    """
    recipes: dict[str, Recipe] = {"float32": Recipe(dense=Dense(dim=dim, distance=distance))}
    for name, fields in [*_engine(dim), *_transformed(dim)]:
        transformed = "transforms" in fields
        if transformed and distance not in (models.Distance.COSINE, models.Distance.DOT):
            continue
        quantized = "quantization" in fields
        try:
            alone = Dense(dim=dim, distance=distance, on_disk=True if quantized else None, **fields)
            recipes[name] = Recipe(dense=alone)
            if transformed:
                recipes[name + ON_DISK] = Recipe(
                    dense=Dense(**_set(alone), keep_original="disk"), rerank=Rerank(candidates=CANDIDATES)
                )
            elif quantized:
                # For ten hits, this reranks as many candidates as the original of a transform does.
                recipes[name + ON_DISK] = Recipe(dense=alone, rerank=Rerank(oversampling=CANDIDATES / 10))
        except RecipeError:
            continue  # The transform cannot make so few dimensions.
    return {name: recipe for name, recipe in recipes.items() if _is_served(recipe, capabilities)}


def token_recipes(dim: int, capabilities: Capabilities) -> dict[str, Recipe]:
    """Make the trial recipes of token matrices that an engine can serve.

    The recipes combine encodings, which find candidates, with matrices or token codes, which rank them.

    Parameters
    ----------
    dim : int
        Dimension of a token.
    capabilities : Capabilities
        What the engine can do.

    Returns
    -------
    dict of str to Recipe
        Recipes by names that say what they store.
    """
    encodings = _trials("encoding", dim)
    rankers: dict[str, dict[str, Any]] = {
        "float32 matrix": {"multivector": Multivector(datatype=models.Datatype.FLOAT32)},
        "float16 matrix": {"multivector": Multivector()},
    }
    for name, codes in _trials("token_codes", dim).items():
        rankers[name] = {"codes": codes, "multivector": None}
    combinations: list[tuple[str, str, str, dict[str, Any]]] = [
        (encoding, ranker, "", {}) for ranker in rankers for encoding in encodings
    ]
    # Fewer tokens in codes of one size compete with all tokens in codes of half that size.
    for name, reduction in _trials("reduction", dim).items():
        reduced = {"reduction": reduction}
        combinations += [(POOLED_ENCODING, ranker, f", {name}", reduced) for ranker in POOLED_RANKERS]
    recipes = {
        f"{encoding}, {ranker}{label}": Recipe(
            tokens=Tokens(dim=dim, encoding=encodings[encoding], **rankers[ranker], **more),
            rerank=Rerank(candidates=2 * CANDIDATES),
        )
        for encoding, ranker, label, more in combinations
    }
    return {name: recipe for name, recipe in recipes.items() if _is_served(recipe, capabilities)}


def _trials(role: Role, dim: int) -> dict[str, Any]:
    """Collect the trials of all methods of a role, by name."""
    return {name: method for cls in registered(role).values() for name, method in cls.trials(dim).items()}


def _transforms(storage: str, dim: int, size: int) -> Iterator[tuple[str, Transform]]:
    """Iterate over the trials of the transforms that are tried with this storage, by name."""
    for cls in registered("transform").values():
        if cls.trial_storage == storage:
            yield from cls.trials_of_size(dim, size).items()


def _engine(dim: int) -> Iterator[tuple[str, dict[str, Any]]]:
    """Iterate over datatypes and quantizations of the engine."""
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
    """Iterate over transforms at each size, combined with datatypes and quantizations of the engine."""
    half = {"datatype": models.Datatype.FLOAT16}
    for size in (4 * dim // ratio for ratio in RATIOS if ratio <= 4 * dim):
        if SMALLEST <= size // 2 < dim:
            for label, transform in _transforms("float16", dim, size // 2):
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
            for label, rotation in _transforms("binary", dim, 8 * size):
                transforms = [PCA(8 * size), rotation] if 8 * size < dim else [rotation]
                yield (
                    f"{label} {8 * size} binary",
                    {"transforms": transforms, "quantization": _binary("one_bit")},
                )
        ratio = 4 * dim // size
        if ratio in PRODUCT_RATIOS and dim % size == 0:
            for label, transform in _transforms("product", dim, size):
                yield (
                    f"{label} product x{ratio}",
                    {"transforms": [transform], "quantization": _product(ratio)},
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
