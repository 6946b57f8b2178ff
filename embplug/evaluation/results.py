"""What `evaluate` returns: the figures of each recipe, and the comparisons of each pair."""

from __future__ import annotations

import datetime
from dataclasses import asdict, dataclass, field
from importlib.metadata import version
from typing import Any

from embplug.evaluation.explained import ExplainedHit
from embplug.evaluation.machine import this_machine
from embplug.evaluation.statistics import Comparison, Figure


@dataclass(frozen=True)
class FilteredFigures:
    """Figures of searches under a filter that matches a random share of the documents.

    Attributes
    ----------
    share : float
        Share of the documents that match, 0 to 1.
    documents : int
        Number of documents that match.
    overlap : Figure
        Share of the best ten of exact filtered search that the recipe returns.
    latency_ms : dict of str to float
        ``p50``, ``p95`` and ``p99`` of one search, in milliseconds.
    """

    share: float
    documents: int
    overlap: Figure
    latency_ms: dict[str, float]


@dataclass(frozen=True)
class RecipeFigures:
    """Figures of one recipe.

    Attributes
    ----------
    name : str
        Name of the recipe.
    recipe : dict
        The recipe as JSON types.
    figures : dict of str to Figure
        Figures by measure: ``nDCG@10``, ``R@10`` and ``RR@10`` against the judgements, and ``overlap@10``
        with exact search on uncompressed vectors. ``R@k`` is there if a search has more than 10 hits.
    per_query : dict of str to list of float
        The same measures, one value per query.
    latency_ms : dict of str to float
        ``p50``, ``p95`` and ``p99`` of one search in milliseconds, from the query's vectors to the hits.
    bytes_per_document : float or None
        Bytes of the collection's segments on disk for each document, without texts. ``None`` on servers,
        which do not report it.
    state_bytes : int
        Bytes of the fitted state, which a collection stores once.
    fill_s : float
        Seconds of fitting, encoding to the stored form, writing and indexing.
    filtered : list of FilteredFigures
        Figures under filters.
    hits : list of list of str
        Ids of the first ten documents of each query.
    explained : list of ExplainedHit
        Why the best hits of a few queries are hits. Empty if the recipe has no tokens that can be told apart.
    """

    name: str
    recipe: dict[str, Any]
    figures: dict[str, Figure]
    per_query: dict[str, list[float]]
    latency_ms: dict[str, float]
    bytes_per_document: float | None
    state_bytes: int
    fill_s: float
    filtered: list[FilteredFigures]
    hits: list[list[str]]
    explained: list[ExplainedHit] = field(default_factory=list)


@dataclass(frozen=True)
class Evaluation:
    """Result of :func:`embplug.evaluate`.

    ``embplug report`` makes a page of what :meth:`to_dict` returns.

    Attributes
    ----------
    data : str
        Name of the judged collection.
    documents : int
        Number of documents that were stored.
    queries : int
        Number of queries that were searched.
    skipped : dict of str to int
        Numbers of ``documents`` and ``queries`` without a word, which cannot be encoded.
    engine : str
        Name and version of the engine.
    recipes : list of RecipeFigures
        Figures of each recipe.
    comparisons : list of Comparison
        Comparison of each pair of recipes by each measure.
    query_ids : list of str
        Id of each query.
    relevant : list of list of str
        Ids of the relevant documents of each query.
    texts : dict of str to dict
        Texts of the ``queries`` by id, and beginnings of the ``documents`` that were returned or judged
        relevant.
    machine : dict of str to object
        Processor, cores, system and version of Python on which the latency was measured.
    date : str
        Day of the evaluation, as in ``"2026-01-31"``.
    embplug : str
        Version of embplug.
    """

    data: str
    documents: int
    queries: int
    skipped: dict[str, int]
    engine: str
    recipes: list[RecipeFigures]
    comparisons: list[Comparison]
    query_ids: list[str]
    relevant: list[list[str]]
    texts: dict[str, dict[str, str]] = field(repr=False)
    machine: dict[str, Any] = field(default_factory=this_machine)
    date: str = field(default_factory=lambda: datetime.date.today().isoformat())
    embplug: str = version("embplug")

    def to_dict(self) -> dict[str, Any]:
        """Return the evaluation as JSON types."""
        return {"kind": "embplug-evaluation", **asdict(self)}
