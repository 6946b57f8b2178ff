"""What a ranking is worth, against another ranking or against judgements."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
from numpy.typing import NDArray

from embplug.evaluation import exact


def top(scores: NDArray[np.floating], count: int) -> NDArray[np.int64]:
    """Columns (rows, count) of the highest scores of each row, best first; ties go to the lowest column."""
    return np.argsort(-scores, axis=1, kind="stable")[:, :count]


def overlap(rankings: NDArray[np.integer], expected: NDArray[np.integer]) -> float:
    """Mean share of each row of ``wanted`` that is in the same row of ``found``, in any order."""
    return float(exact.overlap(rankings, expected).mean())


def ndcg(
    ranked: NDArray[np.integer],
    query_ids: Sequence[str],
    document_ids: Sequence[str],
    qrels: Mapping[str, Mapping[str, int]],
) -> float:
    """Mean nDCG of the ranked columns of ``document_ids``, cut where they end, as trec_eval computes it."""
    discounts = 1 / np.log2(np.arange(ranked.shape[1]) + 2)
    values = []
    for query, columns in zip(query_ids, ranked, strict=True):
        gains = np.array([max(qrels[query].get(document_ids[column], 0), 0) for column in columns])
        ideal = np.sort([max(gain, 0) for gain in qrels[query].values()])[::-1][: len(discounts)]
        best = (ideal * discounts[: len(ideal)]).sum()
        values.append((gains * discounts).sum() / best if best else 0.0)
    return float(np.mean(values))
