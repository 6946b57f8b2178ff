"""The sparse branch: what it stores of texts, and how it finds by words."""

from __future__ import annotations

import numpy as np
import pytest
from qdrant_client import models

from embplug import Sparse
from embplug.branches.bm25 import BM25Encoder
from embplug.branches.documents import CheckedSample
from embplug.branches.queries import CheckedQuery
from embplug.branches.sparse import SparseBranch
from embplug.errors import InvalidArgumentError, NotFittedError
from embplug.search.types import SearchOptions
from tests.branches.parts import documents

TEXTS = ["red apples and green apples", "a green tree", "red"]
FIXED = Sparse(average_length=2.0, language=None)
LEARNED = Sparse(language=None)
QUERY = CheckedQuery(text="green apples")


def learned() -> SparseBranch:
    branch = SparseBranch(LEARNED)
    branch.fit(CheckedSample(None, {}, texts=TEXTS))
    return branch


def test_the_words_of_the_query_find() -> None:
    branch = SparseBranch(FIXED)
    stage = branch.find(QUERY, SearchOptions(), final=True)
    assert stage is not None and (stage.name, stage.using, stage.among) == ("sparse", "sparse", ())
    assert stage.query.nearest == BM25Encoder(FIXED).encode_query("green apples")
    assert stage.params is not None and stage.params.exact is None
    exact = branch.find(QUERY, SearchOptions(exact=True), final=True)
    assert exact is not None and exact.params is not None and exact.params.exact is True


def test_a_query_without_a_text_finds_nothing() -> None:
    branch = SparseBranch(FIXED)
    assert branch.find(CheckedQuery(), SearchOptions(), final=True) is None
    assert branch.has_query(QUERY) and not branch.has_query(CheckedQuery())
    assert branch.lacks_query().argument == "text"


def test_it_ranks_nothing_and_takes_nothing_of_an_encoder() -> None:
    branch = SparseBranch(FIXED)
    assert branch.ranker(QUERY, SearchOptions()) is None
    assert branch.encoder_output is None and not branch.suffices and branch.codes_fields == ()


def test_texts_are_stored_as_sparse_vectors() -> None:
    stored = SparseBranch(FIXED).encode(documents(3, texts=TEXTS))
    expected = BM25Encoder(FIXED).encode(TEXTS)
    assert [*stored.vectors] == ["sparse"] and stored.codes == {}
    assert stored.vectors["sparse"].lists() == expected.lists()
    assert SparseBranch(FIXED).encode(documents(3)).vectors == {}


def test_qdrant_computes_the_rarity_of_terms() -> None:
    assert SparseBranch(FIXED).vectors_config() == {}
    (params,) = SparseBranch(FIXED).sparse_vectors_config().values()
    assert params.modifier == models.Modifier.IDF and params.index is None
    on_disk = SparseBranch(Sparse(on_disk=True, datatype="float16")).sparse_vectors_config()["sparse"]
    assert (on_disk.index.on_disk, on_disk.index.datatype) == (True, "float16")


def test_the_average_length_is_learned_from_texts() -> None:
    branch = SparseBranch(LEARNED)
    assert not branch.fitted and branch.get_state() == {} and not branch.learns_from_tokens
    branch.fit(CheckedSample(None, {}, texts=TEXTS))
    assert branch.fitted
    assert {key: float(array) for key, array in branch.get_state().items()} == {"sparse.average_length": 3.0}
    with pytest.raises(InvalidArgumentError) as raised:
        SparseBranch(LEARNED).fit(CheckedSample(None, {}))
    assert raised.value.argument == "sample.texts"


def test_a_branch_with_the_same_state_stores_the_same() -> None:
    fitted, other = learned(), SparseBranch(LEARNED)
    other.set_state(fitted.get_state())
    assert other.fitted
    source = documents(3, texts=TEXTS)
    assert other.encode(source).vectors["sparse"].lists() == fitted.encode(source).vectors["sparse"].lists()


def test_a_length_in_the_recipe_is_not_state() -> None:
    branch = SparseBranch(FIXED)
    assert branch.fitted and branch.get_state() == {}


def test_it_describes_what_it_has_learned() -> None:
    (described,) = learned().describe().values()
    assert described["method"] == "bm25" and described["state_bytes"] == 8
    assert described["notes"] == ["average_length is 3 terms"]
    assert (described["dim"], described["code_bytes"], described["ratio"]) == (None, None, None)
    (in_recipe,) = SparseBranch(FIXED).describe().values()
    assert (in_recipe["state_bytes"], in_recipe["notes"], in_recipe["fit_cost"]) == (0, [], "none")
    with pytest.raises(NotFittedError):
        SparseBranch(LEARNED).describe()


def test_numbers_are_estimated_from_the_length_of_texts() -> None:
    counted = SparseBranch(FIXED).count_numbers(documents(3, texts=TEXTS))
    np.testing.assert_array_equal(counted, [27 // 3, 12 // 3, 1])
    assert SparseBranch(FIXED).count_numbers(documents(3)) == 0


def test_documents_are_not_compared_by_words() -> None:
    branch = SparseBranch(FIXED)
    for compare in (branch.compared, lambda: branch.similarities(QUERY, [])):
        with pytest.raises(InvalidArgumentError) as raised:
            compare()
        assert raised.value.argument == "text"
