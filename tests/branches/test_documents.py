from __future__ import annotations

from datetime import datetime, timezone
from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embplug import Dense, Documents, Multivector, Recipe, Sample, Sparse, TokenBatch, Tokens
from embplug.branches.documents import (
    check_documents,
    check_sample,
    check_token_documents,
    check_tokens,
)
from embplug.common.ids import ORIGINAL_ID
from embplug.engines.capabilities import MAX_MULTIVECTOR_FLOATS
from embplug.errors import (
    DimensionError,
    DuplicateIdError,
    EmptyTokensError,
    InvalidArgumentError,
    LengthMismatchError,
    NonFiniteError,
    PointTooLargeError,
)
from embplug.methods import FDE, SaliencyPruning

DIM = 3
TOKENS = Recipe(tokens=Tokens(dim=DIM, encoding=FDE(), multivector=Multivector(), codes=None))
DENSE = Recipe(dense=Dense(dim=DIM))
TWO = Recipe(dense={"a": Dense(dim=DIM), "b": Dense(dim=2)})
BOTH = Recipe(
    tokens=Tokens(dim=DIM, encoding=FDE(), multivector=Multivector(), codes=None), dense=Dense(dim=2)
)


def matrix(rows: int, value: float = 1.0) -> np.ndarray:
    return np.full((rows, DIM), value, dtype=np.float32)


def check(recipe: Recipe, has_encoder: bool = False, **given_documents: Any) -> Any:
    return check_documents(Documents(**given_documents), recipe, has_encoder)


def test_tokens_may_be_arrays_or_a_batch():
    for tokens in (
        [matrix(1), matrix(2)],
        [matrix(1).tolist(), matrix(2)],
        TokenBatch.from_list([matrix(1), matrix(2)]),
    ):
        checked = check(TOKENS, ids=["a", 7], tokens=tokens)
        assert checked.tokens.lengths.tolist() == [1, 2]
        assert len(checked) == 2
        assert checked.payloads == [{ORIGINAL_ID: "a"}, {}]
        assert checked.user_ids == ["a", 7]
    assert check(TOKENS, ids=[1], tokens=np.ones((1, 4, DIM))).tokens.lengths.tolist() == [4]


def test_float16_tokens_stay_so():
    checked = check(TOKENS, ids=[1], tokens=[matrix(2).astype(np.float16)])
    assert checked.tokens.values.dtype == np.float16


def test_dense_vectors_are_float32_by_name():
    checked = check(DENSE, ids=[1, 2], dense=[[1, 2, 3], [4, 5, 6]])
    assert checked.dense["dense"].dtype == np.float32
    assert checked.dense["dense"].tolist() == [[1, 2, 3], [4, 5, 6]]
    checked = check(TWO, ids=[1], dense={"b": [[1, 2]], "a": np.ones((1, DIM))})
    assert {name: vectors.shape for name, vectors in checked.dense.items()} == {"a": (1, DIM), "b": (1, 2)}


def test_an_empty_batch_is_fine():
    assert len(check(DENSE, ids=[], dense=np.empty((0, DIM)))) == 0
    assert len(check(TOKENS, ids=[], tokens=[])) == 0


def test_payloads_become_json_and_the_users_are_not_touched():
    mine = {"at": datetime(2024, 1, 2, tzinfo=timezone.utc), "n": np.int64(3), "list": [1]}
    checked = check(DENSE, ids=["a", "b"], dense=[[1, 2, 3]] * 2, texts=["x", "y"], payloads=[mine, None])
    assert checked.payloads == [
        {"at": "2024-01-02T00:00:00Z", "n": 3, "list": [1], "text": "x", ORIGINAL_ID: "a"},
        {"text": "y", ORIGINAL_ID: "b"},
    ]
    assert mine.keys() == {"at", "n", "list"}


def test_a_text_of_the_payload_goes_before_the_one_to_encode():
    checked = check(DENSE, ids=[1], dense=[[1, 2, 3]], texts=["short"], payloads=[{"text": "long"}])
    assert checked.payloads == [{"text": "long"}]


def test_texts_stand_for_vectors_where_there_is_an_encoder():
    checked = check(BOTH, True, ids=[1], texts=["a"], dense=[[1, 2]])
    assert checked.texts == ["a"]
    assert checked.tokens is None
    assert check(DENSE, True, ids=[1], texts=["a"], dense=[[1, 2, 3]]).texts is None


@given(st.lists(st.integers(1, 4), min_size=1, max_size=9), st.integers(1, 4))
def test_parts_hold_every_document_once(lengths, size):
    tokens = [matrix(length, i + 1) for i, length in enumerate(lengths)]
    ids = [f"id{i}" for i in range(len(lengths))]
    checked = check(BOTH, ids=ids, tokens=tokens, dense=np.arange(2 * len(ids)).reshape(-1, 2))
    parts = [checked.part(start, start + size) for start in range(0, len(ids), size)]
    assert [len(part) for part in parts[:-1]] == [size] * (len(parts) - 1)
    assert [i for part in parts for i in part.user_ids] == ids
    assert [i for part in parts for i in part.ids] == checked.ids
    assert [p for part in parts for p in part.payloads] == checked.payloads
    assert [t.tolist() for part in parts for t in part.tokens] == [t.tolist() for t in tokens]
    assert np.concatenate([part.dense["dense"] for part in parts]).tolist() == checked.dense["dense"].tolist()
    assert np.shares_memory(parts[-1].tokens.values, checked.tokens.values)


LARGE = np.zeros((MAX_MULTIVECTOR_FLOATS // DIM + 1, DIM), dtype=np.float16)


@pytest.mark.parametrize(
    ("recipe", "documents", "error", "named"),
    [
        (TOKENS, {"ids": [1, 1], "tokens": [matrix(1)] * 2}, DuplicateIdError, "ids[1]"),
        (TOKENS, {"ids": [1, -1], "tokens": [matrix(1)] * 2}, InvalidArgumentError, "ids[1]"),
        (TOKENS, {"ids": "ab", "tokens": [matrix(1)] * 2}, InvalidArgumentError, "ids"),
        (TOKENS, {"ids": iter([1]), "tokens": [matrix(1)]}, InvalidArgumentError, "ids"),
        (TOKENS, {"ids": [1]}, InvalidArgumentError, "tokens"),
        (TOKENS, {"ids": [1], "tokens": [matrix(1)] * 2}, LengthMismatchError, "tokens"),
        (TOKENS, {"ids": [1, 2], "tokens": [matrix(1), np.ones((2, 4))]}, DimensionError, "tokens[1]"),
        (TOKENS, {"ids": [1], "tokens": TokenBatch(np.ones((2, 4)), [0, 2])}, DimensionError, "tokens"),
        (TOKENS, {"ids": [1, 2], "tokens": [matrix(1), matrix(0)]}, EmptyTokensError, "tokens[1]"),
        (TOKENS, {"ids": [1, 2], "tokens": [matrix(1), []]}, EmptyTokensError, "tokens[1]"),
        (TOKENS, {"ids": [1, 2], "tokens": [matrix(2), matrix(1, np.nan)]}, NonFiniteError, "tokens[1]"),
        (TOKENS, {"ids": [1], "tokens": [matrix(1, -np.inf)]}, NonFiniteError, "tokens[0]"),
        (TOKENS, {"ids": [1], "tokens": [[["a", "b", "c"]]]}, InvalidArgumentError, "tokens[0]"),
        (TOKENS, {"ids": [1, 2], "tokens": [matrix(1), LARGE]}, PointTooLargeError, "tokens[1]"),
        (TOKENS, {"ids": [1], "tokens": [matrix(1)], "dense": [[1]]}, InvalidArgumentError, "dense"),
        (DENSE, {"ids": [1], "tokens": [matrix(1)]}, InvalidArgumentError, "tokens"),
        (DENSE, {"ids": [1]}, InvalidArgumentError, "dense['dense']"),
        (DENSE, {"ids": [1], "dense": [[1, 2]]}, DimensionError, "dense"),
        (DENSE, {"ids": [1], "dense": [1, 2, 3]}, DimensionError, "dense"),
        (DENSE, {"ids": [1], "dense": [["a", "b", "c"]]}, DimensionError, "dense[0]"),
        (DENSE, {"ids": [1, 2], "dense": [[1, 2, 3], [1, 2]]}, DimensionError, "dense[1]"),
        (DENSE, {"ids": [1, 2], "dense": [[1, 2, 3]]}, LengthMismatchError, "dense"),
        (DENSE, {"ids": [1, 2], "dense": [[1, 2, 3], [1, np.nan, 3]]}, NonFiniteError, "dense[1]"),
        (TWO, {"ids": [1], "dense": [[1, 2, 3]]}, InvalidArgumentError, "dense"),
        (TWO, {"ids": [1], "dense": {"a": [[1, 2, 3]]}}, InvalidArgumentError, "dense['b']"),
        (TWO, {"ids": [1], "dense": {"c": [[1, 2, 3]]}}, InvalidArgumentError, "dense['c']"),
        (TWO, {"ids": [1], "dense": {"a": [[1, 2, 3]], "b": [[1]]}}, DimensionError, "dense['b']"),
        (DENSE, {"ids": [1], "texts": ["a"]}, InvalidArgumentError, "dense['dense']"),
        (DENSE, {"ids": [1], "dense": [[1, 2, 3]], "texts": []}, LengthMismatchError, "texts"),
        (DENSE, {"ids": [1], "dense": [[1, 2, 3]], "texts": "a"}, InvalidArgumentError, "texts"),
        (DENSE, {"ids": [1], "dense": [[1, 2, 3]], "texts": [" "]}, InvalidArgumentError, "texts[0]"),
        (DENSE, {"ids": [1], "dense": [[1, 2, 3]], "texts": [None]}, InvalidArgumentError, "texts[0]"),
        (DENSE, {"ids": [1], "dense": [[1, 2, 3]], "payloads": [{}, {}]}, LengthMismatchError, "payloads"),
        (DENSE, {"ids": [1], "dense": [[1, 2, 3]], "payloads": {}}, InvalidArgumentError, "payloads"),
        (DENSE, {"ids": [1], "dense": [[1, 2, 3]], "payloads": [[]]}, InvalidArgumentError, "payloads[0]"),
        (DENSE, {"ids": [1], "dense": [[1, 2, 3]], "payloads": ["a"]}, InvalidArgumentError, "payloads[0]"),
        (
            DENSE,
            {"ids": [1], "dense": [[1, 2, 3]], "payloads": [{"a": float("nan")}]},
            InvalidArgumentError,
            "payloads[0]",
        ),
        (
            DENSE,
            {"ids": [1], "dense": [[1, 2, 3]], "payloads": [{"a": [{"b": 2**63}]}]},
            InvalidArgumentError,
            "payloads[0]",
        ),
        (
            DENSE,
            {"ids": [1], "dense": [[1, 2, 3]], "payloads": [{ORIGINAL_ID: 1}]},
            InvalidArgumentError,
            "payloads[0]",
        ),
    ],
)
def test_what_is_wrong_is_named_with_the_first_document(recipe, documents, error, named):
    with pytest.raises(error) as raised:
        check(recipe, **documents)
    assert raised.value.argument == named


def test_the_largest_matrix_is_the_one_that_a_server_takes():
    rows = MAX_MULTIVECTOR_FLOATS // DIM
    largest = np.zeros((rows, DIM), dtype=np.float16)
    assert check_tokens([largest], DIM, 1).lengths.tolist() == [rows]
    with pytest.raises(
        PointTooLargeError, match=rf"^tokens\[0\]: .* which is {rows} tokens, got {rows + 1} tokens"
    ):
        check_tokens([LARGE], DIM, 1)


def test_the_token_that_is_not_finite_is_named():
    bad = matrix(5)
    bad[3, 1] = np.nan
    with pytest.raises(NonFiniteError, match=r"^tokens\[1\]: .* in token 3$"):
        check_tokens([matrix(2), bad, matrix(1, np.inf)], DIM, 3)


def test_a_sample_is_checked_as_documents_are():
    checked = check_sample(Sample(tokens=[matrix(1)], token_queries=[matrix(2)], dense=[[1, 2]]), BOTH)
    assert checked.tokens.lengths.tolist() == [1]
    assert checked.token_queries.lengths.tolist() == [2]
    assert checked.dense["dense"].shape == (1, 2)
    with pytest.raises(NonFiniteError, match=r"^sample\.token_queries\[0\]"):
        check_sample(Sample(token_queries=[matrix(1, np.nan)]), BOTH)
    with pytest.raises(InvalidArgumentError, match=r"^sample\.tokens"):
        check_sample(Sample(tokens=[matrix(1)]), DENSE)
    with pytest.raises(DimensionError, match=r"^sample\.dense"):
        check_sample(Sample(dense=[[1, 2, 3]]), BOTH)


@pytest.mark.parametrize(
    ("row", "got"),
    [(None, "None"), ([1.0], r"shape \(1,\)"), (["a"] * DIM, r"\['a', "), ([[1.0]] * DIM, "shape")],
)
def test_the_row_that_is_no_vector_is_named(row: Any, got: str) -> None:
    with pytest.raises(DimensionError, match=rf"^dense\[1\]: expected {DIM} numbers, got {got}"):
        check(DENSE, ids=[1, 2], dense=[[1.0] * DIM, row])
    with pytest.raises(DimensionError, match=rf"^dense\['a'\]\[1\]: expected {DIM} numbers, got {got}"):
        check(TWO, ids=[1, 2], dense={"a": [[1.0] * DIM, row], "b": np.ones((2, 2))})


def test_dense_vectors_may_be_tensors_of_any_type():
    torch = pytest.importorskip("torch")
    whole = torch.tensor([[1.0, 2.0, 3.0], [4.0, 5.0, 6.0]])
    for vectors in (
        whole,
        whole.bfloat16(),
        whole.half(),
        whole.clone().requires_grad_(),
        [*whole.bfloat16()],
    ):
        dense = check(DENSE, ids=[1, 2], dense=vectors).dense["dense"]
        assert dense.dtype == np.float32 and dense.tolist() == whole.tolist()


def test_an_array_of_rows_as_pandas_returns_it_is_dense():
    rows = np.empty(2, dtype=object)
    rows[:] = [np.ones(DIM, np.float32), [2, 3, 4]]
    assert check(DENSE, ids=[1, 2], dense=rows).dense["dense"].tolist() == [[1, 1, 1], [2, 3, 4]]
    rows[1] = [1.0]
    with pytest.raises(DimensionError, match=rf"^dense\[1\]: expected {DIM} numbers, got shape"):
        check(DENSE, ids=[1, 2], dense=rows)


@pytest.mark.parametrize(
    "vectors",
    [
        np.full((1, DIM), 1 + 2j),
        [[1j, 2, 3]],
        np.full((1, DIM), "1"),
        [["1", "2", "3"]],
        np.full((1, DIM), "1", dtype=object),
        np.full((1, DIM), "2024-01-01", dtype="datetime64[D]"),
    ],
)
def test_what_is_no_real_number_is_refused_as_dense(vectors: Any) -> None:
    with pytest.raises(DimensionError, match=r"^dense(\[0\])?: expected (3 )?numbers"):
        check(DENSE, ids=[1], dense=vectors)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize("convert", [np.asarray, np.ndarray.tolist])
def test_a_number_beyond_float32_is_named(convert: Any) -> None:
    large = np.ones((2, DIM))
    large[1, 2] = -1e39
    with pytest.raises(InvalidArgumentError, match=r"^dense\[1\]: .* at most 1\.126e\+15, got 1e\+39$"):
        check(DENSE, ids=[1, 2], dense=convert(large))
    with pytest.raises(InvalidArgumentError, match=r"^tokens\[1\]: .* 1\.126e\+15, got 1e\+39 in token 1$"):
        check(TOKENS, ids=[1, 2], tokens=[matrix(3), convert(large)])
    large[0, 0] = large[1, 0] = np.nan
    with pytest.raises(NonFiniteError, match="NaN or infinity"):
        check(DENSE, ids=[1, 2], dense=convert(large))
    with pytest.raises(NonFiniteError, match="NaN or infinity"):
        check(TOKENS, ids=[1], tokens=[convert(large)])
    with pytest.raises(NonFiniteError, match="NaN or infinity"):
        check(TOKENS, ids=[1], tokens=TokenBatch(np.full((1, DIM), 1e39), [0, 1]))


@pytest.mark.parametrize("argument", ["ids", "texts", "payloads", "tokens"])
def test_an_array_without_axes_is_no_sequence(argument: str) -> None:
    documents = {"ids": [1], "tokens": [matrix(1)], argument: np.array(1)}
    with pytest.raises(InvalidArgumentError, match=rf"^{argument}: .* got an array of shape \(\)$"):
        check(TOKENS, **documents)


@pytest.mark.parametrize("value", [5, iter([[1.0]])])
def test_what_has_no_length_is_refused(value: Any):
    tokens = TOKENS.tokens.model_copy(update={"reduction": SaliencyPruning()})
    pruned = Recipe(tokens=tokens, sparse=Sparse())
    for name in ("tokens", "token_queries", "texts", "saliency"):
        sample = Sample(**{"tokens": [matrix(1)], name: value})
        with pytest.raises(InvalidArgumentError, match=rf"^sample\.{name}: expected a sequence"):
            check_sample(sample, pruned)
    for name in ("dense", "dense_queries"):
        with pytest.raises(InvalidArgumentError, match=rf"^sample\.{name}: expected a sequence"):
            check_sample(Sample(**{name: value}), DENSE)
    with pytest.raises(InvalidArgumentError, match=r"^tokens: expected a sequence"):
        check_token_documents(value, None, None, TOKENS)
    with pytest.raises(InvalidArgumentError, match=r"^saliency: expected a sequence"):
        check(pruned, ids=[1], tokens=[matrix(1)], saliency=value, texts=["a"])
