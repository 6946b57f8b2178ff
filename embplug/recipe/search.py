"""How a recipe fuses and reranks."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field

from embplug.recipe.part import Part


class Fusion(Part):
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
    weights: dict[str, Annotated[float, Field(ge=0.0)]] = Field(default_factory=dict)
    after_rerank: bool = False


class CrossEncoderStage(Part):
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


class Rerank(Part):
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
