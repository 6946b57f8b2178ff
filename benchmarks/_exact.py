"""The ranking by exact MaxSim of a whole collection, computed once and kept under ``.cache/``."""

from __future__ import annotations

import hashlib
from pathlib import Path

import numpy as np
from _beir import EncodedBeir
from _metrics import top
from numpy.typing import NDArray
from tqdm import tqdm

from embplug.exact import maxsim_scores

CACHE = Path(__file__).resolve().parent.parent / ".cache" / "exact"
DEPTH = 100
CHUNK_DOCUMENTS = 500


def exact_ranking(data: EncodedBeir) -> NDArray[np.int64]:
    """Documents (queries, 100) of every query, best first."""
    digest = hashlib.sha256(data.queries.values.tobytes() + data.documents.offsets.tobytes()).hexdigest()[:16]
    file = CACHE / f"{data.beir.name}-{digest}.npy"
    if not file.exists():
        queries = data.queries.to_float32()
        parts = [
            maxsim_scores(queries, data.documents[start : start + CHUNK_DOCUMENTS])
            for start in tqdm(
                range(0, len(data.documents), CHUNK_DOCUMENTS), desc="exact MaxSim", disable=None
            )
        ]
        CACHE.mkdir(parents=True, exist_ok=True)
        np.save(file, top(np.concatenate(parts, axis=1), DEPTH))
    return np.asarray(np.load(file))
