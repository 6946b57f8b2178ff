"""Points found in the bytes of an answer, beside those that protobuf reads, and answers that are broken."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any
from uuid import UUID

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from qdrant_client import grpc
from qdrant_client.conversions.conversion import value_to_json

from embplug.methods.kernels import Kernel
from embplug.methods.kernels.messages import ABSENT, NO_TEXT, points, texts

NAME = "_embplug_codes"
IDS = st.one_of(
    st.integers(0, (1 << 64) - 1).map(lambda number: grpc.PointId(num=number)),
    st.uuids().map(lambda uuid: grpc.PointId(uuid=str(uuid))),
)
SCALARS = st.one_of(
    st.text("aé€😀\0", max_size=300).map(lambda text: grpc.Value(string_value=text)),
    st.integers(-(1 << 63), (1 << 63) - 1).map(lambda number: grpc.Value(integer_value=number)),
    st.floats(allow_nan=False).map(lambda number: grpc.Value(double_value=number)),
    st.booleans().map(lambda value: grpc.Value(bool_value=value)),
    st.just(grpc.Value()),
)
VALUES = SCALARS | st.lists(SCALARS, max_size=3).map(
    lambda values: grpc.Value(list_value=grpc.ListValue(values=values))
)
FIELDS = st.sampled_from([NAME, "", "_embplug_code", "_embplug_codes2", "été"])
VECTORS = st.just(grpc.VectorsOutput(vector=grpc.VectorOutput(dense=grpc.DenseVector(data=[0.5, -2.0]))))
POINTS = st.builds(
    grpc.ScoredPoint,
    id=IDS,
    payload=st.dictionaries(FIELDS, VALUES, max_size=4),
    score=st.floats(width=32, allow_nan=False),
    version=st.integers(0, (1 << 64) - 1),
    vectors=st.none() | VECTORS,
    order_value=st.none() | st.just(grpc.OrderValue(float=1.5)),
)
RESULTS = st.lists(st.lists(POINTS, max_size=5), min_size=1, max_size=3)


def answer_of(results: Sequence[Sequence[grpc.ScoredPoint]]) -> bytes:
    parts = [grpc.BatchResult(result=result) for result in results]
    message: bytes = grpc.QueryBatchResponse(result=parts, time=0.25).SerializeToString()
    return message


def text_of(point: grpc.ScoredPoint, name: str) -> Any:
    """What :func:`texts` finds of a point: bytes, or the length that says why there are none."""
    if name not in point.payload:
        return ABSENT
    value = point.payload[name]
    return value.string_value.encode() if value.HasField("string_value") else NO_TEXT


@given(results=RESULTS)
def test_points_are_those_that_protobuf_reads(kernel: Kernel, results: list[list[grpc.ScoredPoint]]) -> None:
    answer = answer_of(results)
    for number, expected in enumerate(results):
        found = points(kernel, answer, number, 5)
        assert found.ids(answer) == [point.id.uuid or point.id.num for point in expected]
        assert found.scores.tolist() == [point.score for point in expected]
        for row, point in enumerate(expected):
            assert grpc.ScoredPoint.FromString(found.message(answer, row)) == point
        for name in (NAME, "", "été"):
            columns = texts(kernel, answer, found, name)
            spans = zip(columns.starts.tolist(), columns.lengths.tolist(), strict=True)
            own = [answer[start : start + length] if length >= 0 else length for start, length in spans]
            assert own == [text_of(point, name) for point in expected]


def test_of_a_field_that_comes_twice_the_last_one_counts(kernel: Kernel) -> None:
    first = grpc.ScoredPoint(
        id=grpc.PointId(uuid=str(UUID(int=1))), score=1.0, payload={NAME: grpc.Value(string_value="a")}
    )
    second = grpc.ScoredPoint(
        id=grpc.PointId(num=7), score=2.0, payload={NAME: grpc.Value(string_value="bc")}
    )
    twice = first.SerializeToString() + second.SerializeToString()
    merged = grpc.ScoredPoint.FromString(twice)
    part = b"\x0a" + bytes([len(twice)]) + twice
    answer = b"\x0a" + bytes([len(part)]) + part
    found = points(kernel, answer, 0, 1)
    (column,) = texts(kernel, answer, found, NAME)
    assert (found.ids(answer), found.scores.tolist(), column) == ([7], [2.0], b"bc")
    assert (merged.id.num, merged.score, value_to_json(merged.payload[NAME])) == (7, 2.0, "bc")


def test_an_answer_with_fewer_results_or_more_points_is_refused(kernel: Kernel) -> None:
    answer = answer_of([[grpc.ScoredPoint(id=grpc.PointId(num=n)) for n in range(3)], []])
    assert points(kernel, answer, 0, 3).ids(answer) == [0, 1, 2]
    assert points(kernel, answer, 1, 0).ids(answer) == []
    for result, limit in ((0, 2), (2, 3), (1 << 40, 3)):
        with pytest.raises(ValueError, match=f"no result {result + 1}, or one with more than {limit} points"):
            points(kernel, answer, result, limit)
    with pytest.raises(ValueError, match="no result 1"):
        points(kernel, b"", 0, 3)


def test_of_a_huge_limit_only_what_fits_into_the_answer_is_reserved(kernel: Kernel) -> None:
    answer = answer_of([[grpc.ScoredPoint(id=grpc.PointId(num=5), score=0.5)]])
    assert points(kernel, answer, 0, 1 << 60).ids(answer) == [5]


@given(results=RESULTS, data=st.data())
def test_bytes_that_lie_are_refused_or_stay_inside(
    kernel: Kernel, results: list[list[grpc.ScoredPoint]], data: st.DataObject
) -> None:
    broken = bytearray(answer_of(results))
    for _ in range(data.draw(st.integers(1, 4))):
        place = data.draw(st.integers(0, len(broken) - 1))
        broken[place] = data.draw(st.integers(0, 255))
    answer = bytes(broken[: data.draw(st.integers(1, len(broken)))])
    try:
        found = points(kernel, answer, 0, 5)
        columns = texts(kernel, answer, found, NAME)
        found.ids(answer)
    except ValueError:
        return
    stops = columns.starts + np.maximum(columns.lengths, 0)
    assert (columns.starts >= 0).all() and (stops <= len(answer)).all()
    assert (found.columns[:, 0] >= 0).all() and (found.columns[:, 1] <= len(answer)).all()
    assert (found.columns[:, 0] <= found.columns[:, 1]).all()


@given(results=RESULTS, data=st.data())
def test_of_an_answer_that_is_cut_off_a_result_is_whole_or_refused(
    kernel: Kernel, results: list[list[grpc.ScoredPoint]], data: st.DataObject
) -> None:
    whole = answer_of(results)
    answer = whole[: data.draw(st.integers(0, len(whole) - 1))]
    read = 0
    for number, expected in enumerate(results):
        read += grpc.QueryBatchResponse(result=[grpc.BatchResult(result=expected)]).ByteSize()
        if read <= len(answer):
            ids = points(kernel, answer, number, 5).ids(answer)
            assert ids == [point.id.uuid or point.id.num for point in expected]
        else:
            with pytest.raises(ValueError, match="no result"):
                points(kernel, answer, number, 5)


@pytest.mark.parametrize(
    "field",
    [b"\x0b", b"\x0c", b"\x0e", b"\x0f", b"\x80" * 11, b"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"],
)
def test_a_field_of_a_kind_that_protobuf_does_not_have_is_refused(kernel: Kernel, field: bytes) -> None:
    part = field + bytes(20)
    answer = b"\x0a" + bytes([len(part)]) + part
    with pytest.raises(ValueError, match="no result"):
        points(kernel, answer, 0, 5)
