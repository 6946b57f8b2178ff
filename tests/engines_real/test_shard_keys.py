"""Shards with keys on a cluster of three nodes: each tenant's documents are read and written alone."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Iterator
from contextlib import closing
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from langchain_embplug import EmbplugVectorStore as LangChainStore
from llama_index.core.schema import NodeRelationship, RelatedNodeInfo, TextNode
from llama_index_embplug import EmbplugVectorStore as LlamaIndexStore
from qdrant_client import QdrantClient, models

from embplug import (
    AsyncCollection,
    Collection,
    Dense,
    Recipe,
    Sparse,
    connect_async,
    migrate,
    recode,
    reembed,
    upgrade,
)
from embplug.errors import EngineError, IngestError, InvalidArgumentError
from embplug.methods import PowerQuantizer
from tests.branches.parts import DIM, RecordingEncoder

TENANT = models.KeywordIndexParams(type=models.KeywordIndexType.KEYWORD, is_tenant=True)
RECIPE = Recipe(
    dense=Dense(dim=4, codes=PowerQuantizer(), funnel=[2]),
    sparse=Sparse(),
    sharding_method="custom",
    shard_number=1,
    payload_indexes={"user": TENANT, "n": "integer"},
)
VECTORS = np.eye(6, 4) + 0.1


def documents(user: str) -> dict[str, Any]:
    return {
        "ids": [f"{user}/{i}" for i in range(6)],
        "dense": VECTORS,
        "texts": [f"text {i} of {user}" for i in range(6)],
        "payloads": [{"user": user, "n": i} for i in range(6)],
    }


@pytest.fixture(params=["rest", "grpc"])
def docs(request: pytest.FixtureRequest, qdrant_cluster: list[tuple[str, int]]) -> Iterator[Collection]:
    """Documents of two tenants, each in shards of its own."""
    url, port = qdrant_cluster[0]
    with closing(
        QdrantClient(
            url,
            grpc_port=port,
            prefer_grpc=request.param == "grpc",
            check_compatibility=False,
            timeout=60,
        )
    ) as client:
        collection = Collection.create("tenants", RECIPE, client)
        for user in ("anna", "ben"):
            collection.create_shard_key(user, timeout=60)
            report = collection.add(**documents(user), shard_key_selector=user, ordering="strong")
            assert report.added == 6
        yield collection
        collection.drop()


def test_the_page_about_tenants_runs(qdrant_cluster: list[tuple[str, int]]) -> None:
    page = Path(__file__).parents[2].joinpath("docs", "multitenancy.md").read_text(encoding="utf-8")
    (block,) = re.findall(r"^```python no-run\n(.*?)^```", page, flags=re.DOTALL | re.MULTILINE)
    names: dict[str, Any] = {}
    exec(
        compile(block.replace("http://localhost:6333", qdrant_cluster[0][0]), "multitenancy.md", "exec"),
        names,
    )
    with closing(QdrantClient(qdrant_cluster[2][0], check_compatibility=False, timeout=60)) as client:
        docs = Collection.open("sharded", client)
        assert docs.count() == 2
        docs.drop()


def users(found: Any) -> set[str]:
    return {item.payload["user"] for item in found}


def test_a_tenant_sees_and_changes_its_own_documents(docs: Collection) -> None:
    anna: dict[str, Any] = {"shard_key_selector": "anna"}
    query: dict[str, Any] = {"dense": VECTORS[0], "text": "text"}
    assert users(docs.search(**query, limit=20)) == {"anna", "ben"}
    for found in (
        docs.search(**query, limit=20, **anna),
        docs.search(**query, mmr=models.Mmr(), with_vectors=True, **anna),
        docs.scroll(**anna)[0],
        docs.scroll(order_by="n", **anna)[0],
        docs.retrieve(["anna/1", "ben/1"], **anna),
        [hit for group in docs.search_groups("n", **query, limit=6, **anna) for hit in group.hits],
    ):
        assert found and users(found) == {"anna"}
    assert docs.count(**anna) == 6 and docs.count(shard_key_selector=["anna", "ben"]) == 12
    every = models.Filter(must=[models.FieldCondition(key="n", range=models.Range(gte=0))])
    docs.set_payload({"seen": 1}, filter=every, **anna)
    docs.overwrite_payload({"user": "anna", "n": 9}, ["anna/0"], **anna)
    docs.delete_payload(["seen"], ["anna/1"], **anna)
    seen = {record.id for record in docs.scroll()[0] if "seen" in record.payload}
    assert seen == {f"anna/{i}" for i in range(2, 6)}
    with pytest.raises(InvalidArgumentError, match=r"^ids\[0\]: .*'ben/0'"):
        docs.set_payload({"seen": 1}, ["ben/0"], **anna)
    docs.delete(filter=every, **anna)
    assert (docs.count(**anna), docs.count()) == (0, 6)


def test_writes_without_a_key_are_refused(docs: Collection) -> None:
    for write in (
        lambda: docs.add(**documents("anna")),
        lambda: docs.set_payload({"seen": 1}, ["anna/0"]),
        lambda: docs.overwrite_payload({"seen": 1}, ["anna/0"]),
        lambda: docs.delete_payload(["n"], ["anna/0"]),
        lambda: docs.clear_payload(["anna/0"]),
        lambda: docs.delete(["anna/5"]),
    ):
        with pytest.raises(InvalidArgumentError, match=r"^shard_key_selector: .*custom, got None"):
            write()
    with pytest.raises(IngestError, match="nobody"):
        docs.add(**documents("carl"), shard_key_selector="nobody")
    assert docs.count() == 12
    docs.set_payload({"seen": 1}, ["anna/0", "ben/0"], shard_key_selector=["anna", "ben"])
    assert [record.payload.get("seen") for record in docs.retrieve(["anna/0", "ben/0"])] == [1, 1]


def test_indexes_cover_the_shards_of_every_key(docs: Collection) -> None:
    schema = docs.engine.get_collection("tenants").payload_schema
    assert {field: index.points for field, index in schema.items()} == {"user": 12, "n": 12}
    docs.create_payload_index("text", "keyword")
    docs.create_shard_key("carl", timeout=60)
    docs.add(**documents("carl"), shard_key_selector="carl")
    assert docs.engine.get_collection("tenants").payload_schema["text"].points == 18


def test_a_tenant_comes_and_goes(docs: Collection) -> None:
    with pytest.raises(EngineError):
        docs.create_shard_key("ben")
    docs.create_shard_key("carl", shards_number=2, replication_factor=2, timeout=60)
    docs.add(**documents("carl"), shard_key_selector="carl")
    assert docs.count() == 18
    docs.delete_shard_key("carl", timeout=60)
    assert docs.count() == 12
    assert Collection.create("tenants", RECIPE, docs.engine).info().recipe.sharding_method == "custom"


def test_vectors_of_shards_with_keys_are_not_changed_in_the_background(docs: Collection) -> None:
    for change in (reembed, partial(upgrade, encoder="minilm"), partial(recode, new=VECTORS, old=VECTORS)):
        with pytest.raises(InvalidArgumentError, match=r"^collection: .*shards have no keys"):
            change(docs)
    with pytest.raises(InvalidArgumentError, match=r"^recipe\.sharding_method: "):
        migrate(docs, "copy", RECIPE)
    copied = migrate(docs, "copy", Recipe(dense=Dense(dim=4)), progress=False)
    assert copied.copied == 12 and Collection.open("copy", docs.engine).count() == 12
    docs.engine.delete_collection("copy")


async def test_awaited_calls_take_keys_too(docs: Collection, qdrant_cluster: list[tuple[str, int]]) -> None:
    url, port = qdrant_cluster[1]
    engine = await connect_async(url, grpc_port=port)
    collection = await AsyncCollection.open("tenants", engine)
    await collection.create_shard_key("dora", timeout=60)
    await collection.add(**documents("dora"), shard_key_selector="dora")
    hits = await collection.search(dense=VECTORS[0], text="text", shard_key_selector="dora")
    assert users(hits) == {"dora"}
    await engine.close()


def test_stores_write_to_the_shards_of_a_tenant(docs: Collection) -> None:
    anna: dict[str, Any] = {"shard_key_selector": "anna"}
    recipe = Recipe(dense=Dense(dim=DIM), sharding_method="custom", shard_number=1)
    store = LangChainStore(docs.engine, "langchain", RecordingEncoder(), recipe=recipe)
    own = LlamaIndexStore("llama", docs.engine, recipe=recipe, encoder=RecordingEncoder())
    try:
        for collection in (store.collection, own.collection):
            for user in ("anna", "ben"):
                collection.create_shard_key(user, timeout=60)
        with pytest.raises(InvalidArgumentError, match=r"^shard_key_selector: "):
            store.add_texts(["a 1"])
        asyncio.run(_use_langchain(store, anna))
        asyncio.run(_use_llama_index(own, anna))
        for collection in (store.collection, own.collection):
            assert (collection.count(shard_key_selector="ben"), collection.count()) == (0, 1)
        own.clear(**anna)
        assert own.collection.count() == 0
    finally:
        store.collection.drop()
        own.collection.drop()


async def _use_langchain(store: LangChainStore, anna: dict[str, Any]) -> None:
    ids = ["1", "2"]
    assert store.add_texts(["a 1", "b 2"], [{"n": 1}] * 2, ids=ids, **anna) == ids
    assert await store.aadd_texts(["c 3"], ids=["3"], **anna) == ["3"]
    store.set_metadata({"m": 1}, ids, **anna)
    await store.aset_metadata({"k": 1}, ids, **anna)
    store.overwrite_metadata({"o": 1}, ["2"], **anna)
    await store.aoverwrite_metadata({"o": 2}, ["3"], **anna)
    store.delete_metadata(["m"], ["1"], **anna)
    await store.adelete_metadata(["k"], ["1"], **anna)
    assert [document.metadata for document in store.get_by_ids([*ids, "3"])] == [{"n": 1}, {"o": 1}, {"o": 2}]
    store.delete(["1"], **anna)
    await store.adelete(["2"], **anna)
    await store.aclose()


async def _use_llama_index(store: LlamaIndexStore, anna: dict[str, Any]) -> None:
    nodes = [TextNode(id_=str(i), text=f"a {i}", metadata={"n": i}) for i in range(5)]
    for i, node in enumerate(nodes):
        node.relationships[NodeRelationship.SOURCE] = RelatedNodeInfo(node_id=f"doc {i}")
    store.add(nodes[:2], **anna)
    await store.async_add(nodes[2:], **anna)
    store.set_metadata({"m": 1}, ["4"], **anna)
    await store.aset_metadata({"k": 1}, ["4"], **anna)
    store.delete_metadata(["n"], ["4"], **anna)
    await store.adelete_metadata(["m"], ["4"], **anna)
    assert store.get_nodes(["4"])[0].metadata == {"k": 1}
    store.delete("doc 0", **anna)
    await store.adelete("doc 1", **anna)
    store.delete_nodes(["2"], **anna)
    await store.adelete_nodes(["3"], **anna)
    await store.aclose()
