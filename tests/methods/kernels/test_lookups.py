"""The kernel scores as numpy does, and refuses what does not fit together."""

from __future__ import annotations

import base64
import pickle
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embplug.common.byte_strings import ByteStrings
from embplug.errors import InvalidArgumentError
from embplug.methods.kernels import Kernel, lookups, reference
from embplug.methods.kernels.arguments import CodedDocuments
from embplug.methods.kernels.base85 import decode_by
from embplug.methods.kernels.bases import Bases, RoundedProducts, RoundedRows, rounds_rows
from embplug.methods.kernels.lookups import (
    PredictiveClasses,
    TokenTerms,
    check_predictive,
    maxsim,
    predictive_maxsim,
    token_sums,
)
from embplug.methods.kernels.tables import (
    ENTRIES,
    LARGEST_WIDTH,
    TILES,
    Table,
    table_of_entries,
    tiles,
)
from embplug.methods.numeric.packing import pack
from embplug.methods.token_codes.predictive_strings import checked, parsed

several = settings(
    max_examples=25, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
LENGTHS = st.lists(st.integers(0, 6), max_size=6)
LANES = TILES[-1]


def products_of(kernel: Kernel, products: np.ndarray) -> Table:
    """A table of products (bytes, 256, tile): each lane is the only one to see its own column of entries."""
    count, _, tile = products.shape
    entries = products.transpose(1, 0, 2).reshape(ENTRIES, count * tile)
    widths, turned = np.full(count, tile), np.tile(np.eye(tile, dtype=np.float32), (1, count))
    return table_of_entries(kernel, np.ascontiguousarray(entries.T), widths, turned)


def with_tables(kernel: Kernel, exact: bool) -> Kernel:
    return kernel._replace(exact=exact)


def coded(lengths: list[int], stride: int, generator: np.random.Generator, gap: int = 0) -> CodedDocuments:
    """Random codes of documents, with a gap before each."""
    sizes = np.array([gap + stride * length for length in lengths], dtype=np.int64)
    starts = np.cumsum(sizes) - sizes + gap
    codes = generator.integers(0, 256, int(sizes.sum()), dtype=np.uint8)
    return CodedDocuments(codes, starts, np.cumsum([0, *lengths], dtype=np.int64))


def normal(generator: np.random.Generator, *shape: int) -> np.ndarray:
    return generator.standard_normal(shape).astype(np.float32)


def rounded_bases(generator: np.random.Generator, rows: int, tile: int) -> RoundedProducts:
    numbers = generator.integers(-32_768, 32_768, (rows, tile)).astype(np.int16)
    return RoundedProducts(numbers, generator.uniform(1e-5, 2e-4, tile).astype(np.float32))


def in_floats(bases: Bases) -> np.ndarray:
    return bases.numbers * bases.units if isinstance(bases, RoundedProducts) else bases


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
    rounded=st.booleans(),
    tile=st.sampled_from(TILES),
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
    rounded: bool,
    tile: int,
    seed: int,
) -> None:
    generator, kernel = np.random.default_rng(seed), with_tables(kernel, exact)
    terms = TokenTerms(coded(lengths, max(width + more, 1), generator, gap=more), max(width + more, 1), more)
    tokens = int(terms.documents.offsets[-1])
    products = normal(generator, width, ENTRIES, tile)
    if extras:
        id_bytes, factor_bits = min(more, 2), 3 if more else 0
        factors = generator.uniform(0.5, 2, 1 << factor_bits).astype(np.float32) if more else None
        scales = generator.uniform(0.5, 2, tokens).astype(np.float32)
        rows = 1 << (8 * id_bytes - factor_bits)
        terms = terms._replace(id_bytes=id_bytes, factor_bits=factor_bits, factors=factors, scales=scales)
    table = products_of(kernel, products)
    bases = rounded_bases(generator, rows, tile) if rounded else normal(generator, rows, tile)
    scores = maxsim(kernel, table, bases, terms)
    close(scores, reference.maxsim(table, in_floats(bases), terms), width * LANES)
    unrounded = Table(products, np.arange(width), *np.zeros((2, tile), np.float32))
    exactly = reference.maxsim(unrounded, in_floats(bases), terms)
    # A maximum moves at most as far as what it is taken from, and factors and scales are at most 2 each.
    bound = (4 if extras else 1) * float(table.largest_error().sum())
    assert (bound == 0) == (exact or width == 0)
    close(scores.clip(exactly - bound, exactly + bound), scores, width * LANES)


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
    kernel, documents = with_tables(kernel, exact), coded(lengths, len(widths), generator)
    query, entries = normal(generator, tokens, active), normal(generator, ENTRIES, active)
    scores, bound = np.zeros(len(lengths), dtype=np.float32), 0.0
    for tile, lanes in tiles(query):
        table = table_of_entries(kernel, entries.T, bytes_of, tile)
        bound += float(table.largest_error().sum())
        # What stands in the lanes behind the last token does not count.
        bases = np.where(np.arange(len(tile)) < lanes, 0, 9)[None]
        scores += maxsim(kernel, table, bases, TokenTerms(documents, len(widths)), lanes=lanes)
    columns = np.repeat(np.arange(len(widths)), bytes_of)
    codes = documents.codes.reshape(-1, len(widths))
    decoded = entries[codes[:, columns], np.arange(active)]
    for i, (start, stop) in enumerate(zip(documents.offsets[:-1], documents.offsets[1:], strict=True)):
        if start == stop:
            assert scores[i] == -np.inf
        else:
            expected = (query @ decoded[start:stop].T).max(axis=1).sum()
            assert abs(scores[i] - expected) <= bound + 1e-5 * tokens * max(active, 1) * 4


@pytest.mark.parametrize("falling", [True, False])
def test_products_and_rounded_tables_are_those_of_numpy(kernel: Kernel, falling: bool) -> None:
    """Bytes keep their order where the first ones are the largest."""
    generator = np.random.default_rng(0)
    widths = np.array([3, 0, 1, 20, 2, 8] * 4)
    if falling:
        widths = np.sort(widths)[::-1].copy()
    entries, turned = normal(generator, ENTRIES, 136), normal(generator, LANES, 136)
    exact = table_of_entries(kernel, entries.T, widths, turned)
    expected = reference.products(entries, widths, turned)
    np.testing.assert_allclose(exact.entries, expected, atol=1e-5)
    assert not exact.largest_error().any()
    rounded = table_of_entries(with_tables(kernel, False), entries.T, widths, turned)
    plain = reference.rounded_table(expected, *reference.ranges_of(entries, widths, turned))
    np.testing.assert_array_equal(rounded.order, plain.order)
    assert (rounded.order == np.arange(len(widths))).all() == falling
    np.testing.assert_allclose(rounded.steps, plain.steps, rtol=1e-5)
    np.testing.assert_allclose(rounded.shifts, plain.shifts, atol=1e-4)
    units = (reference.entries_of(rounded) - reference.entries_of(plain)) / plain.steps
    # 16 bits are as fine as the rounding of the float32 products.
    assert np.abs(units).max() <= 1.5
    assert (reference.entries_of(rounded) / rounded.steps).max(axis=1).sum(axis=0).max() <= 65_535.5


@pytest.mark.parametrize("width", [1, 7, 300])
@pytest.mark.parametrize("size", [0.0, 1e-24, 1e-20, 1.0, 1e20])
@pytest.mark.parametrize("last", [1, 10])
def test_rounded_sums_stay_within_their_bound(kernel: Kernel, width: int, size: float, last: int) -> None:
    generator, kernel = np.random.default_rng(width), with_tables(kernel, False)
    products = normal(generator, width, ENTRIES, LANES) * np.float32(size)
    products[-1] *= last
    table = products_of(kernel, products)
    assert width < 300 or size == 0 or (table.order[75] == 75) == (last == 1)
    codes = np.concatenate(
        [products[:, :, 0].argmax(axis=1), products[:, :, 0].argmin(axis=1), np.arange(width) % ENTRIES]
    ).astype(np.uint8)
    terms = TokenTerms(CodedDocuments(codes, np.arange(3) * width, np.arange(4)), width)
    scores = maxsim(kernel, table, np.zeros((1, LANES), np.float32), terms)
    sums_of = products.astype(np.float64)[np.arange(width), codes.reshape(3, width)].sum(axis=1)
    bound = table.largest_error().astype(np.float64).sum()
    # The highest and the lowest sum there can be are among them: neither leaves 16 bits.
    assert (np.abs(scores - sums_of.sum(axis=1)) <= bound * 1.001 + 1e-5 * width * LANES * size).all()


def test_products_far_from_zero_stay_in_their_lane(kernel: Kernel) -> None:
    """Products whose differences are as small as the rounding of float32."""
    products = np.full((5, ENTRIES, LANES), 1e6, dtype=np.float32)
    products[:, ::2, ::2] += np.float32(0.125)
    table = products_of(with_tables(kernel, False), products)
    entries = reference.entries_of(table)
    assert (entries / table.steps).max(axis=1).sum(axis=0).max() <= 65_535.5
    differences = entries[:, ::2, ::2] - entries[:, 1::2, ::2]
    np.testing.assert_allclose(differences, 0.125, atol=2.1 * float(table.steps.max()))


@several
@given(
    count=st.integers(0, 9),
    dim=st.integers(1, 70),
    tile=st.sampled_from(TILES),
    seed=st.integers(0, 99),
)
def test_products_of_rounded_rows_stay_within_their_bound(
    kernel: Kernel, count: int, dim: int, tile: int, seed: int
) -> None:
    generator = np.random.default_rng(seed)
    rows, query = normal(generator, count, dim), normal(generator, tile, dim)
    rows[: count // 3] = 0
    query[:2] = 0
    rounded = RoundedRows(rows)
    kernel = with_tables(kernel, False)
    expected = rows @ query.T
    products = in_floats(rounded.products(kernel, query))
    assert (np.abs(products - expected) <= rounded.largest_error(query) + 1e-4).all()
    if rounds_rows(kernel):
        in_float32 = rounded.products_in_float32(kernel, query)
        assert in_float32.dtype == np.float32
        # All but the rounding to 16 bits is the same.
        assert (np.abs(in_float32 - expected) <= rounded.largest_error(query) + 1e-4).all()
        units = np.linalg.norm(query, axis=1) * rounded.longest / 32_766
        assert (np.abs(in_float32 - products) <= 0.6 * units + 1e-6).all()
    unrounded = rounded.products(with_tables(kernel, True), query)
    np.testing.assert_allclose(in_floats(unrounded), expected, atol=1e-4)
    assert rounds_rows(kernel) == kernel.eight_bits
    if count == 9 and dim > 1 and rounds_rows(kernel):
        assert np.abs(products - expected).max() > 1e-4


@pytest.mark.parametrize("longer", [10, 1000])
def test_one_long_row_does_not_take_the_bits_of_the_others(kernel: Kernel, longer: int) -> None:
    generator, kernel = np.random.default_rng(0), with_tables(kernel, False)
    rows, query = normal(generator, 9, 20), normal(generator, 8, 20)
    rows[4] *= longer
    products = RoundedRows(rows).products(kernel, query)
    assert isinstance(products, RoundedProducts) == (longer == 10 and rounds_rows(kernel))
    np.testing.assert_allclose(np.delete(in_floats(products) - rows @ query.T, 4, axis=0), 0, atol=0.2)


def test_products_of_the_last_query_are_kept(kernel: Kernel) -> None:
    generator, exact, kernel = np.random.default_rng(0), kernel, with_tables(kernel, False)
    rows, query = RoundedRows(normal(generator, 9, 20)), normal(generator, 8, 20)
    first = rows.products(kernel, query)
    assert rows.products(kernel, query.copy()) is first
    assert (rows.products(exact, query) is first) == (not kernel.eight_bits)
    query[3] *= 2
    for other in (query, query[[0] * 16], -query):
        products = in_floats(rows.products(kernel, other))
        np.testing.assert_array_equal(products, in_floats(RoundedRows(rows.exact).products(kernel, other)))


@pytest.mark.parametrize("tile", TILES)
@pytest.mark.parametrize("size", [1e-25, 1.0, 1e15])
def test_products_of_rounded_rows_fill_16_bits(kernel: Kernel, tile: int, size: float) -> None:
    """Whole numbers up to 127 keep their products, but for what 16 bits round away."""
    generator, kernel = np.random.default_rng(tile), with_tables(kernel, False)
    numbers = generator.integers(-127, 128, (50, 30)).astype(np.float32)
    numbers[:, 0] = 127
    lengths = np.linalg.norm(numbers, axis=1)
    # The longest row times itself, and times its opposite, are the largest products that there can be.
    query = numbers[np.argsort(-lengths)[:tile]]
    query[1] = -query[0]
    products = RoundedRows(numbers * np.float32(size)).products(kernel, query)
    expected = numbers @ query.T * np.float32(size)
    units = np.linalg.norm(query, axis=1) * lengths.max() * np.float32(size) / 32_766
    errors = np.abs(in_floats(products) - expected) / units
    assert errors.max() <= 0.51
    assert (errors.max() > 0.4) == rounds_rows(kernel)
    if isinstance(products, RoundedProducts):
        assert products.numbers.max() == 32_766 == -products.numbers.min()


@several
@given(
    lengths=st.lists(st.integers(0, 40), max_size=5),
    widths=st.lists(st.integers(0, 12), min_size=8, max_size=8),
    exact=st.booleans(),
    rounded=st.booleans(),
    tile=st.sampled_from(TILES),
    seed=st.integers(0, 99),
)
def test_predictive_codes_score_as_in_numpy(
    kernel: Kernel, lengths: list[int], widths: list[int], exact: bool, rounded: bool, tile: int, seed: int
) -> None:
    kernel, generator = with_tables(kernel, exact), np.random.default_rng(seed)
    classes, query, bases, *others = predictive(lengths, widths, generator, tile)
    if rounded:
        bases = rounded_bases(generator, len(bases), tile)
    # Directions that are dimensions are exact: sums in another order could be rounded to other entries.
    directions = generator.permutation(np.eye(query.shape[1], dtype=np.float32))
    turned = query @ directions.T
    tables = [table_of_entries(kernel, entries, own, turned[:, kept]) for entries, own, kept in classes]
    expected = reference.predictive_maxsim(tables, in_floats(bases), *others)
    copied = pickle.loads(pickle.dumps(PredictiveClasses(directions, classes)))
    scores = predictive_maxsim(kernel, copied, query, bases, *others)
    close(scores, expected, LANES * sum(widths))


@pytest.mark.parametrize("tile", TILES)
@pytest.mark.parametrize(("count", "dim"), [(1, 1), (7, 30), (33, 129)])
def test_a_query_is_turned_as_by_a_product_of_matrices(
    kernel: Kernel, tile: int, count: int, dim: int
) -> None:
    generator = np.random.default_rng(0)
    directions, query = normal(generator, count, dim), normal(generator, tile, dim)
    nothing = normal(generator, 0, ENTRIES), np.zeros(0, np.int64), np.zeros(0, np.int64)
    turned = PredictiveClasses(directions, [nothing] * 8).turned(kernel, query)
    np.testing.assert_allclose(turned, directions @ query.T, atol=1e-5 * dim)


def predictive(
    lengths: list[int], widths: list[int], generator: np.random.Generator, tile: int = LANES
) -> Any:
    """Classes and arguments of :func:`predictive_maxsim` for strings of random but consistent codes."""
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
    stops = np.cumsum([len(string) for string in strings], dtype=np.int64)
    codes = np.frombuffer(b"".join(strings), dtype=np.uint8)
    documents = CodedDocuments(codes, stops[:-1], np.cumsum([0, *lengths], dtype=np.int64))
    dim = 2 * max(widths) + 1
    classes = [
        (normal(generator, 2 * width, ENTRIES), np.full(width, 2), generator.permutation(dim)[: 2 * width])
        for width in widths
    ]
    gains, factors = generator.uniform(0, 0.9, 16), generator.uniform(0.8, 1.2, 32)
    query, bases = normal(generator, tile, dim), normal(generator, centroids, tile)
    return classes, query, bases, gains.astype(np.float32), factors.astype(np.float32), documents


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
@given(st.lists(st.binary(max_size=200), max_size=8))
def test_base85_is_that_of_python(kernel: Kernel, strings: list[bytes]) -> None:
    texts = [base64.b85encode(string).decode() for string in strings]
    assert list(decode_by(kernel, texts)) == strings
    characters = ByteStrings.of([text.encode() for text in texts])
    assert list(decode_by(kernel, characters)) == strings
    assert list(decode_by(kernel, characters[::2])) == strings[::2]
    assert list(decode_by(kernel, characters[::-1])) == strings[::-1]


def test_a_text_of_a_negative_length_is_refused(kernel: Kernel) -> None:
    texts = ByteStrings(np.zeros(9, np.uint8), np.array([5, 0]), np.array([-5, 5]))
    with pytest.raises(ValueError):
        decode_by(kernel, texts)


@pytest.mark.parametrize("before", [0, 5, 120])
@pytest.mark.parametrize(
    "text",
    ["a", "~~~~~", "00000,", '"0000', "0000\xff", "00000~~~~", "\0\0", "é000", "|NsC1", "\u20ac", "\ud800"],
)
def test_what_is_not_base85_is_refused(kernel: Kernel, text: str, before: int) -> None:
    """At the begin, and at each place of a text that is long enough for groups to be decoded together."""
    for after in (0, 200):
        wrong = "0" * before + text + "0" * (after - after * (len(text) % 5 > 0))
        with pytest.raises(ValueError):
            decode_by(kernel, ["00000", wrong])


def test_the_largest_group_is_base85(kernel: Kernel) -> None:
    texts = ["|NsC0", "|NsC0" * 50]
    assert list(decode_by(kernel, texts)) == [b"\xff" * 4, b"\xff" * 200]


@pytest.mark.parametrize("value", [None, 3, b"00000"])
def test_texts_that_are_none_are_refused(kernel: Kernel, value: Any) -> None:
    with pytest.raises(TypeError):
        decode_by(kernel, ["00000", value])


@pytest.mark.parametrize("threads", [2, 3, 9])
@pytest.mark.parametrize("block", [lookups.BLOCK_TOKENS, 8])
def test_threads_and_blocks_change_nothing(
    kernel: Kernel, threads: int, block: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    generator = np.random.default_rng(0)
    lengths = [5, 0, 0, 90, 1, 7, 3, 3]
    terms = TokenTerms(coded(lengths, 6, generator), 6)
    table, bases = products_of(kernel, normal(generator, 6, ENTRIES, LANES)), normal(generator, 1, LANES)
    alone = maxsim(kernel, table, bases, terms, threads=1)
    np.testing.assert_array_equal(maxsim(kernel, table, bases, terms, threads=threads), alone)
    classes, query, *arguments = predictive(lengths, [3, 1, 0, 2, 4, 6, 8, 9], generator)
    directions = normal(generator, query.shape[1], query.shape[1])
    arguments, kernel = (
        [PredictiveClasses(directions, classes), query, *arguments],
        with_tables(kernel, False),
    )
    alone = predictive_maxsim(kernel, *arguments, threads=1)
    monkeypatch.setattr(lookups, "BLOCK_TOKENS", block)
    np.testing.assert_array_equal(predictive_maxsim(kernel, *arguments, threads=threads), alone)
    # The first wrong document is named, whichever thread meets it.
    ids = TokenTerms(coded(lengths, 6, generator), 6, 1, 1)
    ids.documents.codes[::6] = np.arange(109) // 5
    with pytest.raises(InvalidArgumentError, match=r"codes\[3\]"):
        maxsim(kernel, products_of(kernel, normal(generator, 5, ENTRIES, LANES)), bases, ids, threads=threads)


def moved(name: str, change: Callable[[Any], Any]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    """Arguments in which an array of the documents is another."""

    def arguments(right: dict[str, Any]) -> dict[str, Any]:
        documents = right["terms"].documents
        changed = documents._replace(**{name: change(getattr(documents, name))})
        return {"terms": right["terms"]._replace(documents=changed)}

    return arguments


def terms_with(**fields: Any) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda right: {"terms": right["terms"]._replace(**fields)}


def table_with(name: str, change: Callable[[Any], Any]) -> Callable[[dict[str, Any]], dict[str, Any]]:
    return lambda right: {"table": right["table"]._replace(**{name: change(getattr(right["table"], name))})}


WRONG: dict[str, Callable[[dict[str, Any]], dict[str, Any]]] = {
    "codes that end too early": moved("codes", lambda codes: codes[:-1]),
    "a start before the codes": moved("starts", lambda starts: starts - 1),
    "a start behind the codes": moved("starts", lambda _: np.array([0, 21, 1 << 62], dtype=np.int64)),
    "more tokens than bytes": moved("offsets", lambda _: np.array([0, 3, 1 << 61, 1 << 62], dtype=np.int64)),
    "falling offsets": moved("offsets", lambda _: np.array([0, 4, 3, 5])),
    "offsets of fewer documents": moved("offsets", lambda _: np.array([0, 3, 5])),
    "offsets that begin later": moved("offsets", lambda _: np.array([1, 3, 3, 5])),
    "codes of another type": moved("codes", lambda codes: codes.astype(np.int8)),
    "a stride shorter than a code": terms_with(stride=6),
    "a stride of zero": terms_with(stride=0),
    "lookups that begin before the token": terms_with(first=-1, id_bytes=0),
    "lookups that begin in the id": terms_with(first=0),
    "lookups that end behind the token": terms_with(first=2),
    "an id beyond the bases": moved(
        "codes", lambda codes: np.where(np.arange(35) == 7, 2, codes).astype(np.uint8)
    ),
    "an id of three bytes": terms_with(id_bytes=3, first=3),
    "a factor without bits": terms_with(factor_bits=9),
    "too few factors": terms_with(factor_bits=7, factors=np.ones(64, dtype=np.float32)),
    "no bases": lambda right: {"bases": np.zeros((0, LANES), dtype=np.float32)},
    "narrow bases": lambda right: {"bases": np.zeros((2, LANES - 1), dtype=np.float32)},
    "narrow rounded bases": lambda right: {
        "bases": RoundedProducts(np.zeros((2, LANES - 1), np.int16), np.ones(LANES, np.float32))
    },
    "too few units": lambda right: {
        "bases": RoundedProducts(np.zeros((2, LANES), np.int16), np.ones(LANES - 1, np.float32))
    },
    "more lanes than there are": lambda right: {"lanes": LANES + 1},
    "factors without ids": terms_with(id_bytes=0, factors=np.ones(1, dtype=np.float32)),
    "too few scales": terms_with(scales=np.ones(4, dtype=np.float32)),
    "a table of fewer entries": table_with("entries", lambda entries: entries[:-1]),
    "a table of another type": table_with("entries", lambda entries: entries.astype(np.int8)),
    "an order beyond the code": table_with("order", lambda order: order + 1),
    "a negative order": table_with("order", lambda order: order - 1),
    "an order of another type": table_with("order", lambda order: order.astype(np.int32)),
    "too few steps": table_with("steps", lambda steps: steps[:-1]),
}


@pytest.mark.parametrize("exact", [True, False])
@pytest.mark.parametrize("wrong", WRONG)
def test_what_does_not_fit_is_refused_before_the_kernel_runs(kernel: Kernel, wrong: str, exact: bool) -> None:
    generator, kernel = np.random.default_rng(0), with_tables(kernel, exact)
    right: dict[str, Any] = {
        "table": products_of(kernel, normal(generator, 6, ENTRIES, LANES)),
        "bases": normal(generator, 2, LANES),
        "terms": TokenTerms(coded([3, 0, 2], 7, generator), 7, 1, 1),
    }
    right["terms"].documents.codes[::7] %= 2
    assert np.isfinite(maxsim(kernel, **right)[[0, 2]]).all()
    with pytest.raises(InvalidArgumentError):
        maxsim(kernel, **{**right, **WRONG[wrong](right)})


@pytest.mark.parametrize(
    ("width", "id_bytes", "factor_bits"), [(0, 1, 0), (0, 2, 0), (0, 2, 4), (3, 2, 4), (20, 2, 4)]
)
def test_ids_beyond_rounded_bases_are_refused(
    kernel: Kernel, width: int, id_bytes: int, factor_bits: int
) -> None:
    generator, kernel = np.random.default_rng(0), with_tables(kernel, False)
    factors = np.ones(1 << factor_bits, np.float32) if factor_bits else None
    documents = coded([3, 0, 2], id_bytes + width, generator)
    terms = TokenTerms(documents, id_bytes + width, id_bytes, id_bytes, factor_bits, factors)
    last = (1 << (8 * id_bytes - factor_bits)) - 1
    documents.codes[(id_bytes + width) * 4 :][:id_bytes] = 255
    table = products_of(kernel, normal(generator, width, ENTRIES, LANES))
    bases = rounded_bases(generator, last + 1, LANES)
    assert np.isfinite(maxsim(kernel, table, bases, terms)[[0, 2]]).all()
    with pytest.raises(InvalidArgumentError, match=r"codes\[2\]"):
        maxsim(kernel, table, bases._replace(numbers=bases.numbers[:last]), terms)


def test_tables_that_do_not_fit_are_refused(kernel: Kernel) -> None:
    entries, turned = np.zeros((4, ENTRIES), np.float32), np.zeros((LANES, 4), np.float32)
    for widths in ([5], [-1, 5], [2, 1]):
        with pytest.raises(InvalidArgumentError):
            table_of_entries(kernel, entries, np.array(widths), turned)
    with pytest.raises(InvalidArgumentError):
        table_of_entries(kernel, entries[:, :9], np.array([4]), turned)
    with pytest.raises(InvalidArgumentError):
        table_of_entries(kernel, entries, np.array([4]), turned[1:])
    with pytest.raises(InvalidArgumentError):
        table_of_entries(with_tables(kernel, False), entries[:0], np.zeros(LARGEST_WIDTH + 1), turned[:, :0])
    generator = np.random.default_rng(0)
    table = products_of(with_tables(kernel, False), normal(generator, 20, ENTRIES, LANES))
    terms = TokenTerms(coded([2], 20, generator), 20)
    for order in (
        table.order[::-1].copy(),
        table.order[[1, 0, *range(2, 20)]],
        table.order[[*range(19), 18]],
    ):
        with pytest.raises(InvalidArgumentError, match="order"):
            maxsim(kernel, table._replace(order=order), np.zeros((1, LANES), np.float32), terms)
    classes, query, *others = predictive([3, 5], [1, 2, 0, 1, 1, 1, 1, 1], generator)
    dim = query.shape[1]
    directions = normal(generator, dim, dim)
    entries, own, kept = classes[-1]
    for name, wrong in (
        ("entries", (entries[1:], own, kept)),
        ("entries", (entries, own + 1, kept)),
        ("kept", (entries, own, kept[1:])),
        ("kept", (entries, own, kept + dim)),
        ("kept", (entries, own, kept - dim)),
    ):
        with pytest.raises(InvalidArgumentError, match=name):
            PredictiveClasses(directions, [*classes[:-1], wrong])
    with pytest.raises(InvalidArgumentError, match="classes"):
        PredictiveClasses(directions, classes[:-1])
    for wrong_query in (query[1:], query[:, 1:], query[0]):
        with pytest.raises(InvalidArgumentError, match="query"):
            predictive_maxsim(kernel, PredictiveClasses(directions, classes), wrong_query, *others)
    with pytest.raises(InvalidArgumentError, match="bases"):
        predictive_maxsim(kernel, PredictiveClasses(directions, classes), query[: TILES[0]], *others)


@several
@given(
    lengths=st.lists(st.integers(0, 9), min_size=1, max_size=4),
    place=st.integers(0, 400),
    value=st.integers(0, 255),
    seed=st.integers(0, 99),
)
def test_strings_of_predictive_codes_are_checked_as_in_numpy(
    kernel: Kernel, lengths: list[int], place: int, value: int, seed: int
) -> None:
    """A byte of one string is another one, or its last one is missing."""
    generator, widths = np.random.default_rng(seed), [2, 0, 1, 3, 1, 5, 1, 1]
    *_, documents = predictive(lengths, widths, generator)
    ends = np.append(documents.starts[1:], len(documents.codes))
    counts = [length.to_bytes(4, "little") for length in lengths]
    spans = zip(documents.starts.tolist(), ends.tolist(), strict=True)
    strings = [count + documents.codes[a:b].tobytes() for count, (a, b) in zip(counts, spans, strict=True)]
    changed = bytearray(strings[-1])
    if place < len(changed):
        changed[place] = value
    else:
        changed = changed[:-1]
    strings[-1] = bytes(changed)
    sizes = np.array(widths)
    try:
        parsed(strings, slice(0, len(strings)), sizes, 9)
    except InvalidArgumentError as error:
        with pytest.raises(InvalidArgumentError) as raised:
            checked(kernel, strings, sizes, 9)
        assert str(raised.value) == str(error)
    else:
        assert checked(kernel, strings, sizes, 9).offsets.tolist() == np.cumsum([0, *lengths]).tolist()


def test_strings_outside_of_their_buffer_are_refused(kernel: Kernel) -> None:
    data, offsets, widths = np.zeros(8, dtype=np.uint8), np.array([0, 1]), np.zeros(8, dtype=np.int64)
    for start, length in ((0, 9), (-1, 4), (4, -1), (1 << 62, 1 << 62)):
        strings = ByteStrings(data, np.array([start]), np.array([length]))
        with pytest.raises(InvalidArgumentError):
            check_predictive(kernel, strings, offsets, widths, 9)
    whole = ByteStrings(data, np.array([0]), np.array([8]))
    assert check_predictive(kernel, whole, offsets, widths, 9) == -1
    assert check_predictive(kernel, whole, np.array([0, 1 << 61]), widths, 9) == 0
    with pytest.raises(InvalidArgumentError):
        check_predictive(kernel, whole, offsets[:1], widths, 9)
    with pytest.raises(InvalidArgumentError):
        check_predictive(kernel, whole, offsets, widths[1:], 9)


WRONG_HEADERS = {
    "a centroid that does not exist": (1, [9, 0, 0, 0, 0]),
    "a reference before the first token": (0, [0, 1, 0, 0, 0]),
    "a reference one token too far": (2, [0, 3, 0, 0, 0]),
    "a class of longer codes": (2, [0, 0, 0, 1, 0]),
}


@pytest.mark.parametrize("wrong", WRONG_HEADERS)
def test_headers_that_lie_are_refused(kernel: Kernel, wrong: str) -> None:
    widths, bits = np.array([1, 3, 0, 0, 0, 0, 0, 0]), [12, 8, 4, 3, 5]
    # The last centroid and the first token are within reach.
    fields = np.array([[8, 0, 0, 0, 0], [8, 1, 0, 0, 0], [8, 2, 0, 0, 0]])

    def string(fields: np.ndarray) -> bytes:
        return (3).to_bytes(4, "little") + pack(fields, bits).tobytes() + bytes(3)

    right = string(fields)
    assert checked(kernel, [right, right], widths, 9).offsets.tolist() == [0, 3, 6]
    token, header = WRONG_HEADERS[wrong]
    fields[token] = header
    for broken in (string(fields), right[:-1], right + b"\0"):
        with pytest.raises(InvalidArgumentError, match=r"codes\[1\]"):
            checked(kernel, [right, broken], widths, 9)
