"""Memory of a server's process beside what the formulas of embplug.branches.sizing foretell, at two scales.

Vectors in clusters are filled into a server of their own, which is stopped when everything is indexed, and
started again on the same folder. After searches that reach all of it, and when its allocator has given back
what it does not need, ``/proc`` tells its resident memory: anonymous, and of mapped files. Measured is the
growth of what is anonymous over the same collection when it is empty, and the mapped pages of vectors,
codes, graph and ids. Pages of payloads and of the write-ahead log are told apart: they are read from the
disk again when the memory is wanted for something else. Linux only.

    python benchmarks/sizing.py [--points 50000 200000] [--json]
"""

from __future__ import annotations

import re
import sys
import tempfile
import time
from collections import Counter
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
from _harness import environment, parser, report
from numpy.typing import NDArray
from qdrant_client import models

from embplug import Collection, Dense, Documents, Query, Recipe, connect
from embplug.branches.sizing import cost, expected_parts, file_kind, memory_bytes
from tests.servers import server_in

DIM = 384
CLUSTERS = 500
BATCH = 2000
SEARCHES = 2000
STARTS = 3
AT_ONCE = 100
FLUSHED_S = 12
SETTLING_S = 12
TEXT = "A passage of the length into which texts are cut for retrieval, as a reader wants it. " * 4
INT8 = models.ScalarQuantization(
    scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8, always_ram=True)
)
BINARY = models.BinaryQuantization(binary=models.BinaryQuantizationConfig(always_ram=True))
RECIPES = {
    "float32": Recipe(dense=Dense(dim=DIM)),
    "int8, float32 on disk": Recipe(dense=Dense(dim=DIM, quantization=INT8, on_disk=True)),
    "binary, float32 on disk": Recipe(dense=Dense(dim=DIM, quantization=BINARY, on_disk=True)),
}


def main() -> None:
    options = parser((__doc__ or "").splitlines()[0])
    options.add_argument("--points", type=int, nargs="+", default=[50_000, 200_000])
    options.add_argument("--recipe", choices=RECIPES, nargs="+", default=[*RECIPES])
    arguments = options.parse_args()
    rows = []
    for name in arguments.recipe:
        recipe = RECIPES[name]
        empty = measured(recipe, 0)
        for points in arguments.points:
            parts = expected_parts(recipe, points)
            found = measured(recipe, points)
            grown = found["anonymous"] - empty["anonymous"]
            kept = grown + sum(found["mapped"].get(part.kind, 0) for part in parts if part.in_memory)
            predicted = cost(parts, points, shards=1, nodes=1).memory
            rows.append(
                {
                    "recipe": name,
                    "points": points,
                    "predicted_mb": predicted / 1e6,
                    "measured_mb": kept / 1e6,
                    "measured_of_predicted": kept / predicted,
                    "bytes_per_point": kept / points,
                    "anonymous_mb": grown / 1e6,
                    "mapped_mb": {kind: size / 1e6 for kind, size in sorted(found["mapped"].items())},
                    "documents_mb": memory_bytes(parts) * points / 1e6,
                    "empty": {key: empty[key] / 1e6 for key in ("anonymous", "files")},
                }
            )
            print(rows[-1], file=sys.stderr, flush=True)
    table = [{key: value for key, value in row.items() if not isinstance(value, dict)} for row in rows]
    for shown, row in zip(table, rows, strict=True):
        shown["payload_pages_mb"] = row["mapped_mb"].get("payload", 0.0)
        shown["log_pages_mb"] = row["mapped_mb"].get("log", 0.0)
    report(
        {"memory": rows, "environment": environment(dim=DIM, points=arguments.points)}, table, arguments.json
    )


def measured(recipe: Recipe, points: int) -> dict[str, Any]:
    """Bytes that a server has in memory, once it was started anew and searched; the median of some starts."""
    with tempfile.TemporaryDirectory(prefix="embplug-") as name:
        folder = Path(name)
        with server_in(folder) as (url, grpc_port, _), closing(connect(url, grpc_port=grpc_port)) as engine:
            collection = Collection.create("sized", recipe, engine)
            collection.add_batches(batches(points))
            collection.optimize(timeout=3600)
            # What is not flushed would be written anew from the log.
            time.sleep(FLUSHED_S)
        starts = sorted(
            (searched(folder, points) for _ in range(STARTS)), key=lambda measures: measures["anonymous"]
        )
    return starts[STARTS // 2]


def searched(folder: Path, points: int) -> dict[str, Any]:
    """Bytes in memory of one start."""
    with server_in(folder) as (url, grpc_port, pid), closing(connect(url, grpc_port=grpc_port)) as engine:
        collection = Collection.open("sized", engine)
        collection.optimize(timeout=3600)
        queries = [Query(dense=row) for row in vectors(SEARCHES, 1)]
        for start in range(0, SEARCHES, AT_ONCE):
            collection.batch_search(queries[start : start + AT_ONCE], with_payload=False)
        assert collection.count() == points
        # Counting needs memory for a moment. The allocator gives back while it is asked for something else.
        for query in queries[:SETTLING_S]:
            time.sleep(1)
            collection.batch_search([query], with_payload=False)
        return resident(pid, folder)


def batches(points: int) -> Any:
    """Documents with a text, batch by batch."""
    filling = vectors(points, 0)
    for start in range(0, points, BATCH):
        ids = range(start, min(start + BATCH, points))
        yield Documents(
            ids, dense=filling[ids.start : ids.stop], payloads=[{"text": f"{i} {TEXT}"} for i in ids]
        )


def vectors(count: int, seed: int) -> NDArray[np.float32]:
    """Vectors around a few hundred centres."""
    centres = np.random.default_rng(9).standard_normal((CLUSTERS, DIM), dtype=np.float32)
    rng = np.random.default_rng(seed)
    noise = 0.7 * rng.standard_normal((count, DIM), dtype=np.float32)
    return centres[rng.integers(0, CLUSTERS, count)] + noise


def resident(pid: int, folder: Path) -> dict[str, Any]:
    """Resident bytes of a process: anonymous, of all files, and of files in ``folder`` by their part."""
    status = Path(f"/proc/{pid}/status").read_text()
    sizes = {key: 1024 * int(size) for key, size in re.findall(r"^(\w+):\s+(\d+) kB", status, re.M)}
    mapped: Counter[str] = Counter()
    path = ""
    for line in Path(f"/proc/{pid}/smaps").read_text().splitlines():
        if re.match(r"[0-9a-f]+-[0-9a-f]+ ", line):
            path = "".join(line.split(maxsplit=5)[5:])
        elif line.startswith("Rss:") and path.startswith(str(folder)):
            within = path.partition("/segments/")[2].partition("/")[2]
            mapped[file_kind(within)[0] if within else "log"] += 1024 * int(line.split()[1])
    return {"anonymous": sizes["RssAnon"], "files": sizes["RssFile"], "mapped": dict(mapped)}


if __name__ == "__main__":
    main()
