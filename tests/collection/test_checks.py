"""Every way in checks the same, on each engine: ids, payloads and filters."""

from __future__ import annotations

import asyncio
import inspect
from typing import Any

import numpy as np
import pytest
from qdrant_client import AsyncQdrantClient, models

from embplug import Collection, Dense, Documents, Query, Recipe
from embplug.common.ids import OWN_FIELDS
from embplug.common.json_types import MAX_DEPTH
from embplug.engines import traits_of
from embplug.engines.filter_depth import MAX_DEPTH as MAX_FILTER_DEPTH
from embplug.errors import CapabilityError, DuplicateIdError, FilterError, InvalidArgumentError

IDS = [2, 4, "doc/a", "42"]


@pytest.fixture
def docs(engine: Any) -> Collection:
    """Documents with ids of every kind, on each engine."""
    collection = Collection.create("docs", Recipe(dense=Dense(dim=2, funnel=[1])), engine)
    collection.add(IDS, dense=np.eye(4, 2) + 0.1, payloads=[{"n": i} for i in range(4)])
    return collection


def ids_of(records: Any) -> set[Any]:
    return {record.id for record in records}


def payload(depth: int) -> dict[str, Any]:
    value: Any = 1
    for _ in range(depth):
        value = {"k": value}
    return value


def inside(depth: int) -> models.Filter:
    absent = models.FieldCondition(key="n", match=models.MatchValue(value=99))
    outer = models.Filter(must=[absent])
    for _ in range(depth - 1):
        nested = models.Filter(must=[models.NestedCondition(nested=models.Nested(key="a", filter=outer))])
        outer = nested
    return outer


def test_a_single_id_is_no_list_of_ids(docs: Collection) -> None:
    for single in ("42", b"42", {"2": 1}, 42):
        for call in (docs.delete, docs.retrieve, lambda ids: docs.set_payload({"m": 1}, ids)):
            with pytest.raises(InvalidArgumentError, match=r"^ids: expected a list of ids"):
                call(single)
    assert docs.count() == 4


def test_conditions_on_ids_take_the_ids_of_documents(docs: Collection) -> None:
    condition = models.HasIdCondition(has_id=["doc/a", 2])
    among, outside = models.Filter(must=[condition]), models.Filter(must_not=[condition])
    deeper = models.Filter(must=[models.Filter(must_not=[models.Filter(should=[condition])])])
    for id_filter, expected in ((among, {"doc/a", 2}), (outside, {4, "42"}), (deeper, {4, "42"})):
        assert ids_of(docs.search(dense=[1.0, 1.0], filter=id_filter)) == expected
        assert ids_of(docs.search(dense=[1.0, 1.0], filter=id_filter, mmr=models.Mmr())) == expected
        assert ids_of(docs.scroll(filter=id_filter)[0]) == expected
        assert docs.count(filter=id_filter) == 2
    docs.delete(filter=outside)
    assert ids_of(docs.scroll()[0]) == {"doc/a", 2}


def test_the_deepest_payloads_and_filters_come_back(docs: Collection) -> None:
    deepest = payload(MAX_DEPTH)
    docs.add(["deep"], dense=[[1.0, 0.0]], payloads=[deepest])
    docs.set_payload({"q": payload(MAX_DEPTH - 1)}, ["deep"])
    assert docs.retrieve(["deep"])[0].payload == {**deepest, "q": payload(MAX_DEPTH - 1)}
    assert docs.search(dense=[1.0, 0.0], limit=1)[0].payload == docs.retrieve(["deep"])[0].payload
    assert docs.count(filter=inside(MAX_FILTER_DEPTH)) == 0
    assert docs.search(dense=[1.0, 0.0], filter=inside(MAX_FILTER_DEPTH)) == []
    docs.delete(filter=inside(MAX_FILTER_DEPTH))
    assert docs.count() == 5


def test_what_is_deeper_is_refused_before_anything_is_written(docs: Collection) -> None:
    deep = payload(123)
    for call in (
        lambda: docs.add([8, 9], dense=np.ones((2, 2)), payloads=[{}, deep]),
        lambda: docs.set_payload(deep, [2]),
    ):
        with pytest.raises(InvalidArgumentError, match=r"^payload.*mappings and lists inside each other"):
            call()
    for refused in (
        lambda: docs.delete(filter=inside(62)),
        lambda: docs.count(filter=inside(62)),
        lambda: docs.scroll(filter=inside(62)),
        lambda: docs.search(dense=[1.0, 0.0], filter=inside(62)),
    ):
        with pytest.raises(FilterError, match=r"^filter: .*filters inside each other"):
            refused()
    assert docs.count() == 4


@pytest.mark.parametrize(
    "wrong",
    [
        *({field: "b"} for field in OWN_FIELDS),
        {"a": float("nan")},
        {"a": 2**64},
        {"a": object()},
        {"a": "\ud800"},
    ],
)
def test_set_payload_checks_what_add_checks(docs: Collection, wrong: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^payload: "):
        docs.set_payload(wrong, ["doc/a"])
    with pytest.raises(InvalidArgumentError, match=r"^payloads\[0\]: "):
        docs.add(["doc/a"], dense=[[1.0, 0.0]], payloads=[wrong])
    assert docs.retrieve(["doc/a"])[0].payload == {"n": 2}


def test_set_payload_converts_numbers_of_numpy(docs: Collection) -> None:
    docs.set_payload({"m": np.int64(3), "x": np.float32(0.5)}, ["doc/a"])
    assert docs.retrieve(["doc/a"])[0].payload == {"n": 2, "m": 3, "x": 0.5}


def test_set_payload_names_the_document_that_does_not_exist(docs: Collection) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^ids\[1\]: .* exists, got 'doc/b'$"):
        docs.set_payload({"m": 1}, ["doc/a", "doc/b"])
    assert docs.retrieve(["doc/a"])[0].payload == {"n": 2}


@pytest.mark.parametrize("apart", [1, 5, 3000])
def test_an_id_that_comes_twice_is_refused_close_and_far(docs: Collection, apart: int) -> None:
    ids = [f"new {i}" for i in range(apart)] + ["new 0"]
    with pytest.raises(DuplicateIdError, match=rf"^ids\[{apart}\]: .* got 'new 0', as ids\[0\]$"):
        docs.add(ids, dense=np.ones((apart + 1, 2)))
    assert docs.count() == 4
    batches = [Documents([id_], dense=np.ones((1, 2))) for id_ in ids[-6:]]
    with pytest.raises(DuplicateIdError):
        docs.add_batches([*batches, Documents([ids[-6:][0]], dense=np.ones((1, 2)))])


def test_the_place_of_a_wrong_document_is_that_of_the_call(docs: Collection) -> None:
    texts = [f"text {i}" for i in range(1000)]
    texts[716] = "half \ud800"
    with pytest.raises(InvalidArgumentError, match=r"^texts\[716\]: .*character 5 \(id 716\)$"):
        docs.add(range(1000), dense=np.ones((1000, 2)), texts=texts)
    assert docs.count() == 4
    with pytest.raises(InvalidArgumentError, match=r"^text: .*UTF-8"):
        docs.search(text=texts[716], dense=[1.0, 0.0])


DENSE = np.ones((1, 2))
WAYS_IN: dict[str, dict[str, Any]] = {
    "ids": {
        "add": lambda docs, wrong: docs.add(wrong, dense=DENSE),
        "retrieve": lambda docs, wrong: docs.retrieve(wrong),
        "delete": lambda docs, wrong: docs.delete(wrong),
        "set_payload": lambda docs, wrong: docs.set_payload({"m": 1}, wrong),
        "overwrite_payload": lambda docs, wrong: docs.overwrite_payload({"m": 1}, wrong),
        "delete_payload": lambda docs, wrong: docs.delete_payload(["n"], wrong),
        "clear_payload": lambda docs, wrong: docs.clear_payload(wrong),
    },
    "payload": {
        "add": lambda docs, wrong: docs.add([9], dense=DENSE, payloads=[wrong]),
        "set_payload": lambda docs, wrong: docs.set_payload(wrong, [2]),
        "overwrite_payload": lambda docs, wrong: docs.overwrite_payload(wrong, [2]),
    },
    "filter": {
        "search": lambda docs, wrong: docs.search(dense=DENSE[0], filter=wrong),
        "search_groups": lambda docs, wrong: docs.search_groups("n", dense=DENSE[0], filter=wrong),
        "batch_search": lambda docs, wrong: docs.batch_search([Query(dense=DENSE[0])], filter=wrong),
        "scroll": lambda docs, wrong: docs.scroll(filter=wrong),
        "count": lambda docs, wrong: docs.count(filter=wrong),
        "delete": lambda docs, wrong: docs.delete(filter=wrong),
        "set_payload": lambda docs, wrong: docs.set_payload({"m": 1}, filter=wrong),
        "overwrite_payload": lambda docs, wrong: docs.overwrite_payload({"m": 1}, filter=wrong),
        "delete_payload": lambda docs, wrong: docs.delete_payload(["n"], filter=wrong),
        "clear_payload": lambda docs, wrong: docs.clear_payload(filter=wrong),
    },
    "key": {
        "set_payload": lambda docs, wrong: docs.set_payload({"m": 1}, [2], key=wrong),
        "delete_payload": lambda docs, wrong: docs.delete_payload([wrong], [2]),
    },
    "group_by": {
        "search_groups": lambda docs, wrong: docs.search_groups(wrong, dense=DENSE[0]),
    },
    "field_name": {
        "create_payload_index": lambda docs, wrong: docs.create_payload_index(wrong, "keyword"),
        "delete_payload_index": lambda docs, wrong: docs.delete_payload_index(wrong),
    },
    "dense": {
        "add": lambda docs, wrong: docs.add([9], dense=wrong),
        "search": lambda docs, wrong: docs.search(dense=wrong),
        "search_groups": lambda docs, wrong: docs.search_groups("n", dense=wrong),
    },
    "text": {
        "add": lambda docs, wrong: docs.add([9], dense=DENSE, texts=[wrong]),
        "search": lambda docs, wrong: docs.search(text=wrong, dense=DENSE[0]),
        "search_groups": lambda docs, wrong: docs.search_groups("n", text=wrong, dense=DENSE[0]),
        "explain": lambda docs, wrong: docs.explain(2, text=wrong),
    },
}
"""Methods of a collection by what they take. ``add_batches`` is what ``add`` calls."""

NAMED = {"ids": ["ids"], "payload": ["payload", "payloads"], "filter": ["filter"]}
NAMED |= {"dense": ["dense"], "text": ["text", "texts"], "key": ["key", "keys"]}
NAMED |= {"field_name": ["field_name"], "group_by": ["group_by"]}

WRONG: dict[str, list[Any]] = {
    "ids": ["42", b"42", {"2": 1}, 42, None, [""], [-1], [2**64], [1.5], [True], ["\ud800"]],
    "payload": [
        payload(33),
        {"a": float("inf")},
        {"a": {"b": [{"c": float("nan")}]}},
        {"a": -(2**64)},
        {OWN_FIELDS[0]: "b"},
        [1],
        "a",
    ],
    "filter": [
        {"must": []},
        inside(MAX_FILTER_DEPTH + 1),
        models.Filter(must_not=[models.HasIdCondition(has_id=["doc/a", ""])]),
        models.Filter(must=[models.FieldCondition(key="n", range=models.Range(gt=float("nan")))]),
        models.Filter(must=[models.FieldCondition(key="n", match=models.MatchValue(value=2**64))]),
    ],
    "dense": [[[1.0, float("nan")]], [[1.0]], "ab", [["a", "b"]], [[[1.0, 1.0]]], np.float32(1)],
    "text": ["", " ", "half \ud800", 7],
    "key": ["", "a.", "a b", "\ud800", 7, *OWN_FIELDS, f'"{OWN_FIELDS[0]}".a', f"{OWN_FIELDS[0]}[0]"],
}
WRONG["field_name"] = WRONG["group_by"] = WRONG["key"]

CALLS: dict[str, Any] = {
    "search": lambda docs, **options: docs.search(dense=DENSE[0], **options),
    "batch_search": lambda docs, **options: docs.batch_search([Query(dense=DENSE[0])], **options),
    "search_groups": lambda docs, **options: docs.search_groups("n", dense=DENSE[0], **options),
    "explain": lambda docs, **options: docs.explain(2, tokens=DENSE, **options),
    "retrieve": lambda docs, **options: docs.retrieve([2], **options),
    "scroll": lambda docs, **options: docs.scroll(**options),
    "count": lambda docs, **options: docs.count(**options),
    "add": lambda docs, **options: docs.add([99], dense=DENSE, **options),
    "add_batches": lambda docs, **options: docs.add_batches([Documents([99], dense=DENSE)], **options),
    "delete": lambda docs, **options: docs.delete([99], **options),
    "create_shard_key": lambda docs, **options: docs.create_shard_key("a", **options),
    "delete_shard_key": lambda docs, **options: docs.delete_shard_key("a", **options),
    "set_payload": lambda docs, **options: docs.set_payload({"m": 1}, [2], **options),
    "overwrite_payload": lambda docs, **options: docs.overwrite_payload({"m": 1}, [2], **options),
    "delete_payload": lambda docs, **options: docs.delete_payload(["n"], [2], **options),
    "clear_payload": lambda docs, **options: docs.clear_payload([2], **options),
    "create_payload_index": lambda docs, **options: docs.create_payload_index("n", "integer", **options),
    "delete_payload_index": lambda docs, **options: docs.delete_payload_index("n", **options),
}
"""A call of each method that takes options of a request."""

OPTIONS: dict[str, tuple[list[Any], Any]] = {
    "wait": ([1, None, "true"], True),
    "ordering": (["last", 1, []], models.WriteOrdering.STRONG),
    "consistency": (["any", 0, True, 1.5], models.ReadConsistencyType.MAJORITY),
    "shard_key_selector": (["", -1, [], [None], 1.5, {"a": 1}], "tenant"),
    "with_vectors": (["dense", 1, None, ["nowhere"], [1], b"dense"], None),
    "timeout": ([0, -1, "1", 0.5, True], 60),
}
"""Wrong values of each option, and one that a single process cannot honour."""


@pytest.mark.parametrize("kind", WAYS_IN)
def test_every_method_that_takes_it_is_listed(kind: str) -> None:
    taking = {
        name
        for name, method in inspect.getmembers(Collection, inspect.isfunction)
        if not name.startswith("_") and {*NAMED[kind]} & {*inspect.signature(method).parameters}
    }
    assert taking == {*WAYS_IN[kind]}


@pytest.mark.parametrize("kind", WAYS_IN)
def test_what_is_wrong_is_refused_by_every_method(docs: Collection, kind: str) -> None:
    before = docs.scroll()[0]
    for name, call in WAYS_IN[kind].items():
        for wrong in WRONG[kind]:
            with pytest.raises(InvalidArgumentError, match=f"^{kind}"):
                call(docs, wrong)
                pytest.fail(f"{name} took {wrong!r}")
    assert docs.scroll()[0] == before


@pytest.mark.parametrize("number", [0, -1, 1.5, "2", True])
def test_no_ingest_runs_without_workers(docs: Collection, number: Any) -> None:
    batches = [Documents([9], dense=DENSE)]
    with pytest.raises(InvalidArgumentError, match=r"^workers: expected an integer of at least 1"):
        docs.add_batches(batches, workers=number)
    with pytest.raises(InvalidArgumentError, match=r"^workers: "):
        asyncio.run(docs.to_async().add_batches(batches, workers=number))
    assert docs.count() == 4


@pytest.mark.parametrize("option", OPTIONS)
def test_options_of_a_request_are_checked_by_every_method(docs: Collection, option: str) -> None:
    taking = {
        name
        for name, method in inspect.getmembers(Collection, inspect.isfunction)
        if name not in ("optimize",) and option in inspect.signature(method).parameters
    }
    assert taking <= {*CALLS}
    before = docs.scroll()[0]
    for name in taking:
        for wrong in OPTIONS[option][0]:
            with pytest.raises(InvalidArgumentError, match=rf"^{option}(\[0\])?: "):
                CALLS[name](docs, **{option: wrong})
                pytest.fail(f"{name} took {wrong!r}")
    assert docs.scroll()[0] == before


@pytest.mark.parametrize("option", sorted(OPTIONS.keys() - {"wait", "with_vectors"}))
def test_what_one_process_cannot_honour_is_refused_there(docs: Collection, option: str) -> None:
    if traits_of(docs.engine).is_remote:
        pytest.skip("a server honours it")
    for name, call in CALLS.items():
        if option in inspect.signature(getattr(Collection, name)).parameters:
            with pytest.raises(CapabilityError, match=f"^({option}|shard_key): "):
                call(docs, **{option: OPTIONS[option][1]})


@pytest.mark.parametrize("wrong", [0, -1, 1.5, "2", True, None, 2**32, 2**64])
def test_numbers_of_documents_are_checked_by_every_method(docs: Collection, wrong: Any) -> None:
    for option, call in (
        ("limit", lambda: docs.search(dense=DENSE[0], limit=wrong)),
        ("limit", lambda: docs.batch_search([Query(dense=DENSE[0])], limit=wrong)),
        ("limit", lambda: docs.search_groups("n", dense=DENSE[0], limit=wrong)),
        ("group_size", lambda: docs.search_groups("n", dense=DENSE[0], group_size=wrong)),
        ("limit", lambda: docs.scroll(limit=wrong)),
    ):
        with pytest.raises(InvalidArgumentError, match=rf"^{option}: expected an integer of at (least|most)"):
            call()
    largest = 2**32 - 1
    assert len(docs.search(dense=DENSE[0], limit=largest)) == 4 == len(docs.scroll(limit=largest)[0])
    assert len(docs.search_groups("n", dense=DENSE[0], limit=largest, group_size=largest)) == 4


@pytest.mark.parametrize("wrong", [-1, 2**64, 1.5, True, "x", ["x"], b"1"])
def test_a_page_begins_at_a_point(docs: Collection, wrong: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^offset: expected None, or what the previous call"):
        docs.scroll(offset=wrong)
    first, following = docs.scroll(limit=2)
    assert ids_of(first) | ids_of(docs.scroll(limit=2, offset=following)[0]) == {*IDS}


@pytest.mark.parametrize("wrong", [np.ones((1, 2)), 7, "dense", [], ["nowhere"], [np.ones(2)], [None]])
def test_branches_are_names(docs: Collection, wrong: Any) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^branches(\[0\])?: expected"):
        docs.search(dense=DENSE[0], branches=wrong)


@pytest.mark.parametrize("on_empty", ["raise", "skip"])
def test_an_array_of_ids_without_axes_is_refused(memory_client: Any, on_empty: Any) -> None:
    collection = Collection.create("docs", Recipe(dense=Dense(dim=2)), memory_client)
    with pytest.raises(InvalidArgumentError, match=r"^ids: .* got an array of shape \(\)$"):
        collection.add(np.array(1), dense=[[1.0, 0.0]], on_empty=on_empty)


def test_a_collection_that_waits_takes_nothing_asynchronous(memory_client: Any) -> None:
    async def batches() -> Any:
        yield Documents([1], dense=[[1.0, 0.0]])

    recipe = Recipe(dense=Dense(dim=2))
    collection = Collection.create("docs", recipe, memory_client)
    with pytest.raises(InvalidArgumentError, match=r"^batches: .* AsyncCollection.* got async_generator$"):
        collection.add_batches(batches())  # type: ignore[arg-type]
    client: Any = AsyncQdrantClient(":memory:")
    for call in (
        lambda: Collection.create("docs", recipe, client),
        lambda: Collection.open("docs", client),
        lambda: Collection.open_plain("docs", client),
    ):
        with pytest.raises(
            InvalidArgumentError, match=r"^engine: .*AsyncCollection.* got AsyncQdrantClient$"
        ):
            call()
    asyncio.run(client.close())


@pytest.mark.parametrize("on_empty", ["raise", "skip"])
@pytest.mark.parametrize("stored", ["another", None, ["red"]])
def test_a_payload_does_not_replace_the_text_of_a_document(
    memory_client: Any, stored: Any, on_empty: Any
) -> None:
    collection = Collection.create("docs", Recipe(dense=Dense(dim=2), text_key="body"), memory_client)
    vectors, texts = [[1.0, 0.0]] * 2, ["red", "blue"]
    told = r"^payloads\[1\]\['body'\]: expected no such field, or the text of the document, .* \(id 2\)$"
    with pytest.raises(InvalidArgumentError, match=told):
        payloads: Any = [{"body": "red"}, {"body": stored}]
        collection.add([1, 2], dense=vectors, texts=texts, payloads=payloads, on_empty=on_empty)
    assert collection.count() == 0
    collection.add([1, 2], dense=vectors, texts=texts, payloads=[{"body": "red"}, {"text": "other"}])
    assert [record.payload for record in collection.retrieve([1, 2])] == [
        {"body": "red"},
        {"body": "blue", "text": "other"},
    ]
