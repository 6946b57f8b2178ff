"""Keywords of langchain-qdrant: those that have a meaning here, and those that have none."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, NoReturn

from qdrant_client import models

from embplug import Dense, Fusion, Recipe, Sparse
from embplug.common.validation import short_repr
from embplug.errors import InvalidArgumentError
from embplug.frameworks.peer_keywords import RECIPE_KEYWORDS, check_keywords
from embplug.recipe.names import SPARSE_VECTOR
from langchain_embplug.sparse_texts import SparseTexts

MODES = ("dense", "sparse", "hybrid")
BM25 = "qdrant/bm25"

_VECTOR_PARAMS = {
    "on_disk": "on_disk",
    "hnsw_config": "hnsw",
    "quantization_config": "quantization",
    "datatype": "datatype",
}
"""Parameters of vectors, with the field of :class:`~embplug.Dense` that is the same."""

_COLLECTION_OPTIONS = (
    "shard_number",
    "sharding_method",
    "replication_factor",
    "write_consistency_factor",
    "on_disk_payload",
)

_INSTEAD = {
    **RECIPE_KEYWORDS,
    "sparse_vector_name": "nothing: the sparse vector of a recipe has a name of its own",
    "sparse_vector_params": "nothing: use recipe=Recipe(sparse=Sparse(...), ...)",
    "multivector_config": "nothing: use recipe=Recipe(tokens=Tokens(...))",
}


@dataclass(frozen=True)
class PeerKeywords:
    """Keywords of langchain-qdrant that have a meaning here.

    Parameters
    ----------
    retrieval_mode : {"dense", "sparse", "hybrid"} or RetrievalMode, default=None
        What a search compares. None takes all that the recipe has.
    sparse_embedding : SparseEmbeddings, default=None
        For a collection that embplug did not make, and for a recipe with ``Sparse(kind="learned")``: the
        model of its sparse vector. For others the model ``Qdrant/bm25``, which embplug computes itself.
    vector_params : mapping, default=None
        Parameters of the dense vector in a new collection.
    collection_create_options : mapping, default=None
        Options of a new collection.
    validate_embeddings, validate_collection_config : bool, default=None
        Without effect: both are always checked.
    """

    retrieval_mode: Any = None
    sparse_embedding: Any = None
    vector_params: Mapping[str, Any] | None = None
    collection_create_options: Mapping[str, Any] | None = None
    validate_embeddings: bool | None = None
    validate_collection_config: bool | None = None

    def __post_init__(self) -> None:
        if self.mode is not None and self.mode not in MODES:
            raise InvalidArgumentError("retrieval_mode", f"one of {[*MODES]}", repr(self.retrieval_mode))
        model = self.sparse_embedding
        if not (model is None or _is_bm25(model) or _embeds(model)):
            self._refuse_sparse_embedding()

    def check_computed_here(self) -> None:
        """Refuse a sparse model of a collection that stores no learned weights.

        Raises
        ------
        InvalidArgumentError
            It is another model than BM25.
        """
        if self.sparse_embedding is not None and not _is_bm25(self.sparse_embedding):
            self._refuse_sparse_embedding()

    def _refuse_sparse_embedding(self) -> NoReturn:
        expected = (
            "FastEmbedSparse(model_name='Qdrant/bm25'), which is BM25 and computed by embplug; "
            "for other models see Recipe(sparse=Sparse(kind='learned'))"
        )
        raise InvalidArgumentError("sparse_embedding", expected, short_repr(self.sparse_embedding))

    @property
    def sparse_encoder(self) -> SparseTexts | None:
        """The sparse model as an encoder; None if there is none that embeds texts."""
        return SparseTexts(self.sparse_embedding) if _embeds(self.sparse_embedding) else None

    @classmethod
    def taken_from(cls, keywords: Mapping[str, Any]) -> PeerKeywords:
        """Take the keywords that have a meaning, and refuse all others.

        Raises
        ------
        InvalidArgumentError
            langchain-qdrant has the keyword; the error names what to use instead.
        TypeError
            No store has the keyword.
        """
        known = cls.__dataclass_fields__
        check_keywords({name: value for name, value in keywords.items() if name not in known}, _INSTEAD)
        return cls(**{name: value for name, value in keywords.items() if name in known})

    @property
    def mode(self) -> str | None:
        """Name of the mode."""
        if self.retrieval_mode is None:
            return None
        return str(getattr(self.retrieval_mode, "value", self.retrieval_mode))

    def check_recipe(self, recipe: Recipe | None) -> None:
        """Check that nothing says twice what a new collection stores."""
        for name in ("vector_params", "collection_create_options"):
            if recipe is not None and getattr(self, name):
                raise InvalidArgumentError(name, "nothing beside recipe", "both")

    @property
    def has_bm25(self) -> bool:
        """Whether a new collection has BM25 beside the vectors, or alone."""
        return self.mode in ("sparse", "hybrid") or (self.mode is None and self.sparse_embedding is not None)

    def adapted(self, recipe: Recipe) -> Recipe:
        """Return the recipe of a new collection for which the user has none.

        Raises
        ------
        InvalidArgumentError
            An option has no meaning here; the error names what to use instead.
        """
        fields = dict(self.collection_create_options or {})
        for name in fields:
            if name not in _COLLECTION_OPTIONS:
                expected = RECIPE_KEYWORDS.get(name, f"options among {[*_COLLECTION_OPTIONS]}")
                place = f"collection_create_options[{name!r}]"
                raise InvalidArgumentError(place, expected, short_repr(fields[name]))
        if self.vector_params and recipe.dense:
            fields["dense"] = {name: self._dense(dense) for name, dense in recipe.dense.items()}
        elif self.vector_params:
            raise InvalidArgumentError("vector_params", "nothing without dense vectors", "parameters")
        if self.has_bm25:
            fields["sparse"] = Sparse()
        return recipe.replaced(**fields) if fields else recipe

    def branches(self, recipe: Recipe) -> list[str] | None:
        """Return the branches that the mode searches; None searches all.

        Raises
        ------
        InvalidArgumentError
            The recipe lacks what the mode searches.
        """
        vectors = [name for name in recipe.branches if name != SPARSE_VECTOR]
        if self.mode in ("sparse", "hybrid") and recipe.sparse is None:
            expected = f"'dense', or a recipe with sparse=Sparse() for {self.mode!r}"
            raise InvalidArgumentError("retrieval_mode", expected, "a collection without")
        if self.mode in ("dense", "hybrid") and not vectors:
            raise InvalidArgumentError(
                "retrieval_mode", "'sparse', because there are no other vectors", self.mode
            )
        if self.mode == "sparse":
            return [SPARSE_VECTOR]
        return vectors if self.mode == "dense" and recipe.sparse is not None else None

    def _dense(self, dense: Dense) -> Dense:
        parameters = self.vector_params or {}
        for name in parameters:
            if name not in _VECTOR_PARAMS:
                expected = f"parameters among {[*_VECTOR_PARAMS]}"
                raise InvalidArgumentError(f"vector_params[{name!r}]", expected, short_repr(parameters[name]))
        own = {_VECTOR_PARAMS[name]: value for name, value in parameters.items()}
        if own.keys() & {"quantization", "datatype"}:
            # They say what the preset would decide.
            return Dense(dim=dense.dim, distance=dense.distance, **own)
        return Dense(dim=dense.dim, distance=dense.distance, preset=dense.preset, **own)


def fusion_of(hybrid_fusion: Any) -> Fusion | None:
    """Return the fusion that a query of Qdrant means.

    Raises
    ------
    InvalidArgumentError
        It is none that embplug has.
    """
    if hybrid_fusion is None or isinstance(hybrid_fusion, Fusion):
        return hybrid_fusion
    if isinstance(hybrid_fusion, models.FusionQuery):
        return Fusion(method=hybrid_fusion.fusion.value)
    if isinstance(hybrid_fusion, models.RrfQuery) and hybrid_fusion.rrf.weights is None:
        return Fusion(method="rrf", k=hybrid_fusion.rrf.k or 2)
    expected = "a FusionQuery, a RrfQuery without weights, or an embplug Fusion"
    raise InvalidArgumentError("hybrid_fusion", expected, short_repr(hybrid_fusion))


def _embeds(model: Any) -> bool:
    return all(callable(getattr(model, name, None)) for name in ("embed_documents", "embed_query"))


def _is_bm25(sparse_embedding: Any) -> bool:
    model = getattr(sparse_embedding, "_model", None)
    return str(getattr(model, "model_name", "")).lower() == BM25
