"""Properties that follow from the kind of an engine alone, and are known without a request.

Properties that depend on the engine's version are in :mod:`embplug.engines.capabilities`.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum
from typing import Literal

from embplug.engines.connect import AnyEngine, is_server
from embplug.engines.edge.async_client import AsyncEdgeClient
from embplug.engines.edge.client import EdgeClient

Kind = Literal["edge", "memory", "server"]


class PointForm(Enum):
    """The form in which an engine reads points fastest."""

    MESSAGES = "messages"
    """Protobuf, for gRPC."""
    LISTS = "lists"
    """JSON, for REST."""
    ARRAYS = "arrays"
    """numpy, for engines in this process."""


@dataclass(frozen=True)
class EngineTraits:
    """Properties of an engine that need no request.

    Attributes
    ----------
    kind : {"edge", "memory", "server"}
        Kind of the engine; ``"memory"`` is qdrant-client's own simulation.
    point_form : PointForm
        Form in which points are written to it.
    timeout : int or None
        Seconds for a request over gRPC, as its client was configured.
    """

    kind: Kind
    point_form: PointForm
    timeout: int | None = None

    @property
    def is_remote(self) -> bool:
        """Whether requests leave this process, and may be answered by one of several replicas."""
        return self.kind == "server"

    @property
    def uses_grpc(self) -> bool:
        """Whether requests are sent over gRPC."""
        return self.point_form is PointForm.MESSAGES

    @property
    def keeps_state_in_files(self) -> bool:
        """Whether fitted state is kept in files in the folder of the collection."""
        return self.kind == "edge"

    @property
    def optimizes_on_call(self) -> bool:
        """Whether indexes are built by a call of ``optimize``, and not in the background."""
        return self.kind == "edge"

    @property
    def tells_disk_bytes(self) -> bool:
        """Whether the client measures how many bytes a collection takes on disk."""
        return self.kind == "edge"

    @property
    def draws_samples(self) -> bool:
        """Whether a random sample is drawn by the engine without reading every id."""
        return self.kind == "server"

    @property
    def takes_parallel_calls(self) -> bool:
        """Whether several threads may call it at once."""
        return self.kind != "memory"

    @property
    def indexes_payloads(self) -> bool:
        """Whether it builds payload indexes; the simulation ignores them."""
        return self.kind != "memory"


def traits_of(engine: AnyEngine) -> EngineTraits:
    """Look up the traits of an open engine.

    Parameters
    ----------
    engine : client
        An open client, synchronous or asynchronous.

    Returns
    -------
    EngineTraits
        Traits of its kind.
    """
    if isinstance(engine, (EdgeClient, AsyncEdgeClient)):
        return EngineTraits("edge", PointForm.ARRAYS)
    if not is_server(engine):
        return EngineTraits("memory", PointForm.ARRAYS)
    form = PointForm.MESSAGES if engine.init_options.get("prefer_grpc") else PointForm.LISTS
    return EngineTraits("server", form, engine.init_options.get("timeout"))
