"""Codes of tokens that lean on earlier tokens of their document."""

from __future__ import annotations

import itertools
import re
import tracemalloc
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from embplug.collection.archive import pack, unpack
from embplug.errors import (
    DimensionError,
    EmptyTokensError,
    InvalidArgumentError,
    NonFiniteError,
    NotFittedError,
    StateError,
)
from embplug.methods import PredictiveQuantizer, ResidualQuantizer
from embplug.methods.maxsim import maxsim
from embplug.methods.numeric.packing import pack as pack_fields
from embplug.methods.numeric.packing import unpack as unpack_fields
from embplug.methods.token_batch import TokenBatch
from embplug.methods.token_codes import predictive
from embplug.methods.token_codes.predictive_strings import HEADER
from embplug.methods.token_codes.references import find_references
from embplug.methods.token_codes.token_coder import TokenCoder
from tests.reference import scores as reference

DIM = 12


def documents(
    seed: int = 0, count: int = 60, longest: int = 30, words: int = 40, dim: int = DIM
) -> TokenBatch:
    """Documents whose tokens are words in the colour of the document, some of which come again."""
    generator = np.random.default_rng(seed)
    vocabulary = np.random.default_rng(99).normal(size=(words, dim))
    matrices = []
    for _ in range(count):
        colour = generator.normal(size=(words, dim))
        chosen = generator.integers(0, words, int(generator.integers(1, longest)))
        tokens = vocabulary[chosen] + 0.7 * colour[chosen] + 0.05 * generator.normal(size=(len(chosen), dim))
        matrices.append(tokens / np.linalg.norm(tokens, axis=1, keepdims=True))
    return TokenBatch.from_list(matrices).to_float32()


def fitted(**options: Any) -> PredictiveQuantizer:
    return PredictiveQuantizer(**{"size": 9, "centroids": 16, **options}).fit(documents())


def headers(string: bytes) -> Any:
    count = int.from_bytes(string[:4], "little")
    return unpack_fields(np.frombuffer(string[4 : 4 + 4 * count], np.uint8).reshape(-1, 4), HEADER)


def with_field(string: bytes, token: int, field: int, value: int) -> bytes:
    fields = headers(string)
    fields[token, field] = value
    return string[:4] + pack_fields(fields, HEADER).tobytes() + string[4 + 4 * len(fields) :]


def error(codes: Any, tokens: TokenBatch) -> float:
    coder = TokenCoder(codes, 0).fit(tokens)
    return float(np.square(coder.decode(coder.encode(tokens)).values - tokens.values).sum(axis=1).mean())


@pytest.mark.usefixtures("exact_tables")
@pytest.mark.parametrize("levels", ["joint", "scalar"])
def test_scores_are_those_of_plain_loops_over_state_and_bits(levels: str) -> None:
    codes, tokens = fitted(levels=levels), documents(1, 6)
    strings, query = codes.encode(tokens), documents(2)[0][:3]
    state = codes.get_state()
    expected = [
        sum(max(reference.predictive(codes, state, q.tolist(), string)) for q in query) for string in strings
    ]
    np.testing.assert_allclose(codes.maxsim(query, strings), expected, atol=1e-5)
    assert np.ptp(expected) > 0.1
    assert any(headers(string)[:, 1].any() for string in strings)
    decoded = codes.decode(strings)
    assert decoded.lengths.tolist() == tokens.lengths.tolist()
    np.testing.assert_allclose(maxsim(query, decoded), expected, atol=1e-5)


def test_words_that_come_again_cost_half_the_error() -> None:
    tokens = documents(count=200, dim=64)
    ours, theirs = (
        error(kind(size=16, centroids=32), tokens) for kind in (PredictiveQuantizer, ResidualQuantizer)
    )
    assert ours < theirs / 2, (ours, theirs)


def test_bytes_are_those_asked_for_on_average_and_differ_from_token_to_token() -> None:
    tokens = documents(count=300)
    for size in (7, 9, 12):
        codes = PredictiveQuantizer(size=size, centroids=32).fit(tokens)
        strings = codes.encode(tokens)
        mean = (sum(map(len, strings)) - 4 * len(strings)) / len(tokens.values)
        assert mean == pytest.approx(size, abs=0.3)
        assert codes.describe().code_bytes == size
        assert (np.array([*map(len, strings)]) <= codes.sizes(tokens)).all()
    assert (
        len({(len(string) - 4) / count for string, count in zip(strings, tokens.lengths, strict=True)}) > 20
    )
    assert re.search(r"1[12]\.\d on average", codes.describe().notes[0])


def test_documents_that_were_not_learned_from_take_as_many_bytes() -> None:
    # With 64 centroids for 450 tokens these lie far closer to their own tokens than to others.
    codes = PredictiveQuantizer(size=20, centroids=64).fit(documents(count=30, dim=64))
    new = documents(1, 200, dim=64)
    assert sum(map(len, codes.encode(new))) / len(new.values) == pytest.approx(20, rel=0.1)
    assert codes.describe().code_bytes in (19, 20, 21)


def test_what_it_learns_from_is_drawn_at_random_and_no_more_than_it_says(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(predictive, "FIT_TOKENS", 400)
    # Titles of one token and texts take turns, and one text is longer than all that is learned from.
    texts, titles = documents(count=30), documents(7, 30).values[:30]
    matrices = [matrix for i, text in enumerate(texts) for matrix in (titles[i : i + 1], text)]
    tokens = TokenBatch.from_list([documents(5, 100).values[:1000], *matrices])
    for seed in range(4):
        codes = PredictiveQuantizer(size=9, centroids=16, seed=seed).fit(tokens)
        assert codes.get_state()["sampled"] == 400
        decoded = codes.decode(codes.encode(texts))
        assert np.square(decoded.values - texts.values).sum(axis=1).mean() < 0.08


def test_decoded_tokens_have_the_length_that_they_had() -> None:
    tokens = documents(dim=64)
    longer = TokenBatch(
        tokens.values * np.random.default_rng(0).uniform(1, 9, (len(tokens.values), 1)), tokens.offsets
    ).to_float32()
    for batch in (tokens, longer):
        codes = PredictiveQuantizer(size=8, centroids=16).fit(batch)
        lengths = np.linalg.norm(codes.decode(codes.encode(batch)).values, axis=1)
        # Single tokens that are unlike all others may lie beyond the factors of lengths.
        errors = np.abs(lengths / np.linalg.norm(batch.values, axis=1) - 1)
        assert np.quantile(errors, 0.99) < 0.15 and errors.max() < 0.4


def test_what_is_learned_fits_predictions_from_decoded_tokens() -> None:
    """Sizes learned from exact tokens alone would be too small: less is left of those."""
    tokens = documents(count=200, dim=64)
    codes = PredictiveQuantizer(size=8, centroids=16).fit(tokens)
    strings = codes.encode(tokens)
    assert sum(map(len, strings)) / len(tokens.values) == pytest.approx(
        8 + 4 * 200 / len(tokens.values), abs=0.4
    )


@pytest.mark.usefixtures("exact_tables")
def test_queries_of_many_tokens_are_scored_a_few_tokens_at_a_time() -> None:
    codes, tokens = fitted(), documents(1, 5)
    query = np.concatenate([*documents(2)])[:150]
    strings = codes.encode(tokens)
    np.testing.assert_allclose(codes.maxsim(query, strings), maxsim(query, codes.decode(strings)), rtol=1e-4)


def test_references_are_the_earlier_tokens_that_point_most_nearly_the_same_way() -> None:
    generator = np.random.default_rng(0)
    vectors = generator.normal(size=(1400, 6)).astype(np.float32)
    vectors[700] = 0
    offsets = np.array([0, 1, 1, 4, 1390, 1400])
    found = find_references(vectors, offsets)
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True).clip(1e-9)
    for first, stop in itertools.pairwise(offsets):
        for row in range(first, stop):
            earlier = range(max(first, row - 255), row)
            best = max(earlier, key=lambda candidate: float(unit[candidate] @ unit[row]), default=-1)
            if best >= 0 and unit[best] @ unit[row] <= 0:
                best = -1
            assert found[row] == best


@pytest.mark.usefixtures("exact_tables")
def test_long_documents_reach_back_as_far_as_a_byte_can_tell() -> None:
    long = TokenBatch.from_list([documents(3, 400).values[:3000]])
    codes = fitted()
    strings = codes.encode(long)
    back = headers(strings[0])[:, 1].astype(int)
    assert 200 < back.max() <= 255 and (back <= np.arange(3000)).all()
    query = documents(4)[1]
    np.testing.assert_allclose(codes.maxsim(query, strings), maxsim(query, codes.decode(strings)), atol=1e-4)


@pytest.mark.parametrize("size", [6, 9])
def test_it_is_the_same_from_its_file_and_by_its_seed(tmp_path: Path, size: int) -> None:
    # With six bytes a token some classes have none beside their headers.
    codes, restored, tokens = fitted(size=size), PredictiveQuantizer(size=size, centroids=16), documents(1)
    assert (0 in [len(codes.get_state()[f"{k}.widths"]) for k in range(8)]) == (size == 6)
    file = tmp_path / "state.npz"
    file.write_bytes(pack(codes.get_state()))
    restored.set_state(unpack(file.read_bytes()))
    strings, query = codes.encode(tokens), documents(2)[0]
    assert restored.encode(tokens) == strings == fitted(size=size).encode(tokens)
    assert strings != fitted(size=size, seed=1).encode(tokens)
    assert pack(restored.get_state()) == pack(codes.get_state())
    assert restored.maxsim(query, strings).tobytes() == codes.maxsim(query, strings).tobytes()
    assert restored.decode(strings).values.tobytes() == codes.decode(strings).values.tobytes()
    assert restored.describe() == codes.describe() and restored.dim == DIM
    restored.set_state({})
    assert restored.get_state() == {}
    with pytest.raises(StateError, match="borders"):
        restored.set_state({"centroids": codes.get_state()["centroids"]})


@pytest.mark.parametrize(
    "lengths", [[1], [2], [0, 1, 0], [3, 1, 5]], ids=["one", "two", "empty among", "three"]
)
def test_few_tokens_to_learn_from(lengths: list[int]) -> None:
    values = documents().values[: sum(lengths)]
    tokens = TokenBatch(values, np.concatenate([[0], np.cumsum(lengths)]))
    codes = PredictiveQuantizer(size=9, centroids=16).fit(tokens)
    strings = codes.encode(tokens)
    assert codes.decode(strings).lengths.tolist() == lengths
    # Centroids are rounded to half a byte a number, and entries to a byte.
    np.testing.assert_allclose(codes.decode(strings).values, values, atol=0.1)
    scores = codes.maxsim(values, strings)
    assert (
        np.isfinite(scores[np.array(lengths) > 0]).all() and (scores[np.array(lengths) == 0] == -np.inf).all()
    )
    assert "coincide" in " ".join(codes.describe().notes)


def test_duplicates_and_zeros_are_coded_alike() -> None:
    values = np.concatenate([np.repeat(documents().values[:3], 5, axis=0), np.zeros((2, DIM), np.float32)])
    tokens = TokenBatch.from_list([values, values])
    codes = PredictiveQuantizer(size=9, centroids=8).fit(tokens)
    strings = codes.encode(tokens)
    assert strings[0] == strings[1]
    decoded = codes.decode(strings).values
    np.testing.assert_allclose(decoded, tokens.values, atol=0.05)
    assert np.ptp(decoded.reshape(2, 17, DIM), axis=0).max() == 0 and not decoded[15:17].any()


def test_half_precision_is_taken_and_no_queries_are_needed() -> None:
    tokens = documents()
    half = TokenBatch(tokens.values.astype(np.float16), tokens.offsets)
    codes = PredictiveQuantizer(size=9, centroids=16).fit(half)
    assert codes.encode(half) == codes.encode(half.to_float32())
    strings = codes.encode(half)
    assert codes.maxsim(np.empty((0, DIM)), strings).tolist() == [0.0] * len(strings)
    assert codes.maxsim(half[0], []).shape == (0,) and codes.decode([]).lengths.tolist() == []


@pytest.mark.usefixtures("exact_tables")
@pytest.mark.parametrize("kernel", ["", "0"])
@pytest.mark.parametrize("tokens_of_query", [1, 32, 33])
def test_centroids_alone_score_as_ids_and_their_products_say(
    monkeypatch: pytest.MonkeyPatch, kernel: str, tokens_of_query: int
) -> None:
    monkeypatch.setenv("EMBPLUG_KERNEL", kernel)
    codes, tokens = fitted(), documents(1, 6)
    strings = [*codes.encode(tokens), bytes(4)]
    query = np.random.default_rng(2).normal(size=(tokens_of_query, DIM)).astype(np.float32)
    centroids = codes.centroid_codes().decode(np.arange(16, dtype=np.uint8)[:, None])
    expected = [(query @ centroids[headers(string)[:, 0]].T).max(axis=1).sum() for string in strings[:-1]]
    scores = codes.centroid_maxsim(query, strings)
    assert scores[:-1] == pytest.approx(expected, rel=1e-4, abs=1e-3) and scores[-1] == -np.inf
    with pytest.raises(InvalidArgumentError, match=r"codes\[1\].*centroids below 16"):
        codes.centroid_maxsim(query, [strings[0], with_field(strings[1], 0, 0, 16)])
    with pytest.raises(InvalidArgumentError, match=r"codes\[1\].*number of tokens"):
        codes.centroid_maxsim(query, [strings[0], strings[1][:6]])


def test_strings_of_other_codes_are_refused() -> None:
    codes, tokens = fitted(), documents(1, 4)
    good, query = codes.encode(tokens), documents(2)[0]
    last = int(tokens.lengths[1]) - 1
    broken = [
        good[1][:3],
        good[1][:-1],
        good[1] + b"\0",
        b"\xff\xff\0\0" + good[1][4:],
        b"\0\0\0\0" + good[1][4:],
        with_field(good[1], 0, 1, 1),
        with_field(good[1], last, 1, last + 1),
        with_field(good[1], 0, 0, 4000),
    ]
    for string in broken:
        for reads in (lambda strings: codes.maxsim(query, strings), codes.decode):
            with pytest.raises(InvalidArgumentError, match=r"codes\[1\]"):
                reads([good[0], string, good[2]])
    refers = with_field(good[1], last, 1, last + 1)
    with pytest.raises(InvalidArgumentError, match=rf"codes\[1\].*token {last} .* refers {last + 1} back"):
        codes.decode([good[0], refers])
    # In a later block of documents, too.
    many = codes.encode(TokenBatch.from_list([documents(5, 100).values[:1000]] * 17))
    with pytest.raises(InvalidArgumentError, match=r"codes\[18\]"):
        codes.maxsim(query, [*many, good[0], refers])
    with pytest.raises(InvalidArgumentError, match=r"codes\[2\].*at least 8"):
        TokenCoder(PredictiveQuantizer(size=9, centroids=16), 8).fit(tokens).score(
            query, [*good[:2], b"1234567"]
        )


def test_what_cannot_be_is_refused() -> None:
    tokens = documents()
    for options, name in (
        ({"size": 5}, "size"),
        ({"centroids": 4097}, "centroids"),
        ({"levels": 2}, "levels"),
    ):
        with pytest.raises(InvalidArgumentError, match=name):
            PredictiveQuantizer(**options)  # type: ignore[arg-type]
    with pytest.raises(NotFittedError, match="PredictiveQuantizer"):
        PredictiveQuantizer().encode(tokens)
    with pytest.raises(EmptyTokensError, match="tokens"):
        PredictiveQuantizer().fit(tokens[:0])
    codes = fitted()
    with pytest.raises(DimensionError, match="tokens"):
        codes.encode(TokenBatch.from_list([np.ones((3, DIM + 1))]))
    with pytest.raises(DimensionError, match="query"):
        codes.maxsim(np.ones((2, DIM + 1)), codes.encode(tokens))
    spoilt = np.tile(tokens.values, (20, 1))[:18_000]
    for number, error in ((np.nan, NonFiniteError), (1e20, InvalidArgumentError)):
        spoilt[17_000] = number
        for use in (codes.encode, codes.fit):
            with pytest.raises(error, match=r"tokens\.values\[17000\]"):
                use(TokenBatch.from_list([spoilt]))
    with pytest.raises(InvalidArgumentError, match=r"^tokens: .*at most 65,504"):
        PredictiveQuantizer(centroids=8).fit(TokenBatch(1e6 * tokens.values, tokens.offsets))
    for use in (codes.encode, codes.fit):
        with pytest.raises(InvalidArgumentError, match=r"tokens.*TokenBatch.*ndarray"):
            use(tokens.values)  # type: ignore[arg-type]


def test_memory_of_maxsim_grows_by_the_strings_alone() -> None:
    codes, query = fitted(), documents(2)[0]
    strings = codes.encode(TokenBatch.from_list([documents(5).values[:100]]))
    peaks = []
    for count in (700, 1000, 1400):
        codes.maxsim(query, strings * count)
        tracemalloc.start()
        codes.maxsim(query, strings * count)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
    # A block has 2 to 5 MB of sums; all at once would grow by 80 or more bytes a token, beside its string.
    size = len(strings[0])
    assert peaks[-1] < 8e6 + 1400 * size and peaks[2] - peaks[0] < 1e6 + 700 * size


def test_emphasis_loses_less_where_tokens_vary_most():
    rng = np.random.default_rng(0)
    spread = np.linspace(1, 0.1, DIM, dtype=np.float32)
    values = rng.standard_normal((4000, DIM)).astype(np.float32) * spread
    tokens = TokenBatch(values, np.arange(0, 4001, 20))
    lost = {}
    for emphasis in (1, 2):
        codes = PredictiveQuantizer(size=10, centroids=16, levels="scalar", emphasis=emphasis).fit(tokens)
        lost[emphasis] = np.square(codes.decode(codes.encode(tokens)).values - values).mean(axis=0)
    varied, others = slice(0, DIM // 2), slice(DIM // 2, DIM)
    assert lost[2][varied].sum() < 0.8 * lost[1][varied].sum()
    assert lost[1][others].sum() < lost[2][others].sum()
