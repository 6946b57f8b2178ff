"""What is recorded of a request to the engine: its name, its duration, and how much it has returned."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any

from qdrant_client import grpc

from embplug.common.telemetry import CANDIDATES, RESPONSE_BYTES, Span, record, span
from embplug.methods.kernels.messages import count_points

logger = logging.getLogger(__name__)


def request_span(method: str, arguments: Mapping[str, Any]) -> Span:
    """Observe a call of the engine.

    Parameters
    ----------
    method : str
        Name of the client's method.
    arguments : mapping
        Keyword arguments of the method, of which only the name of the collection is read.

    Returns
    -------
    Span
        Context manager around the call.
    """
    name = arguments.get("collection_name")
    if name is None:
        name = getattr(arguments.get("request"), "collection_name", None)
    return span("request", name, logger, method=method)


def record_answer(request: Span, method: str, answer: Any) -> None:
    """Record how many points a batch of searches has returned, and in how many bytes.

    Parameters
    ----------
    request : Span
        What :func:`request_span` returned.
    method : str
        Name of the client's method.
    answer : object
        What the method returned.
    """
    if not request.recording:
        return
    size = None
    if isinstance(answer, bytes):
        points, size = count_points(answer), len(answer)
    elif isinstance(answer, grpc.QueryBatchResponse):
        points, size = sum(len(part.result) for part in answer.result), answer.ByteSize()
    elif method == "query_batch_scored":
        points = sum(map(len, answer[1]))
    elif method == "query_batch_points":
        points = sum(len(part.points) for part in answer)
    else:
        return
    if size is not None:
        request.set(response_bytes=size)
        record(RESPONSE_BYTES, size)
    request.set(candidates=points)
    record(CANDIDATES, points)
