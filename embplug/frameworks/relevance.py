"""Relevance from 0 to 1, made of scores."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
from qdrant_client import models

from embplug.collection.collection import Collection
from embplug.errors import InvalidArgumentError


def relevance_scale(collection: Collection, query: str, dense_name: str | None) -> Callable[[float], float]:
    """Return the function that maps scores of a search to relevance.

    MaxSim is divided by the MaxSim of the query with itself. Scores of dense vectors are mapped by their
    distance: cosine linearly, dot products by the logistic function, and Euclidean or Manhattan
    distances ``d`` to ``1 / (1 + d)``.

    Parameters
    ----------
    collection : Collection
        Collection that was searched.
    query : str
        Text of the query; the encoder reads it if the recipe has tokens.
    dense_name : str or None
        Name of the dense vector that gives the score, if the recipe has no tokens.

    Returns
    -------
    callable
        Function of a score that returns its relevance, a float from 0 to 1.

    Raises
    ------
    InvalidArgumentError
        The last scores have no scale: those of fused rankings or of a cross-encoder.
    """
    recipe = collection.recipe
    after = recipe.fusion.after_rerank
    with_sparse = recipe.sparse is not None and (recipe.tokens is None or after is not False)
    with_dense = bool(recipe.tokens and recipe.dense and after)
    if with_sparse or with_dense or recipe.rerank.cross_encoder is not None:
        expected = "one whose last scores have a scale, for relevance from 0 to 1"
        raise InvalidArgumentError("recipe", expected, "fused rankings or a cross-encoder")
    if recipe.tokens is not None:
        tokens = collection.encoder.encode_queries([query]).tokens
        if tokens is not None:
            return maxsim_relevance(float(np.square(tokens.values, dtype=np.float32).sum()))
    return dense_relevance(recipe.dense[str(dense_name)].distance)


def maxsim_relevance(highest: float) -> Callable[[float], float]:
    """Return the function that maps MaxSim to relevance.

    Parameters
    ----------
    highest : float
        MaxSim of the query with itself. If it is 0, so is every relevance.

    Returns
    -------
    callable
        Function of a score that returns its relevance, a float from 0 to 1.
    """
    return lambda score: _clipped(score / highest) if highest else 0.0


def dense_relevance(distance: models.Distance) -> Callable[[float], float]:
    """Return the function that maps scores of dense vectors to relevance.

    Parameters
    ----------
    distance : qdrant_client.models.Distance
        Distance of the vectors.

    Returns
    -------
    callable
        Function of a score that returns its relevance, a float from 0 to 1.
    """
    if distance == models.Distance.COSINE:
        return lambda score: _clipped((score + 1) / 2)
    if distance == models.Distance.DOT:
        return lambda score: float((np.tanh(score / 2) + 1) / 2)
    return lambda score: 1 / (1 + score)


def _clipped(relevance: float) -> float:
    return min(max(relevance, 0.0), 1.0)
