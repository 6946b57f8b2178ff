from __future__ import annotations

import copy
import tracemalloc
from contextlib import closing
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from qdrant_client import models

from embplug import Collection, connect
from embplug.errors import (
    DimensionError,
    EmptyTokensError,
    InvalidArgumentError,
    LengthMismatchError,
    MissingExtraError,
    NonFiniteError,
    NotFittedError,
    RecipeError,
    StateError,
)
from embplug.methods.encodings import token_regression as module
from embplug.methods.encodings.fde import FDE
from embplug.methods.encodings.learned import DRIFT_LIMIT, LearnedEncoding
from embplug.methods.numeric.balanced import OFFSET
from embplug.methods.token_batch import TokenBatch
from embplug.recipe import Recipe, Rerank, Tokens
from tests.methods.encodings.checks import assert_same_bytes_but_for_rounding, signed_steps
from tests.reference import learned as reference

DIM = 8
SMALL: dict[str, Any] = {
    "stored_dim": 64,
    "features": 48,
    "landmarks": 300,
    "compared": 200,
    "activity": 0.1,
    "steps": 30,
}


def batch(lengths: list[int], seed: int = 0, topics: int = 0, dtype: Any = np.float32) -> TokenBatch:
    """Documents of unit tokens around a few of 30 topics, with a common direction."""
    rng = np.random.default_rng(seed)
    centres = np.random.default_rng(1000 + topics).standard_normal((30, DIM))
    matrices = []
    for length in lengths:
        own = centres[rng.choice(30, 4)]
        tokens = own[rng.integers(0, 4, length)] + 0.4 * rng.standard_normal((length, DIM)) + 0.5
        matrices.append((tokens / np.linalg.norm(tokens, axis=1, keepdims=True)).astype(dtype))
    return TokenBatch.from_list(matrices, dim=DIM)


SAMPLE = batch([12] * 120)


@pytest.fixture(scope="module")
def fitted() -> LearnedEncoding:
    return LearnedEncoding(**SMALL).fit(SAMPLE)


def maxsim(queries: TokenBatch, documents: TokenBatch) -> np.ndarray[Any, Any]:
    return np.array([[sum(reference.best(d, x) for x in q) for d in documents] for q in queries])


def test_scores_are_those_of_the_reference_up_to_a_factor() -> None:
    # A stored dimension for every feature, so that nothing is cut off.
    parameters = {**SMALL, "stored_dim": 57, "compared": 300, "duplicates": 0, "steps": 0, "dtype": "float32"}
    encoding = LearnedEncoding(**parameters).fit(SAMPLE)
    documents, queries = batch([9, 1, 20], seed=1), batch([4, 7, 1], seed=2)
    model = reference.fit(
        encoding._landmarks(SAMPLE, None).astype(np.float64),
        [d.astype(np.float64) for d in SAMPLE],
        encoding.features,
        [min(encoding.activity * factor, 0.5) for factor in module.SPREAD],
        encoding.ridge,
        module.SMOOTHNESS,
    )
    weights = np.linspace(0.5, 2, len(queries.values))
    got = encoding.encode_queries(queries, weights) @ encoding.encode_documents(documents).T
    parts = np.split(weights, queries.offsets[1:-1])
    expected = np.array(
        [[reference.score(model, q, d, w) for d in documents] for q, w in zip(queries, parts, strict=True)]
    )
    factor = (got * expected).sum() / np.square(expected).sum()
    np.testing.assert_allclose(got / factor, expected, atol=0.02 * np.abs(expected).max())


def test_new_documents_are_ranked_as_by_maxsim(fitted: LearnedEncoding) -> None:
    documents, queries = batch([12] * 300, seed=5), batch([5] * 40, seed=6)
    true = maxsim(queries, documents)
    codes = fitted.encode_documents(documents).astype(np.int64)
    scores = fitted.encode_queries(queries).astype(np.int64) @ codes.T
    best, found = np.argsort(-true)[:, :10], np.argsort(-scores)[:, :30]
    recall = np.mean([np.isin(b, f).mean() for b, f in zip(best, found, strict=True)])
    means = np.stack([d.mean(axis=0) for d in documents])
    pooled = np.argsort(-np.stack([q.sum(axis=0) for q in queries]) @ means.T)[:, :30]
    assert recall > np.mean([np.isin(b, f).mean() for b, f in zip(best, pooled, strict=True)])
    assert recall > 0.9


@settings(deadline=None, max_examples=20)
@given(st.lists(st.integers(0, 6), min_size=1, max_size=8), st.randoms())
def test_a_document_is_encoded_alike_in_any_company(lengths: list[int], random: Any) -> None:
    encoding = _shared()
    documents = batch(lengths, seed=3)
    order = list(range(len(lengths)))
    random.shuffle(order)
    together = encoding.encode_documents(documents)
    shuffled = encoding.encode_documents(documents.take(order), n_jobs=2)
    assert_same_bytes_but_for_rounding(encoding, shuffled, together[order])
    # Matrix products of other shapes round otherwise, by one step of a code at most.
    queries = encoding.encode_queries(documents).astype(int)
    assert np.abs(encoding.encode_queries(documents.take(order)).astype(int) - queries[order]).max() <= 1


def _shared(_kept: list[LearnedEncoding] = []) -> LearnedEncoding:  # noqa: B006
    if not _kept:
        _kept.append(LearnedEncoding(**SMALL).fit(SAMPLE))
    return _kept[0]


@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8"])
def test_dtype_and_dimension_are_as_promised(dtype: Any) -> None:
    encoding = LearnedEncoding(**{**SMALL, "dtype": dtype}).fit(SAMPLE)
    documents = encoding.encode_documents(SAMPLE[:3])
    assert documents.dtype == encoding.encode_queries(SAMPLE[:3]).dtype == np.dtype(dtype)
    assert documents.shape == (3, encoding.output_dim(DIM)) == (3, 64)
    assert encoding.datatype == models.Datatype(dtype)
    assert encoding.fitted and not LearnedEncoding(**SMALL).fitted


def test_uint8_keeps_the_order_of_the_floats() -> None:
    floats = LearnedEncoding(**{**SMALL, "stored_dim": 54, "dtype": "float32"}).fit(SAMPLE)
    bytes_ = LearnedEncoding(**{**SMALL, "stored_dim": 64}).fit(SAMPLE)
    assert bytes_._coded_dim == 54
    documents, queries = batch([12] * 50, seed=7), batch([5] * 20, seed=8)
    exact = floats.encode_queries(queries) @ floats.encode_documents(documents).T
    coded = (
        bytes_.encode_queries(queries).astype(np.int64)
        @ bytes_.encode_documents(documents).astype(np.int64).T
    )
    # The two fits round differently, and how much that shows depends on the processor.
    for a, b in zip(exact, coded, strict=True):
        assert np.corrcoef(a, b)[0, 1] > 0.998


@pytest.mark.parametrize("dtype", ["uint8", "float16", "float32"])
def test_documents_have_one_length_so_that_a_graph_leads_everywhere(dtype: Any) -> None:
    encoding = LearnedEncoding(**SMALL, dtype=dtype).fit(SAMPLE)
    vectors = encoding.encode_documents(batch([12] * 40, seed=5)).astype(np.float64)
    used = vectors[:, vectors.any(axis=0)] - (OFFSET if dtype == "uint8" else 0)
    lengths = np.linalg.norm(used, axis=1)
    assert np.mean(np.abs(lengths / np.median(lengths) - 1) < 0.03) > 0.85


def test_long_documents_stay_finite_in_halves() -> None:
    lengths = [4, 40, 400, 900]
    encoding = LearnedEncoding(**SMALL, dtype="float16").fit(batch(lengths * 10))
    vectors = encoding.encode_documents(batch([*lengths, 2000], seed=1))
    assert np.isfinite(vectors).all()
    assert np.isfinite(encoding.encode_queries(batch([30]))).all()


def test_no_tokens_make_the_zero_vector() -> None:
    encoding = LearnedEncoding(**{**SMALL, "dtype": "float32"}).fit(SAMPLE)
    documents = batch([0, 3, 0])
    vectors = encoding.encode_documents(documents)
    assert not vectors[[0, 2]].any()
    assert vectors[1].any()
    assert not encoding.encode_queries(documents)[[0, 2]].any()
    assert encoding.encode_documents(documents[:0]).shape == (0, 64)
    assert encoding.encode_queries(documents[:0]).shape == (0, 64)


def test_queries_are_linear_in_their_token_weights() -> None:
    encoding = LearnedEncoding(**{**SMALL, "dtype": "float32"}).fit(SAMPLE)
    queries = batch([4, 0, 600], seed=9)
    rng = np.random.default_rng(0)
    a, b = rng.standard_normal((2, len(queries.values)))
    np.testing.assert_allclose(
        encoding.encode_queries(queries, 2 * a + b),
        2 * encoding.encode_queries(queries, a) + encoding.encode_queries(queries, b),
        rtol=1e-3,
        atol=1e-2 * np.abs(encoding.encode_queries(queries, a)).max(),
    )
    ones = np.ones(len(queries.values))
    np.testing.assert_array_equal(encoding.encode_queries(queries), encoding.encode_queries(queries, ones))


def test_the_same_seed_gives_the_same_bytes_and_another_seed_others() -> None:
    first, again = (LearnedEncoding(**SMALL).fit(SAMPLE) for _ in range(2))
    for name, array in first.get_state().items():
        np.testing.assert_array_equal(array, again.get_state()[name])
    other = LearnedEncoding(**SMALL, seed=1).fit(SAMPLE)
    assert (other.encode_documents(SAMPLE) != first.encode_documents(SAMPLE)).any()


def test_float16_tokens_are_accepted(fitted: LearnedEncoding) -> None:
    half = TokenBatch(SAMPLE.values.astype(np.float16), SAMPLE.offsets)
    steps = [signed_steps(fitted, fitted.encode_documents(tokens)) for tokens in (half, SAMPLE)]
    assert np.abs(steps[0] - steps[1]).max() <= 2


def test_state_restores_the_same_bytes(fitted: LearnedEncoding) -> None:
    restored = LearnedEncoding(**SMALL)
    restored.set_state(fitted.get_state())
    documents = batch([5, 0, 9], seed=4)
    np.testing.assert_array_equal(restored.encode_documents(documents), fitted.encode_documents(documents))
    np.testing.assert_array_equal(restored.encode_queries(documents), fitted.encode_queries(documents))
    assert restored.drift(SAMPLE) == pytest.approx(fitted.drift(SAMPLE))


def test_a_token_like_an_earlier_one_changes_nothing(fitted: LearnedEncoding) -> None:
    (own,) = batch([6], seed=4)
    noise = np.random.default_rng(0).normal(0, 0.06, own.shape).astype(np.float32)
    # The largest number stays where it is: the tokens of a document are rounded by it.
    near = np.clip(own + noise, -np.abs(own).max(), np.abs(own).max())
    once, twice = TokenBatch.from_list([own]), TokenBatch.from_list([np.concatenate([own, near])])
    alone, both = (fitted.encode_documents(tokens) for tokens in (once, twice))
    np.testing.assert_array_equal(both, alone)
    state = fitted.get_state()
    compares_all = LearnedEncoding(**SMALL, duplicates=0).fit(SAMPLE)
    assert not compares_all.get_state()["alike"]
    # A state of before there were duplicates compares all tokens.
    del state["alike"]
    before = LearnedEncoding(**SMALL)
    before.set_state(state)
    for encoding in (before, compares_all):
        alone, both = (encoding.encode_documents(tokens) for tokens in (once, twice))
        assert (alone != both).any()


def test_a_small_sample_fills_what_it_can_and_restores() -> None:
    sample = batch([16] * 16)
    encoding = LearnedEncoding().fit(sample)
    assert encoding.encode_documents(sample).shape == (16, 1536)
    # Four tokens for each feature that is trained.
    assert len(encoding.get_state()["directions"]) == 64
    restored = LearnedEncoding()
    restored.set_state(encoding.get_state())
    np.testing.assert_array_equal(restored.encode_queries(sample), encoding.encode_queries(sample))


@pytest.mark.parametrize(
    ("change", "named"),
    [
        (lambda s: s.pop("landmarks"), "landmarks"),
        (lambda s: s.pop("query_map"), "query_map"),
        (lambda s: s.update(query_map=s["query_map"][:-1]), "query_map"),
        (lambda s: s.update(document_bias=s["document_bias"].astype(np.float64)), "document_bias"),
        (lambda s: s.update(landmarks=s["landmarks"].astype(np.int32)), "landmarks"),
        (lambda s: s.update(extra=np.zeros(1)), "extra"),
    ],
)
def test_a_damaged_state_names_the_array(fitted: LearnedEncoding, change: Any, named: str) -> None:
    state = copy.copy(fitted.get_state())
    change(state)
    with pytest.raises(StateError, match=named):
        LearnedEncoding(**SMALL).set_state(state)


def test_queries_of_the_user_become_landmarks_and_help() -> None:
    # Queries stand elsewhere than documents: every token is mirrored in half of its dimensions.
    def mirrored(tokens: TokenBatch) -> TokenBatch:
        sign = np.where(np.arange(DIM) % 2, -1, 1).astype(np.float32)
        return TokenBatch(tokens.values * sign, tokens.offsets)

    documents, held_out = batch([12] * 150, seed=11), mirrored(batch([6] * 40, seed=12))
    true = maxsim(held_out, documents)
    true -= true.mean(axis=1, keepdims=True)
    correlation = []
    for queries in (None, mirrored(batch([6] * 60, seed=13))):
        encoding = LearnedEncoding(**{**SMALL, "dtype": "float32"}).fit(SAMPLE, queries)
        scores = encoding.encode_queries(held_out) @ encoding.encode_documents(documents).T
        scores -= scores.mean(axis=1, keepdims=True)
        correlation.append(np.corrcoef(true.ravel(), scores.ravel())[0, 1])
    assert correlation[1] > correlation[0] + 0.02


def test_drift_is_about_one_for_more_of_the_same_and_rises_for_other_text(fitted: LearnedEncoding) -> None:
    assert fitted.drift(batch([12] * 100, seed=21)) < DRIFT_LIMIT
    rng = np.random.default_rng(0)
    foreign = TokenBatch.from_list([rng.standard_normal((12, DIM)).astype(np.float32) for _ in range(60)])
    assert fitted.drift(foreign) > DRIFT_LIMIT
    with pytest.raises(InvalidArgumentError, match="two documents"):
        fitted.drift(batch([3, 0]))


def test_a_torch_device_gives_the_same(fitted: LearnedEncoding) -> None:
    pytest.importorskip("torch")
    documents = batch([5, 0, 9], seed=4)
    on_device = fitted.encode_documents(documents, device="cpu")
    assert_same_bytes_but_for_rounding(fitted, on_device, fitted.encode_documents(documents))


def test_a_device_without_torch_names_the_extra(
    fitted: LearnedEncoding, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(__import__("sys").modules, "torch", None)
    with pytest.raises(MissingExtraError, match=r"embplug\[torch\]"):
        fitted.encode_documents(SAMPLE[:1], device="cpu")


def test_memory_stays_within_the_output_and_a_bounded_workspace(fitted: LearnedEncoding) -> None:
    fitted.encode_documents(SAMPLE)
    peaks = []
    for count in (2000, 8000):
        documents = TokenBatch(np.ones((count * 3, DIM), np.float32), np.arange(count + 1) * 3)
        tracemalloc.start()
        fitted.encode_documents(documents)
        peaks.append(tracemalloc.get_traced_memory()[1] - count * 64)
        tracemalloc.stop()
    assert peaks[1] < 1.1 * peaks[0] + 200_000


def test_bad_input_names_the_argument(fitted: LearnedEncoding) -> None:
    encoding = LearnedEncoding(**SMALL)
    for use in (encoding.encode_documents, encoding.encode_queries, encoding.drift):
        with pytest.raises(NotFittedError, match="fit"):
            use(SAMPLE)
    assert encoding.get_state() == {}
    with pytest.raises(EmptyTokensError, match="tokens"):
        encoding.fit(batch([0] * 20))
    with pytest.raises(InvalidArgumentError, match="at least 16 documents"):
        encoding.fit(batch([100] * 15))
    with pytest.raises(InvalidArgumentError, match="256 tokens"):
        encoding.fit(batch([1] * 30))
    other = TokenBatch(np.ones((4, DIM + 1), np.float32), [0, 4])
    with pytest.raises(DimensionError, match="queries"):
        encoding.fit(SAMPLE, other)
    with pytest.raises(DimensionError, match=f"dim {DIM}"):
        fitted.encode_documents(other)
    with pytest.raises(LengthMismatchError, match="token_weights"):
        fitted.encode_queries(SAMPLE[:1], [1.0])
    with pytest.raises(InvalidArgumentError, match=r"token_weights\[1\]"):
        fitted.encode_queries(SAMPLE[:1], [1.0, np.nan] + [1.0] * 10)
    with pytest.raises(InvalidArgumentError, match="n_jobs"):
        fitted.encode_documents(SAMPLE[:1], n_jobs=0)
    values = SAMPLE.values.copy()
    values[7, 2] = np.nan
    with pytest.raises(NonFiniteError, match=r"tokens.values\[7\]"):
        encoding.fit(TokenBatch(values, SAMPLE.offsets))
    values[7, 2] = 2e6
    with pytest.raises(InvalidArgumentError, match=r"^tokens.values\[7\]: .*at most 1\.049e\+06, got 2e\+06"):
        encoding.fit(TokenBatch(values, SAMPLE.offsets))
    with pytest.raises(InvalidArgumentError, match="features"):
        LearnedEncoding(features=100, landmarks=50, compared=50)
    with pytest.raises(InvalidArgumentError):
        LearnedEncoding(unknown=1)  # type: ignore[call-arg]


def test_a_recipe_takes_either_encoding_by_its_kind() -> None:
    recipe = Recipe(tokens=Tokens(dim=DIM, encoding=LearnedEncoding(**SMALL), codes=None))
    again = Recipe.from_yaml(recipe.to_yaml())
    assert again == recipe
    assert isinstance(again.tokens.encoding, LearnedEncoding)
    assert again.tokens.encoding.features == SMALL["features"]
    unnamed = Recipe.from_yaml("tokens: {dim: 8, encoding: {repetitions: 3}}")
    assert unnamed.tokens.encoding == FDE(repetitions=3)
    with pytest.raises(RecipeError, match=r"^tokens\.encoding\.features: "):
        Recipe.from_yaml("tokens: {dim: 8, encoding: {kind: learned, features: 0}}")
    with pytest.raises(RecipeError, match=r"^tokens\.encoding: .*kind: learned"):
        Recipe.from_yaml("tokens: {dim: 8, encoding: {kind: other}}")


def test_a_collection_searches_by_it_and_reopens(tmp_path: Path) -> None:
    recipe = Recipe(
        tokens=Tokens(dim=DIM, encoding=LearnedEncoding(**SMALL), codes=None), rerank=Rerank(candidates=40)
    )
    documents, queries = batch([12] * 150, seed=31), batch([5] * 10, seed=32)
    with closing(connect(tmp_path)) as engine:
        collection = Collection.create("learned", recipe, engine)
        collection.add(list(range(len(documents))), tokens=documents)
    with closing(connect(tmp_path)) as engine:
        collection = Collection.open("learned", engine)
        found = [{hit.id for hit in collection.search(tokens=query)} for query in queries]
    best = np.argsort(-maxsim(queries, documents))[:, :10]
    assert np.mean([len(f & set(b.tolist())) for f, b in zip(found, best, strict=True)]) > 9


def test_a_state_of_the_first_version_gives_the_vectors_that_it_gave() -> None:
    folder = Path(__file__).parents[2] / "fixtures" / "version_1"
    with np.load(folder / "learned.npz") as stored:
        state = {name[4:]: stored[name] for name in stored.files if name.startswith("fde.")}
    encoding = LearnedEncoding(stored_dim=48, features=32, landmarks=64, compared=48, steps=0)
    encoding.set_state(state)
    assert encoding.get_state().keys() == state.keys()
    for name, array in encoding.get_state().items():
        np.testing.assert_array_equal(array, state[name])
    rng = np.random.default_rng(0)
    tokens = TokenBatch.from_list([rng.standard_normal((n, 16)).astype(np.float32) for n in (7, 1)])
    landmarks, halves = state["landmarks"], state["document_map"].astype(np.float32)
    maxima = np.stack([(document @ landmarks[:48].T).max(axis=0) for document in tokens])
    vectors = maxima @ halves + state["document_bias"]
    assert encoding.fitted_ is not None
    np.testing.assert_allclose(
        encoding.fitted_.document_vectors(tokens, 1, None), vectors, rtol=1e-3, atol=1e-3
    )
    features = np.maximum(tokens.values @ landmarks[:32].T - state["thresholds"], 0)
    sums = np.concatenate([features, tokens.values], axis=1) @ state["query_map"].astype(np.float32)
    expected = np.stack([sums[:7].sum(axis=0), sums[7]])
    np.testing.assert_allclose(encoding.fitted_.query_vectors(tokens, None), expected, rtol=1e-3, atol=1e-2)


def test_fewer_dimensions_and_landmarks_lose_little() -> None:
    rng = np.random.default_rng(2)
    # Tokens of 24 dimensions of which 8 hold nearly everything.
    turn = np.linalg.qr(rng.standard_normal((24, 24)))[0].astype(np.float32)

    def wide(tokens: TokenBatch) -> TokenBatch:
        noise = 0.02 * rng.standard_normal((len(tokens.values), 16)).astype(np.float32)
        return TokenBatch(np.concatenate([tokens.values, noise], axis=1) @ turn, tokens.offsets)

    sample, documents, queries = wide(SAMPLE), wide(batch([12] * 200, seed=5)), wide(batch([5] * 30, seed=6))
    true = maxsim(queries, documents)
    true -= true.mean(axis=1, keepdims=True)
    correlations = []
    for compared, compared_dim in ((300, None), (100, 8)):
        parameters = {**SMALL, "dtype": "float32", "compared": compared, "compared_dim": compared_dim}
        encoding = LearnedEncoding(**parameters).fit(sample)
        if compared_dim:
            state = encoding.get_state()
            assert state["components"].shape == (24, 8) and state["landmarks"].shape == (100, 8)
            restored = LearnedEncoding(**parameters)
            restored.set_state(state)
            np.testing.assert_array_equal(restored.encode_queries(queries), encoding.encode_queries(queries))
        scores = encoding.encode_queries(queries) @ encoding.encode_documents(documents).T
        scores -= scores.mean(axis=1, keepdims=True)
        correlations.append(np.corrcoef(true.ravel(), scores.ravel())[0, 1])
    assert correlations[0] > 0.9
    assert correlations[1] > correlations[0] - 0.03
