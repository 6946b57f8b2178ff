"""The recipe of a collection that is created without one: what the encoder makes, stored by a preset."""

from __future__ import annotations

from typing import Any

from embplug.branches.images import encode_images
from embplug.encoders import Encoded, Encoder, encodes_texts, load_encoder
from embplug.errors import InvalidArgumentError
from embplug.pages import PageImage
from embplug.pages.pillow import pillow
from embplug.recipe import Dense, Recipe, Tokens
from embplug.recipe.presets import Preset, check_preset


def chosen_recipe(
    recipe: Recipe | Preset | None, engine: Any, encoder: Encoder | str | None
) -> tuple[Recipe, Encoder | str | None]:
    """Return the recipe of a new collection, and its encoder, which is loaded if the recipe depends on it.

    Parameters
    ----------
    recipe : Recipe, str or None
        A recipe, which is returned as it is; the name of a preset; or None for ``"balanced"``.
    engine : object
        Engine that the user passed.
    encoder : Encoder, str or None
        Encoder that the user passed, or its name.

    Returns
    -------
    recipe : Recipe
        The recipe. It names the encoder if the user passed a name.
    encoder : Encoder, str or None
        The encoder.

    Raises
    ------
    InvalidArgumentError
        There is no engine, or neither a recipe nor an encoder.
    RecipeError
        There is no preset of this name.
    """
    if engine is None:
        raise InvalidArgumentError("engine", "a client, or what embplug.connect takes", None)
    if isinstance(engine, Recipe) or (recipe is not None and not isinstance(recipe, str)):
        return recipe, encoder  # type: ignore[return-value]  # ``check_create`` names what is wrong.
    preset = check_preset("balanced" if recipe is None else recipe)
    if encoder is None:
        expected = "a Recipe, or encoder=, whose vectors a preset stores"
        raise InvalidArgumentError("recipe", expected, None if recipe is None else repr(recipe))
    loaded = load_encoder(encoder) if isinstance(encoder, str) else encoder
    recipe = recipe_of(loaded, preset)
    return (recipe.replaced(encoder=encoder) if isinstance(encoder, str) else recipe), loaded


def recipe_of(encoder: Encoder, preset: Preset = "balanced") -> Recipe:
    """Return a recipe that stores what an encoder makes: tokens, or else dense vectors.

    Parameters
    ----------
    encoder : Encoder
        Encoder of the collection.
    preset : {"small", "balanced", "exact"}, default="balanced"
        How it is stored.

    Returns
    -------
    Recipe

    Raises
    ------
    InvalidArgumentError
        The encoder makes no vectors.
    """
    encoded: Encoded
    if encodes_texts(encoder):
        encoded = encoder.encode_queries(["dimension"])
    else:
        encoded = encode_images(encoder, [PageImage(pillow().new("RGB", (224, 224), "white"))])
    if encoded.tokens is not None:
        return Recipe(tokens=Tokens(dim=encoded.tokens.dim, preset=preset))
    if encoded.dense is None:
        raise InvalidArgumentError("encoder", "one that makes vectors", encoder.spec)
    return Recipe(dense=Dense(dim=encoded.dense.shape[1], preset=preset))
