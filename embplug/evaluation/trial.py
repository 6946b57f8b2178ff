"""Trial of a recipe: a collection is filled, measured, searched query by query, and deleted."""

from __future__ import annotations

import time
import uuid
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray
from qdrant_client import models
from tqdm import tqdm

from embplug.branches.documents import Documents, Sample
from embplug.collection.collection import Collection
from embplug.common.threads import single_blas_thread
from embplug.encoders import Encoded, Encoder
from embplug.engines import Engine
from embplug.errors import InvalidArgumentError
from embplug.evaluation.exact import Mask, Ranking, exact_dense, exact_tokens
from embplug.recipe import Recipe
from embplug.search.explain import Explanation
from embplug.search.types import Query

BATCH_DOCUMENTS = 250
RANK_KEY = "embplug_random"
"""Payload field of a random rank, by which a filter selects a share of the documents."""


@dataclass(frozen=True, eq=False)
class TrialData:
    """Documents and queries of a trial; document ``i`` is stored under the id ``i``.

    Attributes
    ----------
    documents : Encoded
        Vectors of the documents.
    queries : Encoded
        Vectors of the queries.
    document_texts : sequence of str, default=None
        Texts of the documents, for recipes with BM25 or a cross-encoder, and for explanations.
    query_texts : sequence of str, default=None
        Texts of the queries, for the same recipes.
    payloads : sequence of mapping or None, default=None
        Payloads of the documents. ``None`` stores none.
    """

    documents: Encoded
    queries: Encoded
    document_texts: Sequence[str] | None = None
    query_texts: Sequence[str] | None = None
    payloads: Sequence[Mapping[str, Any]] | None = None

    @property
    def document_count(self) -> int:
        """Number of documents."""
        return len(self.documents)

    @property
    def query_count(self) -> int:
        """Number of queries."""
        return len(self.queries)


@dataclass(frozen=True, eq=False)
class SearchRun:
    """Rankings and durations of one run of all queries.

    Attributes
    ----------
    share : float or None
        Share of the documents that match the filter, 0 to 1; ``None`` without a filter.
    rankings : list of list of int
        Rows of documents for each query, best first.
    seconds : list of float
        Duration of each query in seconds, from its vectors to the hits.
    """

    share: float | None
    rankings: list[list[int]]
    seconds: list[float]


@dataclass(frozen=True, eq=False)
class Trial:
    """Measurements of one recipe.

    Attributes
    ----------
    searches : list of SearchRun
        The run without a filter, then one run for each filter.
    disk_bytes : int or None
        Bytes of the collection's segments on disk: vectors, indexes and codes. ``None`` on a server, which
        does not report it.
    state_bytes : int
        Bytes of the fitted state, which a collection stores once.
    fill_s : float
        Seconds of fitting, encoding, writing and indexing.
    explained : dict of int to Explanation
        Why the best hits of some queries are hits, by the rows of the queries.
    """

    searches: list[SearchRun]
    disk_bytes: int | None
    state_bytes: int
    fill_s: float
    explained: dict[int, Explanation]


def try_recipe(
    engine: Engine,
    recipe: Recipe,
    data: TrialData,
    *,
    limit: int = 10,
    shares: Sequence[float] = (),
    sample: Sample | None = None,
    encoder: Encoder | None = None,
    seed: int = 0,
    progress: bool | None = False,
    explained: Sequence[int] = (),
) -> Trial:
    """Fill a new collection with all documents, search all queries one by one, and delete the collection.

    Parameters
    ----------
    engine : Engine
        Client of the engine.
    recipe : Recipe
        Recipe to try.
    data : TrialData
        Documents and queries.
    limit : int, default=10
        Number of hits of a search.
    shares : sequence of float, default=()
        Shares of the documents, 0 to 1. Searches are repeated under filters that match these random shares.
    sample : Sample, default=None
        Data to which the methods of the recipe are fitted. Default: the first documents.
    encoder : Encoder, default=None
        Encoder to use in place of the one that the recipe names, so that none has to be loaded.
    seed : int, default=0
        Seed of the filters.
    progress : bool or None, default=False
        Whether to show progress bars. ``None`` shows them on a terminal only.
    explained : sequence of int, default=()
        Rows of the queries whose best hits are explained, if the recipe has tokens that can be told apart.

    Returns
    -------
    Trial
        The measurements.

    Raises
    ------
    InvalidArgumentError
        The recipe has vectors that the data lacks.
    """
    if shares:
        indexes = {**recipe.payload_indexes, RANK_KEY: models.PayloadSchemaType.INTEGER}
        recipe = recipe.model_copy(update={"payload_indexes": indexes})
    collection = Collection.create(
        f"embplug-trial-{uuid.uuid4().hex[:12]}", recipe, engine, sample=sample, encoder=encoder
    )
    try:
        fill_s = fill(collection, data, shares=shares, seed=seed, progress=progress)
        info = collection.info()
        searches = [search_all(collection, data, limit, share, progress) for share in (None, *shares)]
        explanations = _explained(collection, data, searches[0], explained)
    finally:
        collection.drop()
    return Trial(searches, info.disk_bytes, info.state_bytes, fill_s, explanations)


def _explained(
    collection: Collection, data: TrialData, run: SearchRun, rows: Sequence[int]
) -> dict[int, Explanation]:
    """Explain the best hits of some queries. Their texts are stored now, when the bytes are measured."""
    recipe, texts = collection.recipe, data.document_texts
    tokens = recipe.tokens
    if tokens is None or (tokens.codes is None and tokens.multivector is None):
        return {}
    best = {row: run.rankings[row][0] for row in rows if run.rankings[row]}
    if texts is not None and best:
        collection.add_batches([_documents(recipe, data, [*{*best.values()}], texts)], progress=False)
    queries = {row: _query(recipe, data, row) for row in best}
    # An encoder tells where the tokens of a text stand, and vectors alone do not.
    known = data.query_texts if collection.has_encoder else None
    return {
        row: collection.explain(hit, tokens=queries[row].tokens, saliency=queries[row].saliency)
        if known is None
        else collection.explain(hit, text=known[row])
        for row, hit in best.items()
    }


def fill(
    collection: Collection,
    data: TrialData,
    *,
    shares: Sequence[float] = (),
    seed: int = 0,
    progress: bool | None = False,
) -> float:
    """Add all documents and build the indexes.

    Parameters
    ----------
    collection : Collection
        Empty collection.
    data : TrialData
        Documents and queries.
    shares : sequence of float, default=()
        If there are any, documents get random ranks, by which :func:`search_all` filters.
    seed : int, default=0
        Seed of the ranks.
    progress : bool or None, default=False
        Whether to show a progress bar. ``None`` shows it on a terminal only.

    Returns
    -------
    float
        Duration in seconds.
    """
    ranks = random_ranks(data.document_count, seed) if shares else None
    started = time.perf_counter()
    collection.add_batches(_batches(collection.recipe, data, ranks), progress=progress)
    collection.optimize()
    return time.perf_counter() - started


def search_all(
    collection: Collection,
    data: TrialData,
    limit: int = 10,
    share: float | None = None,
    progress: bool | None = False,
    candidates: int | None = None,
) -> SearchRun:
    """Search all queries one by one.

    Parameters
    ----------
    collection : Collection
        Collection that :func:`fill` has filled.
    data : TrialData
        Documents and queries.
    limit : int, default=10
        Number of hits of a search.
    share : float, default=None
        Share of the documents that a filter lets through, 0 to 1. ``None`` searches without a filter.
    progress : bool or None, default=False
        Whether to show a progress bar. ``None`` shows it on a terminal only.
    candidates : int, default=None
        Number of documents to rerank. ``None`` takes the number of the recipe.

    Returns
    -------
    SearchRun
        Rankings and durations.
    """
    condition = None if share is None else _below(matching(share, data.document_count))
    queries = [_query(collection.recipe, data, i) for i in range(data.query_count)]
    rankings, seconds = [], []
    disabled = None if progress is None else not progress
    with single_blas_thread():
        # The first query runs twice, because the very first search also loads files.
        for query in tqdm([*queries[:1], *queries], desc="searching", disable=disabled):
            started = time.perf_counter()
            hits = collection.search(
                tokens=query.tokens,
                dense=query.dense,
                text=query.text,
                saliency=query.saliency,
                sparse=query.sparse,
                limit=limit,
                filter=condition,
                candidates=candidates,
                with_payload=False,
            )
            seconds.append(time.perf_counter() - started)
            rankings.append([int(hit.id) for hit in hits])
    return SearchRun(share, rankings[1:], seconds[1:])


def exact_rankings(
    recipe: Recipe,
    data: TrialData,
    limit: int,
    shares: Sequence[float] = (),
    seed: int = 0,
    progress: bool | None = False,
) -> list[Ranking]:
    """Rank all documents by exact search on uncompressed vectors.

    Documents are compared by MaxSim if the recipe has tokens, and by its dense vector otherwise.

    Parameters
    ----------
    recipe : Recipe
        Recipe that decides which vectors are compared.
    data : TrialData
        Documents and queries.
    limit : int
        Length of each ranking.
    shares : sequence of float, default=()
        Shares of the documents, 0 to 1, that filters let through.
    seed : int, default=0
        Seed of the filters.
    progress : bool or None, default=False
        Whether to show a progress bar. ``None`` shows it on a terminal only.

    Returns
    -------
    list of int64 arrays of shape (n_queries, limit)
        Rows of documents without a filter, then under the filter of each share. The list is empty if
        the recipe has neither tokens nor a dense vector, because BM25 search is exact already.
    """
    count = data.document_count
    ranks = random_ranks(count, seed)
    masks: list[Mask | None] = [None, *(ranks < matching(share, count) for share in shares)]
    if recipe.tokens is not None:
        queries, documents = _need(data.queries.tokens, "tokens"), _need(data.documents.tokens, "tokens")
        return exact_tokens(queries, documents, limit, masks, progress)
    if not recipe.dense:
        return []
    distance = next(iter(recipe.dense.values())).distance
    queries, documents = _need(data.queries.dense, "dense"), _need(data.documents.dense, "dense")
    return exact_dense(queries, documents, limit, masks, distance)


def random_ranks(count: int, seed: int) -> NDArray[np.int64]:
    """Draw a random rank for each document; the ranks below ``share * count`` are a random share.

    Parameters
    ----------
    count : int
        Number of documents.
    seed : int
        Seed of the permutation.

    Returns
    -------
    int64 array of shape (count,)
        A permutation of 0 to ``count - 1``.
    """
    return np.random.default_rng(seed).permutation(count)


def matching(share: float, count: int) -> int:
    """Compute the number of documents in a share of them; it is at least 1."""
    return max(1, round(share * count))


def _batches(recipe: Recipe, data: TrialData, ranks: NDArray[np.int64] | None) -> Iterator[Documents]:
    texts = _need(data.document_texts, "sparse") if reads_texts(recipe) else None
    for start in range(0, data.document_count, BATCH_DOCUMENTS):
        rows = range(start, min(start + BATCH_DOCUMENTS, data.document_count))
        yield _documents(recipe, data, rows, texts, ranks)


def _documents(
    recipe: Recipe,
    data: TrialData,
    rows: Sequence[int],
    texts: Sequence[str] | None,
    ranks: NDArray[np.int64] | None = None,
) -> Documents:
    """Documents with what the recipe stores, and with texts if there are any."""
    encoded = data.documents.take(rows)
    payloads = [{} if data.payloads is None else dict(data.payloads[row]) for row in rows]
    if ranks is not None:
        for payload, row in zip(payloads, rows, strict=True):
            payload[RANK_KEY] = int(ranks[row])
    saliency = None
    if recipe.tokens is not None and recipe.tokens.prunes:
        saliency = [_saliency(encoded, i) for i in range(len(rows))]
    return Documents(
        [*rows],
        tokens=None if recipe.tokens is None else _need(encoded.tokens, "tokens").to_float32(),
        dense=_need(encoded.dense, "dense") if recipe.dense else None,
        texts=None if texts is None else [texts[row] for row in rows],
        payloads=payloads,
        saliency=saliency,
        sparse=_need(encoded.sparse, "sparse") if takes_weights(recipe) else None,
    )


def reads_texts(recipe: Recipe) -> bool:
    """Tell whether a recipe needs texts besides vectors."""
    has_bm25 = recipe.sparse is not None and not recipe.sparse.is_learned
    return has_bm25 or recipe.rerank.cross_encoder is not None


def takes_weights(recipe: Recipe) -> bool:
    """Tell whether a recipe stores learned weights of terms."""
    return recipe.sparse is not None and recipe.sparse.is_learned


def _query(recipe: Recipe, data: TrialData, row: int) -> Query:
    queries = data.queries
    prunes = recipe.tokens is not None and recipe.tokens.prunes_queries
    return Query(
        _need(queries.tokens, "tokens")[row] if recipe.tokens is not None else None,
        _need(queries.dense, "dense")[row] if recipe.dense else None,
        _need(data.query_texts, "sparse")[row] if reads_texts(recipe) else None,
        saliency=_saliency(queries, row) if prunes else None,
        sparse=_need(queries.sparse, "sparse").tocsr()[[row]] if takes_weights(recipe) else None,
    )


def _below(count: int) -> models.Filter:
    condition = models.FieldCondition(key=RANK_KEY, range=models.Range(lt=count))
    return models.Filter(must=[condition])


def _saliency(encoded: Encoded, row: int) -> NDArray[np.float32]:
    """Return the saliency of the tokens of one text."""
    saliency = encoded.saliency_of(row)
    if saliency is None:
        expected = "an encoder (or a cache) with the saliency of tokens, by which the recipe prunes"
        raise InvalidArgumentError("encoder", expected, "none")
    return saliency


def _need(vectors: Any, name: str) -> Any:
    if vectors is None:
        raise InvalidArgumentError(f"recipe.{name}", "only vectors that the encoder makes", name)
    return vectors
