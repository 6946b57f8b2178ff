"""Scores of one query vector with the vectors of candidates, or with their codes."""

from __future__ import annotations

from typing import Literal

import numpy as np
from numpy.typing import ArrayLike

from embplug.methods.numeric.arrays import Codes, Float32, as_query, as_vectors
from embplug.methods.roles import Quantizer

Metric = Literal["dot", "cosine", "euclid"]


def dense(query: ArrayLike, vectors: ArrayLike, metric: Metric = "cosine") -> Float32:
    """Compute the scores of a query with vectors.

    Parameters
    ----------
    query : array-like of shape (dim,)
        Vector of the query.
    vectors : array-like of shape (n, dim)
        Vectors of the documents.
    metric : {"dot", "cosine", "euclid"}, default="cosine"
        Dot product, cosine, or the negative Euclidean distance. The cosine with a vector of length zero is 0.

    Returns
    -------
    ndarray of shape (n,), float32
        Scores; higher is better.

    Raises
    ------
    DimensionError
        An argument has the wrong shape.
    NonFiniteError
        An argument has NaN or infinity.
    """
    compared = as_vectors(vectors, argument="vectors")
    row = as_query(query, compared.shape[1])[0][0]
    if metric == "euclid":
        return np.asarray(-np.linalg.norm(compared - row, axis=1))
    scores: Float32 = compared @ row
    if metric == "cosine":
        lengths = np.linalg.norm(compared, axis=1) * np.linalg.norm(row)
        np.divide(scores, lengths, out=scores, where=lengths > 0)
    return scores


def dense_codes(quantizer: Quantizer, query: ArrayLike, codes: Codes) -> Float32:
    """Compute the dot products of a query with codes, without decoding them.

    Parameters
    ----------
    quantizer : Quantizer
        Fitted quantizer that made the codes.
    query : array-like of shape (dim,)
        Vector of the query, which is not quantized.
    codes : ndarray of shape (n, code_bytes), uint8
        Codes of the documents.

    Returns
    -------
    ndarray of shape (n,), float32
        Dot products of the query with the vectors that the codes stand for.
    """
    return quantizer.score(quantizer.encode_query(query), codes)
