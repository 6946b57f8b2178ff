"""What is recorded of the bytes of an answer, without reading its payloads."""

from __future__ import annotations

from typing import Any

import pytest
from qdrant_client import grpc

from embplug.common.telemetry import Span
from embplug.engines.observation import record_answer
from embplug.methods.kernels import load


class Kept(Span):
    recording = True

    def __init__(self) -> None:
        self.attributes: dict[str, Any] = {}

    def set(self, **attributes: Any) -> None:
        self.attributes |= attributes


def recorded(answer: Any) -> dict[str, Any]:
    span = Kept()
    record_answer(span, "grpc_points.QueryBatch", answer)
    return span.attributes


def test_points_and_bytes_of_an_answer_are_recorded() -> None:
    if load() is None:
        pytest.skip("no kernel")
    point = grpc.ScoredPoint(id=grpc.PointId(num=1), payload={"a": grpc.Value(integer_value=1)})
    message = grpc.QueryBatchResponse(result=[grpc.BatchResult(result=[point] * n) for n in (3, 0, 2)])
    answer = message.SerializeToString()
    assert recorded(answer) == {"response_bytes": len(answer), "candidates": 5}


def test_what_cannot_be_read_has_bytes_and_no_points() -> None:
    assert recorded(b"no message") == {"response_bytes": 10, "candidates": 0}


def test_a_message_is_recorded_as_its_bytes_are() -> None:
    message = grpc.QueryBatchResponse(result=[grpc.BatchResult(result=[grpc.ScoredPoint()])])
    assert recorded(message) == {"response_bytes": message.ByteSize(), "candidates": 1}
