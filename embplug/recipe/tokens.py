"""Token matrices in a recipe: late interaction."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator
from qdrant_client import models
from typing_extensions import Self

from embplug.errors import RecipeError
from embplug.methods.encodings.fde import FDE
from embplug.recipe.methods import Encoding, QueryReduction, QueryWeights, Reduction, Reductions, TokenCodes
from embplug.recipe.part import Part, Storage


class Multivector(Storage):
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


class Tokens(Part):
    """Many vectors per document: late interaction.

    Attributes
    ----------
    dim
        Dimension of a token.
    encoding
        Encoding of the matrix into the one vector that finds candidates, an :class:`FDE` or a
        :class:`LearnedEncoding`; ``None`` stores none. ``auto`` is decided when the collection is made,
        and its recipe then says so: the learned encoding where a sample with enough tokens is given,
        else the FDE, which needs none.
    encoding_storage
        How Qdrant keeps that vector. Its datatype is that of the encoding. Unless ``hnsw`` says, a graph
        is built from 98,304 KB of encodings on (``full_scan_threshold``), because below that comparing
        them one by one is as fast and misses none.
    multivector
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
    encoding: Encoding | Literal["auto"] | None = "auto"
    encoding_storage: Storage = Storage()
    multivector: Multivector | None = Multivector()
    reduction: Reductions | None = None
    query_reduction: QueryReduction | None = None
    query_weights: QueryWeights | None = None
    codes: TokenCodes | None = None
    document_bytes: int = Field(48, ge=0)

    def unfitted(self) -> Self:
        """The same without what its methods have learned."""
        encoding = self.encoding
        if encoding is not None and encoding != "auto":
            encoding = encoding.unfitted()
        codes = None if self.codes is None else self.codes.unfitted()
        weights = None if self.query_weights is None else self.query_weights.unfitted()
        return self.model_copy(update={"encoding": encoding, "codes": codes, "query_weights": weights})

    @property
    def encoding_or_default(self) -> Encoding | None:
        """What ``encoding`` is; ``auto`` without a sample is the FDE."""
        return FDE() if self.encoding == "auto" else self.encoding

    @property
    def reductions(self) -> tuple[Reduction, ...]:
        """What ``reduction`` is, one after the other."""
        if self.reduction is None:
            return ()
        return self.reduction if isinstance(self.reduction, tuple) else (self.reduction,)

    @property
    def prunes(self) -> bool:
        """Whether tokens of documents are left out by their saliency."""
        return any(reduction.needs_saliency for reduction in self.reductions)

    @property
    def prunes_queries(self) -> bool:
        """Whether tokens of queries are, before MaxSim ranks by them."""
        ranks = self.multivector is not None or self.codes is not None
        return ranks and self.query_reduction is not None and self.query_reduction.needs_saliency

    @property
    def reads_saliency(self) -> bool:
        """Whether documents or queries are pruned by saliency, so that an encoder has to tell it."""
        return self.prunes or self.prunes_queries

    @model_validator(mode="after")
    def _was_fitted_on_such_tokens(self) -> Self:
        learned_from = {
            "encoding": None if self.encoding_or_default is None else self.encoding_or_default.fitted_dim,
            "query_weights": None if self.query_weights is None else self.query_weights.fitted_dim,
            "codes": None if self.codes is None else self.codes.fitted_dim,
        }
        for name, dim in learned_from.items():
            if dim not in (None, self.dim):
                raise RecipeError(name, f"fitted on {self.dim} dimensions", dim)
        return self

    @model_validator(mode="after")
    def _prunes_before_it_pools(self) -> Self:
        pools = False
        for place, reduction in enumerate(self.reductions):
            if pools and reduction.needs_saliency:
                expected = "pruning by saliency before pooling, because pooled tokens have none"
                raise RecipeError(f"reduction.{place}", expected, reduction.kind)
            pools = pools or reduction.pools
        return self

    @model_validator(mode="after")
    def _is_searchable(self) -> Self:
        if self.encoding is None and self.multivector is None and self.codes is None:
            raise RecipeError(
                "encoding", "an encoding, or a matrix: without both nothing can be searched", None
            )
        if self.encoding is None and self.encoding_storage != Storage():
            raise RecipeError("encoding_storage", "nothing, because encoding is null", self.encoding_storage)
        return self
