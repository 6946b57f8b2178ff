"""The sparse vector in a recipe: BM25."""

from __future__ import annotations

from typing import Literal

from pydantic import Field
from qdrant_client import models

from embplug.recipe.part import Part

Language = Literal[
    "danish",
    "dutch",
    "english",
    "french",
    "german",
    "italian",
    "norwegian",
    "portuguese",
    "russian",
    "spanish",
    "swedish",
    "turkish",
]


class Sparse(Part):
    """Texts found by their words: BM25 over a sparse vector, with Qdrant's own IDF.

    Needs the extra ``sparse``. Documents and queries have to have texts.

    Attributes
    ----------
    language
        Of the words that are left out and of the stems; ``None`` takes every word as it is.
    k1
        The lower, the less it says that a term occurs again in a document.
    b
        How much the length of a document counts against it, from 0 to 1.
    average_length
        Terms of an average document. Default: learned from the sample, or the first documents.
    datatype
        Of the weights; Qdrant's default is float32.
    on_disk
        Keep the index on disk; Qdrant's default is memory.
    """

    language: Language | None = "english"
    k1: float = Field(1.2, ge=0.0)
    b: float = Field(0.75, ge=0.0, le=1.0)
    average_length: float | None = Field(None, gt=0.0)
    datatype: models.Datatype | None = None
    on_disk: bool | None = None
