"""What a collection stores and how it is searched, as data."""

from __future__ import annotations

from embplug.recipe.dense import Dense
from embplug.recipe.part import Storage
from embplug.recipe.recipe import Recipe
from embplug.recipe.search import CrossEncoderStage, Fusion, Rerank
from embplug.recipe.sparse import Sparse
from embplug.recipe.tokens import Multivector, Tokens

__all__ = [
    "CrossEncoderStage",
    "Dense",
    "Fusion",
    "Multivector",
    "Recipe",
    "Rerank",
    "Sparse",
    "Storage",
    "Tokens",
]
