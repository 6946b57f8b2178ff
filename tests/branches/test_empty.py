"""Empty documents among others are refused, left out or stored bare; places stay those of the call."""

from __future__ import annotations

import asyncio
from typing import Any

import numpy as np
import pytest
from langchain_core.documents import Document
from langchain_core.embeddings import Embeddings
from langchain_embplug import EmbplugVectorStore as LangChainStore
from llama_index.core.schema import TextNode
from llama_index.core.vector_stores import VectorStoreQuery
from llama_index_embplug import EmbplugVectorStore as LlamaIndexStore
from qdrant_client import models
from scipy import sparse

from embplug import Collection, Dense, Documents, Recipe, Sparse, TokenBatch, Tokens
from embplug.branches.sparse_vectors import check_sparse
from embplug.errors import DuplicateIdError, EmptyTokensError, InvalidArgumentError, NotFittedError
from embplug.methods import ProductQuantizer, ResidualQuantizer
from tests.branches.parts import DIM, SMALL_FDE, RecordingEncoder


class RecordingEmbeddings(Embeddings):
    """LangChain's embeddings of the encoder, which keep what they were asked for."""

    def __init__(self) -> None:
        self.encoder = RecordingEncoder()
        self.calls = self.encoder.calls

    def embed_documents(self, texts: list[str]) -> list[list[float]]:
        dense = self.encoder.encode_documents(texts).dense
        assert dense is not None
        return dense.tolist()

    def embed_query(self, text: str) -> list[float]:
        return [float(text.split()[-1]), *[1.0] * (DIM - 1)]


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
    with pytest.raises(
        InvalidArgumentError, match=r"^on_empty: expected 'raise', 'skip' or 'store', got 'drop'"
    ):
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
    nodes = [TextNode(text=text, metadata=own) for text, own in zip(TEXTS, metadata, strict=True)]
    with pytest.raises(InvalidArgumentError, match=r"^nodes\[4\]\.metadata: "):
        own.add(nodes, on_empty="skip")
    nodes = [TextNode(text=text, embedding=[1.0] * DIM) for text in TEXTS[:4]]
    with pytest.raises(InvalidArgumentError, match=r"^nodes\[4\]\.embedding: "):
        own.add([*nodes, TextNode(text="a 5")], on_empty="skip")
    assert own.collection.count() == 0
    nodes = [TextNode(id_=id_, text=text) for id_, text in zip("01232", TEXTS, strict=True)]
    own.add(nodes, on_empty="skip")
    assert [node.get_content() for node in own.get_nodes(["0", "2"])] == ["a 1", "a 5"]
    store.add_texts(TEXTS, ids=["0", "1", "2", "3", "2"], on_empty="skip")
    assert [document.page_content for document in store.get_by_ids(["0", "2"])] == ["a 1", "a 5"]


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


def every_branch(engine: Any, **dense: Any) -> Collection:
    """A collection with all kinds of vectors and codes, of which the codes and BM25 have yet to learn."""
    recipe = Recipe(
        tokens=Tokens(dim=DIM, encoding=SMALL_FDE, codes=ResidualQuantizer(size=4, centroids=2)),
        dense=Dense(dim=DIM, codes=ProductQuantizer(subspaces=2), **dense),
        sparse=Sparse(),
    )
    return Collection.create("docs", recipe, engine, encoder=RecordingEncoder())


def test_an_empty_document_is_stored_without_vectors_if_the_user_says_so(engine: Any) -> None:
    docs = every_branch(engine)
    payloads = [{"n": i} for i in range(5)]
    report = docs.add(["a", "b", "c", "d", "e"], texts=TEXTS, payloads=payloads, on_empty="store")
    assert (report.added, report.skipped, report.without_vectors) == (5, [], ["b", "d"])
    assert docs.count() == 5 == docs.info().points
    second = models.Filter(must=[models.FieldCondition(key="n", match=models.MatchValue(value=1))])
    assert docs.count(filter=second) == 1
    (stored,) = docs.scroll(filter=second, with_vectors=True)[0]
    assert (stored.id, stored.payload) == ("b", {"n": 1, "text": ""}) and not stored.vector
    assert docs.retrieve(["d"])[0].payload == {"n": 3, "text": " \n"}
    for exact in (False, True):
        hits = docs.search(text="a 5", limit=5, exact=exact)
        assert {hit.id for hit in hits} == {"a", "c", "e"}
    mmr = models.Mmr(diversity=0.5, candidates_limit=5)
    assert {hit.id for hit in docs.search(text="a 5", limit=5, mmr=mmr)} == {"a", "c", "e"}
    groups = docs.search_groups("n", text="a 5", limit=5)
    assert {group.id for group in groups} == {0, 2, 4}
    assert docs.search(text="a 5", filter=second) == []
    opened = Collection.open("docs", engine, encoder=RecordingEncoder())
    assert opened.search(text="a 5", limit=1)[0].id == docs.search(text="a 5", limit=1)[0].id
    docs.set_payload({"n": 7}, ["b"])
    assert docs.retrieve(["b"])[0].payload["n"] == 7
    docs.delete(["b"])
    assert docs.count() == 4


def test_documents_without_vectors_do_not_count_as_short_ones(memory_client: Any) -> None:
    docs = every_branch(memory_client)
    texts = [f"a {i}" for i in range(20)]
    docs.add(range(20), texts=texts)
    before = docs.info().document_bytes
    docs.add(range(20, 40), texts=[""] * 20, on_empty="store")
    after = docs.info().document_bytes
    assert before is not None and after is not None
    tokens = before.float32 - 4 * DIM
    assert tokens > 0 and after.float32 - 4 * DIM == pytest.approx(tokens / 2)


def test_a_document_that_becomes_empty_loses_its_vectors(engine: Any) -> None:
    docs = every_branch(engine)
    docs.add(range(5), texts=[f"a {i}" for i in range(5)])
    docs.add([3], texts=[" "], on_empty="store")
    assert docs.count() == 5
    assert {hit.id for hit in docs.search(text="a 3", limit=5)} == {0, 1, 2, 4}
    docs.add([3], texts=["a 3"], on_empty="store")
    assert {hit.id for hit in docs.search(text="a 3", limit=5)} == {0, 1, 2, 3, 4}


def test_documents_without_vectors_may_come_before_all_from_which_the_recipe_learns(engine: Any) -> None:
    docs = every_branch(engine)
    report = docs.add(["x", "y"], texts=["", None], on_empty="store")  # type: ignore[list-item]
    assert report.without_vectors == ["x", "y"] and docs.count() == 2
    with pytest.raises(NotFittedError):
        docs.search(text="a 1")
    opened = Collection.open("docs", engine, encoder=RecordingEncoder())
    batches = [Documents(["z"], texts=[""]), Documents(range(5), texts=TEXTS)]
    report = opened.add_batches(batches, on_empty="store")
    assert (report.added, report.without_vectors) == (6, ["z", 1, 3])
    assert {hit.id for hit in docs.search(text="a 3", limit=9)} == {0, 2, 4}
    assert docs.count() == 8 and docs.retrieve(["y"])[0].payload == {}


def test_nothing_of_a_batch_is_written_if_an_empty_document_is_wrong(memory_client: Any) -> None:
    docs = dense(memory_client)
    payloads = [{}, {}, {}, {"n": float("nan")}, {}]
    with pytest.raises(InvalidArgumentError, match=r"^payloads\[3\]: .*\(id 3\)"):
        docs.add(range(5), texts=TEXTS, payloads=payloads, on_empty="store")
    with pytest.raises(DuplicateIdError, match=r"^ids\[3\]: .*ids\[0\]"):
        docs.add([0, 1, 2, 0, 4], texts=TEXTS, on_empty="store")
    with pytest.raises(InvalidArgumentError, match=r"^texts\[4\]: .* \(id 4\)"):
        docs.add(range(5), texts=[*TEXTS[:4], "half \ud800"], on_empty="store")
    assert docs.count() == 0


def test_vectors_that_are_none_are_those_of_an_empty_document(memory_client: Any) -> None:
    recipe = Recipe(tokens=Tokens(dim=4), dense={"x": Dense(dim=2)})
    docs = Collection.create("docs", recipe, memory_client)
    tokens = [np.full((2, 4), 1.0), None, np.full((1, 4), 3.0)]
    vectors = [[1.0, 2.0], None, [5.0, 6.0]]
    report = docs.add(["a", "b", "c"], tokens=tokens, dense=vectors, on_empty="store")  # type: ignore
    assert (report.added, report.without_vectors) == (3, ["b"])
    assert {hit.id for hit in docs.search(dense=[5.0, 6.0])} == {"a", "c"}


def test_stores_store_without_vectors_alike(engine: Any, caplog: pytest.LogCaptureFixture) -> None:
    recipe = Recipe(dense=Dense(dim=DIM))
    ids = [str(i) for i in range(5)]
    metadata = [{"n": i} for i in range(5)]
    embeddings = RecordingEmbeddings()
    for embedder, expected in ((embeddings, [["a 1", "a 3", "a 5"]]), (RecordingEncoder(), [])):
        name = f"langchain-{len(expected)}"
        store = LangChainStore(engine, name, embedder, recipe=recipe)
        assert store.add_texts(TEXTS, metadata, ids=ids, on_empty="store") == ids
        assert embeddings.calls == [["a 1", "a 3", "a 5"]]
        (bare,) = store.get_by_ids(["1"])
        assert (bare.page_content, bare.metadata) == ("", {"n": 1})
        assert {found.id for found in store.similarity_search("a 5", k=5)} == {"0", "2", "4"}
    documents = [Document(text, id=id_) for text, id_ in zip(TEXTS, ids, strict=True)]
    assert asyncio.run(store.aadd_documents(documents, on_empty="store")) == ids
    assert "2 empty documents were stored without vectors" in caplog.text
    own = LlamaIndexStore("llama", engine, recipe=recipe, encoder=RecordingEncoder())
    nodes = [
        TextNode(id_=id_, text=text, metadata={"n": 1}, excluded_embed_metadata_keys=["n"])
        for text, id_ in zip(TEXTS, ids, strict=True)
    ]
    assert own.add(nodes, on_empty="store") == ids
    assert asyncio.run(own.async_add(nodes, on_empty="store")) == ids
    assert [node.get_content() for node in own.get_nodes(["1", "3"])] == ["", " \n"]
    query = VectorStoreQuery(query_str="a 5", query_embedding=[5.0] + [1.0] * (DIM - 1), similarity_top_k=5)
    assert {*(own.query(query).ids or [])} == {"0", "2", "4"}
    embedded = LlamaIndexStore("embedded", engine)
    for node in nodes:
        node.embedding = [1.0] * DIM
    assert embedded.add(nodes, on_empty="store") == ids
    assert {*(embedded.query(query).ids or [])} == {"0", "2", "4"}


def test_a_filter_that_nothing_meets_finds_nothing_with_all_branches(engine: Any) -> None:
    docs = every_branch(engine)
    docs.add(range(3), texts=["a 1", "a 2", "a 3"])
    nothing = models.Filter(must=[models.FieldCondition(key="n", match=models.MatchValue(value=9))])
    for options in ({}, {"exact": True}, {"with_stages": True}):
        assert docs.search(text="a 3", filter=nothing, **options) == []


def test_weights_of_terms_go_along_in_a_matrix_of_any_kind(memory_client: Any) -> None:
    recipe = Recipe(sparse=Sparse(kind="learned"), dense=Dense(dim=2))
    docs = Collection.create("docs", recipe, memory_client)
    weights = sparse.coo_matrix(np.eye(3, 4))
    vectors = [[1.0, 0.0], None, [0.0, 1.0]]
    for on_empty, ids in (("skip", {0, 2}), ("store", {0, 1, 2})):
        docs.add(range(3), dense=vectors, sparse=weights, on_empty=on_empty)
        assert {record.id for record in docs.scroll()[0]} == ids
        assert docs.search(sparse={2: 1.0}, branches=["sparse"])[0].id == 2


@pytest.mark.parametrize("on_empty", ["skip", "store"])
@pytest.mark.parametrize(
    ("column", "error"),
    [
        ({"payloads": [{}]}, r"^payloads: expected 2 items, one for each document, got 1$"),
        ({"payloads": {"a": 1}}, r"^payloads: expected a sequence, one item per document, got dict$"),
        ({"sparse": [{1: 0.5}]}, r"^sparse: expected 2 items, one for each document, got 1$"),
        ({"sparse": {1: 0.5}}, r"^sparse: expected a sequence"),
        ({"sparse": sparse.csr_array([[0.0, 1.0]])}, r"^sparse: expected 2 items"),
        ({"saliency": 3}, r"^saliency: expected a sequence, one item per document, got int$"),
        ({"grids": [(1, 1)]}, r"^grids: expected 2 items"),
        ({"texts": {"a": "", "b": ""}}, r"^texts: expected a sequence, one item per document, got dict$"),
        ({"ids": {1, 2}}, r"^ids: expected a sequence, one item per document, got set$"),
    ],
)
def test_columns_that_do_not_fit_are_named_before_documents_are_split(
    memory_client: Any, on_empty: Any, column: dict[str, Any], error: str
) -> None:
    recipe = Recipe(dense=Dense(dim=2), sparse=Sparse(kind="learned"))
    docs = Collection.create("docs", recipe, memory_client)
    columns = {"ids": [1, 2], "dense": np.eye(2), "texts": ["a", ""], "sparse": [{1: 0.5}, {2: 0.5}]}
    with pytest.raises(InvalidArgumentError, match=error):
        docs.add(**{**columns, **column}, on_empty=on_empty)
    assert docs.count() == 0


def test_checked_weights_of_terms_are_split_too(memory_client: Any) -> None:
    docs = Collection.create("docs", Recipe(sparse=Sparse(kind="learned")), memory_client)
    weights = check_sparse([{1: 0.5}, {2: 0.5}, {3: 0.5}], 3)
    report = docs.add([1, 2, 3], texts=["a", "", "c"], sparse=weights, on_empty="skip")
    assert report.skipped == [2] and docs.search(sparse={3: 1.0})[0].id == 3


@pytest.mark.parametrize("ids", [np.arange(4), np.array(["a", "b", "c", "d"])])
def test_ids_and_texts_may_be_arrays(engine: Any, ids: Any) -> None:
    docs = Collection.create("docs", Recipe(sparse=Sparse()), engine)
    texts = np.array(["", "a cat", "", "a dog"])
    assert docs.add(ids, texts=texts, on_empty="store").without_vectors == ids[[0, 2]].tolist()
    batches = [Documents(ids, texts=texts), Documents([10, 11], texts=["", "a fish"])]
    report = docs.add_batches(batches, on_empty="skip")
    assert (report.added, report.skipped) == (3, [*ids[[0, 2]].tolist(), 10])
