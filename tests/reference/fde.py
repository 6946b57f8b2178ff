"""Fixed dimensional encodings the slow way: loops over repetitions, cells and tokens, in float64."""

from __future__ import annotations

import itertools
from dataclasses import dataclass

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
    made = []
    for normals in drawn.normals:
        if drawn.partitioner == "simhash":
            signs = itertools.product([False, True], repeat=len(normals))
            cells = {_number(bits, drawn.gray): bits for bits in signs}
        elif drawn.partitioner == "kmeans":
            cells = dict(enumerate(normals))
        else:
            cells = dict(enumerate([*normals, *(-axis for axis in normals)]))
        made.append(dict(sorted(cells.items())))
    return made


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
