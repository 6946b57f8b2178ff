"""The kernel scores codes of single bits as numpy does, and refuses what does not fit together."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embplug.errors import InvalidArgumentError
from embplug.methods import BinaryQuantizer
from embplug.methods.kernels import Kernel, reference
from embplug.methods.kernels.arguments import CodedDocuments
from embplug.methods.kernels.bits import LARGEST_WIDTH, largest_error, maxsim_of_bits, scores_bits


@pytest.fixture
def fast(kernel: Kernel) -> Kernel:
    """The kernel with rounded products, where the processor looks bits up in registers."""
    kernel = kernel._replace(exact=False)
    if not kernel.bits:
        pytest.skip("this instruction set has no such look-up")
    return kernel


def coded(lengths: list[int], width: int, gap: int, generator: np.random.Generator) -> CodedDocuments:
    """Random codes of documents, with a gap before each."""
    sizes = np.array([gap + width * length for length in lengths], dtype=np.int64)
    codes = generator.integers(0, 256, int(sizes.sum()), dtype=np.uint8)
    return CodedDocuments(codes, np.cumsum(sizes) - sizes + gap, np.cumsum([0, *lengths], dtype=np.int64))


def queries(tokens: int, width: int, size: float, generator: np.random.Generator) -> tuple[np.ndarray, ...]:
    """Vectors and shifts, the last of which are those of lengths: squares stay within half of the shift."""
    vectors = generator.standard_normal((tokens + 1, 8 * width)).astype(np.float32) * np.float32(size)
    vectors[-1] *= 0.5 / np.abs(vectors[-1]).sum()
    return vectors, np.append(generator.standard_normal(tokens) * size, 1).astype(np.float32)


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lengths=st.lists(st.one_of(st.integers(0, 6), st.integers(60, 200)), max_size=9),
    width=st.one_of(st.integers(1, 70), st.sampled_from([96, 128, LARGEST_WIDTH])),
    tokens=st.integers(0, 40),
    gap=st.integers(0, 3),
    size=st.sampled_from([1e-12, 1.0, 1e12]),
    threads=st.sampled_from([None, 3]),
    seed=st.integers(0, 99),
)
def test_scores_are_those_of_numpy_up_to_rounding(
    fast: Kernel,
    lengths: list[int],
    width: int,
    tokens: int,
    gap: int,
    size: float,
    threads: int | None,
    seed: int,
) -> None:
    generator = np.random.default_rng(seed)
    documents = coded(lengths, width, gap, generator)
    vectors, shifts = queries(tokens, width, size, generator)
    scores = maxsim_of_bits(fast, vectors, shifts, documents, threads=threads)
    expected = reference.maxsim_of_bits(vectors, shifts, documents)
    np.testing.assert_array_equal(np.isneginf(scores), np.isneginf(expected))
    # A token is 1 / sqrt(.5) long at most; lengths have 129 times as many steps.
    errors = largest_error(vectors, fast.bits)
    highest = np.abs(vectors[:-1]).sum(axis=1) + np.abs(shifts[:-1])
    bound = (1.5 * errors[:-1] + highest * 1.5 * errors[-1] / 129).sum() + 1e-5 * highest.sum()
    filled = np.isfinite(expected)
    assert np.abs(scores[filled] - expected[filled]).max(initial=0) <= bound


def test_a_long_last_document_leaves_a_thread_without_documents(fast: Kernel) -> None:
    # Sanitizers see what that thread reads.
    generator = np.random.default_rng(2)
    documents = coded([1, 400], 16, 0, generator)
    vectors, shifts = queries(3, 16, 1.0, generator)
    alone = maxsim_of_bits(fast, vectors, shifts, documents, threads=1)
    np.testing.assert_array_equal(maxsim_of_bits(fast, vectors, shifts, documents, threads=2), alone)


def test_rounding_hardly_moves_a_score(fast: Kernel) -> None:
    generator = np.random.default_rng(0)
    documents = coded([30] * 50, 48, 0, generator)
    vectors, shifts = queries(32, 48, 1.0, generator)
    scores = maxsim_of_bits(fast, vectors, shifts, documents)
    expected = reference.maxsim_of_bits(vectors, shifts, documents)
    assert np.std(scores - expected) < 0.06 * np.std(expected)


def test_the_quantizer_uses_it(fast: Kernel, monkeypatch: pytest.MonkeyPatch) -> None:
    generator = np.random.default_rng(1)
    sample = generator.standard_normal((300, 100)).astype(np.float32) + 0.2
    for quantizer in (BinaryQuantizer(), BinaryQuantizer(queries="int8", rotate=True, center=False)):
        quantizer.fit(sample)
        documents = CodedDocuments.of_rows(quantizer.encode(sample))
        query = generator.standard_normal((9, 100)).astype(np.float32)
        scores = quantizer._maxsim(fast, query, documents)
        assert scores is not None
        in_numpy = quantizer.score(quantizer.encode_query(query), quantizer.encode(sample)).max(axis=0).sum()
        np.testing.assert_allclose(scores[0], in_numpy, rtol=0.02)
        by_tables = quantizer._maxsim(fast._replace(exact=True), query, documents)
        assert by_tables is not None
        np.testing.assert_allclose(by_tables[0], in_numpy, rtol=1e-5)


def test_what_does_not_fit_is_refused(fast: Kernel) -> None:
    documents = coded([3, 2], 4, 0, np.random.default_rng(0))
    vectors, shifts = queries(2, 4, 1.0, np.random.default_rng(0))
    short = documents._replace(codes=documents.codes[:-1])
    for named, arguments in {
        "shifts": (vectors, shifts[:-1], documents),
        "codes[1]": (vectors, shifts, short),
        "vectors": (vectors[:, :-1], shifts, documents),
    }.items():
        with pytest.raises(InvalidArgumentError) as caught:
            maxsim_of_bits(fast, *arguments)
        assert caught.value.argument == named
    for vectors in (np.zeros((2, 0)), np.zeros((0, 32)), np.zeros((2, 8 * LARGEST_WIDTH + 8))):
        with pytest.raises(InvalidArgumentError):
            maxsim_of_bits(fast, vectors, np.zeros(len(vectors)), documents)
    assert not scores_bits(fast._replace(exact=True), 4)
    assert not scores_bits(fast._replace(bits=0), 4)
