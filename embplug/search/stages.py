"""The stages of a search that the engine runs, and the ranker of their candidates."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qdrant_client import models

from embplug.recipe import Fusion
from embplug.search.code_cache import CodeCache
from embplug.search.cross_encoder import CrossEncoder
from embplug.search.payload_rerank import PayloadRerank


@dataclass(frozen=True)
class Stage:
    """One ranking by the engine, of all documents or of those that inner stages find.

    Attributes
    ----------
    name : str
        Name under which hits report the score of this stage.
    using : str or None
        Name of the vector in Qdrant; ``None`` where rankings are fused.
    query : Any
        Query of Qdrant's query API; a vector or a matrix as an array.
    params : models.SearchParams, default=None
        Search parameters of Qdrant.
    among : tuple of Stage, default=()
        The stages that find the documents that this stage ranks (Qdrant's prefetch).
    widening : int, default=1
        The stages in ``among`` find this many times as many documents as this stage returns.
    filter : models.Filter, default=None
        Filter of this stage, in addition to the user's filter.
    previous : PreviousModelStage, default=None
        The same ranking of documents that only have a vector of the previous model.
    rerank : PayloadRerank, default=None
        Ranks the results of this stage again in this process, by codes in the payload.
    lower_is_better : bool, default=False
        Whether the scores are distances, of which the lowest is the best.
    """

    name: str
    using: str | None
    query: Any
    params: models.SearchParams | None = None
    among: tuple[Stage, ...] = ()
    widening: int = 1
    filter: models.Filter | None = None
    previous: PreviousModelStage | None = None
    rerank: PayloadRerank | None = None
    lower_is_better: bool = False


@dataclass(frozen=True)
class PreviousModelStage:
    """A stage in the vector space of the previous model.

    Attributes
    ----------
    stage : Stage
        Finds the documents that have no vector of the new model.
    factor, offset : float
        ``factor * score + offset`` brings a score of this stage to the scale of the new model.
    """

    stage: Stage
    factor: float
    offset: float


@dataclass(frozen=True, eq=False)
class Ranker:
    """Ranks the candidates of all branches again.

    Attributes
    ----------
    branch : str
        Branch whose vectors rank.
    in_engine : Stage or None
        Scores vectors that Qdrant stores; its candidates are filled in by the plan. ``None`` where
        Qdrant stores none.
    by_codes : PayloadRerank or None
        Scores codes that come back with the candidates. It ranks first where both are present.
    exact : int or None
        With both: this many of the best documents by codes are scored again by ``in_engine``.
    shortlist : PayloadRerank, default=None
        Scores short codes, which come back with the candidates in place of the codes, or a part of the codes.
        ``None`` where there is neither.
    shortlisted : int, default=None
        Number of the best documents by the shortlist that ``by_codes`` scores. ``None`` has no shortlist.
    """

    branch: str
    in_engine: Stage | None
    by_codes: PayloadRerank | None = None
    exact: int | None = None
    shortlist: PayloadRerank | None = None
    shortlisted: int | None = None

    @property
    def reads_short_codes(self) -> bool:
        """Whether the shortlist has a payload field of its own."""
        return (
            self.shortlist is not None
            and self.by_codes is not None
            and self.shortlist.field != self.by_codes.field
        )


@dataclass(frozen=True, eq=False)
class PreparedQuery:
    """A query in the form in which it is compared.

    Attributes
    ----------
    finders : dict of str to Stage
        By branch: the stage that finds documents.
    ranker : Ranker or None
        Ranks the documents that the finders find.
    fusion : Fusion
        How the rankings of several branches become one.
    candidates : int
        Number of documents that are ranked again.
    text : str or None
        Text of the query, which the cross-encoder reads.
    cross_encoder : CrossEncoder, default=None
        The last stage.
    cross_encoded : int, default=0
        Number of hits that the cross-encoder ranks.
    payload_later : bool, default=False
        Whether one more request for the payloads of the hits costs less than those of all candidates.
    cache : CodeCache, default=None
        Codes that were read before. None reads codes with the documents.
    """

    finders: dict[str, Stage]
    ranker: Ranker | None
    fusion: Fusion
    candidates: int
    text: str | None = None
    cross_encoder: CrossEncoder | None = None
    cross_encoded: int = 0
    payload_later: bool = False
    cache: CodeCache | None = None


def nearest(vector: NDArray[Any]) -> NDArray[np.float32]:
    """A vector or a matrix as the query of a stage, which is not validated number by number."""
    return np.ascontiguousarray(vector, dtype=np.float32)
