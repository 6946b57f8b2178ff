"""The parts of a recipe that say how rankings are fused and reranked."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from embplug.recipe.part import Part


class Fusion(Part):
    """How the rankings of several branches are fused into one ranking.

    A branch is one way to find documents: ``"tokens"``, a dense vector by its name, or ``"sparse"``.
    If tokens rerank the candidates, the candidates of all branches are always fused by ``rrf``.

    Attributes
    ----------
    method : {"z_score", "min_max", "dbsf", "rrf"}, default="z_score"
        How the score of a document is computed.

        - ``"z_score"`` sums its weighted standard scores: by how many standard deviations it is above the
          mean of each ranking. Below the mean, it counts 0.
        - ``"min_max"`` sums its weighted scores, after the scores of each ranking were scaled so that the
          last hit has 0 and the first hit has 1.
        - ``"dbsf"`` (distribution-based score fusion) sums its weighted scores, after the scores of each
          ranking were scaled so that three standard deviations below the mean are 0 and three above are 1.
        - ``"rrf"`` (reciprocal rank fusion) sums ``weight / (k + rank)``, with ranks from 1.
    k : int, default=60
        Constant of ``"rrf"``. The higher it is, the less the first ranks stand out.
    weights : dict of str to float, default={}
        Weight of each branch, by its name. The weight of a branch that is not named is 1.
    after_rerank : bool, default=None
        Whether the ranking by tokens is fused with the rankings of the other branches. With False, the order
        of the hits is that of the tokens alone. None fuses them if BM25 takes part in the search: words and
        vectors find different documents, whereas a dense vector knows little that tokens do not know.

    References
    ----------
    .. [1] Cormack, Clarke and Buettcher, "Reciprocal Rank Fusion outperforms Condorcet and individual Rank
       Learning Methods", 2009.
    .. [2] Qdrant documentation, "Hybrid Queries",
       https://qdrant.tech/documentation/search/hybrid-queries/
    """

    method: Literal["z_score", "min_max", "dbsf", "rrf"] = "z_score"
    k: int = Field(60, ge=0)
    weights: dict[str, Annotated[float, Field(ge=0.0)]] = Field(default_factory=dict)
    after_rerank: bool | None = None


class CrossEncoderStage(Part):
    """The last stage of a search: a cross-encoder, which reads the query and a text together.

    Queries need a text, and so do the payloads of the documents.

    Attributes
    ----------
    name : str, default=None
        Name of the model; see :func:`embplug.search.load_cross_encoder`. None uses the function that the
        user passes to ``Collection.open`` or ``Collection.create``.
    candidates : int, default=50
        Number of hits that are reranked.
    batch_size : int, default=32
        Number of texts in one call of the model.
    timeout : float, default=None
        Seconds for all calls of a search together. None sets no limit.
    on_failure : {"raise", "keep"}, default="raise"
        What happens if the model fails or a hit has no text: raise an error, or keep the order of the hits;
        see :class:`embplug.search.CrossEncoder`.
    """

    name: str | None = None
    candidates: int = Field(50, ge=1)
    batch_size: int = Field(32, ge=1)
    timeout: float | None = Field(None, gt=0.0)
    on_failure: Literal["raise", "keep"] = "raise"


class Rerank(Part):
    """How candidates are found, and how they are reranked.

    Attributes
    ----------
    candidates : int, default=400
        Number of documents that are reranked by MaxSim, by the original vector or by codes. A collection that
        exists keeps its own number where a recipe says none.
    shortlist : int, default=160
        Number of the best candidates that are scored by their codes, where these have centroids, as
        predictive codes do. It is at least four times the number of hits, and at least ``exact``. The
        centroids of all candidates choose them: by short codes where a collection stores some, see
        ``Tokens.shortlist_bytes``, so that the codes of the others are not even read. By the ids in codes,
        which takes 4,096 centroids, it is at least half of the candidates. None scores the codes of all
        candidates. Like the number of candidates, an existing collection keeps its own where a recipe
        says none.
    hnsw_ef : int, default=None
        Beam size of the search in the HNSW graph. None is Qdrant's default for dense vectors, 400 for
        :class:`~embplug.methods.FDE` and 800 for :class:`~embplug.methods.LearnedEncoding`, whose graphs need
        a larger beam.
    oversampling : float, default=None
        Qdrant finds this many times more candidates by their quantized vectors, and rescores them with the
        original vectors. It has an effect only with quantization. None does not rescore, because
        rescoring without oversampling hardly changes which candidates are found.
    quantized_tokens : bool, default=False
        Whether MaxSim reads the quantized vectors of a multivector with quantization. By default it reads
        the original vectors.
    exact : int, default=None
        Number of the best hits by codes that MaxSim scores again on the multivector, in one more request.
        It needs both ``Tokens.codes`` and ``Tokens.multivector``. The other candidates keep the scores of
        their codes where ``Fusion.after_rerank`` fuses rankings, else they are no hits. None keeps the scores
        of the codes.
    cross_encoder : CrossEncoderStage, default=None
        Cross-encoder that reranks the best hits by their texts. None uses no cross-encoder.

    References
    ----------
    .. [1] Qdrant documentation, "Quantization: Searching with Quantization",
       https://qdrant.tech/documentation/manage-data/quantization/#searching-with-quantization
    """

    candidates: int = Field(400, ge=1)
    shortlist: int | None = Field(160, ge=1)
    hnsw_ef: int | None = Field(None, ge=1)
    oversampling: float | None = Field(None, gt=1.0)
    quantized_tokens: bool = False
    exact: int | None = Field(None, ge=1)
    cross_encoder: CrossEncoderStage | None = None
