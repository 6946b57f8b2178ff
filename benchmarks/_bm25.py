"""BM25 over a collection in memory, the lexical baseline (k1 = 1.2, b = 0.75)."""

from __future__ import annotations

import re
from collections.abc import Sequence

import numpy as np
import scipy.sparse as sp
from numpy.typing import NDArray

K1, B = 1.2, 0.75
WORD = re.compile(r"\w+")
STOP_WORDS = frozenset(
    {"a", "an", "and", "are", "as", "at", "be", "but", "by", "for", "if", "in", "into", "is", "it", "no"}
    | {"not", "of", "on", "or", "such", "that", "the", "their", "then", "there", "these", "they", "this"}
    | {"to", "was", "will", "with"}
)


def bm25(documents: Sequence[str], queries: Sequence[str]) -> NDArray[np.float64]:
    """Scores (queries, documents)."""
    vocabulary: dict[str, int] = {}
    counts = _counts(documents, vocabulary, grow=True)
    query_counts = _counts(queries, vocabulary, grow=False)
    query_counts.resize(len(queries), counts.shape[1])
    frequency = np.bincount(counts.indices, minlength=counts.shape[1])
    rarity = np.log(1 + (len(documents) - frequency + 0.5) / (frequency + 0.5))
    lengths = np.asarray(counts.sum(axis=1)).reshape(-1)
    norm = np.repeat(K1 * (1 - B + B * lengths / lengths.mean()), np.diff(counts.indptr))
    counts.data = counts.data * (K1 + 1) / (counts.data + norm) * rarity[counts.indices]
    return np.asarray((query_counts @ counts.T).todense())


def _counts(texts: Sequence[str], vocabulary: dict[str, int], grow: bool) -> sp.csr_matrix:
    rows, columns = [], []
    for i, text in enumerate(texts):
        for word in WORD.findall(text.lower()):
            if word in STOP_WORDS or (not grow and word not in vocabulary):
                continue
            rows.append(i)
            columns.append(vocabulary.setdefault(word, len(vocabulary)))
    shape = (len(texts), max(len(vocabulary), 1))
    matrix = sp.csr_matrix((np.ones(len(rows)), (rows, columns)), shape=shape)
    matrix.sum_duplicates()
    return matrix
