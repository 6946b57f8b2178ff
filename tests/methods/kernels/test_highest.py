"""Highest sums of products of bytes beside numpy, and the rounding of tokens to such bytes."""

from __future__ import annotations

import importlib.util
import tracemalloc
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embplug.errors import InvalidArgumentError
from embplug.methods.encodings import document_products
from embplug.methods.encodings.document_products import highest_products
from embplug.methods.encodings.scaled_rows import ScaledRows
from embplug.methods.kernels import Kernel
from embplug.methods.kernels.highest import LARGEST_LIMIT, Panels, distinct_rows, highest_sums
from embplug.methods.token_batch import TokenBatch


@pytest.mark.parametrize(("dim", "landmarks"), [(1, 1), (4, 64), (5, 65), (192, 130)])
def test_sums_are_exact(kernel: Kernel, dim: int, landmarks: int) -> None:
    if not kernel.eight_bits:
        pytest.skip("this instruction set does not compare bytes")
    rng = np.random.default_rng(dim)
    lengths = [0, 1, 5, 6, 7, 0, 13]
    offsets = np.concatenate([[0], np.cumsum(lengths)])
    tokens = rng.integers(-127, 128, (offsets[-1], dim)).astype(np.float32)
    codes = rng.integers(-127, 128, (landmarks, dim)).astype(np.int8)
    # The largest sums that there are, of either sign.
    tokens[0], tokens[1:3], codes[0] = 127, -127, 127
    # A document's largest number is 127 units.
    tokens[offsets[:-1][np.array(lengths) > 0], 0] = 127
    sums, steps = highest_sums(kernel, tokens / 4, offsets, Panels.of(codes))
    halves, half_steps = highest_sums(kernel, (tokens / 4).astype(np.float16), offsets, Panels.of(codes))
    np.testing.assert_array_equal(halves, sums)
    np.testing.assert_array_equal(half_steps, steps)
    expected_steps = np.where(np.array(lengths) > 0, np.float32(31.75) / np.float32(127), 1)
    np.testing.assert_array_equal(steps, expected_steps)
    products = tokens.astype(np.int64) @ codes.T.astype(np.int64)
    for i, length in enumerate(lengths):
        expected = products[offsets[i] : offsets[i + 1]].max(axis=0) if length else np.zeros(landmarks)
        np.testing.assert_array_equal(sums[i], expected)


@pytest.mark.parametrize("offsets", [[-1, 2], [0, 4], [0, 2, 1]])
def test_documents_beyond_their_tokens_are_refused(kernel: Kernel, offsets: list[int]) -> None:
    panels = Panels.of(np.ones((3, 4), np.int8))
    with pytest.raises(InvalidArgumentError, match=r"^offsets: "):
        highest_sums(kernel, np.ones((3, 4), np.float32), np.array(offsets), panels)


@pytest.mark.parametrize("dim", [3, 9])
def test_tokens_of_other_dimensions_than_landmarks_are_refused(kernel: Kernel, dim: int) -> None:
    panels = Panels.of(np.ones((3, 8), np.int8))
    with pytest.raises(InvalidArgumentError, match=r"^tokens: expected the 8 dimensions"):
        highest_sums(kernel, np.ones((2, dim), np.float32), np.array([0, 2]), panels)


def batch(lengths: list[int], dim: int = 9) -> TokenBatch:
    rng = np.random.default_rng(sum(lengths))
    return TokenBatch.from_list([rng.standard_normal((n, dim)).astype(np.float32) for n in lengths], dim=dim)


LANDMARKS = np.random.default_rng(0).standard_normal((70, 9)).astype(np.float32)


@settings(deadline=None, max_examples=30)
@given(st.lists(st.integers(0, 300), max_size=6))
def test_the_kernel_and_numpy_compute_the_same(lengths: list[int]) -> None:
    documents, landmarks = batch(lengths), ScaledRows.round(LANDMARKS)
    with pytest.MonkeyPatch.context() as patch:
        with_kernel = highest_products(documents, landmarks, 1, None)
        patch.setattr(document_products, "load", lambda: None)
        np.testing.assert_array_equal(highest_products(documents, landmarks, 2, None), with_kernel)


def alike_documents(lengths: list[int], dim: int) -> TokenBatch:
    """Documents whose tokens come again, some of them a little changed."""
    rng = np.random.default_rng(sum(lengths) + dim)
    words = rng.standard_normal((12, dim))
    tokens = [words[rng.integers(0, 12, n)] + rng.choice([0, 0.02, 0.3], (n, 1)) for n in lengths]
    return TokenBatch.from_list([own.astype(np.float32) for own in tokens], dim=dim)


def without_duplicates(documents: TokenBatch, distance: float) -> TokenBatch:
    """Tokens in steps of their document that are no closer to an earlier one, by plain loops."""
    kept = []
    for own in documents:
        step = np.abs(own).max(initial=0) / np.float32(127)
        chosen: list[int] = []
        whole = np.rint(own / step).astype(np.int64) if len(own) else own
        for i, token in enumerate(whole):
            limit = int(min(distance / float(step) ** 2, LARGEST_LIMIT))
            if all(np.square(token - whole[earlier]).sum() > limit for earlier in chosen):
                chosen.append(i)
        kept.append(own[chosen])
    return TokenBatch.from_list(kept, dim=documents.dim)


@settings(deadline=None, max_examples=40)
@given(st.lists(st.integers(0, 200), max_size=5), st.sampled_from([1, 9, 32, 65]), st.floats(0.01, 5))
def test_a_token_like_an_earlier_one_is_left_out(lengths: list[int], dim: int, distance: float) -> None:
    documents = alike_documents(lengths, dim)
    landmarks = ScaledRows.round(np.random.default_rng(dim).standard_normal((70, dim)).astype(np.float32))
    # The longest number of a document comes first, so that what is left out changes no step.
    for start, stop in zip(documents.offsets[:-1], documents.offsets[1:], strict=True):
        documents.values[start:stop][:1] = 9
    expected = highest_products(without_duplicates(documents, distance), landmarks, 1, None)
    for device in [None, *(["cpu"] if importlib.util.find_spec("torch") else [])]:
        products = highest_products(documents, landmarks, 1, device, distance=distance)
        np.testing.assert_allclose(products, expected, rtol=1e-6)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(document_products, "load", lambda: None)
        products = highest_products(documents, landmarks, 2, None, distance=distance)
        np.testing.assert_array_equal(products, expected)


@pytest.mark.parametrize("limit", [0, 100, LARGEST_LIMIT])
def test_the_longest_tokens_are_told_apart(kernel: Kernel, limit: int) -> None:
    if not kernel.eight_bits:
        pytest.skip("this instruction set does not compare bytes")
    rows = np.full((4, 65_536), 255, np.uint8)
    rows[1], rows[2, 0] = 1, 254
    kept = distinct_rows(kernel, rows, np.array([0, 4]), np.array([limit], np.int32))
    assert kept.tolist() == [True, True, limit == 0, False]


def test_long_documents_take_little_memory_without_the_kernel(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(document_products, "load", lambda: None)
    documents, landmarks = alike_documents([4000], 9), ScaledRows.round(LANDMARKS)
    tracemalloc.start()
    highest_products(documents, landmarks, 1, None, distance=0.1)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    # The products of all tokens with each other would be 64 MB in float32 alone.
    assert peak < 48 << 20


def test_a_device_computes_the_same() -> None:
    pytest.importorskip("torch")
    documents, landmarks = batch([3, 0, 700, 1]), ScaledRows.round(LANDMARKS)
    expected = highest_products(documents, landmarks, 1, None)
    np.testing.assert_allclose(highest_products(documents, landmarks, 1, "cpu"), expected, rtol=1e-6)


@pytest.mark.parametrize("length", [1e-30, 1.0, 1e6])
def test_rounding_errs_by_little(length: float) -> None:
    documents = batch([40, 7])
    documents = TokenBatch(documents.values * np.float32(length), documents.offsets)
    rounded = highest_products(documents, ScaledRows.round(LANDMARKS), 1, None)
    exact = highest_products(documents, ScaledRows.exact(LANDMARKS), 1, None)
    for i in range(2):
        # Each factor is off by at most half a step, of which there are 127 to its largest number.
        token = np.abs(documents[i]).max()
        bound = 9 * np.abs(LANDMARKS).max(axis=1) * token * (1 / 127 + 0.25 / 127**2)
        assert (np.abs(rounded[i] - exact[i]) <= bound).all()
    assert np.abs(rounded - exact).mean() < 0.01 * np.abs(exact).mean()


def test_tokens_of_zeros_have_products_of_zero() -> None:
    documents: Any = TokenBatch(np.zeros((3, 9), np.float32), [0, 2, 2, 3])
    assert not highest_products(documents, ScaledRows.round(LANDMARKS), 1, None).any()
