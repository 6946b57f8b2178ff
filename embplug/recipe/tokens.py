"""The tokens of documents in a recipe: late interaction."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from pydantic import Field, model_validator
from qdrant_client import models
from typing_extensions import Self

from embplug.errors import RecipeError
from embplug.methods.stored import MOST_DIMS
from embplug.recipe.methods import Encoding, QueryReduction, QueryWeights, Reduction, Reductions, TokenCodes
from embplug.recipe.part import Part, Storage
from embplug.recipe.presets import Features, Preset, token_codes, token_datatype, token_encoding


class Multivector(Storage):
    """How Qdrant stores the tokens of a document as a multivector, on which it computes MaxSim.

    Attributes
    ----------
    datatype : models.Datatype, default=models.Datatype.FLOAT16
        Datatype of the tokens. float16 takes half the space of float32 and gives the same ranking.
    on_disk : bool, default=True
        Whether the multivectors are kept on disk. Reranking reads only a few hundred of them for a query.
    hnsw : models.HnswConfigDiff, default=models.HnswConfigDiff(m=0)
        Parameters of the HNSW graph. The default builds no graph: the encoding finds candidates, and a graph
        over multivectors costs more than everything else together.
    quantization : models.QuantizationConfig, default=None
        Quantization of the tokens. MaxSim reads it only with ``Rerank.quantized_tokens``.

    References
    ----------
    .. [1] Qdrant documentation, "Vectors: Multivectors",
       https://qdrant.tech/documentation/manage-data/vectors/#multivectors
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


AUTO: Any = "auto"

if TYPE_CHECKING:  # Type checkers see what a collection has, where nothing is left open.
    EncodingField: TypeAlias = Encoding | None
    MultivectorField: TypeAlias = Multivector | None
    CodesField: TypeAlias = TokenCodes | None
else:
    EncodingField = Encoding | Literal["auto"] | None
    MultivectorField = Multivector | Literal["auto"] | None
    CodesField = TokenCodes | Literal["auto"] | None


class Tokens(Part):
    """Token vectors of each document for late interaction, as ColBERT [1]_ computes them.

    A search has two stages. The encoding, a single vector, finds candidates. MaxSim over the tokens then
    reranks them: inside Qdrant on a multivector, or in this process on codes.

    Attributes
    ----------
    dim : int
        Dimension of a token vector.
    preset : {"small", "balanced", "exact"}, default="balanced"
        What stands for ``"auto"`` in ``encoding``, ``multivector`` and ``codes``. The stored recipe names
        what was chosen.

        - ``"small"`` codes tokens in a 25th to a 30th of their bytes in float32. Nine of ten hits are
          those of exact MaxSim.
        - ``"balanced"`` codes tokens in a 12th to a 15th of their bytes in float32. Nearly all of ten hits
          are those of exact MaxSim.
        - ``"exact"`` stores the tokens, as turbo8 where the engine has this datatype, else as float16. Qdrant
          computes MaxSim.
    encoding : encoding, "auto" or None, default="auto"
        Encoding of all tokens of a document into a single vector that finds candidates, such as
        :class:`~embplug.methods.LearnedEncoding` or :class:`~embplug.methods.FDE` [2]_. ``"auto"`` is an
        :class:`~embplug.methods.AdaptiveEncoding`. None stores no encoding.
    encoding_storage : Storage, default=Storage()
        How Qdrant stores the encoding. Its datatype is that of the encoding. Unless ``hnsw`` sets
        ``full_scan_threshold``, it is 98,304 KB: up to this size of a segment, a full scan is as fast as the
        graph and misses no candidate.
    multivector : Multivector, "auto" or None, default="auto"
        How Qdrant stores the tokens for reranking. ``"auto"`` stores them if the preset is ``"exact"``, if
        there are no codes, or if ``Rerank.exact`` needs them. None does not store them: the codes then rerank
        the candidates, and without codes the candidates are the result.
    reduction : reduction or tuple of reductions, default=None
        Pooling or pruning, or several in this order, so that fewer tokens of a document are encoded and
        stored. :class:`~embplug.methods.SaliencyPruning` needs the saliency of the tokens, from the user or
        from the encoder, and comes before pooling.
    query_reduction : reduction, default=None
        Pooling or pruning of a query's tokens before MaxSim. The search for candidates uses all tokens.
        Pruning needs the saliency of the tokens, from the user or from the encoder.
    query_weights : query weights, default=None
        Weights of the tokens of a query, for candidates and for MaxSim, such as
        :class:`~embplug.methods.TokenIDF`. They are fitted on documents, and are multiplied by
        ``token_weights`` of a search.
    codes : quantizer, token codes, "auto" or None, default="auto"
        Codes of the tokens. ``"auto"`` is a :class:`~embplug.methods.AdaptiveQuantizer` if the tokens are
        not stored, else None. They are stored in the payload, come back with the candidates, and MaxSim
        is computed on them in this process. With a multivector too, they rerank in its place; see
        ``Rerank.exact``.
    document_bytes : int, default=48
        Bytes for each document, in addition to the codes, that keep the mean of what the codes of its tokens
        lose; see :class:`~embplug.methods.token_codes.token_coder.TokenCoder`.
    shortlist_bytes : int, default=32
        Where the codes have centroids, as predictive codes do, and the first documents have 100 tokens or
        more on average, the ids of the centroids of all tokens are stored once more by themselves, in two
        bytes a token, and the mean of what they lose in this many bytes a document. A search reads them for
        all candidates, and the codes of only the best of these; see ``Rerank.shortlist``. 0 stores neither,
        and a search reads the codes of all candidates, of which it scores the ids first. Neither is stored if
        nothing is left to learn, because ``codes`` are fitted and ``document_bytes`` is 0.

    References
    ----------
    .. [1] Khattab and Zaharia, "ColBERT: Efficient and Effective Passage Search via Contextualized Late
       Interaction over BERT", 2020.
    .. [2] Dhulipala et al., "MUVERA: Multi-Vector Retrieval via Fixed Dimensional Encodings", 2024.

    Examples
    --------
    >>> from embplug import Recipe, Tokens
    >>> Recipe(tokens=Tokens(dim=128)).branches
    ['tokens']
    """

    dim: int = Field(ge=1, le=65536)
    preset: Preset = "balanced"
    encoding: EncodingField = AUTO
    encoding_storage: Storage = Storage()
    multivector: MultivectorField = AUTO
    reduction: Reductions | None = None
    query_reduction: QueryReduction | None = None
    query_weights: QueryWeights | None = None
    codes: CodesField = AUTO
    document_bytes: int = Field(48, ge=0)
    shortlist_bytes: int = Field(32, ge=0)

    def unfitted(self) -> Self:
        """Return a copy whose methods are not fitted."""
        methods = {name: getattr(self, name) for name in ("encoding", "codes", "query_weights")}
        unfitted = {name: method.unfitted() for name, method in methods.items() if method not in (None, AUTO)}
        return self.model_copy(update=unfitted)

    def decided(
        self, features: Features | None = None, *, ranks_alone: bool = False, rescores: bool = False
    ) -> Self:
        """Return a copy in which the preset has decided what is ``"auto"``.

        Parameters
        ----------
        features : Features, default=None
            What the engine can do. None is an engine that can do no more than any engine.
        ranks_alone : bool, default=False
            Whether nothing else finds documents, so that without an encoding the tokens have to be stored.
        rescores : bool, default=False
            Whether the recipe scores the best hits by codes again on the tokens.

        Returns
        -------
        Tokens
        """
        encoding, multivector, codes = self.encoding, self.multivector, self.codes
        if encoding == AUTO:
            encoding = token_encoding(self.preset, self.dim)
        if multivector == AUTO:
            searched = encoding is None and ranks_alone
            stored = searched or rescores or codes is None or (codes == AUTO and self.preset == "exact")
            datatype = token_datatype(self.preset, features)
            multivector = Multivector(datatype=datatype) if stored else None
        if codes == AUTO:
            codes = token_codes(self.preset, self.dim) if multivector is None or rescores else None
        return self.model_copy(update={"encoding": encoding, "multivector": multivector, "codes": codes})

    def decided_like(self, stored: Tokens) -> Self:
        """Return a copy in which what is ``"auto"`` is as in another recipe.

        Parameters
        ----------
        stored : Tokens
            The other recipe.

        Returns
        -------
        Tokens
        """
        left_open = [name for name in ("encoding", "multivector", "codes") if getattr(self, name) == AUTO]
        return self.model_copy(update={name: getattr(stored, name) for name in left_open})

    @property
    def reductions(self) -> tuple[Reduction, ...]:
        """The reductions of documents, in the order in which they are applied."""
        if self.reduction is None:
            return ()
        return self.reduction if isinstance(self.reduction, tuple) else (self.reduction,)

    @property
    def prunes(self) -> bool:
        """Whether tokens of documents are pruned by their saliency."""
        return any(reduction.needs_saliency for reduction in self.reductions)

    @property
    def needs_grids(self) -> bool:
        """Whether patches are pooled by their places on images, so that the grids of images are needed."""
        return any(reduction.needs_cells for reduction in self.reductions)

    @property
    def prunes_queries(self) -> bool:
        """Whether tokens of queries are pruned by their saliency before MaxSim."""
        ranks = self.multivector is not None or self.codes is not None
        return ranks and self.query_reduction is not None and self.query_reduction.needs_saliency

    @property
    def reads_saliency(self) -> bool:
        """Whether documents or queries are pruned by saliency, so that an encoder has to compute it."""
        return self.prunes or self.prunes_queries

    @model_validator(mode="after")
    def _was_fitted_on_such_tokens(self) -> Self:
        for name in ("encoding", "query_weights", "codes"):
            method = getattr(self, name)
            dim = None if method in (None, AUTO) else method.fitted_dim
            if dim not in (None, self.dim):
                raise RecipeError(name, f"fitted on {self.dim} dimensions", dim)
        return self

    @model_validator(mode="after")
    def _fits_into_a_vector(self) -> Self:
        encoding = self.encoding
        dim = 0 if encoding is None or encoding == AUTO else encoding.output_dim(self.dim)
        if dim > MOST_DIMS:
            raise RecipeError("encoding", f"one of at most {MOST_DIMS:,} dimensions", f"{dim:,}")
        return self

    @model_validator(mode="after")
    def _prunes_before_it_pools(self) -> Self:
        pools = False
        for place, reduction in enumerate(self.reductions):
            if pools and reduction.needs_saliency:
                expected = "pruning by saliency before pooling, because pooled tokens have none"
                raise RecipeError(f"reduction.{place}", expected, reduction.kind)
            if pools and reduction.needs_cells:
                expected = "pooling by places on images before other pooling, because pooled tokens have none"
                raise RecipeError(f"reduction.{place}", expected, reduction.kind)
            pools = pools or reduction.pools
        return self

    @model_validator(mode="after")
    def _is_searchable(self) -> Self:
        if self.encoding is None and self.multivector is None and self.codes is None:
            expected = "an encoding, a multivector or codes: without them nothing can be searched"
            raise RecipeError("encoding", expected, None)
        if self.encoding is None and self.encoding_storage != Storage():
            raise RecipeError("encoding_storage", "nothing, because encoding is null", self.encoding_storage)
        return self
