"""What a learned encoding has learned, how it encodes, and how it is stored."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from embplug.common.threads import in_threads, single_blas_thread
from embplug.methods.encodings.document_products import highest_products
from embplug.methods.encodings.scaled_rows import LIMIT, ScaledRows
from embplug.methods.numeric.arrays import State
from embplug.methods.numeric.partition import Float32
from embplug.methods.stored import StoredArray
from embplug.methods.token_batch import TokenBatch, document_blocks

QUERY_BLOCK = 512
"""Query tokens whose features are held at a time."""

PARTS_OF_A_WORKER = 4
"""Parts of a block of documents, so that all workers end at the same time."""

_MATRICES = ("directions", "query_map", "landmarks", "document_map")
"""Stored as bytes with a scale for each row."""


@dataclass(frozen=True, eq=False)
class FittedEncoding:
    """Learned arrays."""

    directions: ScaledRows
    """(features, compared dim)"""
    thresholds: Float32
    """(features,)"""
    query_map: ScaledRows
    """(features + dim, rank)"""
    components: Float32 | None
    """(dim, compared dim): what tokens are multiplied by before they are compared. None leaves them."""
    landmarks: ScaledRows
    """(compared, compared dim)"""
    document_map: ScaledRows
    """(compared, rank)"""
    document_bias: Float32
    """(rank,)"""
    bytes_scale: float = 1.0
    length: float = 0.0
    """Length of all documents; see :class:`BalancedBytes`."""
    unexplained: float = 1.0
    """Share of the variance of MaxSim that the encodings of the sample do not explain."""
    alike: float = 0.0
    """Squared distance up to which a token of a document is left out that is like an earlier one."""
    before: State | None = None
    """The state, if its maps are halves, as those of the first version are."""

    @property
    def dim(self) -> int:
        """Dimension of a token."""
        return self.directions.shape[1] if self.components is None else len(self.components)

    @property
    def rank(self) -> int:
        """Dimensions of the encodings before they are stored."""
        return self.query_map.shape[1]

    def document_vectors(self, documents: TokenBatch, workers: int, device: str | None) -> Float32:
        """Vectors (n, rank); of a document without tokens zero."""
        vectors = np.empty((len(documents), self.rank), dtype=np.float32)
        to_vectors = self.document_map.values

        def fill(some: slice) -> None:
            own = documents[some]
            products = highest_products(own, self.landmarks, 1, device, self.components, self.alike)
            np.matmul(products, to_vectors, out=vectors[some])

        # A device, and one worker, take all at once.
        parts = PARTS_OF_A_WORKER * workers if device is None and workers > 1 else 1
        blocks = document_blocks(documents.offsets, -(-max(len(documents.values), 1) // parts))
        # Threads of BLAS would wait for its next product on the processors that compare.
        with single_blas_thread():
            in_threads(fill, list(blocks), workers)
        vectors += self.document_bias
        vectors[documents.lengths == 0] = 0
        return vectors

    def query_vectors(self, queries: TokenBatch, weights: Float32 | None) -> Float32:
        """Vectors (n, rank): for each query the sum over its tokens."""
        sums = np.zeros((len(queries), self.query_map.shape[0]), dtype=np.float32)
        owner = np.repeat(np.arange(len(queries)), queries.lengths)
        for start in range(0, len(owner), QUERY_BLOCK):
            rows = slice(start, start + QUERY_BLOCK)
            points = queries.values[rows].astype(np.float32, copy=False)
            projected: Float32 = points if self.components is None else points @ self.components
            products = self.directions.products(projected)
            products -= self.thresholds[:, None]
            np.maximum(products, 0, out=products)
            first, last = owner[rows][[0, -1]]
            members = (np.arange(first, last + 1)[:, None] == owner[rows]).astype(np.float32)
            if weights is not None:
                members *= weights[rows]
            sums[first : last + 1] += np.concatenate([members @ products.T, members @ points], axis=1)
        vectors: Float32 = self.query_map.weighted_sums(sums)
        return vectors

    def to_arrays(self) -> State:
        """The state, from which :meth:`from_arrays` makes an equal object."""
        if self.before is not None:
            return self.before
        arrays: State = {}
        for name in _MATRICES:
            matrix = getattr(self, name)
            arrays[name], arrays[f"{name}_scales"] = matrix.codes, matrix.scales
        if self.components is not None:
            arrays["components"] = self.components.astype(np.float16)
        return {
            **arrays,
            "thresholds": self.thresholds,
            "document_bias": self.document_bias,
            "bytes_scale": np.array(self.bytes_scale, dtype=np.float64),
            "length": np.array(self.length, dtype=np.float64),
            "unexplained": np.array(self.unexplained, dtype=np.float64),
            "alike": np.array(self.alike, dtype=np.float64),
        }

    @classmethod
    def from_arrays(cls, arrays: State) -> FittedEncoding:
        """Undo :meth:`to_arrays`, with arrays that are checked."""
        if _is_before(arrays):
            return _from_halves(arrays)
        components = arrays.get("components")
        directions, query_map, landmarks, document_map = (
            ScaledRows(arrays[name], arrays[f"{name}_scales"]) for name in _MATRICES
        )
        return cls(
            directions,
            arrays["thresholds"],
            query_map,
            None if components is None else components.astype(np.float32),
            landmarks,
            document_map,
            arrays["document_bias"],
            *_numbers(arrays),
            # Encodings of before compare all tokens.
            alike=float(arrays.get("alike", 0.0)),
        )


def stored_arrays(
    state: Mapping[str, NDArray[Any]], features: int, compared: int, trained: bool, rank: int
) -> dict[str, StoredArray]:
    """Names, types and shapes of the arrays of a state.

    ``features``, ``compared``, ``trained`` and ``rank``, the largest one, are those of the parameters. They
    tell the shapes of a state of the first version, which has halves.
    """
    common = {
        "bytes_scale": StoredArray(np.float64, low=0),
        "length": StoredArray(np.float64, low=0),
        "unexplained": StoredArray(np.float64, low=0),
    }
    if _is_before(state):
        landmarks = np.asarray(state["landmarks"])
        count, dim = landmarks.shape
        features = features if trained else min(features, count)
        compared = min(compared, count)
        rank = min(rank, features + dim)
        directions = {"directions": StoredArray(np.float16, (features, dim))} if trained else {}
        return {
            **directions,
            "landmarks": StoredArray(landmarks.dtype.type, (count, dim)),
            "thresholds": StoredArray(np.float32, (features,)),
            "query_map": StoredArray(np.float16, (features + dim, rank)),
            "document_map": StoredArray(np.float16, (compared, rank)),
            "document_bias": StoredArray(np.float32, (rank,)),
            **common,
        }
    if "alike" in state:
        common["alike"] = StoredArray(np.float64, low=0)
    projects = "components" in state
    # A feature for each direction, and one for each dimension of the token itself.
    sizes = [*np.shape(state.get("directions", ())), *np.shape(state.get("components", ()))]
    inputs = sum(sizes[::2]) if len(sizes) == 4 else sum(sizes)
    rank = min(rank, inputs)
    compared_dim = "compared dim" if projects else "dim"
    shapes: dict[str, tuple[int | str, int | str]] = {
        "directions": ("features", compared_dim),
        "query_map": (inputs, rank),
        "landmarks": ("compared", compared_dim),
        "document_map": ("compared", rank),
    }
    arrays = {}
    for name, shape in shapes.items():
        arrays[name] = StoredArray(np.int8, shape, low=-LIMIT)
        arrays[f"{name}_scales"] = StoredArray(np.float32, shape[:1], low=0)
    if projects:
        arrays["components"] = StoredArray(np.float16, ("dim", "compared dim"), orthonormal="columns")
    return {
        **arrays,
        "thresholds": StoredArray(np.float32, ("features",)),
        "document_bias": StoredArray(np.float32, (rank,)),
        **common,
    }


def _is_before(state: Mapping[str, NDArray[Any]]) -> bool:
    """Whether a state is one of the first version."""
    landmarks = np.asarray(state.get("landmarks"))
    return landmarks.ndim == 2 and landmarks.dtype in (np.float16, np.float32)


def _from_halves(arrays: State) -> FittedEncoding:
    """Of a state of the first version, whose landmarks are the directions too, unless these were trained."""
    landmarks = arrays["landmarks"]
    directions = arrays.get("directions", landmarks[: len(arrays["thresholds"])])
    return FittedEncoding(
        ScaledRows.exact(directions),
        arrays["thresholds"],
        ScaledRows.exact(arrays["query_map"]),
        None,
        ScaledRows.exact(landmarks[: len(arrays["document_map"])]),
        ScaledRows.exact(arrays["document_map"]),
        arrays["document_bias"],
        *_numbers(arrays),
        before=arrays,
    )


def _numbers(arrays: State) -> tuple[float, float, float]:
    return float(arrays["bytes_scale"]), float(arrays["length"]), float(arrays["unexplained"])
