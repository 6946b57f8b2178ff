"""Features of query tokens trained by gradient descent (LEMUR), starting at tokens of the sample."""

from __future__ import annotations

from typing import Any

import numpy as np

from embplug.extras import import_extra
from embplug.multivector.partition import Float32

DIRECTIONS = 512
"""Random combinations of documents that stand for all: their squared error is that of all, on average."""

BATCH = 1024
LEARNING_RATE = 2e-3
WARM_UP = 0.1
"""Share of the steps in which the learning rate rises; then it falls to nothing."""


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
    """
    torch = import_extra("torch", "LearnedEncoding(steps=…)")
    where = torch.device(device or "cpu")
    mixed = generator.standard_normal((len(targets), DIRECTIONS)).astype(np.float32)
    wanted = targets.T @ mixed
    wanted /= max(float(wanted.std()), float(np.finfo(np.float32).tiny))
    x, y = torch.from_numpy(points).to(where), torch.from_numpy(wanted).to(where)
    moved = torch.tensor(directions.T, device=where).contiguous().requires_grad_()
    levels = torch.tensor(thresholds, device=where).requires_grad_()

    def features(rows: Any) -> Any:
        return torch.cat([torch.relu(rows @ moved - levels), rows], dim=1)

    with torch.no_grad():
        made = features(x)
        gram = made.T @ made
        gram.diagonal().add_(ridge * gram.diagonal().mean())
        output = torch.cholesky_solve(made.T @ y, torch.linalg.cholesky(gram))
        del made, gram
    output.requires_grad_()
    # A step of Adam is as long for every number: the output layer's is in proportion to its size.
    rates = [LEARNING_RATE, LEARNING_RATE * float(output.detach().std() / moved.detach().std())]
    optimizer = torch.optim.Adam(
        [{"params": [moved, levels], "lr": rates[0]}, {"params": [output], "lr": rates[1]}]
    )
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, rates, total_steps=steps, pct_start=WARM_UP)
    for _ in range(steps):
        rows = torch.from_numpy(generator.integers(0, len(points), min(BATCH, len(points)))).to(where)
        loss = torch.nn.functional.mse_loss(features(x[rows]) @ output, y[rows])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        schedule.step()
    return moved.detach().T.cpu().numpy().copy(), levels.detach().cpu().numpy().copy()
