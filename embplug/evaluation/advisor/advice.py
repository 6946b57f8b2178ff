"""What the advisor returns: the recipes that it tried, and the one that it recommends."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field, replace
from typing import Any

import yaml

from embplug.branches.sizing import Cost, Part
from embplug.evaluation.statistics import Figure
from embplug.methods.token_diagnosis import TokenDiagnosis
from embplug.recipe import Recipe

AS_IT_IS = "as it is today"
"""Name of the trial of a collection as it is stored."""

PRICE_OF_DISK = 1 / 20
"""What a byte on disk costs, in bytes of memory: hosts take some twenty times as much for memory."""


@dataclass(frozen=True)
class TriedRecipe:
    """A recipe as measured on a sample, and what the sample predicts for the whole collection.

    Attributes
    ----------
    name : str
        Name of the recipe, which says what it stores: ``"PCA 96 int8, original on disk"``.
    recipe : Recipe
        The recipe.
    documents : int
        Number of documents in the largest sample on which the recipe was tried. A recipe that is far
        behind the others on a small sample is not tried on larger ones.
    expected_recall : float
        Predicted share of the exact best ``k`` that a search of the whole collection returns, 0 to 1. For
        the recommended recipe, it is lowered by the part of the measured recall that is luck, because the
        best of many recipes is also one of the luckiest.
    recall : Figure
        Recall as measured on the sample, with its confidence interval. It is the recall of fewer than
        ``k`` documents, because a sample has fewer relevant documents; see :func:`expected_recall`.
    latency_ms : dict of str to float
        ``p50``, ``p95`` and ``p99`` of one search on the sample, in milliseconds.
    bytes : float
        Bytes of one document in the whole collection, by which recipes are compared: those in memory, and
        those on disk at :data:`PRICE_OF_DISK`.
    memory_bytes : float
        Bytes of one document in memory.
    disk_bytes : float
        Bytes of one document on disk.
    vector_bytes : float
        Bytes of one document's vectors and codes in memory.
    state_bytes : int
        Bytes of the fitted state, which a collection stores once.
    front : bool, default=False
        Whether the recipe is on the Pareto front: no other recipe of the last round is at least as good
        in bytes, recall and latency.
    parts : list of Part
        Bytes of one document, part by part.
    """

    name: str
    recipe: Recipe
    documents: int
    expected_recall: float
    recall: Figure
    latency_ms: dict[str, float]
    bytes: float
    memory_bytes: float
    disk_bytes: float
    vector_bytes: float
    state_bytes: int
    front: bool = False
    parts: list[Part] = field(default_factory=list, repr=False)

    def to_dict(self) -> dict[str, Any]:
        """Return the measurements as JSON types, without the single parts."""
        fields = asdict(replace(self, parts=[]))
        del fields["parts"]
        return {**fields, "recipe": self.recipe.to_dict()}


@dataclass(frozen=True)
class Advice:
    """Result of :func:`advise`.

    Attributes
    ----------
    collection : str
        Name of the collection from which the sample comes.
    vector : str
        Name of the vector in that collection; empty for the unnamed vector.
    points : int
        Number of points in the collection.
    sampled : int
        Number of documents in the largest sample.
    queries : int
        Number of queries.
    held_out : bool
        Whether the queries are documents that were held out of the sample, because the caller passed
        no queries.
    k : int
        Number of best documents to which the recall refers.
    target : str
        The target in words.
    tried : list of TriedRecipe
        Recipes that were tried on the largest sample, smallest first.
    dropped : list of TriedRecipe
        Recipes that were tried on smaller samples only.
    recommended : str
        Name of the best recipe that meets the target, or of the one that comes closest.
    met : bool
        Whether the recommended recipe meets the target: it keeps the limit of bytes, or the lower bound of
        its recall reaches the target. With a chance of 90 %, all tried recipes are above their bounds.
    chance : float or None
        Chance that a search of the whole collection with the recommended recipe reaches the target of recall,
        0 to 1. None if the target is a limit of bytes.
    costs : list of Cost
        Costs of the recommended recipe today, at ten and at a hundred times as many documents.
    diagnosis : TokenDiagnosis or None
        How the tokens of the sample lie, and which encoding suits them. None for dense vectors.
    untried : dict of str to str
        Recipes that need a package that is not installed, with what to install.
    """

    collection: str
    vector: str
    points: int
    sampled: int
    queries: int
    held_out: bool
    k: int
    target: str
    tried: list[TriedRecipe]
    dropped: list[TriedRecipe]
    recommended: str
    met: bool
    chance: float | None
    costs: list[Cost]
    diagnosis: TokenDiagnosis | None = None
    untried: dict[str, str] = field(default_factory=dict)

    @property
    def best(self) -> TriedRecipe:
        """The recommended recipe with its measurements."""
        return next(trial for trial in self.tried if trial.name == self.recommended)

    @property
    def recipe(self) -> Recipe:
        """The recommended recipe."""
        return self.best.recipe

    def to_yaml(self) -> str:
        """Return the recommended recipe as YAML, without fields that have their default value."""
        short = yaml.safe_dump(self.recipe.model_dump(mode="json", exclude_unset=True), sort_keys=False)
        return short if Recipe.from_yaml(short) == self.recipe else self.recipe.to_yaml()

    def to_dict(self) -> dict[str, Any]:
        """Return the advice as JSON types."""
        return {
            **asdict(replace(self, tried=[], dropped=[])),
            "tried": [trial.to_dict() for trial in self.tried],
            "dropped": [trial.to_dict() for trial in self.dropped],
            "recipe": self.recipe.to_dict(),
            "diagnosis": None if self.diagnosis is None else self.diagnosis.to_dict(),
        }
