"""Exact search by blocks, against the obvious."""

from __future__ import annotations

import numpy as np
import pytest

from embplug.evaluation import exact
from embplug.evaluation.exact import exact_dense, exact_tokens, overlap
from embplug.methods.token_batch import TokenBatch


def obvious(scores, mask, limit):
    order = [row for row in np.argsort(-scores, kind="stable") if mask[row]]
    return (order + [-1] * limit)[:limit]


@pytest.mark.parametrize("distance", ["Cosine", "Dot", "Euclid", "Manhattan"])
def test_dense(distance, monkeypatch):
    monkeypatch.setattr(exact, "BLOCK_DOCUMENTS", 7)
    rng = np.random.default_rng(0)
    documents, queries = rng.standard_normal((2, 30, 5)).astype(np.float32)
    scores = {
        "Cosine": lambda q: documents @ q / np.linalg.norm(documents, axis=1),
        "Dot": lambda q: documents @ q,
        "Euclid": lambda q: -np.linalg.norm(documents - q, axis=1),
        "Manhattan": lambda q: -np.abs(documents - q).sum(axis=1),
    }[distance]
    few = np.arange(30) < 3
    found, filtered = exact_dense(queries, documents, 6, [None, few], exact.models.Distance(distance))
    for i, query in enumerate(queries):
        assert found[i].tolist() == obvious(scores(query), np.ones(30), 6)
        assert filtered[i].tolist() == obvious(scores(query), few, 6)


def test_tokens(monkeypatch):
    monkeypatch.setattr(exact, "BLOCK_MATRICES", 4)
    rng = np.random.default_rng(1)
    batches = [[rng.standard_normal((rng.integers(6), 5)) for _ in range(count)] for count in (25, 8)]
    documents, queries = (TokenBatch.from_list(matrices, 5) for matrices in batches)
    mask = rng.random(25) < 0.5
    found, filtered = exact_tokens(queries, documents, 9, [None, mask])
    for i, query in enumerate(queries):
        scores = np.array(
            [(query @ document.T).max(axis=1).sum() if len(document) else -np.inf for document in documents]
        )
        there = np.isfinite(scores)
        assert found[i].tolist() == obvious(scores, there, 9)
        assert filtered[i].tolist() == obvious(scores, there & mask, 9)


def test_overlap_counts_what_is_wanted():
    nearest = np.array([[1, 2], [3, -1], [-1, -1]])
    assert overlap([[2, 9], [4], [5]], nearest).tolist() == [0.5, 0.0, 1.0]
