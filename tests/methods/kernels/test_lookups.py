"""The kernel scores as numpy does, and refuses what does not fit together."""

from __future__ import annotations

import base64
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embplug.common import base85
from embplug.errors import InvalidArgumentError
from embplug.methods.kernels import Kernel, reference
from embplug.methods.kernels.lookups import (
    ENTRIES,
    LANES,
    LARGEST_WIDTH,
    CodedDocuments,
    Table,
    base85_decode,
    maxsim,
    predictive_maxsim,
    table_of_entries,
    table_of_products,
    tiles,
    token_sums,
)
from embplug.methods.numeric.packing import pack

several = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
LENGTHS = st.lists(st.integers(0, 6), max_size=6)


def coded(lengths: list[int], stride: int, generator: np.random.Generator, gap: int = 0) -> CodedDocuments:
    """Random codes of documents, with a gap before each."""
    sizes = np.array([gap + stride * length for length in lengths], dtype=np.int64)
    starts = np.cumsum(sizes) - sizes + gap
    codes = generator.integers(0, 256, int(sizes.sum()), dtype=np.uint8)
    return CodedDocuments(codes, starts, np.cumsum([0, *lengths], dtype=np.int64))


def normal(generator: np.random.Generator, *shape: int) -> np.ndarray:
    return generator.standard_normal(shape).astype(np.float32)


def close(got: np.ndarray, expected: np.ndarray, largest: float) -> None:
    """Equal up to the rounding of float32 sums whose parts are as large as that."""
    assert got.dtype == np.float32
    np.testing.assert_array_equal(np.isneginf(got), np.isneginf(expected))
    np.testing.assert_allclose(got, expected, atol=1e-5 * max(1.0, largest), rtol=1e-5)


@several
@given(
    lengths=LENGTHS,
    width=st.one_of(st.integers(0, 9), st.integers(1, 200)),
    more=st.integers(0, 3),
    exact=st.booleans(),
    rows=st.integers(1, 5),
    extras=st.booleans(),
    seed=st.integers(0, 99),
)
def test_maxsim_is_that_of_numpy(
    kernel: Kernel,
    lengths: list[int],
    width: int,
    more: int,
    exact: bool,
    rows: int,
    extras: bool,
    seed: int,
) -> None:
    generator = np.random.default_rng(seed)
    stride = max(width + more, 1)
    documents = coded(lengths, stride, generator, gap=more)
    tokens = int(documents.offsets[-1])
    products, bases = normal(generator, width, ENTRIES, LANES), normal(generator, rows, LANES)
    ids = generator.integers(0, rows, tokens, dtype=np.int32) if extras else None
    scales = generator.uniform(0.5, 2, tokens).astype(np.float32) if extras else None
    table = table_of_products(kernel, products, exact)
    got = maxsim(kernel, table, bases, documents, stride, ids=ids, scales=scales)
    expected = reference.maxsim(table, bases, documents, stride, ids, scales)
    close(got, expected, width * LANES)
    exactly = reference.maxsim(
        Table(products, np.ones(LANES), np.zeros(LANES)), bases, documents, stride, ids, scales
    )
    # A maximum moves at most as far as what it is taken from, and scales are at most 2.
    bound = (2 if extras else 1) * float(table.largest_error().sum())
    close(got.clip(exactly - bound, exactly + bound), got, width * LANES)


@several
@given(
    tokens=st.integers(1, 70),
    widths=st.lists(st.integers(0, 5), min_size=1, max_size=8),
    lengths=LENGTHS,
    exact=st.booleans(),
    seed=st.integers(0, 99),
)
def test_any_number_of_query_tokens(
    kernel: Kernel, tokens: int, widths: list[int], lengths: list[int], exact: bool, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    active, bytes_of = sum(widths), np.array(widths)
    documents = coded(lengths, len(widths), generator)
    query, entries = normal(generator, tokens, active), normal(generator, ENTRIES, active)
    scores, bound = np.zeros(len(lengths), dtype=np.float32), 0.0
    for tile, lanes in tiles(query):
        table = table_of_entries(kernel, entries, bytes_of, tile, exact)
        bound += float(table.largest_error().sum())
        # What stands in the lanes behind the last token does not count.
        bases = np.where(np.arange(LANES) < lanes, 0, 9)[None]
        scores += maxsim(kernel, table, bases, documents, len(widths), lanes=lanes)
    columns = np.repeat(np.arange(len(widths)), bytes_of)
    codes = documents.codes.reshape(-1, len(widths))
    decoded = entries[codes[:, columns], np.arange(active)]
    for i, (start, stop) in enumerate(zip(documents.offsets[:-1], documents.offsets[1:], strict=True)):
        if start == stop:
            assert scores[i] == -np.inf
        else:
            expected = (query @ decoded[start:stop].T).max(axis=1).sum()
            assert abs(scores[i] - expected) <= bound + 1e-5 * tokens * max(active, 1) * 4


def test_products_and_rounded_tables_are_those_of_numpy(kernel: Kernel) -> None:
    generator = np.random.default_rng(0)
    widths = np.array([3, 0, 1, 20])
    entries, turned = normal(generator, ENTRIES, 24), normal(generator, LANES, 24)
    exact = table_of_entries(kernel, entries, widths, turned)
    expected = reference.products(entries, widths, turned)
    np.testing.assert_allclose(exact.entries, expected, atol=1e-5)
    assert not exact.largest_error().any()
    rounded, plain = table_of_products(kernel, expected, exact=False), reference.quantize(expected)
    np.testing.assert_allclose(rounded.steps, plain.steps, rtol=1e-6)
    np.testing.assert_allclose(rounded.shifts, plain.shifts, atol=1e-6)
    assert np.abs(rounded.entries.astype(int) - plain.entries).max() <= 1
    assert np.abs(rounded.entries.astype(int).min(axis=1).sum(axis=0)).max() <= np.iinfo(np.int16).max
    assert rounded.entries.astype(int).max(axis=1).sum(axis=0).max() <= np.iinfo(np.int16).max


@pytest.mark.parametrize("width", [1, 7, 300])
@pytest.mark.parametrize("size", [0.0, 1e-20, 1.0, 1e20])
def test_rounded_sums_stay_within_their_bound(kernel: Kernel, width: int, size: float) -> None:
    generator = np.random.default_rng(width)
    products = normal(generator, width, ENTRIES, LANES) * np.float32(size)
    table = table_of_products(kernel, products, exact=False)
    codes = np.concatenate(
        [products[:, :, 0].argmax(axis=1), products[:, :, 0].argmin(axis=1), np.arange(width) % ENTRIES]
    ).astype(np.uint8)
    documents = CodedDocuments(codes, np.arange(3) * width, np.arange(4))
    got = maxsim(kernel, table, np.zeros((1, LANES), np.float32), documents, width)
    sums_of = products.astype(np.float64)[np.arange(width), codes.reshape(3, width)].sum(axis=1)
    bound = table.largest_error().astype(np.float64).sum()
    # The highest and the lowest sum there can be are among them: neither leaves 16 bits.
    assert (np.abs(got - sums_of.sum(axis=1)) <= bound * 1.001 + 1e-5 * width * LANES * size).all()


@several
@given(
    lengths=st.lists(st.integers(0, 40), max_size=5),
    widths=st.lists(st.integers(0, 12), min_size=8, max_size=8),
    exact=st.booleans(),
    seed=st.integers(0, 99),
)
def test_predictive_codes_score_as_in_numpy(
    kernel: Kernel, lengths: list[int], widths: list[int], exact: bool, seed: int
) -> None:
    arguments = predictive(kernel, lengths, widths, exact, np.random.default_rng(seed))
    close(predictive_maxsim(kernel, *arguments), reference.predictive_maxsim(*arguments), LANES * sum(widths))


def predictive(
    kernel: Kernel, lengths: list[int], widths: list[int], exact: bool, generator: np.random.Generator
) -> Any:
    """Arguments of :func:`predictive_maxsim` for strings of random but consistent codes."""
    sizes, strings, centroids = np.array(widths), [b""], 9
    for length in lengths:
        classes = generator.integers(0, 8, length)
        back = generator.integers(0, np.minimum(np.arange(length), 255) + 1)
        fields = [generator.integers(0, centroids, length), back, generator.integers(0, 16, length)]
        headers = pack(
            np.stack([*fields, classes, generator.integers(0, 32, length)], axis=1), [12, 8, 4, 3, 5]
        )
        rests = generator.integers(0, 256, int(sizes[classes].sum()), dtype=np.uint8)
        strings.append(headers.tobytes() + rests.tobytes())
    stops = np.cumsum([len(one) for one in strings], dtype=np.int64)
    codes = np.frombuffer(b"".join(strings), dtype=np.uint8)
    documents = CodedDocuments(codes, stops[:-1], np.cumsum([0, *lengths], dtype=np.int64))
    tables = [table_of_products(kernel, normal(generator, width, ENTRIES, LANES), exact) for width in widths]
    joined = Table(*(np.concatenate(parts) for parts in zip(*tables, strict=True)))
    joined = joined._replace(steps=joined.steps.reshape(8, LANES), shifts=joined.shifts.reshape(8, LANES))
    gains, factors = generator.uniform(0, 0.9, 16), generator.uniform(0.8, 1.2, 32)
    bases = normal(generator, centroids, LANES)
    return joined, sizes, bases, gains.astype(np.float32), factors.astype(np.float32), documents


@several
@given(lengths=LENGTHS, width=st.integers(0, 30), more=st.integers(0, 2), seed=st.integers(0, 99))
def test_sums_of_one_table(kernel: Kernel, lengths: list[int], width: int, more: int, seed: int) -> None:
    generator = np.random.default_rng(seed)
    stride = max(width + more, 1)
    documents = coded(lengths, stride, generator)
    table = normal(generator, width, ENTRIES)
    codes = documents.codes.reshape(-1, stride)[:, :width]
    expected = table[np.arange(width), codes].sum(axis=1)
    np.testing.assert_allclose(
        token_sums(kernel, table, documents, stride), expected, atol=1e-5 * max(width, 1)
    )


@several
@given(st.lists(st.binary(max_size=40), max_size=8))
def test_base85_is_that_of_python(kernel: Kernel, strings: list[bytes]) -> None:
    texts = [base64.b85encode(one) for one in strings]
    assert decoded(kernel, texts) == b"".join(strings)


@pytest.mark.parametrize("text", [b"a", b"~~~~~", b"00000,", b'"0000', b"0000\xff", b"00000~~~~", b"\0\0"])
def test_what_is_not_base85_is_refused(kernel: Kernel, text: bytes) -> None:
    with pytest.raises(ValueError, match="not base85"):
        decoded(kernel, [b"00000", text])


def decoded(kernel: Kernel, texts: list[bytes]) -> bytes:
    offsets = np.cumsum([0, *map(len, texts)], dtype=np.int64)
    return base85_decode(kernel, b"".join(texts), offsets, base85.DIGITS).tobytes()


@pytest.mark.parametrize("threads", [2, 3, 9])
def test_threads_change_nothing(kernel: Kernel, threads: int) -> None:
    generator = np.random.default_rng(0)
    lengths = [5, 0, 0, 90, 1, 7, 3, 3]
    documents = coded(lengths, 6, generator)
    table, bases = (
        table_of_products(kernel, normal(generator, 6, ENTRIES, LANES)),
        normal(generator, 1, LANES),
    )
    one = maxsim(kernel, table, bases, documents, 6, threads=1)
    np.testing.assert_array_equal(maxsim(kernel, table, bases, documents, 6, threads=threads), one)
    arguments = predictive(kernel, lengths, [3, 1, 0, 2, 4, 6, 8, 9], False, generator)
    one = predictive_maxsim(kernel, *arguments, threads=1)
    np.testing.assert_array_equal(predictive_maxsim(kernel, *arguments, threads=threads), one)


WRONG: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "codes that end too early": lambda a: {
        "documents": a["documents"]._replace(codes=a["documents"].codes[:-1])
    },
    "a start before the codes": lambda a: {
        "documents": a["documents"]._replace(starts=a["documents"].starts - 1)
    },
    "a start behind the codes": lambda a: {
        "documents": a["documents"]._replace(starts=np.array([0, 18, 1 << 62], dtype=np.int64))
    },
    "more tokens than bytes": lambda a: {
        "documents": a["documents"]._replace(offsets=np.array([0, 3, 1 << 61, 1 << 62], dtype=np.int64))
    },
    "falling offsets": lambda a: {"documents": a["documents"]._replace(offsets=np.array([0, 4, 3, 5]))},
    "offsets of fewer documents": lambda a: {
        "documents": a["documents"]._replace(offsets=np.array([0, 3, 5]))
    },
    "offsets that begin later": lambda a: {
        "documents": a["documents"]._replace(offsets=np.array([1, 3, 3, 5]))
    },
    "codes of another type": lambda a: {
        "documents": a["documents"]._replace(codes=a["documents"].codes.astype(np.int8))
    },
    "a stride shorter than a code": lambda a: {"stride": 5},
    "a stride of zero": lambda a: {"stride": 0, "table": a["table"]._replace(entries=a["table"].entries[:0])},
    "an id beyond the bases": lambda a: {"ids": np.array([0, 1, 2, 0, 0], dtype=np.int32)},
    "a negative id": lambda a: {"ids": np.array([0, 1, -1, 0, 0], dtype=np.int32)},
    "too few ids": lambda a: {"ids": np.zeros(4, dtype=np.int32)},
    "no bases": lambda a: {"bases": np.zeros((0, LANES), dtype=np.float32)},
    "narrow bases": lambda a: {"bases": np.zeros((2, LANES - 1), dtype=np.float32)},
    "more lanes than there are": lambda a: {"lanes": LANES + 1},
    "too few scales": lambda a: {"scales": np.ones(4, dtype=np.float32)},
    "a table of fewer entries": lambda a: {"table": a["table"]._replace(entries=a["table"].entries[:, :9])},
}


@pytest.mark.parametrize("wrong", WRONG)
def test_what_does_not_fit_is_refused_before_the_kernel_runs(kernel: Kernel, wrong: str) -> None:
    generator = np.random.default_rng(0)
    right: dict[str, Any] = {
        "table": table_of_products(kernel, normal(generator, 6, ENTRIES, LANES)),
        "bases": normal(generator, 2, LANES),
        "documents": coded([3, 0, 2], 6, generator),
        "stride": 6,
    }
    assert np.isfinite(maxsim(kernel, **right)[[0, 2]]).all()
    with pytest.raises(InvalidArgumentError):
        maxsim(kernel, **{**right, **WRONG[wrong](right)})


def test_tables_that_do_not_fit_are_refused(kernel: Kernel) -> None:
    entries, turned = np.zeros((ENTRIES, 4), np.float32), np.zeros((LANES, 4), np.float32)
    for widths in ([5], [-1, 5], [2, 1]):
        with pytest.raises(InvalidArgumentError):
            table_of_entries(kernel, entries, np.array(widths), turned)
    with pytest.raises(InvalidArgumentError):
        table_of_entries(kernel, entries[:9], np.array([4]), turned)
    with pytest.raises(InvalidArgumentError):
        table_of_entries(
            kernel, entries, np.array([4]), turned, out=np.zeros((2, ENTRIES, LANES), np.float32)
        )
    with pytest.raises(InvalidArgumentError):
        table_of_entries(kernel, entries, np.array([4]), turned, out=np.zeros((1, ENTRIES, LANES)))
    many = np.broadcast_to(np.float32(0), (LARGEST_WIDTH + 1, ENTRIES, LANES))
    with pytest.raises(InvalidArgumentError):
        table_of_products(kernel, many, exact=False)
