"""Models of sparse vectors that a user passes to the store of a framework."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from embplug.branches.sparse_vectors import LARGEST_INDEX, check_sparse
from embplug.collection.collection import Collection
from embplug.encoders import Encoded, Encoder
from embplug.errors import InvalidArgumentError
from embplug.recipe import Recipe


def encoded_weights(vectors: Sequence[Any], count: int, argument: str) -> Encoded:
    """Check sparse vectors and put them into a matrix.

    Parameters
    ----------
    vectors : sequence of SparseVector or the like
        Vectors with ``indices`` and ``values``.
    count : int
        Number of texts.
    argument : str
        Name of the user's argument, for the errors.

    Returns
    -------
    Encoded
        ``sparse`` alone.

    Raises
    ------
    InvalidArgumentError
        There are not as many vectors as texts, or one of them is wrong.
    """
    from scipy.sparse import csr_array

    batch = check_sparse(vectors, count, argument)
    shape = (count, LARGEST_INDEX + 1)
    return Encoded(
        sparse=csr_array((batch.values, batch.indices.astype(np.int64), batch.offsets), shape=shape)
    )


def check_sparse_model(recipe: Recipe, model: Encoder, encoder: Encoder | None, argument: str) -> None:
    """Check that a model may make the learned weights of a recipe.

    Parameters
    ----------
    recipe : Recipe
        Recipe of a collection of embplug.
    model : Encoder
        The model, which makes sparse vectors alone.
    encoder : Encoder or None
        Encoder that the user passes for the other vectors.
    argument : str
        Name of the user's argument, for the errors.

    Raises
    ------
    InvalidArgumentError
        The recipe stores no learned weights, they come from another model, or the collection would have two
        encoders of which its recipe does not tell what each makes.
    """
    sparse = recipe.sparse
    expected = None
    if sparse is None or not sparse.is_learned:
        expected = "nothing, unless the recipe has Sparse(kind='learned')"
    elif sparse.encoder not in (None, model.spec):
        expected = f"nothing, because the recipe names the model {sparse.encoder!r}"
    elif encoder is not None or (recipe.encoder is not None and sparse.encoder is None):
        expected = (
            "nothing beside an encoder, unless the recipe names both: "
            "Recipe(encoder=..., sparse=Sparse(kind='learned', encoder=...))"
        )
    if expected is not None:
        raise InvalidArgumentError(argument, expected, model.spec)


def take_sparse_model(collection: Collection, model: Encoder, encoder: Encoder | None, argument: str) -> None:
    """Let a model make the learned weights of a collection of embplug; see :func:`check_sparse_model`."""
    check_sparse_model(collection.recipe, model, encoder, argument)
    collection.reload(encoder=model)
