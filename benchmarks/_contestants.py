"""Collections that ``latency.py`` and ``throughput.py`` compare: one vector, token matrices, and codes."""

from __future__ import annotations

import argparse
import hashlib
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import numpy as np
from _beir import EncodedBeir
from _harness import parser
from numpy.typing import NDArray
from qdrant_client import QdrantClient, models

from embplug import Collection, Dense, Documents, Fusion, Hit, Multivector, Recipe, Rerank, Tokens, connect
from embplug.engines import EdgeClient, Engine
from embplug.engines.edge.store import bytes_on_disk
from embplug.methods import (
    BinaryQuantizer,
    BitAllocationQuantizer,
    CentroidQuantizer,
    LearnedEncoding,
    PredictiveQuantizer,
    ProductQuantizer,
    ResidualQuantizer,
)
from embplug.methods.kernels import in_use
from embplug.methods.reductions.pooling import HierarchicalPooling
from embplug.methods.roles import Quantizer, TokenCodes
from embplug.methods.token_batch import TokenBatch
from tests.servers import server_in

EngineName = Literal["edge", "grpc", "rest"]
ENGINES: tuple[EngineName, ...] = ("edge", "grpc", "rest")
ON_EDGE: tuple[EngineName, ...] = ("edge",)
ON_SERVER: tuple[EngineName, ...] = ("grpc", "rest")
BATCH_DOCUMENTS = 250
LIMIT = 10
POOLED = Path(__file__).resolve().parent.parent / ".cache" / "pooled"
SINGLE = "single"
OURS = "bits"
"""The codes that a search is fastest with, and whose learned state is small."""
DENSE_WEIGHT = 0.2
"""Weight of the sentence vector's ranking beside that of the codes."""


@dataclass(frozen=True, eq=False)
class Contestant:
    """One way to store documents and to search them.

    Attributes
    ----------
    name : str
        What it is.
    recipe : Recipe
        What is stored.
    engines : tuple of str
        Where it can be stored.
    pooled_by : float
        Factor by which documents have fewer tokens, each the mean of a cluster. 1 keeps all tokens.
    by : tuple of str
        What a query is searched by.
    """

    name: str
    recipe: Recipe
    engines: tuple[EngineName, ...] = ENGINES
    pooled_by: float = 1.0
    by: tuple[str, ...] = ("tokens", "dense")

    def search(self, collection: Collection, data: EncodedBeir, row: int) -> list[Hit]:
        """The best documents of one query."""
        both = {"tokens": data.queries[row], "dense": data.query_sentences[row]}
        query: dict[str, Any] = {name: both[name] for name in self.by}
        return collection.search(**query, limit=LIMIT, with_payload=False)


def options_of(description: str, rows: Sequence[str] | None = None) -> argparse.ArgumentParser:
    """Options of a benchmark of contestants; ``rows`` are those that run by default, None stands for all."""
    smallest = argparse.Namespace(candidates=1, code_bytes=8, document_bytes=2, pooling=1)
    names = [*contestants(1, smallest)]
    options = parser(description)
    options.add_argument("--data", required=True, help="folder of a collection in BEIR format")
    options.add_argument("--rows", nargs="+", choices=names, default=list(rows or names))
    options.add_argument("--engines", nargs="+", choices=ENGINES, default=[*ENGINES])
    options.add_argument("--candidates", type=int, default=50, help="documents that are ranked again")
    options.add_argument("--code-bytes", type=int, default=12, help="of a token")
    options.add_argument("--pooling", type=float, default=2.0, help="factor by which codes have fewer tokens")
    options.add_argument("--document-bytes", type=int, default=48, help="of the correction of a document")
    return options


def sizes(data: EncodedBeir, arguments: argparse.Namespace) -> dict[str, Any]:
    """Sizes of a run, for the environment in its result."""
    return {
        "data": data.beir.name,
        "documents": len(data.documents),
        "tokens": len(data.documents.values),
        "queries": len(data.queries),
        "candidates": arguments.candidates,
        "code_bytes": arguments.code_bytes,
        "document_bytes": arguments.document_bytes,
        "pooling": arguments.pooling,
        "scored_by": in_use(),
    }


def contestants(dim: int, arguments: argparse.Namespace) -> dict[str, Contestant]:
    """All contestants, by the names of the option ``--rows``."""
    rerank = Rerank(candidates=arguments.candidates)
    return {
        SINGLE: Contestant("one float32 vector", Recipe(dense=Dense(dim=dim)), by=("dense",)),
        **_matrices(dim, rerank),
        **_codes(dim, rerank, arguments),
    }


def _matrices(dim: int, rerank: Rerank) -> dict[str, Contestant]:
    """Token matrices in the engine, behind candidates by the sentence vector."""
    turbo = {
        f"turbo{bits}": models.TurboQuantization(
            turbo=models.TurboQuantQuantizationConfig(
                bits=models.TurboQuantBitSize(f"bits{bits}"), always_ram=True
            )
        )
        for bits in (1, 2, 4)
    }
    int8 = models.ScalarQuantization(
        scalar=models.ScalarQuantizationConfig(type=models.ScalarType.INT8, always_ram=True)
    )
    binary = models.BinaryQuantization(binary=models.BinaryQuantizationConfig(always_ram=True))

    def matrices(
        name: str,
        engines: tuple[EngineName, ...] = ENGINES,
        datatype: models.Datatype = models.Datatype.FLOAT32,
        quantization: Any = None,
    ) -> Contestant:
        stored = Multivector(datatype=datatype, quantization=quantization)
        recipe = Recipe(
            tokens=Tokens(dim=dim, encoding=None, multivector=stored),
            dense=Dense(dim=dim),
            rerank=rerank.model_copy(update={"quantized_tokens": quantization is not None}),
        )
        return Contestant(name, recipe, engines)

    return {
        "matrices": matrices("float32 token matrices"),
        **{
            key: matrices(f"the same, TurboQuant of {key[-1]} bits", ON_EDGE, quantization=quantization)
            for key, quantization in turbo.items()
        },
        "turbo4-datatype": matrices("token matrices of turbo4", ON_EDGE, models.Datatype.TURBO4),
        "int8": matrices("float32 token matrices, int8", ON_SERVER, quantization=int8),
        "binary": matrices("float32 token matrices, binary", ON_SERVER, quantization=binary),
    }


def _codes(dim: int, rerank: Rerank, arguments: argparse.Namespace) -> dict[str, Contestant]:
    """Codes of pooled tokens, behind candidates by a sentence vector or a learned encoding."""
    code_bytes, document_bytes, pooling = arguments.code_bytes, arguments.document_bytes, arguments.pooling
    kinds: dict[str, tuple[str, Quantizer | TokenCodes]] = {
        OURS: ("bits by variance", BitAllocationQuantizer(size=code_bytes)),
        "residual": ("residual", ResidualQuantizer(size=code_bytes)),
        "predictive": ("predictive", PredictiveQuantizer(size=code_bytes)),
        "product": ("product", ProductQuantizer(subspaces=_divisor(dim, code_bytes))),
        "binary-codes": ("binary", BinaryQuantizer()),
        "centroids": ("centroid ids", CentroidQuantizer(count=4096)),
    }

    def coded(
        name: str,
        codes: Quantizer | TokenCodes,
        encoding: LearnedEncoding | None = None,
        datatype: models.Datatype = models.Datatype.FLOAT16,
        engines: tuple[EngineName, ...] = ENGINES,
    ) -> Contestant:
        tokens = Tokens(
            dim=dim, encoding=encoding, multivector=None, codes=codes, document_bytes=document_bytes
        )
        if encoding is not None:
            return Contestant(name, Recipe(tokens=tokens, rerank=rerank), pooled_by=pooling, by=("tokens",))
        recipe = Recipe(
            tokens=tokens,
            dense=Dense(dim=dim, datatype=datatype),
            fusion=Fusion(method="min_max", weights={"dense": DENSE_WEIGHT}, after_rerank=True),
            rerank=rerank,
        )
        return Contestant(name, recipe, engines, pooled_by=pooling)

    by_kind = {key: coded(f"ours: {kind} codes", codes) for key, (kind, codes) in kinds.items()}
    kind, codes = kinds[OURS]
    learned = coded(f"ours: learned encoding, then {kind} codes", codes, LearnedEncoding(stored_dim=1024))
    turbo4 = coded(
        f"ours: {kind} codes, sentence vector of turbo4", codes, None, models.Datatype.TURBO4, ON_EDGE
    )
    return {**by_kind, "learned": learned, f"{OURS}-turbo4": turbo4}


def _divisor(dim: int, size: int) -> int:
    """The largest number of subspaces up to ``size`` that divides the dimensions."""
    return next(count for count in range(size, 0, -1) if dim % count == 0)


@contextmanager
def filled(
    contestant: Contestant, data: EncodedBeir, engines: Sequence[EngineName], folder: Path
) -> Iterator[dict[EngineName, tuple[Collection, float, int | None]]]:
    """The contestant's collection on each engine, its bytes a document, and the process of the server.

    Bytes count all that stays on disk but the write-ahead log, and what was learned.
    """
    chosen = [engine for engine in engines if engine in contestant.engines]
    kept = np.flatnonzero(data.documents.lengths)
    opened: dict[EngineName, tuple[Collection, float, int | None]] = {}
    folder.mkdir(parents=True, exist_ok=True)
    with ExitStack() as stack:
        if "edge" in chosen:
            edge = stack.enter_context(EdgeClient(folder / "edge"))
            collection = _fill(contestant, data, kept, edge)
            opened["edge"] = collection, _bytes(collection, folder / "edge", len(kept)), None
        over_network = [engine for engine in chosen if engine != "edge"]
        if over_network:
            url, grpc_port, process = stack.enter_context(server_in(folder / "server"))
            fast = stack.enter_context(closing(connect(url, grpc_port=grpc_port, timeout=600)))
            collection = _fill(contestant, data, kept, fast)
            size = _bytes(collection, folder / "server" / "storage" / "collections" / "docs", len(kept))
            rest = stack.enter_context(
                closing(QdrantClient(url, prefer_grpc=False, check_compatibility=False, timeout=600))
            )
            clients: dict[EngineName, Engine] = {"grpc": fast, "rest": rest}
            opened |= {
                engine: (Collection.open("docs", clients[engine]), size, process) for engine in over_network
            }
        yield opened


def _fill(contestant: Contestant, data: EncodedBeir, kept: NDArray[np.int64], engine: Engine) -> Collection:
    collection = Collection.create("docs", contestant.recipe, engine)
    tokens = None
    if contestant.recipe.tokens is not None:
        tokens = pooled(data, kept, contestant.pooled_by)

    def batches() -> Iterator[Documents]:
        for start in range(0, len(kept), BATCH_DOCUMENTS):
            rows = kept[start : start + BATCH_DOCUMENTS]
            yield Documents(
                rows.tolist(),
                tokens=None if tokens is None else tokens[start : start + BATCH_DOCUMENTS].to_float32(),
                dense=data.document_sentences[rows] if contestant.recipe.dense else None,
            )

    collection.add_batches(batches(), progress=False)
    collection.optimize(timeout=3600)
    return collection


def pooled(data: EncodedBeir, kept: NDArray[np.int64], factor: float) -> TokenBatch:
    """Documents as ``HierarchicalPooling`` stores them: pooled once for all contestants, and kept."""
    if factor == 1:
        return data.documents.take(kept)
    digest = hashlib.sha256(data.documents.offsets.tobytes() + data.documents.values[:1000].tobytes())
    file = POOLED / f"{data.beir.name}-{factor:g}-{digest.hexdigest()[:16]}.npz"
    if not file.exists():
        reduced = HierarchicalPooling(factor=factor).reduce(data.documents.take(kept).to_float32()).tokens
        POOLED.mkdir(parents=True, exist_ok=True)
        unfinished = file.with_suffix(".new.npz")
        np.savez(unfinished, values=reduced.values.astype(np.float16), offsets=reduced.offsets)
        unfinished.replace(file)
    with np.load(file) as stored:
        return TokenBatch(stored["values"], stored["offsets"])


def _bytes(collection: Collection, folder: Path, documents: int) -> float:
    """Bytes a document, with a share of what was learned."""
    info = collection.info()
    if info.disk_bytes is not None:
        return (info.disk_bytes + info.state_bytes) / documents
    log = sum(bytes_on_disk(path) for path in folder.glob("*/wal"))
    return (bytes_on_disk(folder) - log + info.state_bytes) / documents
