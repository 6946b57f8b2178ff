"""Conversion of collection parameters and payload indexes to and from ``qdrant_edge``."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import Enum
from typing import Any, Literal, TypeVar

import qdrant_edge as edge
from qdrant_client import models

from embplug.errors import CapabilityError, InvalidArgumentError

# The defaults of the server. The binding of Edge has no defaults.
DEFAULT_HNSW = {"m": 16, "ef_construct": 100, "full_scan_threshold": 10_000}
DEFAULT_INDEXING_THRESHOLD_KB = 10_000

EnumT = TypeVar("EnumT", bound=Enum)


@dataclass(frozen=True)
class VectorSchema:
    """Kind and dimension of a named vector.

    Attributes
    ----------
    kind : {"dense", "multi", "sparse"}
        Kind of the vector.
    size : int, default=0
        Dimension of dense and multi vectors; 0 for sparse ones.
    """

    kind: Literal["dense", "multi", "sparse"]
    size: int = 0


def to_edge_config(
    vectors: models.VectorParams | Mapping[str, models.VectorParams] | None,
    sparse_vectors: Mapping[str, models.SparseVectorParams] | None = None,
    hnsw: models.HnswConfigDiff | None = None,
    quantization: Any = None,
    optimizers: models.OptimizersConfigDiff | None = None,
    on_disk_payload: bool | None = None,
    payload: models.PayloadStorageParams | None = None,
    id_tracker: models.IdTrackerParams | None = None,
) -> edge.EdgeConfig:
    """Convert the parameters of a new collection.

    The write-ahead log is always on. Without it, a process that is killed loses acknowledged writes.

    Raises
    ------
    CapabilityError
        Edge cannot honour an argument; the error names it.
    InvalidArgumentError
        An argument is wrong; the error names it.
    """
    named = {"": vectors} if isinstance(vectors, models.VectorParams) else dict(vectors or {})
    if not named and not sparse_vectors:
        raise InvalidArgumentError("vectors_config", "at least one dense or sparse vector", "none")
    twice = named.keys() & (sparse_vectors or {}).keys()
    if twice:
        raise InvalidArgumentError("sparse_vectors_config", "names other than the dense ones", sorted(twice))
    return edge.EdgeConfig(
        vectors={name: _vector_params(p, hnsw, f"vectors_config[{name!r}]") for name, p in named.items()},
        sparse_vectors={name: _sparse_params(p) for name, p in (sparse_vectors or {}).items()} or None,
        on_disk_payload=on_disk_payload,
        hnsw_config=_hnsw(hnsw),
        quantization_config=to_edge_quantization(quantization),
        optimizers=_optimizers(optimizers),
        payload_memory=_memory(payload.memory if payload else None, "payload.memory", pinned=False),
        id_tracker_memory=_memory(id_tracker.memory if id_tracker else None, "id_tracker.memory"),
        wal_enabled=True,
    )


def to_edge_enum(kind: Any, value: Enum | str | None, argument: str) -> Any:
    """Find a member of an Edge enum by its name in the REST API: ``max_sim`` is ``MaxSim``.

    Raises
    ------
    CapabilityError
        This version of Edge has no such member.
    """
    if value is None:
        return None
    text = str(value.value if isinstance(value, Enum) else value)
    for name in dir(kind):
        if not name.startswith("_") and _folded(name) == _folded(text):
            return getattr(kind, name)
    raise CapabilityError(f"{argument}: Qdrant Edge has no {text!r}")


def from_edge_enum(kind: type[EnumT], value: Any) -> EnumT | None:
    """Find the member of an enum of ``qdrant_client.models`` for a member of an Edge enum."""
    if value is None:
        return None
    name = _folded(repr(value).rsplit(".", 1)[-1])
    return next(member for member in kind if _folded(str(member.value)) == name)


def _folded(name: str) -> str:
    return name.replace("_", "").lower()


def _memory(memory: models.Memory | None, argument: str, pinned: bool = True) -> Any:
    if memory is models.Memory.PINNED and not pinned:
        raise CapabilityError(f"{argument}: Qdrant Edge treats 'pinned' as 'cached' here; ask for 'cached'")
    return to_edge_enum(edge.Memory, memory, argument)


def _vector_params(
    params: models.VectorParams, collection_hnsw: models.HnswConfigDiff | None, argument: str
) -> edge.EdgeVectorParams:
    if not isinstance(params, models.VectorParams):
        raise InvalidArgumentError(argument, "models.VectorParams", type(params).__name__)
    if params.size < 1:
        raise InvalidArgumentError(f"{argument}.size", "at least 1 dimension", params.size)
    return edge.EdgeVectorParams(
        params.size,
        to_edge_enum(edge.Distance, params.distance, f"{argument}.distance"),
        on_disk=params.on_disk,
        multivector_config=to_edge_multivector(params.multivector_config),
        datatype=to_edge_enum(edge.VectorStorageDatatype, params.datatype, f"{argument}.datatype"),
        quantization_config=to_edge_quantization(params.quantization_config),
        hnsw_config=_hnsw(params.hnsw_config, collection_hnsw),
        memory=_memory(params.memory, f"{argument}.memory", pinned=False),
    )


def to_edge_multivector(config: models.MultiVectorConfig | None) -> edge.MultiVectorConfig | None:
    """Convert the configuration of a multivector."""
    if config is None:
        return None
    comparator = to_edge_enum(edge.MultiVectorComparator, config.comparator, "multivector_config.comparator")
    return edge.MultiVectorConfig(comparator)


def _sparse_params(params: models.SparseVectorParams) -> edge.EdgeSparseVectorParams:
    index = params.index or models.SparseIndexParams()
    return edge.EdgeSparseVectorParams(
        full_scan_threshold=index.full_scan_threshold,
        on_disk=index.on_disk,
        modifier=to_edge_modifier(params.modifier),
        datatype=to_edge_enum(edge.VectorStorageDatatype, index.datatype, "sparse_vectors_config.datatype"),
        memory=_memory(index.memory, "sparse_vectors_config.memory"),
    )


def to_edge_modifier(modifier: models.Modifier | None) -> Any:
    """Convert the modifier of a sparse vector; Edge has no member for ``none``."""
    return edge.Modifier.Idf if modifier is models.Modifier.IDF else None


def _hnsw(
    diff: models.HnswConfigDiff | None, base: models.HnswConfigDiff | None = None
) -> edge.HnswIndexConfig | None:
    """Complete a difference with the parameters of the collection and the defaults."""
    if diff is None:
        return None
    complete: dict[str, Any] = dict(DEFAULT_HNSW)
    for layer in (base, diff):
        if layer is not None:
            complete |= layer.model_dump(exclude_none=True)
    complete["memory"] = _memory(complete.get("memory"), "hnsw_config.memory")
    return edge.HnswIndexConfig(**complete)


def to_edge_quantization(config: Any) -> Any:
    """Convert a scalar, product, binary or TurboQuant quantization."""
    argument = "quantization_config"
    if config is None:
        return None
    if isinstance(config, models.ScalarQuantization):
        scalar = config.scalar
        return edge.ScalarQuantizationConfig(
            to_edge_enum(edge.ScalarType, scalar.type, f"{argument}.type"),
            quantile=scalar.quantile,
            always_ram=scalar.always_ram,
            memory=_memory(scalar.memory, f"{argument}.memory"),
        )
    if isinstance(config, models.ProductQuantization):
        product = config.product
        return edge.ProductQuantizationConfig(
            to_edge_enum(edge.CompressionRatio, product.compression, f"{argument}.compression"),
            always_ram=product.always_ram,
            memory=_memory(product.memory, f"{argument}.memory"),
        )
    if isinstance(config, models.BinaryQuantization):
        binary = config.binary
        return edge.BinaryQuantizationConfig(
            always_ram=binary.always_ram,
            encoding=to_edge_enum(edge.BinaryQuantizationEncoding, binary.encoding, f"{argument}.encoding"),
            query_encoding=to_edge_enum(
                edge.BinaryQuantizationQueryEncoding, binary.query_encoding, f"{argument}.query_encoding"
            ),
            memory=_memory(binary.memory, f"{argument}.memory"),
        )
    if isinstance(config, models.TurboQuantization):
        turbo = config.turbo
        return edge.TurboQuantQuantizationConfig(
            always_ram=turbo.always_ram,
            bits=to_edge_enum(edge.TurboQuantBitSize, turbo.bits, f"{argument}.bits"),
            memory=_memory(turbo.memory, f"{argument}.memory"),
        )
    raise InvalidArgumentError(argument, "a quantization of qdrant_client.models", type(config).__name__)


def _optimizers(diff: models.OptimizersConfigDiff | None) -> edge.EdgeOptimizersConfig | None:
    if diff is None:
        return None
    for name, reason in _NO_OPTIMIZER_FIELDS.items():
        if getattr(diff, name) is not None:
            raise CapabilityError(f"optimizers_config.{name}: Qdrant Edge cannot honour it, because {reason}")
    return edge.EdgeOptimizersConfig(
        deleted_threshold=diff.deleted_threshold,
        vacuum_min_vector_number=diff.vacuum_min_vector_number,
        default_segment_number=diff.default_segment_number,
        max_segment_size=diff.max_segment_size,
        indexing_threshold=diff.indexing_threshold,
        prevent_unoptimized=diff.prevent_unoptimized,
    )


_NO_OPTIMIZER_FIELDS = {
    "memmap_threshold": "`on_disk` or `memory` of each vector decides",
    "flush_interval_sec": "it flushes on demand",
    "max_optimization_threads": "it optimizes in the calling thread",
}


def schema_of(config: Mapping[str, Any]) -> dict[str, VectorSchema]:
    """Read the vectors of a shard from its ``edge_config.json``."""
    schema = {
        name: VectorSchema("multi" if params.get("multivector_config") else "dense", int(params["size"]))
        for name, params in (config.get("vectors") or {}).items()
    }
    return schema | {name: VectorSchema("sparse") for name in config.get("sparse_vectors") or {}}


def from_edge_config(config: Mapping[str, Any], metadata: dict[str, Any] | None) -> models.CollectionConfig:
    """Convert the ``edge_config.json`` of a shard to what QdrantClient returns."""
    vectors = {name: _from_vector_params(params) for name, params in (config.get("vectors") or {}).items()}
    sparse = {
        name: _from_sparse_params(params) for name, params in (config.get("sparse_vectors") or {}).items()
    }
    optimizers = {"default_segment_number": 0, "indexing_threshold": DEFAULT_INDEXING_THRESHOLD_KB}
    stored = config.get("optimizers") or {}
    optimizers |= {name: value for name, value in stored.items() if value is not None}
    return models.CollectionConfig(
        params=models.CollectionParams(
            vectors=vectors[""] if vectors.keys() == {""} else vectors,
            on_disk_payload=config.get("on_disk_payload", True),
            payload=_memory_params(models.PayloadStorageParams, config.get("payload_memory")),
            id_tracker=_memory_params(models.IdTrackerParams, config.get("id_tracker_memory")),
            sparse_vectors=sparse or None,
        ),
        hnsw_config=models.HnswConfig(**(DEFAULT_HNSW | (config.get("hnsw_config") or {}))),
        # Edge flushes on demand, so the interval is 0.
        optimizer_config=models.OptimizersConfig(flush_interval_sec=0, **optimizers),
        quantization_config=config.get("quantization_config"),
        metadata=metadata,
    )


def _from_vector_params(params: Mapping[str, Any]) -> models.VectorParams:
    known = models.VectorParams.model_fields.keys() & params.keys()
    return models.VectorParams(**{name: params[name] for name in known})


def _from_sparse_params(params: Mapping[str, Any]) -> models.SparseVectorParams:
    known = models.SparseIndexParams.model_fields.keys() & params.keys()
    index = models.SparseIndexParams(**{name: params[name] for name in known}) if known else None
    return models.SparseVectorParams(index=index, modifier=params.get("modifier"))


def _memory_params(kind: type[Any], memory: str | None) -> Any:
    return None if memory is None else kind(memory=memory)


def to_edge_index(schema: Any) -> Any:
    """Convert a payload index.

    Parameters
    ----------
    schema : models.PayloadSchemaType, str or index parameters
        Type of the index, its name, or its parameters.

    Returns
    -------
    qdrant_edge.PayloadSchemaType or index parameters
        The schema for Edge.

    Raises
    ------
    InvalidArgumentError
        The schema is of another type.
    CapabilityError
        This version of Edge has no such index.
    """
    if isinstance(schema, str):
        return to_edge_enum(edge.PayloadSchemaType, schema, "field_schema")
    kind = _INDEX_PARAMS.get(type(schema))
    if kind is None:
        raise InvalidArgumentError("field_schema", "a PayloadSchemaType or its parameters", repr(schema))
    fields = {
        name: _to_index_field(name, value) for name, value in schema if value is not None and name != "type"
    }
    return kind(**fields)


_INDEX_PARAMS: dict[type[Any], Any] = {
    models.KeywordIndexParams: edge.KeywordIndexParams,
    models.IntegerIndexParams: edge.IntegerIndexParams,
    models.FloatIndexParams: edge.FloatIndexParams,
    models.GeoIndexParams: edge.GeoIndexParams,
    models.TextIndexParams: edge.TextIndexParams,
    models.BoolIndexParams: edge.BoolIndexParams,
    models.DatetimeIndexParams: edge.DatetimeIndexParams,
    models.UuidIndexParams: edge.UuidIndexParams,
}


def _to_index_field(name: str, value: Any) -> Any:
    argument = f"field_schema.{name}"
    if name == "memory":
        return to_edge_enum(edge.Memory, value, argument)
    if name == "tokenizer":
        return to_edge_enum(edge.TokenizerType, value, argument)
    if name == "stopwords":
        if not isinstance(value, models.StopwordsSet):
            return to_edge_enum(edge.Language, value, argument)
        languages = {to_edge_enum(edge.Language, language, argument) for language in value.languages or []}
        return edge.StopwordsSet(languages or None, set(value.custom) if value.custom else None)
    if name == "stemmer":
        if isinstance(value, models.DisabledStemmerParams):
            return edge.DisabledStemmer()
        return edge.SnowballParams(to_edge_enum(edge.SnowballLanguage, value.language, argument))
    if name == "scoring" and isinstance(value, models.TextScoringParams):
        return edge.TextScoringParams(to_edge_enum(edge.TextScoringType, value.type, argument))
    return value


def from_edge_index(info: edge.PayloadIndexInfo) -> models.PayloadIndexInfo:
    """Convert a payload index to what ``CollectionInfo.payload_schema`` holds."""
    data_type = from_edge_enum(models.PayloadSchemaType, info.data_type)
    assert data_type is not None
    params = None
    if info.params is not None:
        kind: Any = next(model for model, params in _INDEX_PARAMS.items() if isinstance(info.params, params))
        fields = {
            name: _from_index_field(name, getattr(info.params, name))
            for name in kind.model_fields
            if name != "type"
        }
        params = kind(type=data_type.value, **fields)
    return models.PayloadIndexInfo(data_type=data_type, params=params, points=info.points)


def _from_index_field(name: str, value: Any) -> Any:
    if value is None:
        return None
    if name == "memory":
        return from_edge_enum(models.Memory, value)
    if name == "tokenizer":
        return from_edge_enum(models.TokenizerType, value)
    if name == "stopwords":
        if not isinstance(value, edge.StopwordsSet):
            return from_edge_enum(models.Language, value)
        return models.StopwordsSet(
            languages=[from_edge_enum(models.Language, language) for language in value.languages or []],
            custom=sorted(value.custom or []),
        )
    if name == "stemmer":
        if isinstance(value, edge.DisabledStemmer):
            return models.DisabledStemmerParams(type=models.NoStemmer.NONE)
        return models.SnowballParams(
            type=models.Snowball.SNOWBALL,
            language=from_edge_enum(models.SnowballLanguage, value.language),
        )
    if name == "scoring":
        return models.TextScoringParams(type=from_edge_enum(models.TextScoringType, value.type))
    return value
