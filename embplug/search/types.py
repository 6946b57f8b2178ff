"""The query, the options and the hits of a search."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, fields
from typing import Any

from numpy.typing import ArrayLike
from qdrant_client import models

from embplug.engines.request_options import ReadOptions
from embplug.pages import ImageLike
from embplug.recipe import Fusion
from embplug.search.explain import Explanation, TokenMatch


@dataclass(frozen=True)
class Hit:
    """A document that a search returns.

    Attributes
    ----------
    id : int or str
        Id that the user passed to ``add``. UUIDs are strings.
    score : float
        Score of the last stage. If tokens rerank, it is MaxSim, a sum over the tokens of the query.
    payload : dict, default=None
        Payload as the user passed it, with the text of the document if there is one. The fields that embplug
        adds, such as codes, are left out. None if the search has ``with_payload=False``.
    stages : dict of str to float, default=None
        Score of each stage by its name, such as ``{"fde": 12.3, "maxsim": 9.8}``. ``"fde"`` is the name of
        the stage that searches by the encoding of tokens, for every encoding. A stage that does not find the
        document is absent. None unless the search has ``with_stages=True``.
    skipped : dict of str to str, default=None
        Reason for each stage that failed and was skipped, by its name. None if no stage failed.
    vector : dict of str to Any, default=None
        Vectors by name, as Qdrant stores them: after the transforms of the recipe. None unless they are asked
        for by ``with_vectors``.
    explanation : Explanation, default=None
        Which token of the query met which token of the document. None unless the search has ``explain=True``,
        or if nothing is stored of the document's tokens.
    """

    id: int | str
    score: float
    payload: dict[str, Any] | None = None
    stages: dict[str, float] | None = None
    skipped: dict[str, str] | None = None
    vector: dict[str, Any] | None = None
    explanation: Explanation | None = None

    @property
    def matches(self) -> list[TokenMatch] | None:
        """The match of each token of the query, with its share of the score of the tokens."""
        return None if self.explanation is None else self.explanation.matches


@dataclass(frozen=True)
class Query:
    """A query: tokens, dense vectors, a text, an image, or several of them.

    Attributes
    ----------
    tokens : array-like of shape (t, dim), default=None
        Token vectors of the query. None lets the recipe's encoder make them from ``image`` or
        ``text``.
    dense : array-like of shape (dim,) or mapping of str to array-like, default=None
        Dense vector of the query, or a vector for each name. None lets the recipe's encoder make it from
        ``image`` or ``text``.
    text : str, default=None
        Text of the query, for the encoder, the sparse vector and the cross-encoder.
    sparse : mapping of int to float or models.SparseVector, default=None
        Weights of terms by index, for a recipe with ``Sparse(kind="learned")``. None lets the encoder make
        them from ``text``.
    token_weights : array-like of shape (t,), default=None
        Weight of each token, at least 0. None weighs all tokens alike.
    saliency : array-like of shape (t,), default=None
        How much each token matters, for a recipe whose ``query_reduction`` prunes by it. None takes the
        saliency that the encoder computes.
    image : PIL.Image.Image, path, bytes, PdfPage or PageImage, default=None
        Image of the query. The encoder makes the vectors that are not passed of it, and not of ``text``.
    """

    tokens: ArrayLike | None = None
    dense: ArrayLike | Mapping[str, ArrayLike] | None = None
    text: str | None = None
    token_weights: ArrayLike | None = None
    saliency: ArrayLike | None = None
    image: ImageLike | None = None
    sparse: Mapping[int, float] | models.SparseVector | None = None


@dataclass(frozen=True, kw_only=True)
class SearchOptions:
    """Options of a search; see ``Collection.search`` for each.

    ``batch`` is whether errors name a query by its place, as the user passed several.
    """

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
    formula: models.FormulaQuery | None = None
    cross_encode: bool = True
    with_vectors: bool | Sequence[str] = False
    explain: bool = False
    batch: bool = False
    reading: ReadOptions = field(default_factory=ReadOptions)


def query_of(arguments: Mapping[str, Any]) -> Query:
    """Make a query of the arguments of a method, which has a parameter for each field."""
    return Query(**{name: arguments[name] for name in _QUERY})


def options_of(arguments: Mapping[str, Any]) -> SearchOptions:
    """Make options of the arguments of a method, whose parameters have the names of the fields."""
    reading = ReadOptions(**{name: arguments[name] for name in _READ_OPTIONS})
    options = {name: arguments[name] for name in _SEARCH_OPTIONS if name in arguments}
    return SearchOptions(**options, reading=reading)


_QUERY, _SEARCH_OPTIONS, _READ_OPTIONS = (
    tuple(own.name for own in fields(kind)) for kind in (Query, SearchOptions, ReadOptions)
)
