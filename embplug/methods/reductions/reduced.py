"""Result of pooling and pruning."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from embplug.methods.token_batch import TokenBatch, document_blocks

DROPPED = -1
"""Owner of a token that is in no token of the result."""

BLOCK_TOKENS = 8192


@dataclass(frozen=True, eq=False)
class Reduced:
    """Result of a token reduction: the tokens that are left, and where every token went.

    Attributes
    ----------
    tokens
        The batch with fewer tokens: as many documents, in the same order, of the same type.
    owner : int64 (tokens before,)
        For every token before the reduction, the row of ``tokens.values`` that it is part of; ``DROPPED``
        when it is in none.
    """

    tokens: TokenBatch
    owner: NDArray[np.int64]

    @property
    def counts(self) -> NDArray[np.int64]:
        """Number of tokens before the reduction in each token that is left, int64 ``(tokens left,)``."""
        return np.bincount(self.owner[self.owner != DROPPED], minlength=len(self.tokens.values))

    @property
    def dropped(self) -> NDArray[np.int64]:
        """Indices of the tokens that are in no token of the result, in rising order."""
        return np.flatnonzero(self.owner == DROPPED)


def unchanged(tokens: TokenBatch) -> Reduced:
    """All tokens of a batch, each in its own place."""
    return Reduced(tokens, np.arange(len(tokens.values)))


def followed(first: Reduced, second: Reduced) -> Reduced:
    """Two reductions in a row as one; ``second`` is the result for the tokens of ``first``."""
    owner = np.full(len(first.owner), DROPPED, dtype=np.int64)
    left = first.owner != DROPPED
    owner[left] = second.owner[first.owner[left]]
    return Reduced(second.tokens, owner)


def select(tokens: TokenBatch, kept: NDArray[np.bool_]) -> Reduced:
    """Keep the tokens under a mask ``(tokens,)``."""
    left = np.concatenate([[0], np.cumsum(kept)])
    owner = np.where(kept, left[:-1], DROPPED)
    return Reduced(TokenBatch(tokens.values[kept], left[tokens.offsets]), owner)


def merge(tokens: TokenBatch, groups: NDArray[np.int64], *, mean: bool, keep_length: bool = False) -> Reduced:
    """Put one token in the place of every group.

    Parameters
    ----------
    tokens
        A batch.
    groups : int64 (tokens,)
        Number of the group of each token within its document; the numbers of a document may have gaps.
        The groups of the result stand in rising order.
    mean
        The mean of a group, or its sum.
    keep_length
        Give the mean the mean length of the members.
    """
    import scipy.sparse as sp

    documents = np.repeat(np.arange(len(tokens)), tokens.lengths)
    stride = int(groups.max(initial=0)) + 1
    present, owner = np.unique(documents * stride + groups, return_inverse=True)
    offsets = np.searchsorted(present, np.arange(len(tokens) + 1) * stride)
    sizes = np.bincount(owner, minlength=len(present)) if mean else np.ones(len(present))
    shares = (1 / sizes).astype(np.float32)[owner]
    values = np.empty((len(present), tokens.dim), dtype=tokens.values.dtype)
    for block in document_blocks(tokens.offsets, BLOCK_TOKENS):
        first, last = tokens.offsets[block.start], tokens.offsets[block.stop]
        rows = slice(offsets[block.start], offsets[block.stop])
        # Every column has one entry, so the matrix needs no sorting.
        members = sp.csc_array(
            (shares[first:last], owner[first:last] - rows.start, np.arange(last - first + 1)),
            shape=(rows.stop - rows.start, last - first),
        )
        members_values = tokens.values[first:last].astype(np.float32, copy=False)
        merged = members @ members_values
        if keep_length:
            length_before, length_after = members @ _lengths(members_values), _lengths(merged)
            merged *= np.divide(
                length_before, length_after, out=np.ones_like(length_after), where=length_after > 0
            )[:, None]
        values[rows] = merged
    return Reduced(TokenBatch(values, offsets), owner.astype(np.int64))


def unit(values: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows at length one; zeros stay."""
    lengths = _lengths(values)[:, None]
    return np.divide(values, lengths, out=np.zeros_like(values), where=lengths > 0)


def _lengths(values: NDArray[np.float32]) -> NDArray[np.float32]:
    lengths: NDArray[np.float32] = np.sqrt(np.einsum("td,td->t", values, values))
    return lengths
