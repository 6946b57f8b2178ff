"""What the contract tests need of each method: examples with small parameters, each with a slow reference.

A method of the package that is missing here fails ``test_contract.py``. One line for each example:

- quantizer: ``reference(method, state, query, code)`` is the score of a code;
- token codes: ``reference(method, state, query, string)`` are the scores of the tokens of a document;
- transform: ``reference(method, state, vector, is_query)`` is the result;
- adapter: ``reference(method, state, vector)`` is the result;
- encoding: ``reference(method, sample, documents, queries)`` are the scores, up to a factor;
- query weights: ``reference(method, state, token)`` is the weight;
- reduction: ``reference(method, tokens, saliency)`` are the tokens that are left of one document.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

from embplug import methods
from embplug.methods.encodings import token_regression
from embplug.methods.token_batch import TokenBatch
from tests.reference import fde, learned, reduction, scores, transforms

DIM = 11


class Case(NamedTuple):
    """A method with its slow reference."""

    method: Any
    reference: Callable[..., Any]


SMALL: dict[str, Any] = {"hidden": 4, "batch": 16}

CASES: dict[str, Case] = {
    "centroids": Case(methods.CentroidQuantizer(count=16), scores.centroids),
    "centroids-two-bytes": Case(methods.CentroidQuantizer(count=300), scores.centroids),
    "centroids-many": Case(methods.CentroidQuantizer(count=700), scores.centroids),
    "centroids-hamming": Case(
        methods.CentroidQuantizer(count=16, compare="hamming"), scores.centroids_by_hamming
    ),
    "bit-allocation": Case(methods.BitAllocationQuantizer(size=4), scores.bit_allocation),
    "bit-allocation-scalar": Case(
        methods.BitAllocationQuantizer(size=4, levels="scalar"), scores.bit_allocation
    ),
    "bit-allocation-emphasis": Case(
        methods.BitAllocationQuantizer(size=4, emphasis=1.5), scores.bit_allocation
    ),
    "bit-allocation-own": Case(methods.BitAllocationQuantizer(size=4, length="own"), scores.bit_allocation),
    "bit-allocation-decoded": Case(
        methods.BitAllocationQuantizer(size=4, length="decoded"), scores.bit_allocation
    ),
    "residual": Case(methods.ResidualQuantizer(size=5, centroids=8), scores.residual),
    "residual-scalar": Case(methods.ResidualQuantizer(size=5, centroids=9, levels="scalar"), scores.residual),
    "residual-bits": Case(methods.ResidualQuantizer(bits=2, centroids=8), scores.residual),
    "residual-one-bit": Case(methods.ResidualQuantizer(bits=1, centroids=1), scores.residual),
    "residual-many": Case(methods.ResidualQuantizer(size=4, centroids=600), scores.residual),
    "binary": Case(methods.BinaryQuantizer(), scores.binary),
    "binary-uncentred": Case(methods.BinaryQuantizer(center=False), scores.binary),
    "binary-rotated": Case(
        methods.BinaryQuantizer(rotate=True),
        lambda method, state, query, code: scores.binary(
            method, state, transforms.rotation(methods.Rotation(), {}, query, True), code
        ),
    ),
    "product": Case(methods.ProductQuantizer(3, bits=4, iterations=3), scores.product_codes),
    "product-unscaled": Case(methods.ProductQuantizer(2, iterations=3, rescale=False), scores.product_codes),
    "optimized-product": Case(
        methods.OptimizedProductQuantizer(3, bits=3, iterations=3, rotation_iterations=2),
        scores.product_codes,
    ),
    "power": Case(methods.PowerQuantizer(bits=3, rotate=False), scores.levels),
    "pyramid": Case(methods.PyramidQuantizer(bits=4, rotate=False), scores.levels),
    "recurrent": Case(methods.RecurrentBinaryQuantizer(levels=1, **SMALL), scores.recurrent),
    "recurrent-codes": Case(
        methods.RecurrentBinaryQuantizer(levels=2, queries="codes", steps=3, **SMALL), scores.recurrent
    ),
    "recurrent-wide": Case(methods.RecurrentBinaryQuantizer(levels=0, dim_out=13, **SMALL), scores.recurrent),
    "predictive": Case(methods.PredictiveQuantizer(size=9, centroids=8), scores.predictive),
    "predictive-scalar": Case(
        methods.PredictiveQuantizer(size=9, centroids=8, levels="scalar"), scores.predictive
    ),
    "adaptive-codes": Case(methods.AdaptiveQuantizer(size=6), scores.adaptive_codes),
    "pca": Case(methods.PCA(5), transforms.pca),
    "pca-randomized": Case(methods.PCA(4, solver="randomized", whiten="documents"), transforms.pca),
    "pca-both": Case(methods.PCA(3, whiten="both", center="both", normalize=True), transforms.pca),
    "itq": Case(methods.ITQRotation(3), transforms.matrix),
    "opq": Case(methods.OPQRotation(2, bits=3, iterations=2), transforms.matrix),
    "learned-truncation": Case(methods.LearnedTruncation(5, steps=2, batch=8), transforms.learned_truncation),
    "learned-truncation-binary": Case(
        methods.LearnedTruncation(3, steps=3, batch=8, target="binary", sampling="random"),
        transforms.learned_truncation,
    ),
    "truncation": Case(methods.Truncation(5), transforms.truncation),
    "truncation-unscaled": Case(methods.Truncation(5, normalize=False), transforms.truncation),
    "rotation": Case(methods.Rotation(), transforms.rotation),
    "random-projection": Case(methods.SparseRandomProjection(5), transforms.random_projection),
    "procrustes": Case(methods.Procrustes(), transforms.affine),
    "procrustes-scaled": Case(methods.Procrustes(scale=True), transforms.affine),
    "affine": Case(methods.LowRankAffine(rank=4), transforms.affine),
    "dimension-scale": Case(methods.DimensionScale(), transforms.affine),
    "relative": Case(methods.RelativeAnchors(20), transforms.affine),
    "ranked": Case(methods.RankedAffine(steps=2), transforms.affine),
    "mlp": Case(methods.ResidualMLP(hidden=4, steps=2), transforms.affine),
    "fde": Case(
        methods.FDE(repetitions=3, simhash_bits=2, projection_dim=4),
        lambda method, sample, documents, queries: fde.scores(method, documents, queries),
    ),
    "fde-learned": Case(
        methods.FDE(repetitions=2, simhash_bits=2, projection_dim=None, partitioner="kmeans"),
        lambda method, sample, documents, queries: fde.scores(method, documents, queries),
    ),
    "fde-centred": Case(
        methods.FDE(repetitions=2, simhash_bits=2, center=True, fill=True),
        lambda method, sample, documents, queries: fde.scores(method, documents, queries),
    ),
    # A stored dimension for every feature, so that nothing is cut off.
    "learned": Case(
        methods.LearnedEncoding(
            stored_dim=60,
            features=48,
            landmarks=300,
            compared=300,
            activity=0.1,
            steps=0,
            dtype="float32",
        ),
        lambda method, sample, documents, queries: learned.scores(
            method, sample, documents, queries, token_regression.SPREAD, token_regression.SMOOTHNESS
        ),
    ),
    "adaptive": Case(
        methods.AdaptiveEncoding(stored_dim=64, dtype="float32"),
        lambda method, sample, documents, queries: fde.scores(method.chosen_, documents, queries),
    ),
    "idf": Case(methods.TokenIDF(cells=8), transforms.idf),
    "saliency": Case(
        methods.SaliencyPruning(), lambda method, x, saliency: x[reduction.kept_by(saliency, method.keep)]
    ),
    "first": Case(methods.FirstTokens(count=3), lambda method, x, saliency: x[: method.count]),
    "ball-carving": Case(
        methods.BallCarving(), lambda method, x, saliency: reduction.carved(x, method.threshold)
    ),
    "hierarchical": Case(
        methods.HierarchicalPooling(),
        lambda method, x, saliency: reduction.pooled(
            x, reduction.ward(x, math.ceil(len(x) / method.factor)), method.keep_length
        ),
    ),
    "kmeans": Case(
        methods.KMeansPooling(),
        lambda method, x, saliency: reduction.pooled(
            x, reduction.k_means(x, math.ceil(len(x) / method.factor), method.rounds), method.keep_length
        ),
    ),
    "grid": Case(
        methods.GridPooling(rows=2, columns=2),
        lambda method, x, saliency: reduction.pooled(x, reduction.tiles(len(x), 2, 2, 1, 2), True),
    ),
}

CODED_QUERIES = {"centroids-hamming", "recurrent-codes"}
"""Examples whose queries are coded too, so that scores are no products with decoded vectors."""

REPRODUCES = {"bit_allocation", "binary", "residual", "centroids"}
"""Kinds whose codes stand for a constant vector that was learned from within 0.002."""


def vectors(count: int = 80, seed: int = 0, dim: int = DIM) -> np.ndarray:
    """Unit vectors with a common mean and correlated dimensions."""
    generator = np.random.default_rng(seed)
    mixing = generator.standard_normal((dim, dim)) * np.geomspace(1, 0.1, dim)
    rows = generator.standard_normal((count, dim)) @ mixing.T + generator.standard_normal(dim)
    return (rows / np.linalg.norm(rows, axis=1, keepdims=True)).astype(np.float32)


def documents(count: int = 60, seed: int = 0, dim: int = DIM) -> TokenBatch:
    """Documents of 4 to 12 unit tokens around a few of 30 topics."""
    generator = np.random.default_rng(seed)
    centres = np.random.default_rng(1000).standard_normal((30, dim))
    matrices = []
    for _ in range(count):
        length = int(generator.integers(4, 13))
        topics = centres[generator.choice(30, 4)][generator.integers(0, 4, length)]
        tokens = topics + 0.4 * generator.standard_normal((length, dim)) + 0.5
        matrices.append((tokens / np.linalg.norm(tokens, axis=1, keepdims=True)).astype(np.float32))
    return TokenBatch.from_list(matrices, dim=dim)
