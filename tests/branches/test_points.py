from __future__ import annotations

import uuid

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qdrant_client import QdrantClient, grpc, models
from qdrant_client.conversions.conversion import RestToGrpc

from embplug.branches.bm25 import SparseBatch
from embplug.branches.points import grpc_points, rest_points
from embplug.methods.token_batch import TokenBatch

payloads = st.dictionaries(
    st.text(max_size=4),
    st.none()
    | st.booleans()
    | st.integers(-(2**63), 2**63 - 1)
    | st.floats(allow_nan=False)
    | st.text(max_size=4),
    max_size=3,
)


def random_vectors(lengths: list[int], dim: int, dtype: str) -> dict[str, object]:
    rng = np.random.default_rng(dim)
    matrices = [(100 * rng.standard_normal((length, dim))).astype(np.float32) for length in lengths]
    if dtype == "uint8":
        dense = rng.integers(0, 256, (len(lengths), 2 * dim), dtype=np.uint8)
    else:
        dense = rng.standard_normal((len(lengths), 2 * dim)).astype(dtype)
    half = TokenBatch.from_list([m.astype(np.float16) for m in matrices])
    bounds = np.cumsum([0, *(length - 1 for length in lengths)])
    sparse = SparseBatch(
        np.arange(bounds[-1], dtype=np.uint32) * 7,
        rng.standard_normal(bounds[-1]).astype(np.float32),
        bounds,
    )
    return {"dense": dense, "tokens": TokenBatch.from_list(matrices), "half": half, "sparse": sparse}


@settings(max_examples=40, deadline=None)
@given(
    st.lists(st.integers(1, 4), min_size=1, max_size=4),
    # The length of a message takes one, two or three bytes.
    st.sampled_from([1, 2, 3, 31, 32, 33, 4095, 4096, 4097]),
    st.sampled_from(["float32", "float64", "float16", "uint8"]),
    st.data(),
)
def test_messages_are_those_that_qdrant_client_makes(lengths, dim, dtype, data):
    vectors = random_vectors(lengths, dim, dtype)
    ids = [i if i % 2 else str(uuid.UUID(int=i)) for i in range(len(lengths))]
    rows = [data.draw(payloads) for _ in lengths]
    theirs = [
        RestToGrpc.convert_point_struct(point) for point in rest_points(ids, vectors, rows, as_lists=True)
    ]
    ours = [grpc.PointStruct.FromString(point) for point in grpc_points(ids, vectors, rows)]
    assert ours == theirs
    # Maps have no order of their own in protobuf.
    assert [m.SerializeToString(deterministic=True) for m in ours] == [
        m.SerializeToString(deterministic=True) for m in theirs
    ]


def test_lists_and_arrays_are_the_same_points():
    vectors = random_vectors([2, 1], 3, "float32")
    arrays = list(rest_points([1, "a"], vectors, [{}, {"b": 1}], as_lists=False))
    lists = list(rest_points([1, "a"], vectors, [{}, {"b": 1}], as_lists=True))
    assert [point.id for point in lists] == [1, "a"]
    assert [point.payload for point in lists] == [{}, {"b": 1}]
    for array_point, list_point in zip(arrays, lists, strict=True):
        assert (
            array_point.vector.keys()
            == list_point.vector.keys()
            == {
                "dense",
                "tokens",
                "half",
                "sparse",
            }
        )
        assert array_point.vector["sparse"] == list_point.vector.pop("sparse")
        for name, column in array_point.vector.items():
            if name == "sparse":
                continue
            assert isinstance(column, np.ndarray)
            assert column.tolist() == list_point.vector[name]
        models.PointStruct.model_validate(list_point.model_dump())


def test_strided_vectors_are_read_right():
    wide = np.arange(24, dtype=np.float32).reshape(4, 6)
    (point, *_) = grpc_points([0, 1, 2, 3], {"d": wide[:, ::2]}, [{}] * 4)
    first = grpc.PointStruct.FromString(point)
    assert list(first.vectors.vectors.vectors["d"].dense.data) == [0, 2, 4]


def test_columns_of_different_lengths_are_an_error():
    with pytest.raises((ValueError, IndexError)):
        list(grpc_points([1, 2], {"d": np.ones((1, 2), np.float32)}, [{}, {}]))


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_a_server_reads_both_forms(server_client: QdrantClient):
    vectors = random_vectors([2, 3], 4, "float32")
    server_client.create_collection(
        "docs",
        {
            "dense": models.VectorParams(size=8, distance="Dot"),
            **{
                name: models.VectorParams(
                    size=4, distance="Dot", multivector_config=models.MultiVectorConfig(comparator="max_sim")
                )
                for name in ("tokens", "half")
            },
        },
        sparse_vectors_config={"sparse": models.SparseVectorParams()},
    )
    rows = [{"a": None, "b": [1, {"c": "ü"}]}, {}]
    forms = {
        "messages": (map(grpc.PointStruct.FromString, grpc_points([1, 2], vectors, rows)), 0),
        "lists": (rest_points([11, 12], vectors, rows, as_lists=True), 10),
    }
    for points, first in forms.values():
        server_client.upsert("docs", points=list(points), wait=True)
        found = server_client.retrieve("docs", ids=[first + 1, first + 2], with_vectors=True)
        assert [record.payload for record in found] == rows
        for i, record in enumerate(found):
            assert record.vector["dense"] == vectors["dense"][i].tolist()
            assert record.vector["tokens"] == vectors["tokens"][i].tolist()
            assert record.vector["half"] == vectors["half"][i].tolist()
            indices, values = vectors["sparse"].lists()[i]
            assert record.vector["sparse"] == models.SparseVector(indices=indices, values=values)
