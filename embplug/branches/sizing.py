"""Bytes of a collection in memory and on disk, by formula from its recipe or measured on Edge.

The bytes of one document are, part by part:

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

The formula for the graph is an upper bound, because Qdrant leaves out redundant links. It leaves out more of
them if the vectors form clusters. embplug's own codes are in the payload, as text of 1.25 characters a byte.

A shard takes 5 MB of memory besides its documents, and its vectors take whole chunks of 32 MiB. The
write-ahead log and files that are not kept in memory are not counted: the operating system can take back
their pages at any time. ``benchmarks/sizing.py`` compares these figures with the process of a server.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from qdrant_client import models

from embplug.branches.bits import datatype_bits, quantized_bytes
from embplug.branches.pipeline import Pipeline
from embplug.engines import EdgeClient
from embplug.recipe import Recipe

ID_BYTES = 21.0
PAYLOAD_BYTES = 144.0
"""Bytes of the smallest payload; a point without payload takes 16."""

SHARD_MEMORY = 5e6
CHUNK_BYTES = 32 << 20
DEFAULT_M = 16
BASE85 = 1.25
FIELD_BYTES = 24
"""Bytes of the field name of the codes of dense vectors, and of the JSON around them."""


@dataclass(frozen=True)
class Part:
    """Bytes of one document in one part of a collection.

    Attributes
    ----------
    kind : {"vectors", "codes", "graph", "ids", "payload", "indexes"}
        The part.
    vector : str
        Name of the vector in Qdrant; empty for ids, payload and indexes.
    bytes : float
        Bytes on disk.
    in_memory : bool
        Whether the part is kept in memory.
    points : int
        Number of points in the collection. The links of a graph take more bytes in a larger collection.
    """

    kind: str
    vector: str
    bytes: float
    in_memory: bool
    points: int

    def at(self, points: int) -> Part:
        """Return the same part for a collection of another size.

        Parameters
        ----------
        points : int
            Number of points in that collection.

        Returns
        -------
        Part
            The part; only the bytes of a graph change.
        """
        grown = self.bytes
        if self.kind == "graph":
            grown *= link_bits(points) / link_bits(self.points)
        return Part(self.kind, self.vector, grown, self.in_memory, points)


@dataclass(frozen=True)
class Cost:
    """Bytes of a whole collection, over all nodes and on each node.

    Attributes
    ----------
    points : int
        Number of documents, each counted once.
    memory, disk : int
        Bytes over all replicas.
    shards, replicas, nodes : int
        Number of each. A node keeps ``shards * replicas / nodes`` shards, rounded up.
    memory_per_node, disk_per_node : int
        Bytes on the node that holds most.
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
    """Compute the bits that one link of the graph takes in a collection of ``points`` points."""
    return max(1, math.ceil(math.log2(max(points, 2))))


def memory_bytes(parts: list[Part]) -> float:
    """Sum up the bytes of one document in memory."""
    return sum(part.bytes for part in parts if part.in_memory)


def vector_bytes(parts: list[Part]) -> float:
    """Sum up the bytes of one document's vectors and codes in memory, without graph and ids."""
    return sum(part.bytes for part in parts if part.in_memory and part.kind in ("vectors", "codes"))


def disk_bytes(parts: list[Part]) -> float:
    """Sum up the bytes of one document on disk."""
    return sum(part.bytes for part in parts)


def shard_memory(parts: list[Part], points: float) -> float:
    """Compute the bytes of one shard in memory.

    Parameters
    ----------
    parts : list of Part
        Bytes of one document.
    points : float
        Number of documents in the shard.

    Returns
    -------
    float
        Bytes of the documents, with vectors in whole chunks, and of an empty shard.
    """
    total = SHARD_MEMORY
    for part in parts:
        size = part.bytes * points if part.in_memory else 0.0
        total += math.ceil(size / CHUNK_BYTES) * CHUNK_BYTES if part.kind == "vectors" else size
    return total


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
    """Compute the bytes of a collection.

    Parameters
    ----------
    parts : list of Part
        Bytes of one document.
    points : int
        Number of documents.
    replicas : int, default=1
        Number of replicas.
    shards : int, default=None
        Number of shards. Default: one for each node.
    nodes : int, default=None
        Number of nodes. Default: the smallest number of nodes that need at most ``node_memory`` bytes each,
        and at least one for each replica.
    node_memory : float, default=16e9
        Bytes of memory of a node that data may take.
    state_bytes : int, default=0
        Bytes of the fitted state, which each replica holds once.

    Returns
    -------
    Cost
        Bytes over all nodes and on each node.
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
    """Compute the parts of a collection by the formulas above, without payloads and their indexes.

    Parameters
    ----------
    recipe : Recipe
        Recipe of the collection.
    points : int
        Number of documents.
    tokens_per_document : float, default=0.0
        Mean number of tokens of a document, if the recipe has tokens.
    code_bytes : float, default=0.0
        Bytes of the codes of one document's tokens. Codes of dense vectors are counted by their formulas.

    Returns
    -------
    list of Part
        Bytes of one document, part by part.
    """
    dense_bytes = sum(dense.code_bytes for dense in recipe.dense.values())
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
    """Measure the parts of a collection on Edge by the files of its segments.

    Parameters
    ----------
    engine : EdgeClient
        Client of Edge.
    name : str
        Name of the collection.
    recipe : Recipe
        Recipe of the collection.
    points : int
        Number of documents in the collection.

    Returns
    -------
    list of Part
        Bytes of one document, part by part.
    """
    params = Pipeline(recipe).vectors_config()
    engine.disk_bytes(name)  # This call flushes the files.
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
    """Yield the path within its segment and the bytes on disk of each file that grows with the collection."""
    for file in segments.rglob("*"):
        fixed = file.suffix in (".json", ".info") or file.name == "status.dat"
        if file.is_file() and not fixed:
            status = file.stat()
            # Many files are allocated larger than their contents.
            yield "/".join(file.relative_to(segments).parts[1:]), min(512 * status.st_blocks, status.st_size)


def _links(params: models.VectorParams) -> int:
    """Return the links of a point in the graph; 0 means that no graph is built."""
    hnsw = params.hnsw_config
    return DEFAULT_M if hnsw is None or hnsw.m is None else hnsw.m


def file_kind(path: str) -> tuple[str, str]:
    """Return the part and the vector to which a file belongs, by its path within a segment."""
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
