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
    """A sparse vector for full-text search with BM25 [1]_.

    embplug computes the weights of the terms, and Qdrant multiplies them by the inverse document frequency
    (the ``IDF`` modifier of a sparse vector [2]_). Documents and queries need texts. BM25 needs the extra
    ``sparse``: ``pip install 'embplug[sparse]'``.

    Attributes
    ----------
    language : str, default="english"
        Language of the stop words, which are left out, and of the stemmer. None keeps all words and
        does not stem them.
    k1 : float, default=1.2
        Saturation of the term frequency. The lower it is, the less it counts that a term occurs again in the
        same document.
    b : float, default=0.75
        Length normalization, from 0 (none) to 1 (full).
    average_length : float, default=None
        Mean number of terms in a document. None computes it from the sample, or else from the first
        documents.
    datatype : models.Datatype, default=None
        Datatype of the weights in the index. None is Qdrant's default, which is float32.
    on_disk : bool, default=None
        Whether the index is kept on disk. None is Qdrant's default, which is memory.

    References
    ----------
    .. [1] Robertson and Zaragoza, "The Probabilistic Relevance Framework: BM25 and Beyond", 2009.
    .. [2] Qdrant documentation, "Indexing: IDF Modifier",
       https://qdrant.tech/documentation/concepts/indexing/#idf-modifier

    Examples
    --------
    >>> from embplug import Recipe, Sparse
    >>> Recipe(sparse=Sparse(language="german")).branches
    ['sparse']
    """

    language: Language | None = "english"
    k1: float = Field(1.2, ge=0.0)
    b: float = Field(0.75, ge=0.0, le=1.0)
    average_length: float | None = Field(None, gt=0.0)
    datatype: models.Datatype | None = None
    on_disk: bool | None = None
