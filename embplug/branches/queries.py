"""Queries as users pass them, checked once at this edge; inside, code trusts the arrays."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embplug.branches.datatypes import datatype_of_user
from embplug.branches.documents import (
    TokensLike,
    check_dense,
    check_query_tokens,
    check_takes_sparse,
    named_dense,
)
from embplug.branches.images import naming_image, page_image
from embplug.branches.sparse_vectors import SparseBatch, check_sparse_query
from embplug.common.unicode_text import check_text
from embplug.common.validation import short_repr
from embplug.errors import DimensionError, InvalidArgumentError, LengthMismatchError
from embplug.methods.numeric.arrays import as_array
from embplug.methods.token_batch import TokenBatch
from embplug.methods.token_checks import checked_weights
from embplug.pages import PageImage
from embplug.recipe import Recipe, Tokens
from embplug.search.types import Query


@dataclass(frozen=True, eq=False)
class CheckedQuery:
    """A query whose arrays were checked; what is absent may still come from the encoder.

    Attributes
    ----------
    tokens : TokenBatch or None
        One token matrix.
    dense : dict of str to float32 (1, dim)
        Vectors by the name of their branch.
    text : str or None
        The text, for the sparse branch and the encoder.
    sparse : SparseBatch or None
        One sparse vector of learned weights.
    token_weights : float32 (t,) or None
        How much each token counts.
    saliency : float32 (t,) or None
        How much each token matters, for a recipe that prunes queries.
    spans : int (t, 2) or None
        Characters of ``text`` that each token stands for, where the encoder knows them.
    image : PageImage or None
        The image, for the encoder.
    """

    tokens: TokenBatch | None = None
    dense: dict[str, NDArray[np.float32]] = field(default_factory=dict)
    text: str | None = None
    token_weights: NDArray[np.float32] | None = None
    saliency: NDArray[np.float32] | None = None
    spans: NDArray[Any] | None = None
    image: PageImage | None = None
    sparse: SparseBatch | None = None


def check_query(query: Query, recipe: Recipe) -> CheckedQuery:
    """Check what a user passes as a query.

    Raises
    ------
    InvalidArgumentError
        An argument is wrong. The error, often of a subclass, names it.
    """
    if query.text is not None and not (isinstance(query.text, str) and query.text.strip()):
        raise InvalidArgumentError("text", "a text that is not empty", short_repr(query.text))
    if query.text is not None:
        check_text(query.text, "text")
    tokens = None
    if query.tokens is not None:
        if recipe.tokens is None:
            raise InvalidArgumentError("tokens", "none, because the recipe has no tokens", "a token matrix")
        tokens = _check_tokens(query.tokens, recipe.tokens)
    weights = _check_token_weights(query.token_weights, tokens)
    saliency = None
    if query.saliency is not None:
        if tokens is None or recipe.tokens is None or not recipe.tokens.prunes_queries:
            got = "no tokens" if tokens is None else "a recipe that does not"
            raise InvalidArgumentError("saliency", "tokens, and a recipe that prunes queries by it", got)
        saliency = checked_weights(query.saliency, len(tokens.values), "saliency")
    dense = {}
    for name, argument, vector in named_dense(query.dense, recipe):
        vector_recipe = recipe.dense[name]
        row = _check_query_vector(vector, vector_recipe.dim, argument)
        try:
            dense[name] = check_dense(row, vector_recipe.dim, 1, argument, datatype_of_user(vector_recipe))
        except InvalidArgumentError as error:
            # The user passed one vector, and no rows.
            own = error.argument.removesuffix("[0]")
            raise type(error)(own, error.expected, error.got) from None
    image = None
    if query.image is not None:
        image = page_image(query.image, "image", on_large="downscale")
        with naming_image(image, "image"):
            image.check()
    sparse = None
    if query.sparse is not None:
        check_takes_sparse(recipe)
        sparse = check_sparse_query(query.sparse)
    return CheckedQuery(tokens, dense, query.text, weights, saliency, image=image, sparse=sparse)


def _check_query_vector(vector: Any, dim: int, argument: str) -> NDArray[Any]:
    """One vector as a matrix of one row."""
    try:
        array = as_array(vector)
    except (TypeError, ValueError) as error:
        raise DimensionError(argument, f"one vector of shape ({dim},)", str(error)) from None
    if array.shape not in ((dim,), (1, dim)):
        several = array.ndim == 2 and array.shape[1] == dim
        raise (LengthMismatchError if several else DimensionError)(
            argument, f"one vector of shape ({dim},)", f"shape {array.shape}"
        )
    return array.reshape(1, dim)


def _check_tokens(tokens: Any, recipe: Tokens) -> TokenBatch:
    if isinstance(tokens, TokenBatch):
        return check_query_tokens(tokens, recipe, 1)
    try:
        return check_query_tokens(_as_batch(tokens, recipe.dim), recipe, 1)
    except InvalidArgumentError as error:
        argument = error.argument.replace("tokens[0]", "tokens")
        raise type(error)(argument, error.expected, error.got) from None


def _as_batch(tokens: Any, dim: int) -> TokensLike:
    """One document for the checks, which look twice at what is no matrix of float32 or float16 yet."""
    kept = isinstance(tokens, np.ndarray) and tokens.dtype in (np.float32, np.float16)
    if kept and tokens.shape[1:] == (dim,):
        return TokenBatch(tokens.astype(np.float32, copy=False), np.array([0, len(tokens)]))
    return [tokens]


def _check_token_weights(weights: Any, tokens: TokenBatch | None) -> NDArray[np.float32] | None:
    if weights is None:
        return None
    if tokens is None:
        raise InvalidArgumentError("token_weights", "none, because the query has no tokens", "weights")
    checked = checked_weights(weights, len(tokens.values))
    negative = np.flatnonzero(checked < 0)
    if negative.size:
        raise InvalidArgumentError(f"token_weights[{negative[0]}]", "at least 0", checked[negative[0]])
    return checked
