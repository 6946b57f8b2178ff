"""Queries are checked once, and each error names the argument and the place."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from embplug import Dense, Multivector, Query, Recipe, Sparse, Tokens
from embplug.branches.queries import check_query
from embplug.errors import (
    DimensionError,
    EmptyTokensError,
    InvalidArgumentError,
    LengthMismatchError,
    NonFiniteError,
)
from embplug.methods import SaliencyPruning
from embplug.methods.token_batch import TokenBatch
from tests.branches.parts import DIM, SMALL_FDE

TOKENS = Tokens(dim=DIM, encoding=SMALL_FDE, multivector=Multivector(), codes=None)
PRUNING = Tokens(
    dim=DIM, encoding=SMALL_FDE, query_reduction=SaliencyPruning(), multivector=Multivector(), codes=None
)
WHOLE = Recipe(tokens=PRUNING, dense={"a": Dense(dim=3), "b": Dense(dim=2, datatype="uint8")})
MATRIX = np.ones((4, DIM))
NOT_FINITE = np.where(np.arange(4)[:, None] == 2, np.nan, MATRIX)


def test_a_query_becomes_arrays_of_float32() -> None:
    query = Query(
        tokens=MATRIX.tolist(),
        dense={"a": [1, 2, 3], "b": np.array([[4, 5]])},
        text="what",
        token_weights=[0, 1, 2, 3],
        saliency=[4, 3, 2, 1],
    )
    checked = check_query(query, WHOLE)
    assert checked.tokens is not None and len(checked.tokens) == 1
    assert checked.tokens.values.dtype == np.float32 and checked.tokens.values.tolist() == MATRIX.tolist()
    assert {name: row.tolist() for name, row in checked.dense.items()} == {"a": [[1, 2, 3]], "b": [[4, 5]]}
    assert {row.dtype for row in checked.dense.values()} == {np.dtype(np.float32)}
    assert checked.text == "what"
    assert checked.token_weights is not None and checked.token_weights.tolist() == [0, 1, 2, 3]
    assert checked.saliency is not None and checked.saliency.tolist() == [4, 3, 2, 1]


def test_what_is_absent_stays_absent() -> None:
    checked = check_query(Query(), WHOLE)
    assert (checked.tokens, checked.dense, checked.text) == (None, {}, None)
    assert checked.token_weights is None and checked.saliency is None


def test_the_only_dense_vector_needs_no_name() -> None:
    checked = check_query(Query(dense=np.ones(5)), Recipe(dense={"only": Dense(dim=5)}))
    assert [*checked.dense] == ["only"] and checked.dense["only"].shape == (1, 5)


def test_a_batch_of_one_matrix_is_a_query() -> None:
    tokens = TokenBatch.from_list([np.ones((2, DIM), np.float16)])
    assert check_query(Query(tokens=tokens), WHOLE).tokens is tokens


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("convert", [np.asarray, np.ndarray.tolist])
def test_a_number_beyond_float32_is_named(convert: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^dense\['a'\]: .* at most 1\.126e\+15, got 1e\+39$"):
        check_query(Query(dense={"a": convert(np.full(3, 1e39))}), WHOLE)
    with pytest.raises(InvalidArgumentError, match=r"^tokens: .* 1\.126e\+15, got 1e\+39 in token 0$"):
        check_query(Query(tokens=convert(np.full((2, DIM), 1e39))), WHOLE)


def test_a_dense_query_may_be_a_tensor_of_any_type() -> None:
    torch = pytest.importorskip("torch")
    whole = torch.tensor([1.0, 2.0, 3.0])
    for vector in (whole, whole.bfloat16(), whole.clone().requires_grad_(), whole.bfloat16()[None]):
        dense = check_query(Query(dense={"a": vector}), WHOLE).dense["a"]
        assert dense.dtype == np.float32 and dense.tolist() == [[1, 2, 3]]


@pytest.mark.parametrize(
    ("query", "error", "argument"),
    [
        ({"text": " "}, InvalidArgumentError, "text"),
        ({"text": b"bytes"}, InvalidArgumentError, "text"),
        ({"tokens": np.ones((4, DIM + 1))}, DimensionError, "tokens"),
        ({"tokens": np.ones(DIM)}, DimensionError, "tokens"),
        ({"tokens": np.ones((0, DIM))}, EmptyTokensError, "tokens"),
        ({"tokens": NOT_FINITE}, NonFiniteError, "tokens"),
        ({"tokens": TokenBatch.from_list([MATRIX, MATRIX])}, LengthMismatchError, "tokens"),
        ({"dense": {"c": np.ones(3)}}, InvalidArgumentError, "dense['c']"),
        ({"dense": np.ones(3)}, InvalidArgumentError, "dense"),
        ({"dense": {"a": np.ones(2)}}, DimensionError, "dense['a']"),
        ({"dense": {"a": np.ones((2, 3))}}, LengthMismatchError, "dense['a']"),
        ({"dense": {"a": [1, np.inf, 0]}}, NonFiniteError, "dense['a']"),
        ({"dense": {"a": [1j, 2, 3]}}, DimensionError, "dense['a']"),
        ({"dense": {"a": ["1", "2", "3"]}}, DimensionError, "dense['a']"),
        ({"dense": {"b": [1, 0.5]}}, InvalidArgumentError, "dense['b']"),
        ({"token_weights": [1.0]}, InvalidArgumentError, "token_weights"),
        ({"tokens": MATRIX, "token_weights": [1.0]}, LengthMismatchError, "token_weights"),
        ({"tokens": MATRIX, "token_weights": [1, 1, -1, 1]}, InvalidArgumentError, "token_weights[2]"),
        ({"tokens": MATRIX, "token_weights": [1, np.nan, 1, 1]}, InvalidArgumentError, "token_weights[1]"),
        ({"saliency": [1.0]}, InvalidArgumentError, "saliency"),
        ({"tokens": MATRIX, "saliency": [1.0]}, LengthMismatchError, "saliency"),
        ({"tokens": MATRIX, "saliency": [1, 1, 1, np.inf]}, InvalidArgumentError, "saliency[3]"),
    ],
)
def test_what_is_wrong_is_named(query: dict[str, Any], error: type, argument: str) -> None:
    with pytest.raises(InvalidArgumentError) as raised:
        check_query(Query(**query), WHOLE)
    assert (type(raised.value), raised.value.argument) == (error, argument)


@pytest.mark.parametrize(
    ("query", "recipe", "argument"),
    [
        ({"tokens": MATRIX}, Recipe(dense=Dense(dim=3)), "tokens"),
        ({"dense": np.ones(3)}, Recipe(sparse=Sparse()), "dense"),
        ({"tokens": MATRIX, "saliency": np.ones(4)}, Recipe(tokens=TOKENS), "saliency"),
        (
            {"tokens": MATRIX, "saliency": np.ones(4)},
            Recipe(tokens=PRUNING.model_copy(update={"multivector": None})),
            "saliency",
        ),
    ],
    ids=["tokens", "dense", "saliency without pruning", "saliency without ranking"],
)
def test_what_the_recipe_has_no_use_for_is_refused(
    query: dict[str, Any], recipe: Recipe, argument: str
) -> None:
    with pytest.raises(InvalidArgumentError) as raised:
        check_query(Query(**query), recipe)
    assert raised.value.argument == argument
