"""Exact search: the reference for compressed and filtered searches."""

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
"""Stands in place of a document if fewer documents match than the limit."""

Mask = NDArray[np.bool_]
Ranking = NDArray[np.int64]


def exact_tokens(
    queries: TokenBatch,
    documents: TokenBatch,
    limit: int,
    masks: Sequence[Mask | None] = (None,),
    progress: bool | None = False,
) -> list[Ranking]:
    """Rank the best documents of each query by MaxSim, under each mask.

    Parameters
    ----------
    queries : TokenBatch
        Token matrices of the queries.
    documents : TokenBatch
        Token matrices of the documents.
    limit : int
        Length of each ranking.
    masks : sequence of (bool array of shape (n_documents,) or None), default=(None,)
        Documents that match a filter. ``None`` lets all documents match.
    progress : bool or None, default=False
        Whether to show a progress bar. ``None`` shows it on a terminal only.

    Returns
    -------
    list of int64 arrays of shape (n_queries, limit)
        Rows of documents under each mask, best first. Of equal scores, the lower row comes first.
        ``NONE`` fills the places that are left if fewer documents match.

    References
    ----------
    Khattab and Zaharia (2020). "ColBERT: Efficient and Effective Passage Search via Contextualized Late
    Interaction over BERT". https://arxiv.org/abs/2004.12832
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
    """Rank the best documents of each query by a distance of dense vectors, under each mask.

    Parameters
    ----------
    queries : float32 array of shape (n_queries, dim)
        Vectors of the queries.
    documents : float32 array of shape (n_documents, dim)
        Vectors of the documents.
    limit : int
        Length of each ranking.
    masks : sequence of (bool array of shape (n_documents,) or None), default=(None,)
        Documents that match a filter. ``None`` lets all documents match.
    distance : models.Distance, default=COSINE
        Distance by which vectors are compared.

    Returns
    -------
    list of int64 arrays of shape (n_queries, limit)
        Rows of documents under each mask, best first. Of equal scores, the lower row comes first.
        ``NONE`` fills the places that are left if fewer documents match.
    """
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
    """Compute the MaxSim of each query with each document.

    Parameters
    ----------
    queries : TokenBatch
        Token matrices of the queries.
    documents : TokenBatch
        Token matrices of the documents.

    Returns
    -------
    float32 array of shape (n_queries, n_documents)
        Scores. A document without tokens has -inf, a query without tokens has 0.
    """
    scores = np.zeros((len(queries), len(documents)), dtype=np.float32)
    for rows in document_blocks(queries.offsets, BLOCK_TOKENS):
        query_block = queries[rows].to_float32()
        owner = np.repeat(np.arange(len(query_block)), query_block.lengths)
        members = (np.arange(len(query_block))[:, None] == owner).astype(np.float32)
        for columns in document_blocks(documents.offsets, BLOCK_TOKENS):
            block = documents[columns].to_float32()
            nonempty = np.flatnonzero(block.lengths)
            if len(owner) and nonempty.size:
                products = query_block.values @ block.values.T
                best = np.maximum.reduceat(products, block.offsets[nonempty], axis=1)
                scores[rows, columns.start + nonempty] = members @ best
    scores[:, documents.lengths == 0] = -np.inf
    return scores


def overlap(rankings: Sequence[Sequence[int]] | Ranking, exact: Ranking) -> NDArray[np.float64]:
    """Compute the share of the exact best documents that are in a ranking, for each query.

    Parameters
    ----------
    rankings : sequence of sequence of int
        Rows of documents that a search returned for each query.
    exact : int64 array of shape (n_queries, limit)
        Rows of the exact best documents, filled up with ``NONE``.

    Returns
    -------
    float64 array of shape (n_queries,)
        Shares, 0 to 1; 1 for a query without exact documents.
    """
    shares = np.ones(len(exact))
    for i, (ranking, reference) in enumerate(zip(rankings, exact, strict=True)):
        present = reference[reference != NONE]
        if present.size:
            shares[i] = np.isin(present, ranking).mean()
    return shares


def _best(
    scores: Callable[[slice], NDArray[np.float32]],
    shape: tuple[int, int],
    block: int,
    limit: int,
    masks: Sequence[Mask | None],
    progress: bool | None,
) -> list[Ranking]:
    """Rank block by block and keep only the best so far, so that memory stays bounded."""
    queries, documents = shape
    best_rows = [np.full((queries, limit), NONE, dtype=np.int64) for _ in masks]
    best_scores = [np.full((queries, limit), -np.inf, dtype=np.float32) for _ in masks]
    disabled = None if progress is None else not progress
    for start in tqdm(range(0, documents, block), desc="exact search", disable=disabled):
        block_scores = scores(slice(start, start + block))
        rows = np.broadcast_to(np.arange(start, start + block_scores.shape[1]), block_scores.shape)
        for i, mask in enumerate(masks):
            kept = slice(None) if mask is None else np.flatnonzero(mask[start : start + block])
            all_scores = np.concatenate([best_scores[i], block_scores[:, kept]], axis=1)
            all_rows = np.concatenate([best_rows[i], rows[:, kept]], axis=1)
            order = np.argsort(-all_scores, axis=1, kind="stable")[:, :limit]
            best_scores[i] = np.take_along_axis(all_scores, order, axis=1)
            best_rows[i] = np.take_along_axis(all_rows, order, axis=1)
    for ranking, ranking_scores in zip(best_rows, best_scores, strict=True):
        ranking[np.isneginf(ranking_scores)] = NONE
    return best_rows
