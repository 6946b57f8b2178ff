"""Sparse vectors as users pass them, checked once at this edge, and as arrays for many documents."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray
from qdrant_client import models

from embplug.common.validation import short_repr
from embplug.errors import InvalidArgumentError, LengthMismatchError, NonFiniteError

LARGEST_INDEX = (1 << 32) - 1
"""Qdrant keeps indices as unsigned integers of 32 bits."""

_ONE = "a mapping of indices to weights, or a qdrant_client.models.SparseVector"


@dataclass(frozen=True, eq=False)
class SparseBatch:
    """Sparse vectors of n documents, concatenated.

    Attributes
    ----------
    indices : ndarray of shape (terms,), uint32
        Ids of the terms. They rise within a document, and each occurs once.
    values : ndarray of shape (terms,), float32
        Weight of each term.
    offsets : ndarray of shape (n + 1,), int64
        Document ``i`` has the terms ``offsets[i]:offsets[i + 1]``, which may be none.
    """

    indices: NDArray[np.uint32]
    values: NDArray[np.float32]
    offsets: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __getitem__(self, rows: slice) -> SparseBatch:
        """Return consecutive documents, without copying their terms."""
        start, stop, _ = rows.indices(len(self))
        stop = max(start, stop)
        first, last = self.offsets[start], self.offsets[stop]
        offsets = self.offsets[start : stop + 1] - first
        return SparseBatch(self.indices[first:last], self.values[first:last], offsets)

    def lists(self) -> list[tuple[list[int], list[float]]]:
        """Return the indices and the values of each document as lists."""
        bounds = self.offsets.tolist()
        indices, values = self.indices.tolist(), self.values.tolist()
        return [(indices[start:stop], values[start:stop]) for start, stop in pairwise(bounds)]

    def vectors(self) -> list[models.SparseVector]:
        """Return the vector of each document as Qdrant's model."""
        return [models.SparseVector(indices=indices, values=values) for indices, values in self.lists()]


SparseVectorLike: TypeAlias = "Mapping[int, float] | models.SparseVector | Any"
"""Weights by index; any object with ``indices`` and ``values`` is taken as a ``SparseVector``."""

SparseLike: TypeAlias = "Sequence[SparseVectorLike] | SparseBatch | Any"
"""A sparse vector for each document, or a scipy matrix with a row for each."""


def check_sparse(vectors: SparseLike, count: int, argument: str = "sparse") -> SparseBatch:
    """Check that sparse vectors can be stored.

    Parameters
    ----------
    vectors : sequence of mapping or SparseVector, or scipy sparse matrix of shape (count, n)
        Sparse vector of each document.
    count : int
        Number of documents.
    argument : str, default="sparse"
        Name of the argument, for the errors.

    Returns
    -------
    SparseBatch
        The vectors, with indices in rising order and without weights of 0.

    Raises
    ------
    LengthMismatchError
        There are not ``count`` vectors, or not as many weights as indices.
    NonFiniteError
        A weight is NaN, or float32 does not hold it.
    InvalidArgumentError
        An index is no integer of 32 bits, or occurs twice.
    """
    if isinstance(vectors, SparseBatch):
        indices, values, offsets = vectors.indices, vectors.values, vectors.offsets
    elif hasattr(vectors, "tocsr"):
        rows = vectors.tocsr()
        if rows.ndim != 2:
            raise InvalidArgumentError(argument, f"a matrix of {count} rows", f"shape {rows.shape}")
        indices, values, offsets = rows.indices, rows.data, rows.indptr
        if values.dtype.kind not in "biuf":
            raise InvalidArgumentError(argument, "weights that are numbers", f"dtype {values.dtype}")
    else:
        if isinstance(vectors, (str, bytes, Mapping)) or not isinstance(vectors, Sequence):
            expected = f"a sequence, each item {_ONE}; or a scipy sparse matrix"
            raise InvalidArgumentError(argument, expected, short_repr(vectors))
        pairs = [_pair(vector, f"{argument}[{i}]") for i, vector in enumerate(vectors)]
        indices = np.concatenate([pair[0] for pair in pairs]) if pairs else np.empty(0, np.int64)
        values = np.concatenate([pair[1] for pair in pairs]) if pairs else np.empty(0, np.float32)
        offsets = np.concatenate([[0], np.cumsum([len(pair[0]) for pair in pairs])])
    if len(offsets) - 1 != count:
        raise LengthMismatchError(argument, f"{count} sparse vectors", len(offsets) - 1)
    return _checked(np.asarray(indices), np.asarray(values), np.asarray(offsets, np.int64), argument)


def check_sparse_query(vector: SparseVectorLike, argument: str = "sparse") -> SparseBatch:
    """Check the sparse vector of a query; a scipy matrix has one row. See :func:`check_sparse`."""
    if isinstance(vector, SparseBatch) or hasattr(vector, "tocsr"):
        return check_sparse(vector, 1, argument)
    try:
        return check_sparse([vector], 1, argument)
    except InvalidArgumentError as error:
        raise type(error)(
            error.argument.replace(f"{argument}[0]", argument), error.expected, error.got
        ) from None


def _pair(vector: Any, argument: str) -> tuple[NDArray[Any], NDArray[np.float64]]:
    """Indices and weights of one vector, as they come."""
    if isinstance(vector, Mapping):
        indices, weights = [*vector], [*vector.values()]
    elif hasattr(vector, "indices") and hasattr(vector, "values"):
        indices, weights = vector.indices, vector.values
    else:
        raise InvalidArgumentError(argument, _ONE, short_repr(vector))
    try:
        found, values = np.asarray(indices), np.asarray(weights, dtype=np.float64)
    except (TypeError, ValueError, OverflowError) as error:
        raise InvalidArgumentError(argument, "weights that are numbers", str(error)) from None
    found = found.astype(np.int64) if found.size == 0 else found
    if found.ndim != 1 or found.dtype.kind not in "iu":
        expected = f"integers from 0 to {LARGEST_INDEX} as indices"
        raise InvalidArgumentError(argument, expected, short_repr(indices))
    if values.shape != found.shape:
        got = f"{len(found)} indices and weights of shape {values.shape}"
        raise LengthMismatchError(argument, "a weight for each index", got)
    return found, values


def _checked(
    indices: NDArray[Any], values: NDArray[Any], offsets: NDArray[np.int64], argument: str
) -> SparseBatch:
    owners = np.repeat(np.arange(len(offsets) - 1, dtype=np.uint64), np.diff(offsets))
    outside = np.flatnonzero((indices < 0) | (indices > LARGEST_INDEX))
    if outside.size:
        row = outside[0]
        expected = f"indices from 0 to {LARGEST_INDEX}"
        raise InvalidArgumentError(f"{argument}[{owners[row]}]", expected, indices[row])
    with np.errstate(over="ignore"):
        values = values.astype(np.float32)
    broken = np.flatnonzero(~np.isfinite(values))
    if broken.size:
        row = broken[0]
        got = f"{values[row]} at index {indices[row]}"
        raise NonFiniteError(f"{argument}[{owners[row]}]", "finite weights in float32", got)
    keys = owners << np.uint64(32) | indices.astype(np.uint64)
    if (keys[1:] <= keys[:-1]).any():
        order = np.argsort(keys, kind="stable")
        keys, values = keys[order], values[order]
        twice = np.flatnonzero(keys[1:] == keys[:-1])
        if twice.size:
            row = twice[0]
            got = f"index {keys[row] & np.uint64(LARGEST_INDEX)} twice"
            raise InvalidArgumentError(f"{argument}[{owners[row]}]", "each index once", got)
    kept = values != 0
    keys, values = keys[kept], values[kept]
    bounds = np.searchsorted(keys >> np.uint64(32), np.arange(len(offsets), dtype=np.uint64))
    indices = (keys & np.uint64(LARGEST_INDEX)).astype(np.uint32)
    return SparseBatch(indices, values, bounds.astype(np.int64))
