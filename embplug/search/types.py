"""What goes into a search and what comes out of it."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from numpy.typing import ArrayLike
from qdrant_client import models

from embplug.recipe import Fusion


@dataclass(frozen=True)
class Hit:
    """One document found.

    Attributes
    ----------
    id
        As it was given to ``add``; UUIDs as strings.
    score
        Of the last stage: MaxSim (a sum over query tokens) where tokens are reranked.
    payload
        ``None`` when it was not asked for.
    stages
        On request, the score of each stage by its name: ``{"fde": …, "maxsim": …}``. A stage in
        which the document was not found is absent.
    skipped
        Stages that failed and were passed over, with the reason.
    """

    id: int | str
    score: float
    payload: dict[str, Any] | None = None
    stages: dict[str, float] | None = None
    skipped: dict[str, str] | None = None


@dataclass(frozen=True)
class Query:
    """What is looked for: any of a token matrix, dense vectors and a text.

    Attributes
    ----------
    tokens
        ``(t, dim)``.
    dense
        ``(dim,)``, or one such vector per name.
    text
        For the sparse branch, the cross-encoder, and the recipe's encoder to make what is not given.
    token_weights
        ``(t,)``, how much each token counts; see :class:`~embplug.methods.encodings.token_idf.TokenIDF`.
    saliency
        ``(t,)``, how much each token matters, for a recipe that prunes queries by it. Default: as the
        encoder says.
    """

    tokens: ArrayLike | None = None
    dense: ArrayLike | Mapping[str, ArrayLike] | None = None
    text: str | None = None
    token_weights: ArrayLike | None = None
    saliency: ArrayLike | None = None


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """How a search is run; see ``Collection.search``."""

    limit: int = 10
    filter: models.Filter | None = None
    candidates: int | None = None
    exact: bool = False
    with_payload: bool | Sequence[str] = True
    with_stages: bool = False
    score_threshold: float | None = None
    search_params: models.SearchParams | None = None
    branches: Sequence[str] | None = None
    fusion: Fusion | None = None
    mmr: models.Mmr | None = None
    cross_encode: bool = True


def by_score(hits: Iterable[Hit]) -> list[Hit]:
    """Hits from the highest score to the lowest; equal scores keep their order."""
    return sorted(hits, key=lambda hit: -hit.score)
