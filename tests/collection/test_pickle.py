"""A collection on a server is pickled by address and name; what belongs to one process says so."""

from __future__ import annotations

import pickle
import subprocess
import sys
from contextlib import closing
from typing import Any

import numpy as np
import pytest
from langchain_embplug import EmbplugVectorStore as LangChainStore
from llama_index_embplug import EmbplugVectorStore as LlamaIndexStore
from qdrant_client import QdrantClient, models

from embplug import Collection, Dense, Recipe
from embplug.errors import CapabilityError, InvalidArgumentError
from embplug.methods import PCA
from tests.branches.parts import DIM, RecordingEncoder

RECIPE = Recipe(dense=Dense(dim=DIM, transforms=[PCA(2)]))
VECTORS = np.random.default_rng(0).normal(size=(20, DIM))


def again(value: Any) -> Any:
    return pickle.loads(pickle.dumps(value))


def test_a_collection_on_a_server_is_opened_again(server_client: QdrantClient) -> None:
    encoder = RecordingEncoder()
    collection = Collection.create("docs", RECIPE, server_client, encoder=encoder)
    collection.add(range(20), dense=VECTORS)
    copy = again(collection)
    with closing(copy.engine):
        assert copy.engine is not server_client and copy.name == "docs"
        assert copy.search(dense=VECTORS[0]) == collection.search(dense=VECTORS[0])
        assert isinstance(copy.encoder, RecordingEncoder)
    code = "import pickle, sys; print(pickle.load(sys.stdin.buffer).count())"
    run = subprocess.run(
        [sys.executable, "-c", code], input=pickle.dumps(collection), capture_output=True, check=True
    )
    assert run.stdout.strip() == b"20"


def test_a_plain_collection_is_opened_again(server_client: QdrantClient) -> None:
    params = models.VectorParams(size=DIM, distance=models.Distance.COSINE)
    server_client.create_collection("plain", vectors_config={"a": params, "b": params})
    collection = Collection.open_plain("plain", server_client, vector="b", text_key="body")
    collection.add([1], dense=VECTORS[:1])
    copy = again(collection)
    with closing(copy.engine):
        assert copy.search(dense=VECTORS[0])[0].id == 1 and copy.recipe.text_key == "body"


def test_a_pickle_has_no_key(server_client: QdrantClient, monkeypatch: pytest.MonkeyPatch) -> None:
    Collection.create("docs", RECIPE, server_client)
    options = {**server_client.init_options, "api_key": "secret-key", "check_compatibility": False}
    options["grpc_options"] = None
    with pytest.warns(UserWarning, match="insecure"), closing(QdrantClient(**options)) as client:
        pickled = pickle.dumps(Collection.open("docs", client))
    assert b"secret-key" not in pickled
    monkeypatch.delenv("QDRANT_API_KEY", raising=False)
    with pytest.raises(InvalidArgumentError, match=r"^api_key: .*QDRANT_API_KEY"):
        pickle.loads(pickled)
    monkeypatch.setenv("QDRANT_API_KEY", "secret-key")
    with pytest.warns(UserWarning, match="insecure"):
        copy = pickle.loads(pickled)
    with closing(copy.engine):
        assert copy.count() == 0


def test_pickled_stores_have_no_key(
    server_client: QdrantClient, qdrant_address: tuple[str, int], monkeypatch: pytest.MonkeyPatch
) -> None:
    url, grpc_port = qdrant_address
    keyed: dict[str, Any] = {"url": url, "api_key": "secret-key"}
    Collection.create("docs", Recipe(dense=Dense(dim=DIM)), server_client)
    with pytest.warns(UserWarning, match="insecure"):
        langchain = LangChainStore.from_existing_collection(
            "docs", RecordingEncoder(), grpc_port=grpc_port, **keyed
        )
    with pytest.warns(UserWarning, match="insecure"):
        llama_index = LlamaIndexStore("docs", client_kwargs={"grpc_port": grpc_port}, **keyed)
    for store in (langchain, llama_index):
        pickled = pickle.dumps(store)
        assert b"secret-key" not in pickled
        with closing(store.client):
            monkeypatch.delenv("QDRANT_API_KEY", raising=False)
        with pytest.raises(InvalidArgumentError, match=r"^api_key: .*QDRANT_API_KEY"):
            pickle.loads(pickled)
        monkeypatch.setenv("QDRANT_API_KEY", "secret-key")
        with pytest.warns(UserWarning, match="insecure"):
            copy = pickle.loads(pickled)
        with closing(copy.client):
            assert copy.collection.count() == 0


def test_what_belongs_to_this_process_says_so(edge_client: Any, memory_client: Any) -> None:
    for client, word in ((edge_client, "Qdrant Edge"), (memory_client, "in memory")):
        collection = Collection.create("docs", RECIPE, client)
        with pytest.raises(CapabilityError, match=f"{word} cannot be pickled, because one process"):
            pickle.dumps(collection)
        with pytest.raises(CapabilityError, match="call to_async where it is read"):
            pickle.dumps(collection.to_async())


def test_stores_on_a_server_are_opened_again(
    server_client: QdrantClient, qdrant_address: tuple[str, int]
) -> None:
    recipe = Recipe(dense=Dense(dim=DIM))
    store = LangChainStore(server_client, "langchain", RecordingEncoder(), recipe=recipe)
    store.add_texts(["a 1", "a 2"])
    copy = again(store)
    with closing(copy.client):
        assert len(copy.similarity_search("a 1", k=5)) == 2
    url, grpc_port = qdrant_address
    own = LlamaIndexStore("llama", url=url, client_kwargs={"grpc_port": grpc_port}, recipe=RECIPE)
    copied = again(own)
    with closing(own.client), closing(copied.client):
        assert copied.collection.count() == 0
    with pytest.raises(CapabilityError, match="pass url= or path="):
        pickle.dumps(LlamaIndexStore("llama", server_client))
