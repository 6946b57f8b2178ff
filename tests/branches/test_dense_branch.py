"""The dense branch: what it stores, how it finds, and where its codes lie."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from qdrant_client import models

from embplug import Dense, Rerank
from embplug.branches.dense import CodesLayout, DenseBranch, adapter_key, dense_branches, dense_key
from embplug.branches.documents import CheckedSample
from embplug.branches.queries import CheckedQuery
from embplug.branches.vector_version import PreviousModel, VectorVersion
from embplug.common import base85
from embplug.common.ids import DENSE_CODES, MODEL
from embplug.encoders import Encoded
from embplug.errors import DimensionError, InvalidArgumentError, StateError
from embplug.methods import PCA, PowerQuantizer, Procrustes, RecurrentBinaryQuantizer, Rotation, Truncation
from embplug.methods.numeric.rows import unit_rows
from embplug.search.types import SearchOptions
from tests.branches.parts import DIM, documents, vectors

DOCUMENTS = vectors(60, seed=0) * np.linspace(0.5, 2, 60, dtype=np.float32)[:, None] + np.float32(0.1)
VECTOR = vectors(1, seed=1) * 3
INT8 = {"scalar": {"type": "int8"}}
SIGNS = {"codes": RecurrentBinaryQuantizer(dim_out=16, levels=1, steps=0), "signs": True}


def dense_branch(version: VectorVersion | None = None, name: str = "d", **fields: Any) -> DenseBranch:
    """A branch that is fitted where anything learns."""
    branch = DenseBranch(name, Dense(dim=DIM, **fields), Rerank(), version)
    if not branch.fitted:
        branch.fit(CheckedSample(None, {name: DOCUMENTS}))
    return branch


def find(branch: DenseBranch, *, final: bool = False, **options: Any) -> Any:
    return branch.find(CheckedQuery(dense={branch.name: VECTOR}), SearchOptions(**options), final=final)


def chain(stage: Any) -> list[str]:
    """Names of the stages that find for one another, the last first."""
    names = [stage.using]
    while stage.among:
        (stage,) = stage.among
        names.append(stage.using)
    return names


@pytest.mark.parametrize(
    ("fields", "stages"),
    [
        ({}, ["d"]),
        ({"transforms": [PCA(4)]}, ["d"]),
        ({"funnel": (2, 4)}, ["d", "d_4", "d_2"]),
        ({"transforms": [PCA(4)], "keep_original": "disk"}, ["d_original", "d"]),
        (
            {"transforms": [PCA(4)], "funnel": (2,), "keep_original": "disk"},
            ["d_original", "d", "d_2"],
        ),
        ({"codes": PowerQuantizer()}, ["d"]),
    ],
)
def test_each_vector_ranks_what_the_coarser_one_finds(fields: dict[str, Any], stages: list[str]) -> None:
    branch = dense_branch(**fields)
    stage = find(branch)
    assert chain(stage) == stages == branch.stored[::-1]
    assert chain(find(branch, exact=True)) == stages[:1]
    while stage.among:
        assert stage.widening == 2
        (stage,) = stage.among


def test_a_query_is_cut_to_prefixes_and_compared_as_passed_with_the_original() -> None:
    branch = dense_branch(transforms=[PCA(4)], funnel=(2,), keep_original="disk")
    original = find(branch)
    (whole,) = original.among
    (prefix,) = whole.among
    transformed = branch.transforms[0].transform_query(unit_rows(VECTOR))[0]
    np.testing.assert_array_equal(original.query, VECTOR[0])
    np.testing.assert_allclose(whole.query, transformed, rtol=1e-6)
    np.testing.assert_allclose(prefix.query, transformed[:2], rtol=1e-6)


def test_dot_products_keep_the_length_of_queries_and_documents() -> None:
    branch = dense_branch(transforms=[Rotation()], distance="Dot")
    np.testing.assert_allclose(np.linalg.norm(find(branch).query), np.linalg.norm(VECTOR), rtol=1e-5)
    stored = branch.encode(documents(60, dense={"d": DOCUMENTS})).vectors["d"]
    np.testing.assert_allclose(np.linalg.norm(stored, axis=1), np.linalg.norm(DOCUMENTS, axis=1), rtol=1e-5)


def test_only_what_is_searched_first_is_quantized() -> None:
    branch = dense_branch(funnel=(2,), quantization=INT8, hnsw={"m": 5}, on_disk=True)
    config = branch.vectors_config()
    assert {name: params.size for name, params in config.items()} == {"d_2": 2, "d": DIM}
    assert config["d_2"].quantization_config is not None and config["d"].quantization_config is None
    assert (config["d_2"].hnsw_config.m, config["d"].hnsw_config.m) == (5, 0)
    stage = find(branch)
    assert stage.params.quantization is None
    assert stage.among[0].params.quantization.rescore is False


def test_hits_that_are_final_are_rescored_only_with_oversampling() -> None:
    branch = dense_branch(quantization=INT8)
    assert find(branch, final=True).params.quantization is None
    assert find(branch, final=False).params.quantization.rescore is False
    rerank = Rerank(oversampling=2.0, hnsw_ef=99)
    wider = DenseBranch("d", branch.recipe, rerank)
    params = find(wider, final=True).params
    assert (params.quantization.rescore, params.quantization.oversampling) == (True, 2.0)
    assert params.hnsw_ef == 99


def test_what_codes_rank_again_is_not_final() -> None:
    assert find(dense_branch(quantization=INT8, codes=PowerQuantizer()), final=True).params.quantization


@pytest.mark.parametrize(
    ("fields", "exact", "by_codes"),
    [
        ({"codes": PowerQuantizer()}, False, True),
        ({"codes": PowerQuantizer()}, True, False),
        ({"codes": PowerQuantizer(), "transforms": [PCA(4)]}, False, True),
        ({"codes": PowerQuantizer(), "transforms": [PCA(4)]}, True, True),
        (SIGNS, False, True),
        (SIGNS, True, True),
        ({"transforms": [PCA(4)]}, False, False),
    ],
)
def test_codes_rank_unless_the_vectors_themselves_can(
    fields: dict[str, Any], exact: bool, by_codes: bool
) -> None:
    rerank = find(dense_branch(**fields), exact=exact).rerank
    assert (rerank is not None) == by_codes
    if by_codes:
        assert (rerank.stage, rerank.field) == ("d_codes", DENSE_CODES)


def test_codes_are_those_of_the_vector_before_the_transforms() -> None:
    branch = dense_branch(codes=PowerQuantizer(bits=8), transforms=[PCA(2)])
    codes = branch.encode(documents(60, dense={"d": DOCUMENTS})).codes.get(DENSE_CODES)
    assert codes is not None and {len(row) for row in codes} == {len(branch.absent_codes)}
    scores = find(branch).rerank.score(codes)
    np.testing.assert_allclose(scores, VECTOR[0] @ unit_rows(DOCUMENTS).T / np.linalg.norm(VECTOR), atol=0.02)


def test_signs_are_stored_in_place_of_the_vector() -> None:
    branch = dense_branch(**SIGNS)
    stored = branch.encode(documents(60, dense={"d": DOCUMENTS}))
    assert {*np.unique(stored.vectors["d"])} == {-1.0, 1.0}
    params = branch.vectors_config()["d"]
    assert (params.size, params.distance) == (16, models.Distance.DOT)
    assert stored.vectors["d"].shape == (60, 16)


def test_a_query_without_the_vector_finds_nothing() -> None:
    branch = dense_branch()
    assert branch.find(CheckedQuery(dense={"other": VECTOR}), SearchOptions(), final=True) is None
    assert not branch.has_query(CheckedQuery()) and branch.has_query(CheckedQuery(dense={"d": VECTOR}))
    assert branch.lacks_query().argument == "dense['d']"


def previous_model(**fields: Any) -> tuple[VectorVersion, Procrustes]:
    adapter = Procrustes().fit(DOCUMENTS, DOCUMENTS @ np.linalg.qr(vectors(DIM, seed=5))[0] + 0.3)
    previous = PreviousModel(dim=DIM, stored_as="d", adapter=adapter, factor=0.5, offset=0.25)
    return VectorVersion(model=3, stored_as="d_v3", previous=previous), adapter


@pytest.mark.parametrize("distance", ["Cosine", "Dot"])
def test_the_vectors_of_the_previous_model_are_searched_by_way_of_the_adapter(distance: str) -> None:
    version, adapter = previous_model()
    stage = find(dense_branch(version, distance=distance))
    old = stage.previous.stage
    assert (stage.name, stage.using) == ("d", "d_v3")
    assert (old.name, old.using) == ("d_v2", "d")
    (new_only,) = stage.filter.must
    assert (new_only.key, new_only.range.gte) == (MODEL, 3)
    assert old.filter.must_not == [new_only]
    query = unit_rows(VECTOR) if distance == "Cosine" else VECTOR
    adapted = adapter.transform(query)
    np.testing.assert_allclose(old.query, adapted[0], rtol=1e-5)
    length = np.linalg.norm(adapted) if distance == "Cosine" else 1.0
    assert stage.previous.factor == pytest.approx(0.5 * length)
    assert stage.previous.offset == pytest.approx(0.25 + 0.5 * adapter.missing(query)[0])


def test_codes_shared_by_two_models_leave_the_previous_model_out() -> None:
    version, _ = previous_model()
    stage = find(dense_branch(version, codes=PowerQuantizer()))
    assert stage.previous is None and stage.rerank is not None


def test_documents_tell_their_model_only_while_two_are_in_use() -> None:
    version, _ = previous_model()
    source = documents(2, dense={"d": DOCUMENTS[:2]})
    upgrading = dense_branch(version).encode(source)
    assert upgrading.payload == {MODEL: 3} and [*upgrading.vectors] == ["d_v3"]
    finished = dense_branch(VectorVersion(model=3, stored_as="d_v3"))
    assert finished.encode(source).payload == {} and finished.stored == ["d_v3"]
    assert find(finished).previous is None


def test_two_models_cannot_be_compared() -> None:
    version, _ = previous_model()
    with pytest.raises(InvalidArgumentError, match="upgrade") as raised:
        dense_branch(version).compared()
    assert raised.value.argument == "recipe.dense['d'].previous"


def test_the_name_in_qdrant_is_that_of_the_version() -> None:
    branch = dense_branch(VectorVersion(stored_as="other"), funnel=(2,))
    assert branch.stored_as == "other" and branch.stored == ["other_2", "other"]
    assert [*branch.vectors_config()] == ["other_2", "other"]
    assert dense_branch().stored_as == "d"


def test_original_and_transformed_are_configured_as_they_are_stored() -> None:
    branch = dense_branch(transforms=[PCA(4)], keep_original="disk", datatype="float16", hnsw={"m": 5})
    config = branch.vectors_config()
    small, original = config["d"], config["d_original"]
    assert (small.size, small.distance, small.datatype) == (4, models.Distance.DOT, "float16")
    assert (original.size, original.distance, original.on_disk) == (DIM, models.Distance.COSINE, True)
    assert (small.hnsw_config.m, original.hnsw_config.m) == (5, 0)
    stored = branch.encode(documents(60, dense={"d": DOCUMENTS})).vectors
    np.testing.assert_array_equal(stored["d_original"], DOCUMENTS)
    assert stored["d"].shape == (60, 4)


@pytest.mark.parametrize(
    ("fields", "numbers"),
    [
        ({}, DIM),
        ({"funnel": (2, 4)}, DIM + 6),
        ({"transforms": [PCA(4)], "keep_original": "disk"}, 4 + DIM),
        ({"codes": PowerQuantizer(bits=8)}, None),
    ],
)
def test_numbers_are_counted_as_they_are_stored(fields: dict[str, Any], numbers: int | None) -> None:
    branch = dense_branch(**fields)
    source = documents(60, dense={"d": DOCUMENTS})
    stored = branch.encode(source)
    floats = sum(column.shape[1] for column in stored.vectors.values())
    texts = [""] if not stored.codes else base85.encode(stored.codes[DENSE_CODES])
    assert branch.count_numbers(source) == floats + -(-len(texts[0]) // 4)
    assert numbers is None or branch.count_numbers(source) == numbers


def test_a_document_without_the_vector_has_none_and_no_codes() -> None:
    branch = dense_branch(codes=PowerQuantizer())
    stored = branch.encode(documents(2))
    assert (stored.vectors, stored.codes) == ({}, {})
    assert {*branch.absent_codes} == {0}
    assert dense_branch().absent_codes == b""


@pytest.mark.parametrize(
    "fields",
    [{"transforms": [PCA(6), Rotation(), PCA(4)]}, {"codes": PowerQuantizer()}, SIGNS],
    ids=["transforms", "codes", "signs"],
)
def test_a_branch_with_the_same_state_stores_and_compares_the_same(fields: dict[str, Any]) -> None:
    fitted = dense_branch(**fields)
    other = DenseBranch("d", fitted.recipe, Rerank())
    assert not other.fitted and other.get_state() == {}
    other.set_state(fitted.get_state())
    assert other.fitted
    source = documents(60, dense={"d": DOCUMENTS})
    mine, others = fitted.encode(source), other.encode(source)
    np.testing.assert_array_equal(mine.vectors["d"], others.vectors["d"])
    assert mine.codes == others.codes
    assert find(fitted).query.tolist() == find(other).query.tolist()
    assert all(transform.fitted_dim is None for transform in fitted.recipe.transforms)


def test_each_method_has_a_key_of_its_own_in_the_state() -> None:
    version, adapter = previous_model()
    branch = dense_branch(version, transforms=[PCA(4)], codes=PowerQuantizer())
    assert {key.rpartition(".")[0] for key in branch.get_state()} == {
        "dense['d'].0",
        "dense['d'].codes",
        "adapter['d']",
    }
    assert dense_key("d") == "dense['d']" and adapter_key("d") == "adapter['d']"
    unfitted = version.previous.model_copy(update={"adapter": adapter.unfitted()})
    other = DenseBranch("d", branch.recipe, Rerank(), version.model_copy(update={"previous": unfitted}))
    assert not other.fitted
    other.set_state(branch.get_state())
    assert other.fitted
    assert {place: method["method"] for place, method in other.describe().items()} == {
        "dense.d.transforms.0": "pca",
        "dense.d.codes": "power",
        "dense.d.previous.adapter": "procrustes",
    }


@pytest.mark.parametrize(("new", "old"), [(DIM + 1, DIM), (DIM, DIM - 1)])
def test_an_adapter_between_other_dimensions_is_refused(new: int, old: int) -> None:
    version, adapter = previous_model()
    unfitted = version.previous.model_copy(update={"adapter": adapter.unfitted()})
    branch = dense_branch(version.model_copy(update={"previous": unfitted}))
    other = Procrustes().fit(vectors(30, dim=new), vectors(30, dim=old, seed=1))
    state = {f"{adapter_key('d')}.{key}": array for key, array in other.get_state().items()}
    with pytest.raises(StateError, match=r"^the state of dense\.d\.previous\.adapter .* dimensions"):
        branch.set_state(state)


def test_each_transform_learns_from_what_the_ones_before_it_make() -> None:
    branch = dense_branch(transforms=[PCA(4, whiten="documents"), PCA(2)])
    first = PCA(4, whiten="documents").fit(unit_rows(DOCUMENTS))
    second = PCA(2).fit(first.transform(unit_rows(DOCUMENTS)))
    expected = second.transform(first.transform(unit_rows(DOCUMENTS)))
    stored = branch.encode(documents(60, dense={"d": DOCUMENTS})).vectors["d"]
    np.testing.assert_allclose(stored, expected, atol=1e-5)


def test_a_sample_without_the_vector_is_refused() -> None:
    branch = DenseBranch("d", Dense(dim=DIM, transforms=[PCA(4)]), Rerank())
    with pytest.raises(InvalidArgumentError) as raised:
        branch.fit(CheckedSample(None, {"other": DOCUMENTS}))
    assert raised.value.argument == "sample.dense['d']"


def test_vectors_of_an_encoder_are_checked() -> None:
    branch = dense_branch()
    taken = branch.take_documents(documents(2), Encoded(dense=DOCUMENTS[:2]), "model")
    np.testing.assert_array_equal(taken.dense["d"], DOCUMENTS[:2])
    assert branch.has_documents(taken) and not branch.has_documents(documents(2))
    query = branch.take_query(CheckedQuery(dense={"a": VECTOR}), Encoded(dense=DOCUMENTS), 5, "model")
    assert [*query.dense] == ["a", "d"]
    np.testing.assert_array_equal(query.dense["d"], DOCUMENTS[5:6])
    with pytest.raises(InvalidArgumentError, match="model") as raised:
        branch.take_documents(documents(2), Encoded(), "model")
    assert raised.value.argument == "dense['d']"
    with pytest.raises(DimensionError, match="dense of encoder 'model'"):
        branch.take_query(CheckedQuery(), Encoded(dense=DOCUMENTS[:, :3]), 0, "model")


@pytest.mark.parametrize("fields", [{}, {"transforms": [Truncation(6)]}, {"codes": PowerQuantizer(bits=8)}])
def test_documents_are_compared_with_the_query_and_each_other(fields: dict[str, Any]) -> None:
    branch = dense_branch(**fields)
    assert branch.compared() == "d"
    stored = branch.encode(documents(60, dense={"d": DOCUMENTS})).vectors["d"]
    records = [models.Record(id=i, payload={}, vector={"d": stored[i].tolist()}) for i in (3, 7, 11)]
    relevance, similarity = branch.similarities(CheckedQuery(dense={"d": DOCUMENTS[7:8]}), records)
    assert np.argmax(relevance) == 1
    assert [np.argmax(row) for row in similarity] == [0, 1, 2]


def test_codes_stand_for_vectors_that_are_not_stored() -> None:
    first, second = dense_branches(
        {
            "b": Dense(dim=DIM, codes=PowerQuantizer(bits=8), transforms=[Truncation(2)]),
            "a": Dense(dim=DIM, codes=PowerQuantizer(bits=4)),
        },
        Rerank(),
        {},
    )
    source = documents(60, dense={"a": DOCUMENTS[::-1], "b": DOCUMENTS})
    for branch in (first, second):
        branch.fit(CheckedSample(None, source.dense))
    assert first.compared() == DENSE_CODES
    # Codes lie in the order of the names.
    strings = [
        a + b
        for a, b in zip(
            second.encode(source).codes[DENSE_CODES], first.encode(source).codes[DENSE_CODES], strict=True
        )
    ]
    texts = base85.encode(strings)
    records = [models.Record(id=i, payload={DENSE_CODES: texts[i]}) for i in (3, 7, 11)]
    query = CheckedQuery(dense={"b": DOCUMENTS[7:8], "a": DOCUMENTS[::-1][11:12]})
    relevance, similarity = first.similarities(query, records)
    np.testing.assert_allclose(
        relevance, unit_rows(DOCUMENTS)[[3, 7, 11]] @ unit_rows(DOCUMENTS)[7], atol=0.02
    )
    np.testing.assert_allclose(np.diag(similarity), 1, atol=0.02)
    rerank = second.find(query, SearchOptions(), final=True).rerank
    assert rerank.code_bytes == len(strings[0])
    assert np.argmax(rerank.score(strings)) == 11


def test_codes_lie_in_the_order_of_the_names() -> None:
    layouts = []
    for order in (["b", "a", "c"], ["c", "b", "a"]):
        layout = CodesLayout()
        bits = {"a": 1, "b": 2, "c": 4}
        for name in order:
            layout.add(name, PowerQuantizer(bits=bits[name]).fit(DOCUMENTS))
        layouts.append(layout)
    sizes = [PowerQuantizer(bits=bits).fit(DOCUMENTS).code_bytes for bits in (1, 2, 4)]
    ends = np.cumsum(sizes).tolist()
    for layout in layouts:
        assert [layout.part(name) for name in "abc"] == [
            slice(0, ends[0]),
            slice(ends[0], ends[1]),
            slice(ends[1], ends[2]),
        ]
        assert layout.code_bytes == ends[2]
    assert len({*sizes}) == 3
