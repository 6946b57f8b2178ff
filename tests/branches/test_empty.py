"""Empty documents among others are refused or left out, as the user says; places stay those of the call."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_embplug import EmbplugVectorStore as LangChainStore
from llama_index.core.schema import TextNode
from llama_index_embplug import EmbplugVectorStore as LlamaIndexStore

from embplug import Collection, Dense, Documents, Recipe, TokenBatch, Tokens
from embplug.errors import DuplicateIdError, EmptyTokensError, InvalidArgumentError
from tests.branches.parts import DIM, RecordingEncoder

TEXTS = ["a 1", "", "a 3", " \n", "a 5"]


def dense(engine: Any) -> Collection:
    return Collection.create("docs", Recipe(dense=Dense(dim=DIM)), engine, encoder=RecordingEncoder())


def test_an_empty_text_is_refused_unless_it_is_skipped(engine: Any) -> None:
    docs = dense(engine)
    for arguments in ({}, {"on_empty": "raise"}):
        with pytest.raises(InvalidArgumentError, match=r"^texts\[1\]: "):
            docs.add(range(5), texts=TEXTS, **arguments)
    assert docs.count() == 0
    report = docs.add(range(5), texts=TEXTS, payloads=[{"n": i} for i in range(5)], on_empty="skip")
    assert (report.added, report.skipped) == (3, [1, 3])
    assert [record.payload["n"] for record in docs.scroll()[0]] == [0, 2, 4]


def test_all_columns_go_along(memory_client: Any) -> None:
    recipe = Recipe(tokens=Tokens(dim=4), dense={"x": Dense(dim=2), "y": Dense(dim=2)})
    docs = Collection.create("docs", recipe, memory_client)
    matrices = [np.full((2, 4), 1.0), np.zeros((0, 4)), np.full((1, 4), 3.0)]
    columns = {"x": np.eye(3, 2) + 1, "y": [[1.0, 2.0], [3.0, 4.0], [5.0, 6.0]]}
    for tokens in (matrices, TokenBatch.from_list(matrices, dim=4)):
        with pytest.raises(EmptyTokensError, match=r"^tokens\[1\]"):
            docs.add(["a", "b", "c"], tokens=tokens, dense=columns)
        report = docs.add(["a", "b", "c"], tokens=tokens, dense=columns, on_empty="skip")
        assert (report.added, report.skipped) == (2, ["b"])
    assert docs.search(dense={"y": [5.0, 6.0]}, limit=1)[0].id == "c"


def test_places_are_those_of_the_call(memory_client: Any) -> None:
    docs = dense(memory_client)
    with pytest.raises(InvalidArgumentError, match=r"^texts\[4\]: .* \(id 4\)"):
        docs.add(range(5), texts=[*TEXTS[:4], "half \ud800"], on_empty="skip")
    with pytest.raises(InvalidArgumentError, match=r"^on_empty: expected 'raise' or 'skip', got 'drop'"):
        docs.add([1], texts=["a 1"], on_empty="drop")  # type: ignore[arg-type]
    assert docs.add([7], texts=[""], on_empty="skip").skipped == [7]
    assert docs.count() == 0


def test_batches_and_awaited_calls_skip_alike(memory_client: Any) -> None:
    docs = dense(memory_client)
    batches = [Documents(range(5), texts=TEXTS), Documents([9], texts=[" "])]
    assert docs.add_batches(batches, on_empty="skip").skipped == [1, 3, 9]
    report = asyncio.run(docs.to_async().add(range(5), texts=TEXTS, on_empty="skip"))
    assert (report.added, report.skipped) == (3, [1, 3])


def test_places_in_stores_are_those_of_the_call(memory_client: Any) -> None:
    recipe = Recipe(dense=Dense(dim=DIM))
    store = LangChainStore(memory_client, "langchain", RecordingEncoder(), recipe=recipe)
    own = LlamaIndexStore("llama", memory_client, recipe=recipe, encoder=RecordingEncoder())
    for wrong in ("half \ud800", 5):
        with pytest.raises(InvalidArgumentError, match=r"^texts\[4\]: "):
            store.add_texts([*TEXTS[:4], wrong], on_empty="skip", batch_size=1)  # type: ignore[list-item]
    metadata = [{}, {}, {}, {}, {"n": float("nan")}]
    with pytest.raises(InvalidArgumentError, match=r"^payloads\[4\]: .*nan under \['metadata'\]\['n'\]"):
        store.add_texts(TEXTS, metadata, on_empty="skip")
    with pytest.raises(DuplicateIdError, match=r"^ids\[4\]: .*ids\[2\]"):
        store.add_texts(TEXTS, ids=["0", "1", "2", "3", "2"], on_empty="skip")
    nodes = [TextNode(text=text, metadata=own) for text, own in zip(TEXTS, metadata, strict=True)]
    with pytest.raises(InvalidArgumentError, match=r"^nodes\[4\]\.metadata: "):
        own.add(nodes, on_empty="skip")
    nodes = [TextNode(text=text, embedding=[1.0] * DIM) for text in TEXTS[:4]]
    with pytest.raises(InvalidArgumentError, match=r"^nodes\[4\]\.embedding: "):
        own.add([*nodes, TextNode(text="a 5")], on_empty="skip")
    with pytest.raises(DuplicateIdError, match=r"^ids\[4\]: .*ids\[2\]"):
        own.add(
            [TextNode(id_=id_, text=text) for id_, text in zip("01232", TEXTS, strict=True)], on_empty="skip"
        )
    assert own.collection.count() == 0


def test_stores_skip_alike(memory_client: Any, caplog: pytest.LogCaptureFixture) -> None:
    recipe = Recipe(dense=Dense(dim=DIM))
    store = LangChainStore(memory_client, "langchain", RecordingEncoder(), recipe=recipe)
    ids = [str(i) for i in range(5)]
    with pytest.raises(InvalidArgumentError, match=r"texts\[1\]"):
        store.add_texts(TEXTS, ids=ids)
    assert store.add_texts(TEXTS, ids=ids, on_empty="skip") == ["0", "2", "4"]
    documents = [Document(text, id=id_) for text, id_ in zip(TEXTS, ids, strict=True)]
    assert store.add_documents(documents, on_empty="skip") == ["0", "2", "4"]
    assert asyncio.run(store.aadd_documents(documents, on_empty="skip")) == ["0", "2", "4"]
    assert "2 empty documents were left out" in caplog.text
    own = LlamaIndexStore("llama", memory_client, recipe=recipe, encoder=RecordingEncoder())
    nodes = [TextNode(id_=id_, text=text) for text, id_ in zip(TEXTS, ids, strict=True)]
    assert own.add(nodes, on_empty="skip") == ["0", "2", "4"]
    assert asyncio.run(own.async_add(nodes, on_empty="skip")) == ["0", "2", "4"]
