"""Scores of one query vector with the vectors of candidates, or with their codes."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from embplug.methods.numeric.arrays import Codes, Float32, as_query, as_vectors
from embplug.methods.roles import Quantizer

Metric = Literal["dot", "cosine", "euclid"]


def dense(query: ArrayLike, vectors: ArrayLike, metric: Metric = "cosine") -> Float32:
    """Scores (n,) of a query (dim,) with vectors (n, dim), higher is better.

    ``euclid`` is the negative distance. The cosine with a vector of length zero is 0.

    Raises
    ------
    DimensionError, NonFiniteError
        Naming the argument.
    """
    compared = as_vectors(vectors, argument="vectors")
    asked = as_query(query, compared.shape[1])[0][0]
    if metric == "euclid":
        return np.asarray(-np.linalg.norm(compared - asked, axis=1))
    scores: Float32 = compared @ asked
    if metric == "cosine":
        lengths = np.linalg.norm(compared, axis=1) * np.linalg.norm(asked)
        np.divide(scores, lengths, out=scores, where=lengths > 0)
    return scores


def dense_codes(quantizer: Quantizer, query: ArrayLike, codes: Codes) -> Float32:
    """Dot products (n,) of an exact query (dim,) with what the codes stand for."""
    return quantizer.score(quantizer.encode_query(query), codes)
