"""The sparse vector in a recipe: BM25, or weights that a model has learned."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator
from qdrant_client import models
from typing_extensions import Self

from embplug.errors import RecipeError
from embplug.recipe.part import Part

BM25_FIELDS = ("language", "k1", "b", "average_length")

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
    """A sparse vector, for full-text search with BM25 [1]_ or with weights that a model has learned [3]_.

    For BM25, embplug computes the weights of the terms, and Qdrant multiplies them by the inverse document
    frequency (the ``IDF`` modifier of a sparse vector [2]_). Documents and queries need texts. BM25 needs the
    extra ``sparse``: ``pip install 'embplug[sparse]'``.

    Learned weights, such as those of SPLADE, miniCOIL or BGE-M3, come from the user, as ``sparse`` in
    :meth:`Collection.add` and :meth:`Collection.search`. With an encoder that makes them, ``encoder`` or that
    of the recipe, texts are enough.

    Attributes
    ----------
    kind : {"bm25", "learned"}, default="bm25"
        Where the weights of terms come from.
    encoder : str, default=None
        Name of the encoder of learned weights; see :func:`~embplug.load_encoder`. None takes those of the
        recipe's encoder.
    modifier : models.Modifier, default=None
        Whether Qdrant multiplies weights by the inverse document frequency. None does so for BM25, and not
        for learned weights. miniCOIL needs ``"idf"``.
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
       https://qdrant.tech/documentation/manage-data/indexing/#idf-modifier
    .. [3] Formal et al., "SPLADE: Sparse Lexical and Expansion Model for First Stage Ranking", SIGIR 2021,
       arXiv:2107.05720.

    Examples
    --------
    >>> from embplug import Recipe, Sparse
    >>> Recipe(sparse=Sparse(language="german")).branches
    ['sparse']
    >>> learned = Recipe(sparse=Sparse(kind="learned", encoder="fastembed:prithivida/Splade_PP_en_v1"))
    """

    kind: Literal["bm25", "learned"] = "bm25"
    encoder: str | None = Field(None, min_length=1)
    modifier: models.Modifier | None = None
    language: Language | None = "english"
    k1: float = Field(1.2, ge=0.0)
    b: float = Field(0.75, ge=0.0, le=1.0)
    average_length: float | None = Field(None, gt=0.0)
    datatype: models.Datatype | None = None
    on_disk: bool | None = None

    @property
    def is_learned(self) -> bool:
        """Whether weights come from a model or from the user, and not from BM25."""
        return self.kind == "learned"

    def vector_params(self) -> models.SparseVectorParams:
        """Qdrant's parameters of the sparse vector."""
        index = None
        if self.on_disk is not None or self.datatype is not None:
            index = models.SparseIndexParams(on_disk=self.on_disk, datatype=self.datatype)
        modifier = self.modifier if self.is_learned else models.Modifier.IDF
        return models.SparseVectorParams(modifier=modifier, index=index)

    @model_validator(mode="after")
    def _is_of_one_kind(self) -> Self:
        if self.is_learned:
            for name in BM25_FIELDS:
                if getattr(self, name) != type(self).model_fields[name].default:
                    raise RecipeError(name, "no value, because kind is 'learned'", getattr(self, name))
            return self
        if self.encoder is not None:
            raise RecipeError("encoder", "no encoder, because kind is 'bm25'", self.encoder)
        if self.modifier not in (None, models.Modifier.IDF):
            raise RecipeError("modifier", "'idf', because kind is 'bm25'", self.modifier.value)
        return self
