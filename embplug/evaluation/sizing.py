"""What a collection takes in memory and on disk: by formula from its recipe, measured on Edge, at any size.

Bytes of one document, part by part:

===================  ==============================================================  ================
part                 bytes                                                           in memory
===================  ==============================================================  ================
vectors              ``4 d`` float32, ``2 d`` float16, ``d`` uint8; of a token       unless on_disk
                     matrix times its tokens
codes, int8          ``d + 4``                                                       if always_ram,
codes, binary        ``d b / 8`` in blocks of 16, ``b`` = 1, 1.5 or 2                else as the
codes, product       ``4 d / ratio``                                                 vectors
codes, turbo         ``d b / 8`` and 4 or 8 of its own
graph                ``2 m ceil(log2 N) / 8``                                        unless hnsw.on_disk
ids                  21                                                              always
payload              in blocks of 128, compressed, and 16                            never
payload indexes      as measured                                                     always
===================  ==============================================================  ================

The graph is an upper bound: links that would lead where others lead already are left out, more of them
the more the vectors are clustered. Codes of ours lie in the payload, as text of 1.25 bytes a byte.

In memory a shard takes 5 MB beside its documents, and its vectors lie in whole chunks of 32 MiB. So much is
needed: the write-ahead log, and what was read of files that are not kept in memory, lie in pages that the
system takes back when it wants them. ``benchmarks/sizing.py`` compares all that with a server's process.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from qdrant_client import models

from embplug.branches.dense import dense_code_bytes
from embplug.branches.pipeline import Pipeline
from embplug.engines import EdgeClient
from embplug.evaluation.bits import datatype_bits, quantized_bytes
from embplug.recipe import Recipe

ID_BYTES = 21.0
PAYLOAD_BYTES = 144.0
"""Of the smallest payload; none at all takes 16."""

SHARD_MEMORY = 5e6
CHUNK_BYTES = 32 << 20
DEFAULT_M = 16
BASE85 = 1.25
FIELD_BYTES = 24
"""Of the name of the codes of dense vectors, and of what stands around them."""


@dataclass(frozen=True)
class Part:
    """Bytes of one document in one part of a collection.

    Attributes
    ----------
    kind
        ``vectors``, ``codes``, ``graph``, ``ids``, ``payload`` or ``indexes``.
    vector
        Name of the vector in Qdrant; empty for ids, payload and indexes.
    bytes
        On disk.
    in_memory
        Whether searches keep it in memory.
    points
        In the collection to which this applies: links grow with it.
    """

    kind: str
    vector: str
    bytes: float
    in_memory: bool
    points: int

    def at(self, points: int) -> Part:
        """The same part in a collection of another size."""
        grown = self.bytes
        if self.kind == "graph":
            grown *= link_bits(points) / link_bits(self.points)
        return Part(self.kind, self.vector, grown, self.in_memory, points)


@dataclass(frozen=True)
class Cost:
    """What a whole collection takes, over all nodes and on each.

    Attributes
    ----------
    points
        Documents, each counted once.
    memory, disk
        Bytes over all replicas.
    shards, replicas, nodes
        Number of each; every node keeps ``shards * replicas / nodes`` shards, rounded up.
    memory_per_node, disk_per_node
        Bytes on the fullest node.
    """

    points: int
    memory: int
    disk: int
    shards: int
    replicas: int
    nodes: int
    memory_per_node: int
    disk_per_node: int


def link_bits(points: int) -> int:
    """Bits in which the graph keeps the number of a point."""
    return max(1, math.ceil(math.log2(max(points, 2))))


def memory_bytes(parts: list[Part]) -> float:
    """Of one document, in memory."""
    return sum(part.bytes for part in parts if part.in_memory)


def vector_bytes(parts: list[Part]) -> float:
    """Of one document's vectors and codes in memory, without graph and ids."""
    return sum(part.bytes for part in parts if part.in_memory and part.kind in ("vectors", "codes"))


def disk_bytes(parts: list[Part]) -> float:
    """Of one document, on disk."""
    return sum(part.bytes for part in parts)


def shard_memory(parts: list[Part], points: float) -> float:
    """Of one shard, in memory: its documents, vectors in whole chunks, and what an empty one takes."""
    whole = SHARD_MEMORY
    for part in parts:
        size = part.bytes * points if part.in_memory else 0.0
        whole += math.ceil(size / CHUNK_BYTES) * CHUNK_BYTES if part.kind == "vectors" else size
    return whole


def cost(
    parts: list[Part],
    points: int,
    *,
    replicas: int = 1,
    shards: int | None = None,
    nodes: int | None = None,
    node_memory: float = 16e9,
    state_bytes: int = 0,
) -> Cost:
    """What a collection of ``points`` documents takes.

    Parameters
    ----------
    nodes
        Default: as few as keep documents of at most ``node_memory`` bytes each, and one for each replica.
    shards
        Default: as many as there are nodes.
    state_bytes
        Of what was learned, once a replica.
    """
    grown = [part.at(points) for part in parts]
    disk = (disk_bytes(grown) * points + state_bytes) * replicas
    if nodes is None:
        kept = (memory_bytes(grown) * points + state_bytes) * replicas
        nodes = max(replicas, math.ceil(kept / node_memory))
    shards = nodes if shards is None else shards
    memory = (shards * shard_memory(grown, points / shards) + state_bytes) * replicas
    share = math.ceil(shards * replicas / nodes) / (shards * replicas)
    return Cost(
        points,
        round(memory),
        round(disk),
        shards,
        replicas,
        nodes,
        round(memory * share),
        round(disk * share),
    )


def expected_parts(
    recipe: Recipe, points: int, *, tokens_per_document: float = 0.0, code_bytes: float = 0.0
) -> list[Part]:
    """Parts of a collection by the formulas above, without payloads and their indexes.

    Parameters
    ----------
    tokens_per_document
        Mean number, where the recipe has tokens.
    code_bytes
        Of the codes of one document's tokens; those of dense vectors are counted by their formulas.
    """
    dense_bytes = sum(dense_code_bytes(dense) for dense in recipe.dense.values())
    field = FIELD_BYTES if dense_bytes else 0
    parts = []
    for name, params in Pipeline(recipe).vectors_config().items():
        rows = tokens_per_document if params.multivector_config is not None else 1.0
        stored = params.size * datatype_bits(params.datatype) / 8
        parts.append(Part("vectors", name, rows * stored, _in_memory("vectors", params), points))
        if params.quantization_config is not None:
            codes = rows * quantized_bytes(params.quantization_config, params.size)
            parts.append(Part("codes", name, codes, _in_memory("codes", params), points))
        m = _links(params)
        if m:
            links = rows * 2 * m * link_bits(round(points * rows)) / 8
            parts.append(Part("graph", name, links, _in_memory("graph", params), points))
    payload = PAYLOAD_BYTES - 128.0
    if code_bytes or dense_bytes:
        payload += math.ceil((BASE85 * (code_bytes + dense_bytes) + field) / 128) * 128
    return [*parts, Part("ids", "", ID_BYTES, True, points), Part("payload", "", payload, False, points)]


def measured_parts(engine: EdgeClient, name: str, recipe: Recipe, points: int) -> list[Part]:
    """Parts of a collection of Edge, from the files of its segments."""
    params = Pipeline(recipe).vectors_config()
    engine.disk_bytes(name)  # flushes
    sums: dict[tuple[str, str], int] = {}
    for path, size in _files(engine.collection_path(name) / "shard" / "segments"):
        kind, vector = file_kind(path)
        if kind == "graph" and not _links(params[vector]):
            continue
        sums[kind, vector] = sums.get((kind, vector), 0) + size
    return [
        Part(kind, vector, size / points, _in_memory(kind, params.get(vector)), points)
        for (kind, vector), size in sorted(sums.items())
    ]


def _files(segments: Path) -> Iterator[tuple[str, int]]:
    """Path within its segment and bytes on disk of each file that grows with the collection."""
    for file in segments.rglob("*"):
        fixed = file.suffix in (".json", ".info") or file.name == "status.dat"
        if file.is_file() and not fixed:
            status = file.stat()
            # Many files are laid out larger than they are filled.
            yield "/".join(file.relative_to(segments).parts[1:]), min(512 * status.st_blocks, status.st_size)


def _links(params: models.VectorParams) -> int:
    """Links of a point in the graph; 0 where none is built."""
    given = params.hnsw_config
    return DEFAULT_M if given is None or given.m is None else given.m


def file_kind(path: str) -> tuple[str, str]:
    """Part and vector to which a file belongs, by its path within a segment."""
    folder = path.split("/", 1)[0]
    for prefix, kind in (("vector_storage-", "vectors"), ("vector_index-", "graph")):
        if folder.startswith(prefix):
            codes = kind == "vectors" and "/quantized" in path
            return "codes" if codes else kind, folder.removeprefix(prefix)
    if folder == "payload_storage":
        return "payload", ""
    return ("indexes", "") if folder == "payload_index" else ("ids", "")


def _in_memory(kind: str, params: models.VectorParams | None) -> bool:
    if params is None:
        return kind in ("ids", "indexes")
    if kind == "graph":
        return not (params.hnsw_config and params.hnsw_config.on_disk)
    if kind == "codes" and params.quantization_config is not None:
        _, parameters = next(iter(params.quantization_config))
        if parameters.always_ram is not None:
            return bool(parameters.always_ram)
    return not params.on_disk
