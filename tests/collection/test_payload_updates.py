"""Payloads are changed by ids or by a filter, without encoding again, the same on each engine."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from qdrant_client import models

from embplug import Collection, Dense, Recipe, Record, Sparse
from embplug.collection import payload_updates, selection
from embplug.common.ids import CODES, DENSE_CODES, MODEL, ORIGINAL_ID, point_id
from embplug.common.json_types import MAX_DEPTH
from embplug.errors import InvalidArgumentError
from embplug.methods import PowerQuantizer

VECTORS = np.eye(3, 4) + 0.1
PAYLOADS = [{"n": i, "author": {"name": "a", "town": "b"}, "tags": ["x"]} for i in range(3)]


def is_at_least(n: int) -> models.Filter:
    return models.Filter(must=[models.FieldCondition(key="n", range=models.Range(gte=n))])


@pytest.fixture
def docs(engine: Any) -> Collection:
    """Three documents whose vectors are codes in the payload, and whose ids embplug maps."""
    recipe = Recipe(dense=Dense(dim=4, codes=PowerQuantizer(), funnel=[2]))
    collection = Collection.create("docs", recipe, engine)
    collection.add(["a", "b", "c"], dense=VECTORS, payloads=PAYLOADS, texts=["one", "two", "three"])
    return collection


@pytest.fixture
def texts(engine: Any) -> Collection:
    """Documents whose sparse vectors are made of their texts."""
    collection = Collection.create("texts", Recipe(sparse=Sparse()), engine)
    collection.add(["a", "b"], texts=["red apples", "green pears"], payloads=[{"n": 0}, {"n": 1}])
    return collection


def payload(docs: Collection, id_: Any) -> Any:
    (record,) = docs.retrieve([id_])
    return record.payload


def found(docs: Collection) -> list[Any]:
    return [(hit.id, round(hit.score, 4)) for hit in docs.search(dense=VECTORS[1])]


def test_one_field_is_set_by_ids_and_by_filter(docs: Collection) -> None:
    before = found(docs)
    docs.set_payload({"seen": True}, ["a"])
    docs.set_payload({"seen": False}, filter=is_at_least(1))
    assert [payload(docs, id_)["seen"] for id_ in "abc"] == [True, False, False]
    assert payload(docs, "a") == {**PAYLOADS[0], "text": "one", "seen": True}
    assert found(docs) == before


def test_a_nested_key_is_set_and_its_neighbours_stay(docs: Collection) -> None:
    docs.set_payload({"town": "c"}, ["a"], key="author")
    docs.set_payload({"street": "d"}, filter=is_at_least(2), key="author.address")
    assert payload(docs, "a")["author"] == {"name": "a", "town": "c"}
    assert payload(docs, "c")["author"] == {"name": "a", "town": "b", "address": {"street": "d"}}
    assert payload(docs, "b")["author"] == PAYLOADS[1]["author"]


def test_the_fields_of_embplug_may_have_their_names_deeper(docs: Collection) -> None:
    docs.set_payload({ORIGINAL_ID: 1}, ["a"], key="author")
    assert payload(docs, "a")["author"][ORIGINAL_ID] == 1


def test_none_removes_a_field(docs: Collection) -> None:
    docs.set_payload({"tags": None}, ["a"])
    assert "tags" not in payload(docs, "a") and "tags" in payload(docs, "b")


def test_overwriting_leaves_what_the_search_needs(docs: Collection) -> None:
    before = found(docs)
    docs.overwrite_payload({"m": 1}, ["a"])
    docs.overwrite_payload({"n": 9}, filter=is_at_least(2))
    assert [payload(docs, id_) for id_ in "ac"] == [{"m": 1}, {"n": 9}]
    assert payload(docs, "b") == {**PAYLOADS[1], "text": "two"}
    assert found(docs) == before
    stored = docs.engine.retrieve("docs", [point_id("a", "id")], with_payload=True)[0].payload
    assert {*stored} == {"m", ORIGINAL_ID, DENSE_CODES}


def test_clearing_leaves_what_the_search_needs(docs: Collection) -> None:
    before = found(docs)
    docs.clear_payload(["a"])
    docs.clear_payload(filter=is_at_least(1))
    assert {record.id for record in docs.scroll()[0]} == {"a", "b", "c"}
    assert not any(record.payload for record in docs.scroll()[0])
    assert found(docs) == before


def test_fields_are_deleted_by_their_paths(docs: Collection) -> None:
    docs.delete_payload(["author.town", "tags", "missing"], ["a"])
    docs.delete_payload(["author"], filter=is_at_least(2))
    assert payload(docs, "a") == {"n": 0, "author": {"name": "a"}, "text": "one"}
    assert payload(docs, "c") == {"n": 2, "tags": ["x"], "text": "three"}
    docs.delete_payload([], ["a"])
    assert payload(docs, "a")["n"] == 0


def test_fields_with_any_name_are_overwritten(docs: Collection) -> None:
    names = ["with space", "a.b", 'quo"te', "l[0]", "é", ""]
    docs.set_payload(dict.fromkeys(names, 1), ["a"])
    assert {*names} < {*payload(docs, "a")}
    docs.overwrite_payload({"a.b": 2}, ["a"])
    assert payload(docs, "a") == {"a.b": 2}


def test_many_documents_are_overwritten_page_by_page(engine: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in (selection, payload_updates):
        monkeypatch.setattr(module, "PAGE", 5)
    count = 23
    docs = Collection.create("docs", Recipe(dense=Dense(dim=2)), engine)
    docs.add(range(count), dense=np.ones((count, 2)), payloads=[{f"f{i % 7}": i} for i in range(count)])
    docs.overwrite_payload({"n": 1}, range(count))
    assert docs.count(filter=is_at_least(1)) == count
    docs.overwrite_payload({"n": 2, "m": 3}, filter=is_at_least(1))
    records, _ = docs.scroll(limit=count)
    assert [record.payload for record in records] == [{"n": 2, "m": 3}] * count


@pytest.mark.parametrize("method", ["set", "overwrite", "delete", "clear"])
def test_a_document_that_does_not_exist_is_named(docs: Collection, method: str) -> None:
    before = docs.scroll()[0]
    calls = {
        "set": lambda ids: docs.set_payload({"m": 1}, ids),
        "overwrite": lambda ids: docs.overwrite_payload({"m": 1}, ids),
        "delete": lambda ids: docs.delete_payload(["n"], ids),
        "clear": docs.clear_payload,
    }
    with pytest.raises(InvalidArgumentError, match=r"^ids\[1\]: .* exists, got 'z'$"):
        calls[method](["a", "z"])
    with pytest.raises(InvalidArgumentError, match=r"^ids: expected either ids or filter, got neither$"):
        calls[method](None)
    calls[method]([])
    assert docs.scroll()[0] == before


def test_a_text_of_which_vectors_are_made_stays(texts: Collection) -> None:
    whole = models.Filter(must=[models.IsEmptyCondition(is_empty=models.PayloadField(key="nowhere"))])
    for call in (
        lambda: texts.set_payload({"text": "other"}, ["a"]),
        lambda: texts.set_payload({"text": "red apples"}, filter=whole),
        lambda: texts.overwrite_payload({"text": "other"}, ["a"]),
        lambda: texts.overwrite_payload({"text": "red apples"}, filter=whole),
        lambda: texts.set_payload({"text": None}, ["a"]),
    ):
        with pytest.raises(InvalidArgumentError, match=r"^payload: expected no change of 'text'"):
            call()
    with pytest.raises(InvalidArgumentError, match=r"^keys\[1\]: expected no change of 'text'"):
        texts.delete_payload(["n", "text"], ["a"])
    with pytest.raises(InvalidArgumentError, match=r"^key: expected no change of 'text'"):
        texts.set_payload({"a": 1}, ["a"], key="text")
    assert texts.retrieve(["a"]) == [Record("a", {"text": "red apples", "n": 0})]


def test_the_text_may_come_back_as_it_is_stored(texts: Collection) -> None:
    (record,) = texts.retrieve(["a"])
    texts.overwrite_payload({**record.payload, "n": 5}, ["a"])
    texts.set_payload({**record.payload, "m": 6}, ["a"])
    assert payload(texts, "a") == {"text": "red apples", "n": 0, "m": 6}
    texts.clear_payload(["a"])
    assert payload(texts, "a") == {"text": "red apples"}
    assert texts.search(text="apples")[0].id == "a"


def test_a_text_of_which_no_vector_is_made_is_a_field_like_others(docs: Collection) -> None:
    docs.set_payload({"text": "other"}, ["a"])
    assert payload(docs, "a")["text"] == "other"


def test_what_is_too_deep_at_its_place_is_refused(docs: Collection) -> None:
    key = ".".join("k" * (MAX_DEPTH - 1))
    docs.set_payload({"k": 1}, ["a"], key=key)
    with pytest.raises(InvalidArgumentError, match=r"^payload: .*inside each other"):
        docs.set_payload({"k": 1}, ["a"], key=f"{key}.k")
    with pytest.raises(InvalidArgumentError, match=r"^payload: .*inside each other"):
        docs.set_payload({"k": {}}, ["a"], key=key)


def test_fields_of_an_upgrade_survive(docs: Collection) -> None:
    point = point_id("a", "id")
    docs.engine.set_payload("docs", {MODEL: 2, CODES: "x"}, points=[point], wait=True)
    docs.overwrite_payload({"m": 1}, ["a"])
    docs.clear_payload(["a"])
    stored = docs.engine.retrieve("docs", [point], with_payload=True)[0].payload
    assert (stored[MODEL], stored[CODES]) == (2, "x")


@pytest.fixture
def bare(engine: Any) -> Collection:
    """Two documents of which the second has nothing at all in its payload."""
    collection = Collection.create("bare", Recipe(dense=Dense(dim=4)), engine)
    collection.add([1, 2], dense=VECTORS[:2], payloads=[{"secret": "x", "z": 1}, None])
    return collection


@pytest.mark.parametrize("ids", [[1, 2], None])
def test_a_document_without_payload_gets_no_fields_of_others(bare: Collection, ids: Any) -> None:
    selection = {"ids": ids} if ids else {"filter": models.Filter()}
    bare.overwrite_payload({"b": 1, "c": None}, **selection)
    assert [payload(bare, id_) for id_ in (1, 2)] == [{"b": 1}, {"b": 1}]
    bare.add([1, 2], dense=VECTORS[:2], payloads=[{"secret": "x"}, None])
    bare.clear_payload(**selection)
    assert [payload(bare, id_) for id_ in (1, 2)] == [{}, {}]
    is_null = models.Filter(must=[models.IsNullCondition(is_null=models.PayloadField(key="secret"))])
    assert bare.count(filter=is_null) == 0


@pytest.mark.parametrize("by_filter", [False, True])
def test_a_field_that_is_set_to_none_is_nowhere(bare: Collection, by_filter: bool) -> None:
    ids = None if by_filter else [1, 2]
    both = models.Filter(must=[models.HasIdCondition(has_id=[1, 2])]) if by_filter else None
    bare.set_payload({"z": None, "y": 1, "a.b c": None}, ids, filter=both)
    assert [payload(bare, id_) for id_ in (1, 2)] == [{"secret": "x", "y": 1}, {"y": 1}]
