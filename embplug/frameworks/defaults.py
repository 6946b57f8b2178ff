"""What a store assumes where the user says nothing, and what it adds to a recipe."""

from __future__ import annotations

from typing import Any

from qdrant_client import models

from embplug.collection.default_recipe import recipe_of
from embplug.encoders import Encoder, load_encoder
from embplug.errors import InvalidArgumentError
from embplug.recipe import Dense, Recipe


def as_encoder(encoder: Encoder | str | None) -> Encoder | None:
    """Return an encoder, which is loaded if only its name is passed.

    Parameters
    ----------
    encoder : Encoder, str or None
        An encoder of embplug, or its name.

    Returns
    -------
    Encoder or None
        The encoder; None for None.

    Raises
    ------
    InvalidArgumentError
        It is something else.
    """
    loaded: Any = load_encoder(encoder) if isinstance(encoder, str) else encoder
    if loaded is None or isinstance(loaded, Encoder):
        return loaded
    raise InvalidArgumentError("encoder", "an embplug Encoder or its name", type(loaded).__name__)


def default_recipe(
    dim: int | None, encoder: Encoder | None, vector_name: str, distance: models.Distance
) -> Recipe:
    """Return the recipe of a new collection for which the user has none.

    The preset ``"balanced"`` stores the dense vectors, or the tokens if the encoder makes tokens.

    Parameters
    ----------
    dim : int or None
        Dimension of the framework's embeddings. If it is None, the encoder decides.
    encoder : Encoder or None
        Encoder of the collection.
    vector_name : str
        Name of the dense vector; the empty string takes the usual name.
    distance : qdrant_client.models.Distance
        Distance of the dense vectors.

    Returns
    -------
    Recipe
        Recipe of the new collection.

    Raises
    ------
    InvalidArgumentError
        There are neither embeddings nor an encoder that makes vectors.
    """
    if dim is None:
        if encoder is None:
            expected = "embedding, encoder or recipe, for a new collection"
            raise InvalidArgumentError("embedding", expected, None)
        recipe = recipe_of(encoder)
        if recipe.tokens is not None:
            return recipe
        (own,) = recipe.dense.values()
        dim = own.dim
    dense = Dense(dim=dim, distance=distance, preset="balanced")
    return Recipe(dense={vector_name: dense} if vector_name else dense)


def with_text_key(recipe: Recipe, text_key: str | None, default: str) -> Recipe:
    """Return the recipe with the payload field in which the framework keeps the text.

    Parameters
    ----------
    recipe : Recipe
        Recipe of the collection.
    text_key : str or None
        Payload field that the user names.
    default : str
        Payload field if neither the user nor the recipe names one.

    Returns
    -------
    Recipe
        A copy, or the recipe itself if it names the field and the user does not.
    """
    if text_key is None and "text_key" in recipe.model_fields_set:
        return recipe
    return recipe.model_copy(update={"text_key": text_key or default})
