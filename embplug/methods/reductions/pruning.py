"""Fewer tokens: leave some out, or carve those of a query that say the same into one."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from embplug.errors import InvalidArgumentError
from embplug.methods.reductions.reduced import Reduced, merge, select, unit
from embplug.methods.registry import names_parameters, register
from embplug.methods.roles import Reduction
from embplug.methods.token_batch import TokenBatch, check_token_batch
from embplug.methods.token_checks import checked_weights

_CONFIG = ConfigDict(extra="forbid")


@register("saliency", roles=("reduction", "query_reduction"))
@dataclass(frozen=True, config=_CONFIG)
class SaliencyPruning(Reduction):
    """Keeps the share of each document's or query's tokens that matter most.

    Parameters
    ----------
    keep : float, default=0.6
        Share of tokens to keep, rounded up to whole tokens.
    kind : str, default="saliency"
        Name of the method in a recipe; leave it as it is.

    References
    ----------
    .. [1] Bach, "Hierarchical Patch Compression for ColPali: Efficient Multi-Vector Document Retrieval with
           Dynamic Pruning and Quantization" (HPC-ColPali), 2025, arXiv:2506.21601.
    """

    keep: float = Field(default=0.6, gt=0, le=1)
    kind: Literal["saliency"] = "saliency"

    needs_saliency: ClassVar[bool] = True

    def reduce(
        self, tokens: TokenBatch, saliency: ArrayLike | None = None, cells: ArrayLike | None = None
    ) -> Reduced:
        """Keep the tokens that matter most.

        Parameters
        ----------
        tokens : TokenBatch
            Documents or queries.
        saliency : array-like of shape (sum_tokens,)
            How much each token matters, such as the attention that it receives. Of equal ones the first are
            kept.
        cells : array-like, default=None
            Not used.

        Returns
        -------
        Reduced
            Tokens stay in order.

        Raises
        ------
        LengthMismatchError
            There are not as many saliencies as tokens.
        InvalidArgumentError
            ``saliency`` is None, or one is not a finite number. The error names the first one.
        """
        check_token_batch(tokens)
        if saliency is None:
            raise InvalidArgumentError("saliency", "how much each token matters", None)
        return _keep_highest(tokens, checked_weights(saliency, len(tokens.values), "saliency"), self.keep)


@names_parameters
@dataclass(frozen=True, config=_CONFIG)
class RandomPruning(Reduction):
    """Keeps a random share of each document's tokens: the baseline of other prunings.

    It is not registered, so that no recipe can name it.

    Parameters
    ----------
    keep : float, default=0.6
        Share of tokens to keep, rounded up to whole tokens.
    seed : int, default=0
        Seed of the choice, which depends on the place of the tokens in the batch.
    kind : str, default="random"
        Name of the method; leave it as it is.
    """

    keep: float = Field(default=0.6, gt=0, le=1)
    seed: int = Field(default=0, ge=0)
    kind: Literal["random"] = "random"

    def reduce(
        self, tokens: TokenBatch, saliency: ArrayLike | None = None, cells: ArrayLike | None = None
    ) -> Reduced:
        """Keep the chosen tokens.

        Parameters
        ----------
        tokens : TokenBatch
            Token vectors of documents.
        saliency, cells : array-like, default=None
            Not used.

        Returns
        -------
        Reduced
            Tokens stay in order.
        """
        check_token_batch(tokens)
        drawn = np.random.default_rng(self.seed).random(len(tokens.values))
        return _keep_highest(tokens, drawn, self.keep)


@register("first", roles=("reduction",))
@dataclass(frozen=True, config=_CONFIG)
class FirstTokens(Reduction):
    """Keeps the first tokens of each document.

    Parameters
    ----------
    count : int, default=128
        Number of tokens to keep. A shorter document keeps all.
    kind : str, default="first"
        Name of the method in a recipe; leave it as it is.
    """

    count: int = Field(default=128, ge=1)
    kind: Literal["first"] = "first"

    def reduce(
        self, tokens: TokenBatch, saliency: ArrayLike | None = None, cells: ArrayLike | None = None
    ) -> Reduced:
        """Keep the first tokens.

        Parameters
        ----------
        tokens : TokenBatch
            Token vectors of documents.
        saliency, cells : array-like, default=None
            Not used.

        Returns
        -------
        Reduced
            Tokens stay in order.
        """
        check_token_batch(tokens)
        place = np.arange(len(tokens.values)) - np.repeat(tokens.offsets[:-1], tokens.lengths)
        return select(tokens, place < self.count)


@register("ball_carving", roles=("query_reduction",))
@dataclass(frozen=True, config=_CONFIG)
class BallCarving(Reduction):
    """Adds up the tokens of a query that lie close together.

    The first token takes all that lie close to it, then the first of the others, and so on. MaxSim with the
    sums equals MaxSim with the tokens if the tokens of each ball have the same nearest document token.

    Parameters
    ----------
    threshold : float, default=0.7
        Smallest cosine at which two tokens are close.
    kind : str, default="ball_carving"
        Name of the method in a recipe; leave it as it is.

    References
    ----------
    .. [1] Dhulipala et al., "MUVERA: Multi-Vector Retrieval via Fixed Dimensional Encodings", NeurIPS 2024,
           arXiv:2405.19504.
    """

    threshold: float = Field(default=0.7, gt=0, le=1)
    kind: Literal["ball_carving"] = "ball_carving"

    pools: ClassVar[bool] = True

    def reduce(
        self, tokens: TokenBatch, saliency: ArrayLike | None = None, cells: ArrayLike | None = None
    ) -> Reduced:
        """Replace every ball by the sum of its tokens.

        Parameters
        ----------
        tokens : TokenBatch
            Token vectors of queries.
        saliency, cells : array-like, default=None
            Not used.

        Returns
        -------
        Reduced
            Balls stand in the order of their first tokens.
        """
        check_token_batch(tokens)
        directions = unit(tokens.values.astype(np.float32, copy=False))
        groups = np.empty(len(directions), dtype=np.int64)
        documents = np.repeat(np.arange(len(tokens)), tokens.lengths)
        left = np.arange(len(directions))
        ball = 0
        # One ball of every query in each round.
        while left.size:
            _, first, query = np.unique(documents[left], return_index=True, return_inverse=True)
            centers = directions[left[first]]
            close = np.einsum("td,td->t", directions[left], centers[query]) >= self.threshold
            close[first] = True
            groups[left[close]] = ball
            left = left[~close]
            ball += 1
        return merge(tokens, groups, mean=False)


def _keep_highest(tokens: TokenBatch, values: NDArray[Any], share: float) -> Reduced:
    documents = np.repeat(np.arange(len(tokens)), tokens.lengths)
    order = np.lexsort((-values, documents))
    # A product such as 0.7 * 10 may lie a rounding error above the number that is meant.
    left = np.ceil(tokens.lengths * share - 1e-9).astype(np.int64)
    rank = np.arange(len(values)) - tokens.offsets[documents]
    kept = np.zeros(len(values), dtype=np.bool_)
    kept[order[rank < left[documents]]] = True
    return select(tokens, kept)
