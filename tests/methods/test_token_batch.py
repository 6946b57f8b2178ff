from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from embplug.errors import DimensionError, InvalidArgumentError, LengthMismatchError
from embplug.methods.token_batch import TokenBatch

DIM = 3
lengths_strategy = st.lists(st.integers(0, 5), min_size=1, max_size=8)


def matrices(lengths: list[int], dtype: type = np.float32, seed: int = 0) -> list[np.ndarray]:
    rng = np.random.default_rng(seed)
    return [rng.standard_normal((length, DIM)).astype(dtype) for length in lengths]


def assert_same(batch: TokenBatch, expected: list[np.ndarray]) -> None:
    assert len(batch) == len(expected)
    for got, want in zip(batch, expected, strict=True):
        np.testing.assert_array_equal(got, want)


@given(lengths_strategy)
def test_from_list_gives_every_document_back(lengths):
    documents = matrices(lengths)
    batch = TokenBatch.from_list(documents)
    assert_same(batch, documents)
    assert batch.lengths.tolist() == lengths
    assert batch.dim == DIM
    assert batch.values.dtype == np.float32
    assert batch.values.flags.c_contiguous
    assert [batch[i - len(batch)].shape for i in range(len(batch))] == [(t, DIM) for t in lengths]


@given(lengths_strategy, st.integers(0, 4), st.randoms())
def test_padding_never_survives(lengths, extra, random):
    documents = matrices(lengths)
    width = max(lengths) + extra
    padded = np.full((len(lengths), width, DIM), np.nan, dtype=np.float32)
    mask = np.zeros((len(lengths), width), dtype=bool)
    for i, document in enumerate(documents):
        places = sorted(random.sample(range(width), len(document)))
        padded[i, places] = document
        mask[i, places] = True
    assert_same(TokenBatch.from_padded(padded, mask), documents)
    assert_same(TokenBatch.from_padded(padded, mask.astype(np.int64)), documents)


@given(lengths_strategy, st.data())
def test_take_picks_documents_in_the_given_order(lengths, data):
    documents = matrices(lengths)
    indices = data.draw(st.lists(st.integers(-len(lengths), len(lengths) - 1), max_size=10))
    taken = TokenBatch.from_list(documents).take(indices)
    assert_same(taken, [documents[i] for i in indices])
    assert taken.dim == DIM


@given(lengths_strategy, st.slices(8))
def test_slices_are_ranges_of_documents(lengths, where):
    documents = matrices(lengths)
    assert_same(TokenBatch.from_list(documents)[where], documents[where])


@given(lengths_strategy, lengths_strategy)
def test_concat_keeps_the_order(first, second):
    left, right = matrices(first, seed=1), matrices(second, seed=2)
    joined = TokenBatch.concat([TokenBatch.from_list(left), TokenBatch.from_list(right)])
    assert_same(joined, left + right)


def test_documents_and_ranges_are_views():
    batch = TokenBatch.from_list(matrices([2, 0, 3]))
    assert np.shares_memory(batch[2], batch.values)
    assert np.shares_memory(batch[1:].values, batch.values)
    assert not np.shares_memory(batch.take([2]).values, batch.values)


def test_a_contiguous_array_is_not_copied():
    values = np.zeros((4, DIM), dtype=np.float16)
    assert TokenBatch(values, np.array([0, 4])).values is values


def test_a_strided_array_becomes_contiguous():
    values = np.arange(24, dtype=np.float32).reshape(4, 6)[:, ::2]
    batch = TokenBatch(values, [0, 4])
    assert batch.values.flags.c_contiguous
    np.testing.assert_array_equal(batch.values, values)


def test_float64_is_cast_to_float32_and_float16_is_kept():
    assert TokenBatch(np.zeros((1, 2)), [0, 1]).values.dtype == np.float32
    assert TokenBatch.from_list(matrices([1, 2], np.float16)).values.dtype == np.float16
    mixed = TokenBatch.from_list(matrices([1], np.float16) + matrices([1], np.float32))
    assert mixed.values.dtype == np.float32
    half = TokenBatch.from_list(matrices([1, 2], np.float16))
    assert TokenBatch.concat([half, half]).values.dtype == np.float16
    assert TokenBatch.concat([half, mixed]).values.dtype == np.float32


def test_to_float32_keeps_values_and_is_free_where_nothing_is_to_do():
    half = TokenBatch.from_list(matrices([1, 2], np.float16))
    single = half.to_float32()
    assert single.values.dtype == np.float32
    np.testing.assert_array_equal(single.values, half.values.astype(np.float32))
    assert single.to_float32() is single


def test_nested_lists_and_empty_lists_are_documents():
    batch = TokenBatch.from_list([[[1, 2, 3]], [], [[4, 5, 6], [7, 8, 9]]])
    assert batch.values.tolist() == [[1, 2, 3], [4, 5, 6], [7, 8, 9]]
    assert batch.offsets.tolist() == [0, 1, 1, 3]
    assert batch.values.dtype == np.float32


def test_an_empty_list_needs_dim():
    batch = TokenBatch.from_list([], dim=5)
    assert (len(batch), batch.dim, batch.values.shape) == (0, 5, (0, 5))
    with pytest.raises(InvalidArgumentError, match="dim"):
        TokenBatch.from_list([])


def test_torch_tensors_are_accepted():
    torch = pytest.importorskip("torch")
    documents = matrices([2, 3])
    assert_same(TokenBatch.from_list([torch.from_numpy(d).requires_grad_() for d in documents]), documents)
    padded = torch.zeros((2, 3, DIM), dtype=torch.bfloat16)
    batch = TokenBatch.from_padded(padded, torch.tensor([[1, 1, 0], [1, 0, 0]]))
    assert batch.lengths.tolist() == [2, 1]
    assert batch.values.dtype == np.float32


@pytest.mark.parametrize(
    ("values", "offsets", "error", "named"),
    [
        (np.zeros(3), [0, 3], DimensionError, "values"),
        (np.zeros((3, 0)), [0, 3], DimensionError, "values"),
        (np.zeros((3, 2), dtype=np.int32), [0, 3], InvalidArgumentError, "values"),
        (np.zeros((3, 2)), [1, 3], InvalidArgumentError, r"offsets\[0\]"),
        (np.zeros((3, 2)), [0, 2, 1, 3], InvalidArgumentError, r"offsets\[2\]"),
        (np.zeros((3, 2)), [0, 2], LengthMismatchError, r"offsets\[-1\]"),
        (np.zeros((3, 2)), [0.0, 3.0], InvalidArgumentError, "offsets"),
        (np.zeros((3, 2)), [], InvalidArgumentError, "offsets"),
        (np.zeros((3, 2)), [[0, 3]], InvalidArgumentError, "offsets"),
    ],
)
def test_a_bad_argument_is_named(values, offsets, error, named):
    with pytest.raises(error, match=f"^{named}:"):
        TokenBatch(values, np.array(offsets))


def test_the_first_bad_document_is_named():
    with pytest.raises(DimensionError, match=r"^arrays\[1\]:"):
        TokenBatch.from_list([np.zeros((1, 2)), np.zeros((1, 3)), np.zeros((1, 4))])
    with pytest.raises(InvalidArgumentError, match=r"^arrays\[1\]:"):
        TokenBatch.from_list([[[1.0, 2.0]], [["a", "b"]]])
    with pytest.raises(InvalidArgumentError, match=r"^arrays\[0\]:"):
        TokenBatch.from_list([[[1.0, 2.0], [1.0]]])
    with pytest.raises(DimensionError, match=r"^batches\[1\]:"):
        TokenBatch.concat([TokenBatch.from_list([], dim=2), TokenBatch.from_list([], dim=3)])
    with pytest.raises(LengthMismatchError, match=r"^mask:"):
        TokenBatch.from_padded(np.zeros((2, 3, 4)), np.ones((2, 2)))
    with pytest.raises(DimensionError, match=r"^values:"):
        TokenBatch.from_padded(np.zeros((2, 3)), np.ones((2, 3)))


@pytest.mark.parametrize("indices", [[3], [-4], [0, 99]])
def test_indices_outside_the_batch_are_errors(indices):
    batch = TokenBatch.from_list(matrices([1, 2, 3]))
    with pytest.raises(IndexError):
        batch.take(indices)
    with pytest.raises(IndexError):
        batch[indices[-1]]


def test_a_boolean_mask_is_not_mistaken_for_indices():
    with pytest.raises(InvalidArgumentError, match=r"^indices:"):
        TokenBatch.from_list(matrices([1, 2])).take(np.array([True, False]))
