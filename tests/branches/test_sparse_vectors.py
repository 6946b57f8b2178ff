"""Sparse vectors of users: every form of them, and errors that name the document and what is wrong."""

from __future__ import annotations

from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import scipy.sparse as sp
from qdrant_client import models

from embplug.branches.sparse_vectors import SparseBatch, check_sparse, check_sparse_query
from embplug.errors import InvalidArgumentError, LengthMismatchError, NonFiniteError

EXPECTED = [([2, 7], [0.5, 1.5]), ([], []), ([0, (1 << 32) - 1], [-1.0, 2.0])]


@pytest.mark.parametrize(
    "vectors",
    [
        [{7: 1.5, 2: 0.5}, {}, {(1 << 32) - 1: 2, 0: -1.0, 3: 0.0}],
        [models.SparseVector(indices=i, values=v) for i, v in EXPECTED],
        [SimpleNamespace(indices=np.array(i, np.int64), values=np.array(v)) for i, v in EXPECTED],
        ({np.int32(7): np.float32(1.5), np.uint8(2): 0.5}, {}, dict(zip(*EXPECTED[2], strict=True))),
    ],
)
def test_every_form_is_sorted_and_without_zeros(vectors: Any) -> None:
    batch = check_sparse(vectors, 3)
    assert batch.lists() == EXPECTED and len(batch) == 3
    assert batch.indices.dtype == np.uint32 and batch.values.dtype == np.float32
    assert batch.offsets.dtype == np.int64
    assert check_sparse(batch, 3).lists() == EXPECTED
    assert batch[1:].lists() == EXPECTED[1:] and batch[:0].lists() == [] and batch[5:9].lists() == []
    assert [(v.indices, v.values) for v in batch.vectors()] == EXPECTED


@pytest.mark.parametrize("make", [sp.csr_array, sp.csr_matrix, sp.coo_array, sp.csc_array])
def test_rows_of_a_scipy_matrix_are_documents(make: Any) -> None:
    dense = np.array([[0, 0, 0.5], [0, 0, 0], [1, 2, 0]])
    assert check_sparse(make(dense), 3).lists() == [([2], [0.5]), ([], []), ([0, 1], [1.0, 2.0])]
    assert check_sparse_query(make(dense[2:])).lists() == [([0, 1], [1.0, 2.0])]


@pytest.mark.parametrize(
    ("vectors", "error", "argument", "got"),
    [
        ({1: 2.0}, InvalidArgumentError, "sparse", "{1: 2.0}"),
        ("ab", InvalidArgumentError, "sparse", "'ab'"),
        ([{1: 2.0}], LengthMismatchError, "sparse", "1"),
        ([{}, 5], InvalidArgumentError, "sparse[1]", "5"),
        ([{}, {"a": 1.0}], InvalidArgumentError, "sparse[1]", "['a']"),
        ([{}, {1.5: 1.0}], InvalidArgumentError, "sparse[1]", "[1.5]"),
        ([{}, {-1: 1.0}], InvalidArgumentError, "sparse[1]", "-1"),
        ([{}, {1 << 32: 1.0}], InvalidArgumentError, "sparse[1]", "4294967296"),
        ([{}, {3: "x"}], InvalidArgumentError, "sparse[1]", "could not convert"),
        ([{}, {3: float("nan")}], NonFiniteError, "sparse[1]", "nan at index 3"),
        ([{}, {3: 1e300}], NonFiniteError, "sparse[1]", "inf at index 3"),
        (
            [{}, models.SparseVector(indices=[4, 9, 4], values=[1.0, 2.0, 3.0])],
            InvalidArgumentError,
            "sparse[1]",
            "index 4 twice",
        ),
        (
            [{}, SimpleNamespace(indices=[1, 2], values=[1.0])],
            LengthMismatchError,
            "sparse[1]",
            "2 indices",
        ),
        (sp.csr_array(np.array([[1.0, 0], [0, np.inf]])), NonFiniteError, "sparse[1]", "inf at index 1"),
        (sp.csr_array(np.array([[1j, 0], [0, 1]])), InvalidArgumentError, "sparse", "dtype complex128"),
    ],
)
def test_what_cannot_be_stored_is_named(vectors: Any, error: Any, argument: str, got: str) -> None:
    with pytest.raises(error) as raised:
        check_sparse(vectors, 2)
    assert raised.value.argument == argument and got in str(raised.value.got)
    assert type(raised.value) is error


def test_a_query_is_one_vector() -> None:
    assert check_sparse_query({5: 1.0}).lists() == [([5], [1.0])]
    with pytest.raises(InvalidArgumentError) as raised:
        check_sparse_query({-5: 1.0})
    assert raised.value.argument == "sparse"
    with pytest.raises(LengthMismatchError):
        check_sparse_query(sp.csr_array(np.eye(2)))
    assert isinstance(check_sparse_query(check_sparse([{}], 1)), SparseBatch)
