from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import TypeAdapter

from embplug.errors import (
    DimensionError,
    InvalidArgumentError,
    LengthMismatchError,
    NonFiniteError,
    NotFittedError,
    StateError,
)
from embplug.methods import (
    PCA,
    ITQRotation,
    LearnedTruncation,
    OPQRotation,
    Rotation,
    SparseRandomProjection,
    Truncation,
)
from embplug.methods.numeric.arrays import LARGEST_NUMBER
from embplug.methods.numeric.rows import unit_rows

LEARNED = [
    PCA(4),
    PCA(),
    PCA(3, whiten="documents"),
    PCA(3, whiten="both", center="both"),
    PCA(4, solver="randomized"),
    ITQRotation(iterations=5),
    OPQRotation(2, iterations=2),
    LearnedTruncation(4, steps=3, batch=8),
    LearnedTruncation(3, steps=3, batch=8, target="binary", sampling="random"),
]
DRAWN = [Rotation(), Rotation(rounds=1, seed=3), SparseRandomProjection(4), Truncation(4)]
ALL = LEARNED + DRAWN
SMALL = settings(max_examples=15, deadline=None)


def name_of(transform: object) -> str:
    return repr(transform)[:50]


def vectors(count: int, dim: int, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    mixing = generator.standard_normal((dim, dim)) * np.geomspace(1, 0.1, dim)
    return (generator.standard_normal((count, dim)) @ mixing.T + generator.standard_normal(dim)).astype(
        np.float32
    )


@pytest.mark.parametrize("transform", ALL, ids=name_of)
@SMALL
@given(dim=st.integers(4, 21), count=st.integers(1, 60), seed=st.integers(0, 1000))
def test_shapes_types_and_state(transform, dim: int, count: int, seed: int) -> None:
    sample = vectors(count, dim, seed)
    transform.fit(sample)
    transformed, queries = transform.transform(sample), transform.transform_query(sample[:2])
    assert transformed.shape == (count, transform.output_dim(dim))
    assert transformed.dtype == queries.dtype == np.float32
    assert np.isfinite(transformed).all()
    assert np.isfinite(queries).all()
    again = TypeAdapter(type(transform)).validate_json(TypeAdapter(type(transform)).dump_json(transform))
    assert again == transform
    again.set_state(transform.get_state())
    np.testing.assert_array_equal(again.transform(sample), transformed)
    np.testing.assert_array_equal(again.transform_query(sample[:2]), queries)
    description = transform.describe()
    assert again.describe() == description
    assert description.output_dim in (None, transformed.shape[1])
    assert description.to_dict()["method"] == transform.kind
    assert transform.transform(sample[:0]).shape == (0, transform.output_dim(dim))


@pytest.mark.parametrize("transform", ALL, ids=name_of)
def test_the_same_seed_gives_the_same_bytes(transform) -> None:
    sample = vectors(80, 12)
    first = transform.fit(sample).transform(sample)
    np.testing.assert_array_equal(transform.fit(sample).transform(sample), first)


@pytest.mark.parametrize("transform", ALL, ids=name_of)
def test_constant_and_duplicate_vectors_stay_finite(transform) -> None:
    for sample in (np.zeros((7, 6)), np.ones((7, 6)), np.repeat(vectors(2, 6), 5, axis=0)):
        transformed = transform.fit(sample).transform(sample)
        assert np.isfinite(transformed).all()


@pytest.mark.parametrize("transform", ALL, ids=name_of)
def test_wrong_vectors_are_named(transform) -> None:
    transform.fit(vectors(20, 8))
    with pytest.raises(DimensionError, match=r"^X"):
        transform.transform(np.zeros(8))
    with pytest.raises(NonFiniteError, match=r"^Q\[1\]"):
        transform.transform_query([[0.0] * 8, [np.nan] * 8])
    with pytest.raises(StateError):
        transform.set_state({"other": np.zeros(1)})


@pytest.mark.parametrize("transform", LEARNED, ids=name_of)
def test_what_learns_says_so_before_fit(transform) -> None:
    fresh = (
        type(transform)(2) if isinstance(transform, (OPQRotation, LearnedTruncation)) else type(transform)()
    )
    assert not fresh.fitted
    assert fresh.get_state() == {}
    with pytest.raises(NotFittedError):
        fresh.transform(np.zeros((1, 4)))
    with pytest.raises(NotFittedError):
        fresh.describe()
    with pytest.raises(LengthMismatchError, match=r"^X"):
        fresh.fit(np.zeros((0, 4)))


@pytest.mark.parametrize("transform", [PCA(9), Truncation(9), SparseRandomProjection(9)], ids=name_of)
def test_more_dimensions_than_there_are_is_an_error(transform) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^dim"):
        transform.output_dim(8)


def test_what_learns_nothing_describes_vectors_of_a_dimension() -> None:
    assert Truncation(4).describe(16).ratio == 4 and Truncation(4).describe().ratio is None
    assert SparseRandomProjection(4).describe(16).ratio == 4
    described = Rotation().describe(16)
    assert (described.bits, described.ratio) == (512, 1) and Rotation().describe().bits is None


@pytest.mark.parametrize(
    ("transform", "enough"),
    [(OPQRotation(2, bits=3, iterations=2), 8), (ITQRotation(2), 6), (LearnedTruncation(5, steps=0), 5)],
    ids=name_of,
)
def test_too_few_vectors_are_noted(transform, enough: int) -> None:
    assert transform.fit(vectors(enough, 6)).describe().notes == ()
    transform.fit(vectors(3, 6))
    assert transform.describe().notes[0].startswith("3 vectors to learn from")


def test_pca_says_which_solver_it_took() -> None:
    sample = vectors(40, 30)
    for pca, passes in ((PCA(4, solver="randomized"), True), (PCA(4), False)):
        assert ("passes" in pca.fit(sample).describe().fit_cost) == passes
        restored = PCA(4, solver=pca.solver)
        restored.set_state(pca.get_state())
        assert restored.describe() == pca.describe()
    few = PCA(4, solver="randomized").fit(sample[:20])
    assert "passes" not in few.describe().fit_cost
    assert "passes" not in PCA(4, solver="randomized").partial_fit(sample).describe().fit_cost


def test_unknown_parameters_are_refused() -> None:
    with pytest.raises(InvalidArgumentError):
        PCA(4, centre="documents")  # type: ignore[call-arg]


@pytest.mark.parametrize(
    "transform",
    [Rotation(), ITQRotation(iterations=3), OPQRotation(4, iterations=2), PCA(center="none")],
    ids=name_of,
)
@pytest.mark.parametrize("dim", [4, 7, 12, 33])
def test_rotations_keep_dot_products(transform, dim: int) -> None:
    sample = vectors(64, dim)
    transformed = transform.fit(sample).transform(sample)
    np.testing.assert_allclose(
        transformed @ transformed.T, sample @ sample.T, atol=1e-3 * np.abs(sample @ sample.T).max()
    )


def test_a_rotation_evens_out_coordinates() -> None:
    spike = np.zeros((1, 384), dtype=np.float32)
    spike[0, 5] = 1
    assert np.abs(Rotation().transform(spike)).max() < 0.35


@pytest.mark.parametrize("whiten", ["none", "documents"])
def test_pca_keeps_dot_products_but_for_a_constant_a_query(whiten: str) -> None:
    sample, queries = vectors(200, 10), vectors(5, 10, seed=7)
    pca = PCA(whiten=whiten).fit(sample)
    differences = queries @ sample.T - pca.transform_query(queries) @ pca.transform(sample).T
    np.testing.assert_allclose(differences - differences[:, :1], 0, atol=1e-2)


def test_pca_agrees_with_a_singular_value_decomposition() -> None:
    sample = vectors(300, 16)
    centred = sample - sample.mean(axis=0)
    _, values, right = np.linalg.svd(centred.astype(np.float64), full_matrices=False)
    for solver in ("exact", "randomized"):
        pca = PCA(5, solver=solver).fit(sample)  # type: ignore[arg-type]
        assert pca.components_ is not None
        assert pca.variances_ is not None
        np.testing.assert_allclose(pca.variances_, values[:5] ** 2 / 300, rtol=1e-3)
        np.testing.assert_allclose(np.abs((pca.components_ * right[:5]).sum(axis=1)), 1, atol=1e-3)


@SMALL
@given(cuts=st.lists(st.integers(0, 90), max_size=4))
def test_incremental_pca_is_pca_of_all_batches(cuts: list[int]) -> None:
    sample = vectors(90, 6)
    whole, parts = PCA(3).fit(sample), PCA(3)
    for part in np.split(sample, sorted(cuts)):
        if len(part):
            parts.partial_fit(part)
    np.testing.assert_allclose(parts.transform(sample), whole.transform(sample), atol=1e-4)


def test_pca_of_the_largest_numbers_can_be_stored() -> None:
    signs = np.random.default_rng(0).choice([-LARGEST_NUMBER, LARGEST_NUMBER], size=(50, 8))
    fitted = PCA(dim=4).fit(signs)
    again = PCA(dim=4)
    again.set_state(fitted.get_state())
    np.testing.assert_array_equal(again.transform(signs), fitted.transform(signs))
    state = fitted.get_state()
    with pytest.raises(StateError, match="'variances' of PCA: expected values of at most"):
        PCA(dim=4).set_state({**state, "variances": state["variances"] * np.float32(1e6)})


def test_incremental_pca_solves_once_when_asked_and_not_the_whole_problem(monkeypatch) -> None:
    import scipy.linalg

    solved = []

    def counted(*arguments, **options):
        solved.append(arguments[0].shape)
        return eigh(*arguments, **options)

    eigh = scipy.linalg.eigh
    monkeypatch.setattr(scipy.linalg, "eigh", counted)
    sample = vectors(300, 60)
    parts, randomized = PCA(4), PCA(4, solver="randomized")
    for batch in np.split(sample, 5):
        parts.partial_fit(batch)
        randomized.partial_fit(batch)
    assert solved == []
    whole = PCA(4, solver="randomized").fit(sample).transform(sample)
    np.testing.assert_allclose(randomized.transform(sample), whole, atol=1e-2)
    assert solved == []
    np.testing.assert_allclose(parts.transform(sample), whole, atol=1e-2)
    assert parts.describe().output_dim == 4
    assert solved == [(60, 60)]
    first = parts.transform(sample[:10])
    parts.partial_fit(3 * vectors(300, 60, seed=4))
    assert np.abs(parts.transform(sample[:10]) - first).max() > 0.1
    assert len(solved) == 2


def test_incremental_pca_does_not_continue_what_it_does_not_know() -> None:
    restored = PCA(3)
    restored.set_state(PCA(3).fit(vectors(50, 6)).get_state())
    with pytest.raises(InvalidArgumentError, match="beginning"):
        restored.partial_fit(vectors(50, 6))


def test_fewer_samples_than_components_is_named() -> None:
    pca = PCA(8, whiten="documents").fit(vectors(3, 10))
    assert "6 of 8 components hold nothing" in pca.describe().notes[0]


def test_truncation_brings_prefixes_to_unit_length() -> None:
    prefixes = Truncation(3).transform([[3.0, 0, 4, 9], [0, 0, 0, 1]])
    np.testing.assert_allclose(prefixes, [[0.6, 0, 0.8], [0, 0, 0]])


def test_learned_truncation_ranks_better_than_plain_truncation() -> None:
    sample = unit_rows(vectors(400, 32))
    exact = sample @ sample.T
    np.fill_diagonal(exact, -1)

    def kept(short: np.ndarray) -> float:
        scores = unit_rows(short) @ unit_rows(short).T
        np.fill_diagonal(scores, -1)
        return float((scores.argmax(axis=1) == exact.argmax(axis=1)).mean())

    learned = LearnedTruncation(16, prefixes=(8,), steps=100, batch=64).fit(sample).transform(sample)
    assert kept(learned[:, :8]) > kept(sample[:, :8]) + 0.1


def test_prefixes_beyond_the_result_are_refused() -> None:
    with pytest.raises(InvalidArgumentError, match="prefixes"):
        LearnedTruncation(8, prefixes=(9,))


def test_random_projection_keeps_dot_products_on_average() -> None:
    sample = vectors(6, 400)
    expected = sample @ sample.T
    projected = [SparseRandomProjection(100, seed=seed).transform(sample) for seed in range(60)]
    mean = np.mean([each @ each.T for each in projected], axis=0)
    assert np.abs(mean - expected).max() < 0.1 * np.abs(expected).max()
