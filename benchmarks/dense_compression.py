"""Every compression of dense vectors at equal bytes, beside the engine's own codes.

Recall is against exact search on the given vectors; codes alone are searched, nothing is rescored. Codes of
ours are then also kept by a collection, in payloads behind a small vector that finds candidates: bytes of the
payloads on the engine's disk, and recall of the whole search.

    python benchmarks/dense_compression.py --data path/to/scifact [--ratios 8 16 32] [--methods power product]
        [--json] [--plot FILE]
"""

from __future__ import annotations

import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
from _beir import Beir, load
from _dense import EngineRun, binary, engine_search, int8, product, turbo
from _harness import check_plot, environment, parser, report
from _metrics import ndcg, overlap, top
from numpy.typing import NDArray
from qdrant_client import models

from embplug import Collection, Dense, Query, Recipe, Rerank
from embplug.branches.bits import turbo_bytes
from embplug.branches.sizing import measured_parts
from embplug.engines import EdgeClient
from embplug.methods import (
    PCA,
    BitAllocationQuantizer,
    ITQRotation,
    LearnedTruncation,
    OPQRotation,
    Quantizer,
    Rotation,
    SparseRandomProjection,
    Transform,
    Truncation,
)
from embplug.methods.quantizers.power import PowerQuantizer
from embplug.methods.quantizers.product import OptimizedProductQuantizer, ProductQuantizer
from embplug.methods.quantizers.pyramid import PyramidQuantizer
from embplug.methods.quantizers.recurrent_binary import RecurrentBinaryQuantizer

RATIOS = (4, 8, 16, 32, 64)
BITS = models.TurboQuantBitSize
ENCODINGS = models.BinaryQuantizationEncoding
COMPRESSIONS = {
    4: models.CompressionRatio.X4,
    8: models.CompressionRatio.X8,
    16: models.CompressionRatio.X16,
    32: models.CompressionRatio.X32,
    64: models.CompressionRatio.X64,
}
TURBO_BITS = {BITS.BITS8: 8, BITS.BITS4: 4, BITS.BITS2: 2, BITS.BITS1_5: 1.5, BITS.BITS1: 1}
FINDER_DIM, CANDIDATES = 48, 100
"""Of the vectors that find what codes rank in a collection."""
DISK_BLOCK = 4096
PEER_ALLOWANCE = 1.2
"""Engine codes that take a little more than the budget still count as the engine's for it."""


@dataclass(frozen=True)
class Row:
    """One method at one size."""

    ratio: int
    method: str
    ours: bool
    searched_by: str
    bytes: float
    recall_at_10: float
    ndcg_at_10: float
    fit_s: float | None
    encode_s: float
    state_bytes: int
    disk_bytes: float | None = None
    """Of a vector's codes in the payload of a collection, on the engine's disk."""
    recall_in_collection: float | None = None


class Bench:
    """The vectors of a collection, and what exact search finds in them."""

    def __init__(self, beir: Beir, documents: NDArray[np.float32], queries: NDArray[np.float32]) -> None:
        self.beir, self.documents, self.queries = beir, documents, queries
        self.dim = documents.shape[1]
        self.exact = top(queries @ documents.T, 10)

    def quality(self, ranking: NDArray[np.int64]) -> tuple[float, float]:
        """recall@10 against exact search, nDCG@10 against judgements."""
        return overlap(ranking, self.exact), ndcg(
            ranking, self.beir.query_ids, self.beir.document_ids, self.beir.qrels
        )

    def codes(self, ratio: int, name: str, quantizer: Quantizer) -> Row:
        """Codes that our own scorer reads."""
        start = time.perf_counter()
        quantizer.fit(self.documents)
        fit_s = time.perf_counter() - start
        start = time.perf_counter()
        codes = quantizer.encode(self.documents)
        encode_s = time.perf_counter() - start
        scores = quantizer.score(quantizer.encode_query(self.queries), codes)
        description = quantizer.describe()
        quality = self.quality(top(scores.T, 10))
        state, kept = description.state_bytes, self.in_collection(quantizer)
        return Row(ratio, name, True, "codes", codes.shape[1], *quality, fit_s, encode_s, state, *kept)

    def in_collection(self, quantizer: Any) -> tuple[float, float]:
        """Bytes of a payload on Edge's disk, and recall@10, where a collection keeps the codes."""
        finder = PCA(min(FINDER_DIM, self.dim))
        dense = Dense(dim=self.dim, transforms=(finder,), datatype=models.Datatype.FLOAT16, codes=quantizer)
        recipe = Recipe(dense=dense, rerank=Rerank(candidates=CANDIDATES))
        with tempfile.TemporaryDirectory() as folder, EdgeClient(folder) as engine:
            collection = Collection.create("coded", recipe, engine)
            collection.add(range(len(self.documents)), dense=self.documents)
            hits = collection.batch_search([Query(dense=query) for query in self.queries], with_payload=False)
            parts = measured_parts(engine, "coded", recipe, len(self.documents))
        found = np.array([[hit.id for hit in own] for own in hits])
        return sum(part.bytes for part in parts if part.kind == "payload"), overlap(found, self.exact)

    def engine(
        self,
        ratio: int,
        name: str,
        transforms: Sequence[Transform] = (),
        quantization: models.QuantizationConfig | None = None,
        datatype: models.Datatype | None = None,
    ) -> Row:
        """What the engine stores and searches, behind transforms of ours or as it is."""
        documents, queries = self.documents, self.queries
        start = time.perf_counter()
        for transform in transforms:
            documents, queries = (
                transform.fit(documents).transform(documents),
                transform.transform_query(queries),
            )
        fit_s = time.perf_counter() - start if transforms else None
        run: EngineRun = engine_search(documents, queries, quantization=quantization, datatype=datatype)
        state = sum(t.describe().state_bytes for t in transforms) + run.state_bytes
        quality = self.quality(run.ranking)
        return Row(
            ratio, name, bool(transforms), "engine", run.bytes_per_vector, *quality, fit_s, run.build_s, state
        )


def peers(bench: Bench, ratio: int) -> Iterator[tuple[str, Callable[[], Row]]]:
    """The engine's own datatypes and codes that belong to a ratio; float16 stands first, at half the size.

    uint8 is not among them: it keeps whole numbers alone, of which these vectors have none but 0.
    """
    if ratio == min(RATIOS):
        yield "engine float16", lambda: bench.engine(2, "engine float16", datatype=models.Datatype.FLOAT16)
    named: dict[int, list[tuple[str, Any]]] = {
        4: [("int8", int8()), ("turbo 8 bits", turbo(BITS.BITS8))],
        8: [("turbo 4 bits", turbo(BITS.BITS4))],
        16: [
            ("turbo 2 bits", turbo(BITS.BITS2)),
            ("turbo 1.5 bits", turbo(BITS.BITS1_5)),
            ("binary 2 bits", binary(ENCODINGS.TWO_BITS)),
            ("binary 1.5 bits", binary(ENCODINGS.ONE_AND_HALF_BITS)),
        ],
        32: [("turbo 1 bit", turbo(BITS.BITS1)), ("binary 1 bit", binary())],
    }
    for name, quantization in [*named.get(ratio, []), ("product", product(COMPRESSIONS[ratio]))]:
        yield (
            f"engine {name}",
            lambda name=name, quantization=quantization: bench.engine(  # type: ignore[misc]
                ratio, f"engine {name}", quantization=quantization
            ),
        )


def ours(bench: Bench, ratio: int) -> Iterator[tuple[str, Callable[[], Row]]]:
    """Our codes and transforms at a ratio."""
    dim, size = bench.dim, 4 * bench.dim // ratio
    bits = 32 // ratio
    rounds = 10 if ratio >= 16 else 3
    quantizers: dict[str, Quantizer] = {
        "bit allocation": BitAllocationQuantizer(size=size),
        "bit allocation, scalar": BitAllocationQuantizer(size=size, levels="scalar"),
        "product": ProductQuantizer(size),
        "optimized product": OptimizedProductQuantizer(size, rotation_iterations=rounds),
    }
    if bits >= 1:
        quantizers["power"] = PowerQuantizer(bits=bits)
        quantizers["recurrent binary"] = RecurrentBinaryQuantizer(levels=bits - 1)
    else:
        quantizers["recurrent binary"] = RecurrentBinaryQuantizer(dim_out=8 * size, levels=0)
    if bits >= 2:
        quantizers["pyramid"] = PyramidQuantizer(bits=bits)
    for name, quantizer in quantizers.items():
        yield name, lambda name=name, coder=quantizer: bench.codes(ratio, name, coder)  # type: ignore[misc]

    def engine(name: str, *transforms: Transform, **kept: Any) -> tuple[str, Callable[[], Row]]:
        return name, lambda: bench.engine(ratio, name, transforms, **kept)

    floats = size // 4
    yield engine("truncation", Truncation(dim=floats))
    yield engine("random projection", SparseRandomProjection(dim=floats))
    yield engine("learned truncation", LearnedTruncation(dim=floats))
    yield engine("PCA", PCA(floats))
    yield engine("PCA, float16", PCA(size // 2), datatype=models.Datatype.FLOAT16)
    if 8 <= size - 4 <= dim:
        yield engine("PCA, engine int8", PCA(size - 4), quantization=int8())
    for label, width in TURBO_BITS.items():
        components = int(8 * (size - turbo_bytes(width)) // width)
        if 8 <= components <= dim:
            yield engine(f"PCA, engine turbo {width:g} bits", PCA(components), quantization=turbo(label))
    if 8 * size <= dim:
        yield engine("PCA, ITQ, engine binary", PCA(8 * size), ITQRotation(), quantization=binary())
        yield engine("PCA, rotation, engine binary", PCA(8 * size), Rotation(), quantization=binary())
        learned = LearnedTruncation(dim=8 * size, target="binary", steps=100)
        yield engine("trained by contrast, engine binary", learned, quantization=binary())
    compression = COMPRESSIONS[ratio]
    yield engine(
        "OPQ rotation, engine product",
        OPQRotation(subspaces=size, iterations=rounds),
        quantization=product(compression),
    )


def best(rows: Sequence[Row], ratios: Sequence[int], bench: Bench) -> dict[str, Any]:
    """At each ratio the best of ours within the budget, and the engine's best with an allowance."""
    result = {}
    for ratio in ratios:
        budget = 4 * bench.dim / ratio
        block = DISK_BLOCK / len(bench.documents)
        mine = [row for row in rows if row.ours and row.bytes <= budget + block]
        peer = [row for row in rows if not row.ours and row.bytes <= PEER_ALLOWANCE * budget]
        if not (mine and peer and any(row.searched_by == "engine" for row in mine)):
            continue  # left out by --methods
        top_ours = max(mine, key=lambda row: row.recall_at_10)
        stored = [row for row in mine if row.searched_by == "engine"]
        top_stored = max(stored, key=lambda row: row.recall_at_10)
        top_peer = max(peer, key=lambda row: row.recall_at_10)
        result[str(ratio)] = {
            "ours": asdict(top_ours),
            "ours_in_engine": asdict(top_stored),
            "engine": asdict(top_peer),
            "ahead": top_ours.recall_at_10 > top_peer.recall_at_10,
        }
    return result


PLOTTED = {
    "codes: optimized product": ["optimized product"],
    "codes: bit allocation": ["bit allocation"],
    "codes: product": ["product"],
    "Qdrant: OPQ rotation, product": ["OPQ rotation, engine product"],
    "Qdrant: PCA, best turbo": [f"PCA, engine turbo {width:g} bits" for width in TURBO_BITS.values()],
    "Qdrant: PCA, ITQ, binary": ["PCA, ITQ, engine binary"],
    "Qdrant: PCA, float16": ["PCA, float16"],
    "Qdrant: truncation": ["truncation"],
}


def plot(rows: Sequence[Row], dim: int, name: str, file: str) -> None:
    """Bytes against recall: families of ours, and every one of the engine's own codes."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt

    figure, axes = plt.subplots(figsize=(9, 5), constrained_layout=True)
    for label, methods in PLOTTED.items():
        best_of: dict[int, Row] = {}
        for row in rows:
            if row.method in methods and row.recall_at_10 > getattr(
                best_of.get(row.ratio), "recall_at_10", -1
            ):
                best_of[row.ratio] = row
        line = sorted((row.bytes, row.recall_at_10) for row in best_of.values())
        if line:
            axes.plot(*zip(*line, strict=True), "o-", ms=4, lw=1.2, label=label)
    own = [row for row in rows if not row.ours]
    axes.plot(
        [r.bytes for r in own], [r.recall_at_10 for r in own], "ks", ms=5, mfc="none", label="Qdrant alone"
    )
    for row in own:
        label = row.method.removeprefix("engine ")
        axes.annotate(
            label, (row.bytes, row.recall_at_10), xytext=(5, -8), textcoords="offset points", fontsize=6
        )
    sizes = sorted({round(4 * dim / ratio) for ratio in RATIOS})
    axes.set(xscale="log", xlabel="bytes a vector", ylabel="recall@10 against exact search", title=name)
    axes.set_xticks(sizes, [str(size) for size in sizes])
    axes.minorticks_off()
    axes.grid(alpha=0.3)
    axes.legend(fontsize=7, loc="center left", bbox_to_anchor=(1, 0.5))
    figure.savefig(file, dpi=130)


def main() -> None:
    arguments = parser(__doc__.splitlines()[0])
    arguments.add_argument("--data", required=True, help="folder of a collection in BEIR format")
    arguments.add_argument("--ratios", type=int, nargs="+", default=RATIOS, choices=RATIOS)
    arguments.add_argument("--methods", nargs="+", help="only those with one of these words in their names")
    arguments.add_argument("--plot", help="write bytes against recall to this image")
    options = arguments.parse_args()
    check_plot(options.plot)
    data = load(options.data)
    bench = Bench(data.beir, data.document_sentences, data.query_sentences)
    rows = []
    for ratio in options.ratios:
        for name, measure in (*peers(bench, ratio), *ours(bench, ratio)):
            if options.methods and not any(word in name for word in options.methods):
                continue
            rows.append(measure())
            print(
                rows[-1].ratio, rows[-1].method, f"{rows[-1].recall_at_10:.4f}", file=sys.stderr, flush=True
            )
    exact_ndcg = bench.quality(bench.exact)[1]
    result = {
        "collection": data.beir.name,
        "exact_ndcg_at_10": exact_ndcg,
        "best": best(rows, options.ratios, bench),
        "rows": [asdict(row) for row in rows],
        "environment": environment(documents=len(bench.documents), queries=len(bench.queries), dim=bench.dim),
    }
    if options.plot:
        plot(rows, bench.dim, data.beir.name, options.plot)
    report(result, [asdict(row) for row in rows], options.json)


if __name__ == "__main__":
    main()
