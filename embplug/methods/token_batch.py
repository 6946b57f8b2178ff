"""Ragged batches of token matrices: the one multivector type of embplug."""

from __future__ import annotations

import operator
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeAlias, overload

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embplug.errors import DimensionError, InvalidArgumentError, LengthMismatchError
from embplug.methods.numeric.arrays import as_array, as_float32

Tokens: TypeAlias = NDArray[Any]
"""A token matrix: float32 or float16 ``(tokens, dim)``."""


@dataclass(frozen=True, eq=False)
class TokenBatch:
    """Token matrices of n documents or queries, concatenated to one matrix.

    ``len(batch)`` is n, ``batch[i]`` is the token matrix of document ``i``, and a slice is a batch.

    Parameters
    ----------
    values : array-like of shape (sum_tokens, dim), float
        Token vectors of all documents. C-contiguous float32 and float16 arrays are kept without a copy. Other
        arrays are copied, and floats of other types become float32.
    offsets : array-like of shape (n + 1,), int
        Document ``i`` has the rows ``offsets[i]:offsets[i + 1]`` of ``values``, which may be none.

    Attributes
    ----------
    values : ndarray of shape (sum_tokens, dim), float32 or float16
        Token vectors of all documents.
    offsets : ndarray of shape (n + 1,), int64
        Rows at which documents begin, and the number of all rows.

    Raises
    ------
    DimensionError
        ``values`` is not a matrix, or has no columns.
    InvalidArgumentError
        ``values`` are not floats, or ``offsets`` are not integers that rise from 0.
    LengthMismatchError
        The last offset is not the number of tokens.

    Examples
    --------
    >>> import numpy as np
    >>> from embplug import TokenBatch
    >>> batch = TokenBatch.from_list([np.ones((3, 8)), np.ones((5, 8))])
    >>> batch
    TokenBatch(2 documents, 8 tokens, dim=8, float32)
    >>> batch.lengths.tolist()
    [3, 5]
    """

    values: Tokens
    offsets: NDArray[np.int64]

    def __post_init__(self) -> None:
        values = _as_numpy(self.values, "values")
        if values.ndim != 2 or values.shape[1] == 0:
            raise DimensionError("values", "shape (sum_tokens, dim)", f"shape {values.shape}")
        if values.dtype.kind != "f":
            raise InvalidArgumentError("values", "float32 or float16", values.dtype)
        offsets = _as_numpy(self.offsets, "offsets")
        if offsets.ndim != 1 or offsets.size == 0 or offsets.dtype.kind not in "iu":
            raise InvalidArgumentError(
                "offsets", "integers of shape (n + 1,)", f"{offsets.dtype} of shape {offsets.shape}"
            )
        offsets = np.ascontiguousarray(offsets, dtype=np.int64)
        if offsets[0] != 0:
            raise InvalidArgumentError("offsets[0]", "0", offsets[0])
        falling = np.flatnonzero(offsets[1:] < offsets[:-1])
        if falling.size:
            at = int(falling[0]) + 1
            raise InvalidArgumentError(f"offsets[{at}]", f"at least {offsets[at - 1]}", offsets[at])
        if offsets[-1] != len(values):
            raise LengthMismatchError("offsets[-1]", f"the number of tokens, {len(values)}", offsets[-1])
        kept = np.ascontiguousarray(values) if values.dtype == np.float16 else as_float32(values)
        object.__setattr__(self, "values", kept)
        object.__setattr__(self, "offsets", offsets)

    @classmethod
    def from_list(cls, arrays: Sequence[ArrayLike], dim: int | None = None) -> TokenBatch:
        """Concatenate token matrices.

        Parameters
        ----------
        arrays : sequence of array-like of shape (t_i, dim)
            Token matrix of each document: numpy arrays, torch tensors or nested lists. The batch is float16
            if all of them are, and float32 otherwise.
        dim : int, default=None
            Dimension of a token vector. None takes it from the first array that has tokens.

        Returns
        -------
        TokenBatch
            The batch.

        Raises
        ------
        DimensionError
            An array does not have the shape (t, dim). The error names the first one.
        InvalidArgumentError
            There is neither a token nor ``dim``, or an array holds something that is not a number.
        """
        matrices = [_as_numpy(array, f"arrays[{i}]") for i, array in enumerate(arrays)]
        if dim is None:
            dim = next((m.shape[1] for m in matrices if m.ndim == 2 and m.shape[1] > 0), None)
        if dim is None or dim < 1:
            raise InvalidArgumentError("dim", "a dimension of at least 1 where there are no tokens", dim)
        for i, matrix in enumerate(matrices):
            if matrix.shape == (0,):
                matrices[i] = matrix = np.empty((0, dim), dtype=np.float16)
            if matrix.ndim != 2 or matrix.shape[1] != dim:
                raise DimensionError(f"arrays[{i}]", f"shape (tokens, {dim})", f"shape {matrix.shape}")
            if matrix.dtype.kind not in "fiub":
                raise InvalidArgumentError(f"arrays[{i}]", "numbers", matrix.dtype)
        offsets = np.zeros(len(matrices) + 1, dtype=np.int64)
        np.cumsum([len(matrix) for matrix in matrices], out=offsets[1:])
        values = np.empty((offsets[-1], dim), dtype=_common_dtype([m.dtype for m in matrices if len(m)]))
        if matrices:
            # What float32 cannot hold becomes infinity, which those who store tokens refuse by name.
            with np.errstate(over="ignore"):
                np.concatenate(matrices, out=values, casting="unsafe")
        return cls(values, offsets)

    @classmethod
    def from_padded(cls, values: ArrayLike, mask: ArrayLike) -> TokenBatch:
        """Build a batch from padded token matrices.

        Parameters
        ----------
        values : array-like of shape (n, t, dim)
            Padded token matrices, as an array or a torch tensor. The values of the padding are ignored.
        mask : array-like of shape (n, t)
            Zero for padding, and another number for a token. Padding may stand anywhere in a row.

        Returns
        -------
        TokenBatch
            The tokens without the padding.

        Raises
        ------
        DimensionError
            ``values`` does not have three axes.
        LengthMismatchError
            ``mask`` does not have the shape of the first two axes of ``values``.
        """
        padded, kept = _as_numpy(values, "values"), _as_numpy(mask, "mask") != 0
        if padded.ndim != 3 or padded.shape[2] == 0:
            raise DimensionError("values", "shape (n, tokens, dim)", f"shape {padded.shape}")
        if kept.shape != padded.shape[:2]:
            raise LengthMismatchError("mask", f"shape {padded.shape[:2]}", f"shape {kept.shape}")
        offsets = np.zeros(len(padded) + 1, dtype=np.int64)
        np.cumsum(kept.sum(axis=1), out=offsets[1:])
        return cls(padded[kept], offsets)

    @classmethod
    def concat(cls, batches: Sequence[TokenBatch]) -> TokenBatch:
        """Concatenate batches.

        Parameters
        ----------
        batches : sequence of TokenBatch
            Batches of the same dimension, at least one.

        Returns
        -------
        TokenBatch
            Documents of all batches, in order. It is float16 if all batches are, and float32 otherwise.

        Raises
        ------
        InvalidArgumentError
            There is no batch.
        DimensionError
            A batch has another dimension than the first. The error names the first such batch.
        """
        if not batches:
            raise InvalidArgumentError("batches", "at least one TokenBatch", 0)
        for i, batch in enumerate(batches):
            if batch.dim != batches[0].dim:
                raise DimensionError(f"batches[{i}]", f"dim {batches[0].dim}", batch.dim)
        offsets = np.zeros(sum(len(batch) for batch in batches) + 1, dtype=np.int64)
        np.cumsum(np.concatenate([batch.lengths for batch in batches]), out=offsets[1:])
        dtype = _common_dtype([batch.values.dtype for batch in batches])
        return cls(np.concatenate([batch.values for batch in batches], dtype=dtype), offsets)

    @property
    def dim(self) -> int:
        """Dimension of a token vector."""
        return int(self.values.shape[1])

    @property
    def lengths(self) -> NDArray[np.int64]:
        """Number of tokens of each document: ndarray of shape (n,), int64."""
        return self.offsets[1:] - self.offsets[:-1]

    def place(self, row: int) -> tuple[int, int]:
        """Return the document that owns a row of ``values``, and the position of the row in it."""
        document = int(np.searchsorted(self.offsets, row, side="right")) - 1
        return document, row - int(self.offsets[document])

    def __len__(self) -> int:
        return len(self.offsets) - 1

    def __repr__(self) -> str:
        return (
            f"TokenBatch({len(self)} documents, {len(self.values)} tokens, "
            f"dim={self.dim}, {self.values.dtype})"
        )

    @overload
    def __getitem__(self, index: int) -> Tokens: ...
    @overload
    def __getitem__(self, index: slice) -> TokenBatch: ...
    def __getitem__(self, index: int | slice) -> Tokens | TokenBatch:
        """Return the token matrix of a document, or a batch of a slice; views if the step is 1."""
        if isinstance(index, slice):
            start, stop, step = index.indices(len(self))
            if step != 1:
                return self.take(np.arange(start, stop, step))
            stop = max(start, stop)
            first, last = self.offsets[start], self.offsets[stop]
            return TokenBatch(self.values[first:last], self.offsets[start : stop + 1] - first)
        i = operator.index(index)
        if not -len(self) <= i < len(self):
            raise IndexError(f"document {i} of a batch of {len(self)}")
        i %= len(self)
        return self.values[self.offsets[i] : self.offsets[i + 1]]

    def __iter__(self) -> Iterator[Tokens]:
        for start, stop in zip(self.offsets[:-1].tolist(), self.offsets[1:].tolist(), strict=True):
            yield self.values[start:stop]

    def take(self, indices: ArrayLike) -> TokenBatch:
        """Copy documents by their positions.

        Parameters
        ----------
        indices : array-like of shape (m,), int
            Positions of documents, which may repeat. Negative positions count from the end.

        Returns
        -------
        TokenBatch
            The m documents, in the order of ``indices``.

        Raises
        ------
        IndexError
            A position lies outside of the batch.
        InvalidArgumentError
            ``indices`` is not a list of integers.
        """
        chosen = np.asarray(indices)
        if chosen.ndim != 1 or (chosen.size and chosen.dtype.kind not in "iu"):
            raise InvalidArgumentError(
                "indices", "a list of integers", f"{chosen.dtype} of shape {chosen.shape}"
            )
        chosen = chosen.astype(np.int64)
        outside = chosen[(chosen < -len(self)) | (chosen >= len(self))]
        if outside.size:
            raise IndexError(f"document {outside[0]} of a batch of {len(self)}")
        chosen[chosen < 0] += len(self)
        rows, offsets = taken_rows(self.offsets, chosen)
        return TokenBatch(self.values[rows], offsets)

    def to_float32(self) -> TokenBatch:
        """Return the same tokens as float32.

        Returns
        -------
        TokenBatch
            This batch itself if it is float32 already.
        """
        if self.values.dtype == np.float32:
            return self
        return TokenBatch(self.values.astype(np.float32), self.offsets)

    def to_list(self) -> list[Tokens]:
        """Return the token matrix of each document.

        Returns
        -------
        list of ndarray of shape (t_i, dim)
            Views of ``values``.
        """
        return list(self)


def _as_numpy(array: Any, argument: str) -> NDArray[Any]:
    try:
        return as_array(array)
    except ValueError as error:
        raise InvalidArgumentError(argument, "a regular array", str(error)) from error


def _common_dtype(dtypes: Sequence[np.dtype[Any]]) -> type[np.float16] | type[np.float32]:
    return np.float16 if dtypes and all(dtype == np.float16 for dtype in dtypes) else np.float32


def taken_rows(
    offsets: NDArray[np.int64], documents: NDArray[np.int64]
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Rows of the tokens of documents that are taken by their positions, and the offsets of these."""
    lengths = np.diff(offsets)[documents]
    taken = np.zeros(len(documents) + 1, dtype=np.int64)
    np.cumsum(lengths, out=taken[1:])
    return np.arange(taken[-1]) + np.repeat(offsets[documents] - taken[:-1], lengths), taken


def token_rows(offsets: NDArray[np.int64], documents: slice) -> slice:
    """Rows of the tokens of consecutive documents."""
    return slice(int(offsets[documents.start]), int(offsets[documents.stop]))


def document_blocks(offsets: NDArray[np.int64], tokens: int) -> Iterator[slice]:
    """Runs of documents of at most ``tokens`` tokens together; a longer one stands alone."""
    start, count = 0, len(offsets) - 1
    while start < count:
        stop = int(np.searchsorted(offsets, offsets[start] + tokens, side="right")) - 1
        stop = max(stop, start + 1)
        yield slice(start, stop)
        start = stop


def check_token_batch(tokens: Any, argument: str = "tokens") -> None:
    """Refuse tokens that are not a ``TokenBatch``.

    Raises
    ------
    InvalidArgumentError
        They are something else; the error names the argument.
    """
    if not isinstance(tokens, TokenBatch):
        raise InvalidArgumentError(
            argument, "a TokenBatch", f"{type(tokens).__name__}; use TokenBatch.from_list"
        )
