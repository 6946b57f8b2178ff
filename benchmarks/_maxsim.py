"""Exact MaxSim of all queries and documents: the truth that candidates and reductions are held against."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from embplug.multivector import TokenBatch
from embplug.rerank.maxsim import document_blocks

DOCUMENT_TOKENS = 1024
QUERY_TOKENS = 1024


def maxsim(queries: TokenBatch, documents: TokenBatch) -> NDArray[np.float32]:
    """Scores (queries, documents); a document without tokens has -inf, a query without tokens 0."""
    scores = np.zeros((len(queries), len(documents)), dtype=np.float32)
    for rows in document_blocks(queries.offsets, QUERY_TOKENS):
        asked = queries[rows].to_float32()
        owner = np.repeat(np.arange(len(asked)), asked.lengths)
        members = (np.arange(len(asked))[:, None] == owner).astype(np.float32)
        for columns in document_blocks(documents.offsets, DOCUMENT_TOKENS):
            block = documents[columns].to_float32()
            inhabited = np.flatnonzero(block.lengths)
            if len(owner) and inhabited.size:
                products = asked.values @ block.values.T
                best = np.maximum.reduceat(products, block.offsets[inhabited], axis=1)
                scores[rows, columns.start + inhabited] = members @ best
    scores[:, documents.lengths == 0] = -np.inf
    return scores
