"""Fewer tokens: leave some out, or carve those of a query that say the same into one."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass

from embplug.errors import InvalidArgumentError
from embplug.methods.reductions.reduced import Reduced, merge, select, unit
from embplug.methods.registry import register
from embplug.methods.roles import Reduction
from embplug.methods.token_batch import TokenBatch
from embplug.methods.token_checks import checked_weights

_CONFIG = ConfigDict(extra="forbid")


@register("saliency", roles=("reduction", "query_reduction"))
@dataclass(frozen=True, config=_CONFIG)
class SaliencyPruning(Reduction):
    """Keep the share of each document's tokens that matters most (HPC-ColPali).

    Parameters
    ----------
    keep
        Share, rounded up: a document that has tokens keeps at least one.
    """

    keep: float = Field(default=0.6, gt=0, le=1)
    kind: Literal["saliency"] = "saliency"

    needs_saliency: ClassVar[bool] = True

    def reduce(self, tokens: TokenBatch, saliency: ArrayLike | None = None) -> Reduced:
        """Leave out the others; what is kept stays in order.

        Parameters
        ----------
        tokens
            Documents or queries.
        saliency : (sum_tokens,)
            How much each token matters, such as the attention that it receives. Of equal ones the
            first are kept.

        Raises
        ------
        LengthMismatchError
            Not as many saliencies as tokens.
        InvalidArgumentError
            Naming the first saliency that is not a finite number.
        """
        if saliency is None:
            raise InvalidArgumentError("saliency", "how much each token matters", None)
        return _keep_highest(tokens, checked_weights(saliency, len(tokens.values), "saliency"), self.keep)


@dataclass(frozen=True, config=_CONFIG)
class RandomPruning(Reduction):
    """Keep a random share of each document's tokens: what any other pruning has to beat.

    Parameters
    ----------
    keep
        Share, rounded up.
    seed
        Of the choice, which depends on the place of the tokens in the batch.
    """

    keep: float = Field(default=0.6, gt=0, le=1)
    seed: int = Field(default=0, ge=0)
    kind: Literal["random"] = "random"

    def reduce(self, tokens: TokenBatch, saliency: ArrayLike | None = None) -> Reduced:
        """Leave out the others; what is kept stays in order."""
        drawn = np.random.default_rng(self.seed).random(len(tokens.values))
        return _keep_highest(tokens, drawn, self.keep)


@register("first", roles=("reduction",))
@dataclass(frozen=True, config=_CONFIG)
class FirstTokens(Reduction):
    """Keep the first tokens of each document.

    Parameters
    ----------
    count
        How many; a shorter document keeps all.
    """

    count: int = Field(default=128, ge=1)
    kind: Literal["first"] = "first"

    def reduce(self, tokens: TokenBatch, saliency: ArrayLike | None = None) -> Reduced:
        """Leave out the others."""
        place = np.arange(len(tokens.values)) - np.repeat(tokens.offsets[:-1], tokens.lengths)
        return select(tokens, place < self.count)


@register("ball_carving", roles=("query_reduction",))
@dataclass(frozen=True, config=_CONFIG)
class BallCarving(Reduction):
    """Add up query tokens that lie close together (MUVERA, section on ball carving).

    The first token takes all that lie close to it, then the first of the others, and so on. MaxSim
    with the sums is MaxSim with the given tokens, as long as those of a ball have the same nearest
    document token; it takes as many times less work as there are fewer tokens.

    Parameters
    ----------
    threshold
        Tokens are close from this cosine on.
    """

    threshold: float = Field(default=0.7, gt=0, le=1)
    kind: Literal["ball_carving"] = "ball_carving"

    pools: ClassVar[bool] = True

    def reduce(self, tokens: TokenBatch, saliency: ArrayLike | None = None) -> Reduced:
        """Replace every ball by the sum of its tokens; balls stand in the order of their first tokens."""
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
