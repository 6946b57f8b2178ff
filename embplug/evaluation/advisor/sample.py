"""A random sample of a collection, read page by page."""

from __future__ import annotations

import random
from dataclasses import dataclass
from typing import Any

import numpy as np
from qdrant_client import models
from tqdm import tqdm

from embplug.common.ids import OWN_FIELDS
from embplug.encoders import Encoded
from embplug.engines import Engine, traits_of
from embplug.engines.calls import Call, Steps
from embplug.engines.capabilities import Capabilities, capabilities_steps
from embplug.errors import CollectionNotFoundError, EmbplugError, InvalidArgumentError
from embplug.methods.token_batch import TokenBatch
from embplug.recipe import Dense, Recipe

QUERIES = 200
"""Number of queries with dense vectors."""

MATRIX_QUERIES = 100
"""Number of queries with token matrices."""

FIT_DOCUMENTS = 2000
"""Number of documents to which methods are fitted."""

DOCUMENTS = 10_000
"""Number of documents with dense vectors in the largest sample."""

MATRICES = 2000
"""Number of documents with token matrices in the largest sample."""

TEXT_KEYS = ("text", "page_content", "document", "content", "body", "chunk")
"""Payload fields in which LangChain, LlamaIndex, FastEmbed and others keep the text."""

SHORTEST_TEXT = 40
"""Mean number of characters from which a field with another name is taken for the text."""

DEFAULT_LINKS = 16
"""Links of a point in a graph, if a collection says nothing else."""

_PAGE = 10_000
_FLOATS_AT_ONCE = 1 << 20
_LIKELY_TOKENS = 256


@dataclass(frozen=True, eq=False)
class CollectionSample:
    """A sample of a collection, and the parameters of the collection that matter for advice.

    Attributes
    ----------
    name : str
        Name of the collection.
    vector : str
        Name of the sampled vector; empty for the unnamed vector.
    points : int
        Number of points in the whole collection.
    documents : Encoded
        Vectors of the sampled points, in random order.
    payloads : list of dict
        Payloads of the same points, without the fields that embplug keeps there.
    distance : models.Distance
        Distance of the sampled vector.
    payload_indexes : dict
        Payload indexes of the collection: field to schema.
    shards : int
        Number of shards of the collection.
    replicas : int
        Replication factor of the collection.
    capabilities : Capabilities
        What the engine of the collection can do.
    today : Recipe, default=None
        Recipe that stores a dense vector as the collection does; None where there is none.
    text_key : str, default=None
        Payload field that holds the texts; None if no field does.
    """

    name: str
    vector: str
    points: int
    documents: Encoded
    payloads: list[dict[str, Any]]
    distance: models.Distance
    payload_indexes: dict[str, Any]
    shards: int
    replicas: int
    capabilities: Capabilities
    today: Recipe | None = None
    text_key: str | None = None


def sample_steps(
    engine: Engine,
    name: str,
    vector: str | None,
    sample: int | None = None,
    stratify: str | None = None,
    seed: int = 0,
    progress: bool | None = None,
) -> Steps[CollectionSample]:
    """Read a random sample of a collection, as a generator of calls to the engine.

    Parameters
    ----------
    engine : Engine
        Client of the engine, which the generator asks for its kind and version only.
    name : str
        Name of the collection.
    vector : str or None
        Name of the vector. ``None`` stands for the only one.
    sample : int, default=None
        Number of points to try recipes on; points to fit methods to and to hold out as queries are
        read besides. Default: 10,000 dense vectors or 2,000 token matrices.
    stratify : str, default=None
        Payload field whose values the sample has in the same proportions as the collection.
    seed : int, default=0
        Seed of the random choice. A server that draws the sample itself ignores it.
    progress : bool, default=None
        Whether to show a progress bar. ``None`` shows it on a terminal only.

    Returns
    -------
    CollectionSample
        The sample.

    Raises
    ------
    CollectionNotFoundError
        The engine has no such collection.
    InvalidArgumentError
        The vector is not in the collection, or no point has it.
    """
    if not (yield Call.of("collection_exists", collection_name=name)):
        raise CollectionNotFoundError(f"no collection {name!r} on this engine")
    capabilities = yield from capabilities_steps(engine)
    info = yield Call.of("get_collection", collection_name=name)
    configured = info.config.params.vectors or {}
    stored = configured if isinstance(configured, dict) else {"": configured}
    chosen = next(iter(stored)) if vector is None and len(stored) == 1 else vector
    if chosen is None or chosen not in stored:
        raise InvalidArgumentError("vector", f"one of the vectors {[*stored]} of {name!r}", repr(vector))
    multi = stored[chosen].multivector_config is not None
    count = (sample or (MATRICES if multi else DOCUMENTS)) + FIT_DOCUMENTS + QUERIES
    at_once = max(1, _FLOATS_AT_ONCE // (stored[chosen].size * (_LIKELY_TOKENS if multi else 1)))
    points = int((yield Call.of("count", collection_name=name, exact=True)).count)
    ids = yield from sample_ids_steps(engine, name, min(count, points), stratify, seed)
    vectors: list[Any] = []
    payloads: list[dict[str, Any]] = []
    disabled = None if progress is None else not progress
    for start in tqdm(range(0, len(ids), at_once), desc=f"reading a sample of {name}", disable=disabled):
        records = yield Call.of(
            "retrieve",
            collection_name=name,
            ids=ids[start : start + at_once],
            with_vectors=[chosen] if chosen else True,
            with_payload=True,
        )
        for record in records:
            value = record.vector.get(chosen) if isinstance(record.vector, dict) else record.vector
            if value is not None:
                vectors.append(np.asarray(value, dtype=np.float16 if multi else np.float32))
                payload = record.payload or {}
                payloads.append({key: payload[key] for key in payload if key not in OWN_FIELDS})
    if not vectors:
        raise InvalidArgumentError("collection", f"points with vector {chosen!r}", "none")
    params = info.config.params
    return CollectionSample(
        name=name,
        vector=chosen,
        points=points,
        documents=Encoded(tokens=TokenBatch.from_list(vectors))
        if multi
        else Encoded(dense=np.stack(vectors)),
        payloads=payloads,
        distance=stored[chosen].distance,
        payload_indexes={
            key: schema.params or schema.data_type for key, schema in (info.payload_schema or {}).items()
        },
        shards=params.shard_number or 1,
        replicas=params.replication_factor or 1,
        capabilities=capabilities,
        today=None if multi else _today(stored[chosen], info.config),
        text_key=text_key_of(payloads),
    )


def _today(params: models.VectorParams, config: models.CollectionConfig) -> Recipe | None:
    """Return the recipe that stores a vector as the collection does, where a recipe can say that."""
    try:
        return Recipe(
            dense=Dense(
                dim=params.size,
                distance=params.distance,
                datatype=params.datatype,
                on_disk=params.on_disk,
                quantization=params.quantization_config or config.quantization_config,
                hnsw=params.hnsw_config or _own_graph(config.hnsw_config),
            )
        )
    except EmbplugError:
        return None


def _own_graph(hnsw: models.HnswConfig) -> models.HnswConfigDiff | None:
    """Return the number of links of a collection that has another than Qdrant's default."""
    return None if hnsw.m == DEFAULT_LINKS else models.HnswConfigDiff(m=hnsw.m)


def text_key_of(payloads: list[dict[str, Any]]) -> str | None:
    """Return the payload field that holds the texts: one with a usual name, or else the longest text.

    Parameters
    ----------
    payloads : list of dict
        Payloads of some documents.

    Returns
    -------
    str or None
        Name of a field that is a text in most payloads; None if no field is one.
    """
    lengths: dict[str, int] = {}
    counts: dict[str, int] = {}
    for payload in payloads:
        for key, value in payload.items():
            if isinstance(value, str):
                lengths[key] = lengths.get(key, 0) + len(value)
                counts[key] = counts.get(key, 0) + 1
    usual = [key for key, count in counts.items() if 2 * count > len(payloads)]
    for key in TEXT_KEYS:
        if key in usual:
            return key
    long = [key for key in usual if lengths[key] >= SHORTEST_TEXT * counts[key] and not key.startswith("_")]
    return max(long, key=lambda key: lengths[key], default=None)


def sample_ids_steps(
    engine: Engine, name: str, count: int, stratify: str | None, seed: int
) -> Steps[list[int | str]]:
    """Choose random ids of points, in random order.

    A server draws the sample itself, unless it is stratified. Otherwise every id is read once.

    Parameters
    ----------
    engine : Engine
        Client of the engine, which the generator asks for its kind only.
    name : str
        Name of the collection.
    count : int
        Number of ids.
    stratify : str or None
        Payload field whose values the sample has in the same proportions as the collection.
    seed : int
        Seed of the random choice.

    Returns
    -------
    list of int or str
        Ids of points.
    """
    if stratify is None and traits_of(engine).draws_samples:
        drawn = yield Call.of(
            "query_points",
            collection_name=name,
            query=models.SampleQuery(sample=models.Sample.RANDOM),
            limit=count,
            with_payload=False,
        )
        return [point.id for point in drawn.points]
    strata: dict[str, list[int | str]] = {}
    offset, total = None, 0
    while True:
        records, offset = yield Call.of(
            "scroll",
            collection_name=name,
            limit=_PAGE,
            offset=offset,
            with_payload=[stratify] if stratify else False,
        )
        for record in records:
            value = repr((record.payload or {}).get(stratify)) if stratify else ""
            strata.setdefault(value, []).append(record.id)
        total += len(records)
        if offset is None:
            break
    rng = random.Random(seed)
    chosen: list[int | str] = []
    for members in strata.values():
        share = min(len(members), max(1, round(count * len(members) / max(total, 1))))
        chosen += rng.sample(members, share)
    rng.shuffle(chosen)
    return chosen[:count]
