"""Token matrices for tests that need any."""

from __future__ import annotations

import numpy as np

from embplug.methods.token_batch import TokenBatch

DIM = 8


def batch(count: int, seed: int, centre: float = 0.0) -> TokenBatch:
    """Documents of ten unit tokens of eight dimensions."""
    values = np.random.default_rng(seed).standard_normal((count * 10, DIM)) + centre
    values /= np.linalg.norm(values, axis=1, keepdims=True)
    return TokenBatch(values.astype(np.float32), np.arange(count + 1) * 10)
