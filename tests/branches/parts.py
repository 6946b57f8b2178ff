"""Documents, queries and methods for the tests of branches: no engine, no model."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from embplug.branches.documents import CheckedDocuments
from embplug.encoders import Encoded
from embplug.methods import FDE
from embplug.methods.token_batch import TokenBatch
from tests.tokens import DIM, batch

SMALL_FDE = FDE(repetitions=2, simhash_bits=1, projection_dim=4)
"""It makes 16 numbers of a document, and learns nothing."""


def vectors(count: int, seed: int = 0, dim: int = DIM) -> np.ndarray:
    """Dense vectors of length about 1."""
    return (np.random.default_rng(seed).standard_normal((count, dim)) / np.sqrt(dim)).astype(np.float32)


def documents(
    count: int,
    *,
    tokens: TokenBatch | None = None,
    dense: dict[str, np.ndarray] | None = None,
    texts: Sequence[str] | None = None,
    payloads: Sequence[dict[str, Any]] | None = None,
    saliency: np.ndarray | None = None,
) -> CheckedDocuments:
    """Documents ``0`` to ``count - 1``, checked."""
    ids = [*range(count)]
    payloads = [{} for _ in ids] if payloads is None else payloads
    return CheckedDocuments(ids, ids, tokens, dense or {}, texts, payloads, saliency)


class RecordingEncoder:
    """Makes vectors that tell the text by their first number, and keeps what it was asked for."""

    spec = "recording"

    def __init__(self, *, tokens: bool = True, dense: bool = True, saliency: bool = False) -> None:
        self.makes = (tokens, dense, saliency)
        self.calls: list[list[str]] = []

    def encode_documents(self, texts: Sequence[str]) -> Encoded:
        self.calls.append([*texts])
        tokens, dense, saliency = self.makes
        marks = np.array([float(text.split()[-1]) for text in texts], dtype=np.float32)
        rows = np.ones((len(texts), DIM), np.float32)
        rows[:, 0] = marks
        matrices = TokenBatch(np.repeat(rows, 2, axis=0), np.arange(len(texts) + 1) * 2)
        return Encoded(
            matrices if tokens else None,
            rows if dense else None,
            np.tile(np.float32([0.25, 0.75]), len(texts)) if saliency else None,
        )

    encode_queries = encode_documents


__all__ = ["DIM", "SMALL_FDE", "RecordingEncoder", "batch", "documents", "vectors"]
