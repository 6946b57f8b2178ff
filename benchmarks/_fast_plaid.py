"""fast-plaid on the vectors of a folder; run by the interpreter that has fast-plaid, without embplug.

    python _fast_plaid.py FOLDER BITS THREADS FULL_SCORES [FULL_SCORES ...]

The folder has ``documents.npy``, ``document_lengths.npy``, ``queries.npy`` and ``query_lengths.npy``. For
each number of full scores, one line of JSON goes to the standard output.
"""

from __future__ import annotations

import importlib.metadata
import json
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
import torch
from fast_plaid import search  # type: ignore[import-not-found,unused-ignore]


def main() -> None:
    folder, bits, threads = Path(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3])
    torch.set_num_threads(threads)
    documents, queries = _matrices(folder, "document"), _matrices(folder, "query")
    with tempfile.TemporaryDirectory() as path:
        index = search.FastPlaid(index=path, device="cpu")
        started = time.perf_counter()
        # Small indexes would keep a copy of all vectors, to be built anew when documents are added.
        index.create(documents_embeddings=documents, nbits=bits, start_from_scratch=0)
        build_s = time.perf_counter() - started
        stored = sum(file.stat().st_size for file in Path(path).rglob("*") if file.is_file())
        for full_scores in map(int, sys.argv[4:]):
            rankings, seconds = [], []
            # The first query runs twice, because the very first search also loads files.
            for query in [queries[0], *queries]:
                started = time.perf_counter()
                hits = index.search(
                    queries_embeddings=query.unsqueeze(0),
                    top_k=10,
                    n_full_scores=full_scores,
                    show_progress=False,
                )
                seconds.append(time.perf_counter() - started)
                rankings.append([int(row) for row, _ in hits[0]])
            result = {
                "version": importlib.metadata.version("fast-plaid"),
                "full_scores": full_scores,
                "stored_bytes": stored,
                "build_s": build_s,
                "rankings": rankings[1:],
                "seconds": seconds[1:],
            }
            print(json.dumps(result), flush=True)


def _matrices(folder: Path, kind: str) -> list[Any]:
    names = {"document": "documents.npy", "query": "queries.npy"}
    values = torch.from_numpy(np.load(folder / names[kind]).astype(np.float32))
    lengths = np.load(folder / f"{kind}_lengths.npy").tolist()
    return list(torch.split(values, lengths))


if __name__ == "__main__":
    main()
