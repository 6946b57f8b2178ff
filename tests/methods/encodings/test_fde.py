from __future__ import annotations

import copy
import tracemalloc
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from embplug.errors import (
    DimensionError,
    EmptyTokensError,
    InvalidArgumentError,
    LengthMismatchError,
    NotFittedError,
    StateError,
)
from embplug.methods.encodings import fde as module
from embplug.methods.encodings.fde import FDE
from embplug.methods.token_batch import TokenBatch
from embplug.recipe import Recipe, Tokens
from tests.reference import fde as reference

DIM = 6


def examples(*strategies: st.SearchStrategy[Any]) -> Callable[[Callable[..., None]], Callable[..., None]]:
    """Always the same ones: a score within rounding of zero may have another sign in the reference."""
    return lambda test: settings(derandomize=True, deadline=None, max_examples=50)(given(*strategies)(test))


def batch(lengths: list[int], seed: int = 0, dim: int = DIM) -> TokenBatch:
    rng = np.random.default_rng(seed)
    # A large common direction, as contextual token vectors have it: many cells stay empty.
    common = rng.standard_normal(dim)
    return TokenBatch.from_list(
        [(rng.standard_normal((length, dim)) + common).astype(np.float32) for length in lengths], dim=dim
    )


def fitted(parameters: dict[str, Any], dim: int = DIM) -> FDE:
    return FDE(**parameters).fit(batch([40, 0, 30], seed=99, dim=dim))


@st.composite
def parameters(draw: st.DrawFn, dtypes: tuple[str, ...] = ("float32",)) -> dict[str, Any]:
    partitioner = draw(st.sampled_from(["simhash", "kmeans", "cross_polytope"]))
    return {
        "repetitions": draw(st.integers(1, 3)),
        "simhash_bits": draw(st.integers(int(partitioner == "cross_polytope"), 4)),
        "projection_dim": draw(st.sampled_from([None, 1, 3, 9])),
        "projection": draw(st.sampled_from(["count_sketch", "dense"])),
        "partitioner": partitioner,
        "center": partitioner != "kmeans" and draw(st.booleans()),
        "fill": draw(st.booleans()),
        "indexing": draw(st.sampled_from(["gray", "plain"])),
        "final_dim": draw(st.sampled_from([None, 7])),
        "final_projection": draw(st.sampled_from(["count_sketch", "dense"])),
        "dtype": draw(st.sampled_from(dtypes)),
        "seed": draw(st.integers(0, 2**40)),
    }


document_lengths = st.lists(st.sampled_from([0, 1, 2, 5, 9]), min_size=1, max_size=3)
seeds = st.integers(0, 1000)


@examples(parameters(), document_lengths, seeds)
def test_documents_are_those_of_the_reference(options, lengths, seed):
    fde, tokens = fitted(options), batch(lengths, seed)
    encoded = fde.encode_documents(tokens)
    expected = [
        reference.encode_document(matrix.astype(np.float64), reference.drawn(fde, DIM)) for matrix in tokens
    ]
    assert encoded.dtype == np.float32
    assert encoded.shape == (len(lengths), fde.output_dim(DIM))
    np.testing.assert_allclose(encoded, expected, rtol=1e-5, atol=1e-5)


@examples(parameters(), document_lengths, seeds, st.booleans())
def test_queries_are_those_of_the_reference(options, lengths, seed, weighted):
    fde, tokens = fitted(options), batch(lengths, seed)
    weights = np.ones(len(tokens.values))
    if weighted:
        weights = np.random.default_rng(seed).standard_normal(len(tokens.values))
    encoded = fde.encode_queries(tokens, weights if weighted else None)
    of_each = np.split(weights, tokens.offsets[1:-1])
    expected = [
        reference.encode_query(matrix.astype(np.float64), mine, reference.drawn(fde, DIM))
        for matrix, mine in zip(tokens, of_each, strict=True)
    ]
    np.testing.assert_allclose(encoded, expected, rtol=1e-5, atol=1e-5)


@examples(parameters(dtypes=("float32", "float16", "uint8")), document_lengths, st.randoms(), st.booleans())
def test_an_encoding_does_not_depend_on_its_neighbours(options, lengths, random, documents):
    fde, tokens = fitted(options), batch(lengths)
    encode = fde.encode_documents if documents else fde.encode_queries
    together = encode(tokens)
    order = random.sample(range(len(lengths)), len(lengths))
    assert_equal(options, encode(tokens.take(order)), together[order])
    for i in range(len(lengths)):
        assert_equal(options, encode(tokens[i : i + 1]), together[i : i + 1])


def assert_equal(options: dict[str, Any], got: np.ndarray, expected: np.ndarray) -> None:
    """Bit by bit, except after a dense projection: BLAS sums in an order that depends on the size."""
    inner = options.get("projection") == "dense" and options["projection_dim"] is not None
    final = options.get("final_projection") == "dense" and options["final_dim"] is not None
    if inner or final:
        tolerance = {"float32": 1e-6, "float16": 2e-3, "uint8": 1}[options["dtype"]]
        np.testing.assert_allclose(got.astype(float), expected.astype(float), rtol=1e-3, atol=tolerance)
    else:
        assert got.tobytes() == expected.tobytes()


@pytest.mark.parametrize("dtype", ["float32", "float16", "uint8"])
def test_chunks_and_threads_do_not_show(dtype, monkeypatch):
    fde, tokens = fitted({"repetitions": 3, "dtype": dtype}), batch([5, 0, 1, 70, 3, 0, 20] * 5)
    whole = fde.encode_documents(tokens)
    monkeypatch.setattr(module, "WORKSPACE_BYTES", 60_000)
    assert len(list(fde._chunks(tokens, module.WORKSPACE_BYTES))) > 5
    for n_jobs in (1, 3, -1):
        assert fde.encode_documents(tokens, n_jobs=n_jobs).tobytes() == whole.tobytes()


@pytest.mark.parametrize("projection_dim", [None, 16])
def test_a_scipy_without_the_bare_kernel_gives_the_same_bytes(projection_dim, monkeypatch):
    fde, tokens = FDE(projection_dim=projection_dim), batch([5, 0, 30])
    expected = fde.encode_documents(tokens)
    monkeypatch.setattr(module, "_csc_matvecs", lambda: None)
    assert fde.encode_documents(tokens).tobytes() == expected.tobytes()


@examples(parameters(dtypes=("float32", "float16", "uint8")), document_lengths)
def test_the_same_seed_gives_the_same_bytes(options, lengths):
    tokens = batch(lengths)
    first, second = fitted(options), fitted(options)
    second.encode_documents(tokens[:1])
    assert first.encode_documents(tokens).tobytes() == second.encode_documents(tokens).tobytes()
    assert first.encode_queries(tokens).tobytes() == second.encode_queries(tokens).tobytes()


def test_another_seed_gives_another_encoding():
    tokens = batch([20])
    assert not np.array_equal(FDE(seed=1).encode_documents(tokens), FDE(seed=2).encode_documents(tokens))


def test_more_repetitions_keep_the_first_ones():
    tokens = batch([20])
    few, many = FDE(repetitions=2).encode_documents(tokens), FDE(repetitions=5).encode_documents(tokens)
    np.testing.assert_allclose(many[:, : few.shape[1]], few, rtol=1e-6, atol=1e-6)


def test_an_empty_batch_gives_no_rows():
    nothing = TokenBatch.from_list([], dim=DIM)
    for dtype in ("float32", "uint8"):
        fde = fitted({"dtype": dtype})
        assert fde.encode_documents(nothing).shape == (0, fde.output_dim(DIM))
        assert fde.encode_queries(nothing).shape == (0, fde.output_dim(DIM))


@examples(parameters())
def test_a_document_without_tokens_is_zero(options):
    fde, tokens = fitted(options), batch([0, 3, 0])
    for encoded in (fde.encode_documents(tokens), fde.encode_queries(tokens)):
        assert not encoded[[0, 2]].any()
        assert np.isfinite(encoded).all()


@examples(parameters(), seeds)
def test_with_fill_a_document_of_one_token_has_its_exact_score(options, seed):
    options |= {"projection_dim": None, "final_dim": None, "fill": True}
    fde, document, query = fitted(options), batch([1], seed), batch([7], seed + 1)
    estimate = fde.encode_queries(query)[0] @ fde.encode_documents(document)[0]
    exact = (query.values @ document.values.T).max(axis=1).sum()
    assert estimate == pytest.approx(fde.repetitions * exact, rel=1e-4, abs=1e-3)


@examples(st.integers(1, 5), st.integers(1, 20), st.booleans(), seeds)
def test_an_empty_cell_has_the_first_of_the_nearest_tokens(bits, length, gray, seed):
    fde = FDE(
        repetitions=1, simhash_bits=bits, projection_dim=None, indexing="gray" if gray else "plain", fill=True
    )
    tokens = batch([length], seed)
    normals = fde._maps_of(DIM).cells.normals[0]
    signs = tokens.values @ normals.T > 0
    encoded = fde.encode_documents(tokens).reshape(1 << bits, DIM)
    numbers = np.arange(1 << bits)
    binary = numbers ^ (numbers >> 1) if gray else numbers
    of_cells = (binary[:, None] >> np.arange(bits)[::-1]) & 1
    differing = (of_cells[:, None, :] != signs[None]).sum(axis=2)
    for cell in np.flatnonzero(differing.min(axis=1) > 0):
        np.testing.assert_allclose(encoded[cell], tokens.values[differing[cell].argmin()], rtol=1e-6)


@examples(parameters(), seeds, st.floats(-3, 3))
def test_queries_are_linear_in_their_tokens_and_weights(options, seed, factor):
    fde, tokens = fitted(options), batch([4, 9], seed)
    joined = TokenBatch(tokens.values, np.array([0, 13]))
    parts = fde.encode_queries(tokens)
    np.testing.assert_allclose(fde.encode_queries(joined)[0], parts.sum(axis=0), rtol=1e-4, atol=1e-4)
    weights = np.where(np.arange(13) < 4, 1, factor)
    weighted = fde.encode_queries(joined, weights)[0]
    np.testing.assert_allclose(weighted, parts[0] + factor * parts[1], rtol=1e-4, atol=1e-4)


def test_padding_does_not_leak():
    tokens = batch([3, 0, 5])
    padded = np.full((3, 8, DIM), np.nan, dtype=np.float32)
    mask = np.zeros((3, 8), dtype=bool)
    for i, matrix in enumerate(tokens):
        padded[i, 8 - len(matrix) :] = matrix
        mask[i, 8 - len(matrix) :] = True
    fde = FDE()
    unpadded = fde.encode_documents(TokenBatch.from_padded(padded, mask))
    assert unpadded.tobytes() == fde.encode_documents(tokens).tobytes()


def test_float16_tokens_are_encoded_as_their_values_in_float32():
    tokens = batch([3, 0, 50])
    half = TokenBatch(tokens.values.astype(np.float16), tokens.offsets)
    fde = FDE()
    assert fde.encode_documents(half).tobytes() == fde.encode_documents(half.to_float32()).tobytes()
    assert fde.encode_queries(half).tobytes() == fde.encode_queries(half.to_float32()).tobytes()


def test_dot_products_of_bytes_rank_like_those_of_floats():
    options = {"repetitions": 10, "simhash_bits": 3}
    exact, coded = fitted(options, dim=32), fitted(options | {"dtype": "uint8"}, dim=32)
    documents, query = batch([30] * 200, dim=32), batch([10], seed=5, dim=32)
    expected = exact.encode_documents(documents) @ exact.encode_queries(query)[0]
    got = coded.encode_documents(documents).astype(int) @ coded.encode_queries(query)[0].astype(int)
    assert np.corrcoef(expected, got)[0, 1] > 0.99


def test_half_the_bytes_hold_the_same_numbers():
    tokens = batch([30, 4])
    half = FDE(dtype="float16", fill=True).encode_documents(tokens)
    assert half.dtype == np.float16
    np.testing.assert_array_equal(half, FDE(fill=True).encode_documents(tokens).astype(np.float16))


def test_numbers_beyond_float16_are_refused():
    tokens = TokenBatch(np.full((40, 64), 60000, dtype=np.float16), np.array([0, 40]))
    with pytest.raises(InvalidArgumentError, match=r"tokens: .*range of float16"):
        FDE(dtype="float16").encode_queries(tokens)


@examples(parameters(dtypes=("float32", "float16", "uint8")))
def test_state_carries_what_was_learned(options):
    fde, tokens = fitted(options), batch([4, 0, 9])
    state = fde.get_state()
    assert bool(state) == (not FDE(**options).fitted)
    restored = FDE(**options)
    restored.set_state({name: array.copy() for name, array in state.items()})
    again = restored.get_state()
    assert state.keys() == again.keys()
    assert all(np.asarray(state[name]).tobytes() == np.asarray(again[name]).tobytes() for name in state)
    assert restored.encode_documents(tokens).tobytes() == fde.encode_documents(tokens).tobytes()
    assert restored.encode_queries(tokens).tobytes() == fde.encode_queries(tokens).tobytes()


KMEANS = {"partitioner": "kmeans", "simhash_bits": 2, "repetitions": 2, "dtype": "uint8"}


@pytest.mark.parametrize(
    ("change", "named"),
    [
        ({"dim": None}, "'dim'"),
        ({"centroids": None}, "'centroids'"),
        ({"scale": None}, "'scale'"),
        ({"mean": np.zeros(DIM, np.float32)}, "'mean'"),
        ({"dim": np.array(DIM + 1)}, "'centroids'"),
        ({"dim": np.array(0)}, "'dim'"),
        ({"dim": np.array(6.0)}, "'dim'"),
        ({"centroids": np.zeros((2, 4, DIM))}, "'centroids'"),
        ({"centroids": np.zeros((2, 3, DIM), np.float32)}, "'centroids'"),
    ],
)
def test_an_altered_state_is_refused_by_name(change, named):
    state: dict[str, Any] = {**fitted(KMEANS).get_state(), **change}
    fde = FDE(**KMEANS)
    with pytest.raises(StateError, match=named):
        fde.set_state({name: array for name, array in state.items() if array is not None})
    with pytest.raises(NotFittedError):
        fde.encode_documents(batch([3]))


def test_a_seeded_encoding_takes_no_state():
    FDE().set_state({})
    with pytest.raises(StateError, match="'mean'"):
        FDE().set_state({"mean": np.zeros(DIM, np.float32)})


@pytest.mark.parametrize("options", [{"center": True}, {"partitioner": "kmeans"}, {"dtype": "uint8"}])
def test_what_learns_must_be_fitted_first(options):
    fde, tokens = FDE(**options), batch([3])
    assert not fde.fitted
    for use in (lambda: fde.encode_documents(tokens), lambda: fde.encode_queries(tokens)):
        with pytest.raises(NotFittedError):
            use()
    assert fde.get_state() == {}
    with pytest.raises(EmptyTokensError):
        fde.fit(batch([0, 0]))


def test_tokens_of_another_dimension_are_refused_after_fit():
    with pytest.raises(DimensionError, match="dim 6"):
        fitted({"center": True}).encode_documents(batch([3], dim=DIM + 1))


@pytest.mark.parametrize(
    ("weights", "error", "named"),
    [
        (np.ones(3), LengthMismatchError, "token_weights"),
        (np.ones((4, 1)), LengthMismatchError, "token_weights"),
        ([1, 2, np.nan, 1], InvalidArgumentError, r"token_weights\[2\]"),
        (["a"] * 4, InvalidArgumentError, "token_weights"),
    ],
)
def test_bad_weights_are_refused(weights, error, named):
    with pytest.raises(error, match=named):
        FDE().encode_queries(batch([3, 1]), weights)


@pytest.mark.parametrize(
    "options",
    [
        {"repetitions": 0},
        {"simhash_bits": -1},
        {"simhash_bits": 13},
        {"projection_dim": 0},
        {"partitioner": "lsh"},
        {"dtype": "float64"},
        {"unknown": 1},
        {"center": True, "partitioner": "kmeans"},
        {"simhash_bits": 0, "partitioner": "cross_polytope"},
    ],
)
def test_bad_parameters_are_refused(options):
    with pytest.raises(InvalidArgumentError, match=next(iter(options))):
        FDE(**options)


def test_a_dense_final_projection_that_would_not_fit_is_refused():
    fde = FDE(repetitions=40, simhash_bits=6, projection_dim=None, final_dim=10240, final_projection="dense")
    with pytest.raises(InvalidArgumentError, match="count_sketch"):
        fde.encode_documents(batch([3], dim=128))


def test_bad_n_jobs_are_refused():
    with pytest.raises(InvalidArgumentError, match="n_jobs"):
        FDE().encode_documents(batch([3]), n_jobs=0)


def test_a_recipe_holds_the_parameters_alone():
    fde = fitted(KMEANS)
    recipe = Recipe(tokens=Tokens(dim=DIM, encoding=fde, codes=None))
    dumped = recipe.to_dict()["tokens"]["encoding"]
    assert set(dumped) == set(FDE.__dataclass_fields__)
    assert (
        Recipe.from_yaml(recipe.to_yaml())
        == recipe
        == Recipe(tokens=Tokens(dim=DIM, encoding=FDE(**KMEANS), codes=None))
    )


def test_a_copy_is_fitted_by_itself():
    original = FDE(**KMEANS)
    clone = copy.deepcopy(original).fit(batch([40]))
    assert original.dim_ is None
    again, tokens = copy.deepcopy(clone), batch([5])
    assert again.encode_documents(tokens).tobytes() == clone.encode_documents(tokens).tobytes()


@pytest.mark.parametrize("options", [{}, {"dtype": "uint8"}, {"projection_dim": None}, {"final_dim": 500}])
def test_memory_is_the_output_and_a_bounded_workspace(options):
    fde = FDE(repetitions=10, simhash_bits=4, **options).fit(batch([30] * 5, dim=64))
    fde.encode_documents(batch([30], dim=64))
    peaks = []
    for count in (200, 800):
        tokens = batch([30] * count, dim=64)
        tracemalloc.start()
        encoded = fde.encode_documents(tokens)
        peaks.append(tracemalloc.get_traced_memory()[1] - encoded.nbytes)
        tracemalloc.stop()
    assert max(peaks) < 4 * module.WORKSPACE_BYTES
    assert peaks[1] < 1.2 * peaks[0] + 1e6


@examples(parameters(dtypes=("float32", "float16", "uint8")), document_lengths, seeds)
def test_torch_encodes_as_numpy_does(options, lengths, seed):
    pytest.importorskip("torch")
    fde, tokens = fitted(options), batch(lengths, seed)
    tolerance = {"float32": 1e-5, "float16": 2e-3, "uint8": 1}[options["dtype"]]
    got, expected = fde.encode_documents(tokens, device="cpu"), fde.encode_documents(tokens)
    assert got.dtype == expected.dtype
    np.testing.assert_allclose(got.astype(float), expected.astype(float), rtol=1e-3, atol=tolerance)


def test_torch_takes_float16_and_many_chunks(monkeypatch):
    pytest.importorskip("torch")
    fde, tokens = FDE(fill=True), batch([5, 0, 40, 3] * 10)
    half = TokenBatch(tokens.values.astype(np.float16), tokens.offsets)
    monkeypatch.setattr(module, "DEVICE_WORKSPACE_BYTES", 1 << 20)
    np.testing.assert_allclose(
        fde.encode_documents(half, device="cpu"), fde.encode_documents(half), rtol=1e-4, atol=1e-5
    )


def test_a_device_that_is_not_there_is_refused_by_name():
    pytest.importorskip("torch")
    for device in ("abacus", "cuda:99"):
        with pytest.raises(InvalidArgumentError, match=f"device: .*{device}"):
            FDE().encode_documents(batch([3]), device=device)


@pytest.mark.parametrize("simhash_bits", [3, 5])
def test_axes_of_a_cross_polytope_are_those_of_rotations(simhash_bits: int) -> None:
    encoding = FDE(partitioner="cross_polytope", simhash_bits=simhash_bits, repetitions=2)
    axes = encoding._cells(8).normals
    assert axes.shape == (2, 1 << simhash_bits - 1, 8)
    for normals in axes:
        for start in range(0, len(normals), 8):
            np.testing.assert_allclose(
                normals[start : start + 8] @ normals[start : start + 8].T,
                np.eye(min(8, len(normals))),
                atol=1e-5,
            )
    assert np.abs(axes[0] - axes[1]).max() > 0.1
