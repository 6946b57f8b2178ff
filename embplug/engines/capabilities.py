"""What an engine can do, looked up by its kind and version.

Older servers ignore fields that they do not know and report no error, so that embplug refuses such requests
before it sends them. Nested prefetches, multivectors and the datatypes uint8 and float16 are not listed: they
are older than the oldest server that embplug supports, which is the first with collection metadata.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import NamedTuple

from embplug.engines.calls import Call, Steps
from embplug.engines.connect import MEMORY, AnyEngine
from embplug.engines.traits import Kind, traits_of
from embplug.errors import CapabilityError

MAX_REST_BYTES = 32 << 20
"""Largest body in bytes that a server accepts over REST by default; gRPC has no such limit."""

MAX_MULTIVECTOR_FLOATS = (1 << 20) - 1
"""Largest number of floats in a multivector that a Qdrant server accepts."""

_ANY = "1.0"


class _Feature(NamedTuple):
    description: str
    server_since: str
    edge: bool = True
    memory: bool = True


_FEATURES = {
    "collection_metadata": _Feature("collection metadata, where the recipe is kept", "1.16"),
    "sharding": _Feature("more than one shard or replica", _ANY, edge=False, memory=False),
    "request_timeout": _Feature("a timeout of a single request", _ANY, edge=False, memory=False),
    "update_timeout": _Feature("a timeout of a single update over REST", "1.17", edge=False, memory=False),
    "quantization": _Feature("quantization", _ANY, memory=False),
    "binary_encodings": _Feature("1.5 and 2 bits, or quantized queries", "1.15", memory=False),
    "turbo_quantization": _Feature("TurboQuant", "1.18", memory=False),
    "turbo4_datatype": _Feature("the datatype turbo4", "1.19", memory=False),
    "turbo8_datatype": _Feature("the datatypes turbo8 and turbo16", "1.20", memory=False),
    "add_vectors": _Feature("adding a named vector to a collection", "1.18"),
    "added_vector_storage": _Feature("storage options of a vector that is added", "1.18", edge=False),
    "memory_placement": _Feature("`memory` (use on_disk or always_ram)", "1.19"),
    "rrf_k": _Feature("the constant k of reciprocal rank fusion", "1.16"),
    "rrf_weights": _Feature("weights of reciprocal rank fusion", "1.17"),
    "index_enable_hnsw": _Feature("`enable_hnsw` of payload indexes", "1.17"),
    "index_prefix": _Feature("`prefix` of keyword indexes", "1.19"),
    "index_scoring": _Feature("`scoring` of text indexes", "1.20"),
    "index_nested": _Feature("`nested` of payload indexes", "1.20"),
    "match_prefix": _Feature("a match by prefix", "1.19"),
    "match_substring": _Feature("a match by substring", "1.20"),
    "slice_condition": _Feature("a slice condition", "1.19"),
}


@dataclass(frozen=True)
class Capabilities:
    """What an engine can do.

    Attributes
    ----------
    kind : {"edge", "memory", "server"}
        Kind of the engine; ``"memory"`` is qdrant-client's own simulation.
    version : str
        Version that the engine reports.
    max_request_bytes : int or None
        Size of the largest request in bytes. None sets no limit.
    max_multivector_floats : int or None
        Number of floats in the largest multivector. None sets no limit.
    others : bool
        Whether the engine has the feature of that name.
    """

    kind: Kind
    version: str
    max_request_bytes: int | None
    max_multivector_floats: int | None
    collection_metadata: bool
    sharding: bool
    request_timeout: bool
    update_timeout: bool
    quantization: bool
    binary_encodings: bool
    turbo_quantization: bool
    turbo4_datatype: bool
    turbo8_datatype: bool
    add_vectors: bool
    added_vector_storage: bool
    memory_placement: bool
    rrf_k: bool
    rrf_weights: bool
    index_enable_hnsw: bool
    index_prefix: bool
    index_scoring: bool
    index_nested: bool
    match_prefix: bool
    match_substring: bool
    slice_condition: bool

    @classmethod
    def of(cls, kind: Kind, version: str, *, over_grpc: bool = False) -> Capabilities:
        """Look up the capabilities of a kind and version of an engine.

        Parameters
        ----------
        kind : {"edge", "memory", "server"}
            Kind of the engine.
        version : str
            Version of the engine.
        over_grpc : bool, default=False
            Whether requests are sent over gRPC, which does not limit their size.

        Returns
        -------
        Capabilities
            What the engine can do.
        """
        is_server = kind == "server"
        numbers = _numbers(version)
        has = {
            name: numbers >= _numbers(feature.server_since) if is_server else getattr(feature, kind)
            for name, feature in _FEATURES.items()
        }
        # Older servers cannot read it as a parameter of REST; over gRPC it is the deadline of the call.
        has["update_timeout"] |= is_server and over_grpc
        return cls(
            kind=kind,
            version=version,
            max_request_bytes=MAX_REST_BYTES if is_server and not over_grpc else None,
            max_multivector_floats=MAX_MULTIVECTOR_FLOATS if is_server else None,
            **has,
        )

    @property
    def is_in_process(self) -> bool:
        """Whether requests stay in this process, so that two small ones cost less than a large one."""
        return self.kind != "server"

    @property
    def tells_versions(self) -> bool:
        """Whether a search tells the version of each point, which every change of the point raises."""
        return self.kind == "edge"

    def __str__(self) -> str:
        if self.kind == "memory":
            return f"{MEMORY!r} of qdrant-client {self.version}"
        return f"Qdrant Edge {self.version}" if self.kind == "edge" else f"Qdrant server {self.version}"

    def require(self, name: str, field: str) -> None:
        """Raise unless the engine can do what ``field`` asks for.

        Parameters
        ----------
        name : str
            Name of the capability.
        field : str
            Field of the recipe, or argument, that needs it.

        Raises
        ------
        CapabilityError
            The engine cannot do it. The error names the field, the engine, and an engine that can.
        """
        if not getattr(self, name):
            feature = _FEATURES[name]
            since = "" if feature.server_since == _ANY else f" of version {feature.server_since} or later"
            edge = " or Qdrant Edge" if feature.edge else ""
            raise CapabilityError(
                f"{field}: {self} does not have {feature.description}; it needs a Qdrant server{since}{edge}"
            )


def _numbers(version: str) -> tuple[int, ...]:
    """Parse ``1.16.3`` or ``v1.17.0-dev``; a version without numbers counts as the newest."""
    match = re.match(r"v?(\d+)\.(\d+)", version)
    return tuple(map(int, match.groups())) if match else (1 << 16,)


def capabilities_steps(engine: AnyEngine) -> Steps[Capabilities]:
    """Request the version of an engine, and look up its capabilities.

    Parameters
    ----------
    engine : client
        An open engine.

    Returns
    -------
    Capabilities
        What the engine can do.
    """
    version = (yield Call.of("info")).version
    traits = traits_of(engine)
    return Capabilities.of(traits.kind, version, over_grpc=traits.uses_grpc)
