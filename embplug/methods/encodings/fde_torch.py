"""Fixed dimensional encodings on a torch device: step by step what FDE does with numpy."""

from __future__ import annotations

from typing import Any

import numpy as np
from numpy.typing import NDArray

from embplug.common.torch_device import torch_on
from embplug.methods.numeric.partition import Cells, CrossPolytopeCells, Float32, SimHashCells

DEVICE_WORKSPACE_BYTES = 256 << 20
"""Bound of the intermediate arrays of a chunk on the device, together."""


class TorchEncoder:
    """Encodes chunks of documents on a device.

    Parameters
    ----------
    cells
        The partitions.
    projections
        (repetitions * width, dim), dense or sparse; ``None`` is the identity.
    final
        (encoded, final_dim), dense, or sparse with one entry per row; ``None`` is the identity.
    fill
        Whether empty cells get the nearest token.
    device
        Of torch.

    Raises
    ------
    MissingExtraError
        torch is not installed.
    InvalidArgumentError
        torch has no such device.
    """

    def __init__(self, cells: Cells, projections: Any, final: Any, fill: bool, device: str) -> None:
        import scipy.sparse as sp

        self.torch, self.device = torch_on(device, "encoding on a torch device")
        self.cells = cells
        self.fill = fill
        self.normals = self._tensor(cells.normals)
        self.bias = None if cells.bias is None else self._tensor(cells.bias)[..., None]
        dense = projections.toarray() if sp.issparse(projections) else projections
        self.projections = None if dense is None else self._tensor(dense)
        self.final = self.targets = self.signs = None
        if sp.issparse(final):
            self.targets, self.signs = self._tensor(final.indices.astype(np.int64)), self._tensor(final.data)
            self.final_dim = final.shape[1]
        elif final is not None:
            self.final = self._tensor(final)

    def encode_chunk(self, values: NDArray[Any], offsets: NDArray[np.int64]) -> Float32:
        """Encodings (n, encoded) of the documents of a chunk, as FDE makes them with numpy."""
        torch = self.torch
        count, repetitions, cells = len(offsets) - 1, len(self.normals), self.cells.per_repetition
        rows = count * repetitions * cells
        tokens = self._tensor(values).float()
        owner = torch.repeat_interleave(self._tensor(np.diff(offsets)))
        scores = self._scores(tokens)
        first = torch.arange(repetitions, device=self.device) * cells
        places = self._assign(scores).T + first + owner[:, None] * (repetitions * cells)
        if self.projections is None:
            projected = tokens[:, None].expand(-1, repetitions, -1)
        else:
            width = len(self.projections) // repetitions
            projected = (tokens @ self.projections.T).reshape(len(tokens), repetitions, width)
        sizes = torch.bincount(places.reshape(-1), minlength=rows)
        encoded = torch.zeros((rows, projected.shape[2]), device=self.device)
        encoded.index_add_(0, places.reshape(-1), projected.reshape(-1, projected.shape[2]))
        encoded /= sizes.clamp(min=1)[:, None]
        if self.fill and len(tokens):
            nearest = self._nearest(scores, places, owner, count)
            filled = ((sizes == 0) & (nearest < len(tokens))).nonzero()[:, 0]
            encoded[filled] = projected[nearest[filled], filled // cells % repetitions]
        encoded = encoded.reshape(count, -1)
        if self.targets is not None:
            whole = torch.zeros((count, self.final_dim), device=self.device)
            encoded = whole.index_add_(1, self.targets, encoded * self.signs)
        elif self.final is not None:
            encoded = encoded @ self.final
        result: Float32 = encoded.cpu().numpy()
        return result

    def _tensor(self, array: NDArray[Any]) -> Any:
        return self.torch.tensor(array, device=self.device)

    def _scores(self, tokens: Any) -> Any:
        """(repetitions, scores, tokens), as :meth:`Cells.scores`."""
        repetitions, scores, dim = self.normals.shape
        flat = self.normals.reshape(-1, dim) @ tokens.T
        scored = flat.reshape(repetitions, scores, len(tokens))
        if self.bias is not None:
            scored = scored - self.bias
        return (
            self.torch.cat([scored, -scored], dim=1) if isinstance(self.cells, CrossPolytopeCells) else scored
        )

    def _assign(self, scores: Any) -> Any:
        """(repetitions, tokens), as :meth:`Cells.assign`."""
        if not isinstance(self.cells, SimHashCells):
            return scores.argmax(dim=1)
        cells = self.torch.zeros(
            (scores.shape[0], scores.shape[2]), dtype=self.torch.int64, device=self.device
        )
        for bit, mark in enumerate(self.cells.marks.tolist()):
            cells ^= (scores[:, bit] > 0) * mark
        return cells

    def _nearest(self, scores: Any, places: Any, owner: Any, count: int) -> Any:
        """Token that is nearest to each cell, as :meth:`Cells.nearest`; ``tokens`` where there is none."""
        torch = self.torch
        repetitions, bits, tokens = scores.shape
        numbers = torch.arange(tokens, device=self.device)
        if isinstance(self.cells, SimHashCells):
            # table = Hamming distance * tokens + token
            far = tokens * (bits + 1)
            table = torch.full((count * repetitions * self.cells.per_repetition,), far, device=self.device)
            table.scatter_reduce_(0, places.reshape(-1), numbers.repeat_interleave(repetitions), "amin")
            table = table.reshape(-1, self.cells.per_repetition)
            cells = torch.arange(self.cells.per_repetition, device=self.device)
            for mark in self.cells.marks.tolist():
                table = torch.minimum(table, table[:, cells ^ mark] + tokens)
            table = table.reshape(-1)
            return torch.where(table < far, table % tokens, tokens)
        by_token = scores.permute(2, 0, 1)
        index = owner[:, None, None].expand_as(by_token)
        highest = torch.full((count, *scores.shape[:2]), -torch.inf, device=self.device)
        highest.scatter_reduce_(0, index, by_token, "amax")
        candidates = torch.where(by_token == highest[owner], numbers[:, None, None], tokens)
        first = torch.full(highest.shape, tokens, device=self.device)
        return first.scatter_reduce_(0, index, candidates, "amin").reshape(-1)
