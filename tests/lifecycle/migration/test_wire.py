from __future__ import annotations

import uuid

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qdrant_client import grpc
from qdrant_client.conversions.conversion import json_to_value

from embplug.lifecycle.migration.wire import read_points, terms

ids = st.integers(0, 2**64 - 1) | st.uuids().map(str)
values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63 - 1) | st.text(max_size=40),
    lambda inner: st.lists(inner, max_size=2) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=4,
)
payloads = st.dictionaries(st.text(max_size=9), values, max_size=4)
kinds = st.sampled_from(["dense", "flat", "multi", "flat multi", "sparse", "flat sparse", "no terms"])
FIRST = np.arange(40, dtype=np.float32)


def vector(kind: str, row: int, dim: int) -> tuple[grpc.VectorOutput, np.ndarray]:
    numbers = FIRST[:dim] + row
    matrix = np.stack([numbers, -numbers])
    if kind == "dense":
        return grpc.VectorOutput(dense=grpc.DenseVector(data=numbers)), numbers
    if kind == "flat":
        return grpc.VectorOutput(data=numbers), numbers
    if kind == "multi":
        rows = [grpc.DenseVector(data=token) for token in matrix]
        return grpc.VectorOutput(multi_dense=grpc.MultiDenseVector(vectors=rows)), matrix
    if kind == "flat multi":
        return grpc.VectorOutput(data=matrix.ravel(), vectors_count=2), matrix
    # Indices take from one to five bytes.
    indices = [] if kind == "no terms" else [row, *(2**bits - 1 + row for bits in (7, 14, 21, 28)), 2**32 - 1]
    weights = [float(weight) for weight in range(len(indices))]
    if kind == "flat sparse":
        flat = grpc.VectorOutput(indices=grpc.SparseIndices(data=indices), data=weights)
        return flat, terms(indices, weights)
    return grpc.VectorOutput(sparse=grpc.SparseVector(indices=indices, values=weights)), terms(
        indices, weights
    )


@settings(max_examples=60, deadline=None)
@given(
    st.lists(st.tuples(ids, payloads), min_size=1, max_size=5),
    # A message of 32 floats needs two bytes for its length.
    st.lists(st.tuples(kinds, st.sampled_from([1, 31, 32, 40])), max_size=3),
    st.booleans(),
    st.data(),
)
def test_points_are_read_as_they_were_written(points, columns, named, data):
    messages, expected = [], []
    for row, (point_id, payload) in enumerate(points):
        written = [vector(kind, row, dim) for kind, dim in columns if data.draw(st.booleans())]
        names = [f"v{i}" for i in range(len(written))] if named else [""]
        written = written if named else written[:1]
        vectors = grpc.VectorsOutput()
        if named:
            for name, (message, _) in zip(names, written, strict=True):
                vectors.vectors.vectors[name].CopyFrom(message)
        elif written:
            vectors.vector.CopyFrom(written[0][0])
        key = {"num": point_id} if isinstance(point_id, int) else {"uuid": point_id}
        messages.append(
            grpc.RetrievedPoint(
                id=grpc.PointId(**key),
                payload={name: json_to_value(value) for name, value in payload.items()},
                vectors=vectors if written or row % 2 else None,
            )
        )
        # Not all are asked for.
        read = {name: value for name, (_, value) in zip(names, written, strict=False) if name != "v1"}
        expected.append((point_id, payload, read))
    for answer in (grpc.ScrollResponse(result=messages), grpc.GetResponse(result=messages, time=0.5)):
        found = list(zip(*read_points(answer, ["", "v0", "v2"]), strict=True))
        assert [(found_id, dict(payload)) for found_id, payload, _, _ in found] == [
            each[:2] for each in expected
        ]
        for (_, _, vectors, _), (_, _, expected_vectors) in zip(found, expected, strict=True):
            assert vectors.keys() == expected_vectors.keys()
            for name, value in expected_vectors.items():
                assert vectors[name].dtype == value.dtype
                np.testing.assert_array_equal(vectors[name], value)


def test_an_empty_answer_has_no_points():
    assert read_points(grpc.ScrollResponse(time=1.0), ["a"]) == ([], [], [], [])


@pytest.mark.parametrize("order", [1, -1])
def test_the_bytes_of_a_point_do_not_depend_on_the_order_of_its_payload(order):
    payload = dict([("a", 1), ("b", {"x": 1, "y": [{"p": 1, "q": 2}]}), ("c", "text")][::order])
    nested = {"y": [{"q": 2, "p": 1}], "x": 1}
    point = grpc.RetrievedPoint(
        id=grpc.PointId(uuid=str(uuid.UUID(int=1))),
        payload={name: json_to_value(value) for name, value in payload.items()},
    )
    other = grpc.RetrievedPoint(
        id=grpc.PointId(uuid=str(uuid.UUID(int=1))),
        payload={name: json_to_value(value) for name, value in {**payload, "b": nested}.items()},
    )
    *_, wires = read_points(grpc.ScrollResponse(result=[point, other]), [])
    assert wires[0] == wires[1]
