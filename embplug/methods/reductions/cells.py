"""Where tokens lie on the grid of patches of an image."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

from embplug.common.validation import short_repr
from embplug.errors import InvalidArgumentError, LengthMismatchError
from embplug.methods.token_batch import TokenBatch

OFF_GRID = -1
"""Row and column of a token that is no patch, such as those of a prompt."""

LARGEST = (1 << 31) - 1
"""Largest number of a grid, whose rows times columns 64 bits hold."""


def checked_grids(grids: Any, tokens: TokenBatch, argument: str = "grids") -> NDArray[np.int64]:
    """Check grids of patches against the tokens of their documents.

    Parameters
    ----------
    grids : array-like of shape (n, 2) or (n, 3), or sequence of tuple or None
        For each document: rows and columns of its patches, and the number of tokens before the first patch,
        by default 0. None, or no rows and columns, is a document without patches.
    tokens : TokenBatch
        The documents.
    argument : str, default="grids"
        Name of the argument, for the errors.

    Returns
    -------
    ndarray of shape (n, 3), int64

    Raises
    ------
    LengthMismatchError
        There are not as many grids as documents, or a document has fewer tokens than its grid.
    InvalidArgumentError
        A grid is not made of two or three integers that are large enough.
    """
    if isinstance(grids, str | bytes) or not hasattr(grids, "__len__"):
        raise InvalidArgumentError(argument, "a grid for each document", short_repr(grids))
    if len(grids) != len(tokens):
        raise LengthMismatchError(argument, f"{len(tokens)} grids, one for each document", len(grids))
    checked = np.zeros((len(tokens), 3), dtype=np.int64)
    for i, grid in enumerate(grids):
        if grid is not None:
            numbers = _numbers(grid)
            well_formed = numbers.shape in ((2,), (3,)) and numbers.dtype.kind in "iu"
            well_formed = well_formed and numbers.min() >= 0 and numbers.max() <= LARGEST
            # No rows and no columns are a document without patches.
            if not well_formed or (numbers[:2] == 0).sum() == 1:
                expected = "(rows, columns) or (rows, columns, tokens before the first patch)"
                raise InvalidArgumentError(f"{argument}[{i}]", expected, short_repr(grid))
            checked[i, : len(numbers)] = numbers
    needed, lengths = checked[:, 0] * checked[:, 1] + checked[:, 2], tokens.lengths
    # Documents without tokens are left to the checks of tokens.
    short = np.flatnonzero((lengths < needed) & (lengths > 0))
    if short.size:
        i = int(short[0])
        rows, columns, before = checked[i].tolist()
        expected = f"at most the {lengths[i]} tokens of the document"
        raise LengthMismatchError(f"{argument}[{i}]", expected, f"{before} + {rows} x {columns}")
    return checked


def _numbers(grid: Any) -> NDArray[Any]:
    try:
        return np.asarray(grid)
    except ValueError:  # rows of different lengths
        return np.empty(0)


def patch_cells(tokens: TokenBatch, grids: ArrayLike | Sequence[Sequence[int] | None]) -> NDArray[np.int32]:
    """Return row and column of every token on the grid of its document.

    Parameters
    ----------
    tokens : TokenBatch
        Documents whose patches stand row by row.
    grids : array-like of shape (n, 2) or (n, 3), or sequence of tuple or None
        For each document: rows and columns of its patches, and the number of tokens before the first patch,
        by default 0. None is a document without patches.

    Returns
    -------
    ndarray of shape (sum_tokens, 2), int32
        Row and column, or -1 twice for a token that is no patch.

    Raises
    ------
    LengthMismatchError
        There are not as many grids as documents, or a document has fewer tokens than its grid.
    InvalidArgumentError
        A grid is not made of two or three integers that are large enough.

    Examples
    --------
    >>> import numpy as np
    >>> from embplug import TokenBatch
    >>> from embplug.methods import patch_cells
    >>> page = TokenBatch.from_list([np.ones((5, 8))])
    >>> patch_cells(page, [(2, 2, 1)]).tolist()
    [[-1, -1], [0, 0], [0, 1], [1, 0], [1, 1]]
    """
    checked = checked_grids(grids, tokens)
    rows, columns, before = np.repeat(checked, tokens.lengths, axis=0).T
    place = np.arange(len(tokens.values)) - np.repeat(tokens.offsets[:-1], tokens.lengths) - before
    on_grid = (place >= 0) & (place < rows * columns)
    cells = np.full((len(place), 2), OFF_GRID, dtype=np.int32)
    cells[on_grid] = np.stack(np.divmod(place[on_grid], columns[on_grid]), axis=1)
    return cells
