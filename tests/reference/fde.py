"""Fixed dimensional encodings the slow way: loops over repetitions, cells and tokens, in float64."""

from __future__ import annotations

import itertools
from dataclasses import dataclass
from typing import Any

import numpy as np


@dataclass
class Drawn:
    """What was drawn or learned, for every repetition.

    ``normals`` are hyperplanes, centroids or axes: (repetitions, scores, dim). ``projections`` is
    (repetitions, dim, width) or ``None``, ``final`` is (encoded, final_dim) or ``None``.
    """

    partitioner: str
    normals: np.ndarray
    mean: np.ndarray
    projections: np.ndarray | None
    final: np.ndarray | None
    gray: bool
    fill: bool


def encode_document(tokens: np.ndarray, drawn: Drawn) -> np.ndarray:
    parts = []
    for r, cells in enumerate(_all_cells(drawn)):
        for cell in cells:
            members = [x for x in tokens if _cell(x, r, cells, drawn) == cell]
            if members:
                vector = sum(members) / len(members)
            elif drawn.fill and len(tokens):
                distances = [_distance(x, cell, r, cells, drawn) for x in tokens]
                vector = tokens[distances.index(min(distances))]
            else:
                vector = np.zeros(tokens.shape[1])
            parts.append(_project(vector, r, drawn))
    return _finish(parts, drawn)


def encode_query(tokens: np.ndarray, weights: np.ndarray, drawn: Drawn) -> np.ndarray:
    parts = []
    for r, cells in enumerate(_all_cells(drawn)):
        for cell in cells:
            vector = np.zeros(tokens.shape[1])
            for x, weight in zip(tokens, weights, strict=True):
                if _cell(x, r, cells, drawn) == cell:
                    vector = vector + weight * x
            parts.append(_project(vector, r, drawn))
    return _finish(parts, drawn)


def _all_cells(drawn: Drawn) -> list[dict]:
    """For each repetition, cell number -> signs, centroid or direction that stands for the cell."""
    encodings = []
    for normals in drawn.normals:
        if drawn.partitioner == "simhash":
            signs = itertools.product([False, True], repeat=len(normals))
            cells = {_number(bits, drawn.gray): bits for bits in signs}
        elif drawn.partitioner == "kmeans":
            cells = dict(enumerate(normals))
        else:
            cells = dict(enumerate([*normals, *(-axis for axis in normals)]))
        encodings.append(dict(sorted(cells.items())))
    return encodings


def _number(bits: tuple[bool, ...], gray: bool) -> int:
    number = 0
    for bit in bits:
        number = (number << 1) + (bit ^ (number & 1) if gray else bit)
    return number


def _distance(x: np.ndarray, cell: int, r: int, cells: dict, drawn: Drawn) -> float:
    if drawn.partitioner == "simhash":
        signs = [normal @ (x - drawn.mean) > 0 for normal in drawn.normals[r]]
        return sum(mine != other for mine, other in zip(signs, cells[cell], strict=True))
    if drawn.partitioner == "kmeans":
        # Half the squared distance, less what does not depend on the cell.
        return float(cells[cell] @ cells[cell] / 2 - cells[cell] @ x)
    return -float(cells[cell] @ (x - drawn.mean))


def _cell(x: np.ndarray, r: int, cells: dict, drawn: Drawn) -> int:
    return min(cells, key=lambda cell: _distance(x, cell, r, cells, drawn))


def _project(vector: np.ndarray, r: int, drawn: Drawn) -> np.ndarray:
    return vector if drawn.projections is None else vector @ drawn.projections[r]


def _finish(parts: list[np.ndarray], drawn: Drawn) -> np.ndarray:
    encoding = np.concatenate(parts)
    return encoding if drawn.final is None else encoding @ drawn.final


def drawn(fde: Any, dim: int) -> Drawn:
    """What an FDE has drawn or learned for tokens of a dimension."""
    maps = fde._maps_of(dim)
    projections = None
    if fde.projection_dim is not None:
        by_repetition = _dense(maps.projections).reshape(fde.repetitions, fde.projection_dim, dim)
        projections = by_repetition.transpose(0, 2, 1)
    return Drawn(
        fde.partitioner,
        maps.cells.normals.astype(np.float64),
        np.zeros(dim) if fde.mean_ is None else fde.mean_.astype(np.float64),
        projections,
        _dense(maps.final),
        fde.indexing == "gray",
        fde.fill,
    )


def _dense(matrix: Any) -> Any:
    return matrix.toarray() if hasattr(matrix, "toarray") else matrix


def scores(fde: Any, documents: Any, queries: Any) -> np.ndarray:
    """Dot products (queries, documents) of encodings."""
    maps = drawn(fde, documents.dim)
    encoded = [encode_document(matrix.astype(np.float64), maps) for matrix in documents]
    rows = [encode_query(matrix.astype(np.float64), np.ones(len(matrix)), maps) for matrix in queries]
    return np.array([[float(query @ document) for document in encoded] for query in rows])
