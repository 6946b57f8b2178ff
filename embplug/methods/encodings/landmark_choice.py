"""The landmarks that tell most about a document, of many candidates."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from embplug.methods.numeric.partition import Float32

BLOCK = 64
"""Landmarks chosen between two updates of all candidates."""

ROUNDING = np.float32(1e-5)

SHORTLIST = 4 * BLOCK
"""Candidates that take part in the choice of one block."""


def chosen_landmarks(components: Float32, variances: Float32, noise: Float32, count: int) -> NDArray[np.intp]:
    """Choose the landmarks after which least is unknown about the weights of a document.

    The weights have independent prior variances, and a landmark measures ``components @ weights`` with its
    own noise. The sum of the posterior variances is to be least (A-optimal design). The choice is greedy: one
    landmark at a time within a block, whose landmarks are taken from those that tell most alone.

    Parameters
    ----------
    components : (candidates, rank)
    variances : (rank,)
    noise : (candidates,)
        Variances, all above zero.
    count
        Number of landmarks to choose. The best are first, unless all are chosen.

    Returns
    -------
    integers (min(count, candidates),)
    """
    if count >= len(components):
        return np.arange(len(components))
    # The unit of the measurements does not matter, but products of large ones leave the range of float32.
    unit = max(float(np.mean(noise)), np.finfo(np.float32).tiny)
    variances, noise = variances / np.float32(unit), noise / np.float32(unit)
    # Row i is the posterior covariance of the weights with the measurement at candidate i.
    covariances = components * variances
    # What is smaller than the rounding of the products tells nothing.
    noise = np.maximum(noise, ROUNDING * np.einsum("ij,ij->i", components, covariances))
    free = np.ones(len(components), dtype=bool)
    chosen: list[NDArray[np.intp]] = []
    left = count
    while left:
        spread = np.einsum("ij,ij->i", components, covariances)
        gain = np.einsum("ij,ij->i", covariances, covariances) / (np.maximum(spread, 0) + noise)
        gain[~free] = -1
        shortlist = np.argsort(-gain, kind="stable")[: min(SHORTLIST, np.count_nonzero(free))]
        some = shortlist[
            _greedy(components[shortlist], covariances[shortlist], noise[shortlist], min(BLOCK, left))
        ]
        free[some] = False
        chosen.append(some)
        left -= len(some)
        if left:
            import scipy.linalg

            spread = (components[some] @ covariances[some].T).astype(np.float64)
            roots = np.sqrt(noise[some].astype(np.float64))
            # Rounding leaves values below zero where candidates are alike.
            values, vectors = scipy.linalg.eigh((spread + spread.T) / 2 / np.outer(roots, roots))
            parts = (vectors / roots[:, None]) / np.sqrt(1 + np.maximum(values, 0))
            known = parts.T.astype(np.float32) @ covariances[some]
            covariances -= (components @ (covariances[some].T @ parts.astype(np.float32))) @ known
    return np.concatenate(chosen) if chosen else np.zeros(0, dtype=np.intp)


def _greedy(components: Float32, covariances: Float32, noise: Float32, count: int) -> NDArray[np.intp]:
    """Places of ``count`` of the candidates, each the best after those before it."""
    # Everything that counts stands in the products of candidates with each other.
    spread = (components @ covariances.T).astype(np.float64)
    spread = (spread + spread.T) / 2
    squares = (covariances @ covariances.T).astype(np.float64)
    chosen = np.empty(count, dtype=np.intp)
    free = np.ones(len(components), dtype=bool)
    for i in range(count):
        variance = np.maximum(spread.diagonal(), 0) + noise
        gain = np.where(free, squares.diagonal() / variance, -1)
        best = int(np.argmax(gain))
        chosen[i], free[best] = best, False
        share = spread[:, best] / variance[best]
        known = squares[:, best].copy()
        squares += np.outer(share, share) * known[best] - np.outer(share, known) - np.outer(known, share)
        spread -= np.outer(share, spread[best])
    return chosen
