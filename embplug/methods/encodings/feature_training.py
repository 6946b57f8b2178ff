"""Features of query tokens trained by gradient descent (LEMUR), starting at tokens of the sample."""

from __future__ import annotations

import math
from contextlib import nullcontext
from typing import Any

import numpy as np

from embplug.common.threads import single_torch_thread
from embplug.common.torch_device import torch_on
from embplug.methods.numeric.partition import Float32

COMBINATIONS = 512
"""Random ones of the documents, which stand for all: their squared error is that of all, on average."""

BATCH = 1024
LEARNING_RATE = 2e-3
WARM_UP = 0.1
"""Share of the steps in which the learning rate rises; then it falls to nothing."""

SMALL = 1 << 17
"""Numbers in the directions below which one thread is faster."""

BLOCK_POINTS = 4096
"""Number of points whose features are in memory at once."""


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
        A torch device; ``None`` is the CPU.

    Returns
    -------
    directions : float32 (features, dim)
    thresholds : float32 (features,)

    Raises
    ------
    MissingExtraError
        torch is not installed.
    InvalidArgumentError
        torch has no such device.
    """
    torch, where = torch_on(device or "cpu", "LearnedEncoding(steps=…)")
    # The learning rate is one for tokens of about unit length.
    length = np.float32(np.sqrt(np.square(points).sum(axis=1, dtype=np.float64).mean()))
    combined = targets.T @ generator.standard_normal((len(targets), COMBINATIONS)).astype(np.float32)
    combined /= max(float(combined.std()), float(np.finfo(np.float32).tiny))
    x, y = torch.from_numpy(points / length).to(where), torch.from_numpy(combined).to(where)
    moved = torch.from_numpy(np.ascontiguousarray(directions.T) / length).to(where).requires_grad_()
    levels = torch.from_numpy(thresholds / length**2).to(where).requires_grad_()

    def features(rows: Any) -> Any:
        return torch.cat([torch.relu(rows @ moved - levels), rows], dim=1)

    output = _output_layer(torch, features, x, y, ridge).requires_grad_()
    # A step of Adam is as long for every number: the output layer's is in proportion to its size.
    rate = LEARNING_RATE * float(output.detach().std() / moved.detach().std())
    optimizer = torch.optim.Adam(
        [{"params": [moved, levels], "lr": LEARNING_RATE}, {"params": [output], "lr": rate}]
    )
    schedule = torch.optim.lr_scheduler.LambdaLR(optimizer, lambda step: _rate(step, steps))
    with single_torch_thread(torch) if directions.size < SMALL else nullcontext():
        for _ in range(steps):
            rows = torch.from_numpy(generator.integers(0, len(points), min(BATCH, len(points)))).to(where)
            loss = torch.nn.functional.mse_loss(features(x[rows]) @ output, y[rows])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    trained = moved.detach().T.cpu().numpy() * length, levels.detach().cpu().numpy() * length**2
    return np.ascontiguousarray(trained[0]), trained[1]


def _output_layer(torch: Any, features: Any, x: Any, y: Any, ridge: float) -> Any:
    """Solution (features + dim, combinations) of the ridge regression."""
    with torch.no_grad():
        gram, sums = 0.0, 0.0
        for rows, combined in zip(x.split(BLOCK_POINTS), y.split(BLOCK_POINTS), strict=True):
            inputs = features(rows)
            gram, sums = gram + inputs.T @ inputs, sums + inputs.T @ combined
        gram.diagonal().add_(ridge * gram.diagonal().mean())  # type: ignore[attr-defined]
        return torch.cholesky_solve(sums, torch.linalg.cholesky(gram))


def _rate(step: int, steps: int) -> float:
    """Share of the highest learning rate: a line up, then half a cosine down."""
    rising = max(1, round(WARM_UP * steps))
    if step < rising:
        return (step + 1) / rising
    return 0.5 * (1 + math.cos(math.pi * (step - rising) / max(1, steps - rising)))
