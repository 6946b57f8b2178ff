"""Training by contrast on embeddings alone: what a small or coarse vector ranks, as the full one ranks it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embplug.methods.numeric.arrays import Float32
from embplug.methods.numeric.rows import unit_rows

SEEDS_OF_BATCH = 8


def batches(
    sample: Float32, size: int, steps: int, local: bool, generator: np.random.Generator
) -> Iterator[NDArray[np.int64]]:
    """Rows of each step: drawn at random, or, ``local``, with most of their nearest neighbours among them.

    Neighbours are what a query has to tell apart, so a batch of neighbours teaches more than one of
    strangers (locality-centric sampling).
    """
    size = min(size, len(sample))
    around = -(-size // SEEDS_OF_BATCH)
    for _ in range(steps):
        if not local or size == len(sample):
            yield np.sort(generator.choice(len(sample), size, replace=False))
            continue
        seeds = generator.choice(len(sample), SEEDS_OF_BATCH, replace=len(sample) < SEEDS_OF_BATCH)
        nearest = np.argpartition(-(sample[seeds] @ sample.T), around - 1, axis=1)[:, :around]
        yield np.unique(nearest)


def noised(vectors: Float32, noise: float, generator: np.random.Generator) -> Float32:
    """Unit vectors moved by random ones of length ``noise``: what stands for queries."""
    moves = unit_rows(generator.standard_normal(vectors.shape).astype(np.float32))
    return unit_rows(vectors + np.float32(noise) * moves)


def between(vectors: Float32, noise: float, generator: np.random.Generator) -> Float32:
    """Unit vectors between each and another of the batch, then noised: queries about what documents share."""
    others = vectors[generator.permutation(len(vectors))]
    return noised(unit_rows(vectors + np.float32(0.5) * others), noise, generator)


def ranking_loss(scores: Any, exact: Any, temperature: float) -> Any:
    """Cross-entropy of rows and columns of ``scores`` against the softmax of exact similarities."""
    loss = 0.0
    for similarities, exact_similarities in ((scores, exact), (scores.T, exact.T)):
        target = (exact_similarities / temperature).softmax(dim=1)
        loss = loss - (target * (similarities / temperature).log_softmax(dim=1)).sum(dim=1).mean() / 2
    return loss


def signs(values: Any) -> Any:
    """Signs, whose gradient is passed straight through where the magnitude is at most one."""
    hard = (values > 0).to(values.dtype) * 2 - 1
    soft = values.clamp(-1, 1)
    return soft + (hard - soft).detach()
