"""From LlamaIndex's queries to the requests of a collection."""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any, TypedDict

import numpy as np
from llama_index.core.vector_stores.types import VectorStoreQuery, VectorStoreQueryMode
from numpy.typing import ArrayLike
from qdrant_client import models

from embplug import Fusion, Recipe
from embplug.errors import InvalidArgumentError
from embplug.frameworks.arguments import check_fraction, check_integer
from embplug.frameworks.search import SearchRequest, mmr_by_relevance
from embplug.frameworks.texts import query_needs_text
from embplug.recipe.names import SPARSE_VECTOR, TOKENS_BRANCH

_VECTOR_MODES = (VectorStoreQueryMode.DEFAULT, VectorStoreQueryMode.MMR)
_SPARSE_MODES = (VectorStoreQueryMode.SPARSE, VectorStoreQueryMode.TEXT_SEARCH)
_HYBRID_MODES = (VectorStoreQueryMode.HYBRID, VectorStoreQueryMode.SEMANTIC_HYBRID)


class QueryOptions(TypedDict, total=False):
    """Options of a query; see :meth:`EmbplugVectorStore.query`."""

    query_tokens: ArrayLike | None
    qdrant_filters: models.Filter | None
    search_params: models.SearchParams | Mapping[str, Any] | None
    score_threshold: float | None
    with_stages: bool
    explain: bool
    mmr_threshold: float | None
    mmr_prefetch_factor: float | None
    mmr_prefetch_k: int | None
    consistency: models.ReadConsistency | None
    shard_key_selector: models.ShardKeySelector | None
    timeout: int | None


def to_request(
    query: VectorStoreQuery,
    recipe: Recipe,
    dense_name: str | None,
    *,
    filter: models.Filter | None,
    query_tokens: ArrayLike | None = None,
    search_params: models.SearchParams | Mapping[str, Any] | None = None,
    score_threshold: float | None = None,
    with_stages: bool = False,
    explain: bool = False,
    mmr_threshold: float | None = None,
    mmr_prefetch_factor: float | None = None,
    mmr_prefetch_k: int | None = None,
    consistency: models.ReadConsistency | None = None,
    shard_key_selector: models.ShardKeySelector | None = None,
    timeout: int | None = None,
) -> SearchRequest:
    """Return the request for a query that :func:`check_query` has accepted.

    Parameters
    ----------
    query : VectorStoreQuery
        Query of LlamaIndex.
    recipe : Recipe
        Recipe of the collection.
    dense_name : str or None
        Name of the dense vector that embeddings are.
    filter : qdrant_client.models.Filter or None
        All conditions of the query.
    query_tokens, search_params, score_threshold, with_stages, explain, consistency, shard_key_selector, \
timeout
        See :meth:`EmbplugVectorStore.query`.
    mmr_threshold, mmr_prefetch_factor, mmr_prefetch_k
        See :meth:`EmbplugVectorStore.query`.

    Returns
    -------
    SearchRequest
        Request for the collection.

    Raises
    ------
    InvalidArgumentError
        An option is wrong, or has no meaning in the mode of the query.
    """
    if isinstance(search_params, Mapping):
        search_params = models.SearchParams(**search_params)
    dense = _dense(query, recipe, dense_name)
    arguments: dict[str, Any] = {
        "tokens": query_tokens,
        "dense": dense,
        "text": _text(query, recipe, query_tokens is not None, dense, filter is not None),
        "limit": query.similarity_top_k,
        "filter": filter,
        "search_params": search_params,
        "score_threshold": score_threshold,
        "with_stages": with_stages,
        "explain": explain,
        "consistency": consistency,
        "shard_key_selector": shard_key_selector,
        "timeout": timeout,
    }
    mmr_options = {
        "mmr_threshold": mmr_threshold,
        "mmr_prefetch_factor": mmr_prefetch_factor,
        "mmr_prefetch_k": mmr_prefetch_k,
    }
    if query.mode == VectorStoreQueryMode.MMR:
        if with_stages:
            raise InvalidArgumentError("with_stages", "False in mode mmr", True)
        return SearchRequest(**arguments, mmr=_mmr(query, mmr_threshold, mmr_prefetch_factor, mmr_prefetch_k))
    for name, value in mmr_options.items():
        if value is not None:
            raise InvalidArgumentError(name, "nothing outside of mode mmr", value)
    if recipe.sparse is not None:
        arguments |= _branches(query, recipe, [*(dense or {})], query_tokens is not None)
    return SearchRequest(**arguments)


def check_query(query: VectorStoreQuery, recipe: Recipe | None, *, lacks_model: bool = False) -> None:
    """Check that a collection can answer a query.

    Parameters
    ----------
    query : VectorStoreQuery
        Query of LlamaIndex.
    recipe : Recipe or None
        Recipe of the collection; None if the collection does not exist yet.
    lacks_model : bool, default=False
        Whether the store lacks the model of the collection's sparse vector; see :func:`lacks_sparse_model`.

    Raises
    ------
    InvalidArgumentError
        The recipe cannot serve the mode, or an argument of the query is wrong.
    """
    mode = VectorStoreQueryMode(query.mode)
    modes = (*_VECTOR_MODES, *_SPARSE_MODES, *_HYBRID_MODES)
    if mode not in modes:
        known = [known_mode.value for known_mode in modes]
        raise InvalidArgumentError("query.mode", f"one of {known}", repr(mode.value))
    if mode not in _VECTOR_MODES:
        missing = _missing_part(mode, recipe, lacks_model)
        if missing is not None:
            got = "a store without" if lacks_model else "a recipe without"
            raise InvalidArgumentError("query.mode", f"{mode.value} to have {missing}", got)
    check_integer("similarity_top_k", query.similarity_top_k, 1)
    if query.output_fields is not None:
        raise InvalidArgumentError("output_fields", "none, because nodes come whole", query.output_fields)


def _missing_part(mode: VectorStoreQueryMode, recipe: Recipe | None, lacks_model: bool) -> str | None:
    """Return what the recipe lacks for a mode that searches sparse vectors."""
    if lacks_model:
        return "sparse_doc_fn or fastembed_sparse_model of the store, the model of the sparse vector"
    if recipe is None or recipe.sparse is None:
        return "Recipe(sparse=Sparse(), ...), which searches texts"
    if mode in _HYBRID_MODES and recipe.tokens is None and not recipe.dense:
        return "tokens or dense vectors in the recipe, beside the sparse vector"
    if mode == VectorStoreQueryMode.SEMANTIC_HYBRID and recipe.rerank.cross_encoder is None:
        return "Recipe(rerank=Rerank(cross_encoder=CrossEncoderStage(...)), ...)"
    return None


def _dense(query: VectorStoreQuery, recipe: Recipe, dense_name: str | None) -> dict[str, ArrayLike] | None:
    if not recipe.dense or query.query_embedding is None or query.mode in _SPARSE_MODES:
        return None
    name = query.embedding_field or dense_name
    if name is None:
        raise InvalidArgumentError("vector_name", f"one of {[*recipe.dense]}", repr(""))
    return {name: np.asarray(query.query_embedding, dtype=np.float32)}


def searches_nothing(request: SearchRequest) -> bool:
    """Return whether a request has nothing to search for, so that its filter alone chooses nodes."""
    return request.text is None and request.tokens is None and request.dense is None


def _is_filter_alone(
    query: VectorStoreQuery, has_tokens: bool, dense: Mapping[str, ArrayLike] | None, has_filter: bool
) -> bool:
    """Return whether a query has no vectors, and an empty text, or no text but filters."""
    if has_tokens or dense is not None:
        return False
    return has_filter if query.query_str is None else not query.query_str.strip()


def _text(
    query: VectorStoreQuery,
    recipe: Recipe,
    has_tokens: bool,
    dense: Mapping[str, ArrayLike] | None,
    has_filter: bool,
) -> str | None:
    """Return the text of the query if something reads it."""
    searches_sparse = query.mode in (*_SPARSE_MODES, *_HYBRID_MODES)
    if not query_needs_text(recipe, has_tokens=has_tokens, dense=dense, searches_sparse=searches_sparse):
        return None
    if _is_filter_alone(query, has_tokens, dense, has_filter):
        return None
    if query.query_str is None:
        reads_text = searches_sparse or recipe.rerank.cross_encoder is not None
        takes_embedding = recipe.tokens is None and recipe.dense and not reads_text
        expected = "query_embedding or query_str" if takes_embedding else "query_str, which is encoded"
        raise InvalidArgumentError("query", expected, "none")
    return query.query_str


def _branches(query: VectorStoreQuery, recipe: Recipe, dense: list[str], has_tokens: bool) -> dict[str, Any]:
    """Return the branches that a mode means, the number of nodes, and the fusion of the rankings."""
    if query.mode in _SPARSE_MODES:
        return {"branches": [SPARSE_VECTOR], "limit": query.sparse_top_k or query.similarity_top_k}
    vectors = [name for name in recipe.branches if name != SPARSE_VECTOR]
    if has_tokens or (recipe.tokens is None and dense):
        vectors = [*([TOKENS_BRANCH] if has_tokens else []), *dense]
    if query.mode not in _HYBRID_MODES:
        return {"branches": vectors or [SPARSE_VECTOR]}
    options: dict[str, Any] = {
        "branches": [*vectors, SPARSE_VECTOR],
        "limit": query.hybrid_top_k or query.similarity_top_k,
        "candidates": query.sparse_top_k,
    }
    if query.alpha is not None:
        check_fraction("alpha", query.alpha)
        weights = {**dict.fromkeys(vectors, query.alpha), SPARSE_VECTOR: 1 - query.alpha}
        options["fusion"] = Fusion(method="min_max", weights=weights, after_rerank=True)
    return options


def _mmr(
    query: VectorStoreQuery, threshold: float | None, factor: float | None, prefetch_k: int | None
) -> models.Mmr:
    if threshold is None:
        threshold = 0.5 if query.mmr_threshold is None else query.mmr_threshold
    if prefetch_k is not None and factor is not None:
        raise InvalidArgumentError("mmr_prefetch_factor", "nothing beside mmr_prefetch_k", factor)
    if factor is not None:
        prefetch_k = math.ceil(factor * query.similarity_top_k)
    return mmr_by_relevance(threshold, prefetch_k, argument="mmr_threshold")
