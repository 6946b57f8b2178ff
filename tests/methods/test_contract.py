"""What holds for every registered method: against slow references, from its file, on odd samples."""

from __future__ import annotations

import copy
import dataclasses
import math
import tracemalloc
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from embplug.collection.archive import pack, unpack
from embplug.errors import (
    DimensionError,
    InvalidArgumentError,
    LengthMismatchError,
    NonFiniteError,
    NotFittedError,
    StateError,
)
from embplug.methods.base import Description, Method
from embplug.methods.maxsim import maxsim
from embplug.methods.quantizers.binary import BinaryQuantizer
from embplug.methods.registry import ROLES, is_built_in, registered
from embplug.methods.roles import (
    Adapter,
    Encoding,
    Quantizer,
    QueryWeights,
    Reduction,
    TokenCodes,
    Transform,
)
from embplug.methods.token_batch import TokenBatch
from embplug.methods.token_codes.token_coder import TokenCoder
from tests.methods.table import CASES, CODED_QUERIES, DIM, REPRODUCES, documents, vectors
from tests.reference import scores as reference


def names(*roles: type[Method]) -> list[str]:
    """Examples of methods of some roles."""
    return [name for name, case in CASES.items() if isinstance(case.method, roles or (Method,))]


def every(*roles: type[Method]) -> Callable[..., Any]:
    return pytest.mark.parametrize("name", names(*roles))


def fresh(name: str) -> Any:
    return copy.deepcopy(CASES[name].method)


def fitted(name: str, sample: Any = None) -> Any:
    """An example that has learned, from vectors or tokens as its role demands."""
    method = fresh(name)
    if isinstance(method, Adapter):
        return method.fit(vectors(), vectors(seed=2))
    if isinstance(method, (Quantizer, Transform)):
        return method.fit(vectors() if sample is None else sample)
    if isinstance(method, Reduction):
        return method
    return method.fit(documents() if sample is None else sample)


def results(method: Any) -> list[bytes]:
    """All that a method makes of the same vectors or tokens."""
    if isinstance(method, Quantizer):
        codes, query = method.encode(vectors()), method.encode_query(vectors(3, seed=1))
        arrays = [codes, method.decode(codes), method.score(query, codes)]
    elif isinstance(method, Transform):
        arrays = [method.transform(vectors()), method.transform_query(vectors())]
    elif isinstance(method, Adapter):
        arrays = [method.transform(vectors()), method.missing(vectors())]
    elif isinstance(method, TokenCodes):
        strings = method.encode(documents(5))
        arrays = [method.decode(strings).values, method.maxsim(documents(1)[0], strings)]
        return [*strings, *(array.tobytes() for array in arrays)]
    elif isinstance(method, Encoding):
        arrays = [method.encode_documents(documents(5)), method.encode_queries(documents(2))]
    elif isinstance(method, QueryWeights):
        arrays = [method.weights(documents(5))]
    else:
        arrays = [reduced(method, documents(5)).values]
    return [array.tobytes() for array in arrays]


def reduced(method: Reduction, tokens: TokenBatch) -> TokenBatch:
    return method.reduce(tokens, np.arange(len(tokens.values)) % 7).tokens


def on_disk(state: Any, folder: Path) -> Any:
    """A state written to its file and read again."""
    file = folder / "state.npz"
    file.write_bytes(pack(state))
    with np.load(file, allow_pickle=False) as archive:
        assert set(archive.files) == set(state)
    return unpack(file.read_bytes())


# The registry and the table.


@pytest.mark.parametrize("role", ROLES)
def test_every_method_of_the_package_has_an_example_and_a_reference(role: Any) -> None:
    in_table = {case.method.kind: type(case.method) for case in CASES.values()}
    built_in = {kind: cls for kind, cls in registered(role).items() if is_built_in(cls)}
    assert built_in and built_in.items() <= in_table.items(), f"tests/methods/table.py lacks one of {role}"


def test_every_example_is_registered() -> None:
    classes = {cls for role in ROLES for cls in registered(role).values()}
    assert {type(case.method) for case in CASES.values()} <= classes


# Every method.


@every()
def test_the_constructor_only_keeps_parameters(name: str) -> None:
    method = fresh(name)
    parameters = {field.name for field in dataclasses.fields(method)}
    learned = {key: value for key, value in vars(method).items() if key not in parameters and key[-1] == "_"}
    assert not any(learned.values())
    assert method.get_state() == {} and method.fitted_dim is None
    adapter = TypeAdapter(type(method))
    again = adapter.validate_json(adapter.dump_json(method))
    assert again == method and again.get_state() == {}
    with pytest.raises(InvalidArgumentError):
        type(method)(**adapter.dump_python(method), unknown=1)


@every()
def test_what_is_learned_ends_in_an_underscore_and_fit_returns_self(name: str) -> None:
    method = fresh(name)
    before = set(vars(method))
    if isinstance(method, Adapter):
        again = method.fit(vectors(), vectors(seed=2))
    elif isinstance(method, (Quantizer, Transform)):
        again = method.fit(vectors())
    elif isinstance(method, Reduction):
        again = method
    else:
        again = method.fit(documents())
    assert again is method and method.fitted
    parameters = {field.name for field in dataclasses.fields(method)}
    assert set(vars(method)) == before
    assert all(key[0] == "_" or key[-1] == "_" for key in before - parameters)
    assert all(getattr(method, key) == getattr(CASES[name].method, key) for key in parameters)


@every()
def test_one_property_tells_whether_it_can_be_used(name: str) -> None:
    method = fresh(name)
    if method.fitted:
        results(method)
        assert method.describe(DIM).state_bytes == 0
        return
    for use in (results, lambda method: method.describe()):
        with pytest.raises(NotFittedError):
            use(method)
    method = fitted(name)
    assert method.fitted and method.fitted_dim == DIM and method.get_state()
    assert not method.unfitted().fitted and method.unfitted() == method
    method.set_state({})
    assert not method.fitted and method.get_state() == {} and method.fitted_dim is None
    with pytest.raises(NotFittedError):
        results(method)


@every()
def test_it_is_the_same_from_its_file_bit_by_bit(name: str, tmp_path: Path) -> None:
    method, restored = fitted(name), fresh(name)
    restored.set_state(on_disk(method.get_state(), tmp_path))
    assert results(restored) == results(method)
    assert restored.describe() == method.describe() and restored.fitted_dim == method.fitted_dim
    assert pack(restored.get_state()) == pack(method.get_state())
    restored.set_state(on_disk({}, tmp_path))
    assert restored.get_state() == {}


ABSENT_BEFORE = ("alike",)
"""Arrays that states of before have not."""


@every()
def test_a_state_that_is_not_its_own_is_refused_by_name(name: str) -> None:
    method, state = fitted(name), fitted(name).get_state()
    before = pack(method.get_state())
    with pytest.raises(StateError, match="'other'"):
        method.set_state({**state, "other": np.zeros(1)})
    for key, array in state.items():
        for damaged in (None, np.asarray(array).astype(np.complex64), np.asarray(array)[None]):
            others = {other: kept for other, kept in state.items() if other != key}
            if damaged is None and (not others or key in ABSENT_BEFORE):
                continue
            with pytest.raises(StateError, match=f"'{key}'"):
                method.set_state(others if damaged is None else {**others, key: damaged})
    assert pack(method.get_state()) == before


@every()
def test_the_same_seed_learns_the_same(name: str) -> None:
    assert pack(fitted(name).get_state()) == pack(fitted(name).get_state())
    assert results(fitted(name)) == results(fitted(name))


@every()
def test_use_changes_nothing_that_is_learned(name: str) -> None:
    method = fitted(name)
    state, first = pack(method.get_state()), results(method)
    assert results(method) == first
    assert pack(method.get_state()) == state


@every()
def test_a_description_is_complete(name: str) -> None:
    description = fitted(name).describe(DIM)
    assert isinstance(description, Description)
    assert description.method == CASES[name].method.kind and description.dim == DIM
    assert description.fit_cost and description.order
    assert (description.fit_cost == "none") == (fresh(name).fitted)
    assert description.code_bytes is not None and description.bits is not None
    assert 0 < description.bits <= 8 * description.code_bytes
    assert description.state_bytes == sum(a.nbytes for a in fitted(name).get_state().values())
    assert description.exact_queries == (name not in CODED_QUERIES)
    known = description.to_dict()
    assert known["ratio"] == description.ratio == 4 * DIM / description.code_bytes
    assert {field.name for field in dataclasses.fields(description)} | {"ratio"} == set(known)
    assert isinstance(known["notes"], list)


@every()
def test_bytes_are_known_before_fit_and_are_those_of_the_results(name: str) -> None:
    method = fitted(name)
    before = fresh(name).bytes_per_vector(DIM, unit_length=True)
    after = method.bytes_per_vector(DIM)
    if isinstance(method, Quantizer):
        assert before == after == method.code_bytes == method.encode(vectors()).shape[1]
    elif isinstance(method, (Transform, Adapter)):
        assert before == after == method.transform(vectors()).nbytes / 80
    elif isinstance(method, Encoding):
        assert before == after == method.encode_documents(documents(7)).nbytes / 7
    elif isinstance(method, TokenCodes):
        tokens = documents(200, seed=3)
        strings = method.encode(tokens)
        mean = (sum(map(len, strings)) - 4 * len(strings)) / len(tokens.values)
        assert after == pytest.approx(before, rel=0.1) and after == pytest.approx(mean, rel=0.1)
        assert all(len(s) <= size for s, size in zip(strings, method.sizes(tokens), strict=True))
    elif isinstance(method, QueryWeights):
        assert before == after == method.weights(documents(1)).itemsize
    else:
        tokens = reduced(method, documents(3))
        assert before == after == tokens.values.nbytes / len(tokens.values)


# Quantizers.


ALIKE = 2e-3
"""The nearest of two levels is known up to the rounding of a squared distance, here over three parts of at
most eight terms: (3 * 8 * 2**-23) ** 0.5 = 1.7e-3."""


@every(Quantizer)
def test_scores_are_those_of_plain_loops_over_state_and_bits(name: str) -> None:
    quantizer = fitted(name)
    queries, codes = vectors(3, seed=1), quantizer.encode(vectors()[:12])
    scores = quantizer.score(quantizer.encode_query(queries), codes)
    slow, state = CASES[name].reference, quantizer.get_state()
    expected = [[slow(quantizer, state, q.tolist(), code.tolist()) for q in queries] for code in codes]
    np.testing.assert_allclose(scores, expected, atol=2e-5)
    assert np.ptp(scores) > 0.01


def test_whole_numbers_in_queries_score_as_their_plain_products() -> None:
    quantizer = BinaryQuantizer(queries="int8").fit(vectors())
    queries, codes = vectors(3, seed=1), quantizer.encode(vectors()[:12])
    scores, state = quantizer.score(quantizer.encode_query(queries), codes), quantizer.get_state()
    for j, query in enumerate(queries):
        parts = [float(x) * float(d) for x, d in zip(query, state["deviations"], strict=True)]
        step = max(map(abs, parts)) / 127
        whole = [round(part / step) for part in parts]
        step = reference.product(parts, whole) / reference.product(whole, whole)
        for i, code in enumerate(codes):
            signs = [1 if bit == "1" else -1 for bit in reference.bits_of(code.tolist())][:DIM]
            vector = [
                float(m) + float(d) * s
                for m, d, s in zip(state["mean"], state["deviations"], signs, strict=True)
            ]
            summed = step * reference.product(whole, signs) + reference.product(query, state["mean"])
            assert scores[i, j] == pytest.approx(summed / math.hypot(*vector), abs=2e-3)


@pytest.mark.parametrize("name", [name for name in names(Quantizer) if name not in CODED_QUERIES])
@settings(max_examples=5, deadline=None)
@given(st.integers(3, 60), st.integers(5, 21), st.integers(0, 100))
def test_scores_are_products_with_what_the_codes_decode_to(
    name: str, count: int, dim: int, seed: int
) -> None:
    sample = vectors(count, seed, dim)
    quantizer = fitted(name, sample)
    codes = quantizer.encode(sample)
    assert codes.shape == (count, quantizer.code_bytes)
    assert codes.dtype == np.uint8
    decoded = quantizer.decode(codes)
    assert decoded.shape == sample.shape
    assert decoded.dtype == np.float32
    queries = vectors(4, seed + 1, dim)
    scores = quantizer.score(quantizer.encode_query(queries), codes)
    assert scores.dtype == np.float32 and scores.flags.c_contiguous
    np.testing.assert_allclose(scores, decoded @ queries.T, atol=2e-5)
    alone = quantizer.score(quantizer.encode_query(queries[0]), codes)
    assert alone.shape == (count,)
    np.testing.assert_allclose(alone, scores[:, 0], atol=1e-6)
    assert quantizer.encode(sample[:0]).shape == (0, quantizer.code_bytes)


@every(Quantizer)
@pytest.mark.parametrize("odd", ["one", "two", "duplicates", "zeros among"])
def test_few_and_duplicate_vectors_are_coded_alike_and_finite(name: str, odd: str) -> None:
    sample = {
        "one": vectors(1),
        "two": vectors(2),
        "duplicates": np.repeat(vectors(3), 5, axis=0),
        "zeros among": np.concatenate([vectors(4), np.zeros((2, DIM), np.float32)]),
    }[odd]
    quantizer = fitted(name, sample)
    codes = quantizer.encode(sample)
    scores = quantizer.score(quantizer.encode_query(sample), codes)
    assert np.isfinite(scores).all() and np.isfinite(quantizer.decode(codes)).all()
    if odd == "duplicates":
        # The same holds on a processor that rounds otherwise, as if the vectors were off by a last bit.
        off = np.random.default_rng(0).choice([-1, 0, 1], sample.shape) * np.float32(2**-23)
        rounded = quantizer.encode(sample * (1 + off))
        for group in (codes, rounded):
            decoded, scores = quantizer.decode(group), quantizer.score(quantizer.encode_query(sample), group)
            for values in (decoded, scores):
                assert all(np.ptp(values[5 * i : 5 * i + 5], axis=0).max() < ALIKE for i in range(3))
    np.testing.assert_array_equal(fitted(name, sample).encode(sample), codes)
    assert quantizer.describe().code_bytes == codes.shape[1] == quantizer.bytes_per_vector(DIM)


@every(Quantizer)
@pytest.mark.parametrize("sample", [np.zeros((5, 9)), np.full((40, 9), 1 / 3), np.eye(9)[:1]])
def test_constant_and_single_vectors_stay_finite(name: str, sample: np.ndarray) -> None:
    quantizer = fitted(name, sample.astype(np.float32))
    decoded = quantizer.decode(quantizer.encode(sample))
    assert np.isfinite(decoded).all()
    if quantizer.kind in REPRODUCES and not name.startswith("centroids-"):
        np.testing.assert_allclose(decoded, sample, atol=2e-3)


@every(Quantizer)
def test_vectors_that_cannot_be_used_are_refused(name: str) -> None:
    sample = vectors(100)
    with pytest.raises(NotFittedError):
        fresh(name).encode(sample)
    with pytest.raises(LengthMismatchError, match=r"^X"):
        fresh(name).fit(sample[:0])
    quantizer = fitted(name, sample)
    assert isinstance(quantizer, Quantizer) and quantizer.dim == DIM
    with pytest.raises(DimensionError, match=r"^X"):
        quantizer.encode(sample[:, :7])
    with pytest.raises(DimensionError, match=r"^codes"):
        quantizer.decode(np.zeros((2, quantizer.code_bytes + 1), np.uint8))
    with pytest.raises(DimensionError, match=r"^codes"):
        quantizer.score(quantizer.encode_query(sample[0]), np.zeros((2, 0), np.uint8))
    with pytest.raises(DimensionError, match=r"^q"):
        quantizer.encode_query(np.zeros(DIM + 1))
    broken = sample.copy()
    broken[3, 2] = np.nan
    with pytest.raises(NonFiniteError, match=r"^X\[3\]"):
        quantizer.encode(broken)
    broken[3, 2] = -1e20
    with pytest.raises(InvalidArgumentError, match=r"^X\[3\].*at most 1\.126e\+15.*1e\+20"):
        quantizer.encode(broken)


@pytest.mark.parametrize("name", ["centroids", "residual", "bit-allocation"])
def test_too_few_vectors_are_named(name: str) -> None:
    assert "5 vectors" in fitted(name, vectors(5)).describe().notes[0]


# Token codes: those of documents, and every quantizer that a recipe takes for tokens.

TOKEN_CODES = [name for name in CASES if CASES[name].method.kind in registered("token_codes")]


@pytest.mark.usefixtures("exact_tables")
@pytest.mark.parametrize("name", names(TokenCodes))
def test_scores_of_documents_are_those_of_plain_loops_over_state_and_bits(name: str) -> None:
    codes, tokens = fitted(name), documents(6, seed=1)
    strings, query, state = codes.encode(tokens), documents(1, seed=2)[0][:3], codes.get_state()
    slow = CASES[name].reference
    expected = [sum(max(slow(codes, state, q.tolist(), string)) for q in query) for string in strings]
    np.testing.assert_allclose(codes.maxsim(query, strings), expected, atol=1e-5)


@pytest.mark.usefixtures("exact_tables")
@pytest.mark.parametrize("name", TOKEN_CODES)
@pytest.mark.parametrize("lengths", [[1], [0, 3, 0, 7], [0]])
def test_documents_of_any_length_are_coded_and_scored(name: str, lengths: list[int]) -> None:
    codes = fresh(name).token_codes().fit(documents())
    assert codes.fitted and codes.dim == codes.fitted_dim == DIM
    rows = vectors(sum(lengths), seed=4) if sum(lengths) else np.zeros((0, DIM), np.float32)
    tokens = TokenBatch(rows, np.concatenate([[0], np.cumsum(lengths)]))
    strings = codes.encode(tokens)
    assert all(isinstance(string, bytes) for string in strings)
    assert all(len(s) <= size for s, size in zip(strings, codes.sizes(tokens), strict=True))
    decoded, query = codes.decode(strings), vectors(3, seed=5)
    assert decoded.lengths.tolist() == lengths and decoded.dim == DIM
    scores = codes.maxsim(query, strings)
    if name not in CODED_QUERIES:
        np.testing.assert_allclose(scores, maxsim(query, decoded), atol=1e-4)
    products = codes.products(query, strings)
    assert products.lengths.tolist() == lengths and products.dim == len(query)
    highest = [matrix.max(axis=0).sum() if len(matrix) else -np.inf for matrix in products]
    np.testing.assert_allclose(scores, highest, atol=1e-4)
    assert scores.dtype == np.float32 and np.isneginf(scores[np.array(lengths) == 0]).all()
    assert [codes.encode(tokens[i : i + 1])[0] for i in range(len(tokens))] == strings
    assert codes.maxsim(query, []).shape == (0,)


@pytest.mark.parametrize("name", [name for name in names(Quantizer)])
def test_memory_of_maxsim_over_codes_grows_by_the_codes_alone(name: str) -> None:
    tokens, query = 100, vectors(32, seed=1)
    coder = TokenCoder(fitted(name), 0)
    code = coder.quantizer.encode(vectors(tokens, seed=2)).tobytes()
    peaks = []
    for count in (250, 500, 1000):
        strings = [code] * count
        coder.score(query, strings)
        tracemalloc.start()
        coder.score(query, strings)
        peaks.append(tracemalloc.get_traced_memory()[1])
        tracemalloc.stop()
        # All products at once would be 12.8 MB for 1,000 documents, and as much again for their maxima.
        assert peaks[-1] < 3 * count * len(code) + 4e6
    assert peaks[2] - peaks[1] < 3 * (peaks[1] - peaks[0]) + 5e5


# Transforms.


@every(Transform)
def test_results_are_those_of_plain_loops_over_state(name: str) -> None:
    transform = fitted(name)
    slow, state, sample = CASES[name].reference, transform.get_state(), vectors(6, seed=1)
    for query, fast in ((False, transform.transform(sample)), (True, transform.transform_query(sample))):
        expected = [slow(transform, state, vector.tolist(), query) for vector in sample]
        np.testing.assert_allclose(fast, expected, atol=2e-5)
        if transform.unit_length:
            np.testing.assert_allclose(np.linalg.norm(fast, axis=1), 1, rtol=1e-5)


@every(Transform)
@pytest.mark.parametrize("count", [1, 3])
def test_transforms_of_few_and_duplicate_vectors_are_finite(name: str, count: int) -> None:
    sample = np.repeat(vectors(count), 4, axis=0)
    transform = fitted(name, sample)
    transformed = transform.transform(sample)
    assert np.isfinite(transformed).all() and np.isfinite(transform.transform_query(vectors())).all()
    assert all(np.ptp(transformed[4 * i : 4 * i + 4], axis=0).max() < 1e-5 for i in range(count))


@every(Transform)
def test_transforms_name_the_argument_that_is_wrong(name: str) -> None:
    transform = fitted(name)
    with pytest.raises(DimensionError, match=r"^X"):
        transform.transform(np.zeros(DIM))
    with pytest.raises(NonFiniteError, match=r"^Q\[1\]"):
        transform.transform_query([[0.0] * DIM, [np.nan] * DIM])
    if transform.fitted_dim is not None:
        with pytest.raises(DimensionError, match=r"^Q"):
            transform.transform_query(np.zeros((2, DIM + 1)))
        with pytest.raises(LengthMismatchError, match=r"^X"):
            fresh(name).fit(vectors()[:0])
    assert transform.output_dim(DIM) == transform.transform(vectors()).shape[1]
    assert transform.describe(DIM).output_dim == transform.output_dim(DIM)


# Adapters.


@every(Adapter)
def test_mapped_queries_are_those_of_plain_loops_over_state(name: str) -> None:
    adapter, sample = fitted(name), vectors(6, seed=1)
    expected = [CASES[name].reference(adapter, adapter.get_state(), vector.tolist()) for vector in sample]
    np.testing.assert_allclose(adapter.transform(sample), expected, atol=2e-5)


@every(Adapter)
def test_adapters_name_the_argument_that_is_wrong(name: str) -> None:
    adapter = fitted(name)
    assert adapter.new_dim == DIM
    with pytest.raises(DimensionError, match=r"^X"):
        adapter.transform(np.zeros((2, DIM + 1)))
    with pytest.raises(LengthMismatchError, match=r"^old"):
        fresh(name).fit(vectors(), vectors()[1:])
    smallest = fresh(name).fit(vectors(1), vectors(1))
    assert np.isfinite(smallest.transform(vectors(3))).all()


# Encodings.


@every(Encoding)
def test_scores_of_encodings_are_those_of_the_reference_up_to_a_factor(name: str) -> None:
    encoding, sample = fitted(name), documents()
    found, queries = documents(4, seed=1), documents(3, seed=2)
    scores = encoding.encode_queries(queries) @ encoding.encode_documents(found).T
    expected = CASES[name].reference(encoding, sample, found, queries)
    factor = (scores * expected).sum() / np.square(expected).sum()
    # Learned encodings round tokens, landmarks and directions to bytes, when they learn too, and what
    # learning makes of that depends on the processor.
    within = 0.1 if encoding.drifts else 1e-4
    np.testing.assert_allclose(scores / factor, expected, atol=within * np.abs(expected).max())


@every(Encoding)
def test_encodings_have_their_size_and_type_and_name_what_is_wrong(name: str) -> None:
    encoding = fitted(name)
    tokens = TokenBatch(documents(1).values, np.array([0, 0, len(documents(1).values)]))
    for encoded in (encoding.encode_documents(tokens), encoding.encode_queries(tokens)):
        assert encoded.shape == (2, encoding.output_dim(DIM)) and encoded.dtype == encoding.dtype
        assert not encoded[0].any() and encoded[1].any()
    assert encoding.datatype.value == encoding.dtype
    assert encoding.comparable(encoded).shape[0] == 2
    assert encoding.comparable(encoded[1]).shape == encoding.comparable(encoded)[1].shape
    assert encoding.can_learn(documents()) and encoding.hnsw_ef != 0
    weighed = encoding.encode_queries(tokens, np.full(len(tokens.values), 2.0))
    np.testing.assert_allclose(weighed, 2 * encoded, rtol=1e-5)
    with pytest.raises(LengthMismatchError, match="token_weights"):
        encoding.encode_queries(tokens, [1.0])
    if encoding.fitted_dim is not None:
        with pytest.raises(DimensionError, match=r"^tokens"):
            encoding.encode_documents(documents(dim=DIM + 1))
    if encoding.drifts:
        assert encoding.drift(documents(seed=9)) > 0
    else:
        with pytest.raises(InvalidArgumentError, match="drift"):
            encoding.drift(documents())


# Weights of query tokens.


@every(QueryWeights)
def test_weights_are_those_of_plain_loops_over_state(name: str) -> None:
    weights, tokens = fitted(name), documents(2, seed=1)
    expected = [CASES[name].reference(weights, weights.get_state(), x.tolist()) for x in tokens.values]
    np.testing.assert_allclose(weights.weights(tokens), expected, rtol=1e-5)
    assert (weights.weights(tokens) > 0).all()
    with pytest.raises(DimensionError, match=r"^queries"):
        weights.weights(documents(dim=DIM + 1))


# Reductions.


@every(Reduction)
def test_what_is_left_is_what_plain_loops_leave(name: str) -> None:
    method, tokens = fresh(name), documents(5, seed=1)
    saliency = np.arange(len(tokens.values)) % 7
    left = method.reduce(tokens, saliency)
    parts = np.split(saliency, tokens.offsets[1:-1])
    for got, matrix, mine in zip(left.tokens, tokens, parts, strict=True):
        expected = CASES[name].reference(method, matrix.astype(np.float64), mine)
        np.testing.assert_allclose(got, expected, rtol=1e-5, atol=1e-5)
    assert len(left.owner) == len(tokens.values)
    several = (left.counts > 1).any()
    assert not several or method.pools
    nothing = method.reduce(tokens[:0], np.zeros(0))
    assert len(nothing.tokens) == 0


@every(Reduction)
def test_a_reduction_says_what_it_reads(name: str) -> None:
    method, tokens = fresh(name), documents(2)
    if method.needs_saliency:
        with pytest.raises(InvalidArgumentError, match=r"^saliency"):
            method.reduce(tokens)
    else:
        np.testing.assert_array_equal(method.reduce(tokens).tokens.values, reduced(method, tokens).values)
