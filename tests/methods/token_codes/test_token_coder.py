from __future__ import annotations

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from embplug.errors import InvalidArgumentError, NotFittedError
from embplug.methods import (
    AdaptiveQuantizer,
    BinaryQuantizer,
    BitAllocationQuantizer,
    CentroidQuantizer,
    PredictiveQuantizer,
    ResidualQuantizer,
)
from embplug.methods.maxsim import maxsim
from embplug.methods.roles import TokenCodes
from embplug.methods.token_batch import TokenBatch
from embplug.methods.token_codes import token_coder
from embplug.methods.token_codes.token_coder import TokenCoder


def documents(seed: int = 0, count: int = 30, dim: int = 12) -> TokenBatch:
    generator = np.random.default_rng(seed)
    topics = generator.normal(size=(count, 1, dim))
    matrices = [
        topics[i] + generator.normal(size=(int(generator.integers(1, 20)), dim)) for i in range(count)
    ]
    return TokenBatch.from_list([m / np.linalg.norm(m, axis=1, keepdims=True) for m in matrices])


@pytest.mark.usefixtures("exact_tables")
@pytest.mark.parametrize("document_bytes", [0, 4])
def test_scores_are_maxsim_of_what_the_strings_decode_to(document_bytes: int) -> None:
    tokens = documents()
    coder = TokenCoder(ResidualQuantizer(size=4, centroids=8), document_bytes).fit(tokens)
    strings = coder.encode(tokens)
    assert [len(s) for s in strings] == (document_bytes + 4 * tokens.lengths).tolist()
    query = documents(1)[3]
    np.testing.assert_allclose(coder.score(query, strings), maxsim(query, coder.decode(strings)), atol=1e-4)


def test_the_correction_brings_scores_closer() -> None:
    tokens, query = documents(count=200), documents(1)[3]
    exact = maxsim(query, tokens)
    errors = []
    for document_bytes in (0, 8):
        coder = TokenCoder(CentroidQuantizer(count=16), document_bytes).fit(tokens)
        errors.append((coder.score(query, coder.encode(tokens)) - exact).std())
    assert errors[1] < errors[0]


def test_a_restored_coder_scores_alike() -> None:
    tokens = documents()
    coder = TokenCoder(ResidualQuantizer(size=4, centroids=8), 4).fit(tokens)
    restored = TokenCoder(ResidualQuantizer(size=4, centroids=8), 4)
    restored.set_state(coder.get_state())
    assert restored.encode(tokens) == coder.encode(tokens)
    np.testing.assert_array_equal(
        restored.score(tokens[0], coder.encode(tokens)), coder.score(tokens[0], coder.encode(tokens))
    )


@pytest.fixture
def for_few_tokens(monkeypatch: pytest.MonkeyPatch) -> None:
    """Short codes for the small documents of a test."""
    monkeypatch.setattr(token_coder, "SHORTLIST_TOKENS", 0)


@pytest.mark.usefixtures("for_few_tokens")
@pytest.mark.parametrize("codes", [PredictiveQuantizer(size=9, centroids=64), None])
def test_short_codes_are_the_centroids_of_the_codes_with_a_correction(
    codes: PredictiveQuantizer | None,
) -> None:
    tokens, query = documents(count=200), documents(1)[3]
    quantizer = codes or AdaptiveQuantizer(size=40, state_share=1.0)
    tokens = tokens if codes else documents(count=400)
    coder = TokenCoder(quantizer, 4, shortlist_bytes=6).fit(tokens)
    short = coder.shortlist
    assert short is not None
    strings = short.encode(tokens)
    each = 1 if codes else 2
    assert [len(string) for string in strings] == (6 + each * tokens.lengths).tolist()
    assert short.sizes(tokens).tolist() == (6 + each * tokens.lengths).tolist()
    chosen = quantizer if codes else quantizer.chosen_
    assert short.quantizer.centroids_ is chosen.fitted_.centroids
    exact = maxsim(query, tokens)
    off = short.score(query, strings) - exact
    assert off.std() < exact.std() / 2
    assert np.abs(coder.score(query, coder.encode(tokens)) - exact).mean() < np.abs(off).mean()


@pytest.mark.usefixtures("for_few_tokens")
def test_short_codes_come_back_with_the_state() -> None:
    tokens = documents(count=100)

    def coder() -> TokenCoder:
        return TokenCoder(PredictiveQuantizer(size=9, centroids=64), 4, shortlist_bytes=6)

    fitted, restored = coder().fit(tokens), coder()
    restored.set_state(fitted.get_state())
    assert fitted.shortlist is not None and restored.shortlist is not None
    assert restored.shortlist.encode(tokens) == fitted.shortlist.encode(tokens)
    # The centroids are stored once.
    own = {name for name in fitted.get_state() if name.startswith("shortlist.")}
    assert own and not any("centroids" in name for name in own)
    # A collection of before has none, whatever its recipe says today.
    before = coder()
    before.set_state({name: array for name, array in fitted.get_state().items() if name not in own})
    assert before.shortlist is None and before.encode(tokens) == fitted.encode(tokens)


@pytest.mark.usefixtures("for_few_tokens")
def test_codes_without_centroids_have_no_short_codes() -> None:
    tokens = documents()
    coder = TokenCoder(BitAllocationQuantizer(size=3), 4, shortlist_bytes=6).fit(tokens)
    assert coder.shortlist is None
    assert TokenCoder(PredictiveQuantizer(size=9, centroids=8), 4).fit(tokens).shortlist is None


CODERS = {
    (kind.kind, document_bytes): TokenCoder(kind, document_bytes).fit(documents())
    for document_bytes in (0, 3)
    for kind in (
        ResidualQuantizer(size=4, centroids=8),
        BinaryQuantizer(),
        CentroidQuantizer(count=8),
        BitAllocationQuantizer(size=3),
        PredictiveQuantizer(size=9, centroids=8),
    )
}


@pytest.mark.usefixtures("exact_tables")
@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    st.sampled_from(sorted(CODERS)),
    st.lists(st.integers(0, 7), min_size=1, max_size=9),
    st.integers(1, 5),
    st.integers(0, 99),
)
def test_strings_stand_for_their_documents_in_any_company(
    key: tuple[str, int], lengths: list[int], query_length: int, seed: int
) -> None:
    coder, generator = CODERS[key], np.random.default_rng(seed)
    matrices = [generator.normal(size=(count, 12)).astype(np.float32) for count in lengths]
    tokens, query = (
        TokenBatch.from_list(matrices, 12),
        generator.normal(size=(query_length, 12)).astype(np.float32),
    )
    strings = coder.encode(tokens)
    sizes = [len(string) for string in strings]
    assert (sizes <= coder.sizes(tokens)).all()
    assert sizes == coder.sizes(tokens).tolist() or key[0] == "predictive"
    assert [coder.encode(tokens[i : i + 1])[0] for i in range(len(tokens))] == strings
    scores = coder.score(query, strings)
    decoded = coder.decode(strings)
    assert decoded.lengths.tolist() == lengths
    slow = [
        sum(max(float(q @ token) for token in document) for q in query) if len(document) else -np.inf
        for document in decoded
    ]
    np.testing.assert_allclose(scores, slow, atol=1e-3)
    order = generator.permutation(len(strings))
    np.testing.assert_allclose(coder.score(query, [strings[i] for i in order]), scores[order], rtol=1e-5)
    # A query's tokens add up one by one.
    alone = [coder.score(query[i : i + 1], strings) for i in range(query_length)]
    np.testing.assert_allclose(np.sum(alone, axis=0), scores, atol=1e-3)


def test_strings_of_other_codes_are_refused() -> None:
    tokens = documents()
    coder = TokenCoder(ResidualQuantizer(size=4, centroids=8), 4).fit(tokens)
    with pytest.raises(InvalidArgumentError, match=r"codes\[1\]"):
        coder.score(tokens[0], [bytes(12), bytes(13)])
    with pytest.raises(NotFittedError):
        TokenCoder(ResidualQuantizer(size=4), 4).encode(tokens)


def test_no_documents_and_documents_without_tokens() -> None:
    tokens = TokenBatch.from_list([documents()[0], np.empty((0, 12), np.float32)])
    coder = TokenCoder(CentroidQuantizer(count=2), 4).fit(documents())
    assert coder.score(tokens[0], []).shape == (0,)
    scores = coder.score(tokens[0], coder.encode(tokens))
    assert np.isfinite(scores[0]) and scores[1] == -np.inf


@pytest.mark.parametrize(
    ("codes", "each"),
    [
        (PredictiveQuantizer(centroids=256), 1),
        (PredictiveQuantizer(centroids=257), 2),
        (AdaptiveQuantizer(size=40), 2),
        (AdaptiveQuantizer(size=39), 0),
        (AdaptiveQuantizer(size=40).fit(documents()), 0),
        (BinaryQuantizer().token_codes(), 0),
    ],
    ids=lambda value: type(value).__name__ if not isinstance(value, int) else str(value),
)
def test_bytes_of_a_centroid_are_known_before_a_fit(codes: TokenCodes, each: int) -> None:
    assert codes.centroid_bytes == each
    if codes.fitted and each:
        short = codes.centroid_codes()
        assert short is not None and short.code_bytes == each


def test_documents_of_few_tokens_have_no_short_codes() -> None:
    for tokens, has_short in ((documents(), False), (TokenBatch.from_list([documents().values] * 2), True)):
        coder = TokenCoder(PredictiveQuantizer(size=9, centroids=8), 4, shortlist_bytes=6).fit(tokens)
        assert (coder.shortlist is not None) == has_short


@pytest.mark.parametrize(
    ("factor", "named"),
    [
        (np.nan, r"^tokens\.values\[0\]: expected finite"),
        (1e20, r"^tokens\.values\[0\]: .*at most 1\.126e\+15"),
        (1e6, r"^tokens: .*at most 65,504"),
    ],
)
def test_tokens_that_cannot_be_learned_from_are_named(factor: float, named: str) -> None:
    tokens = documents()
    with pytest.raises(InvalidArgumentError, match=named):
        TokenCoder(ResidualQuantizer(size=4, centroids=8), 4).fit(
            TokenBatch(np.float32(factor) * tokens.values, tokens.offsets)
        )
