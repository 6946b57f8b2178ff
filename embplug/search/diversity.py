"""Maximal marginal relevance: hits that are relevant and differ from each other."""

from __future__ import annotations

import numpy as np
from numpy.typing import ArrayLike
from qdrant_client import models

from embplug.errors import InvalidArgumentError
from embplug.methods.maxsim import maxsim
from embplug.methods.numeric.arrays import Float32
from embplug.methods.token_batch import TokenBatch
from embplug.search.dense_codes import dense


def mmr(relevance: ArrayLike, similarity: ArrayLike, diversity: float, limit: int) -> list[int]:
    """Choose documents by maximal marginal relevance (MMR) [1]_.

    The first document is the most relevant. Each next document has the highest
    ``(1 - diversity) * relevance - diversity * s``, where ``s`` is its highest similarity to a document that
    was chosen before.

    Parameters
    ----------
    relevance : array-like of shape (n,)
        Relevance of each document for the query.
    similarity : array-like of shape (n, n)
        Similarity of each pair of documents, on the same scale.
    diversity : float
        Weight of the similarity, from 0 (relevance alone) to 1 (difference alone).
    limit : int
        Number of documents to choose.

    Returns
    -------
    list of int
        Rows of the chosen documents, in the order in which they were chosen.

    Raises
    ------
    InvalidArgumentError
        ``diversity`` is not a number from 0 to 1.

    References
    ----------
    .. [1] Carbonell and Goldstein, "The Use of MMR, Diversity-Based Reranking for Reordering Documents and
       Producing Summaries", 1998.
    """
    if not isinstance(diversity, (int, float)) or not 0 <= diversity <= 1:
        raise InvalidArgumentError("diversity", "a number from 0 to 1", repr(diversity))
    relevant = np.asarray(relevance, dtype=np.float64)
    alike = np.asarray(similarity, dtype=np.float64)
    if not len(relevant):
        return []
    chosen = [int(relevant.argmax())]
    closest = alike[chosen[0]].copy()
    while len(chosen) < min(limit, len(relevant)):
        gain = (1 - diversity) * relevant - diversity * closest
        gain[chosen] = -np.inf
        chosen.append(int(gain.argmax()))
        closest = np.maximum(closest, alike[chosen[-1]])
    return chosen


def dense_similarities(
    query: ArrayLike, vectors: ArrayLike, distance: models.Distance
) -> tuple[Float32, Float32]:
    """Compute relevance and similarity of documents by their vectors, on the same scale.

    Parameters
    ----------
    query : array-like of shape (dim,)
        Vector of the query.
    vectors : array-like of shape (n, dim)
        Vectors of the documents.
    distance : models.Distance
        Qdrant's distance. For Cosine and Dot the values are cosines, for Euclid and Manhattan they are
        ``1 / (1 + d)`` with the Euclidean distance ``d``.

    Returns
    -------
    relevance : ndarray of shape (n,), float32
        Relevance of each document for the query.
    similarity : ndarray of shape (n, n), float32
        Similarity of each pair of documents.
    """
    rows = np.asarray(vectors, dtype=np.float32)
    by_distance = distance in (models.Distance.EUCLID, models.Distance.MANHATTAN)
    compared = [np.asarray(query, dtype=np.float32), *rows]
    scored = np.stack([dense(row, rows, "euclid" if by_distance else "cosine") for row in compared])
    if by_distance:
        scored = np.reciprocal(1 - scored)
    return scored[0], scored[1:]


def token_similarities(
    query: ArrayLike, documents: TokenBatch, original_query: TokenBatch | None = None
) -> tuple[Float32, Float32]:
    """Compute relevance and similarity of documents by MaxSim, on the same scale.

    Each MaxSim is divided by that of the query, or of the document, with itself. The similarity of two
    documents is the mean of both directions.

    Parameters
    ----------
    query : array-like of shape (t, dim)
        Tokens of the query by which documents are ranked, weighted or reduced if the recipe says so.
    documents : TokenBatch
        Tokens of n documents.
    original_query : TokenBatch, default=None
        A single document: the tokens of the query before they were weighted or reduced. None takes ``query``.

    Returns
    -------
    relevance : ndarray of shape (n,), float32
        Relevance of each document for the query.
    similarity : ndarray of shape (n, n), float32
        Similarity of each pair of documents.
    """
    query_tokens = np.asarray(query, dtype=np.float32)
    itself = TokenBatch.from_list([query_tokens]) if original_query is None else original_query
    matrices = [np.asarray(document, dtype=np.float32) for document in documents]
    directed = np.stack(
        [maxsim(tokens, documents) / max(float(np.square(tokens).sum()), 1e-12) for tokens in matrices]
    )
    relevance = maxsim(query_tokens, documents) / max(float(maxsim(query_tokens, itself)[0]), 1e-12)
    return relevance, (directed + directed.T) / 2
