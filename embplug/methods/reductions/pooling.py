"""Fewer tokens: one in the place of several that are alike, or that are neighbours on a page."""

from __future__ import annotations

from typing import Any, ClassVar, Literal

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import ConfigDict, Field
from pydantic.dataclasses import dataclass
from typing_extensions import Self, override

from embplug.common.threads import single_blas_thread
from embplug.errors import InvalidArgumentError, LengthMismatchError
from embplug.methods.reductions.cells import OFF_GRID, patch_cells
from embplug.methods.reductions.reduced import Reduced, merge, unit
from embplug.methods.registry import register
from embplug.methods.roles import Reduction
from embplug.methods.token_batch import TokenBatch, check_token_batch, document_blocks

_CONFIG = ConfigDict(extra="forbid")

BLOCK_TOKENS = 4096


@register("hierarchical", roles=("reduction",))
@dataclass(frozen=True, config=_CONFIG)
class HierarchicalPooling(Reduction):
    """Merges the most similar tokens of a document, step by step.

    It is Ward's method on the directions of tokens.

    Parameters
    ----------
    factor : float, default=2.0
        A document of t tokens keeps at most ``ceil(t / factor)`` tokens.
    keep_length : bool, default=True
        Whether the mean of a group is scaled to the mean length of its tokens. MaxSim over unit tokens needs
        it.
    kind : str, default="hierarchical"
        Name of the method in a recipe; leave it as it is.

    References
    ----------
    .. [1] Clavié, Chaffin and Adams, "Reducing the Footprint of Multi-Vector Retrieval with Minimal
           Performance Impact via Token Pooling", 2024, arXiv:2409.14683.
    """

    factor: float = Field(default=2.0, ge=1)
    keep_length: bool = True
    kind: Literal["hierarchical"] = "hierarchical"

    pools: ClassVar[bool] = True

    @classmethod
    @override
    def trials(cls, dim: int) -> dict[str, Self]:
        return {"pooled": cls(factor=2)}

    def reduce(
        self, tokens: TokenBatch, saliency: ArrayLike | None = None, cells: ArrayLike | None = None
    ) -> Reduced:
        """Replace every group of tokens by one token.

        Parameters
        ----------
        tokens : TokenBatch
            Token vectors of documents.
        saliency, cells : array-like, default=None
            Not used.

        Returns
        -------
        Reduced
            Groups stand in the order of their first tokens.
        """
        check_token_batch(tokens)
        groups = np.empty(len(tokens.values), dtype=np.int64)
        with single_blas_thread():
            for i, count_left in enumerate(_left(tokens.lengths, self.factor).tolist()):
                document = tokens[i].astype(np.float32, copy=False)
                groups[tokens.offsets[i] : tokens.offsets[i + 1]] = _ward(document, count_left)
        return merge(tokens, groups, mean=True, keep_length=self.keep_length)


@register("kmeans", roles=("reduction",))
@dataclass(frozen=True, config=_CONFIG)
class KMeansPooling(Reduction):
    """Merges the tokens of a document by k-means on their directions.

    Parameters
    ----------
    factor : float, default=2.0
        A document of t tokens keeps at most ``ceil(t / factor)`` tokens.
    rounds : int, default=4
        Number of rounds of Lloyd's algorithm, which starts from tokens at equal steps through the document.
    keep_length : bool, default=True
        Whether the mean of a group is scaled to the mean length of its tokens. MaxSim over unit tokens needs
        it.
    kind : str, default="kmeans"
        Name of the method in a recipe; leave it as it is.

    References
    ----------
    .. [1] Clavié, Chaffin and Adams, "Reducing the Footprint of Multi-Vector Retrieval with Minimal
           Performance Impact via Token Pooling", 2024, arXiv:2409.14683.
    """

    factor: float = Field(default=2.0, ge=1)
    rounds: int = Field(default=4, ge=1)
    keep_length: bool = True
    kind: Literal["kmeans"] = "kmeans"

    pools: ClassVar[bool] = True

    def reduce(
        self, tokens: TokenBatch, saliency: ArrayLike | None = None, cells: ArrayLike | None = None
    ) -> Reduced:
        """Replace every cluster of tokens by one token.

        Parameters
        ----------
        tokens : TokenBatch
            Token vectors of documents.
        saliency, cells : array-like, default=None
            Not used.

        Returns
        -------
        Reduced
            Clusters stand in the order of the tokens that they started from.
        """
        check_token_batch(tokens)
        groups = np.empty(len(tokens.values), dtype=np.int64)
        # Documents of like lengths are computed together, padded to the longest.
        order = np.argsort(tokens.lengths, kind="stable")
        order = order[tokens.lengths[order] > 0]
        lengths = tokens.lengths[order]
        with single_blas_thread():
            for block in document_blocks(np.concatenate([[0], np.cumsum(lengths)]), BLOCK_TOKENS):
                places = np.arange(lengths[block.stop - 1])
                inside = places < lengths[block, None]
                rows = (tokens.offsets[order[block], None] + places)[inside]
                padded = np.zeros((*inside.shape, tokens.dim), dtype=np.float32)
                padded[inside] = unit(tokens.values[rows].astype(np.float32, copy=False))
                groups[rows] = self._groups(padded, lengths[block])[inside]
        return merge(tokens, groups, mean=True, keep_length=self.keep_length)

    def _groups(self, tokens: NDArray[np.float32], lengths: NDArray[np.int64]) -> NDArray[np.int64]:
        """Group (documents, tokens) of padded tokens (documents, tokens, dim)."""
        import scipy.sparse as sp

        documents, padded, dim = tokens.shape
        count_left = _left(lengths, self.factor)[:, None]
        numbers = np.arange(count_left.max())
        absent = numbers >= count_left
        first = np.where(absent, 0, numbers * lengths[:, None] // count_left)
        centroids = np.take_along_axis(tokens, first[..., None], axis=1)
        starts = np.arange(documents * padded + 1)
        ones = np.ones(documents * padded, dtype=np.float32)
        for i in range(self.rounds + 1):
            halves = np.where(absent, np.inf, np.einsum("dcx,dcx->dc", centroids, centroids) / 2)
            groups: NDArray[np.int64] = (tokens @ centroids.transpose(0, 2, 1) - halves[:, None]).argmax(
                axis=2
            )
            if i == self.rounds:
                break
            owner = (groups + np.arange(documents)[:, None] * len(numbers)).reshape(-1)
            shape = (documents * len(numbers), documents * padded)
            sums = sp.csc_array((ones, owner, starts), shape=shape) @ tokens.reshape(-1, dim)
            inside = np.arange(padded) < lengths[:, None]
            sizes = np.bincount(owner[inside.reshape(-1)], minlength=shape[0])[:, None]
            means = np.where(sizes > 0, sums / np.maximum(sizes, 1), centroids.reshape(-1, dim))
            centroids = means.reshape(centroids.shape).astype(np.float32)
        return groups


@register("grid", roles=("reduction",))
@dataclass(frozen=True, config=_CONFIG)
class GridPooling(Reduction):
    """Merges the patches of a page image that lie in the same tile: rows, columns or rectangles.

    Parameters
    ----------
    rows : int, default=None
        Rows of patches of a page whose grid nobody tells. Its first ``rows * columns`` tokens are the
        patches, row by row. None takes the grid of each page from its encoder, or from ``grids`` of
        :meth:`Collection.add <embplug.Collection.add>`.
    columns : int, default=None
        Columns of patches of such a page.
    tile_rows : int, default=1
        Number of rows of a tile. None takes all rows.
    tile_columns : int, default=None
        Number of columns of a tile. None takes all columns. Tiles at the right and lower margin may be
        smaller.
    keep_length : bool, default=True
        Whether the mean of a tile is scaled to the mean length of its tokens. MaxSim over unit tokens needs
        it.
    kind : str, default="grid"
        Name of the method in a recipe; leave it as it is.
    """

    rows: int | None = Field(default=None, ge=1)
    columns: int | None = Field(default=None, ge=1)
    tile_rows: int | None = Field(default=1, ge=1)
    tile_columns: int | None = Field(default=None, ge=1)
    keep_length: bool = True
    kind: Literal["grid"] = "grid"

    pools: ClassVar[bool] = True

    def __post_init__(self) -> None:
        if (self.rows is None) != (self.columns is None):
            missing = "rows" if self.rows is None else "columns"
            raise InvalidArgumentError(missing, "an integer, because the other side has one", None)

    @property
    def needs_cells(self) -> bool:
        """Whether the grids of pages have to be told."""
        return self.rows is None

    def reduce(
        self, tokens: TokenBatch, saliency: ArrayLike | None = None, cells: ArrayLike | None = None
    ) -> Reduced:
        """Replace every tile by one token.

        Parameters
        ----------
        tokens : TokenBatch
            Pages.
        saliency : array-like, default=None
            Not used.
        cells : array-like of shape (sum_tokens, 2), default=None
            Row and column of each token on its page, as :func:`~embplug.methods.patch_cells` returns them.
            None is right for pages of the grid of ``rows`` and ``columns``.

        Returns
        -------
        Reduced
            Tiles stand in the order of their first tokens. Tokens that are no patches are kept.

        Raises
        ------
        LengthMismatchError
            There are not as many cells as tokens, or a page has fewer tokens than its grid.
        InvalidArgumentError
            ``cells`` is None and ``rows`` is None, or ``cells`` are no integers.
        """
        check_token_batch(tokens)
        row, column = self._cells(cells, tokens).T
        place = np.arange(len(row)) - np.repeat(tokens.offsets[:-1], tokens.lengths)
        page = np.repeat(np.arange(len(tokens)), tokens.lengths)
        off_grid = row == OFF_GRID
        tile_row = np.zeros_like(row) if self.tile_rows is None else row // self.tile_rows
        tile_column = np.zeros_like(column) if self.tile_columns is None else column // self.tile_columns
        # A token that is no patch is a tile of its own.
        tile_row, tile_column = np.where(off_grid, OFF_GRID, tile_row), np.where(off_grid, place, tile_column)
        width = int(tile_column.max(initial=0)) + 1
        height = int(tile_row.max(initial=0)) + 1 - OFF_GRID
        tiles = (page * height + tile_row - OFF_GRID) * width + tile_column
        _, first, owner = np.unique(tiles, return_index=True, return_inverse=True)
        groups = place[first][owner]
        return merge(tokens, groups, mean=True, keep_length=self.keep_length)

    def _cells(self, cells: ArrayLike | None, tokens: TokenBatch) -> NDArray[np.int64]:
        """Row and column of every token."""
        if cells is None:
            if self.rows is None or self.columns is None:
                raise InvalidArgumentError("cells", "row and column of each token on its page", None)
            short = np.flatnonzero((tokens.lengths < self.rows * self.columns) & (tokens.lengths > 0))
            if short.size:
                expected = f"at least the {self.rows} x {self.columns} tokens of the grid of GridPooling"
                raise LengthMismatchError(f"tokens[{short[0]}]", expected, int(tokens.lengths[short[0]]))
            # A page without tokens has no grid.
            grids = [(self.rows, self.columns) if count else None for count in tokens.lengths.tolist()]
            return patch_cells(tokens, grids).astype(np.int64)
        places = np.asarray(cells)
        if places.shape != (len(tokens.values), 2):
            raise LengthMismatchError("cells", f"shape ({len(tokens.values)}, 2)", f"shape {places.shape}")
        if places.dtype.kind not in "iu":
            raise InvalidArgumentError("cells", "integers", places.dtype)
        return places.astype(np.int64)


def _left(lengths: Any, factor: float) -> Any:
    # A quotient such as 1.1 * 10 / 1.1 may lie a rounding error above the number that is meant.
    return np.ceil(lengths / factor - 1e-9).astype(np.int64)


def _ward(tokens: NDArray[np.float32], count_left: int) -> NDArray[np.int64]:
    """Group of every token, by its first member, of at most ``count_left`` groups."""
    from scipy.cluster.hierarchy import fcluster, linkage

    count = len(tokens)
    if count_left == count:
        return np.arange(count)
    directions = unit(tokens)
    cosines = (directions @ directions.T)[~np.tri(count, dtype=np.bool_)]
    distances = np.sqrt(np.maximum(2 - 2 * cosines, 0), dtype=np.float64)
    labels = fcluster(linkage(distances, method="ward"), count_left, criterion="maxclust")
    _, first, groups = np.unique(labels, return_index=True, return_inverse=True)
    return first[groups]
