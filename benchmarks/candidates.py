"""How many of exact MaxSim's best documents each single-vector encoding finds, and what it costs.

The truth is exact MaxSim's top 10 over all documents, on real token vectors. For every encoding:
the share of it among the first 20, 50, 100 and 200 candidates, dimensions and bytes of a document
as stored, documents encoded a second, seconds to fit. Encodings that learn do so from documents
alone (at most ``--sample``); ``new@…`` is measured on documents that were not in the sample: where
the sample holds all documents, on one half after a second fit on the other. One row more uses half
of the queries to fit, and is measured on the other half beside the same row without them.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

import numpy as np
from _beir import CACHE, EncodedBeir, load, mean_pooled
from _harness import check_plot, environment, parser, report
from _metrics import overlap, top
from numpy.typing import NDArray

from embplug.common.threads import worker_count
from embplug.evaluation.exact import maxsim_scores
from embplug.methods.encodings.fde import FDE
from embplug.methods.encodings.learned import LearnedEncoding
from embplug.methods.numeric.arrays import state_bytes
from embplug.methods.token_batch import TokenBatch

DEPTHS = (20, 50, 100, 200)
BEST = 10
QUERIES_ROW = "learned (1024 bytes), half of the queries, fitted {} the others"


@dataclass(frozen=True)
class Vectors:
    """Encodings of all documents and queries, as stored."""

    documents: NDArray[Any]
    queries: NDArray[Any]
    fit_seconds: float | None = None
    documents_per_second: float | None = None
    queries_ms: float | None = None
    state_mb: float | None = None


Encoding = FDE | LearnedEncoding


def encodings() -> dict[str, Encoding]:
    """Name -> what is measured, beside the vectors that need no encoding."""
    return {
        "FDE as published (20, 5, 16)": FDE(fill=True),
        "FDE, no fill": FDE(),
        "FDE, no fill, centred": FDE(center=True),
        "FDE, no fill, k-means": FDE(partitioner="kmeans"),
        "FDE, no fill, k-means, bytes": FDE(partitioner="kmeans", dtype="uint8"),
        "FDE, no fill, k-means, 4096 bytes": FDE(partitioner="kmeans", dtype="uint8", final_dim=4016),
        "learned, 1024 bytes": LearnedEncoding(stored_dim=1024),
        "learned, 1536 bytes": LearnedEncoding(),
        "learned, 2048 bytes": LearnedEncoding(stored_dim=2048),
        "learned, 4096 bytes": LearnedEncoding(stored_dim=4096, features=4096, landmarks=16384),
        # What each step towards the first of these rows gives.
        "step 1: 8,192 random landmarks": LearnedEncoding(
            stored_dim=1024, features=4096, landmarks=8192, compared=8192, steps=0
        ),
        "step 2: half as many features, trained": LearnedEncoding(
            stored_dim=1024, landmarks=8192, compared=8192
        ),
        "step 3: 4,096 chosen landmarks": LearnedEncoding(stored_dim=1024, landmarks=8192),
        # Faster still, with fewer of the best.
        "3,072 landmarks in 192 dimensions": LearnedEncoding(
            stored_dim=1024, compared=3072, compared_dim=192
        ),
    }


def encode(
    encoding: Encoding, collection: EncodedBeir, sample: NDArray[np.int64], queries: TokenBatch | None = None
) -> Vectors:
    """Fit on the sample of documents, then encode everything on all cores."""
    start = time.perf_counter()
    encoding.fit(collection.documents.take(sample), queries)
    fitted = time.perf_counter()
    encoding.encode_documents(collection.documents[:16], n_jobs=-1)
    warm = time.perf_counter()
    documents = encoding.encode_documents(collection.documents, n_jobs=-1)
    encoded = time.perf_counter()
    query_vectors = [
        encoding.encode_queries(collection.queries[i : i + 1]) for i in range(len(collection.queries))
    ]
    done = time.perf_counter()
    return Vectors(
        documents,
        np.concatenate(query_vectors),
        fitted - start if encoding.fitted_dim else None,
        len(documents) / (encoded - warm),
        1e3 * (done - encoded) / len(query_vectors),
        state_bytes(encoding.get_state()) / 1e6,
    )


def scores(vectors: Vectors, rows: Any = slice(None), columns: Any = slice(None)) -> NDArray[np.float32]:
    """Dot products as the engine computes them: exact for bytes, whose sums stay below 2^31."""
    documents, queries = vectors.documents[columns], vectors.queries[rows]
    if documents.dtype != np.uint8:
        return queries.astype(np.float32) @ documents.astype(np.float32).T
    # float64 holds every sum of byte products exactly.
    return np.concatenate(
        [
            queries.astype(np.float64) @ documents[i : i + 1000].astype(np.float64).T
            for i in range(0, len(documents), 1000)
        ],
        axis=1,
    )


def recalls(estimated: NDArray[Any], true: NDArray[Any], prefix: str = "@") -> dict[str, float]:
    best, candidates = top(true, BEST), top(estimated, DEPTHS[-1])
    return {f"{prefix}{depth}": round(overlap(candidates[:, :depth], best), 4) for depth in DEPTHS}


def row(name: str, vectors: Vectors, true: NDArray[Any]) -> dict[str, Any]:
    return {
        "encoding": name,
        "dims": vectors.documents.shape[1],
        "bytes": vectors.documents.shape[1] * vectors.documents.itemsize,
        **recalls(scores(vectors), true),
        "docs/s": vectors.documents_per_second,
        "query ms": vectors.queries_ms,
        "fit s": vectors.fit_seconds,
        "state MB": vectors.state_mb,
    }


def measure(folder: str, sample_size: int, only: str, say: Callable[[str], None]) -> list[dict[str, Any]]:
    collection = load(folder)
    documents, queries = collection.documents, collection.queries
    true = exact(collection)
    order = np.random.default_rng(0).permutation(len(documents))
    sample, rest = np.sort(order[:sample_size]), np.sort(order[sample_size:])
    halves = np.sort(order[: len(order) // 2]), np.sort(order[len(order) // 2 :])
    rows = []
    plain = {
        "mean pooling": Vectors(mean_pooled(documents), mean_pooled(queries)),
        "sentence vector": Vectors(collection.document_sentences, collection.query_sentences),
    }
    rows += [row(name, vectors, true) for name, vectors in plain.items() if only in name]
    for name, encoding in encodings().items():
        if only not in name:
            continue
        say(name)
        vectors = encode(encoding, collection, sample)
        rows.append(row(name, vectors, true))
        if encoding.fitted_dim:
            new = rest
            if not len(rest):
                new = halves[1]
                vectors = encode(encoding, collection, halves[0])
            rows[-1] |= recalls(scores(vectors, columns=new), true[:, new], "new@")
    if only in QUERIES_ROW:
        rows += with_queries(collection, true, sample)
    return [{"collection": collection.beir.name, **entry} for entry in rows]


def with_queries(
    collection: EncodedBeir, true: NDArray[Any], sample: NDArray[np.int64]
) -> list[dict[str, Any]]:
    """The smallest learned encoding on every second query: fitted without and with the others."""
    others, kept = collection.queries.take(np.arange(0, len(true), 2)), np.arange(1, len(true), 2)
    rows = []
    for name, known in (("without", None), ("with", others)):
        vectors = encode(LearnedEncoding(stored_dim=1024), collection, sample, known)
        vectors = replace(vectors, queries=vectors.queries[kept])
        rows.append(row(QUERIES_ROW.format(name), vectors, true[kept]))
    return rows


def exact(collection: EncodedBeir) -> NDArray[np.float32]:
    """Exact MaxSim of all queries and documents, kept beside the token matrices."""
    digest = hashlib.sha256(collection.documents.offsets.tobytes() + collection.queries.values.tobytes())
    file = CACHE.parent / "maxsim" / f"{collection.beir.name}-{digest.hexdigest()[:16]}.npy"
    if not file.exists():
        products = maxsim_scores(collection.queries, collection.documents)
        file.parent.mkdir(parents=True, exist_ok=True)
        np.save(file, products)
    return np.load(file)


def drifts(folders: Sequence[str], sample_size: int) -> list[dict[str, Any]]:
    """Drift of an encoding of each collection, on its own new documents and on those of the others."""
    batches = {Path(folder).name: load(folder).documents for folder in folders}
    rows = []
    for own, documents in batches.items():
        order = np.random.default_rng(0).permutation(len(documents))
        half = min(sample_size, len(order) // 2)
        encoding = LearnedEncoding().fit(documents.take(np.sort(order[:half])))
        for other, batch in batches.items():
            new = batch.take(np.sort(order[half:])) if other == own else batch
            rows.append({"fitted on": own, "new documents of": other, "drift": encoding.drift(new)})
    return rows


def plot(rows: Sequence[Mapping[str, Any]], file: str) -> None:
    """Recall within 50 candidates over the bytes of a document, one panel for each collection."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    names = list(dict.fromkeys(entry["collection"] for entry in rows))
    figure, panels = plt.subplots(1, len(names), figsize=(5.2 * len(names), 4.5), squeeze=False)
    for panel, name in zip(panels[0], names, strict=True):
        shown = [r for r in rows if r["collection"] == name and "queries" not in r["encoding"]]
        learned = [r for r in shown if r["encoding"].startswith("learned")]
        curve = sorted((r["bytes"], r["@50"]) for r in learned)
        if curve:
            panel.plot(*zip(*curve, strict=True), "o-", label="learned")
        for entry in shown:
            if entry not in learned:
                marker = "s" if entry["encoding"].startswith("FDE") else "^"
                panel.plot(entry["bytes"], entry["@50"], marker, label=entry["encoding"])
        panel.set(xscale="log", title=name, xlabel="bytes of a document")
        panel.set_ylabel("share of MaxSim's top 10 within 50")
        panel.grid(alpha=0.3)
    figure.legend(*panels[0][0].get_legend_handles_labels(), fontsize=7, loc="lower center", ncols=4)
    figure.tight_layout(rect=(0, 0.12, 1, 1))
    figure.savefig(file, dpi=110, metadata={"Date": None} if file.endswith(".svg") else None)


def main() -> None:
    arguments = parser(__doc__)
    arguments.add_argument("--data", nargs="+", default=[], help="folders in BEIR format")
    arguments.add_argument("--earlier", nargs="+", default=[], help="files of --json, to add their rows")
    arguments.add_argument("--sample", type=int, default=2000, help="documents to learn from")
    arguments.add_argument("--only", default="", help="encodings whose name contains this")
    arguments.add_argument("--drift", action="store_true", help="also measure drift between the collections")
    arguments.add_argument("--plot", metavar="FILE", help="write a plot (needs matplotlib)")
    options = arguments.parse_args()
    check_plot(options.plot)

    def say(name: str) -> None:
        if not options.json:
            print(f"… {name}", flush=True)

    rows = [entry for file in options.earlier for entry in json.loads(Path(file).read_text())["rows"]]
    rows += [entry for folder in options.data for entry in measure(folder, options.sample, options.only, say)]
    result = {
        "rows": rows,
        "drift": drifts(options.data, options.sample) if options.drift else [],
        "environment": environment(sample=options.sample, workers=worker_count(-1)),
    }
    report(result, rows, options.json)
    if result["drift"] and not options.json:
        report({}, result["drift"], False)
    if options.plot:
        plot(rows, options.plot)


if __name__ == "__main__":
    main()
