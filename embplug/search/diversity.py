"""Hits that are relevant and differ from one another: maximal marginal relevance."""

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
    """Choose documents one by one: the most relevant first, then what adds most.

    Each next one has the highest ``(1 - diversity) * relevance - diversity * s``, where ``s`` is its
    highest similarity to one already chosen.

    Parameters
    ----------
    relevance : (n,)
    similarity : (n, n)
    diversity
        0 ranks by relevance alone, 1 by difference alone.
    limit
        Number of documents to choose.

    Returns
    -------
    list of int
        Rows of what was chosen, in that order.
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
    """Relevance (n,) and similarity (n, n) on one scale: cosines, or ``1 / (1 + distance)``."""
    rows = np.asarray(vectors, dtype=np.float32)
    by_distance = distance in (models.Distance.EUCLID, models.Distance.MANHATTAN)
    compared = [np.asarray(query, dtype=np.float32), *rows]
    scored = np.stack([dense(row, rows, "euclid" if by_distance else "cosine") for row in compared])
    if by_distance:
        scored = np.reciprocal(1 - scored)
    return scored[0], scored[1:]


def token_similarities(
    query: ArrayLike, documents: TokenBatch, given: TokenBatch | None = None
) -> tuple[Float32, Float32]:
    """Relevance (n,) and similarity (n, n) on one scale: MaxSim, as a share of that with itself.

    Parameters
    ----------
    query : (t, dim)
        Tokens that rank.
    documents
        What they rank.
    given
        The query as the one document that it would be, where ``query`` was weighed or reduced; default: its
        own tokens.
    """
    asked = np.asarray(query, dtype=np.float32)
    itself = TokenBatch.from_list([asked]) if given is None else given
    matrices = [np.asarray(document, dtype=np.float32) for document in documents]
    one_way = np.stack([maxsim(one, documents) / max(float(np.square(one).sum()), 1e-12) for one in matrices])
    relevance = maxsim(asked, documents) / max(float(maxsim(asked, itself)[0]), 1e-12)
    return relevance, (one_way + one_way.T) / 2
