"""A recipe tried on given vectors: a collection is filled, weighed, searched query by query, and dropped."""

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
from embplug.search.types import Query

BATCH_DOCUMENTS = 250
RANK_KEY = "embplug_random"
"""Payload field of a random rank, by which a given share of the documents is filtered."""


@dataclass(frozen=True, eq=False)
class Material:
    """Vectors of documents and of queries; document ``i`` is stored under the id ``i``.

    Attributes
    ----------
    document_texts, query_texts
        For recipes that read words.
    payloads
        Of the documents, where they are stored too.
    """

    documents: Encoded
    queries: Encoded
    document_texts: Sequence[str] | None = None
    query_texts: Sequence[str] | None = None
    payloads: Sequence[Mapping[str, Any]] | None = None

    @property
    def document_count(self) -> int:
        """Number of documents."""
        return _count(self.documents)

    @property
    def query_count(self) -> int:
        """Number of queries."""
        return _count(self.queries)


@dataclass(frozen=True, eq=False)
class Search:
    """What a search of all queries found and how long each took.

    Attributes
    ----------
    share
        Of the documents that match the filter; ``None`` without one.
    found
        Rows of documents, best first, for each query.
    seconds
        Of each query, from its vectors to the hits.
    """

    share: float | None
    found: list[list[int]]
    seconds: list[float]


@dataclass(frozen=True, eq=False)
class Trial:
    """What was measured of one recipe.

    Attributes
    ----------
    searches
        First without a filter, then under each.
    disk_bytes
        Of the collection's segments as measured: vectors, indexes, codes; ``None`` on a server, which
        does not tell.
    state_bytes
        Of what was learned, stored once.
    fill_s
        Learning, encoding, writing and indexing.
    """

    searches: list[Search]
    disk_bytes: int | None
    state_bytes: int
    fill_s: float


def try_recipe(
    engine: Engine,
    recipe: Recipe,
    material: Material,
    *,
    limit: int = 10,
    shares: Sequence[float] = (),
    sample: Sample | None = None,
    encoder: Encoder | None = None,
    seed: int = 0,
    progress: bool | None = False,
) -> Trial:
    """Fill a collection of its own with all documents, and search all queries one after the other.

    Parameters
    ----------
    limit
        Number of hits of a search.
    shares
        Search also under filters that match these shares of the documents, drawn at random.
    sample
        Data from which the recipe's methods learn. Default: the first documents.
    encoder
        In place of the one that the recipe names, so that none has to be loaded.

    Raises
    ------
    InvalidArgumentError
        The recipe has vectors that the material lacks.
    """
    if shares:
        indexes = {**recipe.payload_indexes, RANK_KEY: models.PayloadSchemaType.INTEGER}
        recipe = recipe.model_copy(update={"payload_indexes": indexes})
    collection = Collection.create(
        f"embplug-trial-{uuid.uuid4().hex[:12]}", recipe, engine, sample=sample, encoder=encoder
    )
    try:
        fill_s = fill(collection, material, shares=shares, seed=seed, progress=progress)
        info = collection.info()
        searches = [search_all(collection, material, limit, share, progress) for share in (None, *shares)]
    finally:
        collection.drop()
    return Trial(searches, info.disk_bytes, info.state_bytes, fill_s)


def fill(
    collection: Collection,
    material: Material,
    *,
    shares: Sequence[float] = (),
    seed: int = 0,
    progress: bool | None = False,
) -> float:
    """Add all documents and build the indexes; returns the seconds that it took.

    With ``shares``, documents get random ranks, by which :func:`search_all` filters.
    """
    ranks = random_ranks(material.document_count, seed) if shares else None
    started = time.perf_counter()
    collection.add_batches(_batches(collection.recipe, material, ranks), progress=progress)
    collection.optimize()
    return time.perf_counter() - started


def search_all(
    collection: Collection,
    material: Material,
    limit: int = 10,
    share: float | None = None,
    progress: bool | None = False,
    candidates: int | None = None,
) -> Search:
    """Search all queries one after the other, under a filter that a share of the documents matches.

    ``candidates`` is how many are ranked anew, in place of what the recipe says.
    """
    given = None if share is None else _below(matching(share, material.document_count))
    queries = [_query(collection.recipe, material, i) for i in range(material.query_count)]
    found, seconds = [], []
    disabled = None if progress is None else not progress
    with single_blas_thread():
        # The first is asked twice: what is loaded by the first search of all is not its time.
        for query in tqdm([*queries[:1], *queries], desc="searching", disable=disabled):
            started = time.perf_counter()
            hits = collection.search(
                tokens=query.tokens,
                dense=query.dense,
                text=query.text,
                saliency=query.saliency,
                limit=limit,
                filter=given,
                candidates=candidates,
                with_payload=False,
            )
            seconds.append(time.perf_counter() - started)
            found.append([int(hit.id) for hit in hits])
    return Search(share, found[1:], seconds[1:])


def exact_rankings(
    recipe: Recipe,
    material: Material,
    limit: int,
    shares: Sequence[float] = (),
    seed: int = 0,
    progress: bool | None = False,
) -> list[Ranking]:
    """What exact search on uncompressed vectors finds: without a filter, then under each share.

    By MaxSim where the recipe has tokens, by its dense vector otherwise; empty where it has neither:
    words are searched exactly.
    """
    count = material.document_count
    ranks = random_ranks(count, seed)
    masks: list[Mask | None] = [None, *(ranks < matching(share, count) for share in shares)]
    if recipe.tokens is not None:
        asked, documents = (
            _need(material.queries.tokens, "tokens"),
            _need(material.documents.tokens, "tokens"),
        )
        return exact_tokens(asked, documents, limit, masks, progress)
    if not recipe.dense:
        return []
    distance = next(iter(recipe.dense.values())).distance
    asked, documents = _need(material.queries.dense, "dense"), _need(material.documents.dense, "dense")
    return exact_dense(asked, documents, limit, masks, distance)


def random_ranks(count: int, seed: int) -> NDArray[np.int64]:
    """A random rank of each document: those below ``share * count`` are a random share of them."""
    return np.random.default_rng(seed).permutation(count)


def matching(share: float, count: int) -> int:
    """Number of documents in a share of them; at least one."""
    return max(1, round(share * count))


def _batches(recipe: Recipe, material: Material, ranks: NDArray[np.int64] | None) -> Iterator[Documents]:
    documents, count = material.documents, material.document_count
    for start in range(0, count, BATCH_DOCUMENTS):
        rows = slice(start, min(start + BATCH_DOCUMENTS, count))
        payloads = [dict(one) for one in (material.payloads or [{}] * count)[rows]]
        if ranks is not None:
            for payload, rank in zip(payloads, ranks[rows].tolist(), strict=True):
                payload[RANK_KEY] = rank
        tokens = dense = texts = saliency = None
        if recipe.tokens is not None:
            tokens = _need(documents.tokens, "tokens")[rows].to_float32()
            if recipe.tokens.prunes:
                saliency = [_saliency(documents, row) for row in range(rows.start, rows.stop)]
        if recipe.dense:
            dense = _need(documents.dense, "dense")[rows]
        if reads_words(recipe):
            texts = _need(material.document_texts, "sparse")[rows]
        yield Documents(range(rows.start, rows.stop), tokens, dense, texts, payloads, saliency)


def reads_words(recipe: Recipe) -> bool:
    """Whether a recipe needs texts beside vectors."""
    return recipe.sparse is not None or recipe.rerank.cross_encoder is not None


def _query(recipe: Recipe, material: Material, row: int) -> Query:
    queries = material.queries
    prunes = recipe.tokens is not None and recipe.tokens.prunes_queries
    return Query(
        _need(queries.tokens, "tokens")[row] if recipe.tokens is not None else None,
        _need(queries.dense, "dense")[row] if recipe.dense else None,
        _need(material.query_texts, "sparse")[row] if reads_words(recipe) else None,
        saliency=_saliency(queries, row) if prunes else None,
    )


def _below(count: int) -> models.Filter:
    condition = models.FieldCondition(key=RANK_KEY, range=models.Range(lt=count))
    return models.Filter(must=[condition])


def _saliency(encoded: Encoded, row: int) -> NDArray[np.float32]:
    """Of the tokens of one text."""
    saliency = encoded.saliency_of(row)
    if saliency is None:
        expected = "one that tells the saliency of tokens, by which the recipe prunes; a cache written so"
        raise InvalidArgumentError("encoder", expected, "none")
    return saliency


def _need(vectors: Any, name: str) -> Any:
    if vectors is None:
        raise InvalidArgumentError(f"recipe.{name}", "only vectors that the encoder makes", name)
    return vectors


def _count(encoded: Encoded) -> int:
    vectors = encoded.tokens if encoded.dense is None else encoded.dense
    return 0 if vectors is None else len(vectors)
