"""The advisor tries recipes on a sample of a collection and recommends one of them."""

from __future__ import annotations

from embplug.evaluation.advisor.advice import AS_IT_IS, Advice, TriedRecipe
from embplug.evaluation.advisor.fitting import learned_state
from embplug.evaluation.advisor.prediction import expected_recall, ranks_to_measure
from embplug.evaluation.advisor.recommend import advise, advise_on
from embplug.evaluation.advisor.sample import MATRIX_QUERIES, QUERIES, CollectionSample, sample_steps
from embplug.evaluation.advisor.target import Target
from embplug.evaluation.advisor.trials import FEWEST, try_indexed

__all__ = [
    "AS_IT_IS",
    "FEWEST",
    "MATRIX_QUERIES",
    "QUERIES",
    "Advice",
    "CollectionSample",
    "Target",
    "TriedRecipe",
    "advise",
    "advise_on",
    "expected_recall",
    "learned_state",
    "ranks_to_measure",
    "sample_steps",
    "try_indexed",
]
