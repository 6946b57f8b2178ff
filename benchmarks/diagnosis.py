"""Which encoding suits which tokens: how tokens lie, and which share of exact MaxSim's best is found.

For each collection: the measurements of :func:`embplug.methods.diagnose`, and recall of the best 10
documents of exact MaxSim among the first 50 candidates, for encodings of the same number of bytes. Real
tokens are those of MiniLM over BEIR collections, also without their mean. Synthetic tokens are random, or
lie in clusters, with and without a common direction; their queries are noisy tokens of documents.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
from _beir import load
from _harness import environment, parser, report
from _metrics import overlap, top
from numpy.typing import NDArray

from embplug.evaluation.exact import maxsim_scores
from embplug.methods import diagnose
from embplug.methods.encodings.fde import FDE
from embplug.methods.encodings.learned import LearnedEncoding
from embplug.methods.reductions.reduced import unit
from embplug.methods.token_batch import TokenBatch

BEST, CANDIDATES = 10, 50


def encodings(size: int) -> dict[str, FDE | LearnedEncoding]:
    """Encodings of ``size`` bytes, by the name of their column."""
    return {
        "fde": FDE(final_dim=size, dtype="uint8"),
        "fde centred": FDE(final_dim=size, dtype="uint8", center=True),
        "fde k-means": FDE(partitioner="kmeans", final_dim=size, dtype="uint8"),
        "learned": LearnedEncoding(stored_dim=size, features=512, landmarks=2048, compared=2048),
    }


def real(name: str, count: int, queries: int) -> tuple[TokenBatch, TokenBatch]:
    """Documents and queries of a BEIR collection."""
    beir = load(f"{ARGUMENTS.data}/{name}")
    return beir.documents[:count].to_float32(), beir.queries[:queries].to_float32()


def without_mean(pair: tuple[TokenBatch, TokenBatch]) -> tuple[TokenBatch, TokenBatch]:
    """The same tokens without the mean of those of documents, at length 1."""
    documents, queries = pair
    mean = documents.values.mean(axis=0)
    return tuple(TokenBatch(unit(batch.values - mean), batch.offsets) for batch in (documents, queries))  # type: ignore[return-value]


def synthetic(
    clusters: int, common: float, count: int, queries: int, noise: float = 0.5
) -> tuple[TokenBatch, TokenBatch]:
    """Documents of 32 tokens of their own, or of clusters; ``common`` is the length of a shared direction."""
    rng = np.random.default_rng(0)
    dim, tokens = 128, 32
    centres = unit(rng.standard_normal((clusters or count * tokens, dim)).astype(np.float32))
    owners = rng.integers(len(centres), size=count * tokens) if clusters else np.arange(count * tokens)

    def noisy(values: NDArray[np.float32], length: float) -> NDArray[np.float32]:
        drawn = rng.standard_normal(values.shape).astype(np.float32) / np.sqrt(dim)
        return np.asarray(values + length * drawn, dtype=np.float32)

    shared = common * unit(rng.standard_normal((1, dim)).astype(np.float32))
    values = noisy(centres[owners], noise) if clusters else centres
    documents = TokenBatch(unit(values + shared), np.arange(count + 1) * tokens)
    rows = [documents[int(i)][:12] for i in rng.choice(count, queries, replace=False)]
    query_vectors = TokenBatch.from_list([unit(noisy(row, min(0.7, 2 * noise))) for row in rows])
    return documents, query_vectors


def collections(count: int, queries: int) -> dict[str, Callable[[], tuple[TokenBatch, TokenBatch]]]:
    """By name: documents and queries."""
    return {
        "cranfield": lambda: real("cranfield", count, queries),
        "cranfield without mean": lambda: without_mean(real("cranfield", count, queries)),
        "scifact": lambda: real("scifact", count, queries),
        "scifact without mean": lambda: without_mean(real("scifact", count, queries)),
        "limit-small": lambda: real("limit-small", count, queries),
        "random": lambda: synthetic(0, 0.0, count, queries),
        "random, common direction": lambda: synthetic(0, 1.2, count, queries),
        "clusters": lambda: synthetic(64, 0.0, count, queries),
        "clusters, common direction": lambda: synthetic(64, 1.2, count, queries),
        "tight clusters": lambda: synthetic(24, 0.0, count, queries, noise=0.25),
        "tight clusters, common direction": lambda: synthetic(24, 1.2, count, queries, noise=0.25),
    }


def row(name: str, documents: TokenBatch, queries: TokenBatch, size: int) -> dict[str, Any]:
    """One collection."""
    own = diagnose(documents)
    measured: dict[str, Any] = {
        "collection": name,
        "mean cosine": round(own.mean_cosine, 2),
        "effective dim": f"{own.effective_dim:.0f} of {own.dim}",
        "leading share": round(own.leading_share, 2),
        "cell share": round(own.cell_share, 2),
        "spread": round(own.maxsim_spread, 3),
    }
    truth = top(maxsim_scores(queries, documents), BEST)
    for column, encoding in encodings(size).items():
        encoding.fit(documents)
        vectors = encoding.encode_documents(documents, n_jobs=-1)
        query_vectors = encoding.encode_queries(queries)
        found = top(query_vectors.astype(np.float32) @ vectors.T.astype(np.float32), CANDIDATES)
        measured[column] = round(overlap(found, truth), 3)
    return measured


def main() -> None:
    """Print a row for each collection."""
    known = collections(ARGUMENTS.documents, ARGUMENTS.queries)
    rows = [row(name, *known[name](), ARGUMENTS.size) for name in ARGUMENTS.only or known]
    result = environment(documents=ARGUMENTS.documents, queries=ARGUMENTS.queries, bytes=ARGUMENTS.size)
    report(result, rows, ARGUMENTS.json)


if __name__ == "__main__":
    arguments = parser(str(__doc__))
    arguments.add_argument("--data", required=True, help="folder with collections in BEIR format")
    arguments.add_argument("--documents", type=int, default=1000, help="documents of each collection")
    arguments.add_argument("--queries", type=int, default=100, help="queries of each collection")
    arguments.add_argument("--size", type=int, default=512, help="bytes of an encoding")
    arguments.add_argument("--only", nargs="*", help="names of collections")
    ARGUMENTS = arguments.parse_args()
    main()
