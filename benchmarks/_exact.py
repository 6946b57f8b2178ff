"""The ranking by exact MaxSim of a whole collection, computed once and kept under ``.cache/``."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from _beir import EncodedBeir
from numpy.typing import NDArray

from embplug.evaluation.exact import exact_tokens

CACHE = Path(__file__).resolve().parent.parent / ".cache" / "exact"
DEPTH = 100


def exact_ranking(data: EncodedBeir) -> NDArray[np.int64]:
    """Documents (queries, 100) of every query, best first."""
    queries = data.queries.values.astype(np.float16).tobytes()
    digest = hashlib.sha256(queries + data.documents.offsets.tobytes()).hexdigest()[:16]
    file = CACHE / f"{data.beir.name}-{digest}.npy"
    if not file.exists():
        (ranking,) = exact_tokens(data.queries, data.documents, DEPTH, progress=None)
        CACHE.mkdir(parents=True, exist_ok=True)
        np.save(file, ranking)
    return np.asarray(np.load(file))
