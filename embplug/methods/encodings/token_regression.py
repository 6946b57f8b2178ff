"""Ridge regression from features of a query token to its highest products with documents."""

from __future__ import annotations

import numpy as np

from embplug.methods.numeric.partition import Float32

SPREAD = (0.25, 0.5, 1.0, 2.0, 4.0)
"""Times ``activity``, in turns: narrow features are precise in the sample, broad ones hold beyond it."""

BROADEST = 0.5
"""Largest activity."""

POWER_ROUNDS = 3
OVERSAMPLING = 64
"""Block power iteration for the leading directions: far more precise than the sample is."""

SMOOTHNESS = 1e-3
"""Weight of the features' own covariance beside that of the documents': orders what no document used."""

DOCUMENT_BLOCK = 256
"""Documents whose errors are in memory at once."""

SMALLEST_NOISE = 0.01
"""Smallest noise of a landmark, as a share of the mean: a few documents may agree by chance."""


def rms_length(points: Float32) -> float:
    """Root mean square of the lengths of points (n, dim); 1 if all are zero."""
    length = float(np.sqrt(np.square(points, dtype=np.float64).sum(axis=1).mean()))
    return length if length > 0 else 1.0


def feature_thresholds(products: Float32, activity: float) -> Float32:
    """Thresholds (features,) above which products (points, features) lie at their activity."""
    thresholds = np.empty(products.shape[1], dtype=np.float32)
    for i, factor in enumerate(SPREAD):
        columns = slice(i, None, len(SPREAD))
        thresholds[columns] = np.quantile(products[:, columns], 1 - min(activity * factor, BROADEST), axis=0)
    return thresholds


def token_features(points: Float32, products: Float32, thresholds: Float32) -> Float32:
    """Features (n, features + dim) of points whose products with the directions are known (overwritten)."""
    products -= thresholds
    np.maximum(products, 0, out=products)
    return np.concatenate([products, points], axis=1)


def regression(features: Float32, targets: Float32, ridge: float) -> tuple[Float32, Float32]:
    """Weights (features, documents) of documents with targets (documents, points), and a triangular factor.

    The weights of document d are W[:, d] with (features' features + ridge) W = features' targets. What is
    returned is factor' W: in these coordinates the mean square of a difference is its length.
    """
    import scipy.linalg

    gram = features.T @ features
    gram[np.diag_indices_from(gram)] += ridge * np.trace(gram) / len(gram)
    factor = scipy.linalg.cholesky(gram, lower=True, overwrite_a=True, check_finite=False)
    weights = scipy.linalg.solve_triangular(
        factor, (targets @ features).T, lower=True, overwrite_b=True, check_finite=False
    )
    return weights, factor


def leading_directions(
    weights: Float32, factor: Float32, rank: int, generator: np.random.Generator
) -> tuple[Float32, Float32]:
    """Variances (rank,) and directions (features, rank) in which documents differ most."""
    import scipy.linalg

    covariance = weights @ weights.T / np.float32(weights.shape[1])
    smooth = factor.T @ factor
    total = max(float(np.trace(covariance)), np.finfo(np.float32).tiny)
    covariance += smooth * np.float32(SMOOTHNESS * total / np.trace(smooth))
    rank = min(rank, len(covariance))
    width = rank + OVERSAMPLING
    if 2 * width >= len(covariance):
        variances, basis = scipy.linalg.eigh(covariance, overwrite_a=True, check_finite=False)
    else:
        block = generator.standard_normal((len(covariance), width)).astype(np.float32)
        for _ in range(POWER_ROUNDS):
            block = scipy.linalg.qr(covariance @ block, mode="economic", check_finite=False)[0]
        variances, inner = scipy.linalg.eigh(block.T @ (covariance @ block), check_finite=False)
        basis = block @ inner
    variances, floor = variances[::-1][:rank], variances[-1] * 1e-7
    prior: Float32 = np.maximum(variances, floor)
    leading: Float32 = np.ascontiguousarray(basis[:, ::-1][:, :rank])
    return prior, leading


def mean_square_errors(targets: Float32, vectors: Float32, components: Float32) -> Float32:
    """Mean square error (points,) of ``vectors @ components'`` against targets (documents, points)."""
    total = np.zeros(targets.shape[1])
    for start in range(0, len(targets), DOCUMENT_BLOCK):
        rows = slice(start, start + DOCUMENT_BLOCK)
        total += np.square(targets[rows] - vectors[rows] @ components.T).sum(axis=0, dtype=np.float64)
    errors = (total / len(targets)).astype(np.float32)
    smallest = max(SMALLEST_NOISE * float(errors.mean()), float(np.finfo(np.float32).tiny))
    errors[errors < smallest] = smallest
    return errors


def slopes(targets: Float32, vectors: Float32, components: Float32) -> Float32:
    """Factors (points, 1) by which targets (documents, points) are ``vectors @ components'`` on average."""
    predicted = vectors @ components.T
    powers = np.square(predicted).sum(axis=0)
    products = (targets * predicted).sum(axis=0)
    factors: Float32 = np.where(powers > 0, products / np.maximum(powers, np.finfo(np.float32).tiny), 1)
    return factors[:, None]


def posterior_map(components: Float32, variances: Float32, noise: Float32) -> Float32:
    """Map (points, rank) from targets at points to the most probable weights.

    Weights have the prior variances, targets are ``components @ weights`` plus noise (points,).
    """
    import scipy.linalg

    # Scaled by the prior's deviations and by the noise's: all weights have the same prior, well conditioned.
    mean = noise.mean()
    precision = np.sqrt(mean / noise)[:, None]
    scaled = components * precision * np.sqrt(variances)
    system = scaled.T @ scaled
    system[np.diag_indices_from(system)] += mean
    factor = scipy.linalg.cho_factor(system, overwrite_a=True, check_finite=False)
    solved = scipy.linalg.cho_solve(factor, scaled.T, check_finite=False)
    mapped: Float32 = precision * solved.T * np.sqrt(variances)
    return mapped


def unit_scale(matrix: Float32) -> Float32:
    """Scale to a root mean square of one: the order of dot products does not notice."""
    size = np.sqrt(np.square(matrix).mean(dtype=np.float64))
    return matrix * np.float32(1 / size) if size > 0 else matrix
