"""The best documents by exact comparison of all: what compressed and filtered searches are held to."""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
from numpy.typing import NDArray
from qdrant_client import models
from tqdm import tqdm

from embplug.methods.numeric.rows import unit_rows
from embplug.methods.token_batch import TokenBatch, document_blocks

BLOCK_DOCUMENTS = 4096
BLOCK_MATRICES = 512
BLOCK_TOKENS = 1024
NONE = -1
"""In place of a document where fewer match than were asked for."""

Mask = NDArray[np.bool_]
Ranking = NDArray[np.int64]


def exact_tokens(
    queries: TokenBatch,
    documents: TokenBatch,
    limit: int,
    masks: Sequence[Mask | None] = (None,),
    progress: bool | None = False,
) -> list[Ranking]:
    """Rows of the best documents of each query by MaxSim, under each mask.

    Parameters
    ----------
    masks
        Bool (documents,) of those that match a filter; ``None`` lets all match.

    Returns
    -------
    list of int64 (queries, limit)
        Best first, ties to the lowest row; ``NONE`` where fewer match.
    """
    return _best(
        lambda rows: maxsim_scores(queries, documents[rows]),
        (len(queries), len(documents)),
        BLOCK_MATRICES,
        limit,
        masks,
        progress,
    )


def exact_dense(
    queries: NDArray[np.float32],
    documents: NDArray[np.float32],
    limit: int,
    masks: Sequence[Mask | None] = (None,),
    distance: models.Distance = models.Distance.COSINE,
) -> list[Ranking]:
    """As :func:`exact_tokens`, by a distance of dense vectors."""
    if distance == models.Distance.COSINE:
        queries = unit_rows(queries)

    def scores(rows: slice) -> NDArray[np.float32]:
        block = np.asarray(documents[rows], dtype=np.float32)
        if distance == models.Distance.MANHATTAN:
            return -np.stack([np.abs(block - query).sum(axis=1) for query in queries])
        if distance == models.Distance.COSINE:
            block = unit_rows(block)
        products: NDArray[np.float32] = queries @ block.T
        if distance == models.Distance.EUCLID:
            products = 2 * products - np.square(block).sum(axis=1)
        return products

    return _best(scores, (len(queries), len(documents)), BLOCK_DOCUMENTS, limit, masks, False)


def maxsim_scores(queries: TokenBatch, documents: TokenBatch) -> NDArray[np.float32]:
    """Scores (queries, documents); a document without tokens has -inf, a query without tokens 0."""
    scores = np.zeros((len(queries), len(documents)), dtype=np.float32)
    for rows in document_blocks(queries.offsets, BLOCK_TOKENS):
        asked = queries[rows].to_float32()
        owner = np.repeat(np.arange(len(asked)), asked.lengths)
        members = (np.arange(len(asked))[:, None] == owner).astype(np.float32)
        for columns in document_blocks(documents.offsets, BLOCK_TOKENS):
            block = documents[columns].to_float32()
            inhabited = np.flatnonzero(block.lengths)
            if len(owner) and inhabited.size:
                products = asked.values @ block.values.T
                best = np.maximum.reduceat(products, block.offsets[inhabited], axis=1)
                scores[rows, columns.start + inhabited] = members @ best
    scores[:, documents.lengths == 0] = -np.inf
    return scores


def overlap(found: Sequence[Sequence[int]] | Ranking, wanted: Ranking) -> NDArray[np.float64]:
    """For each query, the share of the wanted documents that were found; 1 where none is wanted."""
    shares = np.ones(len(wanted))
    for i, (have, want) in enumerate(zip(found, wanted, strict=True)):
        there = want[want != NONE]
        if there.size:
            shares[i] = np.isin(there, have).mean()
    return shares


def _best(
    scores: Callable[[slice], NDArray[np.float32]],
    shape: tuple[int, int],
    block: int,
    limit: int,
    masks: Sequence[Mask | None],
    progress: bool | None,
) -> list[Ranking]:
    """Keep the best of each block of documents and those before it, so that memory stays bounded."""
    queries, documents = shape
    best_rows = [np.full((queries, limit), NONE, dtype=np.int64) for _ in masks]
    best_scores = [np.full((queries, limit), -np.inf, dtype=np.float32) for _ in masks]
    disabled = None if progress is None else not progress
    for start in tqdm(range(0, documents, block), desc="exact search", disable=disabled):
        made = scores(slice(start, start + block))
        rows = np.broadcast_to(np.arange(start, start + made.shape[1]), made.shape)
        for i, mask in enumerate(masks):
            kept = slice(None) if mask is None else np.flatnonzero(mask[start : start + block])
            all_scores = np.concatenate([best_scores[i], made[:, kept]], axis=1)
            all_rows = np.concatenate([best_rows[i], rows[:, kept]], axis=1)
            order = np.argsort(-all_scores, axis=1, kind="stable")[:, :limit]
            best_scores[i] = np.take_along_axis(all_scores, order, axis=1)
            best_rows[i] = np.take_along_axis(all_rows, order, axis=1)
    for found, told in zip(best_rows, best_scores, strict=True):
        found[np.isneginf(told)] = NONE
    return best_rows
