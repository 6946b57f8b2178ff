"""The learned encoding in float64, by its definition: one document, one token, one inverse at a time.

Features are not trained, and documents are compared with all landmarks in all dimensions.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

Array = NDArray[Any]


@dataclass
class Learned:
    """Document weights and query features in the coordinates of the features themselves."""

    landmarks: Array
    features: int
    thresholds: Array
    mean: Array
    posterior: Array
    """(features + dim, landmarks): from centred targets to weights."""


def best(document: Array, point: Array) -> float:
    """MaxSim of one query token."""
    return max(float(point @ token) for token in document)


def features(model: Learned, point: Array) -> Array:
    """Half-spaces around the first landmarks, then the token itself."""
    directions = model.landmarks[: model.features]
    bent = [max(float(point @ a) - t, 0.0) for a, t in zip(directions, model.thresholds, strict=True)]
    return np.array([*bent, *point])


def fit(
    landmarks: Array,
    documents: list[Array],
    features_count: int,
    activities: list[float],
    ridge: float,
    smoothness: float,
) -> Learned:
    """Ridge regression, the prior of the weights over documents, and the posterior for a new one."""
    directions = landmarks[:features_count]
    thresholds = np.array(
        [np.quantile(landmarks @ a, 1 - activities[i % len(activities)]) for i, a in enumerate(directions)]
    )
    model = Learned(landmarks, features_count, thresholds, np.empty(0), np.empty(0))
    targets = np.array([[best(document, x) for x in landmarks] for document in documents])
    mean = targets.mean(axis=0)
    phi = np.array([features(model, x) for x in landmarks])
    gram = phi.T @ phi
    metric = gram + ridge * np.trace(gram) / len(gram) * np.eye(len(gram))
    weights = np.linalg.inv(metric) @ phi.T @ (targets - mean).T

    # The covariance of factor' W, where metric = factor factor'; the factor's choice does not matter.
    factor = np.linalg.cholesky(metric)
    spread = factor.T @ weights @ weights.T @ factor / len(documents)
    smooth = factor.T @ factor
    spread += smoothness * np.trace(spread) / np.trace(smooth) * smooth
    prior = np.linalg.inv(factor.T) @ spread @ np.linalg.inv(factor)
    # A landmark is as uncertain as the regression was wrong about it, after a factor that fits best.
    predicted = (phi @ weights).T
    seen, noise = [], []
    for i in range(len(landmarks)):
        truth = targets[:, i] - mean[i]
        slope = truth @ predicted[:, i] / (predicted[:, i] @ predicted[:, i])
        seen.append(slope * phi[i])
        noise.append(np.square(truth - slope * predicted[:, i]).mean())
    measures = np.array(seen)
    posterior = prior @ measures.T @ np.linalg.inv(measures @ prior @ measures.T + np.diag(noise))
    return Learned(landmarks, features_count, thresholds, mean, posterior)


def score(model: Learned, query: Array, document: Array, weights: Array | None = None) -> float:
    """Predicted MaxSim, less the mean over documents."""
    targets = np.array([best(document, x) for x in model.landmarks]) - model.mean
    query_weights = sum((w * features(model, x) for x, w in zip(query, _ones(query, weights), strict=True)))
    return float(query_weights @ (model.posterior @ targets))


def _ones(query: Array, weights: Array | None) -> Array:
    return np.ones(len(query)) if weights is None else weights


def scores(encoding: Any, sample: Any, documents: Any, queries: Any, spread: Any, smoothness: float) -> Array:
    """Predicted MaxSim (queries, documents), fitted on a sample as the encoding was."""
    model = fit(
        encoding._landmarks(sample, None).astype(np.float64),
        [document.astype(np.float64) for document in sample],
        encoding.features,
        [min(encoding.activity * factor, 0.5) for factor in spread],
        encoding.ridge,
        smoothness,
    )
    return np.array([[score(model, query, document) for document in documents] for query in queries])
