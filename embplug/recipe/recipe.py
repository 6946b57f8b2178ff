"""What a collection stores and how it is searched, as data: the same in Python, YAML and the collection."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import yaml
from pydantic import (
    BaseModel,
    ConfigDict,
    Discriminator,
    Field,
    Tag,
    ValidationError,
    field_validator,
    model_validator,
)
from qdrant_client import models
from typing_extensions import Self

from embplug.common.kinds import kind_tag, unfitted
from embplug.errors import InvalidArgumentError, RecipeError, RecipeVersionError
from embplug.methods.adapters.alignment import Adapter
from embplug.methods.encodings.fde import FDE
from embplug.methods.encodings.learned import LearnedEncoding
from embplug.methods.encodings.token_idf import TokenIDF
from embplug.methods.quantizers import (
    BinaryTokens,
    BitAllocation,
    Centroids,
    OptimizedProductQuantizer,
    PowerQuantizer,
    Predictive,
    ProductQuantizer,
    PyramidQuantizer,
    RecurrentBinarizer,
    Residual,
)
from embplug.methods.reductions.pooling import GridPooling, HierarchicalPooling, KMeansPooling
from embplug.methods.reductions.pruning import BallCarving, FirstTokens, SaliencyPruning
from embplug.methods.transforms import (
    PCA,
    ITQRotation,
    LearnedTruncation,
    OPQRotation,
    Rotation,
    SparseRandomProjection,
    Truncation,
)

RECIPE_VERSION = 1

DENSE = "dense"
FDE_VECTOR = "fde"
TOKENS_VECTOR = "tokens"
SPARSE_VECTOR = "sparse"
TOKENS_BRANCH = TOKENS_VECTOR


Encoding = Annotated[
    Annotated[FDE, Tag("[fde]")] | Annotated[LearnedEncoding, Tag("[learned]")],
    Discriminator(
        lambda encoding: kind_tag(encoding, "fde"),
        custom_error_type="encoding_kind",
        custom_error_message="an FDE (kind: fde) or a LearnedEncoding (kind: learned)",
    ),
]


Codes = Annotated[
    Annotated[Residual, Tag("[residual]")]
    | Annotated[Predictive, Tag("[predictive]")]
    | Annotated[BitAllocation, Tag("[bit_allocation]")]
    | Annotated[Centroids, Tag("[centroids]")]
    | Annotated[BinaryTokens, Tag("[binary]")]
    | Annotated[ProductQuantizer, Tag("[product]")]
    | Annotated[OptimizedProductQuantizer, Tag("[optimized_product]")],
    Discriminator(
        lambda codes: kind_tag(codes, "residual"),
        custom_error_type="codes_kind",
        custom_error_message="a kind of: residual, predictive, bit_allocation, centroids, binary, "
        "product, optimized_product",
    ),
]


DenseCodes = Annotated[
    Annotated[BitAllocation, Tag("[bit_allocation]")]
    | Annotated[ProductQuantizer, Tag("[product]")]
    | Annotated[OptimizedProductQuantizer, Tag("[optimized_product]")]
    | Annotated[PyramidQuantizer, Tag("[pyramid]")]
    | Annotated[PowerQuantizer, Tag("[power]")]
    | Annotated[RecurrentBinarizer, Tag("[recurrent_binary]")],
    Discriminator(
        kind_tag,
        custom_error_type="dense_codes_kind",
        custom_error_message="a kind of: bit_allocation, product, optimized_product, pyramid, power, "
        "recurrent_binary",
    ),
]


Reduction = Annotated[
    Annotated[HierarchicalPooling, Tag("[hierarchical]")]
    | Annotated[KMeansPooling, Tag("[kmeans]")]
    | Annotated[GridPooling, Tag("[grid]")]
    | Annotated[SaliencyPruning, Tag("[saliency]")]
    | Annotated[FirstTokens, Tag("[first]")],
    Discriminator(
        kind_tag,
        custom_error_type="reduction_kind",
        custom_error_message="pooling or pruning: hierarchical, kmeans, grid, saliency or first as its kind",
    ),
]


Reductions = Annotated[
    Annotated[Reduction, Tag("[one]")]
    | Annotated[tuple[Reduction, ...], Field(min_length=1), Tag("[several]")],
    Discriminator(lambda given: "[several]" if isinstance(given, (list, tuple)) else "[one]"),
]


QueryReduction = Annotated[
    Annotated[BallCarving, Tag("[ball_carving]")] | Annotated[SaliencyPruning, Tag("[saliency]")],
    Discriminator(
        lambda reduction: kind_tag(reduction, "ball_carving"),
        custom_error_type="query_reduction_kind",
        custom_error_message="ball_carving or saliency as its kind",
    ),
]


AnyTransform = Annotated[
    Annotated[PCA, Tag("[pca]")]
    | Annotated[Truncation, Tag("[truncation]")]
    | Annotated[LearnedTruncation, Tag("[learned_truncation]")]
    | Annotated[SparseRandomProjection, Tag("[sparse_random_projection]")]
    | Annotated[Rotation, Tag("[rotation]")]
    | Annotated[OPQRotation, Tag("[opq_rotation]")]
    | Annotated[ITQRotation, Tag("[itq_rotation]")],
    Discriminator(
        kind_tag,
        custom_error_type="transform_kind",
        custom_error_message="a transform: pca, truncation, learned_truncation, sparse_random_projection, "
        "rotation, opq_rotation or itq_rotation as its kind",
    ),
]


class _Part(BaseModel):
    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, arbitrary_types_allowed=True
    )

    if not TYPE_CHECKING:  # type checkers see the fields, users see our error

        def __init__(self, **data: Any) -> None:
            try:
                super().__init__(**data)
            except ValidationError as error:
                raise _recipe_error(error) from None


class Storage(_Part):
    """How Qdrant keeps a vector; fields and values are Qdrant's own.

    Attributes
    ----------
    quantization
        Qdrant's quantization of the vectors in memory: scalar, product, binary or turbo.
    on_disk
        Keep the original vectors on disk; Qdrant's default is memory.
    hnsw
        Parameters of the graph. ``HnswConfigDiff(m=0)`` builds none.
    """

    quantization: models.QuantizationConfig | None = None
    on_disk: bool | None = None
    hnsw: models.HnswConfigDiff | None = None


class Previous(_Part):
    """Vectors of the model before, of documents that are not embedded anew yet; made by ``upgrade``.

    Attributes
    ----------
    dim
        Of these vectors, as they are stored.
    stored_as
        Their name in Qdrant.
    adapter
        Maps a query of the new model to where the old one would have put it.
    factor, offset
        Bring a score of theirs to the scale of the new model's scores, once it has what the adapter
        says is missing.
    """

    dim: int = Field(ge=1)
    stored_as: str = Field(min_length=1)
    adapter: Adapter
    factor: float = 1.0
    offset: float = 0.0


class Dense(Storage):
    """One vector per document.

    Attributes
    ----------
    dim
        Dimension of the vectors that are given; what is stored has that of the last transform.
    distance
        Qdrant's distance. With transforms, cosine or dot product: for the cosine, vectors are brought
        to unit length first, and the dot products of what the transforms make are compared.
    datatype
        Of the stored vectors; Qdrant's default is float32. ``uint8`` is for vectors of whole numbers
        from 0 to 255, as some models make them; others are refused.
    transforms
        Applied in order before storing, and to queries. What learns from data learns from the sample,
        or from the first documents; what has learned already is taken as it is.
    funnel
        Dimensions, rising, of prefixes that are stored beside the vector: the shortest finds
        candidates in its graph, each longer one keeps half of them, the vector itself ranks the rest.
    keep_original
        ``disk``: also store the vectors as given, on disk, without a graph. They rank the candidates
        anew in the same request.
    codes
        Codes of the vectors as given, before the transforms and for the cosine at unit length: they ride
        in the payload, come back with the candidates in the same request, and rank them anew in this
        process. Their scores stand for the cosine or dot product itself. An exact search uses them only
        where the vectors as given are not stored.
    signs
        Store, in place of the vectors, the first bits of a :class:`RecurrentBinarizer`'s codes as -1 and
        1, which find the candidates. Binary quantization keeps all of them: with it, the numbers
        themselves may lie on disk.
    model
        Version of the model that makes the vectors; an upgrade counts it up.
    stored_as
        Name of the vector in Qdrant, where it is another than in the recipe.
    previous
        What is left of the model before, while an upgrade is under way.
    """

    dim: int = Field(ge=1, le=65536)
    distance: models.Distance = models.Distance.COSINE
    datatype: models.Datatype | None = None
    transforms: tuple[AnyTransform, ...] = ()
    funnel: tuple[Annotated[int, Field(ge=1)], ...] = ()
    keep_original: Literal["disk"] | None = None
    codes: DenseCodes | None = None
    signs: bool = False
    model: int = Field(1, ge=1)
    stored_as: str | None = Field(None, min_length=1)
    previous: Previous | None = None

    @property
    def stored_dim(self) -> int:
        """Dimension after the transforms, or of the signs."""
        if self.signs and isinstance(self.codes, RecurrentBinarizer):
            return self.codes.dim_out or self.dim
        dim = self.dim
        for transform in self.transforms:
            dim = transform.output_dim(dim)
        return dim

    @property
    def stored_distance(self) -> models.Distance:
        """Qdrant's distance of what is stored after the transforms."""
        if self.signs:
            return models.Distance.DOT
        if not self.transforms:
            return self.distance
        return models.Distance.COSINE if self.transforms[-1].unit_length else models.Distance.DOT

    def unfitted(self) -> Self:
        """The same without what its methods have learned."""
        transforms = tuple(unfitted(transform) for transform in self.transforms)
        codes = None if self.codes is None else unfitted(self.codes)
        return self.model_copy(update={"transforms": transforms, "codes": codes})

    def stored_names(self, name: str) -> list[str]:
        """Names in Qdrant of what is stored for the vector ``name``, coarsest first."""
        name = self.stored_as or name
        prefixes = [f"{name}_{dim}" for dim in self.funnel]
        return [*prefixes, name, *([f"{name}_original"] if self.keep_original else [])]

    @model_validator(mode="after")
    def _can_be_transformed(self) -> Self:
        try:
            stored = self.stored_dim
        except InvalidArgumentError as error:
            raise RecipeError("transforms", error.expected, error.got) from None
        dim = self.dim
        for place, transform in enumerate(self.transforms):
            learned_from = transform.describe().input_dim if transform.get_state() else None
            if learned_from not in (None, dim):
                raise RecipeError(f"transforms.{place}", f"fitted on {dim} dimensions", learned_from)
            dim = transform.output_dim(dim)
        if self.transforms and self.distance not in (models.Distance.COSINE, models.Distance.DOT):
            raise RecipeError("distance", "Cosine or Dot, which transforms keep", self.distance.value)
        if self.datatype == models.Datatype.UINT8 and (self.transforms or self.signs):
            expected = "float32, float16, or scalar quantization: what is stored is not whole numbers"
            raise RecipeError("datatype", expected, "uint8")
        if list(self.funnel) != sorted({*self.funnel}) or (self.funnel and self.funnel[-1] >= stored):
            raise RecipeError("funnel", f"rising dimensions below {stored}", list(self.funnel))
        if self.keep_original and not self.transforms:
            raise RecipeError("keep_original", "transforms: without any the original is stored", "none")
        if self.previous is not None and (self.funnel or self.keep_original or self.codes):
            expected = "none, because there is a funnel, an original or codes"
            raise RecipeError("previous", expected, "an adapter")
        return self

    @model_validator(mode="after")
    def _can_be_coded(self) -> Self:
        codes = self.codes
        if self.signs and not isinstance(codes, RecurrentBinarizer):
            raise RecipeError("signs", "codes of the kind recurrent_binary, whose first bits they are", None)
        if self.signs and (self.transforms or self.funnel):
            part = "transforms" if self.transforms else "funnel"
            raise RecipeError(part, "none, because signs are stored", "some")
        if codes is None:
            return self
        if self.keep_original:
            raise RecipeError("codes", "none, because the original ranks the candidates", codes.kind)
        if self.distance not in (models.Distance.COSINE, models.Distance.DOT):
            raise RecipeError("distance", "Cosine or Dot, which codes keep", self.distance.value)
        if self.distance == models.Distance.DOT:
            if isinstance(codes, RecurrentBinarizer):
                raise RecipeError("distance", "Cosine, because these codes keep no lengths", "Dot")
            if isinstance(codes, BitAllocation) and codes.length == "unit":
                expected = "own or decoded, because dot products compare lengths too"
                raise RecipeError("codes.length", expected, repr(codes.length))
        if isinstance(codes, ProductQuantizer) and codes.subspaces > self.dim:
            raise RecipeError("codes.subspaces", f"at most the {self.dim} dimensions", codes.subspaces)
        if codes.get_state() and codes.dim != self.dim:
            raise RecipeError("codes", f"fitted on vectors of {self.dim} dimensions", codes.dim)
        return self


class Matrix(Storage):
    """The token matrix of each document, from which MaxSim is computed inside Qdrant.

    Attributes
    ----------
    datatype
        float16 by default: half the room, and the ranking is that of float32.
    on_disk
        True by default: reranking reads a few hundred matrices a query, not all.
    hnsw
        No graph by default: candidates come from the FDE, and a graph over token matrices costs more
        than everything else together.
    """

    datatype: models.Datatype = models.Datatype.FLOAT16
    on_disk: bool | None = True
    hnsw: models.HnswConfigDiff | None = models.HnswConfigDiff(m=0)

    @model_validator(mode="after")
    def _keeps_fractions(self) -> Self:
        if self.datatype == models.Datatype.UINT8:
            expected = "float32, float16, or scalar quantization: uint8 would cut tokens off to whole numbers"
            raise RecipeError("datatype", expected, "uint8")
        return self


class Tokens(_Part):
    """Many vectors per document: late interaction.

    Attributes
    ----------
    dim
        Dimension of a token.
    fde
        Encoding of the matrix into the one vector that finds candidates, an :class:`FDE` or a
        :class:`LearnedEncoding`; ``None`` stores none. ``auto`` is decided when the collection is made,
        and its recipe then says so: the learned encoding where a sample with enough tokens is given,
        else the FDE, which needs none.
    fde_storage
        How Qdrant keeps that vector. Its datatype is that of the encoding. Unless ``hnsw`` says, a graph
        is built from 98,304 KB of encodings on (``full_scan_threshold``), because below that comparing
        them one by one is as fast and misses none.
    matrix
        How Qdrant keeps the matrix for reranking; ``None`` keeps none, so that the codes rank the
        candidates, or without codes the candidates are the result.
    reduction
        Pooling or pruning, or several in a row, so that fewer tokens of a document are encoded, coded and
        stored. :class:`SaliencyPruning` needs the saliency that documents or the encoder bring, and so
        comes before pooling.
    query_reduction
        Before MaxSim ranks by a query's tokens: adds up close ones, or keeps those that matter most,
        by the saliency that the query or the encoder brings.
    query_weights
        Weighs the tokens of every query, for its candidates and for MaxSim, by what it learned from
        documents as they are stored; a factor of ``search(token_weights=…)``.
    codes
        Codes of the tokens, from which MaxSim is computed in this process: they ride in the payload
        and come back with the candidates. Beside a matrix they rank in its place; see
        ``Rerank.exact``.
    document_bytes
        Beside the codes, for each document: the mean of what they lose; see
        :class:`~embplug.methods.token_codes.token_coder.TokenCoder`.
    """

    dim: int = Field(ge=1, le=65536)
    fde: Encoding | Literal["auto"] | None = "auto"
    fde_storage: Storage = Storage()
    matrix: Matrix | None = Matrix()
    reduction: Reductions | None = None
    query_reduction: QueryReduction | None = None
    query_weights: TokenIDF | None = None
    codes: Codes | None = None
    document_bytes: int = Field(48, ge=0)

    def unfitted(self) -> Self:
        """The same without what its methods have learned."""
        fde = self.fde if self.fde is None or self.fde == "auto" else unfitted(self.fde)
        codes = None if self.codes is None else unfitted(self.codes)
        weights = None if self.query_weights is None else unfitted(self.query_weights)
        return self.model_copy(update={"fde": fde, "codes": codes, "query_weights": weights})

    @property
    def encoding(self) -> FDE | LearnedEncoding | None:
        """What ``fde`` is; ``auto`` without a sample is the FDE."""
        return FDE() if self.fde == "auto" else self.fde

    @property
    def reductions(self) -> tuple[Reduction, ...]:
        """What ``reduction`` is, one after the other."""
        if self.reduction is None:
            return ()
        return self.reduction if isinstance(self.reduction, tuple) else (self.reduction,)

    @property
    def prunes(self) -> bool:
        """Whether tokens of documents are left out by their saliency."""
        return any(isinstance(one, SaliencyPruning) for one in self.reductions)

    @property
    def prunes_queries(self) -> bool:
        """Whether tokens of queries are, before MaxSim ranks by them."""
        ranks = self.matrix is not None or self.codes is not None
        return ranks and isinstance(self.query_reduction, SaliencyPruning)

    @property
    def reads_saliency(self) -> bool:
        """Whether documents or queries are pruned by saliency, so that an encoder has to tell it."""
        return self.prunes or self.prunes_queries

    @model_validator(mode="after")
    def _was_fitted_on_such_tokens(self) -> Self:
        learned_from = {
            "fde": None if self.encoding is None else self.encoding.fitted_dim,
            "query_weights": None if self.query_weights is None else self.query_weights.fitted_dim,
            "codes": self.codes.dim if self.codes is not None and self.codes.get_state() else None,
        }
        for name, dim in learned_from.items():
            if dim not in (None, self.dim):
                raise RecipeError(name, f"fitted on {self.dim} dimensions", dim)
        return self

    @model_validator(mode="after")
    def _prunes_before_it_pools(self) -> Self:
        pools = False
        for place, one in enumerate(self.reductions):
            if pools and isinstance(one, SaliencyPruning):
                expected = "pruning by saliency before pooling, because pooled tokens have none"
                raise RecipeError(f"reduction.{place}", expected, one.kind)
            pools = pools or not isinstance(one, (SaliencyPruning, FirstTokens))
        return self

    @model_validator(mode="after")
    def _is_searchable(self) -> Self:
        if self.fde is None and self.matrix is None and self.codes is None:
            raise RecipeError("fde", "an encoding, or a matrix: without both nothing can be searched", None)
        if self.fde is None and self.fde_storage != Storage():
            raise RecipeError("fde_storage", "nothing, because fde is null", self.fde_storage)
        return self


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


class Sparse(_Part):
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


class Fusion(_Part):
    """How the rankings of several branches become one.

    A branch is one way to find documents: ``tokens``, a dense vector by its name, or ``sparse``.
    Where tokens rank, the candidates of all branches are fused by ``rrf``, whatever the method.

    Attributes
    ----------
    method
        ``min_max``: by scores, each ranking brought to 0..1 from its last to its first. ``dbsf``: by
        scores, each ranking brought to 0..1 between three standard deviations below and above its
        mean. ``rrf``: by ranks, the sum of ``weight / (k + rank)``.
    k
        Of ``rrf``: the higher, the less the first ranks stand out.
    weights
        By branch; 1 where none is given.
    after_rerank
        Fuse once more after tokens have ranked: their ranking with those of the other branches, so
        that tokens do not have the last word alone.
    """

    method: Literal["min_max", "dbsf", "rrf"] = "min_max"
    k: int = Field(60, ge=0)
    weights: dict[str, Annotated[float, Field(ge=0.0)]] = {}
    after_rerank: bool = False


class CrossEncoderStage(_Part):
    """The last stage: a model that reads query and text together. Queries have to have a text.

    Attributes
    ----------
    name
        Names the model: see :func:`embplug.search.load_cross_encoder`. ``None`` takes the function
        that is given to ``open`` or ``create``.
    candidates
        Number of hits that it ranks anew.
    batch_size, timeout, on_failure
        As in :class:`embplug.search.CrossEncoder`.
    """

    name: str | None = None
    candidates: int = Field(50, ge=1)
    batch_size: int = Field(32, ge=1)
    timeout: float | None = Field(None, gt=0.0)
    on_failure: Literal["raise", "keep"] = "raise"


class Rerank(_Part):
    """How candidates are found and reranked.

    Attributes
    ----------
    candidates
        Number of candidates that MaxSim, or the original or the codes of a dense vector, rank anew.
    hnsw_ef
        Size of the beam in the graph. ``None`` is Qdrant's default, and for encodings of tokens, whose
        graphs need more, 400 (``FDE``) or 800 (``LearnedEncoding``).
    oversampling
        Where the candidates' vectors are quantized: this many times more are found by their codes,
        and the original vectors choose among them. ``None`` trusts the codes, because rescoring
        without oversampling hardly changes which candidates are found.
    quantized_tokens
        Let MaxSim read quantized tokens, where the matrix is quantized. Off by default: reranking is
        for the last word, so Qdrant is told to ignore the codes.
    exact
        Where tokens have both codes and a matrix: this many hits, the best by the codes, are scored
        anew on the matrix, in one request more.
    cross_encoder
        Ranks the best hits anew by their texts.
    """

    candidates: int = Field(100, ge=1)
    hnsw_ef: int | None = Field(None, ge=1)
    oversampling: float | None = Field(None, gt=1.0)
    quantized_tokens: bool = False
    exact: int | None = Field(None, ge=1)
    cross_encoder: CrossEncoderStage | None = None


class Recipe(_Part):
    """What a collection stores and how it is searched.

    Attributes
    ----------
    tokens
        Token matrices, their encoding and storage.
    dense
        One :class:`Dense`, then named ``"dense"``, or several by name.
    sparse
        Texts found by their words.
    fusion
        How the rankings of tokens, dense vectors and sparse become one.
    rerank
        How candidates are found and reranked.
    payload_indexes
        Payload field -> Qdrant's schema: ``{"year": "integer"}``.
    shard_number, replication_factor, write_consistency_factor, on_disk_payload
        As in Qdrant; ``None`` is Qdrant's default.
    encoder
        Names the model that turns texts into vectors: see :func:`embplug.encoders.load_encoder`.
    text_key
        Payload field that keeps the text of a document that was given as text.
    fit_sample
        Number of documents from which data-dependent methods learn, when no sample was given; fewer
        where they have more than 650,000 tokens.
    version
        Of the format.

    Raises
    ------
    RecipeError
        Naming the first field that is unknown, wrong, or contradicts another.
    """

    tokens: Tokens | None = None
    dense: dict[Annotated[str, Field(min_length=1)], Dense] = {}
    sparse: Sparse | None = None
    fusion: Fusion = Fusion()
    rerank: Rerank = Rerank()
    payload_indexes: dict[str, models.PayloadSchemaType | models.PayloadSchemaParams] = {}
    shard_number: int | None = Field(None, ge=1)
    replication_factor: int | None = Field(None, ge=1)
    write_consistency_factor: int | None = Field(None, ge=1)
    on_disk_payload: bool | None = None
    encoder: str | None = None
    text_key: str = Field("text", min_length=1)
    fit_sample: int = Field(8000, ge=1)
    version: int = Field(RECIPE_VERSION, ge=1)

    if TYPE_CHECKING:

        def __init__(
            self,
            *,
            tokens: Tokens | None = None,
            dense: Dense | dict[str, Dense] | None = None,
            sparse: Sparse | None = None,
            fusion: Fusion = ...,
            rerank: Rerank = ...,
            payload_indexes: dict[str, Any] = ...,
            shard_number: int | None = None,
            replication_factor: int | None = None,
            write_consistency_factor: int | None = None,
            on_disk_payload: bool | None = None,
            encoder: str | None = None,
            text_key: str = "text",
            fit_sample: int = 8000,
            version: int = RECIPE_VERSION,
        ) -> None: ...

    @model_validator(mode="before")
    @classmethod
    def _is_readable(cls, data: Any) -> Any:
        if isinstance(data, dict) and isinstance(data.get("version"), int):
            cls.check_version(data["version"])
        return data

    @field_validator("dense", mode="before")
    @classmethod
    def _named(cls, dense: Any) -> Any:
        if dense is None:
            return {}
        if isinstance(dense, Dense) or (isinstance(dense, dict) and isinstance(dense.get("dim"), int)):
            return {DENSE: dense}
        return dense

    @model_validator(mode="after")
    def _is_consistent(self) -> Self:
        if self.tokens is None and not self.dense and self.sparse is None:
            raise RecipeError("tokens", "tokens, dense or sparse to be given", "none of them")
        finders = self.dense or self.sparse
        if self.tokens is not None and not (self.tokens.fde or self.tokens.matrix or finders):
            raise RecipeError(
                "tokens.fde", "an encoding, a matrix, dense or sparse, to find what the codes rank", None
            )
        if self.rerank.exact is not None and not (self.tokens and self.tokens.codes and self.tokens.matrix):
            raise RecipeError(
                "rerank.exact", "none, because tokens do not have codes and a matrix", "a number"
            )
        for branch in self.fusion.weights:
            if branch not in self.branches:
                raise RecipeError(f"fusion.weights.{branch}", f"one of {self.branches}", "another name")
        for name in (FDE_VECTOR, TOKENS_VECTOR, SPARSE_VECTOR):
            if name in self.dense:
                raise RecipeError("dense", f"other names than {name!r}, which is embplug's own", repr(name))
        stored = [one for name, dense in self.dense.items() for one in dense.stored_names(name)]
        twice = next((one for one in stored if stored.count(one) > 1), None)
        if twice is not None:
            raise RecipeError("dense", "names that differ from those of prefixes and originals", repr(twice))
        if self.text_key in self.payload_indexes and not _indexes_text(self.payload_indexes[self.text_key]):
            got = self.payload_indexes[self.text_key]
            raise RecipeError(
                f"payload_indexes.{self.text_key}", "text or keyword, because it is text_key", got
            )
        return self

    def with_encoding(self, encoding: FDE | LearnedEncoding | None) -> Self:
        """This recipe, with ``encoding`` where tokens say ``auto``."""
        if self.tokens is None or self.tokens.fde != "auto":
            return self
        return self.model_copy(update={"tokens": self.tokens.model_copy(update={"fde": encoding})})

    @property
    def branches(self) -> list[str]:
        """Names of the ways to find documents."""
        tokens = [] if self.tokens is None else [TOKENS_BRANCH]
        return [*tokens, *self.dense, *([] if self.sparse is None else [SPARSE_VECTOR])]

    @staticmethod
    def check_version(version: int) -> None:
        """Refuse a recipe that is newer than this library, with :class:`RecipeVersionError`."""
        if version > RECIPE_VERSION:
            raise RecipeVersionError(
                f"the recipe has version {version}, this embplug reads up to {RECIPE_VERSION}; upgrade it"
            )

    @classmethod
    def from_dict(cls, data: Any) -> Self:
        """Read what :meth:`to_dict` wrote.

        Raises
        ------
        RecipeError
            Naming the first field that is unknown or wrong.
        RecipeVersionError
            The recipe is newer than this library.
        """
        if not isinstance(data, dict):
            raise RecipeError("recipe", "a mapping of fields", type(data).__name__)
        for field in data:
            if not isinstance(field, str):
                raise RecipeError(str(field), "the name of a field", repr(field))
        return cls(**data)

    @classmethod
    def from_yaml(cls, text: str) -> Self:
        """Read YAML or JSON text; see :meth:`from_dict` for the errors."""
        try:
            data = yaml.safe_load(text)
        except yaml.YAMLError as error:
            raise RecipeError("recipe", "YAML or JSON", f"text that cannot be read: {error}") from None
        return cls.from_dict(data)

    @classmethod
    def from_file(cls, path: str | os.PathLike[str]) -> Self:
        """Read a YAML or JSON file; see :meth:`from_dict` for the errors."""
        try:
            text = Path(path).read_text(encoding="utf-8")
        except (OSError, UnicodeDecodeError) as error:
            raise RecipeError("path", "a readable recipe file", error) from None
        return cls.from_yaml(text)

    def to_dict(self) -> dict[str, Any]:
        """All fields, defaults included, as JSON types; reading them gives an equal recipe."""
        return self.model_dump(mode="json")

    def to_yaml(self) -> str:
        """As YAML; reading it gives an equal recipe."""
        return yaml.safe_dump(self.to_dict(), sort_keys=False)

    def replaced(self, fields: Mapping[str, Any]) -> Self:
        """The recipe with other values in some fields, checked anew."""
        return type(self)(**{**{name: getattr(self, name) for name in self.model_fields_set}, **fields})

    def differences(self, other: Recipe) -> dict[str, tuple[Any, Any]]:
        """Dotted field -> (this value, the other's) where the two differ."""
        mine, others = _flat(self.to_dict()), _flat(other.to_dict())
        fields = [field for field in {**mine, **others} if mine.get(field) != others.get(field)]
        return {field: (mine.get(field), others.get(field)) for field in fields}


def digest(data: Any) -> str:
    """Sha256 of JSON data, whatever the order of its keys."""
    canonical = json.dumps(data, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(canonical.encode()).hexdigest()


def _indexes_text(schema: Any) -> bool:
    return (schema if isinstance(schema, str) else schema.type) in ("text", "keyword")


def _flat(data: Any, prefix: str = "") -> dict[str, Any]:
    if not isinstance(data, dict):
        return {prefix: data}
    flat: dict[str, Any] = {}
    for key, value in data.items():
        flat |= _flat(value, f"{prefix}.{key}" if prefix else str(key))
    return flat


def _recipe_error(error: ValidationError) -> RecipeError:
    """Report the first complaint, by the dotted name of its field."""
    first = error.errors(include_url=False)[0]
    field = ".".join(str(part) for part in first["loc"] if not _is_type_name(part))
    cause = first.get("ctx", {}).get("error")
    if isinstance(cause, RecipeError):
        inner = cause.argument if cause.argument != "recipe" else ""
        return RecipeError(".".join(filter(None, [field, inner])) or "recipe", cause.expected, cause.got)
    if isinstance(cause, ValueError):
        return RecipeError(field or "recipe", "fields that agree", str(cause))
    if first["type"] in ("extra_forbidden", "unexpected_keyword_argument"):
        return RecipeError(field, "the name of a field", "one that does not exist")
    if first["type"] == "missing":
        return RecipeError(field, "a value", "none")
    return RecipeError(field or "recipe", first["msg"].removeprefix("Input should be "), repr(first["input"]))


def _is_type_name(part: Any) -> bool:
    """Whether pydantic put the name of a union's member, not of a field, into a location."""
    return isinstance(part, str) and ("[" in part or hasattr(models, part) or part == Dense.__name__)
