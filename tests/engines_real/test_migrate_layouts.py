"""Collections as LangChain and LlamaIndex lay them out for Qdrant: migrated, opened by embplug's stores."""

from __future__ import annotations

import pytest
from qdrant_client import models

from embplug import Dense, Recipe, migrate
from embplug.lifecycle.migration import verify
from embplug.methods import Rotation
from tests.engines_real.sources import alias_of, shown, stored

DIM = 32


@pytest.fixture(autouse=True)
def few_queries(monkeypatch):
    monkeypatch.setattr(verify, "SAMPLED_QUERIES", 20)


def recipe(text_key: str) -> Recipe:
    dense = Dense(dim=DIM, transforms=[Rotation()], datatype=models.Datatype.FLOAT16)
    return Recipe(dense=dense, text_key=text_key)


@pytest.mark.parametrize("vector_name", ["", "content"])
def test_langchain(server_client, vector_name):
    langchain_qdrant = pytest.importorskip("langchain_qdrant")
    embeddings = pytest.importorskip("langchain_core.embeddings").DeterministicFakeEmbedding(size=DIM)
    from langchain_embplug import EmbplugVectorStore

    params = models.VectorParams(size=DIM, distance=models.Distance.COSINE)
    server_client.create_collection("docs", {vector_name: params} if vector_name else params)
    old = langchain_qdrant.QdrantVectorStore(server_client, "docs", embeddings, vector_name=vector_name)
    texts = [f"text number {i}" for i in range(40)]
    old.add_texts(texts, [{"year": 2000 + i, "tags": ["a", "b"]} for i in range(40)])
    server_client.create_payload_index("docs", "metadata.year", models.PayloadSchemaType.INTEGER, wait=True)
    done = migrate(
        "docs",
        "small",
        recipe("page_content"),
        engine=server_client,
        alias="live",
        recall=0.9,
        progress=False,
    )
    assert done.vectors == {"dense": vector_name} and alias_of(server_client) == "small"
    assert stored(server_client, "live") == stored(server_client, "docs")
    new = EmbplugVectorStore(server_client, "live", embeddings)
    for query, where in ((texts[3], None), (texts[5], {"year": {"$gte": 2010}})):
        theirs = old.similarity_search(
            query,
            k=3,
            filter=where
            and models.Filter(
                must=[models.FieldCondition(key="metadata.year", range=models.Range(gte=2010))]
            ),
        )
        ours = new.similarity_search(query, k=3, filter=where)
        assert [document.page_content for document in ours] == [document.page_content for document in theirs]
        assert ours[0].metadata["year"] == theirs[0].metadata["year"]


@pytest.mark.parametrize("hybrid", [False, True])
def test_llama_index(server_client, hybrid):
    qdrant = pytest.importorskip("llama_index.vector_stores.qdrant")
    schema = pytest.importorskip("llama_index.core.schema")
    store = pytest.importorskip("llama_index.core.vector_stores")
    import numpy as np
    from llama_index_embplug import EmbplugVectorStore

    rows = np.random.default_rng(0).standard_normal((40, DIM)).tolist()

    def no_words(texts: list[str]) -> tuple[list[list[int]], list[list[float]]]:
        return [[len(text)] for text in texts], [[1.0] for _ in texts]

    options = (
        {"enable_hybrid": True, "sparse_doc_fn": no_words, "sparse_query_fn": no_words} if hybrid else {}
    )
    old = qdrant.QdrantVectorStore("docs", client=server_client, **options)
    nodes = [
        schema.TextNode(text=f"text number {i}", metadata={"year": 2000 + i}, embedding=row)
        for i, row in enumerate(rows)
    ]
    old.add(nodes)
    done = migrate(
        "docs", "small", recipe("text"), engine=server_client, alias="live", recall=0.9, progress=False
    )
    assert done.points == 40 and len(done.notes) == hybrid, done
    assert shown(stored(server_client, "live")) == stored(server_client, "docs")
    new = EmbplugVectorStore("live", client=server_client)
    query = store.VectorStoreQuery(query_embedding=rows[7], similarity_top_k=3)
    theirs, ours = old.query(query), new.query(query)
    assert ours.ids == theirs.ids and ours.ids[0] == nodes[7].node_id
    assert ours.nodes[0].get_content() == "text number 7" and ours.nodes[0].metadata == {"year": 2007}
