"""Conversions there and back; what has no counterpart in Edge is refused by its name."""

from __future__ import annotations

from datetime import date, datetime, timedelta, timezone
from enum import Enum
from pathlib import Path
from typing import Any
from uuid import UUID

import numpy as np
import pytest
import qdrant_edge as edge
from hypothesis import given, settings
from hypothesis import strategies as st
from qdrant_client import QdrantClient, models

from embplug.common.json_types import jsonable_payload
from embplug.engines import EdgeClient
from embplug.engines.edge.convert import (
    check_vector,
    from_edge_vectors,
    iterate_points,
    to_edge_payload_selector,
    to_edge_vector,
)
from embplug.engines.edge.convert_config import (
    VectorSchema,
    from_edge_enum,
    to_edge_config,
    to_edge_enum,
    to_edge_index,
    to_edge_quantization,
)
from embplug.engines.edge.convert_filter import to_edge_filter
from embplug.engines.edge.convert_ids import MAX_NUMERIC_ID, from_edge_id, to_edge_id
from embplug.engines.edge.convert_query import QueryConverter, to_edge_search_params
from embplug.errors import CapabilityError, FilterError, InvalidArgumentError

floats = st.floats(-(2.0**90), 2.0**90, width=32)
json_values = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**53), 2**53) | st.floats(-1e300, 1e300) | st.text(max_size=8),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)
payloads = st.dictionaries(st.text(max_size=5), json_values, max_size=4)


@given(st.integers(0, MAX_NUMERIC_ID))
def test_numbers_stay_themselves(number):
    assert from_edge_id(to_edge_id(number)) == number
    assert from_edge_id(edge.Point(to_edge_id(number), {}, None).id) == number


@given(
    st.uuids(), st.sampled_from([str, lambda u: u.hex, lambda u: u.urn, lambda u: f"{{{u}}}".upper(), UUID])
)
def test_every_spelling_of_a_uuid_is_the_same_id(uuid, spell):
    given_id = uuid if spell is UUID else spell(uuid)
    assert from_edge_id(edge.Point(to_edge_id(given_id), {}, None).id) == str(uuid)


@pytest.mark.parametrize("wrong", [-1, 2**64, 1.0, True, None, "", "name", b"x", "550e8400-e29b-41d4-a716"])
def test_what_is_no_id_is_refused(wrong):
    with pytest.raises(InvalidArgumentError, match=r"^id: expected an unsigned 64-bit integer or a UUID"):
        to_edge_id(wrong)


@given(st.lists(floats, min_size=1, max_size=5), st.sampled_from(["list", "tuple", "float32", "float64"]))
def test_dense_vectors_come_back(values, form):
    given_vector: Any = {"list": values, "tuple": tuple(values)}.get(form, np.array(values, dtype="float64"))
    if form == "float32":
        given_vector = given_vector.astype(np.float32)
    point = edge.Point(1, {"d": to_edge_vector(given_vector, "vector")}, None)
    assert from_edge_vectors(point.vector) == {"d": values}


@given(st.integers(1, 3), st.integers(1, 4), st.sampled_from(["array", "lists", "rows", "half"]), st.data())
def test_token_matrices_come_back(rows, columns, form, data):
    matrix = np.array(
        data.draw(
            st.lists(st.lists(floats, min_size=columns, max_size=columns), min_size=rows, max_size=rows)
        ),
        dtype=np.float32,
    )
    if form == "half":
        matrix = np.clip(matrix, -1e4, 1e4).astype(np.float16)
    given_matrix: Any = {"lists": matrix.tolist(), "rows": list(matrix)}.get(form, matrix)
    point = edge.Point(1, {"t": to_edge_vector(given_matrix, "vector")}, None)
    assert from_edge_vectors(point.vector) == {"t": matrix.tolist()}


@given(st.dictionaries(st.integers(0, 2**32 - 1), floats, max_size=5))
def test_sparse_vectors_come_back(entries):
    sparse = models.SparseVector(indices=list(entries), values=list(entries.values()))
    point = edge.Point(1, {"s": to_edge_vector(sparse, "vector")}, None)
    assert from_edge_vectors(point.vector)["s"] == sparse


def test_integer_vectors_are_numbers_too():
    vector = to_edge_vector(np.array([1, 255], dtype=np.uint8), "vector")
    check_vector(VectorSchema("dense", 2), vector, "vector")
    assert from_edge_vectors(edge.Point(1, {"d": vector}, None).vector) == {"d": [1.0, 255.0]}


@settings(max_examples=50)
@given(payloads)
def test_payloads_come_back(payload):
    assert jsonable_payload(payload, "payload") == payload
    assert edge.Point(1, {}, payload).payload == payload


def test_payloads_hold_what_qdrant_client_would_send():
    class Color(Enum):
        RED = "red"

    moment = datetime(2024, 1, 2, 3, 4, tzinfo=timezone.utc)
    converted = jsonable_payload(
        {
            "at": moment,
            "day": date(2024, 1, 2),
            "id": UUID(int=7),
            "color": Color.RED,
            "tuple": (1, 2),
            "set": {3},
        },
        "payload",
    )
    assert converted == {
        "at": "2024-01-02T03:04:00Z",
        "day": "2024-01-02",
        "id": str(UUID(int=7)),
        "color": "red",
        "tuple": [1, 2],
        "set": [3],
    }


@pytest.mark.parametrize(
    "wrong", [[1], "text", {"a": object()}, {"a": float("inf")}, {"a": {"b": float("nan")}}]
)
def test_what_json_cannot_hold_is_refused(wrong):
    with pytest.raises(InvalidArgumentError, match=r"^payload:"):
        jsonable_payload(wrong, "payload")


def test_points_may_come_in_columns():
    batch = models.Batch(
        ids=[1, 2], vectors={"a": [[1.0], [2.0]], "b": [[3.0], [4.0]]}, payloads=[{"x": 1}, {}]
    )
    assert list(iterate_points(batch)) == [
        (1, {"a": [1.0], "b": [3.0]}, {"x": 1}),
        (2, {"a": [2.0], "b": [4.0]}, {}),
    ]
    assert list(iterate_points(models.Batch(ids=[1], vectors=[[1.0]]))) == [(1, {"": [1.0]}, None)]


@pytest.mark.parametrize(
    ("ours", "theirs"),
    [
        (models.Distance, edge.Distance),
        (models.Datatype, edge.VectorStorageDatatype),
        (models.MultiVectorComparator, edge.MultiVectorComparator),
        (models.ScalarType, edge.ScalarType),
        (models.CompressionRatio, edge.CompressionRatio),
        (models.BinaryQuantizationEncoding, edge.BinaryQuantizationEncoding),
        (models.BinaryQuantizationQueryEncoding, edge.BinaryQuantizationQueryEncoding),
        (models.TurboQuantBitSize, edge.TurboQuantBitSize),
        (models.PayloadSchemaType, edge.PayloadSchemaType),
        (models.TokenizerType, edge.TokenizerType),
        (models.Language, edge.Language),
        (models.SnowballLanguage, edge.SnowballLanguage),
        (models.Memory, edge.Memory),
        (models.Direction, edge.Direction),
        (models.UpdateMode, edge.UpdateMode),
        (models.Sample, edge.Sample),
        (models.TextScoringType, edge.TextScoringType),
    ],
)
def test_every_member_of_an_enum_has_its_counterpart(ours, theirs):
    for member in ours:
        assert from_edge_enum(ours, to_edge_enum(theirs, member, "argument")) is member
        assert to_edge_enum(theirs, member.value, "argument") == to_edge_enum(theirs, member, "argument")
    assert to_edge_enum(theirs, None, "argument") is None
    with pytest.raises(CapabilityError, match=r"^argument: Qdrant Edge has no 'nonsense'"):
        to_edge_enum(theirs, "nonsense", "argument")


QUANTIZATIONS = [
    models.ScalarQuantization(
        scalar=models.ScalarQuantizationConfig(type="int8", quantile=0.5, always_ram=True, memory="cold")
    ),
    models.ProductQuantization(
        product=models.ProductQuantizationConfig(compression="x16", always_ram=False, memory="pinned")
    ),
    models.BinaryQuantization(binary=models.BinaryQuantizationConfig()),
    models.BinaryQuantization(
        binary=models.BinaryQuantizationConfig(
            encoding="one_and_half_bits", query_encoding="scalar4bits", memory="cached"
        )
    ),
    *(
        models.TurboQuantization(turbo=models.TurboQuantQuantizationConfig(bits=bits, always_ram=True))
        for bits in models.TurboQuantBitSize
    ),
]


def test_what_a_collection_was_made_with_is_what_it_tells(tmp_path: Path):
    """One collection with every parameter of a vector; defaults that Edge fills in may be added."""
    vectors = {
        f"quantized{i}": models.VectorParams(size=8, distance="Dot", quantization_config=quantization)
        for i, quantization in enumerate(QUANTIZATIONS)
    }
    vectors |= {
        f"{distance.value}{datatype.value}": models.VectorParams(
            size=3 + i,
            distance=distance,
            datatype=datatype,
            on_disk=bool(i % 2),
            memory=["cold", "cached"][i % 2],
            hnsw_config=models.HnswConfigDiff(
                m=i, ef_construct=50, payload_m=3, on_disk=True, memory="cold", inline_storage=False
            ),
            multivector_config=models.MultiVectorConfig(comparator="max_sim") if i % 2 else None,
        )
        for i, (distance, datatype) in enumerate((d, t) for d in models.Distance for t in models.Datatype)
    }
    sparse = {
        "plain": models.SparseVectorParams(),
        "idf": models.SparseVectorParams(
            modifier=models.Modifier.IDF,
            index=models.SparseIndexParams(full_scan_threshold=9, datatype="float16", memory="cold"),
        ),
    }
    with EdgeClient(tmp_path) as client:
        client.create_collection(
            "docs",
            vectors,
            sparse,
            on_disk_payload=False,
            hnsw_config=models.HnswConfigDiff(m=5, full_scan_threshold=77),
            optimizers_config=models.OptimizersConfigDiff(
                deleted_threshold=0.3,
                vacuum_min_vector_number=2,
                default_segment_number=2,
                indexing_threshold=11,
            ),
            quantization_config=QUANTIZATIONS[0],
            payload=models.PayloadStorageParams(memory="cached"),
            id_tracker=models.IdTrackerParams(memory="cold"),
        )
        config = client.get_collection("docs").config
    for name, given_params in vectors.items():
        told = config.params.vectors[name]
        assert_kept(given_params.model_dump(exclude_none=True), told.model_dump(exclude_none=True))
    assert config.params.sparse_vectors["idf"].modifier is models.Modifier.IDF
    assert_kept(
        sparse["idf"].index.model_dump(exclude_none=True), dict(config.params.sparse_vectors["idf"].index)
    )
    assert config.params.on_disk_payload is False
    assert config.params.payload.memory == "cached"
    assert (config.hnsw_config.m, config.hnsw_config.full_scan_threshold) == (5, 77)
    assert config.hnsw_config.ef_construct == 100
    optimizers = config.optimizer_config
    assert (optimizers.deleted_threshold, optimizers.vacuum_min_vector_number) == (pytest.approx(0.3), 2)
    assert (optimizers.default_segment_number, optimizers.indexing_threshold) == (2, 11)
    assert config.quantization_config == QUANTIZATIONS[0]


def assert_kept(given_part: Any, told: Any) -> None:
    """Everything given is there; Edge writes out what was left open."""
    if isinstance(given_part, dict):
        for key, value in given_part.items():
            assert_kept(value, told[key])
    else:
        assert told == (pytest.approx(given_part) if isinstance(given_part, float) else given_part)


@pytest.mark.parametrize(
    ("convert", "error", "named"),
    [
        (lambda: to_edge_config({}), InvalidArgumentError, "vectors_config"),
        (
            lambda: to_edge_config(models.VectorParams.model_construct(size=0, distance="Dot")),
            InvalidArgumentError,
            r"vectors_config\[''\].size",
        ),
        (
            lambda: to_edge_config({"d": models.VectorParams(size=1, distance="Dot", memory="pinned")}),
            CapabilityError,
            r"vectors_config\['d'\].memory",
        ),
        (
            lambda: to_edge_config(
                models.VectorParams(size=1, distance="Dot"),
                optimizers=models.OptimizersConfigDiff(memmap_threshold=1),
            ),
            CapabilityError,
            "optimizers_config.memmap_threshold",
        ),
        (lambda: to_edge_quantization("int8"), InvalidArgumentError, "quantization_config"),
        (lambda: to_edge_index(None), InvalidArgumentError, "field_schema"),
        (lambda: to_edge_index("nonsense"), CapabilityError, "field_schema"),
        (lambda: to_edge_payload_selector(7), InvalidArgumentError, "with_payload"),
        (lambda: to_edge_filter({"must": []}), FilterError, "filter"),
        (lambda: to_edge_filter(models.Filter.model_construct(must=["x"])), FilterError, r"filter.must\[0\]"),
        (lambda: to_edge_vector(7, "vector"), InvalidArgumentError, "vector"),
        (lambda: to_edge_vector(models.Document(text="a", model="b"), "vector"), CapabilityError, "vector"),
        (lambda: to_edge_search_params({"exact": True}), InvalidArgumentError, "search_params"),
        (lambda: converter().query(models.DiscoverQuery.model_construct(), "d", 1), CapabilityError, "query"),
        (lambda: converter().query(object(), "d", 1), InvalidArgumentError, "query"),
        (lambda: converter().query("no uuid", "d", 1), InvalidArgumentError, "query"),
        (
            lambda: converter().query(models.FusionQuery(fusion="rrf"), "d", 1),
            CapabilityError,
            "using",
        ),
        (
            lambda: converter().prefetches(
                [models.Prefetch(lookup_from=models.LookupLocation(collection="a"))]
            ),
            CapabilityError,
            r"prefetch\[0\].lookup_from",
        ),
        (lambda: converter().prefetches({"query": 1}), InvalidArgumentError, "prefetch"),
    ],
)
def test_what_edge_cannot_take_is_refused_by_name(convert, error, named):
    with pytest.raises(error, match=f"^{named}: "):
        convert()


def converter() -> QueryConverter:
    return QueryConverter({"d": VectorSchema("dense", 2)}, lambda point_id, using, argument: [1.0, 2.0])


# Filters: Edge against the simulation, an implementation of its own, on payloads of all sorts

KEYS = ("n", "word", "list", "deep.n", "parts[].n", "nothing", "never")
numbers = st.integers(-2, 4) | st.sampled_from([0.5, 2.0])
words = st.sampled_from(["a", "b", "a b", ""])


def conditions() -> st.SearchStrategy[Any]:
    matches = st.one_of(
        st.builds(models.MatchValue, value=st.integers(-2, 4) | words | st.booleans()),
        st.builds(
            models.MatchAny, any=st.lists(words, max_size=2) | st.lists(st.integers(-2, 4), max_size=2)
        ),
        st.builds(
            lambda values: models.MatchExcept(**{"except": values}),
            st.lists(words, min_size=1, max_size=2) | st.lists(st.integers(-2, 4), min_size=1, max_size=2),
        ),
    )
    bound = st.none() | numbers
    ranges = st.builds(models.Range, gt=bound, gte=bound, lt=bound, lte=bound)
    counts = st.builds(
        models.ValuesCount, gte=st.none() | st.integers(0, 3), lt=st.none() | st.integers(0, 3)
    )
    key = st.sampled_from(KEYS)
    return st.one_of(
        st.builds(models.FieldCondition, key=key, match=matches),
        st.builds(models.FieldCondition, key=key, range=ranges),
        st.builds(models.FieldCondition, key=key, values_count=counts),
        st.builds(lambda k: models.IsEmptyCondition(is_empty=models.PayloadField(key=k)), key),
        st.builds(lambda k: models.IsNullCondition(is_null=models.PayloadField(key=k)), key),
        st.builds(models.HasIdCondition, has_id=st.lists(st.integers(0, 30), max_size=3)),
    )


def filters() -> st.SearchStrategy[models.Filter]:
    def grown(inner: st.SearchStrategy[Any]) -> st.SearchStrategy[models.Filter]:
        some = st.none() | st.lists(inner, min_size=1, max_size=3)
        return st.builds(models.Filter, must=some, should=some, must_not=some)

    return grown(st.recursive(conditions(), grown, max_leaves=4))


@pytest.fixture(scope="module")
def edge_and_simulation(tmp_path_factory):
    values: list[Any] = [
        0,
        1,
        2,
        3,
        -1,
        0.5,
        2.0,
        "a",
        "b",
        "a b",
        "",
        True,
        False,
        None,
        [],
        [1, 2],
        ["a", 3],
        {},
    ]
    payloads = [
        {
            "n": values[i % len(values)],
            "word": values[7 + i % 4],
            "list": values[15 + i % 3],
            "deep": {"n": values[(5 * i) % len(values)]},
            "parts": [{"n": j} for j in range(i % 4)],
            "nothing": None,
        }
        for i in range(30)
    ]
    points = [models.PointStruct(id=i, vector={"d": [1.0]}, payload=p) for i, p in enumerate(payloads)]
    with EdgeClient(tmp_path_factory.mktemp("edge")) as edge_client:
        simulation = QdrantClient(":memory:")
        for client in (edge_client, simulation):
            client.create_collection("docs", {"d": models.VectorParams(size=1, distance="Dot")})
            client.upsert("docs", points)
        yield edge_client, simulation
        simulation.close()


@settings(max_examples=100, deadline=None)
@given(given_filter=filters())
def test_filters_select_the_same_as_in_the_simulation(edge_and_simulation, given_filter):
    edge_client, simulation = edge_and_simulation
    found = [r.id for r in edge_client.scroll("docs", scroll_filter=given_filter, limit=100)[0]]
    assert found == [r.id for r in simulation.scroll("docs", scroll_filter=given_filter, limit=100)[0]]


@given(st.datetimes(datetime(1900, 1, 1), datetime(2200, 1, 1)), st.sampled_from([None, 0, 2, -7]))
@settings(max_examples=30, deadline=None)
def test_moments_are_compared_in_their_zones(edge_and_simulation, moment, offset):
    edge_client, _ = edge_and_simulation
    zone = None if offset is None else timezone(timedelta(hours=offset))
    aware = moment.replace(tzinfo=zone)
    edge_client.overwrite_payload("docs", {"at": aware}, points=[0])
    around = models.DatetimeRange(gte=aware - timedelta(seconds=1), lt=aware + timedelta(seconds=1))
    later = models.DatetimeRange(gt=aware + timedelta(seconds=1))
    for bounds, expected in ((around, [0]), (later, [])):
        only = models.Filter(must=[models.FieldCondition(key="at", range=bounds)])
        assert [r.id for r in edge_client.scroll("docs", scroll_filter=only)[0]] == expected
