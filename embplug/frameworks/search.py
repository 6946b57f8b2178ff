"""A search as a framework asks for it, in the arguments of a collection."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import ArrayLike
from qdrant_client import models

from embplug.frameworks.arguments import check_fraction
from embplug.recipe import Fusion

MMR_CANDIDATES = 100
"""Number of candidates of maximal marginal relevance, if the user names none."""


@dataclass(frozen=True, kw_only=True)
class SearchRequest:
    """One search in a collection; see ``Collection.search`` for what each argument means.

    Parameters
    ----------
    tokens, dense, text
        Inputs of the query: its token matrix, its dense vectors by name, and its text.
    limit : int
        Number of hits, without those that ``offset`` leaves out.
    offset : int, default=0
        Number of best hits to leave out.
    filter : qdrant_client.models.Filter, default=None
        Condition on the payload.
    search_params : qdrant_client.models.SearchParams, default=None
        Parameters of Qdrant's search. ``exact=True`` compares the query with every document.
    score_threshold : float, default=None
        Lowest score of a hit, on the scale of the last stage.
    with_stages : bool, default=False
        Return the score of each stage with each hit.
    explain : bool, default=False
        Return with each hit which token of the query met which of its tokens.
    mmr : qdrant_client.models.Mmr, default=None
        Choose hits by maximal marginal relevance.
    candidates : int, default=None
        Number of candidates that are reranked. None takes the recipe's.
    branches : sequence of str, default=None
        Names of the branches to search in. None searches in all.
    fusion : Fusion, default=None
        Fusion of the rankings, in place of the recipe's.
    consistency, shard_key_selector, timeout
        Options of Qdrant's requests.
    """

    tokens: ArrayLike | None = None
    dense: ArrayLike | Mapping[str, ArrayLike] | None = None
    text: str | None = None
    limit: int
    offset: int = 0
    filter: models.Filter | None = None
    search_params: models.SearchParams | None = None
    score_threshold: float | None = None
    with_stages: bool = False
    explain: bool = False
    mmr: models.Mmr | None = None
    candidates: int | None = None
    branches: Sequence[str] | None = None
    fusion: Fusion | None = None
    consistency: models.ReadConsistency | None = None
    shard_key_selector: models.ShardKeySelector | None = None
    timeout: int | None = None

    @property
    def arguments(self) -> dict[str, Any]:
        """Arguments of ``Collection.search``."""
        arguments: dict[str, Any] = {
            "tokens": self.tokens,
            "dense": self.dense,
            "text": self.text,
            "limit": self.limit + self.offset,
            "filter": self.filter,
            "search_params": self.search_params,
            "score_threshold": self.score_threshold,
            "explain": self.explain,
            "consistency": self.consistency,
            "shard_key_selector": self.shard_key_selector,
            "timeout": self.timeout,
        }
        if self.mmr is not None:
            return arguments | {"mmr": self.mmr}
        return arguments | {
            "exact": self.search_params is not None and bool(self.search_params.exact),
            "with_stages": self.with_stages,
            "candidates": self.candidates,
            "branches": self.branches,
            "fusion": self.fusion,
        }


def mmr_by_relevance(
    relevance: float, candidates_limit: int | None = None, *, argument: str = "lambda_mult"
) -> models.Mmr:
    """Return Qdrant's parameters of maximal marginal relevance for those of the frameworks.

    Frameworks weigh the relevance, Qdrant weighs the diversity; the two sum to 1.

    Parameters
    ----------
    relevance : float
        1 ranks by relevance alone, 0 by diversity alone.
    candidates_limit : int, default=None
        Number of best documents to choose from. None takes 100.
    argument : str, default="lambda_mult"
        Name of the argument ``relevance`` in the framework, for the error.

    Returns
    -------
    qdrant_client.models.Mmr
        Diversity and number of candidates.

    Raises
    ------
    InvalidArgumentError
        ``relevance`` is no number from 0 to 1.
    """
    check_fraction(argument, relevance)
    limit = MMR_CANDIDATES if candidates_limit is None else candidates_limit
    return models.Mmr(diversity=1 - relevance, candidates_limit=limit)
