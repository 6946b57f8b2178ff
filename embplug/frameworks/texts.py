"""Whether the text of a document or query goes along: a text that nothing reads stays behind."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from embplug.recipe import Recipe


def documents_need_text(
    recipe: Recipe, *, has_tokens: bool, dense: Mapping[str, Any] | None, has_sparse: bool = False
) -> bool:
    """Return True if the encoder or the sparse vectors of a recipe read the text of new documents.

    Parameters
    ----------
    recipe : Recipe
        Recipe of the collection.
    has_tokens : bool
        True if token matrices are added with the documents.
    dense : mapping or None
        Dense vectors that are added with the documents, by name.
    has_sparse : bool, default=False
        True if sparse vectors are added with the documents.

    Returns
    -------
    bool
        Whether the text has to go along.
    """
    encodes_tokens = recipe.tokens is not None and not has_tokens
    encodes_dense = len(recipe.dense) > len(dense or {})
    return encodes_tokens or encodes_dense or (recipe.sparse is not None and not has_sparse)


def query_needs_text(
    recipe: Recipe, *, has_tokens: bool, dense: Mapping[str, Any] | None, searches_sparse: bool
) -> bool:
    """Return True if the encoder, the sparse vectors or the cross-encoder read the text of a query.

    Parameters
    ----------
    recipe : Recipe
        Recipe of the collection.
    has_tokens : bool
        True if the query has a token matrix.
    dense : mapping or None
        Dense vectors of the query, by name.
    searches_sparse : bool
        True if the query is compared with sparse vectors too.

    Returns
    -------
    bool
        Whether the text has to go along.
    """
    has_vectors = has_tokens or (recipe.tokens is None and dense is not None)
    return searches_sparse or recipe.rerank.cross_encoder is not None or not has_vectors
