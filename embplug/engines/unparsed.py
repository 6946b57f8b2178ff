"""Answers over gRPC as the bytes that arrive: the kernel reads them, and nothing makes objects of them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from qdrant_client import grpc

from embplug.engines.connect import AnyEngine

QUERY_BATCH = "/qdrant.Points/QueryBatch"

_functions: WeakKeyDictionary[Any, Callable[..., Any]] = WeakKeyDictionary()


def query_batch(engine: AnyEngine) -> Callable[..., Any] | None:
    """Return what sends a batch of searches over gRPC, and returns the bytes of the answer.

    The stubs of qdrant-client parse each answer. Its channels are not public: a client that keeps them
    elsewhere answers in messages, which :class:`~embplug.engines.answers.MessagesAnswer` reads.

    Parameters
    ----------
    engine : QdrantClient or AsyncQdrantClient
        Client of a server, over gRPC.

    Returns
    -------
    callable or None
        Takes ``request`` and ``timeout``, as the method ``QueryBatch`` of the client's stub does. None where
        the client keeps no channel for that stub.
    """
    stub = engine.grpc_points  # type: ignore[union-attr]
    function = _functions.get(stub)
    if function is None:
        remote = engine._client  # type: ignore[union-attr]
        stubs = getattr(remote, "_grpc_points_client_pool", None) or ()
        channels = getattr(remote, "_grpc_channel_pool", None) or ()
        for own, channel in zip(stubs, channels, strict=False):
            if own is stub:
                function = _functions[stub] = channel.unary_unary(
                    QUERY_BATCH,
                    request_serializer=grpc.QueryBatchPoints.SerializeToString,
                    response_deserializer=None,
                )
                break
    return function
