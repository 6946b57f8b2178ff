"""Features of query tokens trained by gradient descent (LEMUR), starting at tokens of the sample."""

from __future__ import annotations

import math
from typing import Any

import numpy as np

from embplug.common.torch_device import torch_on
from embplug.methods.encodings.token_regression import rms_length
from embplug.methods.numeric.partition import Float32

COMBINATIONS = 256
"""Random ones of the documents, which stand for all: their squared error is that of all, on average."""

BATCH = 512
LEARNING_RATE = 2e-3
WARM_UP = 0.1
"""Share of the steps in which the learning rate rises; then it falls to nothing."""

MOMENTUM, SQUARES, EPSILON = 0.9, 0.999, 1e-8
"""Of Adam."""


def train_features(
    points: Float32,
    targets: Float32,
    directions: Float32,
    thresholds: Float32,
    *,
    ridge: float,
    steps: int,
    generator: np.random.Generator,
    device: str | None,
) -> tuple[Float32, Float32]:
    """Move the features until a linear map of them predicts the targets best.

    What is trained together with its output layer is ``relu(x directions' - thresholds)`` beside x itself,
    one hidden layer as in LEMUR (arXiv 2601.21853), on the squared error. The output layer starts at the
    solution of the ridge regression, and is thrown away.

    Parameters
    ----------
    points : (n, dim)
        Tokens in the role of those of queries.
    targets : (documents, n)
        What is predicted of each point, centred over documents.
    directions : (features, dim)
    thresholds : (features,)
    ridge
        Of the regression, relative to the mean square of the features.
    steps
        Of ``BATCH`` points each, by Adam.
    generator
        Chooses the batches and the combinations of documents.
    device
        A torch device; ``None`` computes with numpy.

    Returns
    -------
    directions : float32 (features, dim)
    thresholds : float32 (features,)

    Raises
    ------
    MissingExtraError
        There is a device, and torch is not installed.
    InvalidArgumentError
        torch has no such device.
    """
    # The learning rate is one for tokens of about unit length.
    length = np.float32(rms_length(points))
    combined = targets.T @ generator.standard_normal((len(targets), COMBINATIONS)).astype(np.float32)
    combined /= max(float(combined.std()), float(np.finfo(np.float32).tiny))
    x = points / length
    moved, levels = np.ascontiguousarray(directions.T) / length, thresholds / length**2
    output = _output_layer(x, combined, moved, levels, ridge)
    # A step of Adam is as long for every number: the output layer's is in proportion to its size.
    rates = [LEARNING_RATE, LEARNING_RATE, LEARNING_RATE * float(output.std() / moved.std())]
    arrays: list[Any] = [moved, levels, output, x, combined]
    if device is not None:
        torch, where = torch_on(device, "training on a device")
        arrays = [torch.from_numpy(array).to(where) for array in arrays]
    trained, (x, combined) = arrays[:3], arrays[3:]
    moments = [(array * 0, array * 0) for array in trained]
    for step in range(steps):
        rows = generator.integers(0, len(points), min(BATCH, len(points)))
        gradients = _gradients(x[rows], combined[rows], *trained)
        _step_of_adam(trained, gradients, moments, [_rate(step, steps) * rate for rate in rates], step)
    moved, levels = (np.asarray(array if device is None else array.cpu()) for array in trained[:2])
    return np.ascontiguousarray(moved.T) * length, levels * length**2


def _output_layer(x: Float32, combined: Float32, moved: Float32, levels: Float32, ridge: float) -> Float32:
    """Solution (features + dim, combinations) of the ridge regression."""
    features = np.concatenate([np.maximum(x @ moved - levels, 0), x], axis=1)
    gram = features.T @ features
    gram[np.diag_indices_from(gram)] += ridge * gram.diagonal().mean()
    solution: Float32 = np.linalg.solve(gram, features.T @ combined)
    return solution


def _gradients(x: Any, combined: Any, moved: Any, levels: Any, output: Any) -> list[Any]:
    """Gradients of the mean square error by the directions, the thresholds and the output layer.

    Arrays of numpy and tensors of torch have all operators that it takes.
    """
    count = moved.shape[1]
    above = x @ moved - levels
    active = above > 0
    features = above * active
    error = features @ output[:count] + x @ output[count:] - combined
    error *= 2 / (error.shape[0] * error.shape[1])
    back = (error @ output[:count].T) * active
    by_output = output * 0
    by_output[:count], by_output[count:] = features.T @ error, x.T @ error
    return [x.T @ back, -back.sum(0), by_output]


def _step_of_adam(
    arrays: list[Any],
    gradients: list[Any],
    moments: list[tuple[Any, Any]],
    rates: list[float],
    step: int,
) -> None:
    """Move arrays against their gradients, in place."""
    for array, gradient, (mean, square), rate in zip(arrays, gradients, moments, rates, strict=True):
        mean *= MOMENTUM
        mean += (1 - MOMENTUM) * gradient
        gradient *= gradient
        square *= SQUARES
        square += (1 - SQUARES) * gradient
        deviation = (square / (1 - SQUARES ** (step + 1))) ** 0.5
        deviation += EPSILON
        array -= rate / (1 - MOMENTUM ** (step + 1)) * mean / deviation


def _rate(step: int, steps: int) -> float:
    """Share of the highest learning rate: a line up, then half a cosine down."""
    rising = max(1, round(WARM_UP * steps))
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))
