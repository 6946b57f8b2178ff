"""What every branch inherits: its state and description, and Qdrant's search parameters."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from qdrant_client import models

from embplug import Dense, Multivector, Rerank, Sparse, Storage, Tokens
from embplug.branches.base import Branch, search_params, vector_of
from embplug.branches.dense import DenseBranch
from embplug.branches.queries import CheckedQuery
from embplug.branches.sparse import SparseBranch
from embplug.branches.tokens import TokensBranch
from embplug.encoders import Encoded
from embplug.methods import PCA, PowerQuantizer, Rotation
from embplug.search.types import SearchOptions
from tests.branches.parts import DIM, SMALL_FDE, documents, vectors

QUANTIZED = Storage(quantization={"scalar": {"type": "int8"}})
BRANCHES = [
    TokensBranch(Tokens(dim=DIM, encoding=SMALL_FDE, multivector=Multivector(), codes=None), Rerank()),
    DenseBranch("d", Dense(dim=DIM), Rerank()),
    SparseBranch(Sparse(average_length=3.0)),
]


def two_methods(*fitted: bool) -> DenseBranch:
    pca, codes = PCA(4), PowerQuantizer()
    for method, learned in zip((pca, codes), fitted, strict=True):
        if learned:
            method.fit(vectors(30))
    return DenseBranch("d", Dense(dim=DIM, transforms=[pca], codes=codes), Rerank())


@pytest.mark.parametrize(
    ("learned", "fitted"),
    [((True, True), True), ((True, False), False), ((False, True), False), ((False, False), False)],
)
def test_a_branch_is_fitted_when_all_its_methods_are(learned: tuple[bool, bool], fitted: bool) -> None:
    assert two_methods(*learned).fitted == fitted


def test_a_branch_without_methods_that_learn_is_fitted() -> None:
    branch = DenseBranch("d", Dense(dim=DIM, transforms=[Rotation()]), Rerank())
    assert branch.fitted and branch.get_state() == {}
    assert all(branch.fitted for branch in BRANCHES)


def test_the_state_of_each_method_stands_under_its_key() -> None:
    branch = two_methods(True, False)
    state = branch.get_state()
    assert state and {key.rpartition(".")[0] for key in state} == {"dense['d'].0"}
    other = two_methods(False, True)
    learned_codes = other.codes
    other.set_state(state)
    assert other.fitted and other.codes is learned_codes
    np.testing.assert_array_equal(
        other.transforms[0].transform(vectors(3)), branch.transforms[0].transform(vectors(3))
    )


@pytest.mark.parametrize("branch", BRANCHES, ids=lambda branch: branch.name)
def test_what_a_branch_does_not_take_it_leaves_alone(branch: Branch) -> None:
    source, query = documents(2), CheckedQuery()
    assert branch.reduce(source) is source
    assert branch.prepare(query) is query
    assert {*branch.vectors_config()}.isdisjoint(branch.sparse_vectors_config())
    if branch.encoder_output is None:
        assert branch.has_documents(source)
        assert branch.take_documents(source, Encoded(), "model") is source
        assert branch.take_query(query, Encoded(), 0, "model") is query


@pytest.mark.parametrize("branch", BRANCHES, ids=lambda branch: branch.name)
def test_every_method_with_state_has_a_place(branch: Branch) -> None:
    places = branch.places().values()
    assert all(any(method is other for other in places) for method in branch.methods().values())
    assert branch.describe().keys() == branch.places().keys()


@pytest.mark.parametrize(
    ("oversampling", "final", "expected"),
    [(None, True, None), (None, False, (False, None)), (3.0, True, (True, 3.0)), (3.0, False, (True, 3.0))],
)
def test_quantized_vectors_are_rescored_with_oversampling_alone(
    oversampling: float | None, final: bool, expected: Any
) -> None:
    params = search_params(Rerank(oversampling=oversampling), QUANTIZED, SearchOptions(), final=final)
    quantization = params.quantization
    assert expected == (quantization and (quantization.rescore, quantization.oversampling))
    plain = search_params(Rerank(oversampling=oversampling), Storage(), SearchOptions(), final=final)
    assert plain.quantization is None


def test_the_beam_is_the_recipes_or_the_default_of_the_branch() -> None:
    options = SearchOptions()
    assert search_params(Rerank(), Storage(), options, final=True, hnsw_ef=400).hnsw_ef == 400
    assert search_params(Rerank(hnsw_ef=9), Storage(), options, final=True, hnsw_ef=400).hnsw_ef == 9


def test_what_the_user_sets_overrides_the_recipe_and_nothing_else() -> None:
    own = models.SearchParams(hnsw_ef=5, indexed_only=True)
    options = SearchOptions(search_params=own, exact=True)
    params = search_params(Rerank(hnsw_ef=9, oversampling=2.0), QUANTIZED, options, final=True)
    assert (params.hnsw_ef, params.indexed_only, params.exact) == (5, True, True)
    assert params.quantization is not None and params.quantization.oversampling == 2.0


def test_an_exact_search_stays_exact_whatever_else_the_user_sets() -> None:
    """``SearchParams.exact`` is False where the user does not set it."""
    options = SearchOptions(search_params=models.SearchParams(hnsw_ef=5), exact=True)
    assert search_params(Rerank(), Storage(), options, final=True).exact is True
    own = SearchOptions(search_params=models.SearchParams(exact=True))
    assert search_params(Rerank(), Storage(), own, final=True).exact is True


def test_a_vector_of_a_record_is_found_with_and_without_its_name() -> None:
    assert vector_of(models.Record(id=1, vector={"a": [1.0], "b": [2.0]}), "b") == [2.0]
    assert vector_of(models.Record(id=1, vector=[3.0]), "b") == [3.0]
    assert vector_of(models.Record(id=1, vector={"a": [1.0]}), "b") is None
