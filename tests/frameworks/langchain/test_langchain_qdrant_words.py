"""What users of langchain-qdrant write, word for word: keywords, filters, metadata, self-query."""

from __future__ import annotations

import subprocess
import sys
import zlib
from types import SimpleNamespace
from typing import Any

import pytest
from langchain_core.documents import Document
from langchain_core.structured_query import Comparator, Comparison, Operation, Operator, StructuredQuery
from langchain_embplug import EmbplugEmbeddings, EmbplugTranslator, EmbplugVectorStore
from langchain_qdrant import QdrantVectorStore, RetrievalMode
from qdrant_client import models

from embplug import Dense, Encoded, Recipe, Sparse
from embplug.engines import EdgeClient, Engine
from embplug.errors import InvalidArgumentError
from tests.frameworks.conftest import EMBEDDINGS, ENCODER, TOKENS_RECIPE
from tests.words import Words

TEXTS = ["red apple", "green apple", "blue sky"]
DOCUMENTS = [Document(text, metadata={"year": 2019 + i}, id=str(i)) for i, text in enumerate(TEXTS)]
BM25 = SimpleNamespace(_model=SimpleNamespace(model_name="Qdrant/bm25"))
"""What FastEmbedSparse holds of its model."""


def ids_of(documents: list[Document]) -> list[str]:
    return [str(document.id) for document in documents]


async def test_documents_need_no_embeddings_where_a_recipe_has_an_encoder(engine: Engine) -> None:
    store = EmbplugVectorStore.from_documents(
        iter(DOCUMENTS), recipe=TOKENS_RECIPE, encoder=ENCODER, client=engine, collection_name="docs"
    )
    assert ids_of(store.similarity_search("blue sky", k=1)) == ["2"]
    again = await EmbplugVectorStore.afrom_documents(
        DOCUMENTS, recipe=TOKENS_RECIPE, encoder=ENCODER, client=engine, collection_name="docs"
    )
    assert again.collection.count() == 3


@pytest.mark.parametrize("mode", ["hybrid", RetrievalMode.HYBRID])
def test_hybrid_retrieval_adds_bm25(engine: Engine, mode: Any) -> None:
    store = EmbplugVectorStore.from_documents(
        DOCUMENTS,
        EMBEDDINGS,
        client=engine,
        collection_name="docs",
        retrieval_mode=mode,
        sparse_embedding=BM25,
    )
    recipe = store.collection.recipe
    assert recipe.sparse == Sparse() and [*recipe.dense] == ["dense"]
    assert "2" in ids_of(store.similarity_search("sky", k=2))
    for fusion in (models.FusionQuery(fusion=models.Fusion.DBSF), models.RrfQuery(rrf=models.Rrf(k=3))):
        assert len(store.similarity_search("sky", k=2, hybrid_fusion=fusion)) == 2


class WordWeights:
    """A weight for each word of a text, as a model of langchain-qdrant makes sparse vectors."""

    def embed_documents(self, texts: list[str]) -> list[models.SparseVector]:
        return [self.embed_query(text) for text in texts]

    def embed_query(self, text: str) -> models.SparseVector:
        indices = sorted({zlib.crc32(word.encode()) for word in text.split()})
        return models.SparseVector(indices=indices, values=[1.0] * len(indices))


async def test_a_model_makes_the_learned_weights_of_a_recipe(engine: Engine) -> None:
    recipe = Recipe(sparse=Sparse(kind="learned"))
    store = EmbplugVectorStore(engine, "docs", recipe=recipe, sparse_embedding=WordWeights())
    store.add_documents(DOCUMENTS[:2])
    await store.aadd_documents(DOCUMENTS[2:])
    assert ids_of(store.similarity_search("blue", k=1)) == ["2"]
    assert ids_of(await store.asimilarity_search("green", k=1)) == ["1"]


@pytest.mark.parametrize(
    "options",
    [
        {"recipe": Recipe(sparse=Sparse())},
        {"recipe": Recipe(sparse=Sparse(kind="learned"), dense=Dense(dim=32)), "encoder": Words()},
    ],
)
def test_a_store_that_refuses_a_model_creates_no_collection(engine: Engine, options: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgumentError, match=r"^sparse_embedding: "):
        EmbplugVectorStore(engine, "docs", sparse_embedding=WordWeights(), **options)
    assert not engine.collection_exists("docs")


def test_a_mode_says_what_a_search_compares(engine: Engine) -> None:
    EmbplugVectorStore.from_documents(
        DOCUMENTS, EMBEDDINGS, client=engine, collection_name="docs", retrieval_mode="hybrid"
    )
    words = EmbplugVectorStore(engine, "docs", EMBEDDINGS, retrieval_mode="sparse")
    assert ids_of(words.similarity_search("sky", k=3)) == ["2"]
    dense = EmbplugVectorStore(engine, "docs", EMBEDDINGS, retrieval_mode="dense")
    assert len(dense.similarity_search("sky", k=3)) == 3


def test_sparse_retrieval_needs_no_embeddings(engine: Engine) -> None:
    store = EmbplugVectorStore.from_documents(
        DOCUMENTS, client=engine, collection_name="docs", retrieval_mode=RetrievalMode.SPARSE
    )
    assert ids_of(store.similarity_search("apple", k=3, filter={"year": 2020})) == ["1"]


def test_options_of_a_new_collection_become_its_recipe() -> None:
    store = EmbplugVectorStore.from_texts(
        ["a"],
        EMBEDDINGS,
        location=":memory:",
        vector_params={"on_disk": True, "hnsw_config": models.HnswConfigDiff(m=4)},
        collection_create_options={"on_disk_payload": True},
        validate_embeddings=False,
        wait=True,
    )
    recipe = store.collection.recipe
    assert recipe.dense["dense"].on_disk and recipe.dense["dense"].hnsw.m == 4 and recipe.on_disk_payload
    assert store.delete(["x"], wait=False)


def test_options_of_writes_reach_the_server(server_client: Engine) -> None:
    strong = models.WriteOrdering.STRONG
    store = EmbplugVectorStore.from_texts(["a"], EMBEDDINGS, ids=["1"], client=server_client, ordering=strong)
    assert store.delete(["1"], ordering=strong) and store.collection.count() == 0


@pytest.mark.parametrize(
    ("keywords", "argument", "message"),
    [
        ({"retrieval_mode": "fast"}, "retrieval_mode", "hybrid"),
        ({"sparse_embedding": object()}, "sparse_embedding", "Qdrant/bm25"),
        ({"sparse_vector_name": "s"}, "sparse_vector_name", "of its own"),
        ({"hnsw_config": models.HnswConfigDiff()}, "hnsw_config", r"Dense\(hnsw"),
        ({"vector_params": {"size": 3}}, "vector_params['size']", "on_disk"),
        (
            {"collection_create_options": {"a": 1}},
            "collection_create_options['a']",
            "on_disk_payload",
        ),
        ({"vector_params": {"on_disk": True}, "recipe": Recipe(sparse=Sparse())}, "vector_params", "beside"),
    ],
)
def test_a_keyword_without_a_meaning_names_what_to_use(
    keywords: dict[str, Any], argument: str, message: str
) -> None:
    with pytest.raises(InvalidArgumentError, match=message) as caught:
        EmbplugVectorStore.from_texts(["a"], EMBEDDINGS, location=":memory:", **keywords)
    assert caught.value.argument == argument
    with pytest.raises(TypeError, match="unexpected argument 'colour'"):
        EmbplugVectorStore.from_texts(["a"], EMBEDDINGS, location=":memory:", colour="red")


def test_a_mode_that_the_recipe_cannot_serve(memory_client: Engine) -> None:
    EmbplugVectorStore(memory_client, "dense", EMBEDDINGS)
    with pytest.raises(InvalidArgumentError, match="sparse=Sparse"):
        EmbplugVectorStore(memory_client, "dense", EMBEDDINGS, retrieval_mode="hybrid")
    EmbplugVectorStore(memory_client, "words", recipe=Recipe(sparse=Sparse()))
    with pytest.raises(InvalidArgumentError, match="no other vectors"):
        EmbplugVectorStore(memory_client, "words", retrieval_mode="dense")


CONDITION = {"key": "metadata.year", "range": {"gte": 2020}}


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        ({"must": [CONDITION]}, {"1", "2"}),
        ({"must_not": [CONDITION]}, {"0"}),
        ({"must": [CONDITION], "must_not": [{"key": "metadata.year", "match": {"value": 2021}}]}, {"1"}),
        ({"should": [CONDITION, {"has_id": []}]}, {"1", "2"}),
    ],
)
def test_filters_of_qdrant_as_dicts(engine: Engine, filter: dict[str, Any], expected: set[str]) -> None:
    store = EmbplugVectorStore.from_documents(DOCUMENTS, EMBEDDINGS, client=engine, collection_name="docs")
    assert {*ids_of(store.similarity_search("apple", k=3, filter=filter))} == expected


def test_fields_of_the_metadata_may_be_named_as_parts_of_a_filter(memory_client: Engine) -> None:
    documents = [Document("a", metadata={"must": "x"}, id="0"), Document("b", metadata={"must": "y"}, id="1")]
    store = EmbplugVectorStore.from_documents(documents, EMBEDDINGS, client=memory_client)
    assert ids_of(store.similarity_search("a", filter={"must": "y"})) == ["1"]
    assert ids_of(store.similarity_search("a", filter={"must": ["y", "z"]})) == ["1"]


def test_the_metadata_has_the_point_as_there(engine: Engine) -> None:
    if isinstance(engine, EdgeClient):
        pytest.skip("langchain-qdrant knows no Edge")
    engine.create_collection(
        "docs", vectors_config=models.VectorParams(size=6, distance=models.Distance.COSINE)
    )
    theirs = QdrantVectorStore(engine, "docs", EMBEDDINGS)
    theirs.add_texts(["red apple"], [{"year": 1}], ids=[7])
    ours = EmbplugVectorStore(engine, "docs", EMBEDDINGS)
    for store in (theirs, ours):
        for document in (*store.similarity_search("red apple", k=1), *store.get_by_ids([7])):
            assert document.metadata == {"year": 1, "_id": 7, "_collection_name": "docs"}
    assert [document.metadata for document in ours.documents()] == [{"year": 1}]
    new = EmbplugVectorStore(engine, "new", EMBEDDINGS, point_metadata=True)
    new.add_documents(ours.documents())
    assert new.similarity_search("red apple")[0].metadata["_collection_name"] == "new"


YEAR = Comparison(comparator=Comparator.GTE, attribute="year", value=2020)


@pytest.mark.parametrize(
    ("filter", "expected"),
    [
        (None, {"0", "1", "2"}),
        (YEAR, {"1", "2"}),
        (Operation(operator=Operator.NOT, arguments=[YEAR]), {"0"}),
        (
            Operation(
                operator=Operator.OR,
                arguments=[YEAR, Comparison(comparator=Comparator.EQ, attribute="year", value=2019)],
            ),
            {"0", "1", "2"},
        ),
        (Comparison(comparator=Comparator.IN, attribute="year", value=2021), {"2"}),
        (Comparison(comparator=Comparator.NIN, attribute="year", value=[2021, 2020]), {"0"}),
        (Comparison(comparator=Comparator.NE, attribute="year", value=2021), {"0", "1"}),
        (Comparison(comparator=Comparator.CONTAIN, attribute="year", value=2021), {"2"}),
        (
            Comparison(
                comparator=Comparator.LT, attribute="when", value={"date": "2020-01-01", "type": "date"}
            ),
            set(),
        ),
    ],
)
def test_structured_queries_become_filters(memory_client: Engine, filter: Any, expected: set[str]) -> None:
    store = EmbplugVectorStore.from_documents(DOCUMENTS, EMBEDDINGS, client=memory_client)
    query, arguments = EmbplugTranslator().visit_structured_query(
        StructuredQuery(query="apple", filter=filter, limit=None)
    )
    assert query == "apple" and {*ids_of(store.similarity_search(query, k=3, **arguments))} == expected


def test_every_comparator_has_an_operator() -> None:
    for comparator in Comparator:
        EmbplugTranslator().visit_comparison(Comparison(comparator=comparator, attribute="a", value="b"))


class TwoNumbers:
    """An encoder of dense vectors: the length of a text, and 1 for a query."""

    spec = "two-numbers"

    def encode_documents(self, texts: Any) -> Encoded:
        import numpy as np

        return Encoded(dense=np.array([[len(text), 0] for text in texts], np.float32))

    def encode_queries(self, texts: Any) -> Encoded:
        import numpy as np

        return Encoded(dense=np.array([[len(text), 1] for text in texts], np.float32))


async def test_an_encoder_is_embeddings() -> None:
    embeddings = EmbplugEmbeddings(TwoNumbers())
    assert embeddings.embed_documents(["a", "bc"]) == [[1.0, 0.0], [2.0, 0.0]]
    assert embeddings.embed_query("abc") == await embeddings.aembed_query("abc") == [3.0, 1.0]
    assert embeddings.embed_documents([]) == []
    with pytest.raises(InvalidArgumentError, match="dense vectors"):
        EmbplugEmbeddings(ENCODER).embed_query("a")
    with pytest.raises(InvalidArgumentError, match="encoder"):
        EmbplugEmbeddings(3)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("package", "missing", "extra"),
    [
        ("langchain_embplug", "langchain_core", "langchain"),
        ("llama_index_embplug", "llama_index.core", "llama-index"),
        ("haystack_embplug", "haystack", "haystack"),
        ("embplug.frameworks.mcp.server", "mcp", "mcp"),
    ],
)
def test_an_import_without_the_extra_names_the_extra(package: str, missing: str, extra: str) -> None:
    program = (
        f"import sys; sys.path[:0] = {sys.path!r}; sys.modules[{missing!r}] = None\n"
        f"try:\n    import {package}\nexcept ImportError as error:\n    print(error)"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert f"pip install 'embplug[{extra}]'" in done.stdout
