"""Codes whose bytes name entries are scored in one call as in plain numpy, and nothing else is read."""

from __future__ import annotations

import pickle

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embplug.errors import InvalidArgumentError
from embplug.methods.kernels import Kernel
from embplug.methods.kernels.arguments import CodedDocuments
from embplug.methods.kernels.bases import RoundedRows
from embplug.methods.kernels.bytewise import HEADER_BYTES, BytewiseCodes, Headers
from embplug.methods.kernels.tables import ENTRIES, LARGEST_WIDTH
from embplug.methods.numeric.packing import pack

several = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
GAP = 3
"""Bytes before the codes of each document."""
CENTROIDS, FACTOR_BITS = 5, 3


class Example:
    """Random codes, with what they stand for."""

    def __init__(
        self,
        seed: int,
        widths: list[int],
        lengths: list[int],
        *,
        turned: bool = True,
        rescaled: bool = False,
        own_length: bool = False,
        headers: bool = False,
    ) -> None:
        generator = np.random.default_rng(seed)
        active = sum(widths)
        self.dim = active + 2 if turned else active
        self.directions = _normal(generator, self.dim, active) if turned else None
        self.mean, self.entries = _normal(generator, self.dim), _normal(generator, active, ENTRIES)
        self.widths = np.array(widths, dtype=np.int64)
        self.squares = generator.random((len(widths), ENTRIES), dtype=np.float32) if rescaled else None
        self.square = 0.25
        self.lengths = generator.random(ENTRIES, dtype=np.float32) if own_length else None
        self.centroids = _normal(generator, CENTROIDS, self.dim) if headers else self.mean[None]
        factors = generator.uniform(0.5, 2, 1 << FACTOR_BITS if headers else 1)
        self.factors = factors.astype(np.float32) if headers else np.ones(1, dtype=np.float32)
        self.header_bytes = HEADER_BYTES if headers else 0
        self.codes = BytewiseCodes(
            self.directions,
            Headers(RoundedRows(self.centroids), self.factors) if headers else self.mean,
            *(self.entries, self.widths, self.squares, self.square, self.lengths),
        )
        stride = self.codes.code_bytes
        sizes = np.array([GAP + stride * length for length in lengths], dtype=np.int64)
        data = generator.integers(0, 256, int(sizes.sum()), dtype=np.uint8)
        starts = np.cumsum(sizes) - sizes + GAP
        self.documents = CodedDocuments(data, starts, np.cumsum([0, *lengths], dtype=np.int64))
        if headers:
            for start, length in zip(starts.tolist(), lengths, strict=True):
                rows = data[start : start + stride * length].reshape(length, stride)
                numbers = generator.integers(0, CENTROIDS << FACTOR_BITS, length)
                rows[:, :HEADER_BYTES] = pack(numbers[:, None], [8 * HEADER_BYTES])

    def query(self, tokens: int) -> np.ndarray:
        return _normal(np.random.default_rng(tokens), tokens, self.dim)

    def products(self, query: np.ndarray, token: np.ndarray) -> np.ndarray:
        """Dot products (t,) with the vector that the code of one token stands for."""
        turned = query if self.directions is None else query @ self.directions
        header, token = np.split(token, [self.header_bytes])
        centroid, factor = divmod(int.from_bytes(header.tobytes(), "big"), len(self.factors))
        byte_of = np.repeat(np.arange(len(self.widths)), self.widths)
        entries = self.entries[np.arange(len(byte_of)), token[byte_of]]
        products = turned.astype(np.float64) @ entries + query.astype(np.float64) @ self.centroids[centroid]
        products *= self.factors[factor]
        if self.squares is not None:
            of_bytes = self.squares[np.arange(len(self.widths)), token[: len(self.widths)]]
            products /= np.sqrt(of_bytes.sum(dtype=np.float64) + self.square)
            products *= 1 if self.lengths is None else self.lengths[token[-1]]
        return np.asarray(products)

    def maxsim(self, query: np.ndarray) -> np.ndarray:
        """MaxSim of each document, one token after the other."""
        stride, scores = self.codes.code_bytes, []
        for i, start in enumerate(self.documents.starts.tolist()):
            count = int(np.diff(self.documents.offsets)[i])
            rows = self.documents.codes[start : start + count * stride].reshape(count, stride)
            products = [self.products(query, token) for token in rows]
            scores.append(np.max(products, axis=0).sum() if products else -np.inf)
        return np.array(scores)


def _normal(generator: np.random.Generator, *shape: int) -> np.ndarray:
    return generator.standard_normal(shape).astype(np.float32)


def _close(got: np.ndarray, expected: np.ndarray, bound: float) -> None:
    assert got.dtype == np.float32
    np.testing.assert_allclose(got, expected, atol=bound, rtol=1e-5)


@several
@given(
    seed=st.integers(0, 1000),
    widths=st.lists(st.integers(0, 7), min_size=1, max_size=20).filter(any),
    lengths=st.lists(st.integers(0, 6), max_size=6),
    tokens=st.sampled_from([0, 1, 8, 9, 17, 32, 33, 70]),
    turned=st.booleans(),
    rescaled=st.booleans(),
    own_length=st.booleans(),
    headers=st.booleans(),
    threads=st.sampled_from([1, 3]),
)
def test_scores_are_those_of_plain_loops(
    kernel: Kernel,
    seed: int,
    widths: list[int],
    lengths: list[int],
    tokens: int,
    turned: bool,
    rescaled: bool,
    own_length: bool,
    headers: bool,
    threads: int,
) -> None:
    rescaled &= not headers
    own_length &= rescaled
    options = {"turned": turned, "rescaled": rescaled, "own_length": own_length, "headers": headers}
    example = Example(seed, widths, lengths, **options)
    query = example.query(tokens)
    expected = example.maxsim(query)
    got = example.codes.maxsim(kernel._replace(exact=True), query, example.documents, threads=threads)
    # Float sums of some hundred numbers of the size of one, for each query token.
    _close(got, expected, 1e-3 * max(1, tokens))


@pytest.mark.parametrize("width", [4, 12, 40])
@pytest.mark.parametrize("rescaled", [True, False])
def test_rounded_products_stay_near_exact_ones(kernel: Kernel, width: int, rescaled: bool) -> None:
    example = Example(5, [2] * width, [40] * 12, rescaled=rescaled)
    query = example.query(20)
    exact = example.codes.maxsim(kernel._replace(exact=True), query, example.documents)
    rounded = example.codes.maxsim(kernel._replace(exact=False), query, example.documents)
    # Of up to 16 bytes each product moves by half of a step of which 65,535 span all sums. Of more bytes, 16
    # have such rows and the others rows of 8 bits.
    spread = np.ptp(exact)
    assert np.abs(rounded - exact).max() <= (1e-3 if width <= 16 else 0.05) * max(spread, 1.0)
    assert (np.argsort(exact)[-3:] == np.argsort(rounded)[-3:]).all() or width > 16


@several
@given(
    seed=st.integers(0, 1000),
    widths=st.lists(st.integers(0, 7), min_size=1, max_size=20).filter(any),
    count=st.integers(0, 5),
    tokens=st.integers(0, 9),
    turned=st.booleans(),
)
def test_sums_are_those_of_all_query_tokens(
    kernel: Kernel, seed: int, widths: list[int], count: int, tokens: int, turned: bool
) -> None:
    example = Example(seed, widths, [1] * count, turned=turned)
    query, (codes, starts, _) = example.query(tokens), example.documents
    rows = [codes[start : start + example.codes.code_bytes] for start in starts]
    expected = [example.products(query, row).sum() for row in rows]
    _close(example.codes.sums(kernel, query, codes, starts), np.array(expected), 1e-3 * max(1, tokens))


@pytest.mark.parametrize("width", [3, 15, 16, 40])
def test_rounded_centroids_stay_near_exact_ones(kernel: Kernel, width: int) -> None:
    example = Example(5, [2] * width, [40] * 12, headers=True)
    query = example.query(20)
    exact = example.codes.maxsim(kernel._replace(exact=True), query, example.documents)
    rounded = example.codes.maxsim(kernel._replace(exact=False), query, example.documents)
    of_centroids = RoundedRows(example.centroids).largest_error(query).max(axis=0).sum()
    bound = example.factors.max() * of_centroids + (1e-3 if width <= 16 else 0.05) * np.ptp(exact)
    assert 0 < np.abs(rounded - exact).max() <= bound


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("threads", [1, 3])
def test_centroids_that_do_not_exist_are_refused(kernel: Kernel, exact: bool, threads: int) -> None:
    example, kernel = Example(1, [3, 2], [4, 0, 5, 6], headers=True), kernel._replace(exact=exact)
    query, (codes, starts, _) = example.query(40), example.documents
    last = (CENTROIDS << FACTOR_BITS) - 1
    for number, there in ((last, True), (last + 1, False)):
        for document in (3, 2):
            codes[starts[document] :][:HEADER_BYTES] = pack(np.array([[number]]), [8 * HEADER_BYTES])[0]
        if there:
            assert np.isfinite(example.codes.maxsim(kernel, query, example.documents)[[0, 2, 3]]).all()
            continue
        with pytest.raises(InvalidArgumentError, match=r"codes\[2\]: expected centroids below 5"):
            example.codes.maxsim(kernel, query, example.documents, threads=threads)


@pytest.mark.parametrize("headers", [True, False])
def test_many_documents_are_scored_by_several_threads_alike(kernel: Kernel, headers: bool) -> None:
    example = Example(1, [3] * 12, [0, 9, 1, 0, 30, 2, 2], rescaled=not headers, headers=headers)
    query = example.query(40)
    alone = example.codes.maxsim(kernel, query, example.documents, threads=1)
    np.testing.assert_array_equal(example.codes.maxsim(kernel, query, example.documents, threads=4), alone)


def test_a_copy_reads_arrays_of_its_own(kernel: Kernel) -> None:
    example = Example(2, [3, 2], [4, 5], rescaled=True, own_length=True)
    query = example.query(6)
    expected = example.codes.maxsim(kernel, query, example.documents)
    copied = pickle.loads(pickle.dumps(example.codes))
    example.entries[:] = example.mean[:] = 0
    np.testing.assert_array_equal(copied.maxsim(kernel, query, example.documents), expected)


def test_a_short_call_holds_the_lock_of_the_interpreter(kernel: Kernel) -> None:
    assert kernel.functions_for(10) is kernel.functions.held
    assert kernel.functions_for(1 << 20) is kernel.functions


def test_what_does_not_fit_together_is_refused(kernel: Kernel) -> None:
    example = Example(3, [2, 3], [4, 5])
    query, documents = example.query(6), example.documents
    arguments = [example.directions, example.mean, example.entries, example.widths]
    for place, wrong, name in (
        (0, example.directions[:, 1:], "directions"),
        (1, example.mean[1:], "directions"),
        (2, example.entries[:, 1:], "entries"),
        (3, np.array([2, 2]), "entries"),
        (3, np.array([-1, 6]), "widths"),
        (0, None, "widths"),
    ):
        with pytest.raises(InvalidArgumentError, match=name):
            BytewiseCodes(*arguments[:place], wrong, *arguments[place + 1 :])
    with pytest.raises(InvalidArgumentError, match="squares"):
        BytewiseCodes(*arguments, np.zeros((2, 255), np.float32))
    with pytest.raises(InvalidArgumentError, match="lengths"):
        BytewiseCodes(*arguments, np.zeros((2, 256), np.float32), 0.0, np.zeros(255, np.float32))
    centroids = RoundedRows(example.mean[None])
    for factors in (3, 0, 1 << 17):
        headers = Headers(centroids, np.ones(factors, np.float32))
        with pytest.raises(InvalidArgumentError, match="factors"):
            BytewiseCodes(example.directions, headers, *arguments[2:])
    headers = Headers(centroids, np.ones(4, np.float32))
    with pytest.raises(InvalidArgumentError, match="squares"):
        BytewiseCodes(example.directions, headers, *arguments[2:], np.zeros((2, 256), np.float32))
    for method in (
        lambda: example.codes.maxsim(kernel, query[:, 1:], documents),
        lambda: example.codes.sums(kernel, query[:, 1:], documents.codes, documents.starts),
    ):
        with pytest.raises(InvalidArgumentError, match="query"):
            method()
    with pytest.raises(InvalidArgumentError, match=r"codes\[1\]"):
        example.codes.maxsim(kernel, query, documents._replace(codes=documents.codes[:-1]))
    for starts in ([-1], [len(documents.codes) - 1]):
        with pytest.raises(InvalidArgumentError, match=r"starts\[1\]: expected a place of 2 bytes"):
            example.codes.sums(kernel, query, documents.codes, np.array([0, *starts]))
    for other in (Example(3, [2, 3], [4, 5], headers=True), Example(3, [2, 3], [4, 5], rescaled=True)):
        assert not other.codes.adds_up
        with pytest.raises(InvalidArgumentError, match="without headers"):
            other.codes.sums(kernel, query, *other.documents[:2])
    spread = np.repeat(documents.codes, 2)[::2]
    for codes in (spread, documents.codes.astype(np.int64), documents.codes[None]):
        with pytest.raises(InvalidArgumentError, match="codes"):
            example.codes.sums(kernel, query, codes, documents.starts)
    wide = BytewiseCodes(
        None, np.zeros(1, np.float32), np.zeros((1, ENTRIES), np.float32), np.array([1] + [0] * LARGEST_WIDTH)
    )
    with pytest.raises(InvalidArgumentError, match="widths"):
        wide.maxsim(kernel._replace(exact=False), np.zeros((1, 1), np.float32), documents)
