"""How sure it is that the best of many tried recipes reaches a recall, and how much luck made it the best."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np
from numpy.typing import NDArray

from embplug.evaluation.advisor.prediction import expected_recalls

CONFIDENCE = 0.9
"""Chance with which the recommended recipe reaches a target of recall, all tried recipes counted in."""

RESAMPLES = 1000

Values = NDArray[np.float64]


@dataclass(frozen=True, eq=False)
class RecallBounds:
    """Predicted recalls of several recipes that were tried with the same queries, and their uncertainty.

    Attributes
    ----------
    expected : float64 array of shape (n_recipes,)
        Predicted recall of each recipe.
    resampled : float64 array of shape (n_recipes, n_resamples)
        The same predictions from queries that were drawn again with replacement (bootstrap).
    deviation : float64 array of shape (n_recipes,)
        Standard error of each prediction.
    margin : float64 array of shape (n_recipes,)
        ``expected - margin`` is a lower bound. All recipes together are above their bounds with a chance of
        ``CONFIDENCE``, so that the bound also holds for the recipe that is chosen because it looks best.
    """

    expected: Values
    resampled: Values
    deviation: Values
    margin: Values

    @classmethod
    def of(
        cls, shares: Sequence[Mapping[int, Values]], k: int, count: int, points: int, seed: int = 0
    ) -> RecallBounds:
        """Compute the bounds from what each query of each recipe has returned.

        Parameters
        ----------
        shares : sequence of mapping of int to float64 array of shape (n_queries,)
            For each recipe and each number of best documents: the share of them that each query returned.
        k, count, points : int
            See :func:`expected_recalls`.
        seed : int, default=0
            Seed of the resampling.

        Returns
        -------
        RecallBounds
            Predictions and bounds.
        """
        queries = len(next(iter(shares[0].values())))
        drawn = np.random.default_rng(seed).multinomial(
            queries, np.full(queries, 1 / queries), size=RESAMPLES
        )
        # The first column weighs all queries alike.
        weights = np.concatenate([np.ones((1, queries)), drawn]).T / queries
        predictions = np.stack(
            [
                expected_recalls({rank: share @ weights for rank, share in ranks.items()}, k, count, points)
                for ranks in shares
            ]
        )
        expected, resampled = predictions[:, 0], predictions[:, 1:]
        changes = resampled - expected[:, None]
        # Queries without a miss have no spread. One more query might have missed one of its documents.
        deviation = np.sqrt(np.square(changes).mean(axis=1) + (k * (queries + 1)) ** -2.0)
        quantile = max(
            float(np.quantile((changes / deviation[:, None]).max(axis=0), CONFIDENCE)),
            NormalDist().inv_cdf(CONFIDENCE),
        )
        return cls(expected, resampled, deviation, quantile * deviation)

    def luck(self, choose: Callable[[Values], int]) -> float:
        """Estimate by how much the prediction of the chosen recipe is too high because it was chosen.

        Parameters
        ----------
        choose : callable
            Returns the index of the recipe that is chosen by predictions of shape (n_recipes,).

        Returns
        -------
        float
            Mean difference, over the resamples, between the prediction by which a recipe is chosen there and
            the prediction of the same recipe by all queries.

        References
        ----------
        Efron (1983). "Estimating the error rate of a prediction rule: improvement on cross-validation".
        Journal of the American Statistical Association 78, 316-331.
        """
        chosen = [choose(column) for column in self.resampled.T]
        lucky = self.resampled[chosen, np.arange(len(chosen))]
        return float((lucky - self.expected[chosen]).mean())

    def chance(self, index: int, recall: float, luck: float) -> float:
        """Compute the chance that a recipe reaches a recall in the whole collection.

        Parameters
        ----------
        index : int
            Index of the recipe.
        recall : float
            Recall to reach.
        luck : float
            Result of :meth:`luck`.

        Returns
        -------
        float
            Chance, 0 to 1.
        """
        return 1 - NormalDist(float(self.expected[index]) - luck, float(self.deviation[index])).cdf(recall)
